"""A population of networks in one figure: the paper's Fig. 3A to 3D, and estimates out of fold."""

from pathlib import Path

import numpy as np

from analyzer.audit import plots
from analyzer.estimation import FEATURE_SETS, FitScores, PopulationTable, draw_splits

__all__ = ["write_population_figure"]


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
        AuditFolderError: the ending is none of these.
        OutputError: the file cannot be written.
    """
    gap = population.gap
    figure, axes = plots.new_figure(2, 3)
    plots.draw_population(axes[0, 0], population.zeta, population.kappa, gap)
    plots.draw_gap_against(axes[0, 1], population.zeta, gap, symbol="ζ")
    plots.draw_gap_against(axes[0, 2], population.kappa, gap, symbol="κ")
    shown = scores[features]
    estimated, tested = _first_split(population, scores.seed, features)
    plots.draw_estimates(axes[1, 0], estimated, gap, tested=tested)
    axes[1, 0].set_title("the first of the random splits", fontsize=10)
    plots.draw_estimates(
        axes[1, 1], np.array(shown.out_of_fold), gap, tested=np.ones(len(gap), dtype=bool)
    )
    axes[1, 1].set_title(f"out of fold, r = {shown.out_of_fold_r:.3f}", fontsize=10)
    plots.draw_ssr(axes[1, 2], np.array(shown.split_ssr))
    return plots.save_figure(figure, path)


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
