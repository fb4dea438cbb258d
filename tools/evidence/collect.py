"""Collects the tables of a trained and audited population.

    onnx-gap zoo train NAME --out POPULATION
    onnx-gap population POPULATION/manifest.csv --mean 0 --std 1 --out AUDITS
    python -m tools.evidence.collect POPULATION AUDITS [--data FOLDER] [--out docs/evidence]

Every network is run once more, on the test half, for the accuracy of each class. Networks that
did not reach the training accuracy asked for are in the tables too, marked in ``reached``.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import runtime, surgery
from analyzer.audit import read_record
from analyzer.audit_record import AuditRecord
from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from analyzer.measures.ablation.class_curves import ClassCurves, read_curves
from analyzer.measures.ablation.curve_features import compute_curve_features
from analyzer.measures.ablation.sample_scores import read_samples
from model_zoo import POPULATIONS
from model_zoo.datasets import Split
from model_zoo.population_training import TRAIN_DATA, Result, read_result
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path, write_table
from tools.evidence.turning_points import turning_cells

__all__ = ["Member", "class_scores", "collect", "kept_cells", "right_by_class"]

SHARES = np.linspace(0, 1, 51)  # of the units, at which mean curves are kept
_FILES = ("model", "train_data", "test_data")
_BATCH = 256
_NEAR_TIES = 0.002  # of the test samples may be named otherwise by another runtime


@dataclass(frozen=True, slots=True)
class Member:
    """A network with all that was found out about it; K classes."""

    result: Result
    audit: AuditRecord
    curves: tuple[ClassCurves, ...]
    tested: np.ndarray  # int64 (K,): test samples of each class
    right: np.ndarray  # int64 (K,): those named rightly
    wrong_labels: np.ndarray  # float64 (K,): share of its training samples that are of another
    features: Mapping[str, float]  # of the curves, beyond ζ and κ

    @property
    def name(self) -> str:
        return self.result.recipe.name

    @property
    def plain(self) -> bool:
        """Trained by the recipe that is the same at every corruption level."""
        return self.name.endswith("-00")


def collect(trained: Path, audited: Path, out: Path, *, data: Path | None = None) -> str:
    """Write the tables of one population; return its name.

    Args:
        trained: what ``onnx-gap zoo train`` wrote.
        audited: what ``onnx-gap population`` wrote.
        out: folder of the tables.
        data: folder of the data set, where it does not come with a package.

    Raises:
        AnalyzerError: a network is missing, was not audited, is not the one that was audited,
            or does not have the test accuracy that was recorded when it was trained.
    """
    table = read_table(audited / "population.csv")
    names = table.texts("name").tolist()
    name = _name(trained, names[0])
    test = POPULATIONS[name].data_set.read(data)[1]
    members = [
        _member(trained, audited, network, POPULATIONS[name].data_set.classes, test)
        for network in names
    ]
    out.mkdir(parents=True, exist_ok=True)
    for kind, rows in (
        ("networks", _networks(table, members)),
        ("classes", _classes(members)),
        ("curves", _curves(members)),
        ("example", _example(members)),
        ("turning", _turning(members)),
    ):
        write_table(table_path(out, kind, name), rows)
    _keep_summary(out / "populations.csv", _summary(name, members))
    return name


def _name(trained: Path, network: str) -> str:
    """The population that a network belongs to."""
    result = read_result(trained, network)
    name = result and result.conditions["population"]
    if name not in POPULATIONS or 0.0 not in POPULATIONS[name].corruptions:
        raise AnalyzerError(
            f"{trained} does not hold a population that the zoo declares with clean labels too"
        )
    return name


def _member(trained: Path, audited: Path, name: str, classes: int, test: Split) -> Member:
    result = read_result(trained, name)
    if result is None:
        raise AnalyzerError(f"{trained} lacks {name}, which was audited; train it again")
    model = trained / result.model
    folder = audited / "audits" / name
    audit, curves = read_record(folder), read_curves(folder)
    if audit.model.sha256 != sha256(model):
        raise AnalyzerError(f"{folder} is the audit of another network than {model}; audit it")
    tested, right = right_by_class(model, test, classes)
    if abs(right.sum() / tested.sum() - result.test_accuracy) > _NEAR_TIES:
        raise AnalyzerError(
            f"{model} names {right.sum() / tested.sum():.4f} of the test samples rightly, but "
            f"{result.test_accuracy:.4f} was recorded when it was trained; is --data the same?"
        )
    with np.load(trained / TRAIN_DATA, allow_pickle=False) as stored:
        true, given = stored[result.true_labels], stored[result.keys[1]]
    wrong = np.bincount(given[given != true], minlength=classes)
    return Member(
        result=result,
        audit=audit,
        curves=curves,
        tested=tested,
        right=right,
        wrong_labels=wrong / np.maximum(np.bincount(given, minlength=classes), 1),
        features=compute_curve_features(curves, read_samples(folder), audit.chance),
    )


def right_by_class(model: Path, test: Split, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Test samples of each class, and those that a network names rightly: int64 (K,) both."""
    named = class_scores(model, test.images).argmax(axis=1)
    return (
        np.bincount(test.labels, minlength=classes),
        np.bincount(test.labels[named == test.labels], minlength=classes),
    )


def class_scores(model: Path, images: np.ndarray) -> np.ndarray:
    """The logits (S, K) that a network of the zoo gives to uint8 images (S, H, W)."""
    image = surgery.load_network(model).info.inputs[0].name
    session = runtime.open_session(model, threads=1)
    pixels = images[:, None].astype(np.float32) / 255
    batches = np.split(pixels, range(_BATCH, len(pixels), _BATCH))
    return np.concatenate([session.run({image: batch})[0] for batch in batches])


