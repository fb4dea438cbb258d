"""Parquet with an image column, as Hugging Face's ``datasets`` writes it.

pyarrow is an extra of this distribution, so it is imported where it is used.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.data.decode_images import EXTENSIONS
from analyzer.data.formats.format import Format, Wanted, choose_split, of_no_split, one_of, split_in
from analyzer.data.labels import integer_labels, labels_of_values
from analyzer.data.source import (
    CompactNames,
    FileStates,
    NumberedNames,
    Source,
    natural_key,
    reason_of,
)
from analyzer.errors import DataError, parameter
from analyzer.files import check_regular
from analyzer.input_budgets import Budgets
from analyzer.json_codec import parse_json, repeated

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

__all__ = ["PARQUET", "ParquetStore", "open_parquet"]

_CACHE_BYTES = 512 << 20  # whole data sets of CIFAR's size; some row groups of large ones
_MOST_ONCE = 1 << 30
_IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


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
    ):
        self._paths = paths
        self._file_states = file_states
        self._column = column
        self._metadata = metadata
        rows = [
            (file, group, metadata.row_group(group).num_rows)
            for file, metadata in enumerate(self._metadata)
            for group in range(metadata.num_row_groups)
        ]
        self._groups = [(file, group) for file, group, _ in rows]
        self._bytes = [self._claimed(file, group) for file, group in self._groups]
        for (file, group), claimed in zip(self._groups, self._bytes, strict=True):
            if excess := budgets.excess_of_file(paths[file], claimed):
                raise DataError(
                    f"Row group {group} of {paths[file]} decompresses to {claimed:,} bytes, "
                    f"{excess}."
                )
        self._starts = np.cumsum([0, *(count for _, _, count in rows)])
        self._kept: OrderedDict[int, pyarrow.ChunkedArray] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def stored(self, index: int, budgets: Budgets) -> bytes:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        data = self._read(group)[index - int(self._starts[group])].as_py()
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
        cells = self._read_group(group)  # outside the lock, so that other threads can read
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

    def _claimed(self, file: int, group: int) -> int:
        """What a row group's images take, as the file says."""
        columns = self._metadata[file].row_group(group)
        chunks = (columns.column(number) for number in range(columns.num_columns))
        return sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema == self._column
        )


def open_parquet(path: Path, wanted: Wanted) -> Source:
    """Open a Parquet file, or a folder of them, of one image column and one label column.

    A folder is as Hugging Face lays it out (``data/train-00000-of-….parquet``). Where file names
    name splits, one is taken, "train" by default. Keys are the names of the image and the label
    column; where none are given, the file's own features, or the usual names, say which they are.

    Raises:
        DataError: pyarrow is missing, the file is damaged, or there are no such columns.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            f'{path} is Parquet, which needs pyarrow: pip install "onnx-gap[parquet]".'
        ) from error
    paths, where, warnings = _of_split(path, wanted.split)
    try:
        for file in paths:
            check_regular(file)
        found = _read(paths, path, where, wanted)
    except DataError:
        raise
    except Exception as error:  # Arrow raises anything, from OSError to AttributeError
        raise DataError(f"{path} is not readable Parquet ({reason_of(error)}).") from error
    named = _class_names(found.features, found.label, where)
    names = found.names or NumberedNames(len(found.labels), "row ")
    labels, class_names, indexing = _labels(found, names, named, wanted, where)
    return Source(
        source=where,
        kind="parquet",
        labels=labels,
        names=names,
        store=found.store,
        class_names=None if class_names is None else tuple(class_names),
        indexing=indexing,
        exif=True,  # as datasets does when it decodes
        warnings=warnings,
    )


@dataclass(frozen=True, slots=True)
class _Contents:
    """What files hold: the images where they are, the rest in memory."""

    store: ParquetStore
    names: CompactNames | None  # of the images; None where a row has none
    features: Mapping[str, Mapping]
    label: str  # the name of the label column
    labels: "list[str | None] | pyarrow.ChunkedArray"  # a list where they are texts


def _read(paths: tuple[Path, ...], path: Path, where: str, wanted: Wanted) -> _Contents:
    """Read what is not images.

    Args:
        paths: of the files.
        path: that was given, for messages about columns.
        where: names the split, for messages about rows.
        wanted: keys and budgets.

    Raises:
        DataError: over a budget, or there are no such columns.
        Exception: whatever Arrow makes of damaged files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file_states = FileStates.of(*paths)
    metadata = [pq.read_metadata(file) for file in paths]
    rows = sum(one.num_rows for one in metadata)
    if excess := wanted.budgets.excess("samples", rows):
        raise DataError(f"{where} has {rows:,} rows, {excess}.")
    schema = pq.read_schema(paths[0])
    features = _features(schema)
    image, label = _columns(schema, features, wanted.keys, path)
    _check_alike(paths, (image, label), features.get(label, {}).get("names"))
    image_type, label_type = schema.field(image).type, schema.field(label).type
    text_type = label_type.value_type if pa.types.is_dictionary(label_type) else label_type
    if pa.types.is_string(text_type) or pa.types.is_large_string(text_type):
        labels = _texts(paths, label, wanted.budgets)
    else:
        chunks = (pq.read_table(file, columns=[label])[0].chunks for file in paths)
        labels = pa.chunked_array([chunk for part in chunks for chunk in part], label_type)
    names = _names(paths, image, image_type, wanted.budgets)
    column = f"{image}.bytes" if pa.types.is_struct(image_type) else image
    file_states.refuse_if_changed()
    store = ParquetStore(paths, column, metadata, wanted.budgets, file_states)
    return _Contents(store, names, features, label, labels)


