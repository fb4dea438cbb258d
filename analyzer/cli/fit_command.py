"""``onnx-gap fit``"""

import json
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import json_option
from analyzer.cli.terminal import say


@click.command("fit")
@click.argument("population", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The gap model to write, as JSON.",
)
@click.option("--name", help="What results call the gap model. [default: the file's name]")
@click.option(
    "--trained-on", "data", default="", help="The data of the population, for who reads results."
)
@click.option("--architecture", default="", help="Its architecture, likewise.")
@click.option(
    "--coverage", type=float, default=0.9, show_default=True, help="Of the prediction interval."
)
@click.option("--splits", type=click.IntRange(1), default=100, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the splits.")
@json_option
def command(
    population: Path,
    out: Path,
    name: str | None,
    data: str,
    architecture: str,
    coverage: float,
    splits: int,
    seed: int,
    as_json: bool,
) -> None:
    """Fit the gap model ĝ = a·ζ + b·κ + c on the table POPULATION.

    Prints its coefficients, the correlation on the population itself, the sums of squared
    residuals over random splits (90 % to fit, 10 % to test), and the scores out of fold.

    \b
    Examples:
      onnx-gap fit population/population.csv -o gap_model.json
      onnx-gap fit population.csv --trained-on "CIFAR-100" --architecture VGG16 -o vgg16.json
    """
    from analyzer import estimation

    table = estimation.read_population(population)
    known = table.with_gap()
    gap_model = estimation.fit_population(
        table,
        name=name or out.stem,
        data=data or "data not named",
        architecture=architecture or "architecture not named",
        coverage=coverage,
    )
    scores = estimation.fit_scores(
        known.zeta, known.kappa, known.gap, splits=splits, seed=seed, coverage=coverage
    )
    gap_model = estimation.write_gap_model(gap_model, out)
    if len(known) < len(table):
        say(f"{len(table) - len(known)} of {len(table)} networks have no known gap: left out")
    if as_json:
        click.echo(json.dumps({"sha256": gap_model.sha256, **scores.to_dict()}, indent=2))
    else:
        for line in _lines(gap_model, scores):
            click.echo(line)
    say(f"{out}: written")


def _lines(gap_model: Any, scores: Any) -> list[str]:
    a, b = gap_model.coefficients
    lines = [
        f"ĝ = {a:+.4f}·ζ {b:+.4f}·κ {gap_model.intercept:+.4f}, fitted on {gap_model.fitted_on}",
        f"r(ζ, gap) {scores.zeta_r:+.3f}   r(κ, gap) {scores.kappa_r:+.3f}",
        "",
        f"{'features':<10}{'r, fitted':>11}{'r, out of fold':>16}{'τ':>8}{'R²':>8}"
        f"{'SSR mean':>11}{'median':>9}{'max':>9}",
    ]
    for label, part in (
        ("ζ and κ", scores.both),
        ("ζ alone", scores.zeta),
        ("κ alone", scores.kappa),
    ):
        values = part.to_dict()
        lines.append(
            f"{label:<10}{values['fit_r']:>11.3f}{values['out_of_fold_r']:>16.3f}"
            f"{values['out_of_fold_tau']:>8.3f}{values['out_of_fold_r2']:>8.3f}"
            f"{values['split_ssr_mean']:>11.4f}{values['split_ssr_median']:>9.4f}"
            f"{values['split_ssr_max']:>9.4f}"
        )
    coverage = scores.coverage
    lines += [
        "",
        f"SSR over {len(scores.both.split_ssr)} splits, {scores.held_out} of {scores.networks} "
        "networks held out in each",
        f"{coverage.nominal:.0%} interval: measured coverage "
        + ("not measurable" if coverage.student_t is None else f"{coverage.student_t:.0%}"),
    ]
    return lines
