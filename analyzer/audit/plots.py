"""The paper's figures, each drawn on the axes it is given.

matplotlib is imported by :func:`new_figure` and :func:`save_figure` alone, so that an audit, whose
report draws its own figures, does not pay for it. No pyplot: nothing global, nothing to close.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit.html_pages import LIGHT
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.estimation import FEATURE_SETS, FitScores, PopulationTable, draw_splits
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.curve_features import ClassQuantities
from analyzer.output_files import aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FORMATS",
    "check_figure",
    "draw_class_curves",
    "draw_class_scatter",
    "draw_estimates",
    "draw_gap_against",
    "draw_mean_curves",
    "draw_population",
    "draw_ssr",
    "new_figure",
    "save_figure",
    "write_population_figure",
]

_EPOCH = "SOURCE_DATE_EPOCH"
FORMATS = ("svg", "png", "pdf")
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
    "svg.hashsalt": "onnx-gap",  # the same figure gives the same bytes
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
# Legends and titles come after the axes are made, when the settings no longer hold.
_LEGEND: Any = {"frameon": False, "fontsize": 9}
_TITLE: Any = {"loc": "left", "fontsize": 11, "fontweight": "bold"}


def check_figure(path: str | Path) -> str:
    """The format that the ending of ``path`` names, if a figure can be written in it here.

    Raises:
        AuditFolderError: the ending is not one of ``FORMATS``.
        AnalyzerError: matplotlib is not installed, or ``SOURCE_DATE_EPOCH`` is no time.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise AuditFolderError(
            f"{path}: a figure cannot be written as '{kind}'; end the name in "
            f".{', .'.join(FORMATS)}."
        )
    if find_spec("matplotlib") is None:
        raise AnalyzerError(
            "Figures need matplotlib, which is not installed: pip install 'onnx-gap[plot]'."
        )
    if (epoch := os.environ.get(_EPOCH)) is not None:  # which matplotlib reads, dated or not
        try:
            datetime.fromtimestamp(int(epoch), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise AnalyzerError(
                f"The environment variable {_EPOCH} is {epoch!r}, not a time in seconds since "
                "1970. Correct it, or unset it."
            ) from error
    return kind


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (4.8, 3.4)
) -> tuple["Figure", np.ndarray]:
    """A figure on a white ground with ``rows`` × ``columns`` axes of ``size`` inches each.

    Returns:
        (figure, axes), axes an object ndarray of shape (rows, columns).
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with rc_context(_SETTINGS):
        figure = Figure(
            figsize=(size[0] * columns, size[1] * rows),
            layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1),  # inches
            facecolor=LIGHT["card"],
        )
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Write ``figure`` in the format that the ending of ``path`` names, whole or not at all.

    Raises:
        AuditFolderError: the ending is not one of ``FORMATS``, or the file cannot be written.
    """
    path, kind = Path(path), check_figure(path)
    from matplotlib import rc_context

    # Without a date the same figure gives the same bytes.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
    with rc_context(_SETTINGS), aside(path) as file:
        figure.savefig(file, format=kind, dpi=160, metadata=undated)
    return path


def draw_class_curves(
    axes: "Axes", curves: ClassCurves, quantities: ClassQuantities, *, chance: float
) -> None:
    """Both curves of a class, the area between them and both turning points (Fig. 1A, 2A)."""
    _draw_curves(
        axes,
        curves.descending / curves.samples,
        curves.ascending / curves.samples,
        n0=quantities.n0,
        n0_r=quantities.n0_r,
        chance=chance,
    )


def draw_mean_curves(
    axes: "Axes",
    curves: Sequence[ClassCurves],
    quantities: Sequence[ClassQuantities],
    *,
    chance: float,
) -> None:
    """Both curves averaged over classes with samples, at the averages of the turning points."""
    _draw_curves(
        axes,
        np.mean([curve.descending / curve.samples for curve in curves], axis=0),
        np.mean([curve.ascending / curve.samples for curve in curves], axis=0),
        n0=float(np.mean([q.n0 for q in quantities])),
        n0_r=float(np.mean([q.n0_r for q in quantities])),
        chance=chance,
    )


