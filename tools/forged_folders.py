"""Audit folders of somebody who changes a file, and writes all that follows from it to fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analyzer.audit.folder import REPORT, RESULT_FILES, read_record, write_record
from analyzer.audit.report import html_of, page_of, write_class_table
from analyzer.audit.result_manifest import entries_of, write_entries
from analyzer.audit_record import AuditRecord
from analyzer.measures.ablation.class_curves import ClassCurves, write_curves
from analyzer.measures.ablation.curve_features import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.sample_scores import SampleCounts, write_samples
from analyzer.output_files import write_arrays, write_text

__all__ = ["rewrite_arrays", "rewrite_counts", "rewrite_record", "seal"]


def seal(folder: Path) -> None:
    """Write what follows from the files, the report where they allow it, and their manifest."""
    try:
        write_class_table(folder, read_record(folder))
        html = html_of(page_of(folder))
    except Exception:  # what it would show is impossible, in whatever way
        html = "no report"
    write_text(folder / REPORT, html)
    write_entries(folder, entries_of(folder, RESULT_FILES))


def rewrite_record(folder: Path, record: AuditRecord) -> None:
    """Write ``audit.json``, and seal the folder."""
    write_record(folder, record)
    seal(folder)


def rewrite_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an ``.npz`` of an audit folder, and seal the folder."""
    write_arrays(path, arrays, compressed=path.name != "thumbnails.npz")
    seal(path.parent)


def rewrite_counts(folder: Path, curves: Sequence[ClassCurves], samples: SampleCounts) -> None:
    """Write other counts with the quantities and features that follow, and seal the folder."""
    record = read_record(folder)
    write_curves(folder, curves)
    write_samples(folder, samples, record.channels)
    found = [class_quantities(curve, record.chance) for curve in curves]
    zeta, kappa = network_quantities(found)
    names = ("accuracy", "n0", "n0_r", "zeta", "kappa", "chance_reached", "flags")
    classes = tuple(
        replace(said, **{name: getattr(one, name) for name in names})
        for said, one in zip(record.classes, found, strict=True)
    )
    features = compute_curve_features(curves, samples, record.chance)
    changed = {"zeta": zeta, "kappa": kappa, "classes": classes, "features": features}
    rewrite_record(folder, replace(record, **changed))
