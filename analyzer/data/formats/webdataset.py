"""WebDataset: tar archives in which files of one name but different endings make a sample."""

import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer.data.decode_images import EXTENSIONS
from analyzer.data.formats.class_folders import is_looked_into
from analyzer.data.formats.format import (
    Format,
    Wanted,
    choose_split,
    missing_parts,
    of_no_split,
    refuse_one_file_twice,
    split_called,
    two_candidates,
)
from analyzer.data.formats.tar_splits import (
    JsonSplits,
    OtherMembers,
    archive_split,
    splits_of_samples,
)
from analyzer.data.labels import label_value, labels_of_values, same_label
from analyzer.data.source import (
    CompactNames,
    FileStates,
    Source,
    check_length,
    natural_key,
    reason_of,
)
from analyzer.errors import DataError, parameter
from analyzer.files import check_regular
from analyzer.input_budgets import Budgets
from analyzer.json_codec import parse_json

__all__ = ["WEBDATASET", "TarStore", "open_webdataset", "refuse_packed"]

_PACKED = re.compile(
    r".*\.(tar\.(gz|bz2|xz|zst|lzma|lz4|lz|lzo|br|z)|t(gz|az|bz2?|b2|xz|zst|lz|z))",
    re.IGNORECASE | re.DOTALL,
)
_MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, Zstandard
_LONGEST_MAGIC = max(map(len, _MAGICS))
_MOST_PADDING = 1 << 24  # bytes of zeros after the last file; writers fill up to 10,240
_KEEP_ONE = "Keep one of them."
_JSON_KEYS = ("label", "cls")
_LABEL_BYTES = 1 << 20  # no label file is larger, nor what goes before a file as its header


@dataclass(frozen=True, eq=False, slots=True)
class TarStore:
    """Samples as files inside plain tar archives, read by their offsets."""

    paths: tuple[Path, ...]
    archive: np.ndarray  # int32 (S,): which of them
    offset: np.ndarray  # int64 (S,)
    size: np.ndarray  # int64 (S,)
    file_states: FileStates

    def stored(self, index: int, budgets: Budgets) -> bytes:
        path, size = self.paths[self.archive[index]], int(self.size[index])
        if excess := budgets.excess_of_file(path, size):
            raise DataError(f"it is {size:,} bytes large, {excess}")
        with path.open("rb") as file:
            file.seek(self.offset[index])
            data = file.read(size)
        if len(data) != size:
            raise OSError(f"{path} is truncated")
        return data

    def fingerprint(self) -> str:
        return self.file_states.fingerprint()

    def is_as_opened(self) -> bool:
        return self.file_states.changed() is None

    def files(self) -> list[Path]:
        return self.file_states.files()


@dataclass(slots=True)
class _Entry:
    """A sample while its archive is being indexed."""

    image: tuple[int, int] | None = None  # offset and size
    image_ending: str = ""
    labels: dict[str, int | str] = field(default_factory=dict)  # by what says it
    fault: DataError | None = None  # of a .json, which counts where nothing else has a label
    told: JsonSplits = field(default_factory=JsonSplits)


@dataclass(slots=True)
class _Index:
    """Columns of the samples found so far."""

    names: list[str] = field(default_factory=list)
    labels: list[int | str] = field(default_factory=list)
    archive: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)  # that .json files say
    other_members: OtherMembers = field(default_factory=OtherMembers)
    without_image: int = 0

    def keep(self, rows: list[int]) -> None:
        """Drop all samples but those of these rows."""
        for name in ("names", "labels", "archive", "places", "splits"):
            column = getattr(self, name)
            setattr(self, name, [column[row] for row in rows])