def _networks(table: Table, members: Sequence[Member]) -> Iterator[dict[str, str]]:
    """As ``population.csv``, with all features of the curves; ``onnx-gap fit`` reads it."""
    for row, member in zip(table.rows(), members, strict=True):
        features = {name: f"{value:.6g}" for name, value in member.features.items()}
        yield kept_cells(row) | features


def kept_cells(row: Mapping[str, str]) -> dict[str, str]:
    """What a row of ``population.csv`` says of a network, without the names of its files."""
    return {name: _rounded(cell) for name, cell in row.items() if name not in _FILES}


def _rounded(cell: str) -> str:
    """A cell with at most six significant digits where it is a number with more."""
    try:
        return f"{float(cell):.6g}" if len(cell) > 8 else cell
    except ValueError:
        return cell


def _classes(members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    for member in members:
        for record in member.audit.classes:
            test_accuracy = member.right[record.index] / member.tested[record.index]
            yield {
                "network": member.name,
                "class": record.index,
                "samples": record.samples,
                "wrong_labels": round(float(member.wrong_labels[record.index]), 4),
                "accuracy": round(record.accuracy, 4),
                "test_accuracy": round(float(test_accuracy), 4),
                "gap": round(float(record.accuracy - test_accuracy), 4),
                "n0": record.n0,
                "n0_r": record.n0_r,
                "zeta": round(record.zeta, 4),
                "kappa": round(record.kappa, 4),
                "chance_reached": record.chance_reached,
            }


def _curves(members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    for member in members:
        removed = np.linspace(0, 1, member.audit.site.channels + 1)
        for order in ("descending", "ascending"):
            curve = np.mean([getattr(c, order) / c.samples for c in member.curves], axis=0)
            values = np.interp(SHARES, removed, curve)
            points = zip(SHARES, values, strict=True)
            yield {
                "network": member.name,
                "corruption": member.result.recipe.corruption,
                "order": order,
            } | {f"{share:.2f}": round(float(value), 3) for share, value in points}


def _turning(members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    for member in members:
        measured = [curve for curve in member.curves if curve.samples]
        yield {"network": member.name} | turning_cells(measured, member.audit.chance)


def _example(members: Sequence[Member]) -> Iterator[dict[str, Any]]:
    """The class that is most like its network, over the networks of the plain recipe; over the
    first where none is plain by design.
    """
    plain = [member for member in members if member.plain]
    if not plain and POPULATIONS[members[0].result.conditions["population"]].designed:
        plain = [members[0]]
    if not plain:
        raise AnalyzerError("no network of the plain recipe (NAME-cLEVEL-00) was audited")
    typical = int(np.sum([_distance(member) for member in plain], axis=0).argmin())
    for member in plain:
        record = next(record for record in member.audit.classes if record.index == typical)
        curve = next(curve for curve in member.curves if curve.class_index == typical)
        for order in ("descending", "ascending"):
            yield {
                "network": member.name,
                "corruption": member.result.recipe.corruption,
                "gap": round(member.result.train_accuracy - member.result.test_accuracy, 4),
                "class": typical,
                "samples": curve.samples,
                "chance": round(member.audit.chance, 6),
                "n0": record.n0,
                "n0_r": record.n0_r,
                "order": order,
            } | {str(n): int(count) for n, count in enumerate(getattr(curve, order))}


def _distance(member: Member) -> np.ndarray:
    """How far each class (K,) is from its network's ζ and κ; infinitely without samples."""
    distance = np.full(len(member.tested), np.inf)
    for record in member.audit.classes:
        zeta, kappa = record.zeta - member.audit.zeta, record.kappa - member.audit.kappa
        distance[record.index] = abs(zeta) + abs(kappa)
    return distance


def _summary(name: str, members: Sequence[Member]) -> dict[str, Any]:
    """The population's row of ``populations.csv``."""
    declared = POPULATIONS[name]
    channels = sorted({member.audit.site.channels for member in members})
    conditions = members[0].result.conditions
    return {
        "name": name,
        "data": declared.data_set.name,
        "classes": declared.data_set.classes,
        "size": declared.data_set.size,
        "architecture": ", ".join(declared.architectures),
        "networks": len(members),
        "reached": sum(member.result.reached for member in members),
        "enough": declared.enough,
        "channels": "–".join(dict.fromkeys(str(m) for m in (channels[0], channels[-1]))),
        "train_samples": conditions["train_samples"],
        "audited_samples": members[0].audit.data.samples,
        "test_samples": int(members[0].tested.sum()),
        "training_hours": round(sum(member.result.seconds for member in members) / 3600, 2),
    }


def _keep_summary(path: Path, row: dict[str, Any]) -> None:
    """Put the row in the place of the population's old one, or in the order of the zoo."""
    rows = {given["name"]: given for given in read_table(path).rows()} if path.exists() else {}
    rows[row["name"]] = row
    write_table(path, [rows[name] for name in POPULATIONS if name in rows])


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", type=Path, help="folder that `onnx-gap zoo train` wrote")
    parser.add_argument("audited", type=Path, help="folder that `onnx-gap population` wrote")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--out", type=Path, default=EVIDENCE, help="takes the tables")
    given = parser.parse_args(arguments)
    name = collect(given.trained, given.audited, given.out, data=given.data)
    print(f"{given.out}: the tables of {name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
