"""Which split each sample of ``.tar`` archives is in, by all that can tell it.

Archives tell it by their names or the folders that they are in, samples by folders in their names
and by a member "split" of their ``.json`` files. What contradicts itself is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from analyzer.data.formats.format import (
    SPLIT_KEYS,
    refuse_other_splits,
    split_called,
    split_in,
    split_told,
    split_word,
)
from analyzer.data.labels import label_text
from analyzer.errors import DataError

__all__ = ["JsonSplits", "OtherMembers", "archive_split", "splits_of_samples"]

_LEVELS = 8  # of folders in an archive that are looked at
_MOST_MEMBERS = 16  # of a .json file that are kept


def archive_split(file: Path, folder: Path) -> str | None:
    """What an archive's name, or the folder that it is in, calls its split; None: nothing.

    Args:
        file: the archive.
        folder: that was given; the archive lies in it, or in a folder of it.

    Raises:
        DataError: the two are of different splits.
    """
    by_folder = None if file.parent == folder else file.parent.name
    by_name = split_word(file.name)
    if by_folder and by_name and split_in(by_folder) != split_in(by_name):
        raise DataError(
            f"{file} is called as a split, {by_name!r}, and in a folder that is called as another, "
            f"{by_folder!r}. Move it, or give it another name."
        )
    return by_folder or by_name


@dataclass(frozen=True, slots=True)
class JsonSplits:
    """What the ``.json`` file of a sample says of splits."""

    split: str | None = None  # the sample's own
    others: Mapping[str, str] = field(default_factory=dict)  # of members that are not called so

    @classmethod
    def of(cls, content: Mapping[str, object]) -> "JsonSplits":
        """What the members of a file say."""
        called = {key: value for key, value in content.items() if _calls(key)}
        split = next(filter(None, map(split_told, called.values())), None)
        others = (
            (key, told)
            for key, value in content.items()
            if key not in called and (told := split_called(str(value).strip()))
        )
        return cls(split, dict(islice(others, _MOST_MEMBERS)))


def _calls(key: str) -> bool:
    return key.strip().lower() in SPLIT_KEYS


class OtherMembers:
    """Members of ``.json`` files that tell splits of every sample, and are not called so."""

    def __init__(self) -> None:
        self._found: dict[str, set[str]] | None = None

    def add(self, said: JsonSplits) -> None:
        """Take what is said of the next sample."""
        if self._found is None:
            self._found = {key: set() for key in said.others}
        known = self._found.keys() & said.others.keys()
        self._found = {key: self._found[key] | {said.others[key]} for key in known}

    def refuse(self, where: object) -> None:
        """Refuse them where they tell several.

        Raises:
            DataError: they do.
        """
        refuse_other_splits(self._found or {}, where, what="member")


def splits_of_samples(
    names: Sequence[str],
    labels: Sequence[int | str],
    by_json: Sequence[str | None],
    taken: str | None,
    where: str,
    *,
    is_asked_for: bool,
) -> list[str | None]:
    """What folders in the names of samples, or their ``.json`` files, call the split of each.

    Args:
        names, labels, by_json: of the samples; the latter is what their ``.json`` files call it.
        taken: the split of their archives, if these tell it.
        where: what to call the data in errors.
        is_asked_for: whether one split is.

    Returns:
        None for samples of which nothing tells it, all of them or, if one is asked for, some.

    Raises:
        DataError: two things contradict each other, or only some samples are told.
    """
    told: list[str | None] = []
    for name, folders, split in zip(names, _told_by_folders(names, labels), by_json, strict=True):
        said = [*folders, *([split] if split else []), *([taken] if taken else [])]
        if len(set(said)) > 1 and len(set(map(split_in, said))) > 1:
            one = next(other for other in said if split_in(other) != split_in(said[0]))
            raise DataError(
                f"{name} in {where} is of split {said[0]!r} and of {one!r}, by its folders, its "
                ".json file or the name of its archive. Correct one of them, or move it elsewhere."
            )
        told.append(said[0] if said else None)
    if any(told) and None in told and not is_asked_for:
        raise DataError(
            f"{where} has samples whose folders or .json files name a split, {_listed(told)}, "
            "beside others that are in none. Choose a split, as PATH#"
            f"{split_in(next(filter(None, told)))}, or put the samples of each into archives of "
            "their own."
        )
    return told


def _told_by_folders(names: Sequence[str], labels: Sequence[int | str]) -> list[list[str]]:
    """The folders of each sample that are called as splits.

    One alone may be a class instead: it is if it holds all samples of a class and no others, as
    "train" does among vehicles. Words in the names of folders count where all folders of one level
    have some, of several splits: a class may be called "bullet train".
    """
    places = [name.rpartition("/")[0] for name in names]
    parts = {
        place: [one for one in place.split("/") if one not in ("", ".")][:_LEVELS]
        for place in set(places)
    }
    called = {place: list(filter(split_called, inner)) for place, inner in parts.items()}
    folders, told = ([one[place] for place in places] for one in (parts, called))
    if by_words := _told_by_words(folders):
        return [[*one, *some] for one, some in zip(by_words, told, strict=True)]
    if len({one for some in told for one in some}) == 1 and not all(told):
        inside, outside = set[str](), set[str]()
        for some, label in zip(told, map(label_text, labels), strict=True):
            (inside if some else outside).add(label)
        if len(inside) == 1 and not inside & outside:
            return [[] for _ in told]
    return told


def _told_by_words(folders: Sequence[Sequence[str]]) -> list[list[str]]:
    for level in range(min(map(len, folders), default=0)):
        names = [one[level] for one in folders]
        words = {name: split_in(name) for name in set(names)}
        if all(words.values()) and len(set(words.values())) > 1:
            return [[name] for name in names]
    return []


def _listed(told: Collection[str | None]) -> str:
    return " and ".join(sorted({repr(name) for name in told if name}))
