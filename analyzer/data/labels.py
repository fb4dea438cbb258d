"""Labels: class indices of samples, read or made from names by a class list, checked, drawn."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.data.source import Source, natural_key
from analyzer.errors import DataError, parameter
from analyzer.json_codec import repeated

__all__ = [
    "ClassList",
    "check_class_names",
    "check_classes",
    "index_names",
    "integer_labels",
    "is_index",
    "label_text",
    "label_value",
    "labels_of_values",
    "limit_per_class",
    "refuse_other_names",
    "same_label",
]


_HIGHEST = 2**63 - 1  # label that int64 holds
_SHOWN = 40  # characters of a label in an error
_WHOLE = re.compile(r"(-?[0-9]+)\.0*")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SCIENTIFIC = re.compile(r"-?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # as numpy.savetxt writes numbers
_DIGITS = 100  # Python reads no number of more than 4,300, and no label has as many


@dataclass(frozen=True, slots=True)
class ClassList:
    """The names of a network's classes by index."""

    path: str
    names: tuple[str, ...]
    index: Mapping[str, int]  # the first, of a name that is there twice

    @classmethod
    def of(cls, path: str, names: Sequence[str]) -> "ClassList":
        """The list of these names, in their order."""
        first_index = {name: index for index, name in reversed(list(enumerate(names)))}
        return cls(path, tuple(names), first_index)


def index_names(
    found: Sequence[str], classes: ClassList | None, where: str
) -> tuple[list[int], tuple[str, ...], str]:
    """Class indices of the names found in the data.

    Args:
        found: distinct names in natural order.
        classes: the network's class list, if given.
        where: what to call the data in errors.

    Returns:
        the index of each name, the class names by index, and how the indices came about:
        "classes" or "order". In the list, words may follow the name ("n01440764 tench").
        Where all names are numbers and the list has none of them, a name is the index itself.

    Raises:
        DataError: a name that the list does not have, or has twice; or two that are one index.
    """
    if classes is None:
        return list(range(len(found))), tuple(found), "order"
    names: Sequence[str] = classes.names
    if not any(name in classes.index for name in found):
        names = [name.split()[0] if name.split() else name for name in names]
    times = Counter(names)
    unknown = [name for name in found if name not in times]
    if len(unknown) == len(found) and all(
        is_index(name) and int(name) < len(names) for name in found
    ):
        indices = [int(name) for name in found]
        if (twice := repeated(map(str, indices))) is not None:
            raise DataError(
                f"Two classes of {where} have names that are the class index {twice}, with and "
                "without zeros before it. Rename or remove one."
            )
        return indices, classes.names, "classes"
    if unknown:
        raise DataError(
            f"The class {unknown[0]!r} of {where} is not in the class list {classes.path} (which "
            f"begins with {classes.names[0]!r}); {len(unknown)} of {len(found)} classes are not."
        )
    for name in found:
        if times[name] > 1:
            raise DataError(f"The class list {classes.path} has {name!r} twice.")
    index = {name: place for place, name in enumerate(names)}
    if names is not classes.names:
        behind = {" ".join(name.split()[1:]): place for place, name in enumerate(classes.names)}
        for name in found:
            if behind.get(name, index[name]) != index[name]:
                raise DataError(
                    f"The class {name!r} of {where} is the first word of one class in the class "
                    f"list {classes.path}, and the rest of another. Write the list as text with a "
                    "name a line, of the words that the data use."
                )
    indices = [index[name] for name in found]
    return indices, classes.names, "classes"


