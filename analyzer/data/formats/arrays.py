"""Samples held in memory as one array, ``.npz`` files of them, and values of ``.npy`` files."""

import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from analyzer.data.formats.format import Format, Wanted, one_of
from analyzer.data.labels import ClassList, integer_labels, labels_of_values
from analyzer.data.source import FileStates, NumberedNames, Source, reason_of
from analyzer.errors import DataError, parameter
from analyzer.files import is_readable_file, read_whole
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.json_codec import repeated
from analyzer.option_mechanism import parse_number

__all__ = ["NPZ", "ArrayStore", "from_arrays", "is_missing_value", "open_npz", "read_value"]

_CHANNEL_COUNTS = (1, 3, 4)
_MAGIC = 8  # bytes, before the length of the header
_LONGEST_HEADER = 10_000  # bytes, of an array's; numpy takes no more of strangers, but reads it all
_PAIRS: dict[str | None, tuple[tuple[str, str], ...]] = {
    None: (("images", "labels"), ("images", "label"), ("x", "y"), ("X", "y")),
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
}


@dataclass(frozen=True, eq=False, slots=True)
class ArrayStore:
    """Samples as rows of an array."""

    array: np.ndarray  # uint8 (S, H, W) or (S, H, W, C); or floats (S, …)
    file_states: FileStates | None = None  # of what it was read from; None: hash the values
    part: str = ""  # of the files, as keys name it

    def stored(self, index: int, budgets: Budgets) -> np.ndarray:
        return self.array[index]

    def fingerprint(self) -> str:
        if self.file_states is not None:
            return f"{self.file_states.fingerprint()} {self.part}".rstrip()
        values = np.ascontiguousarray(self.array)
        head = f"{values.dtype} {values.shape}".encode()
        return hashlib.sha256(head + hashlib.sha256(values.data).digest()).hexdigest()

    def is_as_opened(self) -> bool:
        return self.file_states is None or self.file_states.changed() is None

    def files(self) -> list[Path]:
        return [] if self.file_states is None else self.file_states.files()


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    source: str,
    kind: str = "arrays",
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    file_states: FileStates | None = None,
    part: str = "",
    classes: ClassList | None = None,
    budgets: Budgets = DEFAULT_BUDGETS,
) -> Source:
    """A source over arrays in memory.

    Args:
        images: uint8 images (S, H, W), (S, H, W, C) or (S, C, H, W) with C of 1, 3 or 4, which
            go through the preprocessing; or floats (S, …), which are fed as they are. Whole
            numbers of a wider type are taken as uint8 where they fit.
        labels: (S,) class indices, or texts: indices where all are numbers, else names.
        source: what to call it in records and errors.
        class_names: by class index.
        names: of the samples; their numbers by default.
        file_states: of what the arrays were read from; by default :meth:`Source.fingerprint`
            hashes the values.
        part: what of the files the arrays are, where they hold more.
        classes: the network's class list, which indexes labels that are names.
        budgets: how many samples they may be.

    Raises:
        DataError: shapes, types or lengths do not fit.
    """
    try:
        images, labels = np.asarray(images), np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:  # of torch's tensors, say
        raise DataError(f"The images or labels in {source} are no array ({error}).") from error
    if images.ndim < 2:
        raise DataError(
            f"The images in {source} have shape {images.shape}; the samples must lie along the "
            "first of at least two axes."
        )
    if 0 in images.shape[1:]:
        raise DataError(f"The images in {source} have shape {images.shape}, so they are empty.")
    if labels.ndim and len(images) != len(labels):
        raise DataError(f"{source} holds {len(images)} images but {len(labels)} labels.")
    if excess := budgets.excess("samples", len(images)):
        raise DataError(f"{source} holds {len(images):,} samples, {excess}.")
    sample_names = NumberedNames(len(images)) if names is None else names
    indexing = "labels"
    if labels.dtype.kind in "SU":
        texts = _texts(labels, source)
        labels, class_names, indexing = labels_of_values(texts, sample_names, classes, source)
    labels = integer_labels(labels, source)
    warnings: tuple[str, ...] = ()
    if images.dtype.kind in "iu" and images.dtype != np.uint8:
        if images.size and not 0 <= images.min() <= images.max() <= 255:
            raise DataError(
                f"The images in {source} are {images.dtype} and not all within 0 to 255. Store "
                "8-bit images as uint8, or what the network takes as floats."
            )
        warnings = (f"The {images.dtype} images in {source} were taken as 8-bit images.",)
        images = images.astype(np.uint8)
    if images.dtype == np.uint8:
        if images.ndim == 4 and {images.shape[1], images.shape[3]} <= set(_CHANNEL_COUNTS):
            warnings += (
                f"The uint8 images in {source} have shape {images.shape} and were taken as (S, H, "
                "W, C). If they are (S, C, H, W), move the axis of channels to the end.",
            )
        images = _channels_last(images, source)
    elif images.dtype.kind != "f":
        raise DataError(
            f"The images in {source} are {images.dtype}. Store 8-bit images as uint8, or what the "
            "network takes as floats."
        )
    return Source(
        source=source,
        kind=kind,
        labels=labels,
        names=sample_names,
        store=ArrayStore(images, file_states, part),
        class_names=None if class_names is None else tuple(class_names),
        indexing=indexing,
        warnings=warnings,
    )


