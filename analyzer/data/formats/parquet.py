"""Parquet with an image column, as Hugging Face's ``datasets`` writes it.

pyarrow is an extra of this distribution, so it is imported where it is used.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.data.decode_images import EXTENSIONS
from analyzer.data.formats.class_folders import is_looked_into
from analyzer.data.formats.format import (
    SPLIT_KEYS,
    Format,
    Wanted,
    choose_split,
    missing_parts,
    name_key,
    of_no_split,
    one_of,
    refuse_one_file_twice,
    refuse_other_splits,
    split_word,
    two_candidates,
)
from analyzer.data.formats.parquet_columns import (
    can_be_text,
    is_text,
    naming,
    other_splits,
    read_column,
    read_texts,
    rows_of_split,
    split_texts,
)
from analyzer.data.formats.parquet_footer import check_footer
from analyzer.data.formats.parquet_store import ParquetStore
from analyzer.data.labels import ClassList, integer_labels, labels_of_values, refuse_other_names
from analyzer.data.source import (
    CompactNames,
    FileStates,
    NumberedNames,
    Source,
    natural_key,
    reason_of,
)
from analyzer.errors import DataError, parameter
from analyzer.files import check_regular, check_utf8
from analyzer.input_budgets import Budgets
from analyzer.json_codec import parse_json, repeated

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

__all__ = ["PARQUET", "open_parquet"]

_ENDING = ".parquet"
_IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


def open_parquet(path: Path, wanted: Wanted) -> Source:
    """Open a Parquet file, or a folder of them, of one image column and one label column.

    A folder is as Hugging Face lays it out (``data/train-00000-of-….parquet``). Where file names
    or a column "split" name splits, one is taken, "train" by default. Keys are the names of the
    image and the label column; where none are given, the file's own features, or the usual names,
    say which they are.

    Raises:
        DataError: pyarrow is missing, the file is damaged, or there are no such columns.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            f'{path} is Parquet, which needs pyarrow: pip install "onnx-gap[parquet]".'
        ) from error
    paths, split, warnings = _of_split(path, wanted.split)
    try:
        for file in paths:
            check_regular(file)
            check_utf8(DataError, file)
        found = _read(paths, path, split, wanted)
    except DataError:
        raise
    except Exception as error:  # Arrow raises anything, from OSError to AttributeError
        raise DataError(f"{path} is not readable Parquet ({reason_of(error)}).") from error
    where = _called(path, found.split)
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
        warnings=(*warnings, *found.warnings),
    )


def _called(path: Path, split: str | None) -> str:
    return f"{path}#{split}" if split else str(path)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What files hold: the images where they are, the rest in memory."""

    store: ParquetStore
    names: CompactNames | None  # of the images; None where a row has none
    features: Mapping[str, Mapping]
    label: str  # the name of the label column
    labels: "list[str | None] | pyarrow.ChunkedArray"  # a list where they are texts
    names_beside: list[str] | None  # of the classes, where a column has them beside the indices
    split: str | None  # that they are
    warnings: tuple[str, ...]


def _read(paths: tuple[Path, ...], path: Path, split: str | None, wanted: Wanted) -> _Contents:
    """Read what is not images.

    Args:
        paths: of the files.
        path: that was given, for messages.
        split: that the names of the files say they are.
        wanted: split, keys and budgets.

    Raises:
        DataError: over a budget, damaged, or there are no such columns or rows.
        Exception: whatever else Arrow makes of damaged files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file_states = FileStates.of(*paths)
    metadata = []
    for file in paths:
        with naming(file):
            metadata.append(pq.read_metadata(file))
    count = sum(one.num_rows for one in metadata)
    if excess := wanted.budgets.excess("samples", count):
        raise DataError(f"{_called(path, split)} has {count:,} rows, {excess}.")
    with naming(paths[0]):
        schema = pq.read_schema(paths[0])
    features = _features(schema)
    image, label = _columns(schema, features, wanted.keys, paths[0])
    for file, one in zip(paths, metadata, strict=True):
        check_footer(file, one, (image, f"{image}.bytes", f"{image}.path", label))
    _check_alike(paths, (image, label), features.get(label, {}).get("names"), wanted.keys)
    telling, texts = split_texts(paths, schema, features, {image, label}, wanted.budgets)
    if telling is None:
        refuse_other_splits(other_splits(paths, schema, {image, label}, wanted.budgets), path)
    chosen, split, warnings = rows_of_split(telling, texts, split, wanted.split, path)
    warnings += _unread_features(schema, paths[0])
    image_type, label_type = schema.field(image).type, schema.field(label).type
    labels: list[str | None] | pa.ChunkedArray
    if is_text(label_type):
        labels = read_texts(paths, label, wanted.budgets)
        labels = labels if chosen is None else [labels[row] for row in chosen]
    else:
        labels = read_column(paths, label, label_type)
        labels = labels if chosen is None else labels.take(pa.array(chosen))
    names = _names(paths, image, image_type, chosen, wanted.budgets)
    named = None
    if not is_text(label_type):
        named = _names_beside(paths, schema, label, wanted)
    names_beside = named if chosen is None or named is None else [named[row] for row in chosen]
    column = f"{image}.bytes" if pa.types.is_struct(image_type) else image
    file_states.refuse_if_changed()
    store = ParquetStore(paths, column, metadata, wanted.budgets, file_states, chosen)
    return _Contents(store, names, features, label, labels, names_beside, split, warnings)


