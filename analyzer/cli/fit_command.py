"""``onnx-gap fit``"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.cli.click_options import (
    PATH,
    Command,
    Number,
    ResultFile,
    WholeNumber,
    exit_codes,
    json_option,
    out_file,
    progress_option,
)
from analyzer.cli.terminal import print_json, print_table, show, show_progress, warn

if TYPE_CHECKING:
    from analyzer.estimation import FeatureScores, FitScores, GapModel, PopulationTable


_SWAPPED = -0.02  # a mean gap below is probably a mistake in the table


class _FeatureSetOption(click.Option):
    """An option whose choices and help are the library's, imported where they are needed."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from analyzer.estimation import FEATURE_SETS

        sets = "; ".join(f"{name}, {one.description}" for name, one in FEATURE_SETS.items())
        self.help = f"What estimates the gap: {sets}."
        return super().get_help_record(ctx)


class _FeatureSetName(click.Choice):
    """The name of a feature set."""

    def __init__(self) -> None:
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        from analyzer.estimation import FEATURE_SETS

        return tuple(FEATURE_SETS)


@click.command(
    "fit", cls=Command, short_help="Fit a gap model on an audited population.", epilog=exit_codes()
)
@click.argument("population", type=PATH)
@out_file("The gap model to write, as JSON.")
@click.option(
    "--features",
    cls=_FeatureSetOption,
    type=_FeatureSetName(),
    default="paper",
    show_default=True,
)
@click.option(
    "--name", metavar="NAME", help="What results call the gap model.  [default: the file's name]"
)
@click.option(
    "--trained-on",
    default="data not named",
    metavar="TEXT",
    help="The data of the population, for people who read results.",
)
@click.option(
    "--architecture",
    default="architecture not named",
    metavar="TEXT",
    help="Its architecture, likewise.",
)
@click.option(
    "--coverage",
    type=Number(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    metavar="X",
    help="Nominal coverage of the prediction interval.",
)
@click.option(
    "--splits",
    type=WholeNumber(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Random splits that the fit is scored on.",
)
@click.option(
    "--seed",
    type=WholeNumber(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the splits.",
)
@click.option(
    "--plot",
    type=ResultFile(text=False),
    metavar="FILE",
    help="Also draw the population, as .svg, .png or .pdf (extra plot).",
)
@progress_option
@json_option
def command(
    population: Path,
    out: Path,
    features: str,
    name: str | None,
    trained_on: str,
    architecture: str,
    coverage: float,
    splits: int,
    seed: int,
    plot: Path | None,
    shown: str,
    as_json: bool,
) -> None:
    """Fit the gap model ĝ = a·ζ + b·κ + c on the table POPULATION.

    Prints its coefficients, the correlation on the population itself, the sums of squared
    residuals (SSR) over random splits (90 % to fit, 10 % to test), and the scores out of fold.
    Every other set of features that the table has is scored beside ζ and κ. Where one is clearly
    better out of fold, the last line says so; --features chooses it.

    \b
    Examples:
      onnx-gap fit population/population.csv -o gap_model.json
      onnx-gap fit population.csv --features area -o gap_model.json
      onnx-gap fit population.csv --features extended -o extended.json
      onnx-gap fit population.csv --trained-on CIFAR-100 -o vgg16.json
      onnx-gap fit population.csv --plot population.svg -o gap_model.json
    """
    from analyzer import estimation
    from analyzer.audit import check_figure, refuse_to_replace, write_population_figure

    results = {"out": out, "plot": plot}
    refuse_to_replace(results, [population], {one.parent for one in (out, plot) if one})
    if plot is not None:
        check_figure(plot)  # before minutes of cross-validation
    table = estimation.read_population(population)
    known = table.with_gap()
    gap_model = estimation.fit_population(
        table,
        name=name or out.stem,
        data=trained_on,
        architecture=architecture,
        coverage=coverage,
        features=features,
    )
    with show_progress(shown) as progress:
        scores = estimation.fit_scores(
            known.columns,
            known.gap,
            features=features,
            everything=True,
            splits=splits,
            seed=seed,
            progress=progress,
        )
    better = scores.clearly_better(features, known.gap)

    def draw() -> None:
        if plot is not None:
            write_population_figure(known, scores, plot, features=features)

    gap_model = estimation.write_gap_model(gap_model, out, further=draw)
    for sentence in _warnings(table, gap_model, scores, population):
        warn(sentence)
    if as_json:
        of_the_file = {"gap_model": str(out), "sha256": gap_model.sha256}
        measured = {"coverage": asdict(gap_model.coverage), "clearly_better": better}
        print_json(of_the_file | scores.to_dict() | measured)
    else:
        _show(gap_model, scores)
        show(f"{out}: written")
        if better:
            show(
                f"Out of fold, {estimation.SCORED_SETS[better].label} estimate this population "
                f"clearly better: --features {better}"
            )


def _warnings(
    table: "PopulationTable", gap_model: "GapModel", scores: "FitScores", file: Path
) -> Iterator[str]:
    """What the table in ``file`` lacks."""
    from analyzer.audit.assemble_record import some_of
    from analyzer.estimation import CONDITION_COLUMNS

    left_out = len(table) - scores.networks
    if left_out:
        yield f"{left_out} of {len(table)} networks have no known gap and were left out."
    known = table.with_gap()
    if (mean := float(known.gap.mean())) < _SWAPPED:
        yield (
            f"The mean gap is {mean:.2f}: the networks would do better on test data than on their "
            f"training data. If the accuracies or the sign of the gap are swapped in {file}, "
            "correct them."
        )
    for names in known.alike():
        yield (
            f"{some_of(names)} have the same numbers in all columns: if they are one network, it "
            f"counts {len(names)} times, and the interval is too narrow. Keep one of them."
        )
    if gap_model.fitted_on.domain is None:
        yield (
            f"{file} does not say of all networks under which circumstances they were "
            f"audited ({CONDITION_COLUMNS[0]} and the like): audits will not warn about "
            "networks outside them. `onnx-gap population` writes them down."
        )
    yield from scores.obstacles.values()


def _show(gap_model: "GapModel", scores: "FitScores") -> None:
    from analyzer.estimation import SCORED_SETS

    if gap_model.left_out is None:
        a, b = gap_model.coefficients
        show(
            f"ĝ = {a:+.4f}·ζ {b:+.4f}·κ {gap_model.intercept:+.4f}, fitted on {gap_model.fitted_on}"
        )
    else:
        _show_features(gap_model)
    click.echo(f"r(ζ, gap) {scores.zeta_r:+.3f}, r(κ, gap) {scores.kappa_r:+.3f}\n")
    header = ("features", "r", "out of fold: r", "τ", "R²", "SSR: mean", "median", "largest")
    rows = [
        (SCORED_SETS[name].label, *_cells(found))
        for name, found in scores.by_features.items()
        if found is not None
    ]
    print_table(header, rows)
    coverage = gap_model.coverage
    share = coverage.student_t if gap_model.left_out is None else coverage.jackknife_plus
    measured = (
        "could not be measured"
        if share is None
        else f"covered {share:.0%} of networks left out one at a time"
    )
    click.echo(
        f"\nSSR over {len(scores['paper'].split_ssr)} splits with {scores.held_out} of "
        f"{scores.networks} networks held out\n"
        f"the {coverage.nominal:.0%} interval {measured}"
    )


def _show_features(gap_model: "GapModel") -> None:
    """The coefficients of a ridge: what a standard deviation of each feature is worth."""
    show(f"A ridge with penalty {gap_model.penalty:.2g}, fitted on {gap_model.fitted_on}")
    parts = zip(
        gap_model.features,
        gap_model.coefficients,
        gap_model.feature_means,
        gap_model.feature_scales,
        strict=True,
    )
    print_table(
        ("feature", "mean", "deviation", "gap per deviation"),
        [
            (name, f"{mean:.3f}", f"{scale:.3f}", f"{coefficient * scale:+.4f}")
            for name, coefficient, mean, scale in parts
        ],
    )
    click.echo()


def _cells(scores: "FeatureScores") -> tuple[str, ...]:
    values = scores.to_dict()
    of_fold = ("fit_r", "out_of_fold_r", "out_of_fold_tau", "out_of_fold_r2")
    of_splits = ("split_ssr_mean", "split_ssr_median", "split_ssr_max")
    return (
        *(f"{values[key]:.3f}" for key in of_fold),
        *(f"{values[key]:.4f}" for key in of_splits),
    )