def _labels(
    found: _Contents,
    samples: Sequence[str],
    class_names: Sequence[str] | None,
    wanted: Wanted,
    where: str,
) -> tuple[np.ndarray, Sequence[str] | None, str]:
    """The labels, int64 (S,), the names of their classes, and what says which class has which.

    Args:
        found: the contents of the files.
        samples: what the rows are called.
        class_names: that the files give.
        wanted: with the network's own classes, if they are known.
        where: names the data in messages.

    Raises:
        DataError: a row has no label, or it is neither a text nor a class index.
    """
    import pyarrow as pa

    labels = found.labels
    missing = labels.count(None) if isinstance(labels, list) else labels.null_count
    if missing:
        raise DataError(f"{missing} rows of {where} have no {found.label!r}.")
    if isinstance(labels, list):
        return labels_of_values(labels, samples, wanted.classes, where)
    if pa.types.is_integer(labels.type) or pa.types.is_floating(labels.type):
        return integer_labels(labels.to_numpy(), where), class_names, "labels"
    raise DataError(
        f"The column {found.label!r} of {where} is {labels.type}. Name the columns of images and "
        f"class indices with {parameter('keys')}."
    )


def _check_alike(paths: Sequence[Path], columns: Sequence[str], names: object) -> None:
    """Refuse files that do not hold the same as the first.

    Args:
        paths: of the files.
        columns: the names of the image and the label column.
        names: of the classes, as the first file has them.

    Raises:
        DataError: one has other types of columns, or gives the classes other names.
    """
    import pyarrow.parquet as pq

    types = None
    for path in paths:
        schema = pq.read_schema(path)
        found = [schema.field(one).type if one in schema.names else None for one in columns]
        types = types or found
        if found != types:
            what = f"have other types in the columns {columns[0]!r} and {columns[1]!r}"
        elif _features(schema).get(columns[1], {}).get("names") != names:
            what = "give the classes other names"
        else:
            continue
        raise DataError(f"{paths[0]} and {path} {what}, so they are no parts of one data set.")


def _of_split(path: Path, split: str | None) -> tuple[tuple[Path, ...], str, tuple[str, ...]]:
    """The files of one split, where there are several, what messages call them, and warnings.

    Raises:
        DataError: there is no such split, or the folder holds several data sets.
    """
    files = _files(path)
    where = str(path)
    warnings: tuple[str, ...] = ()
    if split is not None or any(files.values()):
        chosen, split = choose_split(files, split, path)
        warnings = of_no_split("Files", files.values(), path)
        files = dict.fromkeys(chosen)
        where = f"{path}#{split}"
    folders = {file.parent for file in files}
    if len(folders) > 1:
        listed = ", ".join(sorted(str(folder.relative_to(path)) for folder in folders))
        raise DataError(f"{path} holds several data sets ({listed}). Name one of these folders.")
    return tuple(files), where, warnings


def _class_names(features: Mapping[str, Mapping], label: str, where: str) -> Sequence[str] | None:
    """The names of the classes that the features of a file give for its labels.

    Raises:
        DataError: they are something else than texts.
    """
    names = features.get(label, {}).get("names")
    if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return names
    raise DataError(
        f"The class names that {where} keeps are not a list of texts; fix its metadata."
    )


