"""Audit folders of somebody who changes a file and writes report and manifest to fit it."""

from pathlib import Path

import numpy as np

from analyzer.audit.folder import REPORT, RESULT_FILES, read_record, write_record
from analyzer.audit.report import html_of, page_of, write_class_table
from analyzer.audit.result_manifest import entries_of, write_entries
from analyzer.audit_record import AuditRecord
from analyzer.errors import AnalyzerError
from analyzer.files import write_arrays, write_text

__all__ = ["rewrite_arrays", "rewrite_record", "seal"]


def seal(folder: Path) -> None:
    """Write what follows from the files, the report where they allow it, and their manifest."""
    try:
        write_class_table(folder, read_record(folder))
        html = html_of(page_of(folder))
    except (AnalyzerError, RuntimeError):  # what it would show is impossible
        html = "no report"
    write_text(folder / REPORT, html)
    write_entries(folder, entries_of(folder, RESULT_FILES))


def rewrite_record(folder: Path, record: AuditRecord) -> None:
    """Write ``audit.json``, and seal the folder."""
    write_record(folder, record)
    seal(folder)


def rewrite_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an ``.npz`` of an audit folder, and seal the folder."""
    write_arrays(path, arrays)
    seal(path.parent)
