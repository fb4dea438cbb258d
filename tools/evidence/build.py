"""Write docs/EVIDENCE.md, the pages behind it and their figures from the committed tables.

    python -m tools.evidence.build

A page has one question. Its text is in ``templates/pages/NAME.md.jinja``, that of the summary in
``templates/EVIDENCE.md.jinja``, and what there is to say of one population in
``templates/notes/NAME.md.jinja``. A page without a table is left out.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from analyzer.audit import plots
from analyzer.estimation import (
    FeatureScores,
    estimate_left_out_populations,
    fit_population,
    read_gap_model,
)
from analyzer.output_files import aside, write_text
from model_zoo.bundled import BUNDLED, GAP_MODEL
from tools import left_out_populations
from tools.evidence import between_figures, checkpoints, population_figures
from tools.evidence.analysis import FEWEST, r_interval
from tools.evidence.checkpoints import (
    FEATURES,
    CheckpointFindings,
    checkpoint_findings,
    checkpoints_figure,
)
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.corrupted_classes import FRACTION, SHARE, Detection, detections
from tools.evidence.findings import Findings, population_findings
from tools.evidence.notation import level_name, number
from tools.evidence.regimes import SEED, Regime, regimes, regimes_figure
from tools.evidence.sensitivity import Sensitivity, sensitivities
from tools.evidence.single_classes import ClassFindings, class_findings, classes_gap_figure
from tools.evidence.single_samples import SampleFindings, sample_findings, samples_figure
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path
from tools.evidence.transfers import FEW, Matrix, few, transfer_figure, transfer_matrices
from tools.evidence.turning_points import TurningPoint, turning_points
from tools.evidence.variations import (
    CORRUPTIONS,
    POPULATION,
    WORSE,
    Variation,
    features_figure,
    judgment,
    own_setting,
    variations,
    verdicts,
    verdicts_figure,
)
from tools.suspects_study.page import NETWORKS, worst_first

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGES", "SUMMARY", "Evidence", "Page", "build", "pages_of", "read_evidence"]

SUMMARY = "EVIDENCE.md"
TEMPLATES = Path(__file__).parent / "templates"
_SIZES = (4, 8, 16, 32, 64)  # of the learning curve that the page states
_PAPER_FIGURES = {"mobilenet": "5A", "resnet34": "6A"}  # the others are VGG in form: 2A


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the tables say."""

    populations: tuple[Findings, ...]
    classes: tuple[ClassFindings, ...]  # of each population
    corrupted: Mapping[str, dict[str, tuple[Detection, ...]]]  # by population, batch norm on, off
    checkpoints: tuple[CheckpointFindings, ...]  # of each population that there is a table of
    matrices: tuple[Matrix, ...]  # by choice of features; none for a single population
    regimes: tuple[Regime, ...]  # none without a table
    variations: Mapping[str, tuple[Variation, ...]]  # by the gap model, "shipped" or "line"
    samples: tuple[SampleFindings, ...]  # of each population that there is a table of
    sensitivities: Mapping[str, tuple[Sensitivity, ...]]  # by population, where there is a table
    turning: Mapping[str, tuple[TurningPoint, ...]]  # by population
    paper: list[dict[str, str]]
    any_network: "AnyNetwork | None"  # None: there are no tables of it
    suspects: float | None  # wrong labels among the first suspects, at the worst; None: no table


Worst = tuple[str, float]
"""A population, and its figure."""


@dataclass(frozen=True, slots=True)
class AnyNetwork:
    """How ``zoo:any`` does on populations left out whole."""

    networks: int
    populations: int
    error: Mapping[str, float]  # by features, mean over the populations
    worst_error: Worst  # of zoo:any
    worst_guess: Worst  # of guessing the mean of the others
    coverage: float  # nominal
    held: float  # share of the gaps, mean over the populations
    worst_held: Worst
    width: float  # of the intervals, likewise
    worst_width: Worst
    least_pixels: int  # of the images' sides
    most_pixels: int


@dataclass(frozen=True, slots=True)
class Page:
    """One question, answered in ``evidence/NAME.md``."""

    name: str
    question: str
    answerable: Callable[[Evidence], object] = lambda evidence: True


