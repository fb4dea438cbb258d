"""What each class of each network of a population shows, and its true gap: docs/measures/classes.

    python -m tools.class_gaps digits-clean trained/digits-clean audited/digits-clean \\
        docs/measures/classes/digits-clean.csv

The true gap of a class is its accuracy on the training samples that bear its label, less its
accuracy on the test samples, which the network is run on here.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime

from analyzer.audit import read_record
from analyzer.files import read_arrays, write_text
from analyzer.measures.class_values import class_values
from model_zoo.training import find_population, population_data

_AT_ONCE = 500  # test images


def class_rows(model: Path, audit: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[dict]:
    """One row a class of an audited network.

    Args:
        model: the ONNX file.
        audit: its audit folder.
        images: float32 (S, 1, H, W), of the test split.
        labels: int64 (S,).
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = np.split(images, range(_AT_ONCE, len(images), _AT_ONCE))
    named = np.concatenate([session.run(None, {name: part})[0].argmax(axis=1) for part in parts])
    right = named == labels
    record = read_record(audit)
    label = read_arrays(audit / "samples.npz")["label"]
    values = class_values(label, *_measured(audit))
    for entry in record.classes:
        own = labels == entry.index
        if not own.any():
            continue
        row: dict[str, Any] = {
            "network": audit.name,
            "class": entry.index,
            "samples": entry.samples,
            "accuracy": entry.accuracy,
            "test_accuracy": right[own].mean(),
            "zeta": entry.zeta,
            "kappa": entry.kappa,
        }
        row |= {column: found.get(entry.index, np.nan) for column, found in values.items()}
        yield {column: _cell(value) for column, value in row.items()}


def _measured(audit: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return read_arrays(audit / "interpolation.npz"), read_arrays(audit / "neighbors.npz")


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("population")
@click.argument("networks", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("audited", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
def main(population: str, networks: Path, audited: Path, out: Path, data: Path | None) -> None:
    """Write a row a class of the networks of POPULATION to OUT."""
    test = population_data(find_population(population), data).test
    images = (test.images[:, None] / np.float32(255)).astype(np.float32)
    rows = [
        row
        for audit in sorted((audited / "audits").iterdir())
        if (audit / "audit.json").is_file()
        for row in class_rows(networks / f"{audit.name}.onnx", audit, images, test.labels)
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text.getvalue())
    click.echo(f"{out}: {len(rows)} classes")


if __name__ == "__main__":
    main()
