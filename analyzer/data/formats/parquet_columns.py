"""Columns of Parquet files that are read as a whole: labels, names, and what tells splits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.data.formats.format import (
    choose_split,
    no_split_named,
    of_no_split,
    split_called,
    split_column,
    split_told,
)
from analyzer.data.source import reason_of
from analyzer.errors import DataError, parameter
from analyzer.input_budgets import Budgets

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

__all__ = [
    "HELD",
    "can_be_text",
    "claimed_bytes",
    "is_text",
    "naming",
    "other_splits",
    "read_column",
    "read_texts",
    "refuse_deltas",
    "rows_of_split",
    "split_texts",
]

HELD = 4
"""Times that what is read of a file is in memory: decompressed, laid out, and handed on."""

_DELTAS = frozenset({"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"})
_FEW_ROWS = 100  # that are looked at for whether a column tells splits
_SPLIT_BYTES = 64  # that the name of a split takes at most, in a file
_LONGEST_TEXT = 1 << 20  # bytes; as the longest line of a manifest


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Name a file where it cannot be read: Arrow raises anything, from OSError to KeyError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{file} is not readable Parquet ({reason_of(error)}). Fetch it again, or remove it."
        ) from error


def is_text(kind: "pyarrow.DataType") -> bool:
    """Whether a column of that type holds texts, as they are or as places in a dictionary."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def can_be_text(kind: "pyarrow.DataType") -> bool:
    """Whether a column of that type holds texts, or bytes, as which some programs write texts."""
    kind_of_bytes = str(kind).startswith(("binary", "large_binary"))
    return is_text(kind) or kind_of_bytes


def read_column(
    paths: tuple[Path, ...], column: str, kind: "pyarrow.DataType"
) -> "pyarrow.ChunkedArray":
    """The values of a column of that type, of all files one after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chunks = []
    for path in paths:
        with naming(path):
            chunks += pq.read_table(path, columns=[column])[0].chunks
    return pa.chunked_array(chunks, kind)


def claimed_bytes(
    metadata: "pyarrow.parquet.FileMetaData", column: str, group: int | None = None
) -> int:
    """What a column takes once decompressed, as the file says: of one row group, or of all."""
    return sum(one.total_uncompressed_size for one in _chunks(metadata, column, group))


def _chunks(
    metadata: "pyarrow.parquet.FileMetaData", column: str, group: int | None = None
) -> Iterator["pyarrow.parquet.ColumnChunkMetaData"]:
    """What a file says of a column in one row group, or in all."""
    for one in range(metadata.num_row_groups) if group is None else (group,):
        row_group = metadata.row_group(one)
        for number in range(metadata.num_columns):
            chunk = row_group.column(number)
            if chunk.path_in_schema == column:
                yield chunk


def refuse_deltas(path: Path, metadata: "pyarrow.parquet.FileMetaData", column: str) -> None:
    """Refuse bytes or texts that are written as differences.

    Arrow cannot give them so that a value takes its memory once, and so a small file could fill
    all memory.

    Raises:
        DataError: they are.
    """
    for encoding in _encodings(metadata, column) & _DELTAS:
        raise DataError(
            f"{column!r} of {path} is encoded as {encoding}, which is not read. Write the file "
            "again in dictionary or plain encoding, as pyarrow and datasets do by default."
        )


def _encodings(metadata: "pyarrow.parquet.FileMetaData", column: str) -> set[str]:
    return {name for one in _chunks(metadata, column) for name in one.encodings}


def read_texts(paths: tuple[Path, ...], column: str, budgets: Budgets) -> list[str | None]:
    """The texts of a column, which share their memory where they are the same.

    Raises:
        DataError: one is damaged, or the texts are more or longer than labels and names are.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: list[str | None] = []
    for path in paths:
        with naming(path):
            metadata = pq.read_metadata(path)
            claimed = claimed_bytes(metadata, column)
            refuse_deltas(path, metadata, column)
        if excess := budgets.excess_of_file(path, HELD * claimed):
            raise DataError(
                f"The texts in {column!r} of {path} take {claimed:,} bytes, which are held "
                f"{HELD} times, {excess}."
            )
        # Of a field of a column, read_table would read all others, too.
        with naming(path), pq.ParquetFile(path, read_dictionary=[column]) as file:
            groups = [
                file.read_row_group(group, columns=[column])[0]
                for group in range(file.num_row_groups)
            ]
        for chunk in (chunk for texts in groups for chunk in _leaf(texts).chunks):
            if excess := budgets.excess_of_file(path, chunk.nbytes):
                raise DataError(f"{column!r} of {path} takes {chunk.nbytes:,} bytes, {excess}.")
            longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
            if longest > _LONGEST_TEXT:
                raise DataError(
                    f"{column!r} of {path} has a text of {longest:,} bytes, which is no label, "
                    "name or split. Remove the row, or name other columns with "
                    f"{parameter('keys')}."
                )
            known = [*map(_text, chunk.dictionary.to_pylist()), None]
            found.extend(known[place] for place in chunk.indices.fill_null(-1).to_pylist())
    return found


