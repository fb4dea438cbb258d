"""Forges audit folders at random, and counts what ``verify`` finds.

    python -m tools.attack_forgeries [--changes N] [--forged N] [--curves N] [--seed N] [--write]

changes
    A byte range of any file, or a value of ``audit.json``, changed: with the manifest as it was,
    ``verify`` must find every one.
forged
    Values of ``audit.json`` and of the arrays changed, with report and manifest written again to
    fit, as somebody does who knows how they are made: what is found by the folder, network and gap
    model alone, and what with the data, too.
curves
    Cells of the curves changed, one, 1 % or 10 % of them, and all that follows from them written
    again: nothing of it shows in the folder. How often drawn cells show it, beside the chance that
    ``verify`` states.

``--write`` puts the figures into docs/RELIABILITY.md. Ends with 1 if a change with the manifest at
hand was not found, or a forgery of the curves where all cells were counted again.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.api import audit_network, verify_audit
from analyzer.errors import AnalyzerError
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.output_files import write_arrays
from tools.forged_folders import rewrite_counts, seal
from tools.reliability_figures import write_figures

NETWORK = "zoo:digits-c20"
ALONE = {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0, "gap_model": "none"}
KEPT = ("a byte range of a file", "a value of audit.json")
FORGED = ("a value of audit.json", "a value of an array")
SIZES = (("one cell", 0.0), ("1 % of the cells", 0.01), ("10 % of the cells", 0.1))
CELLS = 100
"""Drawn by ``verify`` unless it is told otherwise."""


def finds(folder: Path, **options: Any) -> bool:
    """Whether ``verify`` does not pass a folder; a defect of its own counts as passing it."""
    try:
        return not verify_audit(folder, **options).passed
    except AnalyzerError:
        return True
    except Exception:
        traceback.print_exc()
        return False


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the single values of a JSON document are."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list) and item:
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key)


def change_value(folder: Path, chance: random.Random) -> str:
    """Change one value of ``audit.json``; where it is, in words."""
    path = folder / "audit.json"
    record = json.loads(path.read_bytes())
    where = chance.choice(list(leaves(record)))
    inside = record
    for key in where[:-1]:
        inside = inside[key]
    old = inside[where[-1]]
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, int | float):
        new = old + type(old)(chance.choice((1, -1, 3)))
    elif isinstance(old, str):
        new = old + "x"
    else:
        new = "x" if old is None else [*old, "x"] if isinstance(old, list) else {"x": 1}
    inside[where[-1]] = new
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return ".".join(str(key) for key in where[:3] if not isinstance(key, int))


def change_bytes(folder: Path, chance: random.Random) -> str:
    """Overwrite a range of bytes of one file; which, in words."""
    path = chance.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    content = bytearray(path.read_bytes())
    length = min(chance.choice((1, 1, 2, 16, 1000)), len(content))
    at = chance.randrange(len(content) - length + 1)
    other = chance.randbytes(length)
    if other == bytes(content[at : at + length]):
        other = bytes([other[0] ^ 1]) + other[1:]
    content[at : at + length] = other
    path.write_bytes(content)
    return f"{path.name} at {at}"


def change_array(folder: Path, chance: random.Random) -> str:
    """Change one value of an array of an ``.npz`` file; which, in words."""
    path = chance.choice(sorted(folder.glob("*.npz")))
    arrays = read_arrays(path)
    name = chance.choice([name for name, array in arrays.items() if array.size])
    array = arrays[name] = arrays[name].copy()
    place = chance.randrange(array.size)
    old = array.reshape(-1)[place]
    if array.dtype == bool:
        new: Any = not old
    elif array.dtype.kind == "f":
        new = 0.5 if np.isnan(old) else old + chance.choice((1.0, -1.0, 0.3))
    else:
        new = int(old) + (1 if old == 0 or chance.random() < 0.5 else -1)
    array.reshape(-1)[place] = np.array(new).astype(array.dtype)
    write_arrays(path, arrays, compressed=path.name != "thumbnails.npz")
    return f"{path.stem}.{name}" if path.stem != "thumbnails" else path.stem


def forge_cells(folder: Path, share: float, chance: random.Random) -> None:
    """Change cells of the curves, a share of them and one at least, and all that follows."""
    curves, samples = list(read_curves(folder)), read_samples(folder)
    hits = {name: getattr(samples, name).copy() for name in ("descending", "ascending")}
    changed = {
        (number, name): getattr(curve, name).copy()
        for number, curve in enumerate(curves)
        for name in hits
    }
    # The ends are tied to each other and to what is right with nothing removed.
    inner = [(key, n) for key, curve in changed.items() for n in range(1, len(curve) - 1)]
    all_cells = sum(len(curve) for curve in changed.values())
    for (number, name), n in chance.sample(inner, max(1, round(share * all_cells))):
        curve = changed[number, name]
        up = curve[n] == 0 or (curve[n] < curves[number].samples and chance.random() < 0.5)
        own = np.flatnonzero(samples.label == curves[number].class_index)
        own = own[hits[name][own] < len(curve)] if up else own[hits[name][own] > 0]
        curve[n] += 1 if up else -1
        hits[name][chance.choice(own.tolist())] += 1 if up else -1
    curves = [
        replace(curve, **{name: changed[number, name] for name in hits})
        for number, curve in enumerate(curves)
    ]
    samples = replace(samples, **hits)
    rewrite_counts(folder, curves, samples)


class Study:
    """Audits to forge, and what is found."""

    def __init__(self, place: Path, seed: int):
        self._place, self._chance = place, random.Random(seed)
        self.whole, self.counted = place / "whole", place / "counted"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = {"limit_per_class": 4, "max_gap": 0.5, "auditor": "somebody"}
            audit_network(NETWORK, out=self.whole, margins=True, **small)
            audit_network(NETWORK, out=self.counted, limit_per_class=4, **ALONE)
        if finds(self.whole, data=NETWORK) or finds(self.counted, data=NETWORK, cells="all"):
            raise RuntimeError("An audit that nobody touched does not pass.")

    def _copy(self, folder: Path) -> Path:
        shutil.rmtree(self._place / "forged", ignore_errors=True)
        return Path(shutil.copytree(folder, self._place / "forged"))

    def kept(self, count: int) -> Iterator[tuple[str, str]]:
        """(what was changed, where it was not found or ""), with the manifest as it was."""
        for number in range(count):
            folder, kind = self._copy(self.whole), KEPT[number % len(KEPT)]
            change = change_bytes if kind == KEPT[0] else change_value
            where = change(folder, self._chance)
            yield kind, "" if finds(folder) else where

    def forged(self, count: int) -> Iterator[tuple[str, str, bool, bool]]:
        """(what was changed, where, found without the data, found with them)."""
        for number in range(count):
            folder, kind = self._copy(self.whole), FORGED[number % len(FORGED)]
            change = change_value if kind == FORGED[0] else change_array
            where = change(folder, self._chance)
            seal(folder)
            without = finds(folder)
            # What is found without the data is found before they are opened.
            found = without or finds(folder, data=NETWORK, seed=self._chance.randrange(1 << 30))
            yield kind, where, without, found

    def curves(self, count: int) -> Iterator[tuple[str, bool, bool, bool]]:
        """(how much was forged, found without the data, by drawn cells, by all cells)."""
        for number in range(count):
            folder, (kind, share) = self._copy(self.counted), SIZES[number % len(SIZES)]
            forge_cells(folder, share, self._chance)
            seed = self._chance.randrange(1 << 30)
            drawn = finds(folder, data=NETWORK, cells=CELLS, seed=seed)
            yield kind, finds(folder), drawn, finds(folder, data=NETWORK, cells="all")

    @property
    def cells(self) -> int:
        """Cells of all curves."""
        return sum(2 * len(curve.descending) for curve in read_curves(self.counted))


def table_of_kept(study: Study, count: int) -> tuple[list[str], int]:
    """What is found where the manifest stays as it was: lines of Markdown, and what was missed."""
    made, seen, missed = Counter[str](), Counter[str](), 0
    for kind, where in study.kept(count):
        made[kind] += 1
        seen[kind] += not where
        missed += bool(where)
        if where:
            print(f"not found: {kind}: {where}", file=sys.stderr, flush=True)
    lines = ["| changed, the manifest as it was | made | found |", "| --- | --- | --- |"]
    lines += [f"| {kind} | {made[kind]:,} | {seen[kind]:,} |" for kind in KEPT]
    return lines, missed


def table_of_forged(study: Study, count: int) -> list[str]:
    """What is found where all else is forged to fit, and what is not; lines of Markdown."""
    made, without, with_data = Counter[str](), Counter[str](), Counter[str]()
    unseen: dict[str, set[str]] = {kind: set() for kind in FORGED}
    for kind, where, alone, found in study.forged(count):
        made[kind] += 1
        without[kind] += alone
        with_data[kind] += found
        if not found:
            unseen[kind].add(where)
    lines = [
        "| changed, all else forged to fit | made | found without the data | with them |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {kind} | {made[kind]:,} | {without[kind]:,} | {with_data[kind]:,} |" for kind in FORGED
    ]
    for kind, names in unseen.items():
        listed = ", ".join(f"`{name}`" for name in sorted(names))
        lines += ["", f"Not found with the data, of {kind}: {listed or 'none'}."]
    return lines


def table_of_curves(study: Study, count: int) -> tuple[list[str], int]:
    """What is found of forged curves: lines of Markdown, and what was missed by all cells."""
    made, without, by_drawn, by_all = (Counter[str]() for _ in range(4))
    for kind, alone, drawn, complete in study.curves(count):
        made[kind] += 1
        without[kind] += alone
        by_drawn[kind] += drawn
        by_all[kind] += complete
    lines = [
        f"| forged curves of {study.cells:,} cells | made | found without the data | by "
        f"{CELLS} drawn cells | stated, at least | by all cells |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, share in SIZES:
        told = CELLS / study.cells if not share else 1 - (1 - share) ** CELLS
        lines.append(
            f"| {kind} | {made[kind]:,} | {without[kind]:,} | {by_drawn[kind]:,} | "
            f"{told:.1%} | {by_all[kind]:,} |"
        )
    return lines, made.total() - by_all.total()


def main() -> int:
    """Forge, print the figures, and say whether all was found that must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("changes", 1000), ("forged", 1000), ("curves", 150), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--write", action="store_true", help="put them into docs/RELIABILITY.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        study = Study(Path(place), asked.seed)
        kept, missed = table_of_kept(study, asked.changes)
        print("\n".join(kept), flush=True)
        forged = table_of_forged(study, asked.forged)
        curves, missed_curves = table_of_curves(study, asked.curves)
    table = "\n".join([*kept, "", *forged, "", *curves])
    print(table)
    if asked.write:
        write_figures("forgeries", table)
    return int(missed + missed_curves > 0)


if __name__ == "__main__":
    sys.exit(main())
