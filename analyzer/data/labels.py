"""Class indices of samples: read, made from names, checked, drawn."""

from collections.abc import Sequence

import numpy as np

from analyzer.data.classes import ClassList, index_names
from analyzer.data.names import natural_key
from analyzer.data.source import Source
from analyzer.errors import DataError

__all__ = ["check_classes", "integer_labels", "labels_of_values", "limit_per_class"]


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
            f"the labels in {where} have shape {labels.shape}; one class index a sample is "
            "wanted (take the argmax of one-hot rows)"
        )
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"the labels in {where} are {labels.dtype}, not integers; store class indices 0, 1, …"
        )
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < 0:
        index = int(np.argmin(labels))
        raise DataError(
            f"the label of sample {index} in {where} is {labels[index]}; class indices start at 0 "
            "(drop the samples without a label)"
        )
    return labels


def labels_of_values(
    values: Sequence[object], classes: ClassList | None, where: str
) -> tuple[np.ndarray, tuple[str, ...] | None, str]:
    """Labels of samples whose classes are given as numbers, or as names of classes.

    Args:
        values: S numbers, or texts; texts that are all numbers count as numbers.
        classes: the network's class list, if given.
        where: what to call the data in errors.

    Returns:
        int64 (S,) class indices, class names by index if there are any, and how the indices
        came about, as :attr:`Source.indexing` says.

    Raises:
        DataError: a value is missing, or a name is not in the class list.
    """
    missing = [i for i, value in enumerate(values) if value is None or value == ""]
    if missing:
        raise DataError(f"sample {missing[0]} in {where} has no label")
    distinct = {value: str(value).strip() for value in set(values)}
    if all(_is_number(text) for text in distinct.values()):
        numbers = {value: int(text) for value, text in distinct.items()}
        labels = np.fromiter((numbers[value] for value in values), np.int64, len(values))
        return integer_labels(labels, where), None, "labels"
    names = sorted(set(distinct.values()), key=natural_key)
    indices, class_names, indexing = index_names(names, classes, where)
    index_of = dict(zip(names, indices, strict=True))
    numbers = {value: index_of[text] for value, text in distinct.items()}
    labels = np.fromiter((numbers[value] for value in values), np.int64, len(values))
    return labels, class_names, indexing


def check_classes(source: Source, classes: int) -> None:
    """Check the labels against the number of classes that the network names.

    Raises:
        DataError: a label outside the network's classes, or class indices made from the order
            of names although their number is not the network's.
    """
    if source.indexing == "order" and source.class_names and len(source.class_names) != classes:
        raise DataError(
            f"{source.source} has {len(source.class_names)} classes but the network has "
            f"{classes}, so the order of names cannot tell their indices; pass the network's "
            "own class list with --classes FILE"
        )
    highest = int(source.labels.max())
    if highest >= classes:
        index = int(np.argmax(source.labels))
        question = "is this the data that the network was trained on?"
        if highest == classes and source.labels.min() == 1:
            question = "they begin with 1: subtract 1 from all, if class 1 is the network's first"
        raise DataError(
            f"sample {source.names[index]} of {source.source} has label {highest}, outside the "
            f"network's {classes} classes (0 to {classes - 1}); {question}"
        )


def limit_per_class(labels: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """Indices (int64, ascending) of at most ``limit`` samples of each class, drawn at random.

    A class's draw depends only on the seed, the class and its number of samples.
    """
    if limit < 1:
        raise DataError(f"a limit of {limit} samples per class leaves nothing; pass at least 1")
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    chosen = []
    for label, members in zip(classes, np.split(order, starts[1:]), strict=True):
        if len(members) > limit:
            generator = np.random.default_rng((seed, int(label)))
            members = generator.choice(members, limit, replace=False)
        chosen.append(members)
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