def _texts(labels: np.ndarray, source: str) -> list[str]:
    """Labels that are texts, one a sample.

    Raises:
        DataError: bytes that are not UTF-8, or more than one a sample.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"The labels in {source} have shape {labels.shape}; one a sample is wanted."
        )
    try:
        return [one.decode() if isinstance(one, bytes) else one for one in labels.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"The labels in {source} are bytes that are not UTF-8 ({error}).") from None


def open_npz(path: Path, wanted: Wanted) -> Source:
    """Open an ``.npz`` file of images and labels; pickled objects are never read.

    The split is "train", "test" or "val" in files that hold several (``x_train``, …). Where no
    keys are given, the usual ones are tried.

    Raises:
        DataError: not such a file, other keys, several usual ones of the same, pickled objects, or
            unfit arrays.
    """
    file_states = FileStates.of(path)
    with path.open("rb") as file:
        magic = np.lib.format.MAGIC_PREFIX
        if file.read(len(magic)) == magic:
            raise DataError(f"{path} is a single array. Save images and labels with numpy.savez.")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz file ({error}).") from error
    with archive:
        members = {_key(info): info for info in archive.infolist()}
        images_key, labels_key, split = _choose_keys(list(members), path, wanted)
        keys = (images_key, labels_key)
        _check_sizes(path, archive, keys, wanted.budgets)
        images, labels = (_read(archive, members[key], path) for key in keys)
    file_states.refuse_if_changed()
    return from_arrays(
        images,
        labels,
        source=f"{path}#{split}" if split else str(path),
        kind="npz",
        file_states=file_states,
        part=f"{images_key} {labels_key}",
        classes=wanted.classes,
        budgets=wanted.budgets,
    )


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array of an archive.

    Raises:
        DataError: damaged, or pickled objects.
    """
    key = _key(member)
    try:
        with archive.open(member) as file:
            return _read_npy(file, member.file_size)
    except Exception as error:  # zipfile and numpy raise anything of damaged files
        pickled = "Object arrays" in str(error)
        reason = "pickled objects are never read" if pickled else reason_of(error)
        raise DataError(
            f"{key!r} of {path} cannot be read ({reason}). Save plain arrays of numbers."
        ) from error


