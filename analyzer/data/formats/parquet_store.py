"""The images of Parquet files: row groups, read as they are needed, of which the last are kept."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.data.formats.parquet_columns import HELD, claimed_bytes, refuse_deltas
from analyzer.data.source import FileStates
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

__all__ = ["ParquetStore"]

_CACHE_BYTES = 512 << 20  # whole data sets of CIFAR's size; some row groups of large ones
_MOST_ONCE = 1 << 30
_LARGE = 64 << 20  # bytes; such row groups are read one at a time


class ParquetStore:
    """Samples as cells of an image column. Row groups are read whole and the last ones kept.

    Hugging Face writes 100 images a row group, so that reading one image in a large, shuffled
    data set costs about as much again as decoding it.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        column: str,
        metadata: Sequence["pyarrow.parquet.FileMetaData"],
        budgets: Budgets,
        file_states: FileStates,
        rows: np.ndarray | None = None,
    ):
        """Samples of files.

        Args:
            paths: of the files.
            column: of the images' bytes.
            metadata: of each file.
            budgets: what a row group may take.
            file_states: of the files, before anything of them was read.
            rows: int64 (S,), those that are samples, ascending; None: all.
        """
        self._paths = paths
        self._file_states = file_states
        self._column = column
        self._rows = rows
        self._metadata = metadata
        for path, one in zip(paths, metadata, strict=True):
            refuse_deltas(path, one, column)
        groups = [
            (file, group, metadata.row_group(group).num_rows)
            for file, metadata in enumerate(self._metadata)
            for group in range(metadata.num_row_groups)
        ]
        self._groups = [(file, group) for file, group, _ in groups]
        self._bytes = [claimed_bytes(metadata[file], column, group) for file, group in self._groups]
        for (file, group), claimed in zip(self._groups, self._bytes, strict=True):
            if excess := budgets.excess_of_file(paths[file], HELD * claimed):
                raise DataError(
                    f"Row group {group} of {paths[file]} decompresses to {claimed:,} bytes, which "
                    f"are held {HELD} times, {excess}."
                )
        self._starts = np.cumsum([0, *(count for _, _, count in groups)])
        self._kept: OrderedDict[int, pyarrow.ChunkedArray] = OrderedDict()
        self._kept_bytes = 0
        self._lock, self._one_large = threading.Lock(), threading.Lock()

    def stored(self, index: int, budgets: Budgets) -> bytes:
        row = index if self._rows is None else int(self._rows[index])
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        data = self._read(group)[row - int(self._starts[group])].as_py()
        if data is None:
            raise DataError("the row holds no image bytes")
        return data

    def fingerprint(self) -> str:
        return f"{self._column}\n{self._file_states.fingerprint()}"

    def is_as_opened(self) -> bool:
        return self._file_states.changed() is None

    def files(self) -> list[Path]:
        return self._file_states.files()

    def _read(self, group: int) -> "pyarrow.ChunkedArray":
        """The image bytes of a row group."""
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
        if self._bytes[group] <= _LARGE:  # other threads can read meanwhile
            return self._keep(group, self._read_group(group))
        with self._one_large:
            with self._lock:
                if group in self._kept:  # another thread was reading it
                    return self._kept[group]
            return self._keep(group, self._read_group(group))

    def _keep(self, group: int, cells: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
        with self._lock:
            if group not in self._kept:
                self._kept[group] = cells
                self._kept_bytes += cells.nbytes
            while self._kept_bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return cells

    def _read_group(self, group: int) -> "pyarrow.ChunkedArray":
        import pyarrow as pa
        import pyarrow.parquet as pq

        file, number = self._groups[group]
        try:
            # A value that the file has once for many rows takes its memory once; Arrow can do that
            # up to 2 GiB.
            once = [self._column] if self._bytes[group] <= _MOST_ONCE else None
            with pq.ParquetFile(
                self._paths[file], metadata=self._metadata[file], read_dictionary=once
            ) as parquet:
                table = parquet.read_row_group(number, columns=[self._column], use_threads=False)
        except pa.ArrowException as error:
            raise DataError(f"{self._paths[file]} is damaged: {error}") from error
        cells = table.column(0)
        return cells.flatten()[0] if pa.types.is_struct(cells.type) else cells