def integer_labels(values: object, where: str) -> np.ndarray:
    """Labels as int64 (S,); a column (S, 1) and whole-number floats are accepted.

    Raises:
        DataError: not one whole non-negative number a sample.
    """
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"The labels in {where} have shape {labels.shape}; one class index a sample is "
            "wanted. Take the argmax of one-hot rows."
        )
    if labels.dtype.kind == "f":
        labels = _whole_numbers(labels, where)
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"The labels in {where} are {labels.dtype}, not integers. Store class indices 0, 1, …"
            " instead."
        )
    if labels.dtype == np.uint64 and labels.size and int(labels.max()) > _HIGHEST:
        raise _too_high(int(labels.max()), where)
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < 0:
        index = int(np.argmin(labels))
        raise DataError(
            f"The label of sample {index} in {where} is {labels[index]}, but class indices start "
            "at 0. Drop the samples without a label."
        )
    return labels


def _whole_numbers(labels: np.ndarray, where: str) -> np.ndarray:
    """Floating point labels (S,) as int64.

    Raises:
        DataError: one is no whole number, or too high.
    """
    labels = labels.astype(np.promote_types(labels.dtype, np.float64))  # float16 holds no 2⁶³
    whole = np.isfinite(labels)
    whole[whole] = labels[whole] % 1 == 0
    if not whole.all():
        index = int(np.argmin(whole))
        way_out = (
            "Store" if np.isfinite(labels[index]) else "Drop the samples without a label, or store"
        )
        raise DataError(
            f"The label of sample {index} in {where} is {labels[index]}, which is no whole "
            f"number. {way_out} class indices 0, 1, … for all."
        )
    if labels.size and labels.max() >= _HIGHEST:
        raise _too_high(int(labels.max()), where)
    return labels.astype(np.int64)


def label_value(label: object, where: str) -> int | str:
    """A label as JSON has it: an index or a name; whole numbers are indices also as 1.0.

    Raises:
        DataError: it is something else; ``where`` begins the message.
    """
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise DataError(
            f"{where} has label {label!r}; wanted is a class index, or a name in quotation marks."
        )
    if isinstance(label, int) and abs(label) > _HIGHEST:  # many of them may have the same hash
        raise _too_high(label, where)
    return label


def same_label(one: int | str, other: int | str) -> bool:
    """Whether two labels say the same: 2, "2" and "2.0" do."""
    return label_text(one) == label_text(other)


def labels_of_values(
    values: Sequence[int | str | None],
    samples: Sequence[str],
    classes: ClassList | None,
    where: str,
) -> tuple[np.ndarray, tuple[str, ...] | None, str]:
    """Labels of samples whose classes are given as numbers, or as names of classes.

    Args:
        values: S numbers, or texts; texts that are all numbers count as numbers.
        samples: what the S samples are called.
        classes: the network's class list, if given.
        where: what to call the data in errors.

    Returns:
        int64 (S,) class indices, class names by index if there are any, and how the indices
        came about, as :attr:`Source.indexing` says.

    Raises:
        DataError: a value is missing, a name is not in the class list, or without a list some
            values are numbers and others are not.
    """
    missing = [i for i, value in enumerate(values) if value is None or value == ""]
    if missing:
        raise DataError(f"Sample {samples[missing[0]]} of {where} has no label.")
    distinct = {value: label_text(value, classes) for value in set(values)}
    if all(_is_number(text) for text in distinct.values()):
        numbers = {value: int(text) for value, text in distinct.items()}
        if classes:
            _refuse_numbers_that_are_names(values, classes, where)
        for number in numbers.values():
            if abs(number) > _HIGHEST:
                raise _too_high(number, where)
        labels = np.fromiter((numbers[value] for value in values), np.int64, len(values))
        return integer_labels(labels, where), None, "labels"
    if classes is None:
        _refuse_other_numbers([distinct[value] for value in values], samples, where)
        _refuse_mixed([_is_number(distinct[value]) for value in values], values, samples, where)
    names = sorted(set(distinct.values()), key=natural_key)
    indices, class_names, indexing = index_names(names, classes, where)
    index_of = dict(zip(names, indices, strict=True))
    numbers = {value: index_of[text] for value, text in distinct.items()}
    labels = np.fromiter((numbers[value] for value in values), np.int64, len(values))
    return labels, class_names, indexing