def _read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """The array in a file of that many bytes, of which the header is checked first.

    Raises:
        ValueError: the header is longer than any, or tells of more or fewer values than there are;
            the file is damaged, or the array has pickled objects.
    """
    version = np.lib.format.read_magic(file)
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes")
    file.seek(_MAGIC)
    read = (
        np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    held, promised = size - _MAGIC - width - length, math.prod(shape) * dtype.itemsize
    if held != promised and not dtype.hasobject:
        raise ValueError(
            f"its header tells of {promised:,} bytes, of the shape {shape}, and {held:,} follow"
        )
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _check_sizes(
    path: Path, archive: zipfile.ZipFile, keys: Sequence[str], budgets: Budgets
) -> None:
    """Refuse arrays that decompress to more than the budget, or are there twice.

    zipfile holds them to their sizes.
    """
    names = [_key(info) for info in archive.infolist()]
    if (twice := repeated([name for name in names if name in keys])) is not None:
        raise DataError(f"{path} holds {twice!r} twice. Save it again with one of them.")
    total = sum(info.file_size for info in archive.infolist() if _key(info) in keys)
    if excess := budgets.excess_of_file(path, total):
        raise DataError(f"The arrays in {path} decompress to {total:,} bytes, {excess}.")


def _key(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def read_value(text: str, budgets: Budgets = DEFAULT_BUDGETS) -> np.ndarray:
    """A number, or the array in a ``.npy`` file: what another input of a network is fed.

    A file may hold infinite values, as masks do.

    Raises:
        DataError: it is neither, or not a number that is finite.
    """
    if (number := _number(text)) is not None:
        if not np.isfinite(number):
            raise DataError(f"{text!r} is not a finite number. Give one, or a .npy file.")
        return number
    try:
        content = read_whole(Path(text), budgets)
    except DataError as error:
        raise DataError(f"{text!r} is no number, and the file {error.message}.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{text!r} is no number, and no .npy file: {reason_of(error)}.") from None
    try:
        found = _read_npy(io.BytesIO(content), len(content))
    except Exception:  # its header is a stranger's Python text
        raise DataError(f"{text} is not a .npy file of numbers.") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise DataError(f"{text} holds no array of numbers. Save one with numpy.save.")
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise DataError(f"{text} holds values that are not numbers (NaN). Save it without them.")
    return found


def is_missing_value(text: str) -> bool:
    """Whether it is no number, for :func:`read_value`, and no file that is there."""
    return _number(text) is None and not is_readable_file(text)


def _number(text: str) -> np.ndarray | None:
    with suppress(ValueError):
        number = parse_number(text)
        with suppress(ValueError, OverflowError):  # a whole one, to the last digit
            return np.asarray(np.int64(text))
        return np.asarray(np.float64(number))
    return None


def _choose_keys(present: Sequence[str], path: Path, wanted: Wanted) -> tuple[str, str, str | None]:
    """The keys of images and labels, and the split they are (None where there are no splits)."""
    there = f"{path} holds {', '.join(map(repr, present)) or 'nothing'}"
    name_them = f"Name two of these with {parameter('keys')}."
    if wanted.keys is not None:
        missing = [key for key in wanted.keys if key not in present]
        if missing:
            raise DataError(f"{there}, not {missing[0]!r}. {name_them}")
        if wanted.split is not None:
            raise DataError(
                f"{path}#{wanted.split} names the arrays of a split, and {parameter('keys')} names "
                "others. Leave one of them out."
            )
        return *wanted.keys, None
    splits = (wanted.split,) if wanted.split else (None, "train")
    pairs: list[tuple[str, str, str | None]] = []
    for split in splits:
        if split not in _PAIRS:
            raise DataError(
                f"{path}#{split} does not exist: a .npz file has the splits train, test and val."
            )
        pairs += [(*pair, split) for pair in _PAIRS[split]]
    found = [pair for pair in pairs if _has_pair(present, [pair[:2]])]
    if found:
        images, labels, _ = found[0]
        say_which = f"Say which are meant, as with {parameter('keys', f'{images},{labels}')}."
        for place, meant in enumerate(("be the images", "be the labels")):
            usual = list(dict.fromkeys(pair[:2][place] for pair in pairs))
            one_of(usual, present, path, meant, say_which, what="arrays")
        return found[0]
    wanted_pairs = " or ".join(f"{a!r} and {b!r}" for a, b in _PAIRS[wanted.split])
    if wanted.split is None:
        held = (split for split, pairs in _PAIRS.items() if split and _has_pair(present, pairs))
        if other := next(held, None):
            name_them = f"For its split {other!r}, give {path}#{other}."
    raise DataError(f"{there}, not {wanted_pairs}. {name_them}")


def _has_pair(present: Sequence[str], pairs: Sequence[tuple[str, str]]) -> bool:
    return any(set(pair) <= set(present) for pair in pairs)


def _channels_last(images: np.ndarray, source: str) -> np.ndarray:
    """uint8 images as (S, H, W) or (S, H, W, C), without copying."""
    if images.ndim == 3:
        return images
    if images.ndim == 4 and images.shape[3] in _CHANNEL_COUNTS:
        return images[..., 0] if images.shape[3] == 1 else images
    if images.ndim == 4 and images.shape[1] in _CHANNEL_COUNTS:
        return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    raise DataError(
        f"The uint8 images in {source} have shape {images.shape}; wanted are (S, H, W), "
        "(S, H, W, C) or (S, C, H, W) with 1, 3 or 4 channels. Or store floats, which are fed as "
        "they are."
    )


NPZ = Format(
    "a .npz file of images and labels",
    lambda name: name.lower().endswith(".npz"),
    lambda path: path.is_file() and path.name.lower().endswith(".npz"),
    open_npz,
)
