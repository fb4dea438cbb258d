"""What a gap model says of a population that it has not seen, and what is true of it.

    onnx-gap population NAME/manifest.csv --mean 0 --std 1 --gap-model zoo:any --out AUDITED
    python -m tools.judge_population NAME AUDITED docs/measures/judged

To be run before the population is used for anything else: nothing can be fitted to it then. NAME is
the folder that ``onnx-gap zoo train NAME`` wrote. A row of the table is a network: its gap, the
estimate, the interval, whether the network lies inside the gap model's domain, how the estimates of
its classes follow their gaps, and how well its wrong labels are found. ``python -m
tools.left_out_populations`` writes a section of docs/MEASURES.md from these tables.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import kendalltau

from analyzer.audit import read_record
from analyzer.audit.suspect_ranking import DOUBT, most_suspicious
from analyzer.audit_record import AuditRecord
from analyzer.errors import AnalyzerError
from analyzer.estimation import ClassesOfNetwork, GapModel, read_gap_model, read_population
from model_zoo.bundled import find
from tools.evidence.single_samples import measured
from tools.evidence.tables import read_table, write_table
from tools.population_classes import classes_of_networks
from tools.suspects_study.measuring import AuditedNetwork, networks_of

__all__ = ["judged_rows", "judged_section", "read_judged"]

Row = Mapping[str, str]

_AT_THE_IMAGES = "neighbors_error_images"
_AVERAGED = (
    "class_r",
    "auc_suspects",
    "auc_log_probability",
    "first_suspects",
    "first_log_probability",
)
_POOR = 0.8  # AUC


def judged_rows(
    trained: Path, audited: Path, gap_model: GapModel, data: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A row a network, by name.

    Args:
        trained: folder of the networks.
        audited: folder of their audits, made with that gap model.
        gap_model: of several populations, this one not among them.
        data: folder of the data set, where no package holds it.

    Raises:
        AnalyzerError: the gap model has seen the population, or an audit was made with another one.
    """
    seen = gap_model.fitted_on.recipe.get("population", ())
    if trained.name in seen:
        raise AnalyzerError(
            f"The gap model {gap_model.name!r} was fitted on {trained.name}: judge a population "
            "that it has not seen."
        )
    table = read_population(audited / "population.csv")
    gaps = dict(zip(table.name, table.gap.tolist(), strict=True))
    outvoted = dict(zip(table.name, table.columns[_AT_THE_IMAGES].tolist(), strict=True))
    classes = {one.name: one for one in classes_of_networks(trained, audited, data)}
    # A weighted plane passes through the weighted means: this is that of the populations' gaps.
    mean = gap_model.intercept + np.dot(gap_model.coefficients, gap_model.feature_means)
    for one in networks_of(trained, audited):
        record = read_record(audited / "audits" / one.name)
        if record.gap is None or record.gap.gap_model != gap_model.sha256:
            raise AnalyzerError(
                f"The audit of {one.name} has no estimate by {gap_model.name!r} as it is now: "
                "audit the population again with that gap model."
            )
        yield {
            "network": one.name,
            "noise": one.noise,
            "level": one.level,
            "samples": len(one.wrong),
            "train_accuracy": round(record.accuracy, 4),
            "gap_model": record.gap.gap_model,
            "fitted_populations": len(seen),
            "fitted_networks": gap_model.fitted_on.networks,
            "mean": round(float(mean), 6),
            "gap": round(gaps[one.name], 6),
            "estimate": round(record.gap.estimate, 6),
            "low": round(record.gap.low, 6),
            "high": round(record.gap.high, 6),
            "inside": int(record.gap.inside_range),
            "outvoted": round(outvoted[one.name], 4),
            **_of_classes(record, classes[one.name]),
            **_of_suspects(one),
        }


def _of_classes(record: AuditRecord, classes: ClassesOfNetwork) -> dict[str, Any]:
    """How the classes' estimates follow their gaps, and what share the draw does not explain."""
    estimates = {one.index: one.gap for one in record.classes}
    said = np.array([estimates[index] for index in classes.profiles.index.tolist()], np.float64)
    gap, test = classes.gap, classes.test_correct / classes.test_samples
    drawn = np.mean(test * (1 - test) / (classes.test_samples - 1))
    return {
        "classes": len(gap),
        "class_r": round(float(np.corrcoef(said, gap)[0, 1]), 4),
        "class_reliability": round(max(0.0, 1 - float(drawn / gap.var(ddof=1))), 4),
        "class_error": round(float(np.abs(said - gap).mean()), 4),
        "class_error_as_network": round(float(np.abs(record.gap.estimate - gap).mean()), 4)
        if record.gap
        else "",
    }