def open_webdataset(path: Path, wanted: Wanted) -> Source:
    """Open a tar archive or a folder of them; each is read through once for its index.

    The label is the ``.cls`` file's number or class name, or "label" or "cls" in the ``.json``
    file; where several of them are there, they say the same.
    Where something tells splits (:mod:`.tar_splits`), one is taken, "train" by default. Keys are
    the endings of the image and the label ("jpg", "cls"); where none are given, any image is taken.

    Raises:
        DataError: compressed, truncated, or a sample has no label or two images.
    """
    files: dict[Path, str | None] = {path: None}
    if path.is_dir():
        shards = [file for folder in (path, *_split_folders(path)) for file in _shards(folder)]
        files = {file: archive_split(file, path) for file in shards}
    where, split = str(path), None
    warnings: tuple[str, ...] = ()
    if any(files.values()):
        chosen, split = choose_split(files, wanted.split, path)
        warnings = of_no_split("Archives", files.values(), path)
        files = dict.fromkeys(chosen)
        where = f"{path}#{split}"
    for file in files:
        refuse_packed(file)
    if path.is_dir():
        refuse_one_file_twice(files)
        warnings += missing_parts(files, where)
    file_states = FileStates.of(*files)
    index = _Index()
    for number, file in enumerate(files):
        _index_archive(file, number, wanted, index)
    file_states.refuse_if_changed()
    if not index.names:
        files_of = "an image and a label (.cls or .json)"
        if wanted.keys:
            image, label = wanted.keys
            option = parameter("keys", f"{image},{label}")
            files_of = f"a .{image} and a .{label} file, as {option} names them without dots"
        raise DataError(
            f"{path} holds no samples of {files_of}. {parameter('keys')} names other endings."
        )
    index.other_members.refuse(where)
    told = splits_of_samples(
        index.names, index.labels, index.splits, split, where, is_asked_for=wanted.split is not None
    )
    if split is None and (any(told) or wanted.split is not None):
        rows, split = choose_split(dict(enumerate(told)), wanted.split, path)
        index.keep(rows)
        warnings += of_no_split("Samples", told, path)
        where = f"{path}#{split}"
    if twice := len(index.names) - len(set(index.names)):
        warnings += (
            f"Samples are called as others in {where}, in other archives: {twice}. If archives are "
            "there twice, remove one of them.",
        )
    labels, class_names, indexing = labels_of_values(
        index.labels, index.names, wanted.classes, where
    )
    places = np.array(index.places, np.int64)
    if index.without_image:
        left_out = (
            f"Samples without an image (a link is none) were left out of {where}: "
            f"{index.without_image}."
        )
        warnings = (*warnings, left_out)
    return Source(
        source=where,
        kind="tar",
        labels=labels,
        names=CompactNames(index.names),
        store=TarStore(
            tuple(files),
            np.array(index.archive, np.int32),
            places[:, 0],
            places[:, 1],
            file_states,
        ),
        class_names=class_names,
        indexing=indexing,
        warnings=warnings,
    )


def _shards(folder: Path) -> list[Path]:
    """The archives in a folder, compressed ones as well."""
    there = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(filter(_is_shard, there), key=lambda file: natural_key(file.name))


def _split_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are called like splits and hold archives."""
    called = [one for one in folder.iterdir() if split_called(one.name) and one.is_dir()]
    return sorted(one for one in called if any(map(_is_tar, _shards(one))))


def refuse_packed(path: Path) -> None:
    """Refuse an archive that is compressed by its name or its beginning.

    Raises:
        DataError: it is.
    """
    packed = _is_packed(path)
    if not packed and path.is_file():
        with path.open("rb") as file:
            packed = file.read(_LONGEST_MAGIC).startswith(_MAGICS)
    if packed:
        raise DataError(
            f"{path} is compressed, so that samples cannot be read singly. Unpack it; or, if it is "
            "a copy of what is beside it, move it elsewhere."
        )


class _Member(tarfile.TarInfo):
    """A file in an archive, or a header before one, of a size that can be."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        # Negative sizes lead back to the same header; long names are read whole.
        if self.size < 0 or (not self.isfile() and self.size > _LABEL_BYTES):
            raise tarfile.HeaderError(f"a header with the size {self.size}")
        return super()._proc_member(archive)  # type: ignore[misc]


