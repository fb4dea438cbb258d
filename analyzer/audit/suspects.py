"""``suspects.csv``: the training samples that look most as if they were memorised, by name.

Pictures of the first of them lie beside it in ``thumbnails.npz``, so that the report can be
rendered anew without the data.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from analyzer.audit.folder import read_arrays
from analyzer.errors import AuditFolderError
from analyzer.files import write_arrays, write_text

__all__ = [
    "SUSPECTS",
    "THUMBNAILS",
    "Suspect",
    "read_suspects",
    "read_thumbnails",
    "write_suspects",
]

SUSPECTS = "suspects.csv"
THUMBNAILS = "thumbnails.npz"


@dataclass(frozen=True, slots=True)
class Suspect:
    """One row of ``suspects.csv``; the fields are its columns."""

    rank: int  # 1 for the most suspicious
    name: str  # of the sample, as the data have it
    index: int  # its place in the data
    label: int
    label_name: str
    predicted: int  # with nothing removed
    predicted_name: str
    other: int  # the class with the best score but the label's
    other_name: str
    score: float  # (ascending − descending) / (M + 1)
    log_probability: float
    suspicion: float  # see analyzer.audit.suspicion

    @property
    def probability(self) -> float:
        """That the network gives to the label."""
        return math.exp(self.log_probability)


def write_suspects(
    folder: Path, suspects: Sequence[Suspect], pictures: Mapping[int, bytes]
) -> None:
    """Write both files; what was there before goes away where there is nothing to write.

    Args:
        folder: of the audit.
        suspects: by rank.
        pictures: PNG files by index of the sample.
    """
    if pictures:
        arrays = {str(index): np.frombuffer(png, np.uint8) for index, png in pictures.items()}
        write_arrays(folder / THUMBNAILS, arrays, compressed=False)
    else:
        (folder / THUMBNAILS).unlink(missing_ok=True)
    if not suspects:
        (folder / SUSPECTS).unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [field.name for field in fields(Suspect)]
    writer.writerow(columns)
    writer.writerows([_cell(getattr(suspect, name)) for name in columns] for suspect in suspects)
    write_text(folder / SUSPECTS, text.getvalue())


def read_suspects(folder: str | Path) -> tuple[Suspect, ...]:
    """The rows of ``suspects.csv``; none where there is no such file.

    Raises:
        AuditFolderError: it is damaged.
    """
    path = Path(folder) / SUSPECTS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return tuple(
            Suspect(**{field.name: field.type(row[field.name]) for field in fields(Suspect)})
            for row in rows
        )
    except FileNotFoundError:
        return ()
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise AuditFolderError(
            f"{path} is not a list of suspects as an audit writes it ({error}); remove it, or run "
            "the audit again with --fresh."
        ) from error


def read_thumbnails(folder: str | Path) -> Mapping[int, bytes]:
    """PNG files by index of the sample.

    Raises:
        AuditFolderError: ``thumbnails.npz`` is damaged.
    """
    path = Path(folder) / THUMBNAILS
    if not path.exists():
        return {}
    return {int(index): array.tobytes() for index, array in read_arrays(path).items()}


def _cell(value: int | float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