def _of_suspects(one: AuditedNetwork) -> dict[str, Any]:
    """How well the list, and log-probability, find the wrong labels."""
    order = most_suspicious(one.samples, len(one.wrong), one.doubt(DOUBT))
    scores = {
        "suspects": -np.argsort(order).astype(np.float64),
        "log_probability": -one.samples.scores.log_probability.astype(np.float64),
    }
    row: dict[str, Any] = {"wrong": int(one.wrong.sum())}
    for name, score in scores.items():
        row[f"auc_{name}"] = row[f"first_{name}"] = ""
        if one.wrong.any():
            found = measured(score, one.wrong, one.samples.scores.other == one.true)
            row[f"auc_{name}"] = round(float(found["auc"] or 0), 4)
            row[f"first_{name}"] = round(float(found["precision_1"] or 0), 4)
    return row


def read_judged(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The tables of a folder by population, in alphabetical order; none without it."""
    return {path.stem: read_table(path).rows() for path in sorted(folder.glob("*.csv"))}


def judged_section(judged: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Lines of Markdown; none without tables."""
    if not judged:
        return
    yield """
## Judged before anything was fitted to it

All figures above come from populations that were there while the measures, the features or the form
of the line were settled, or are made of fits that were repeated without one. These networks are
another case: they were trained last, and `zoo:any` was asked about them, as it was bundled then,
before anything was fitted again, and before anybody had looked at them.
"""
    for name, rows in judged.items():
        yield from _one(name, rows)


def _one(name: str, rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    yield f"""### {name}

By `zoo:any` of {first["fitted_populations"]} populations and {first["fitted_networks"]} networks
([table](measures/judged/{name}.csv)).
"""
    yield from _summary(rows)
    yield ""
    yield (
        "| network | wrong labels | gap | estimate | interval | classes: *r* | reliability "
        "| suspects: AUC | by log-probability | wrong of the first 1 % | by log-probability |"
    )
    yield "|---" * 11 + "|"
    for row in rows:
        yield _network(row)
    mean_of = {
        column: np.mean([float(row[column]) for row in rows if row.get(column)])
        for column in _AVERAGED
        if any(row.get(column) for row in rows)
    }
    cells = [f"{mean_of[column]:.2f}" if column in mean_of else "–" for column in _AVERAGED]
    yield f"| *mean of these* | | | | | {cells[0]} | | {' | '.join(cells[1:])} |"
    yield ""
    yield _paragraph(
        "*Suspects* are all samples in the order of `suspects.csv`; *wrong labels* are those that "
        "were changed, of all. *Reliability* is the share of the variance between classes that the "
        "draw of the test images does not explain. The mean is that of the gaps of the populations "
        "behind the gap model."
    )
    if mean_of.get("auc_suspects", 1.0) < _POOR:
        outvoted = np.mean([float(row["outvoted"]) for row in rows])
        yield ""
        yield _paragraph(
            f"The list of suspects fails here: {mean_of['first_suspects']:.0%} of its first 1 % "
            f"are wrong, and {mean_of['first_log_probability']:.0%} by log-probability. It asks "
            f"the neighbors, and {outvoted:.0%} of these images are outvoted by theirs as images, "
            "with right labels and wrong ones: what belongs to a class does not look alike."
        )


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    """How the gaps of all networks of a population were estimated."""
    gap, estimate, low, high, mean = (
        np.array([float(row[column]) for row in rows])
        for column in ("gap", "estimate", "low", "high", "mean")
    )
    inside = [row["inside"] == "1" for row in rows]
    held, off = (low <= gap) & (gap <= high), estimate - gap
    yield (
        "| networks | gaps | guessing the mean: error | error | estimate less gap | τ "
        "| intervals that hold | mean width | inside the domain |"
    )
    yield "|---" * 9 + "|"
    yield (
        f"| {len(rows)} | {gap.min():.2f} to {gap.max():.2f} | {np.abs(mean - gap).mean():.3f} "
        f"| {np.abs(off).mean():.3f} | {off.mean():+.3f} | {kendalltau(estimate, gap)[0]:+.2f} "
        f"| {held.sum()} of {len(rows)} | {(high - low).mean():.2f} "
        f"| {sum(inside)} of {len(rows)} |"
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _network(row: Row) -> str:
    low, high = float(row["low"]), float(row["high"])
    cells = [
        row["network"],
        f"{int(row['wrong']):,} of {int(row['samples']):,}" if row.get("wrong") else "–",
        f"{float(row['gap']):.3f}",
        f"{float(row['estimate']):.3f}",
        f"{low:.2f} to {high:.2f}",
        f"{float(row['class_r']):+.2f}",
        f"{float(row['class_reliability']):.2f}",
    ]
    for name in ("auc", "first"):
        for score in ("suspects", "log_probability"):
            cell = row.get(f"{name}_{score}")
            cells.append(f"{float(cell):.2f}" if cell else "–")
    return f"| {' | '.join(cells)} |"


@click.command()
@click.argument("trained", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("audited", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
def main(trained: Path, audited: Path, out: Path, data: Path | None) -> None:
    """Write the table of the networks in TRAINED, by the bundled gap model, to the folder OUT."""
    path = find("any").gap_model
    assert path is not None, "it is bundled"
    rows = list(judged_rows(trained, audited, read_gap_model(path), data))
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / f"{trained.name}.csv", rows)
    click.echo(f"{out / trained.name}.csv: {len(rows)} networks")


if __name__ == "__main__":
    main()
