"""What the network, with nothing removed, predicts for training samples and for test data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from analyzer import data, runtime, surgery
from analyzer.audit_options import DataOptions, RunOptions
from analyzer.common_types import ExtraInput, Progress
from analyzer.errors import ModelError
from analyzer.output_files import scratch_folder
from analyzer.runtime.predictions import UNNAMED

__all__ = ["in_precision", "predict_test_data", "predict_whole"]


def in_precision(
    network: surgery.Network, output: str | None, precision: str, folder: Path
) -> surgery.Network:
    """The network with the file that its precision needs: itself, unless it has to be converted.

    Args:
        network: its extra inputs bound.
        output: that tells the class, where somebody named it. A converted file has no other.
        precision: one of :data:`analyzer.runtime.PRECISIONS`.
        folder: takes the files, in a folder of their own.

    Raises:
        ModelError: it cannot be converted, or no output tells the class.
    """
    if precision != "fp16":
        return network
    place = folder / "float16"
    place.mkdir()
    kept = surgery.find_answer(network, output).output
    return surgery.rewrite_network(network, place, runtime.in_float16, output=kept)


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
        converted = in_precision(network, output, run.precision, folder)
        whole = runtime.WholeNetwork(
            surgery.runnable_file(converted, folder),
            network.info.inputs[0],
            surgery.find_answer(network, output),
            # In the converted file they are bound.
            extra_inputs=tuple(extra_inputs) if converted is network else (),
            custom_ops=network.custom_ops,
            largest=network.largest,
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
    preprocessing: data.Preprocessing,
    first_reading: data.FirstReading,
    *,
    reading: DataOptions,
    run: RunOptions,
    output: str | None,
    scratch: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> runtime.Predictions:
    """What a network names the samples of test data.

    Args:
        preprocessing: :func:`analyzer.data.preprocessing_of_test_data`.
        first_reading: of ``source``, against which these are held.
        output, scratch: as of :func:`predict_whole`.

    Raises:
        DataError: they do not fit the network, not one can be read, or they change meanwhile.
        DeviceError, ModelError: the network cannot be run there, or a score is not a number.
    """
    samples = data.Samples(
        indices=np.arange(len(source)),
        labels=source.labels,
        load=first_reading.guarded(
            lambda indices, batch_size: data.read_batches(
                source, preprocessing, indices, batch_size, skip_bad=reading.skip_bad, fed=True
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
    unnamed = np.flatnonzero(found.named == UNNAMED)
    if len(unnamed):
        raise ModelError(
            f"The scores of test sample {found.index[unnamed[0]]} are not numbers, so the network "
            "names no class. It overflows there: check the test data, and the preprocessing."
        )
    return found
