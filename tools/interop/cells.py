"""A cell of the page: one network of one framework, written by one exporter.

Exporters run in environments of their own, the audit in this one, so a cell is a folder:

``cell.json``
    what was exported, or the sentence that the exporter failed with
``network.onnx``
    with its external data beside it, where it has any
``data.npz``
    ``images`` (float32, as the network takes them) and ``labels`` (int64)
``own.npz``
    the framework's own counts of the whole masked sweep, where the framework lets one mask
``row.json``
    what the audit found: the cell's line of the page

numpy and the standard library only: this module is imported in every environment.
"""

import json
import re
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

__all__ = [
    "CELL",
    "Cell",
    "Own",
    "export_all",
    "is_wanted",
    "labels_for",
    "own_counts",
    "read_cell",
    "read_own",
    "save_samples",
]

CELL = "cell.json"
_NEAR = 1e-4  # of the scores' scale: two frameworks may round these to different classes
_ROWS = 512  # masked samples that a framework runs at once


@dataclass(frozen=True)
class Cell:
    """What is known of a network before it is audited."""

    source: str  # the framework
    network: str
    exporter: str  # with its version
    site: str | None = None  # --site; None for the default site
    hidden: int | None = None  # --site is the last of the proposed tensors with so many units
    at: str | None = None  # --at
    axis: int | None = None
    expected: str = ""  # operator of the site that the rule of DESIGN.md means
    refusal: str = ""  # words of the sentence that the audit refuses it with, or the ablation
    every: int = 1  # the plain way is taken at every so many-th n
    budget: tuple[tuple[str, int], ...] = ()  # --budget: what the network may ask for, by name
    note: str = ""
    failure: str = ""  # why there is no ONNX file


@dataclass(frozen=True)
class Own:
    """A framework's own cumulative ablation: correct counts, METHOD.md's E and E_r."""

    class_index: np.ndarray  # int64 (K',)
    order: np.ndarray  # int64 (K', M), by descending activity
    descending: np.ndarray  # int64 (K', M + 1)
    ascending: np.ndarray  # int64 (K', M + 1)
    near: np.ndarray  # int64 (K',): rows whose two highest scores nearly tie


def own_counts(
    values: np.ndarray,
    labels: np.ndarray,
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    axis: int = 1,
) -> Own:
    """The masked sweep of a framework.

    Args:
        values: the site's values (S, …) as the framework computes them.
        labels: int64 (S,).
        scores: the framework's answers (R, K) for samples int64 (R,) under masks bool (R, M).
        axis: of the channels in ``values``.
    """
    spatial = tuple(i for i in range(1, values.ndim) if i != axis)
    activity = np.abs(values.astype(np.float64)).sum(axis=spatial)  # (S, M)
    units = activity.shape[1]
    rank = np.arange(units)
    found = {name: [] for name in ("order", "descending", "ascending", "near")}
    classes = np.unique(labels)
    for label in classes:
        mine = np.flatnonzero(labels == label)
        mean = activity[mine].mean(axis=0)
        order = np.lexsort((rank, -mean))
        near, curves = 0, []
        for removal in (order, order[::-1]):
            place = np.empty(units, dtype=int)
            place[removal] = rank
            counts = np.zeros(units + 1, dtype=np.int64)
            rows = [(n, sample) for n in range(units + 1) for sample in mine]
            for start in range(0, len(rows), _ROWS):
                piece = np.array(rows[start : start + _ROWS])
                given = scores(piece[:, 1], place[None] >= piece[:, :1]).reshape(len(piece), -1)
                np.add.at(counts, piece[:, 0], given.argmax(axis=1) == label)
                top = np.sort(given, axis=1)[:, -2:]
                near += int((top[:, 1] - top[:, 0] <= _NEAR * np.abs(given).max(axis=1)).sum())
            curves.append(counts)
        for name, value in zip(found, (order, *curves, near), strict=True):
            found[name].append(value)
    return Own(classes, **{name: np.array(value) for name, value in found.items()})


def labels_for(scores: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels int64 (S,) of which two thirds are what the network says."""
    random = np.random.default_rng(seed)
    wrong = random.random(len(scores)) < 1 / 3
    return np.where(wrong, random.integers(0, scores.shape[1], len(scores)), scores.argmax(axis=1))


def is_wanted(name: str, words: list[str]) -> bool:
    """Whether the folder name of a cell has one of the words; without words, all are wanted."""
    return not words or any(word.lower() in name for word in words)


def export_all(
    folder: Path, cells: dict[str, Callable[[Path], Cell]], wanted: list[str], failed: Cell
) -> None:
    """Build the cells that are not there yet; an exporter that fails leaves its sentence behind.

    Args:
        folder: takes a folder for each cell.
        cells: builders by name; each writes network, data and own counts to the folder it is
            given and returns the cell.
        wanted: build only those whose name contains one of these words; none: all.
        failed: stands for a cell that could not be built, with the framework and its exporter.
    """
    for name, build in cells.items():
        place = folder / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if not is_wanted(place.name, wanted) or (place / CELL).exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        try:
            cell = build(place)
        except Exception as error:
            traceback.print_exc()
            said = (str(error).strip() or "no message").splitlines()[0][:200]
            sentence = f"{type(error).__name__}: {said}"
            cell = Cell(**{**asdict(failed), "network": name, "failure": sentence})
        (place / CELL).write_text(json.dumps(asdict(cell), indent=1, ensure_ascii=False))
        print(f"{name}: {cell.failure or 'exported'}", flush=True)


def save_samples(place: Path, images: np.ndarray, labels: np.ndarray, own: Own | None) -> None:
    """Write what a cell holds besides its network."""
    np.savez(place / "data.npz", images=images, labels=labels)
    if own is not None:
        np.savez_compressed(place / "own.npz", **asdict(own))


def read_cell(place: Path) -> Cell:
    return Cell(**json.loads((place / CELL).read_text()))


def read_own(place: Path) -> Own | None:
    """The framework's own counts, where the cell has them."""
    if not (place / "own.npz").exists():
        return None
    with np.load(place / "own.npz") as arrays:
        return Own(**arrays)