def _refuse_numbers_that_are_names(
    values: Sequence[int | str | None], classes: ClassList, where: str
) -> None:
    """Refuse texts of digits that the class list has as the names of other indices."""
    for value in set(values):
        if not isinstance(value, str):
            continue
        text = label_text(value)
        if classes.index.get(text, int(text)) != int(text):
            raise DataError(
                f"The label {text!r} of {where} can be the index {text}, or the class that "
                f"{classes.path} calls {text!r} and has at {classes.index[text]}. Give the labels "
                "as names that are no numbers, or leave the class list out."
            )


def refuse_other_names(
    labels: np.ndarray, names: Sequence[str], classes: ClassList | None, where: str
) -> None:
    """Refuse names beside class indices that contradict each other, or the class list.

    Args:
        labels: int64 (S,).
        names: S names of these classes; "" where there is none.
        classes: the network's class list, if given.
        where: what to call the data in errors.

    Raises:
        DataError: an index has two names, or another place in the list than its name.
    """
    named: dict[int, str] = {}
    for label, name in zip(labels.tolist(), names, strict=True):
        if name and (other := named.setdefault(label, name)) != name:
            raise DataError(
                f"{where} calls the class {label} {other!r} and {name!r}. Correct it, or name the "
                f"column of labels that counts with {parameter('keys')}."
            )
    if classes is None:
        return
    for label, name in named.items():
        place = classes.index.get(name, label)
        if place != label and classes.names[label : label + 1] != (name,):
            raise DataError(
                f"{where} calls the class {label} {name!r}, which {classes.path} has at {place}. "
                f"Correct one of them, or have names decide: name their column with "
                f"{parameter('keys')}."
            )


def check_classes(source: Source, classes: int, *, exact: bool = True) -> None:
    """Check the labels against the number of classes that the network names.

    Args:
        source: of the labels.
        classes: how many the network has.
        exact: False where it may have more.

    Raises:
        DataError: a label outside the network's classes, a class list of another length, more
            names in the data than the network has classes, or class indices made from the order of
            names although their number is not the network's.
    """
    names = source.class_names or ()
    if source.class_list is not None and exact and len(names) != classes:
        raise DataError(
            f"The class list {source.class_list} names {len(names):,} classes but the network has "
            f"{classes:,}. Pass a list with a name for each of the network's classes, in its "
            f"order, with {parameter('classes', 'FILE')}."
        )
    if source.indexing == "order" and source.class_names and len(source.class_names) != classes:
        raise DataError(
            f"{source.source} has {len(source.class_names)} classes but the network has "
            f"{classes}, so their indices are not the order of their names. Pass the network's "
            f"own class list with {parameter('classes', 'FILE')}."
        )
    if source.indexing == "labels" and source.class_list is None and len(names) > classes:
        raise DataError(
            f"{source.source} names {len(names):,} classes but the network has {classes:,}, so "
            "their indices may be others. Pass the network's own class list with "
            f"{parameter('classes', 'FILE')}."
        )
    highest = int(source.labels.max())
    if highest >= classes:
        index = int(np.argmax(source.labels))
        question = "Is this the data that the network was trained on?"
        if highest == classes and source.labels.min() == 1:
            question = "They begin with 1: subtract 1 from all if class 1 is the network's first."
        raise DataError(
            f"Sample {source.names[index]} of {source.source} has label {highest}, outside the "
            f"network's {classes} classes (0 to {classes - 1}). {question}"
        )


