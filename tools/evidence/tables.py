"""The committed tables: where they lie, what they hold, how they are read and written.

========================  ========================================================================
``populations.csv``       a row a population: data, architecture, sizes
``networks-NAME.csv``     a row a network: recipe, accuracies, gap, ζ, κ and every further feature
``classes-NAME.csv``      a row a class of a network: quantities, accuracies and gap of its own
``curves-NAME.csv``       two rows a network: both curves, averaged over the classes
``example-NAME.csv``      two rows a corruption level: both curves of one class, as counts
``turning-NAME.csv``      a row a network: its turning points, looked for at several levels
``checkpoints-NAME.csv``  a row a checkpoint of a training run, as ``networks-NAME.csv``
``sensitivity-NAME.csv``  a row an audit: ζ, κ and area under E_r, one choice made otherwise
``samples-NAME.csv``      a row a network and score: how well it finds single wrong labels
``paper.csv``             what the paper reports
========================  ========================================================================
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.output_files import write_text

__all__ = ["EVIDENCE", "Table", "read_table", "table_path", "write_table"]

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a CSV file, as written, by column; R rows."""

    path: Path
    columns: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def texts(self, column: str) -> np.ndarray:
        """A column as text, ndarray of shape (R,).

        Raises:
            AnalyzerError: there is no such column.
        """
        try:
            return np.array(self.columns[column])
        except KeyError:
            raise AnalyzerError(
                f"{self.path} has no column {column!r}; its columns are {', '.join(self.columns)}"
            ) from None

    def numbers(self, column: str) -> np.ndarray:
        """A column as float64 (R,), NaN where a cell is empty.

        Raises:
            AnalyzerError: there is no such column, or a cell is neither empty nor a number.
        """
        try:
            return np.array([float(cell or "nan") for cell in self.texts(column)])
        except ValueError as error:
            raise AnalyzerError(f"{self.path}, column {column!r}: {error}") from None

    def rows(self) -> list[dict[str, str]]:
        """The table as a dict a row."""
        return [
            dict(zip(self.columns, cells, strict=True))
            for cells in zip(*self.columns.values(), strict=True)
        ]

    def where(self, chosen: np.ndarray) -> "Table":
        """The rows that bool ndarray ``chosen`` (R,) marks."""
        kept = np.flatnonzero(chosen)
        return Table(
            self.path, {name: tuple(cells[i] for i in kept) for name, cells in self.columns.items()}
        )


def table_path(folder: Path, kind: str, name: str) -> Path:
    """Where the table of that kind of a population lies."""
    return folder / f"{kind}-{name}.csv"


def read_table(path: Path) -> Table:
    """Read a table.

    Raises:
        AnalyzerError: it cannot be read, has no rows, or a row is longer or shorter than the
            header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        columns = zip(*rows, strict=True)
        return Table(path, dict(zip(header, columns, strict=True)))
    except OSError as error:
        raise AnalyzerError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AnalyzerError(f"{path} is not a table with a header and rows: {error}") from error


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same keys; numbers should be rounded to what they are worth.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.10g}" if isinstance(value, float) else value