def _index_archive(path: Path, number: int, wanted: Wanted, index: _Index) -> None:
    """Add the samples of one archive to the index."""
    entries: dict[str, _Entry] = {}
    try:
        try:
            check_regular(path)
        except DataError as error:
            raise DataError(f"{path} {error.message}. Move it elsewhere.") from error
        with tarfile.open(path, "r:", tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it keeps an object for every file
                if not member.isdir():
                    _add_member(archive, member, wanted.keys, entries, path)
                known = len(index.names) + len(entries)
                if excess := wanted.budgets.excess("samples", known):
                    raise DataError(f"{path} holds more than {known - 1:,} samples, {excess}.")
            _check_end(archive, path)
    except DataError:
        raise
    except Exception as error:  # offsets of 2⁸⁰, names of 4,300 digits: whatever others wrote
        reason = reason_of(error)
        raise DataError(f"{path} is not a readable plain tar archive ({reason}).") from error
    for name, entry in entries.items():
        check_length(name)
        if entry.image is None:
            index.without_image += 1
            continue
        index.labels.append(_one_label(entry, name, wanted.keys, path))
        index.splits.append(entry.told.split)
        index.other_members.add(entry.told)
        index.names.append(name)
        index.archive.append(number)
        index.places.append(entry.image)


def _one_label(entry: _Entry, name: str, keys: tuple[str, str] | None, path: Path) -> int | str:
    """The label of a sample, whoever says it.

    Raises:
        DataError: nothing does, or two say different ones.
    """
    if not entry.labels:
        wanted = f"no .{keys[1]}" if keys else "neither .cls, nor .json with 'label' or 'cls',"
        raise entry.fault or DataError(f"{name} in {path} has no label: {wanted} is there.")
    (one, label), *others = entry.labels.items()
    for other, value in others:
        if not same_label(label, value):
            raise two_candidates(
                f"{name} in {path}",
                f"the label {label!r} ({one})",
                f"{value!r} ({other})",
                "nothing says which is meant",
                _KEEP_ONE
                if one.endswith(".json") and other.endswith(".json")
                else _choose(entry.image_ending),
            )
    return label


def _choose(ending: str) -> str:
    """The way out of two images, or two labels of an image with that ending."""
    return (
        "Keep one of them, or choose the endings of images and labels, as with "
        f"{parameter('keys', f'{ending},cls')}."
    )


def _check_end(archive: tarfile.TarFile, path: Path) -> None:
    """Refuse an archive with anything but zeros where tarfile stops: what follows is not read.

    Raises:
        DataError: it is cut off, damaged in its middle, or several archives in one file.
    """
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    size, zeros = 0, True
    while (chunk := file.read(tarfile.RECORDSIZE)) and zeros and size <= _MOST_PADDING:
        zeros = not any(chunk)
        size += len(chunk)
    if not size or not zeros or size > _MOST_PADDING:
        where = archive.offset
        raise DataError(
            f"{path} is no whole tar archive: its end is missing, or something follows it, at byte "
            f"{where:,}. Fetch it again, or put its files into a new one."
        )


def _add_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    keys: tuple[str, str] | None,
    entries: dict[str, _Entry],
    path: Path,
) -> None:
    *folders, file = (part for part in f"/{member.name}".split("/") if part != ".")
    folders = list(filter(None, folders))  # ./a/b.png is a//b.png is a/b.png
    stem, _, ending = file.partition(".")
    if not stem or not all(is_looked_into(folder) for folder in folders if folder != ".."):
        return
    ending = ending.lower()
    is_image = ending == keys[0] if keys else f".{ending}" in EXTENSIONS
    is_label = ending in ((keys[1],) if keys else ("cls", "json"))
    is_link = member.issym() or member.islnk()
    if not (member.isreg() or is_link or is_image or is_label):
        return
    entry = entries.setdefault("/".join([*folders, stem]), _Entry())
    if not member.isreg():  # no link is followed, but its sample counts as one without an image
        return
    if member.issparse() and (is_image or is_label):
        raise DataError(
            f"{member.name} in {path} is stored as a sparse file, without its zeros, which is not "
            "read. Make the archive again without tar's option for sparse files (-S)."
        )
    if is_image:
        if entry.image is not None:
            way_out = _KEEP_ONE if keys or entry.image_ending == ending else _choose(ending)
            raise DataError(f"{member.name} in {path} is a second image. {way_out}")
        entry.image = member.offset_data, member.size
        entry.image_ending = ending
    elif is_label or ending == "json":  # whose splits count where its label does not
        found: dict[str, int | str] = {}
        try:
            values, told = _read_labels(archive, member, ending, path)
            if told != JsonSplits():
                entry.told = told
            if is_label:
                where = f"{member.name} in {path}"
                found = {by: label_value(one, where) for by, one in values.items()}
        except DataError as error:
            if is_label and (keys or ending != "json"):
                raise
            entry.fault = error if is_label else None
        if entry.labels.keys() & found.keys():
            raise DataError(f"{member.name} in {path} is a second label. {_KEEP_ONE}")
        entry.labels.update(found)


def _read_labels(
    archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str, path: Path
) -> tuple[dict[str, object], JsonSplits]:
    """What a ``.cls`` (text) or ``.json`` file says of labels, by where it stands, and of splits.

    A ``.json`` file may have no label or two.

    Raises:
        DataError: it cannot be read.
    """
    where = f"{member.name} in {path}"
    if member.size > _LABEL_BYTES:
        raise DataError(f"{where} is too large for a label.")
    file = archive.fileobj
    assert file is not None
    file.seek(member.offset_data)
    try:
        if len(text := file.read(member.size)) < member.size:
            raise ValueError("the archive ends before it does")
        if not ending.endswith("json"):
            return {f".{ending}": text.decode("utf-8-sig").strip()}, JsonSplits()
        content = parse_json(text.decode("utf-8-sig").strip())
    except ValueError as error:
        raise DataError(f"{where} cannot be read as a label ({error}).") from error
    if not isinstance(content, dict):
        return ({} if content is None else {f".{ending}": content}), JsonSplits()
    values = {f"{key!r} in .{ending}": content.get(key) for key in _JSON_KEYS}
    values = {by: one for by, one in values.items() if one is not None}
    return values, JsonSplits.of(content)


def _is_packed(path: Path) -> bool:
    return _PACKED.fullmatch(path.name) is not None


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(".tar")


def _is_shard(path: Path) -> bool:
    return _is_tar(path) or _is_packed(path)


def _is_webdataset(path: Path) -> bool:
    if path.is_dir():
        return any(map(_is_tar, _shards(path))) or bool(_split_folders(path))
    return _is_shard(path)


WEBDATASET = Format(
    "a WebDataset .tar", lambda name: _is_shard(Path(name)), _is_webdataset, open_webdataset
)
