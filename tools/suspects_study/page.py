"""docs/SUSPECTS.md from the two tables of the study."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np

from analyzer.cli.terminal import show_progress
from analyzer.output_files import write_text
from tools.evidence.tables import read_table, write_table
from tools.judge_population import read_judged
from tools.suspects_study.fitting import FITTED_ON, MOST, Calibration, calibrations, fit_line
from tools.suspects_study.measuring import SCORES, network_rows, networks_of, samples_table

__all__ = ["NETWORKS", "SAMPLES", "main", "page", "worst_first"]

NETWORKS, SAMPLES = "networks.csv", "samples.csv"
JUDGED = Path("measures") / "judged"
"""Where docs/ has the tables of populations that were judged first."""

Row = Mapping[str, str]

_SHORT = {
    "suspects": "`suspects.csv`",
    "product": "hold × agreement",
    "no_depths": "line without depths",
    "agreement": "agreement",
    "agreement_images": "agreement, images",
    "agreement_two_thirds": "agreement, two thirds",
    "hold": "hold",
    "survival": "survival",
    "ablation": "survival × log-probability",
    "log_probability": "log-probability",
    "normalized_margin": "normalized margin",
    "confidence_weighted_entropy": "weighted entropy",
    "datalab": "Datalab",
}
_TARGETS = {"digits": 0.95, "glyphs": 0.95, "fashion": 0.90}
_FIRST = 0.9
_CLEARLY = 0.02
_LOW, _HIGH = 5, 20  # percent of wrong labels that the targets are about

HEADER = """# Suspects: which training labels are wrong, told by one trained network

