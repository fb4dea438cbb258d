"""The page of a comparison: curves over each other, what differs, and the classes that moved."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analyzer.audit.compare import ClassChange, Comparison
from analyzer.audit.folder import finished_audit
from analyzer.audit.html_pages import moment, render_page
from analyzer.audit.sampling_noise import CONFIDENCE, Noise
from analyzer.audit_record import AuditRecord, ClassRecord, quantity
from analyzer.errors import AuditFolderError
from analyzer.measures.ablation.class_curves import ClassCurves, read_curves
from analyzer.measures.ablation.report import words_for
from analyzer.measures.svg import Frame, path_through
from analyzer.output_files import write_text

__all__ = ["write_comparison"]

_WIDE = Frame(width=480, height=310, left=48, right=14, top=14, bottom=44)
_PANEL = Frame(width=240, height=142, left=36, right=8, top=8, bottom=22)
_PANELS = 12
_NAMES = {
    "accuracy": "training accuracy",
    "zeta": "ζ, share of units needed",
    "kappa": "κ, area between the curves",
    "area_descending": "area under the curve, {most} removed first",
    "area_ascending": "area under the curve, {least} removed first",
    "gap": "estimated gap",
}


@dataclass(frozen=True, slots=True)
class _Audit:
    """One of the audits, as the page calls it."""

    letter: str
    title: str
    folder: str
    record: AuditRecord


@dataclass(frozen=True, slots=True)
class _Line:
    """A number in the first audit and in another."""

    name: str
    before: float | None
    after: float | None
    difference: float
    noise: Noise | None
    verdict: str
    plain: bool  # whether the verdict is nothing to look at


@dataclass(frozen=True, slots=True)
class _Curves:
    """The curves of all audits in one frame, a path each; "" where an audit lacks the class."""

    title: str
    descending: tuple[str, ...]
    ascending: tuple[str, ...]
    chance: tuple[float, ...]  # pixels, each once


def write_comparison(
    folders: Sequence[str | Path], comparisons: Sequence[Comparison], file: str | Path
) -> None:
    """Write the page of the first of ``folders`` against each of the others.

    Args:
        folders: of the audits.
        comparisons: of the first audit with each other one.
        file: the HTML file to write.

    Raises:
        AuditFolderError: an audit is not the one that was compared, or is damaged.
        OutputError: the file cannot be written.
    """
    records, curves = [], []
    for folder in folders:
        with finished_audit(folder) as record:
            curves.append({one.class_index: one for one in read_curves(folder)})
        records.append(record)
    audits = [
        _Audit(_letter(number), title, str(folder), record)
        for number, (title, folder, record) in enumerate(
            zip(_titles(folders, records), folders, records, strict=True)
        )
    ]
    for found, audit in zip(comparisons, audits[1:], strict=True):
        said = audits[0].record.zeta, audit.record.zeta
        if (found.zeta.before, found.zeta.after) != said:
            raise AuditFolderError(f"{audit.folder} was replaced meanwhile; compare it again.")
    html = render_page(
        "compare.html.jinja",
        script="sort_table.js",
        audits=audits,
        created=moment(datetime.now(UTC).isoformat()),
        confidence=CONFIDENCE,
        words=words_for(audits[0].record.rank),
        wide=_WIDE,
        panel=_PANEL,
        mean=_mean_curves(audits, curves),
        pairs=[
            (audit, found, _lines(audits[0], audit, found))
            for audit, found in zip(audits[1:], comparisons, strict=True)
        ],
        panels=[_class_curves(item, audits, curves) for item in _moved_most(comparisons)[:_PANELS]],
        moved=len(_moved_most(comparisons)),
        judged=any(found.noise.quantities for found in comparisons),
        classes_judged=any(item.noise for found in comparisons for item in found.classes),
        rows=_rows(audits, comparisons),
    )
    write_text(file, html)


def _letter(number: int) -> str:
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _titles(folders: Sequence[str | Path], records: Sequence[AuditRecord]) -> list[str]:
    """The file of each network, and where several have one name, the folder of the audit."""
    files = [re.split(r"[\\/]", record.model.path)[-1] for record in records]
    return [
        file if files.count(file) == 1 else f"{file} in {Path(folder).name}"
        for file, folder in zip(files, folders, strict=True)
    ]


def _lines(first: _Audit, other: _Audit, found: Comparison) -> list[_Line]:
    before, after = first.record, other.record
    words = words_for(before.rank)
    lines = []
    pairs: dict[str, tuple[float | None, float | None]] = {
        "accuracy": (before.accuracy, after.accuracy),
        "zeta": (before.zeta, after.zeta),
        "kappa": (before.kappa, after.kappa),
    }
    for name in ("area_descending", "area_ascending"):
        feature = f"curve_{name}"
        pairs[name] = (before.features.get(feature), after.features.get(feature))
    for name, (a, b) in pairs.items():
        if a is None or b is None:
            continue
        noise = found.noise.quantities.get(name)
        comparable = found.comparable or name == "accuracy"
        shown = _NAMES[name].format(most=words.most, least=words.least)
        lines.append(_Line(shown, a, b, b - a, noise, *_verdict(b - a, noise, comparable)))
    if found.gap is not None and before.gap and after.gap:
        apart = before.gap.low > after.gap.high or after.gap.low > before.gap.high
        verdict = "the intervals are apart" if apart else "the intervals overlap"
        lines.append(
            _Line(
                _NAMES["gap"],
                found.gap.before,
                found.gap.after,
                found.gap.difference,
                None,
                verdict,
                not apart,
            )
        )
    return lines


def _verdict(difference: float, noise: Noise | None, comparable: bool) -> tuple[str, bool]:
    """What is said of a difference, and whether it is nothing to look at."""
    if not comparable:
        return "not the same quantity", True
    if noise is None:
        return "noise not known", True
    if not noise.beyond:
        return "within sampling noise", True
    return ("higher" if difference > 0 else "lower") + " beyond sampling noise", False


def _moved_most(comparisons: Sequence[Comparison]) -> list[ClassChange]:
    """Classes that moved in any comparison, those that moved by most standard errors first."""
    strongest: dict[int, tuple[float, ClassChange]] = {}
    for found in comparisons:
        for item in found.classes:
            if not item.moved:
                continue
            by = max(
                abs(one.difference) / max(one.standard_error, 1e-9)
                for name, one in item.noise.items()
                if name in item.moved
            )
            if item.index not in strongest or by > strongest[item.index][0]:
                strongest[item.index] = (by, item)
    ordered = sorted(strongest.values(), key=lambda pair: (-pair[0], pair[1].index))
    return [item for _, item in ordered]


def _path(counts: np.ndarray | None, frame: Frame) -> str:
    """The path of accuracies over the share of units removed, thinned to what can be seen."""
    if counts is None:
        return ""
    places = np.unique(np.linspace(0, len(counts) - 1, min(len(counts), frame.width)).astype(int))
    x = np.round(frame.x(places / (len(counts) - 1)), 1)
    y = np.round(frame.y(counts[places]), 1)
    return path_through(np.stack([x, y], axis=1))


def _mean_curves(audits: Sequence[_Audit], curves: Sequence[dict[int, ClassCurves]]) -> _Curves:
    def mean(of: dict[int, ClassCurves], order: str) -> np.ndarray:
        shares = [getattr(one, order) / one.samples for one in of.values()]
        return np.asarray(np.mean(shares, axis=0))

    return _Curves(
        "",
        tuple(_path(mean(of, "descending"), _WIDE) for of in curves),
        tuple(_path(mean(of, "ascending"), _WIDE) for of in curves),
        _chance(audits, _WIDE),
    )


def _class_curves(
    item: ClassChange, audits: Sequence[_Audit], curves: Sequence[dict[int, ClassCurves]]
) -> _Curves:
    def path(of: dict[int, ClassCurves], order: str) -> str:
        one = of.get(item.index)
        return _path(None if one is None else getattr(one, order) / one.samples, _PANEL)

    return _Curves(
        item.name,
        tuple(path(of, "descending") for of in curves),
        tuple(path(of, "ascending") for of in curves),
        _chance(audits, _PANEL),
    )


def _chance(audits: Sequence[_Audit], frame: Frame) -> tuple[float, ...]:
    levels = sorted({audit.record.chance for audit in audits})
    return tuple(round(float(frame.y(level)), 1) for level in levels)


@dataclass(frozen=True, slots=True)
class _Row:
    """A class in all audits."""

    index: int
    name: str
    values: tuple[tuple[float, float, float] | None, ...]  # accuracy, ζ, κ; None where not there
    moved: tuple[tuple[str, str], ...]  # letter of the audit, and what moved in it


def _rows(audits: Sequence[_Audit], comparisons: Sequence[Comparison]) -> list[_Row]:
    by_audit = [{entry.index: entry for entry in audit.record.classes} for audit in audits]
    called: dict[int, dict[str, None]] = {}
    for of in by_audit:
        for index, entry in of.items():
            called.setdefault(index, {})[entry.name] = None
    names = {index: " → ".join(different) for index, different in called.items()}
    moved: dict[int, list[tuple[str, str]]] = {index: [] for index in names}
    for audit, found in zip(audits[1:], comparisons, strict=True):
        for item in found.classes:
            if item.moved:
                moved[item.index].append((audit.letter, ", ".join(map(_short, item.moved))))
    return [
        _Row(
            index,
            names[index],
            tuple(_figures(of[index]) if index in of else None for of in by_audit),
            tuple(moved[index]),
        )
        for index in sorted(names)
    ]


def _figures(entry: ClassRecord) -> tuple[float, float, float]:
    """Accuracy, ζ and κ of a class."""
    return entry.accuracy, quantity(entry.zeta), quantity(entry.kappa)


def _short(name: str) -> str:
    return {"kappa": "κ", "area_descending": "E", "area_ascending": "Eʳ"}.get(name, name)
