"""What the benchmark found, and the tables of docs/PERFORMANCE.md that show it."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import onnxruntime
import torch

from tools.bench.whole import Whole

__all__ = ["Asked", "Estimated", "Row", "estimates_table", "machine", "sweeps_table", "whole_table"]


@dataclass(frozen=True)
class Asked:
    """What a case must reach; None where nothing is asked."""

    of_pass: float | None = None  # prefix + sweep, times the pass at most
    faster: float | None = None  # reference ÷ sweep, at least
    faster_estimated: float | None = None  # the same, with the case's tolerance


@dataclass(frozen=True)
class Estimated:
    """A sweep with a tolerance beside the exact one."""

    tolerance: float
    sweep_seconds: float
    rows_run: int
    rows_audited: int
    zeta_bound: float
    kappa_bound: float
    zeta_error: float
    kappa_error: float

    @property
    def true(self) -> bool:
        return self.zeta_error <= self.zeta_bound and self.kappa_error <= self.kappa_bound


@dataclass(frozen=True)
class Row:
    """One case of the sweep; times in seconds."""

    case: str
    samples: int
    units: int
    accuracy: float
    active: float  # share of (sample, unit) pairs with a map that is not all zero
    rows_possible: int
    rows_run: int
    pass_seconds: tuple[float, ...]  # of each pair of a pass and an audit, in turn
    prefix_seconds: tuple[float, ...]
    sweep_seconds: tuple[float, ...]
    reference_seconds: float
    reference_part: float  # share of the samples that reference and hooks were run on
    hooks_seconds: float
    differing: int  # counts that differ from the reference's
    near_ties: int  # reference rows whose two highest scores lie within 1e-5 of the scale
    asked: Asked
    estimated: Estimated | None

    @property
    def audit_seconds(self) -> tuple[float, ...]:
        """Prefix and sweep of each pair."""
        return tuple(map(sum, zip(self.prefix_seconds, self.sweep_seconds, strict=True)))

    @property
    def of_pass(self) -> tuple[float, ...]:
        """Prefix and sweep ÷ the pass before them, in rising order."""
        pairs = zip(self.audit_seconds, self.pass_seconds, strict=True)
        return tuple(sorted(audit / alone for audit, alone in pairs))


def machine() -> str:
    """What everything was measured on, and how busy that was before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB; Python "
        f"{platform.python_version()}, onnxruntime {onnxruntime.__version__}, PyTorch "
        f"{torch.__version__.partition('+')[0]}; {time.strftime('%Y-%m-%d')}, load before the "
        f"first case {os.getloadavg()[0]:.1f}."
    )


def sweeps_table(rows: Sequence[Row]) -> str:
    header = (
        "case", "S × M", "active", "counts differing (near ties)", "pass", "prefix + sweep",
        "÷ pass (least, most)", "sweep", "reference ÷ sweep", "hooks ÷ (prefix + sweep)", "asked",
    )  # fmt: skip
    lines = []
    for row in rows:
        audit, sweep = median(row.audit_seconds), median(row.sweep_seconds)
        lines.append(
            (
                row.case,
                f"{row.samples} × {row.units}",
                f"{row.active:.0%}",
                f"{row.differing} ({row.near_ties})",
                f"{median(row.pass_seconds):.1f} s",
                f"{audit:.1f} s",
                _spread(row.of_pass),
                f"{sweep:.1f} s",
                f"**{row.reference_seconds / sweep:.1f} ×**",
                f"{row.hooks_seconds / audit:.0f} ×",
                "; ".join(_asked(row.asked)),
            )
        )
    return _table(header, lines)


def estimates_table(rows: Sequence[Row]) -> str:
    header = (
        "case", "tolerance", "rows run of possible", "drawn for audits", "sweep",
        "reference ÷ sweep", "ζ off by (bound)", "κ off by (bound)", "asked",
    )  # fmt: skip
    lines = []
    for row in rows:
        if found := row.estimated:
            part = row.rows_possible / found.rows_run
            faster = row.asked.faster_estimated
            lines.append(
                (
                    row.case,
                    f"{found.tolerance:g}",
                    f"{found.rows_run} of {row.rows_possible} (1 in {part:.1f})",
                    str(found.rows_audited),
                    f"{found.sweep_seconds:.1f} s",
                    f"**{row.reference_seconds / found.sweep_seconds:.1f} ×**",
                    f"{found.zeta_error:.5f} ({found.zeta_bound:.5f})",
                    f"{found.kappa_error:.5f} ({found.kappa_bound:.5f})",
                    f"≥ {faster:g} × faster, bounds true" if faster else "bounds true",
                )
            )
    return _table(header, lines)


def whole_table(found: Whole) -> str:
    header = (
        "case", "S × M", "counts differing (near ties)", "rows run of possible", "whole process",
        "imports", "whole process ÷ imports (least, most)", "pairs", "asked",
    )  # fmt: skip
    line = (
        found.case,
        f"{found.samples} × {found.units}",
        f"{found.differing} ({found.near_ties})",
        f"{found.rows_run} of {found.rows_possible}",
        f"{found.process_median:.2f} s",
        f"{found.imports_median:.2f} s",
        _spread(found.ratios),
        str(len(found.ratios)),
        f"< {found.asked:g} × imports",
    )
    return _table(header, [line])


def _spread(ratios: Sequence[float]) -> str:
    """Median, least and most of ratios in rising order."""
    range_of = f" ({ratios[0]:.2f}, {ratios[-1]:.2f})" if len(ratios) > 1 else ""
    return f"**{median(ratios):.2f}**{range_of}"


def _asked(asked: Asked) -> Iterator[str]:
    if asked.of_pass:
        yield f"prefix + sweep ≤ {asked.of_pass:g} × pass"
    if asked.faster:
        yield f"sweep ≥ {asked.faster:g} × faster"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