def check_class_names(
    source: Source, trained: Mapping[int, str], train_data: str, *, by_order: bool = False
) -> None:
    """Check that the classes of test data are those of the training data, as far as names tell.

    Args:
        source: the test data.
        trained: names of the classes of the training data, by index; the index itself is no name.
        train_data: what to call these.
        by_order: whether the indices of the training data are the order of their names.

    Raises:
        DataError: an index has another name; or one has names, whose order alone gives them
            indices, and the other has indices without names.
    """
    tested = dict(enumerate(source.class_names or ()))
    named = [any(name != str(index) for index, name in one.items()) for one in (tested, trained)]
    made = [source.indexing == "order", by_order]
    for place, (one, other) in enumerate(
        ((source.source, train_data), (train_data, source.source))
    ):
        if named[place] and made[place] and not named[1 - place]:
            raise DataError(
                f"{one} has names of classes, and {other} has their indices alone, so that nothing "
                "says which name has which index. Pass the network's class list with "
                f"{parameter('classes', 'FILE')}."
            )
    for index, name in enumerate(source.class_names or ()):
        if str(index) not in (name, known := trained.get(index, name)) and known != name:
            raise DataError(
                f"Class {index} is {name!r} in {source.source} and {known!r} in "
                f"{train_data}, so their labels are not the same classes. Give both the same "
                f"classes, or pass the network's class list with {parameter('classes', 'FILE')}."
            )


def limit_per_class(labels: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """Indices (int64, ascending) of at most ``limit`` samples of each class, drawn at random.

    A class's draw depends only on the seed, the class and its number of samples.
    """
    if limit < 1:
        raise DataError(
            f"{parameter('limit_per_class', limit)} leaves no samples; at least 1 is wanted."
        )
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    chosen = []
    for label, members in zip(classes, np.split(order, starts[1:]), strict=True):
        if len(members) > limit:
            generator = np.random.default_rng((seed, int(label)))
            members = generator.choice(members, limit, replace=False)
        chosen.append(members)
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def label_text(value: object, classes: ClassList | None = None) -> str:
    """A label as text; "2.0", as tables with empty cells are written, is 2, and so is "2.0e+00"."""
    text = str(value).strip()
    if classes and text in classes.index:
        return text
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    if len(text) < _DIGITS and _SCIENTIFIC.fullmatch(text):
        number = float(text)
        if number.is_integer() and abs(number) <= _HIGHEST:
            return str(int(number))
    return text


def _refuse_other_numbers(labels: Sequence[str], samples: Sequence[str], where: str) -> None:
    """Refuse labels that are numbers, but no class indices: as names they would be indexed."""
    for index, label in enumerate(labels):
        if _NUMBER.fullmatch(label) and not _is_number(label):
            raise DataError(
                f"Sample {samples[index]} of {where} has the label {_shown(label)!r}, which is no "
                "class index. Correct it; or, if it is the name of a class, pass the network's "
                f"class list with {parameter('classes', 'FILE')}."
            )


def _refuse_mixed(
    is_number: Sequence[bool],
    values: Sequence[int | str | None],
    samples: Sequence[str],
    where: str,
) -> None:
    """Refuse labels of which some are numbers and others names; the rarer kind is the stray one.

    As names, all of them would be indexed by their order, and a number would not be its own index.
    """
    numbers = sum(is_number)
    if not 0 < numbers < len(values):
        return
    most_are_numbers = 2 * numbers >= len(values)
    stray = is_number.index(not most_are_numbers)
    shown = _shown(str(values[stray]))
    most, kind = (numbers, "numbers") if most_are_numbers else (len(values) - numbers, "names")
    raise DataError(
        f"Sample {samples[stray]} of {where} has the label {shown!r}, but {most:,} of the "
        f"{len(values):,} labels are {kind}. Correct it; or, if all are names of classes, pass the "
        f"network's class list with {parameter('classes', 'FILE')}."
    )


def _shown(label: str) -> str:
    return label if len(label) <= _SHOWN else f"{label[:_SHOWN]}…"


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return len(text) < _DIGITS and digits.isascii() and digits.isdecimal()


def is_index(value: object) -> bool:
    """Whether a number or text can be a class index."""
    if not isinstance(value, int | str) or not _is_number(str(value)):
        return False
    return 0 <= int(value) <= _HIGHEST  # many above that may have the same hash


def _too_high(label: int, where: str) -> DataError:
    return DataError(f"{where} has the label {label}, which is no index of a class.")
