"""What each class of each network of a population shows, and how well it generalizes.

    python -m tools.population_classes TRAINED AUDITED docs/measures/classes

TRAINED is what ``onnx-gap zoo train NAME`` wrote, in a folder called like the population; AUDITED
what ``onnx-gap population`` made of it. The networks are run on the test images of their data set.
From these tables ``python -m tools.left_out_populations`` fits the line for single classes.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnxruntime

from analyzer.audit import read_record
from analyzer.estimation import (
    ClassesOfNetwork,
    ClassProfiles,
    class_profiles,
    write_population_classes,
)
from analyzer.files import read_arrays
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.neighbors.votes import LAYERS
from model_zoo.network_training import as_input
from model_zoo.population_training import find_population, population_data

_AT_ONCE = 500  # test images


def classes_of_networks(
    trained: Path, audited: Path, data: Path | None = None
) -> Iterator[ClassesOfNetwork]:
    """The classes of each audited network, by name.

    Args:
        trained: folder of the networks.
        audited: folder of their audits.
        data: folder of the data set, where no package holds it.
    """
    test = population_data(find_population(trained.name), data).test
    images = as_input(test.images).numpy()
    for audit in sorted(path.parent for path in (audited / "audits").glob("*/audit.json")):
        profiles = _profiles(audit)
        right = _named(trained / f"{audit.name}.onnx", images) == test.labels
        own = [test.labels == index for index in profiles.index.tolist()]
        yield ClassesOfNetwork(
            name=audit.name,
            profiles=profiles,
            test_samples=np.array([one.sum() for one in own]),
            test_correct=np.array([(right & one).sum() for one in own]),
        )


def _profiles(audit: Path) -> ClassProfiles:
    samples = read_samples(audit)
    votes = read_arrays(audit / "neighbors.npz", ["agreement"])
    return class_profiles(
        samples.label,
        samples.scores.margin,
        votes["agreement"][LAYERS.index("two_thirds")],
        read_arrays(audit / "interpolation.npz", ["hold"])["hold"],
        {one.index: one.accuracy for one in read_record(audit).classes},
    )


def _named(model: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = np.split(images, range(_AT_ONCE, len(images), _AT_ONCE))
    return np.concatenate([session.run(None, {name: part})[0].argmax(axis=1) for part in parts])


@click.command()
@click.argument("trained", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("audited", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
def main(trained: Path, audited: Path, out: Path, data: Path | None) -> None:
    """Write the table of classes of the networks in TRAINED to the folder OUT."""
    networks = list(classes_of_networks(trained, audited, data))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{trained.name}.csv"
    write_population_classes(networks, path)
    click.echo(f"{path}: {len(networks)} networks")


if __name__ == "__main__":
    main()