def draw_class_scatter(
    axes: "Axes",
    zeta: np.ndarray,
    kappa: np.ndarray,
    *,
    label: str | None = None,
    color: str = LIGHT["accent"],
    marker: str = "o",
) -> None:
    """One point a class at (ζ_j, κ_j); call once a network to compare networks (Fig. 2B).

    Args:
        axes: to draw on.
        zeta: float ndarray of shape (K,).
        kappa: float ndarray of shape (K,).
        label: of the network, for a legend.
        color: of its points.
        marker: of its points, in matplotlib's letters.
    """
    axes.scatter(
        zeta, kappa, s=26, color=color, marker=marker, alpha=0.65, linewidths=0, label=label
    )
    axes.set(xlabel="ζ of the class", ylabel="κ of the class")
    if label is not None:
        axes.legend(**_LEGEND)


def draw_population(axes: "Axes", zeta: np.ndarray, kappa: np.ndarray, gap: np.ndarray) -> None:
    """One point a network at (ζ, κ), colored by its gap, with a bar of the colors (Fig. 3A).

    Args:
        axes: to draw on.
        zeta: float ndarray of shape (N,).
        kappa: float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
    """
    points = axes.scatter(
        zeta, kappa, c=gap, cmap="viridis_r", s=38, edgecolors=LIGHT["card"], linewidths=0.6
    )
    axes.set(xlabel="ζ", ylabel="κ")
    axes.locator_params(axis="x", nbins=5)
    bar = axes.figure.colorbar(points, ax=axes, label="generalization gap")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=LIGHT["muted"])


def draw_gap_against(axes: "Axes", values: np.ndarray, gap: np.ndarray, *, symbol: str) -> None:
    """The gap against one quantity, with its least-squares line and Pearson's r (Fig. 3B).

    Args:
        axes: to draw on.
        values: float ndarray of shape (N,), ζ or κ; not all equal.
        gap: float ndarray of shape (N,).
        symbol: what ``values`` are called.
    """
    axes.scatter(values, gap, s=30, color=LIGHT["accent"], alpha=0.75, linewidths=0)
    slope, height = np.polyfit(values, gap, 1)
    ends = np.array([np.min(values), np.max(values)])
    axes.plot(ends, slope * ends + height, color=LIGHT["muted"], linestyle="--", linewidth=1.2)
    axes.set_title(f"r = {_signed(np.corrcoef(values, gap)[0, 1])}", **_TITLE)
    axes.set(xlabel=symbol, ylabel="generalization gap")
    axes.locator_params(axis="x", nbins=5)


def draw_estimates(
    axes: "Axes",
    estimated: np.ndarray,
    gap: np.ndarray,
    *,
    tested: np.ndarray | None = None,
    half_width: np.ndarray | None = None,
) -> None:
    """Estimated against true gap, with y = x (Fig. 3C).

    Args:
        axes: to draw on.
        estimated: float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        tested: bool ndarray of shape (N,), True for networks that were not fitted on.
        half_width: float ndarray of shape (N,), of the prediction intervals.
    """
    tested = np.zeros(len(gap), bool) if tested is None else tested
    both = np.concatenate([estimated, gap])
    margin = 0.04 * max(float(np.ptp(both)), 0.05)
    ends = [float(both.min()) - margin, float(both.max()) + margin]
    axes.plot(ends, ends, color=LIGHT["muted"], linestyle="--", linewidth=1.2, label="y = x")
    groups = (
        ("fitted on", ~tested, LIGHT["ascending"], "o"),
        ("held out", tested, LIGHT["descending"], "D"),
    )
    for label, chosen, color, marker in groups:
        if not chosen.any():
            continue
        if half_width is not None:
            axes.errorbar(
                gap[chosen],
                estimated[chosen],
                yerr=half_width[chosen],
                fmt="none",
                ecolor=color,
                alpha=0.35,
                linewidth=1,
            )
        axes.scatter(
            gap[chosen],
            estimated[chosen],
            s=34,
            color=color,
            marker=marker,
            alpha=0.85,
            linewidths=0,
            label=label,
        )
    axes.set(xlim=ends, ylim=ends, xlabel="true gap", ylabel="estimated gap", aspect="equal")
    axes.legend(loc="lower right", **_LEGEND)


