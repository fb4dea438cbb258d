"""An audit as a user of the library holds it: numbers by name, and a view for notebooks."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from analyzer.audit_record import AuditRecord, GapRecord
from analyzer.control_characters import printable
from analyzer.errors import AuditFolderError
from analyzer.files import check_are_paths, check_paths

__all__ = ["Audit", "as_opened", "open_audit"]

_Read = TypeVar("_Read")

_DOWN, _UP, _AREA, _INK = "#c2470a", "#0a67a8", "#e9eef6", "#5b6675"


class Audit:
    """A finished audit: its folder, its record, and the arrays beside it.

    Attributes:
        folder: where it lies, as an absolute path.
        record: everything that ``audit.json`` says.
    """

    def __init__(self, folder: Path, record: AuditRecord):
        self.folder, self.record = folder.absolute(), record

    @property
    def accuracy(self) -> float:
        """Accuracy on the training samples, with nothing removed."""
        return self.record.accuracy

    @property
    def zeta(self) -> float | None:
        """ζ, the share of the units that a class needs (Eq. 6); None without a site."""
        return self.record.zeta

    @property
    def kappa(self) -> float | None:
        """κ, the area between the curves (Eq. 6); None without a site."""
        return self.record.kappa

    @property
    def gap(self) -> GapRecord | None:
        """The estimated generalization gap with its interval; None without a gap model."""
        return self.record.gap

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the result must know, in sentences."""
        return self.record.warnings

    @property
    def classes(self) -> list[dict[str, Any]]:
        """A plain record a class: index, name, samples, accuracy, zeta, kappa, gap, gap_low, …"""
        return [asdict(entry) for entry in self.record.classes]

    @property
    def features(self) -> dict[str, float]:
        """Every feature that a gap model can take, by name."""
        from analyzer.measures.registry import feature_values

        return feature_values(self.record)

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """A column a quantity, ndarrays of shape (S,), in the order of the data.

        ``label``, ``correct``, ``descending``, ``ascending``, ``score``, ``index``,
        ``log_probability``, ``margin`` and ``other``, as ``samples.npz`` has them.
        """
        from analyzer.measures.ablation.sample_scores import SAMPLES, read_samples

        return self._arrays(SAMPLES, read_samples)

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Correct counts ``descending`` and ``ascending``, int64 (K, M + 1), and their context.

        ``samples`` (K,), ``order`` (K, M) and ``class_index`` (K,), as ``curves.npz`` has them.
        """
        from analyzer.measures.ablation.class_curves import CURVES, read_curves

        return self._arrays(CURVES, read_curves)

    @cached_property
    def suspects(self) -> list[dict[str, Any]]:
        """A plain record a training sample whose label looks wrong, the most suspicious first.

        Its fields are the columns of ``suspects.csv``: rank, name, index, label, label_name,
        likely_name, wrong_probability, …; None where something was not measured.
        """
        from analyzer.audit.suspects import read_suspects

        return [asdict(suspect) for suspect in self._unchanged(lambda: read_suspects(self.folder))]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``audit.json``."""
        from analyzer.audit import to_dict

        return to_dict(self.record)

    def _arrays(self, name: str, read: Callable[[Path], Any]) -> dict[str, np.ndarray]:
        """The arrays of a file, which ``read`` refuses where no audit writes them."""
        from analyzer.files import read_arrays

        def found() -> dict[str, np.ndarray]:
            read(self.folder)
            return read_arrays(self.folder / name)

        return self._unchanged(found)

    def _unchanged(self, read: Callable[[], _Read]) -> _Read:
        """What ``read`` finds in the folder, of this audit and no other.

        Raises:
            AuditFolderError: the folder no longer holds the audit as it was opened.
        """
        from analyzer.audit import finished_audit

        with finished_audit(self.folder) as record:
            found = read()
        self._check_is(record)
        return found

    def _check_is(self, record: AuditRecord) -> None:
        """Refuse the record of another audit, which the folder holds by now."""
        from analyzer.audit import to_dict

        if _text(to_dict(record)) != _text(self.to_dict()):
            raise AuditFolderError(
                f"{self.folder} holds another audit than when it was opened; open it again."
            )

    def __repr__(self) -> str:
        return printable(
            f"<Audit of {self.record.model.path}: accuracy {self.accuracy:.4f}, "
            f"{self._curves_in_words()}{self._gap_in_words()}{self._verdict_in_words()}; "
            f"{self.folder}>"
        )

    def _curves_in_words(self) -> str:
        if self.zeta is None or self.kappa is None:
            return ""
        return f"ζ {self.zeta:.4f}, κ {self.kappa:.4f}, "

    def _gap_in_words(self) -> str:
        from analyzer.audit.verdict import mark_of

        if self.gap is None:
            return "gap not estimated"
        gap = self.gap
        interval = f"({gap.low:z.3f} to {gap.high:z.3f})"
        return f"gap {gap.estimate:z.3f} {interval}{mark_of(self.record)}"

    def _verdict_in_words(self) -> str:
        verdict = self.record.verdict
        return "" if verdict is None else f"; {verdict.outcome}"

    def _repr_html_(self) -> str:
        """The headline and the mean curves, for notebooks."""
        from analyzer.audit.verdict import mark_of

        verdict, gap = self.record.verdict, self.gap
        below = ", see below" if gap and mark_of(self.record) else ""
        rows: Mapping[str, str] = {
            **({"verdict": verdict.sentence} if verdict else {}),
            "training accuracy": f"{self.accuracy:.1%}",
            **{
                name: f"{value:.3f}"
                for name, value in (("ζ", self.zeta), ("κ", self.kappa))
                if value is not None
            },
            "estimated gap": self._gap_in_words().removeprefix("gap ") + below,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
            f"{escape(value)}</td></tr>"
            for name, value in rows.items()
        )
        sentences = dict.fromkeys((*self.warnings, *(gap.warnings if gap else ())))
        warned = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        return printable(
            f"<div><strong>Audit of {escape(self.record.model.path)}</strong>"
            f"<div style='display:flex;gap:2em;align-items:center;flex-wrap:wrap'>"
            f"<table>{cells}</table>{self._mean_curves()}</div>"
            + (f"<ul>{warned}</ul>" if warned else "")
            + f"<small>{escape(str(self.folder / 'report.html'))}</small></div>"
        )

    def _mean_curves(self) -> str:
        """Both curves averaged over the classes, as inline SVG."""
        from analyzer.measures.ablation.report import curve_figure
        from analyzer.measures.svg import Frame

        if self.record.site is None:
            return ""
        share = self.curves["samples"][:, None]
        frame = Frame(width=340, height=200, left=34, right=8, top=8, bottom=30)
        figure = curve_figure(
            (self.curves["descending"] / share).mean(axis=0),
            (self.curves["ascending"] / share).mean(axis=0),
            chance=self.record.chance,
            n0=float(np.mean([entry.n0 or 0 for entry in self.record.classes])),
            n0_r=float(np.mean([entry.n0_r or 0 for entry in self.record.classes])),
            frame=frame,
        )
        left, right, foot = frame.x(0), frame.x(1), frame.y(0)
        text = f"font-size='10' fill='{_INK}' font-family='sans-serif'"
        ticks = "".join(
            f"<text x='{left - 4}' y='{frame.y(at) + 3}' text-anchor='end' {text}>{at:.0%}</text>"
            for at in (0, 0.5, 1)
        )
        return (
            f"<svg width='{frame.width}' height='{frame.height}' role='img' "
            "aria-label='Mean accuracy as units are removed'>"
            f"<path d='{figure.area}' fill='{_AREA}'/>"
            f"<path d='M{left} {foot}H{right}' stroke='{_INK}' stroke-width='.5'/>"
            f"<path d='{figure.ascending}' fill='none' stroke='{_UP}' stroke-width='2' "
            "stroke-dasharray='5 2'/>"
            f"<path d='{figure.descending}' fill='none' stroke='{_DOWN}' stroke-width='2'/>{ticks}"
            f"<text x='{frame.x(0.5)}' y='{frame.height - 8}' text-anchor='middle' {text}>"
            f"units removed, of {figure.channels}</text></svg>"
        )


def open_audit(folder: str | Path) -> Audit:
    """Open a finished audit.

    Raises:
        AuditFolderError: the folder holds no whole audit.
        TypeError: ``folder`` is no path.
    """
    from analyzer.audit import finished_audit

    check_are_paths(folder=folder)
    check_paths(AuditFolderError, folder=folder)
    with finished_audit(folder) as record:
        return Audit(Path(folder), record)


@contextmanager
def as_opened(*given: object) -> Iterator[None]:
    """A block in which the folder of each :class:`Audit` that is given holds that audit.

    The files beside the record need not match the manifest.

    Args:
        given: audits, and anything else, which nothing is asked of.

    Raises:
        AuditFolderError: a folder holds another audit, or none, or was replaced meanwhile.
    """
    from analyzer.audit import read_record
    from analyzer.audit.result_manifest import unchanged

    with ExitStack() as stack:
        for audit in given:
            if isinstance(audit, Audit):
                stack.enter_context(unchanged(audit.folder))
                audit._check_is(read_record(audit.folder))
        yield


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
