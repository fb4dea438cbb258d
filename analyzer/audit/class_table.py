"""``classes.csv``: what ``audit.json`` says of each class, a row a class, for spreadsheets."""

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

from analyzer.audit_record import AuditRecord, ClassRecord
from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN, write_text
from analyzer.measures.measure import Check, check

__all__ = ["CLASSES", "class_table_check", "write_class_table"]

CLASSES = "classes.csv"
_COLUMNS = tuple(field.name for field in fields(ClassRecord))


def write_class_table(folder: Path, record: AuditRecord) -> None:
    """Write ``classes.csv``; its columns are called as the fields of a class in ``audit.json``.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / CLASSES, _text(record))


def class_table_check(folder: Path, record: AuditRecord) -> Check:
    """Whether ``classes.csv`` says what ``audit.json`` does.

    Raises:
        AuditFolderError: it is missing or cannot be read.
    """
    path = folder / CLASSES
    try:
        written = path.read_bytes()
    except OSError as error:
        raise AuditFolderError(
            f"{path} cannot be read: {error.strerror or error}. {RUN_AGAIN}"
        ) from error
    agrees = written == _text(record).encode(errors="backslashreplace")
    wrong = [] if agrees else [f"{CLASSES} does not say of the classes what audit.json does."]
    right = f"{len(record.classes)} classes are listed as audit.json has them."
    return check("class table", wrong, right)


def _text(record: AuditRecord) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in record.classes:
        writer.writerow([_cell(getattr(entry, name)) for name in _COLUMNS])
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_cell, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
