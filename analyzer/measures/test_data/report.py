"""Test data's section of the report: the measured gap, and the confusions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.measures.ablation.result_files import read_samples
from analyzer.measures.measure import ReportSection

__all__ = ["Confusion", "ConfusionCell", "report_section"]

_MATRIX = 20  # classes up to which a matrix can be read
_LISTED = 15  # confusions that are listed


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """One cell of a matrix."""

    count: int
    share: float  # of the samples of its row
    right: bool


@dataclass(frozen=True, slots=True)
class Confusion:
    """Samples of one class that are named another."""

    label: str
    named: str
    train: int
    test: int
    share: float  # of the test samples of the label


def report_section(
    folder: Path, record: AuditRecord, test: Mapping[str, np.ndarray]
) -> ReportSection:
    """Compute what the section shows.

    Args:
        folder, record: of the audit.
        test: ``label`` and ``named``, int64 (T,), of the test samples.
    """
    samples = read_samples(folder)
    train_named = np.where(samples.correct, samples.label, samples.scores.other)
    names = {one.index: one.name for one in record.classes}
    names |= {one.index: one.name for one in record.empty_classes}
    size = max(max(names), int(test["label"].max()), int(test["named"].max())) + 1
    counts = {
        "train": _counts(samples.label, train_named, size),
        "test": _counts(test["label"], test["named"], size),
    }
    readable = size <= _MATRIX
    return ReportSection(
        links=(("test", "Test data"),),
        template=Path(__file__).parent / "test_data.html.jinja",
        values={
            "test": record.sections["test"],
            "names": [names.get(index, str(index)) for index in range(size)],
            "matrices": [
                ("Training data", _cells(counts["train"])),
                ("Test data", _cells(counts["test"])),
            ]
            if readable
            else [],
            "confusions": _most(counts["train"], counts["test"], names),
        },
    )


def _counts(label: np.ndarray, named: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((size, size), np.int64)
    np.add.at(found, (label, named), 1)
    return found


def _cells(counts: np.ndarray) -> list[list[ConfusionCell]]:
    rows = np.maximum(counts.sum(axis=1), 1)
    return [
        [
            ConfusionCell(int(count), float(count / rows[label]), label == named)
            for named, count in enumerate(line)
        ]
        for label, line in enumerate(counts)
    ]


def _most(train: np.ndarray, test: np.ndarray, names: Mapping[int, str]) -> list[Confusion]:
    wrong = test - np.diag(np.diag(test))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    rows = np.maximum(test.sum(axis=1), 1)
    return [
        Confusion(
            names.get(int(label), str(label)),
            names.get(int(named), str(named)),
            int(train[label, named]),
            int(test[label, named]),
            float(test[label, named] / rows[label]),
        )
        for label, named in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[label, named]
    ]