PAGES = (
    Page("populations", "Which networks were tried?"),
    Page("estimates", "How well do estimates follow the true gap?"),
    Page("turning-points", "Why do ζ and κ fall short?", lambda e: e.turning),
    Page("controls", "Does the order of the units matter?", lambda e: e.sensitivities),
    Page("sensitivity", "How much do the choices of an audit matter?", lambda e: e.sensitivities),
    Page("intervals", "Do the intervals hold?"),
    Page("network-count", "How many networks does a gap model need?"),
    Page("checkpoints", "Can checkpoints replace networks?", lambda e: e.checkpoints),
    Page("transfer", "Does a gap model hold for another population?", lambda e: e.matrices),
    Page(
        "other-settings",
        "Does the bundled gap model hold beyond its own setting?",
        lambda e: e.regimes,
    ),
    Page("regime", "In which settings do ζ and κ follow the gap?"),
    Page("classes", "Which classes generalize worst or have wrong labels?"),
    Page("samples", "Which training samples have wrong labels?", lambda e: e.samples),
    Page("reproduce", "How was this made, and how do I make it again?"),
)
"""All pages behind the summary, in the order in which it lists them."""


def build(tables: Path = EVIDENCE) -> None:
    """Write the pages and their figures beside the tables, and the summary a folder above them.

    Raises:
        AnalyzerError: a table is missing or is not what it should be.
        OutputError: a file cannot be written.
    """
    evidence = read_evidence(tables)
    for name, figure in _figures(evidence):
        _save(figure, tables / f"{name}.png")
    for path, text in pages_of(evidence).items():
        write_text(tables.parent / path, text)


def read_evidence(tables: Path = EVIDENCE) -> Evidence:
    """Read every table that there is and work out what it says."""
    rows = read_table(tables / "populations.csv").rows()
    populations = tuple(population_findings(tables, row) for row in rows)
    settings = tables.parent / "regime.csv"
    names = [row["name"] for row in rows]
    named = dict(zip(names, populations, strict=True))
    return Evidence(
        populations=populations,
        checkpoints=tuple(
            checkpoint_findings(table, named[name])
            for name, table in _tables(tables, "checkpoints", names)
        ),
        corrupted={
            name: {
                "without batch norm": detections(table, batch_norm=False),
                "with batch norm": detections(table, batch_norm=True),
            }
            for name, table in _tables(tables, "corrupted-classes", names)
        },
        matrices=transfer_matrices(populations),
        classes=tuple(class_findings(findings) for findings in populations),
        regimes=regimes(read_table(settings)) if settings.exists() else (),
        variations=_variations(settings, named) if settings.exists() else {},
        samples=tuple(
            sample_findings(read_table(path))
            for path in sorted(tables.glob("samples-*.csv"), key=lambda path: path.stem)
        ),
        sensitivities={
            name: sensitivities(table) for name, table in _tables(tables, "sensitivity", names)
        },
        turning={
            name: turning_points(table, named[name])
            for name, table in _tables(tables, "turning", names)
        },
        paper=read_table(tables / "paper.csv").rows(),
        any_network=_any_network(tables.parent / "measures"),
        suspects=_suspects(tables.parent / "suspects" / NETWORKS),
    )


def _suspects(table: Path) -> float | None:
    return worst_first(list(read_table(table).rows())) if table.exists() else None


def _any_network(folder: Path) -> AnyNetwork | None:
    """What the tables of a folder say; None where it has none."""
    tables = left_out_populations.read_tables(folder)
    if not tables:
        return None
    rows = list(left_out_populations.left_out(tables, {name: name for name in tables}))
    coverage = left_out_populations.COVERAGE
    found = estimate_left_out_populations(tables, coverage=coverage)
    held = {name: float(one.held.mean()) for name, one in found.items()}
    width = {name: float((one.high - one.low).mean()) for name, one in found.items()}
    guess = {row.name: row.error("the mean") for row in rows}
    error = {row.name: row.error(left_out_populations.CHOSEN) for row in rows}
    audits = [table.conditions(0) for table in tables.values()]
    sides = [round(one.pixels**0.5) for one in audits if one is not None and one.pixels]
    return AnyNetwork(
        networks=sum(len(row.gap) for row in rows),
        populations=len(tables),
        error=left_out_populations.mean_errors(rows),
        worst_error=max(error.items(), key=_figure),
        worst_guess=max(guess.items(), key=_figure),
        coverage=coverage,
        held=float(np.mean(list(held.values()))),
        worst_held=min(held.items(), key=_figure),
        width=float(np.mean(list(width.values()))),
        worst_width=max(width.items(), key=_figure),
        least_pixels=min(sides),
        most_pixels=max(sides),
    )


def _figure(one: Worst) -> float:
    return one[1]


def _variations(settings: Path, named: Mapping[str, Findings]) -> dict[str, tuple[Variation, ...]]:
    """By the gap model that ships, and by the paper's line through the same networks."""
    table = read_table(settings)
    line = fit_population(
        named[POPULATION].population, name=POPULATION, data=POPULATION, architecture=""
    )
    gap_models = {"shipped": read_gap_model(BUNDLED / POPULATION / GAP_MODEL), "line": line}
    return {kind: variations(table, gap_model) for kind, gap_model in gap_models.items()}