def _names_beside(
    paths: tuple[Path, ...], schema: "pyarrow.Schema", label: str, wanted: Wanted
) -> list[str] | None:
    """The names of the classes in a column beside that of their indices, if there is one."""
    key = name_key(schema.names, label, wanted.keys)
    if key is None or not can_be_text(schema.field(key).type):
        return None
    return [name or "" for name in read_texts(paths, key, wanted.budgets)]


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
    empty = [one is None for one in labels] if isinstance(labels, list) else labels.is_null()
    if (missing := np.flatnonzero(np.asarray(empty))).size:
        rows = "row has" if missing.size == 1 else "rows have"
        raise DataError(
            f"{missing.size:,} {rows} no {found.label!r} in {where}, first {samples[missing[0]]}. "
            "Leave out the rows without a label, or give them one."
        )
    if isinstance(labels, list):
        if class_names is not None and wanted.classes is None:
            raise DataError(
                f"{where} has the labels as texts, and names classes by their indices, too, so "
                "that either order can be the network's. Pass its class list with "
                f"{parameter('classes', 'FILE')}."
            )
        return labels_of_values(labels, samples, wanted.classes, where)
    if pa.types.is_integer(labels.type) or pa.types.is_floating(labels.type):
        indices = integer_labels(labels.to_numpy(), where)
        if found.names_beside is not None:
            refuse_other_names(indices, found.names_beside, wanted.classes, where)
            if class_names is not None:
                own = ClassList.of(f"the features of {where}", class_names)
                refuse_other_names(indices, found.names_beside, own, where)
        return indices, class_names, "labels"
    raise DataError(
        f"The column {found.label!r} of {where} is {labels.type}, not whole numbers. Store class "
        f"indices, or name another column with {parameter('keys')}."
    )


def _check_alike(
    paths: Sequence[Path],
    columns: tuple[str, str],
    names: object,
    keys: tuple[str, str] | None,
) -> None:
    """Refuse files that do not hold the same as the first.

    Args:
        paths: of the files.
        columns: the names of the image and the label column.
        names: of the classes, as the first file has them.
        keys: the columns that the caller names.

    Raises:
        DataError: one has other types of columns, other columns of splits, gives the classes
            other names, or has others that could be the image or the label column.
    """
    import pyarrow.parquet as pq

    types: dict[str, object] = {}
    for path in paths:
        with naming(path):
            schema = pq.read_schema(path)
        found = {one: schema.field(one).type if one in schema.names else None for one in columns}
        others = {one.strip().lower() for one in schema.names if one not in columns}
        found |= {key: key in others for key in SPLIT_KEYS}
        types = types or found
        if found != types:
            differing = next(name for name in types if found[name] != types[name])
            what = f"differ in the column {differing!r}"
        elif _features(schema).get(columns[1], {}).get("names") != names:
            what = "give the classes other names"
        elif _columns(schema, _features(schema), keys, path) != columns:
            what = "declare other columns to be images and labels"
        else:
            continue
        raise DataError(f"{paths[0]} and {path} {what}, so they are no parts of one data set.")


def _of_split(
    path: Path, split: str | None
) -> tuple[tuple[Path, ...], str | None, tuple[str, ...]]:
    """The files of one split, and its name, where file names name some; and warnings.

    Raises:
        DataError: there is no such split, or the folder holds several data sets.
    """
    files = _files(path)
    named = None
    warnings: tuple[str, ...] = ()
    if any(files.values()):
        chosen, named = choose_split(files, split, path)
        warnings = of_no_split("Files", files.values(), path)
        files = dict.fromkeys(chosen)
    folders = {file.parent for file in files}
    if len(folders) > 1:
        listed = ", ".join(sorted(str(folder.relative_to(path)) for folder in folders))
        raise DataError(f"{path} holds several data sets ({listed}). Name one of these folders.")
    if path.is_dir():
        refuse_one_file_twice(files)
        warnings += missing_parts(files, _called(path, named))
    return tuple(files), named, warnings


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
    there = (file for file in path.rglob("*") if file.name.lower().endswith(_ENDING))
    found = (file for file in there if not _is_hidden(file.relative_to(path)))
    files = sorted(found, key=lambda file: natural_key(str(file)))
    return {
        file: split_word(file.name)
        or (split_word(file.parent.name) if file.parent != path else None)
        for file in files
    }


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or not all(map(is_looked_into, path.parent.parts))