def draw_ssr(axes: "Axes", ssr: np.ndarray, *, reference: float | None = None) -> None:
    """Histogram of the SSR over the random splits (Fig. 3D).

    Args:
        axes: to draw on.
        ssr: float ndarray of shape (splits,).
        reference: a value to mark, such as the paper's.
    """
    bins = min(20, max(5, len(ssr) // 5))
    axes.hist(ssr, bins=bins, color=LIGHT["accent"], edgecolor=LIGHT["card"], linewidth=0.8)
    median = float(np.median(ssr))
    axes.axvline(median, color=LIGHT["ink"], linewidth=1.4, label=f"median {median:.3g}")
    if reference is not None:
        axes.axvline(
            reference,
            color=LIGHT["descending"],
            linestyle="--",
            linewidth=1.4,
            label=f"reference {reference:.3g}",
        )
    axes.set(xlabel="SSR of the held-out networks", ylabel="splits")
    axes.set_xlim(left=0)
    axes.locator_params(axis="y", integer=True)
    axes.grid(axis="x", visible=False)
    axes.legend(**_LEGEND)


def _draw_curves(
    axes: "Axes",
    descending: np.ndarray,
    ascending: np.ndarray,
    *,
    n0: Any,
    n0_r: Any,
    chance: float,
) -> None:
    """E and E_r, ndarrays of shape (M + 1,), between 0 and 1; n0 and n0_r are numbers."""
    n = np.arange(len(descending))
    down, up, white = LIGHT["descending"], LIGHT["ascending"], LIGHT["card"]
    axes.fill_between(n, descending, ascending, color=LIGHT["area"], linewidth=0, label="κ")
    axes.axhline(chance, color=LIGHT["muted"], linestyle=":", linewidth=1.2, label="chance")
    axes.plot(n, ascending, color=up, linestyle=(0, (5, 1.4)), label="least active removed first")
    axes.plot(n, descending, color=down, label="most active removed first")
    marker: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 8,
        "markeredgecolor": white,
        "zorder": 4,
    }
    marker["clip_on"] = False  # both lie on the edge at times
    axes.plot(n0, np.interp(n0, n, descending), "o", color=down, label="$n_0$", **marker)
    axes.plot(n0_r, np.interp(n0_r, n, ascending), "D", color=up, label="$n_0^r$", **marker)
    axes.set(xlim=(0, n[-1]), ylim=(-0.02, 1.03), xlabel="units removed", ylabel="accuracy")


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def write_population_figure(
    population: PopulationTable, scores: FitScores, path: str | Path, *, features: str = "paper"
) -> Path:
    """Draw (ζ, κ), the gap against each, estimates, and the SSR over the splits.

    Args:
        population: networks whose gap is known, N.
        scores: of the same networks.
        path: ends in .svg, .png or .pdf.
        features: whose estimates are drawn, as of :func:`analyzer.estimation.fit_population`;
            they must have been scored.

    Raises:
        AuditFolderError: the ending is not one of these.
        OutputError: the file cannot be written.
    """
    gap = population.gap
    figure, axes = new_figure(2, 3)
    draw_population(axes[0, 0], population.zeta, population.kappa, gap)
    draw_gap_against(axes[0, 1], population.zeta, gap, symbol="ζ")
    draw_gap_against(axes[0, 2], population.kappa, gap, symbol="κ")
    shown = scores[features]
    estimated, tested = _first_split(population, scores.seed, features)
    draw_estimates(axes[1, 0], estimated, gap, tested=tested)
    axes[1, 0].set_title("the first of the random splits", **_TITLE)
    draw_estimates(
        axes[1, 1], np.array(shown.out_of_fold), gap, tested=np.ones(len(gap), dtype=bool)
    )
    axes[1, 1].set_title(f"out of fold: r = {_signed(shown.out_of_fold_r)}", **_TITLE)
    draw_ssr(axes[1, 2], np.array(shown.split_ssr))
    return save_figure(figure, path)


def _first_split(
    population: PopulationTable, seed: int, features: str
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of a line through the first split's networks, and which were held out."""
    fitted_on, held_out = draw_splits(len(population), splits=1, seed=seed).random[0]
    chosen = FEATURE_SETS[features]
    points = np.column_stack(list(chosen.columns(population).values()))
    tested = np.zeros(len(population), dtype=bool)
    tested[held_out] = True
    line = chosen.fit(points[fitted_on], population.gap[fitted_on])
    return line.predict(points), tested
