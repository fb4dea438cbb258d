"""What the footer of a Parquet file says, looked at before anything is read by it."""

import io
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.data.formats.parquet_columns import naming
from analyzer.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet

__all__ = ["check_footer", "check_rows"]


def check_footer(
    path: Path, metadata: "pyarrow.parquet.FileMetaData", columns: Collection[str]
) -> None:
    """Refuse a file whose footer is damaged, or contradicts itself in how many rows there are.

    Args:
        path: of the file.
        metadata: its footer.
        columns: those that hold a value for each row; of a field in a column, "column.field".

    Raises:
        DataError: it does.
    """
    with naming(path):
        _check_chunks(path, metadata)
    check_rows(path, metadata, columns)


def check_rows(
    path: Path, metadata: "pyarrow.parquet.FileMetaData", columns: Collection[str]
) -> None:
    """Refuse a file whose footer contradicts itself in how many rows there are.

    Args:
        path, metadata, columns: as of :func:`check_footer`.

    Raises:
        DataError: it does.
    """
    left = metadata.num_rows
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        left -= group.num_rows
        for place in range(metadata.num_columns):
            chunk = group.column(place)
            if chunk.path_in_schema in columns and chunk.num_values != group.num_rows:
                left = -1
        if left < 0 or group.num_rows < 0:
            break
    if left:
        raise DataError(
            f"{path} is damaged: its footer gives other numbers of rows for its parts than for the "
            "whole. Fetch it again."
        )


class _Unread(Exception):
    """Pages of a file were to be read."""


class _Unreadable(io.RawIOBase):
    """A file of whose content nothing is given."""

    def __init__(self, size: int):
        self._size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        raise _Unread


def _check_chunks(path: Path, metadata: "pyarrow.parquet.FileMetaData") -> None:
    """Have Arrow look at what the footer says of each column in each row group.

    Where that is damaged, Arrow's metadata end the process when they are asked for it; its readers
    raise an error, before they read a page.

    Raises:
        Exception: it is damaged.
    """
    import pyarrow.parquet as pq

    columns = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    with pq.ParquetFile(_Unreadable(path.stat().st_size), metadata=metadata) as file:
        for group in range(metadata.num_row_groups):
            for column in columns:
                with suppress(_Unread, StopIteration):
                    next(file.iter_batches(1, row_groups=[group], columns=[column]))