def _features(schema: "pyarrow.Schema") -> Mapping[str, Mapping]:
    """What Hugging Face wrote of the columns: {"_type": "ClassLabel", "names": […]} and such."""
    try:
        return _hugging_face(schema)
    except ValueError:  # which :func:`_unread_features` says
        return {}


def _unread_features(schema: "pyarrow.Schema", path: Path) -> tuple[str, ...]:
    """A warning where what Hugging Face wrote of the columns is nothing that it writes."""
    try:
        _hugging_face(schema)
    except ValueError as error:
        return (
            f"What the metadata of {path} say of its columns and classes, under 'huggingface', "
            f"cannot be read ({error}), so the classes have no names by it.",
        )
    return ()


def _hugging_face(schema: "pyarrow.Schema") -> dict[str, Mapping]:
    """The features that its libraries keep in the metadata of a file; none where it has none.

    Raises:
        ValueError: they are no JSON, or other JSON.
    """
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    content = parse_json(written)
    info = content.get("info", {}) if isinstance(content, dict) else None
    features = info.get("features", {}) if isinstance(info, dict) else None
    if not isinstance(features, dict) or not all(isinstance(v, dict) for v in features.values()):
        raise ValueError("no object of columns under 'info', 'features'")
    return features


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
    for name in schema.names:  # of the fields in a column, Arrow calls each so
        if "." in name and name.split(".")[0] in schema.names:
            raise DataError(
                f"{path} has a column named {name!r} beside {name.split('.')[0]!r}, so that the "
                "former could be a field of the latter. Rename it."
            )
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
            f"{there}, but {image!r} is {kind or schema.field(image).type}, not bytes of image "
            "files as Arrow's type binary. Embed them, as datasets' save_to_disk and push_to_hub "
            "do."
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
        DataError: several have usual names, or one has, and another is declared.
    """
    declared = [name for name, feature in features.items() if feature.get("_type") == kind]
    if len(declared) > 1:
        declared = [name for name in declared if name.strip().lower() not in SPLIT_KEYS]
    way_out = f"Name the columns of images and labels with {parameter('keys')}."
    if len(declared) == 1:
        (one,) = declared
        others = [] if one in usual else [name for name in usual if name in schema.names]
        if others:
            why = f"the former is declared as {kind}, and the latter has a usual name"
            raise two_candidates(path, f"the columns {one!r}", f"{others[0]!r}", why, way_out)
        return one
    return one_of(usual, declared or schema.names, path, "be meant", way_out) or ""


def _names(
    paths: tuple[Path, ...],
    image: str,
    image_type: "pyarrow.DataType",
    rows: np.ndarray | None,
    budgets: Budgets,
) -> CompactNames | None:
    """The file names that the image column keeps, where every row has one; None: numbers do.

    Args:
        paths: of the files.
        image: the name of the column.
        image_type: its type.
        rows: those that are samples; None: all.
        budgets: what the names may take.
    """
    import pyarrow as pa

    kinds = {f.name: f.type for f in image_type} if pa.types.is_struct(image_type) else {}
    numbers = None if rows is None else CompactNames(f"row {row}" for row in rows)
    if "path" not in kinds or pa.types.is_null(kinds["path"]):
        return numbers
    found = read_texts(paths, f"{image}.path", budgets)
    names = [name for name in found if name is not None]
    total = sum(map(len, names))
    if excess := budgets.excess("bytes", total):
        raise DataError(f"The file names in {paths[0]} take {total:,} bytes, {excess}.")
    if len(names) < len(found):
        return numbers
    return CompactNames(names if rows is None else [names[row] for row in rows])


def _is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file, or a folder with some; looks no further than first images."""
    if path.is_file():
        return path.name.lower().endswith(_ENDING)
    for _, folders, files in os.walk(path):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        endings = {os.path.splitext(file)[1].lower() for file in files if file[0] != "."}
        if _ENDING in endings:
            return True
        if endings & EXTENSIONS:
            return False
    return False


PARQUET = Format("Parquet", lambda name: name.lower().endswith(_ENDING), _is_parquet, open_parquet)