`onnx-gap audit` lists the training samples whose labels look wrong. It has one network, trained on
the very labels that it judges, and no second look. This page holds the list against networks whose
wrong labels are known, beside each of its parts alone and beside
[cleanlab](https://github.com/cleanlab/cleanlab) on the same networks. Written by
`python -m tools.suspects_study docs/suspects docs/SUSPECTS.md`.
"""


def page(
    networks: Sequence[Row],
    samples: Sequence[Row],
    judged: Mapping[str, Sequence[Row]] = MappingProxyType({}),
) -> str:
    """The page, as Markdown.

    Args:
        networks: rows of ``networks.csv``.
        samples: rows of ``samples.csv``.
        judged: rows of populations that nobody had seen, as :mod:`tools.judge_population` wrote
            them.
    """
    groups = _groups(networks)
    found = list(calibrations(samples))
    parts = [
        HEADER,
        *_first_screen(groups, found),
        *_unseen(judged),
        *_how(samples),
        *_ranking(groups),
        *_flags(groups),
        *_odds(found),
        *_tried(groups),
    ]
    return "\n".join(parts) + "\n"


def worst_first(networks: Sequence[Row]) -> float:
    """The least share of wrong labels in the first 1 % of `suspects.csv`, of any population with
    5 to 20 % of its labels drawn at random; a mean over its networks."""
    return min(one.mean("first_suspects") for one in _groups(networks) if _at_random(one))


def _at_random(one: "_Group") -> bool:
    return one.noise == "uniform" and _LOW <= one.level <= _HIGH


class _Group:
    """The networks of a population with one share of wrong labels."""

    def __init__(self, rows: Sequence[Row]):
        self.rows = rows
        first = rows[0]
        self.population, self.noise = first["population"], first["noise"]
        self.level = int(first["level"])
        self.data_set = self.population.split("-")[0]

    def mean(self, column: str) -> float:
        """NaN where a network lacks it."""
        cells = [row.get(column, "") for row in self.rows]
        return float(np.mean([float(cell) for cell in cells])) if all(cells) else float("nan")

    def total(self, column: str) -> float:
        """Sum over the networks."""
        return sum(float(row[column]) for row in self.rows)

    @property
    def name(self) -> str:
        return f"{self.population} {self.level} %"


def _groups(networks: Sequence[Row]) -> list[_Group]:
    by: dict[tuple[str, int], list[Row]] = {}
    for row in networks:
        by.setdefault((row["population"], int(row["level"])), []).append(row)
    return [_Group(by[key]) for key in sorted(by)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _first_screen(groups: Sequence[_Group], found: Sequence[Calibration]) -> Iterator[str]:
    yield "## What can I believe of the list for my network?"
    yield ""
    rows = []
    for data_set, target in _TARGETS.items():
        chosen = [one for one in groups if one.data_set == data_set and _at_random(one)]
        auc = min(one.mean("auc_suspects") for one in chosen)
        first = min(one.mean("first_suspects") for one in chosen)
        rows.append(
            [
                data_set,
                str(sum(len(one.rows) for one in chosen)),
                f"{auc:.2f} ({_met(auc, target)} {target:.2f})",
                f"{min(one.mean('auc_log_probability') for one in chosen):.2f}",
                f"{first:.2f} ({_met(first, _FIRST)} {_FIRST:.2f})",
                f"{min(one.mean('first_log_probability') for one in chosen):.2f}",
            ]
        )
    yield f"With {_LOW} to {_HIGH} % of the labels drawn at random, at the worst of these shares:"
    yield ""
    yield from _table(
        [
            "data",
            "networks",
            "AUC of `suspects.csv`",
            "of log-probability",
            "wrong among its first 1 %",
            "of log-probability's",
        ],
        rows,
    )
    yield from _confusable(groups)
    yield from _better(groups)
    yield from _certain(found)
    yield (
        "Fashion-MNIST was left out of every fit, but it was looked at while the measures and the "
        "form of the score were chosen; so were the other two. None of these figures is from data "
        "that nobody had seen."
    )
    yield ""


def _unseen(judged: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """The populations that nobody had seen, a paragraph each."""
    for name, rows in judged.items():
        known = [row for row in rows if row["auc_suspects"]]
        if not known:
            continue
        auc, auc_before, first, first_before = (
            np.mean([float(row[f"{figure}_{score}"]) for row in known])
            for figure in ("auc", "first")
            for score in ("suspects", "log_probability")
        )
        outvoted = np.mean([float(row["outvoted"]) for row in known])
        levels = ", ".join(sorted({row["level"] for row in known}, key=int))
        how = "changed to a class that looks alike" if known[0]["noise"] != "uniform" else "drawn"
        yield textwrap.fill(
            f"Then came *{name}*, with {levels} % of the labels {how}, which nobody had looked at: "
            f"the AUC is {auc:.2f} there (by log-probability {auc_before:.2f}), and {first:.2f} of "
            f"the first 1 % are wrong (by log-probability {first_before:.2f}). {outvoted:.0%} of "
            "its images are outvoted by their neighbors, whether their labels are right or wrong: "
            "where what belongs to a class does not look alike, do not rely on the list "
            f"([figures](MEASURES.md#{name})).",
            100,
            break_on_hyphens=False,
        )
        yield ""


def _met(value: float, target: float) -> str:
    return "goal" if round(value, 2) >= target else "**missed:** goal"


def _confusable(groups: Sequence[_Group]) -> Iterator[str]:
    chosen = [one for one in groups if one.noise == "confusable"]
    words = []
    for column in ("auc", "first"):
        own, other = (
            [one.mean(f"{column}_{name}") for one in chosen]
            for name in ("suspects", "log_probability")
        )
        worse = [one.name for one, x, y in zip(chosen, own, other, strict=True) if x < y]
        where = f"not above it at {', '.join(worse)}" if worse else "always above it"
        words.append(
            f"{min(own):.2f} to {max(own):.2f} (by log-probability {min(other):.2f} to "
            f"{max(other):.2f}, {where})"
        )
    yield (
        f"With 1 to 20 % of the labels changed to a class that looks alike, the AUC is {words[0]}, "
        f"and the share of wrong labels in the first 1 % {words[1]}."
    )
    yield ""


def _better(groups: Sequence[_Group]) -> Iterator[str]:
    found = []
    for column, words in (("auc", "AUC"), ("first", "first 1 %")):
        for one in groups:
            own = one.mean(f"{column}_suspects")
            rivals = {name: one.mean(f"{column}_{name}") for name in SCORES}
            best = max((value, name) for name, value in rivals.items() if not np.isnan(value))
            if best[0] > own + _CLEARLY and one.level <= _HIGH:
                found.append(f"{one.name}, {words}: {_SHORT[best[1]]} {best[0]:.2f}, not {own:.2f}")
    yield (
        f"With up to {_HIGH} % of wrong labels another score is better by more than {_CLEARLY} "
        f"here: {'; '.join(found) if found else 'nowhere'}. With more wrong labels than that, "
        "agreement without depths is often better."
    )
    yield ""


def _certain(found: Sequence[Calibration]) -> Iterator[str]:
    yield (
        "The column `wrong_probability` tells an order of magnitude. Here is the share of wrong "
        "labels among those that it gives 0.9 and more, and among those that it gives 0.5 to 0.9, "
        f"by the line fitted without these data, with {_LOW} to {_HIGH} % of wrong labels; and how "
        "many labels of clean data it gives 0.5 and more. It cannot know how many labels are wrong "
        "in all: where there are few, most of what it names is merely hard."
    )
    yield ""
    rows = []
    for data_set in _TARGETS:
        own = [one for one in found if one.cell.data_set == data_set]
        row = [data_set]
        for noise in ("uniform", "confusable"):
            chosen = [o for o in own if o.cell.noise == noise and _LOW <= o.cell.level <= _HIGH]
            for pairs in ([o.certain for o in chosen], [o.likely for o in chosen]):
                count, wrong = np.sum(pairs, axis=0).tolist()
                row.append(_share((count, wrong)))
        (clean,) = (one for one in own if one.cell.noise == "clean")
        rows.append([*row, f"{(clean.certain[0] + clean.likely[0]) / clean.samples:.1%}"])
    header = [
        "data",
        "drawn at random: 0.9 and more",
        "0.5 to 0.9",
        "changed to one alike: 0.9 and more",
        "0.5 to 0.9",
        "clean labels at 0.5 and more",
    ]
    yield from _table(header, rows)


def _how(samples: Sequence[Row]) -> Iterator[str]:
    line = fit_line(samples)
    formula = (
        f"{line.intercept:.2f} − {-line.agreement:.2f} log(agreement + 0.1) "
        f"− {-line.hold:.2f} log(hold + 0.1) + {line.depths:.2f} depths"
    )
    yield f"""## How it is ranked

- *Agreement*: the share of a sample's ten neighbors with its label, the mean of four depths: the
  images and the activations at the first, a third and two thirds of the way. In the last
  activation wrong labels are memorized already.
- *Hold*: the share of its partners of the same label for which the network names the label half
  way.
- *Depths*: at how many of the four depths most neighbors have one and the same other label, as a
  share. That label is the list's `likely` one.

The list is sorted by `suspicion`, the log-odds that a label is wrong:

    {formula}

It is a logistic regression on networks of {" and ".join(FITTED_ON)} with 0 to {MOST} % of wrong
labels, every data set, kind of noise and share of wrong labels counting alike. In the tables below
digits are ranked by the line fitted on glyphs alone, glyphs by that of digits, Fashion-MNIST by
that of both, which is the one that ships.
"""


def _ranking(groups: Sequence[_Group]) -> Iterator[str]:
    parts = ("product", "no_depths", "survival", "ablation")
    words = "; ".join(f"*{_SHORT[name]}*: {SCORES[name]}" for name in parts)
    yield f"""## Every score beside every other

Means over the networks of a population and share of wrong labels. Equally suspicious samples count
by their share; `suspects.csv` has none. {words}. Cleanlab's
*self-confidence* ranks as log-probability does. *Datalab* is given
the network's last activation, on which it cross-validates a logistic regression; given the
network's own probabilities it ranks as self-confidence does.
"""
    names = [
        name for name in SCORES if any(not np.isnan(one.mean(f"auc_{name}")) for one in groups)
    ]
    header = ["population", "networks", *(_SHORT[name] for name in names)]
    for column, words in (
        ("auc", "AUC: how often a wrong label is ranked before a right one"),
        ("first", "Share of wrong labels among the first 1 %"),
    ):
        yield f"### {words}"
        yield ""
        rows = []
        for one in groups:
            values = [one.mean(f"{column}_{name}") for name in names]
            best = np.nanmax(np.round(values, 2))
            cells = [f"**{_number(v)}**" if round(v, 2) == best else _number(v) for v in values]
            rows.append([one.name, str(len(one.rows)), *cells])
        for words_of, chosen in (
            (
                "mean, uniform to 20 %",
                [g for g in groups if g.noise == "uniform" and g.level <= _HIGH],
            ),
            ("mean, confusable", [g for g in groups if g.noise == "confusable"]),
            ("mean, above 20 %", [g for g in groups if g.level > _HIGH]),
        ):
            means = (np.mean([one.mean(f"{column}_{name}") for one in chosen]) for name in names)
            networks = sum(len(one.rows) for one in chosen)
            rows.append([f"*{words_of}*", str(networks), *(_number(float(m)) for m in means)])
        yield from _table(header, rows)


def _flags(groups: Sequence[_Group]) -> Iterator[str]:
    yield """## Flags, and the label that it should be

Flagged are the samples with a `wrong_probability` of ½ and more, and those that cleanlab's
`find_label_issues` returns for the network's own probabilities: samples a network, the share of
them that are wrong, and the share of the wrong labels that are among them. The last two columns: of
the wrong labels, how often the `likely` label is the true one, and how often the network's best
other class (`other`) is. cleanlab is meant for probabilities of networks that have not seen
the samples; one trained network has none, and memorizes.
"""
    rows = []
    for one in groups:
        flags = [_flag(one, "flagged"), _flag(one, "issues")]
        rows.append(
            [
                one.name,
                f"{one.mean('wrong'):.0f} of {one.mean('samples'):.0f}",
                *flags,
                f"{one.mean('likely_right'):.2f}",
                f"{one.mean('other_right'):.2f}",
            ]
        )
    header = [
        "population",
        "wrong",
        "flagged: samples, precision, recall",
        "`find_label_issues`",
        "`likely` is true",
        "`other` is true",
    ]
    yield from _table(header, rows)


def _flag(one: _Group, name: str) -> str:
    if any(not row.get(name) for row in one.rows):
        return "–"
    flagged, right = one.total(name), one.total(f"{name}_wrong")
    precision = f"{right / flagged:.2f}" if flagged else "–"
    return f"{flagged / len(one.rows):.0f}, {precision}, {right / one.total('wrong'):.2f}"


def _odds(found: Sequence[Calibration]) -> Iterator[str]:
    yield f"""## Does `wrong_probability` hold elsewhere?

Every data set by the line fitted without it, all networks of a kind together. *Said* is the mean
probability, *wrong* the share of wrong labels, *error* the mean distance of the two in ten bins of
the probability. The fit has 0 to {MOST} % of wrong labels. Where there are far more, it says too
little; where there are few or none, too much: how many labels are wrong in all cannot be read from
one network, because what is hard looks like what is wrong. Labels of the clean populations count as
right; some of Fashion-MNIST's own are not.
"""
    rows = [
        [
            f"{one.cell.data_set}, {one.cell.noise}"
            + (f" {one.cell.level} %" if one.cell.level else ""),
            f"{one.samples:,}",
            f"{one.said:.3f}",
            f"{one.wrong:.3f}",
            f"{one.error:.3f}",
            _share(one.likely),
            _share(one.certain),
        ]
        for one in found
    ]
    header = [
        "labels",
        "samples",
        "said",
        "wrong",
        "error",
        "wrong of those given 0.5 to 0.9",
        "0.9 and more",
    ]
    yield from _table(header, rows)


def _share(pair: tuple[int, int]) -> str:
    count, wrong = pair
    return f"{wrong / count:.2f} of {count:,}" if count else "–"


def _tried(groups: Sequence[_Group]) -> Iterator[str]:
    def mean(name: str, data_sets: Sequence[str]) -> str:
        chosen = [one for one in groups if one.data_set in data_sets]
        auc, first = (
            np.mean([one.mean(f"{column}_{name}") for one in chosen]) for column in ("auc", "first")
        )
        return f"{auc:.3f} / {first:.3f}"

    yield """## What else was tried

AUC / share of wrong labels in the first 1 %, means over the populations and shares of wrong labels;
digits and glyphs each by the line of the other.
"""
    rows = [
        [_SHORT[name], mean(name, FITTED_ON), mean(name, ("fashion",))]
        for name in ("suspects", "no_depths", "product", "agreement", "hold", "log_probability")
    ]
    yield from _table(["score", "digits and glyphs", "Fashion-MNIST"], rows)
    yield """The line replaced the plain product of hold and agreement, which was the first choice:
hold counts for less than the product gives it. The depths cost a little AUC and find more among the
first. More terms were tried, each on digits and glyphs by the line of the other, and left out: how
often samples of a label are outvoted by the same other label, the mean agreement of a label, and
the log-probability. None of them ranked better on both. A term for the
network's mean agreement or hold, to tell noisy data from clean ones, made the probabilities worse
on data left out."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--population",
    "populations",
    nargs=2,
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="TRAINED AUDITED",
    help="Measure a population again; may be repeated, and replaces both tables.",
)
def main(folder: Path, out: Path, populations: Sequence[tuple[Path, Path]]) -> None:
    """Write to OUT what the tables in FOLDER say, and print the weights that ship."""
    if populations:
        networks = [one for pair in populations for one in networks_of(*pair)]
        counted = samples_table(networks)
        rows, total = [], sum(bool(one.wrong.any()) for one in networks)
        with show_progress() as progress:
            for row in network_rows(networks, counted):
                rows.append(row)
                progress("networks", len(rows), total)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / SAMPLES, counted)
        write_table(folder / NETWORKS, rows)
    tables = [list(read_table(folder / name).rows()) for name in (NETWORKS, SAMPLES)]
    write_text(out, page(*tables, read_judged(folder.parent / JUDGED)))
    click.echo(f"{out}: written. DOUBT = {fit_line(tables[1])}")