def _files(path: Path) -> dict[Path, str | None]:
    """The Parquet files at a path with the split each is in, as file or folder names say."""
    if path.is_file():
        return {path: None}
    found = (file for file in path.rglob("*.parquet") if not _is_hidden(file.relative_to(path)))
    files = sorted(found, key=lambda file: natural_key(str(file)))
    return {
        file: split_in(file.name) or (split_in(file.parent.name) if file.parent != path else None)
        for file in files
    }


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _features(schema: "pyarrow.Schema") -> Mapping[str, Mapping]:
    """What Hugging Face wrote of the columns: {"_type": "ClassLabel", "names": […]} and such."""
    try:
        content = parse_json((schema.metadata or {})[b"huggingface"])
        features = content["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: value for name, value in features.items() if isinstance(value, dict)}


def _columns(
    schema: "pyarrow.Schema",
    features: Mapping[str, Mapping],
    keys: tuple[str, str] | None,
    path: Path,
) -> tuple[str, str]:
    """The names of the image and the label column."""
    import pyarrow as pa

    if (twice := repeated(schema.names)) is not None:
        raise DataError(f"{path} has two columns named {twice!r}. Rename or remove one of them.")
    there = f"{path} has the columns {', '.join(map(repr, schema.names))}"
    image, label = keys or (
        _choose(schema, features, "Image", _IMAGE_COLUMNS, path),
        _choose(schema, features, "ClassLabel", _LABEL_COLUMNS, path),
    )
    for key, what in ((image, "images"), (label, "labels")):
        if key not in schema.names:
            missing = f"not {key!r}" if key else f"none known for {what}"
            raise DataError(
                f"{there}, {missing}. Name the columns of images and labels with "
                f"{parameter('keys')}."
            )
    kind = schema.field(image).type
    if pa.types.is_struct(kind):
        kind = next((field.type for field in kind if field.name == "bytes"), None)
    if kind not in (pa.binary(), pa.large_binary()):
        raise DataError(
            f"{there}, but {image!r} does not hold the bytes of image files. Embed them, as "
            "datasets' save_to_disk and push_to_hub do."
        )
    return image, label


def _choose(
    schema: "pyarrow.Schema",
    features: Mapping[str, Mapping],
    kind: str,
    usual: tuple[str, ...],
    path: Path,
) -> str:
    """The one column of a kind, or of a usual name; "" where there is none.

    Raises:
        DataError: several have usual names.
    """
    declared = [name for name, feature in features.items() if feature.get("_type") == kind]
    if len(declared) == 1:
        return declared[0]
    way_out = f"Name the columns of images and labels with {parameter('keys')}."
    return one_of(usual, declared or schema.names, path, "be meant", way_out) or ""


def _texts(paths: tuple[Path, ...], column: str, budgets: Budgets) -> list[str | None]:
    """The texts of a column, which share their memory where they are the same."""
    import pyarrow.parquet as pq

    found: list[str | None] = []
    for path in paths:
        texts = pq.read_table(path, columns=[column], read_dictionary=[column])[0]
        while texts.type.num_fields:  # a field of a column
            texts = texts.flatten()[0]
        for chunk in texts.chunks:
            if excess := budgets.excess_of_file(path, chunk.nbytes):
                raise DataError(f"{column!r} of {path} takes {chunk.nbytes:,} bytes, {excess}.")
            known = [*chunk.dictionary.to_pylist(), None]
            found.extend(known[place] for place in chunk.indices.fill_null(-1).to_pylist())
    return found


def _names(
    paths: tuple[Path, ...], image: str, image_type: "pyarrow.DataType", budgets: Budgets
) -> CompactNames | None:
    """The file names that the image column keeps, where every row has one."""
    import pyarrow as pa

    kinds = {f.name: f.type for f in image_type} if pa.types.is_struct(image_type) else {}
    if "path" not in kinds or pa.types.is_null(kinds["path"]):
        return None
    found = _texts(paths, f"{image}.path", budgets)
    names = [name for name in found if name is not None]
    total = sum(map(len, names))
    if excess := budgets.excess("bytes", total):
        raise DataError(f"The file names in {paths[0]} take {total:,} bytes, {excess}.")
    return CompactNames(names) if len(names) == len(found) else None


def _is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file, or a folder with some; looks no further than first images."""
    if path.is_file():
        return path.name.lower().endswith(".parquet")
    for _, folders, files in os.walk(path):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        endings = {os.path.splitext(file)[1].lower() for file in files if file[0] != "."}
        if ".parquet" in endings:
            return True
        if endings & EXTENSIONS:
            return False
    return False


PARQUET = Format("Parquet", _is_parquet, open_parquet)