def _text(value: str | bytes) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _leaf(column: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
    """What is in a column that holds one field, of one field."""
    while column.type.num_fields:
        column = column.flatten()[0]
    return column


def split_texts(
    paths: tuple[Path, ...],
    schema: "pyarrow.Schema",
    features: Mapping[str, Mapping],
    others: Collection[str],
    budgets: Budgets,
) -> tuple[str | None, Sequence[str | None]]:
    """The column that may tell the split of each row, and what it says; nothing without texts.

    Raises:
        DataError: there are several.
    """
    import pyarrow as pa

    column = split_column([name for name in schema.names if name not in others], paths[0])
    if column is None:
        return None, ()
    kind, names = schema.field(column).type, features.get(column, {}).get("names")
    if can_be_text(kind):
        return column, read_texts(paths, column, budgets)
    if not pa.types.is_integer(kind) or not isinstance(names, list):
        return column, ()
    said = dict(enumerate(map(str, names)))
    return column, [said.get(number) for number in read_column(paths, column, kind).to_pylist()]


def rows_of_split(
    column: str | None,
    texts: Sequence[str | None],
    split: str | None,
    wanted: str | None,
    path: Path,
) -> tuple[np.ndarray | None, str | None, tuple[str, ...]]:
    """The rows of one split, int64 (S,), or None for all; its name; and warnings.

    Args:
        column: that may name splits.
        texts: what it says of each row, if anything.
        split: that the files of the rows are.
        wanted: the split asked for.
        path: what to call the data.

    Raises:
        DataError: there is no such split.
    """
    splits = {text: split_told(text) for text in set(texts)}
    if not any(splits.values()):
        if split is None and wanted is not None:
            choose_split({path: None}, wanted, path)
        return None, split, no_split_named(column, path) if column else ()
    of_files = split
    kept, split = choose_split(splits, split or wanted, path)
    warnings = of_no_split("Rows", [splits[text] for text in texts], path)
    others = sum(splits[text] is not None and text not in kept for text in texts)
    if of_files and others:
        warnings += (
            f"Rows that the column {column!r} gives another split than the names of their files "
            f"were left out of {path}#{split}: {others}.",
        )
    return np.flatnonzero([text in kept for text in texts]), split, warnings


def other_splits(
    paths: tuple[Path, ...],
    schema: "pyarrow.Schema",
    others: Collection[str],
    budgets: Budgets,
) -> dict[str, set[str]]:
    """The splits that columns of texts tell in every row, of those that are not called so.

    Most hold something else: longer texts, or others in the first rows.
    """
    import pyarrow.parquet as pq

    found = {}
    with naming(paths[0]):
        metadata = pq.read_metadata(paths[0])
    for column in schema.names:
        if column in others or not can_be_text(schema.field(column).type):
            continue
        if claimed_bytes(metadata, column) > _SPLIT_BYTES * (metadata.num_rows + _FEW_ROWS):
            continue
        with naming(paths[0]), pq.ParquetFile(paths[0], read_dictionary=[column]) as file:
            some = file.iter_batches(_FEW_ROWS, columns=[column])
            read = (text for batch in islice(some, 1) for text in batch[0].to_pylist())
            texts = {_text(text or "") for text in read}
        if not all(split_called(text.strip()) for text in texts):
            continue
        splits = {split_called((text or "").strip()) for text in read_texts(paths, column, budgets)}
        if None not in splits:
            found[column] = {split for split in splits if split}
    return found