def _tables(folder: Path, kind: str, names: Sequence[str]) -> Iterator[tuple[str, Table]]:
    """Those tables of that kind that there are."""
    for name in names:
        if (path := table_path(folder, kind, name)).exists():
            yield name, read_table(path)


def _figures(evidence: Evidence) -> Iterator[tuple[str, "Figure"]]:
    for p in evidence.populations:
        yield f"{p.name}-gap", population_figures.gap_figure(p)
        if len(p.lines) > 1:
            yield f"{p.name}-estimates", population_figures.estimates_figure(p)
        yield f"{p.name}-levels", population_figures.levels_figure(p.networks)
        yield f"{p.name}-example", population_figures.example_figure(p)
        yield f"{p.name}-curves", population_figures.curves_figure(p.curves)
        yield f"{p.name}-classes", population_figures.classes_figure(p)
    for classes in evidence.classes:
        yield f"{classes.name}-class-gaps", classes_gap_figure(classes)
    for samples in evidence.samples:
        yield f"{samples.population}-samples", samples_figure(samples)
    yield "learning", between_figures.learning_figure(evidence.populations)
    if evidence.checkpoints:
        yield "checkpoints", checkpoints_figure(evidence.checkpoints)
    yield "coverage", between_figures.coverage_figure(evidence.populations)
    for name, choices in evidence.sensitivities.items():
        yield f"{name}-sensitivity", between_figures.sensitivity_figure(choices)
    if evidence.matrices:
        yield "transfer", transfer_figure(evidence.matrices)
    if evidence.regimes:
        yield "regimes", regimes_figure(evidence.regimes)
        yield "regime-features", features_figure(evidence.variations["shipped"])
        yield "regime-estimates", verdicts_figure(evidence.variations["shipped"])


def _save(figure: "Figure", path: Path) -> None:
    """Write a PNG of 256 colors, a third of the size of one of all."""
    plots.save_figure(figure, path)
    with Image.open(path) as drawn:
        small = drawn.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
        )
    with aside(path) as file:
        small.save(file, format="png", optimize=True)


def pages_of(evidence: Evidence) -> dict[str, str]:
    """The text of the summary and of every page behind it, by path from the folder of docs."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": level_name}
    pages = [page for page in PAGES if page.answerable(evidence)]
    environment.globals |= dict(
        evidence=evidence,
        pages=pages,
        populations=evidence.populations,
        named={findings.name: findings for findings in evidence.populations},
        fewest=FEWEST,
        glyphs=any(p.about["data"].startswith("glyphs") for p in evidence.populations),
        seed_noise=SEED,
        own_setting=own_setting(),
        worse=WORSE,
        corruptions=CORRUPTIONS,
        said_of_variations=verdicts(evidence.variations.get("shipped", ())),
        judged_variations=judgment(evidence.variations["shipped"]) if evidence.regimes else None,
        turning_rows=list(zip(*evidence.turning.values(), strict=True)),
        sizes=_SIZES,
        confused=(SHARE, FRACTION),
        checkpoint_features=list(FEATURES),
        checkpoints_from=checkpoints.START,
        checkpoints_to=checkpoints.ENOUGH,
        few=few,
        few_networks=FEW,
        paper_figures=_PAPER_FIGURES,
        paper_error=_paper_error,
        error=_error,
        r_range=_r_range,
        series=lambda values, digits=2: " / ".join(number(value, digits) for value in values),
        median=lambda values: float(np.median(values)),
    )
    written = environment.get_template("written.jinja").render()
    found = {SUMMARY: _tidy(environment.get_template(f"{SUMMARY}.jinja").render())}
    for page in pages:
        text = environment.get_template(f"pages/{page.name}.md.jinja").render()
        found[f"evidence/{page.name}.md"] = _tidy(f"# {page.question}\n\n{written}\n\n{text}")
    return found


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _error(found: FeatureScores, held_out: int) -> float:
    """What the median SSR means for one network."""
    return float(np.sqrt(np.median(found.split_ssr) / held_out))


def _r_range(r: float | None, networks: int) -> str:
    """The 95 % interval of an r, in words."""
    if r is None:
        return "–"
    low, high = r_interval(r, networks)
    return f"{number(low, 2)} to {number(high, 2)}"


def _paper_error(row: Mapping[str, Any]) -> str:
    if not row["ssr"] or not row["held_out"]:
        return "–"
    return number(float(np.sqrt(float(row["ssr"]) / int(row["held_out"]))), 2)


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=EVIDENCE, help="folder of the tables")
    build(parser.parse_args(arguments).tables)


if __name__ == "__main__":
    sys.exit(main())
