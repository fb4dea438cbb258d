"""How well features estimate the gap of populations that are left out whole.

    python -m tools.left_out_populations FOLDER

FOLDER holds a table NAME.csv a population, as ``onnx-gap population`` writes it. For each choice of
features a line is fitted on all populations but one, each population counting as much as any other,
and tried on that one; then the same with all populations of one data set left out. Nothing is
chosen on what is tested: every choice is printed. Writes Markdown to standard output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from scipy.stats import kendalltau

from analyzer.estimation import PopulationTable, read_population

CHOICES: Mapping[str, tuple[str, ...]] = {
    "the mean": (),
    "ζ and κ": ("zeta", "kappa"),
    "area under E_r": ("curve_area_ascending",),
    "interpolation": ("interpolation_same_50",),
    "neighbors": ("neighbors_error_third_trusted",),
    "both": ("interpolation_same_50", "neighbors_error_third_trusted"),
}
"""Features by what the table calls them; none of them: the mean of the other populations."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Estimates of networks that the line never saw, nor any of their population."""

    name: str
    gap: np.ndarray  # float64 (N,)
    estimates: Mapping[str, np.ndarray]  # choice -> float64 (N,)

    def error(self, choice: str) -> float:
        """Mean absolute error."""
        return float(np.abs(self.estimates[choice] - self.gap).mean())

    def tau(self, choice: str) -> float:
        """Kendall's τ-b with the gap; NaN where the estimates are all alike."""
        return float(kendalltau(self.estimates[choice], self.gap).statistic)


def left_out(tables: Mapping[str, PopulationTable], groups: Mapping[str, str]) -> Iterator[LeftOut]:
    """Leave out each group of populations in turn.

    Args:
        tables: population -> its networks; those without a gap or a feature are passed over.
        groups: population -> the group it belongs to.
    """
    needed = sorted({name for names in CHOICES.values() for name in names})
    columns = {name: _columns(table, needed) for name, table in tables.items()}
    for group in dict.fromkeys(groups[name] for name in tables):
        others = [columns[name] for name in tables if groups[name] != group]
        own = [columns[name] for name in tables if groups[name] == group]
        if not others:
            continue
        weight = np.concatenate([np.full(len(one["gap"]), 1 / len(one["gap"])) for one in others])
        train, test = _stacked(others), _stacked(own)
        yield LeftOut(
            group,
            test["gap"],
            {choice: _fitted(train, weight, names)(test) for choice, names in CHOICES.items()},
        )


def _columns(table: PopulationTable, needed: Sequence[str]) -> dict[str, np.ndarray]:
    values = {"zeta": table.zeta, "kappa": table.kappa, **table.features, "gap": table.gap}
    chosen = {name: values[name] for name in (*needed, "gap")}
    known = np.all([np.isfinite(column) for column in chosen.values()], axis=0)
    return {name: column[known] for name, column in chosen.items()}


def _stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _fitted(train: Mapping[str, np.ndarray], weight: np.ndarray, names: Sequence[str]):
    """A line through weighted networks, as a function of their columns."""

    def design(columns: Mapping[str, np.ndarray]) -> np.ndarray:
        ones = np.ones(len(columns["gap"]))
        return np.column_stack([ones, *(columns[name] for name in names)])

    root = np.sqrt(weight)
    line, *_ = np.linalg.lstsq(design(train) * root[:, None], train["gap"] * root, rcond=None)
    # An estimate never leaves what a gap can be.
    return lambda columns: np.clip(design(columns) @ line, 0, 1)


def page(tables: Mapping[str, PopulationTable]) -> str:
    """Both tables as Markdown."""
    by_population = list(left_out(tables, {name: name for name in tables}))
    by_data_set = list(left_out(tables, {name: name.split("-")[0] for name in tables}))
    text = ["## Each population left out whole", "", *_table(by_population), ""]
    text += ["## Each data set left out whole", "", *_table(by_data_set), ""]
    text += ["Kendall's τ within each population left out", "", *_taus(by_population)]
    return "\n".join(text) + "\n"


def _table(rows: Sequence[LeftOut]) -> Iterator[str]:
    yield f"| left out | networks | gaps | {' | '.join(CHOICES)} |"
    yield "|---" * (3 + len(CHOICES)) + "|"
    for row in rows:
        errors = (f"{row.error(choice):.3f}" for choice in CHOICES)
        low, high = row.gap.min(), row.gap.max()
        yield f"| {row.name} | {len(row.gap)} | {low:.2f} to {high:.2f} | {' | '.join(errors)} |"
    means = (f"{np.mean([row.error(choice) for row in rows]):.3f}" for choice in CHOICES)
    yield f"| *mean of these* | {sum(len(row.gap) for row in rows)} | | {' | '.join(means)} |"


def _taus(rows: Sequence[LeftOut]) -> Iterator[str]:
    choices = [choice for choice, names in CHOICES.items() if names]
    yield f"| left out | {' | '.join(choices)} |"
    yield "|---" * (1 + len(choices)) + "|"
    for row in rows:
        yield f"| {row.name} | {' | '.join(f'{row.tau(choice):+.2f}' for choice in choices)} |"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Print how well features estimate the gap of populations in FOLDER that are left out whole."""
    tables = {path.stem: read_population(path) for path in sorted(folder.glob("*.csv"))}
    if len(tables) < 2:
        raise click.UsageError(f"{folder} needs two tables at least, it has {len(tables)}.")
    click.echo(page(tables), nl=False)


if __name__ == "__main__":
    main()
