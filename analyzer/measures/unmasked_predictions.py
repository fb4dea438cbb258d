"""What the network, with nothing removed, predicts for training samples and for test data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from analyzer import data, runtime, surgery
from analyzer.audit_options import DataOptions, RunOptions
from analyzer.common_types import ExtraInput, Progress
from analyzer.files import scratch_folder

__all__ = ["in_precision", "predict_test_data", "predict_whole"]


def in_precision(network: surgery.Network, precision: str, folder: Path) -> surgery.Network:
    """The network with the file that its precision needs: itself, unless it has to be converted.

    Args:
        network: its extra inputs bound.
        precision: one of :data:`analyzer.runtime.PRECISIONS`.
        folder: takes the files, in a folder of their own.

    Raises:
        ModelError: it cannot be converted.
    """
    if precision != "fp16":
        return network
    place = folder / "float16"
    place.mkdir()
    return surgery.rewrite_network(network, place, runtime.in_float16)


def predict_whole(
    network: surgery.Network,
    extra_inputs: Sequence[ExtraInput],
    samples: data.Samples,
    run: RunOptions,
    *,
    output: str | None,
    scratch: Path | None = None,
    stage: str = "test",
    progress: Progress = lambda stage, done, total: None,
    look: Callable[[np.ndarray, np.ndarray], None] = lambda images, scores: None,
) -> runtime.Predictions:
    """What a network names samples, on the device and in the precision asked for.

    Args:
        network: its extra inputs bound.
        output: that tells the class, where somebody named it.
        scratch: folder for the files that are run; by default the system's for temporary files.
        stage, progress, look: as for :func:`analyzer.runtime.predict`.

    Raises:
        DataError: see :func:`analyzer.runtime.predict`.
        DeviceError, ModelError: the network cannot be run there.
    """
    device, *_ = runtime.named_devices(run.device)
    with scratch_folder(scratch) as folder:
        converted = in_precision(network, run.precision, folder)
        whole = runtime.WholeNetwork(
            surgery.runnable_file(converted, folder),
            network.info.inputs[0],
            surgery.find_answer(network, output),
            # In the converted file they are bound.
            extra_inputs=tuple(extra_inputs) if converted is network else (),
            custom_ops=network.custom_ops,
        )
        return runtime.predict(
            whole,
            samples,
            device=device,
            threads=run.threads,
            tf32=run.precision == "tf32",
            stage=stage,
            progress=progress,
            look=look,
        )


def predict_test_data(
    network: surgery.Network,
    extra_inputs: Sequence[ExtraInput],
    source: data.Source,
    *,
    reading: DataOptions,
    run: RunOptions,
    output: str | None,
    spec: data.PreprocessingSpec | None = None,
    scratch: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> runtime.Predictions:
    """What a network names the samples of test data, preprocessed like its training data.

    Args:
        output, scratch: as of :func:`predict_whole`.
        spec: as of :func:`analyzer.data.resolve_preprocessing`.

    Raises:
        DataError: they do not fit the network, not one can be read, or they change meanwhile.
        DeviceError, ModelError: the network cannot be run there.
    """
    preprocessing = data.resolve_preprocessing(
        source, network.info.inputs[0], reading.preprocess, spec
    )
    first_reading = data.FirstReading(source)
    samples = data.Samples(
        indices=np.arange(len(source)),
        labels=source.labels,
        load=first_reading.guarded(
            lambda indices, batch_size: data.read_batches(
                source, preprocessing, indices, batch_size, skip_bad=reading.skip_bad
            )
        ),
    )

    def check_classes(images: np.ndarray, scores: np.ndarray) -> None:
        if scores.shape[1] > 1:  # else the network gives labels
            data.check_classes(source, scores.shape[1])

    found = predict_whole(
        network,
        extra_inputs,
        samples,
        run,
        output=output,
        scratch=scratch,
        progress=progress,
        look=check_classes,
    )
    first_reading.confirm()
    return found
