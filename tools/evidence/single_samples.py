"""How well single training samples with a wrong label are found from one network.

    onnx-gap zoo train NAME --out POPULATION
    python -m tools.evidence.single_samples POPULATION AUDITS [--out FILE] [--limit N]

Audits every network of POPULATION whose labels are corrupted in part, into ``AUDITS/audits/NAME``
as ``onnx-gap population`` does, where that is not done yet. As the corrupted labels are known, each
score can be held against them: a row a network and score. The table is written after every network;
the same command resumes.

cleanlab's scores are in the table where cleanlab is installed (``pip install cleanlab``).

All scores are made from one network and its answers on the very samples it was trained on; all are
higher for more suspicious samples.

================================  ===============================================================
``ablation``                      − (ascending − descending), the ``score`` of an audit
``ascending``                     − how long it survives as the least active units go first
``descending``                    how long it survives as the most active units go first
``survival``                      − (ascending + descending)
``log_probability``               − log p of the label: the loss, and cleanlab's self-confidence
``margin``                        − (the label's score less the best other)
``self_confidence``               cleanlab's label quality scores, turned round
``normalized_margin``
``confidence_weighted_entropy``
``entropy / p``                   the last but for rounding: entropy of the probabilities over p
``A, by class``                   its rank among the samples with the same label
``A + B``                         the sum of both ranks among all samples
``A + B, by class``               the sum of both ranks among the samples with the same label
``A × B, by class``               the product of the shares of those that are more suspicious
``suspicion``                     what ``onnx-gap audit`` lists suspects by without neighbors and
                                  hold: the same, of ``ascending`` and ``log_probability``
================================  ===============================================================
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from analyzer.audit import plots, read_record, run_audit
from analyzer.audit.html_pages import LIGHT
from analyzer.audit.suspect_ranking import most_suspicious, ranks_within
from analyzer.audit_options import AuditRequest
from analyzer.cli.terminal import print_table, show_progress, warn
from analyzer.common_types import Progress
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from analyzer.measures.ablation.sample_scores import SampleCounts, read_samples
from model_zoo.population_training import MANIFEST, TRAIN_DATA, Result, read_result
from tools.evidence.collect import class_scores
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.notation import level_name
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CLEANLAB",
    "HEADER",
    "SHARES",
    "SampleFinding",
    "SampleFindings",
    "has_cleanlab",
    "measured",
    "sample_findings",
    "samples_figure",
    "study",
    "suspicions",
]

CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
SHARES = (0.01, 0.05)  # of the samples, the most suspicious
_SINGLE = ("ablation", "ascending", "log_probability", "margin")
_PAIRS = (("ablation", "log_probability"), ("ascending", "log_probability"))


def has_cleanlab() -> bool:
    """Whether cleanlab, which is no part of any extra, is installed."""
    return importlib.util.find_spec("cleanlab") is not None


def suspicions(samples: SampleCounts, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Every score by its name, float64 (S,) each; cleanlab's only where it is installed.

    Args:
        samples: of an audit, S.
        scores: (S, K), the network's logits.
    """
    ascending, descending = (
        counts.astype(np.float64) for counts in (samples.ascending, samples.descending)
    )
    found = {
        "ablation": descending - ascending,
        "ascending": -ascending,
        "descending": descending,
        "survival": -ascending - descending,
        "log_probability": -samples.scores.log_probability.astype(np.float64),
        "margin": -samples.scores.margin.astype(np.float64),
    }
    all_samples = np.zeros(len(ascending), np.int64)
    by_class = {name: ranks_within(samples.label, found[name]) for name in _SINGLE}
    combined = {"entropy / p": _entropy_by_probability(scores, samples.label)}
    combined |= {f"{name}, by class": by_class[name] for name in _SINGLE}
    for a, b in _PAIRS:
        among_all = (ranks_within(all_samples, found[name]) for name in (a, b))
        combined[f"{a} + {b}"] = sum(among_all)
        combined[f"{a} + {b}, by class"] = by_class[a] + by_class[b]
    a, b = (by_class[name] for name in _PAIRS[0])
    combined["ablation × log_probability, by class"] = -np.log((1 - a) * (1 - b))
    place = most_suspicious(samples, len(ascending))
    suspicion = np.empty(len(place))
    suspicion[place] = np.arange(len(place), 0, -1)
    return found | _cleanlab(samples.label, scores) | combined | {"suspicion": suspicion}


def measured(
    suspicion: np.ndarray, wrong: np.ndarray, better: np.ndarray
) -> dict[str, float | None]:
    """How well a score finds wrong labels.

    Args:
        suspicion: float64 (S,).
        wrong: bool (S,), samples whose label is not their class.
        better: bool (S,), samples of which the best class but the label is the right one.

    Returns:
        ``auc``, the area under the ROC curve; ``precision_N``, the share of wrong labels among the
        N % most suspicious, and ``other_N``, the share of those for which the best other class is
        the right one (None where there are none). Equal suspicions count by their share.
    """
    found: dict[str, float | None] = {"auc": float(roc_auc_score(wrong, suspicion))}
    for share in SHARES:
        weight = _among_the_first(suspicion, max(round(share * len(wrong)), 1))
        caught = float(weight[wrong].sum())
        percent = round(100 * share)
        found[f"precision_{percent}"] = caught / weight.sum()
        found[f"other_{percent}"] = float(weight[wrong & better].sum()) / caught if caught else None
    return found


def _among_the_first(suspicion: np.ndarray, count: int) -> np.ndarray:
    """How much of each sample is among the ``count`` most suspicious, where equal ones share."""
    limit = np.partition(suspicion, -count)[-count]
    above, level = suspicion > limit, suspicion == limit
    return above + level * (count - above.sum()) / level.sum()


def _entropy_by_probability(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What cleanlab's confidence-weighted entropy ranks by, but for rounding.

    Its quality log(1 + x) / x falls as x = entropy / p grows. Where a network is so sure that 1 + x
    is 1 in floating point, the quality comes out as 0: the surest samples rank as the worst.
    """
    logarithms = scores - scores.max(axis=1, keepdims=True).astype(np.float64)
    logarithms -= np.log(np.exp(logarithms).sum(axis=1, keepdims=True))
    entropy = -(np.exp(logarithms) * logarithms).sum(axis=1)
    own = logarithms[np.arange(len(labels)), labels]
    return np.log(np.maximum(entropy, np.finfo(np.float64).tiny)) - own


def _cleanlab(labels: np.ndarray, scores: np.ndarray) -> Mapping[str, np.ndarray]:
    if not has_cleanlab():
        return {}
    from cleanlab.rank import get_label_quality_scores

    powers = np.exp(scores - scores.max(axis=1, keepdims=True), dtype=np.float64)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return {
        name: -get_label_quality_scores(labels, probabilities, method=name) for name in CLEANLAB
    }


_AS_TRAINED = PreprocessOptions(scale=1 / 255)  # what every network of the zoo is fed

Row = dict[str, Any]


def study(
    trained: Path,
    audited: Path,
    table: Path,
    *,
    limit: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Table:
    """Measure the scores on every network, going on with the rows that ``table`` holds.

    Args:
        trained: what ``onnx-gap zoo train`` wrote.
        audited: folder of the audits.
        table: CSV file to write.
        limit: of the networks, the first ones that have corrupted labels; None: all.
        progress: told of the stage "networks".

    Raises:
        AnalyzerError: a network is missing or cannot be audited, there is an audit of another one
            in its place, or none has labels that are corrupted in part.
    """
    networks = _networks(trained)[:limit]
    rows = _kept(table, networks)
    for number, result in enumerate(networks, 1):
        name = result.recipe.name
        if name not in rows:
            samples = _audited(trained, result, audited / "audits" / name)
            rows[name] = list(_measured(trained, result, samples))
            write_table(table, [row for known in rows.values() for row in known])
        progress("networks", number, len(networks))
    return read_table(table)


def _networks(trained: Path) -> list[Result]:
    """The finished networks with labels that are corrupted in part."""
    found = []
    for name in read_table(trained / MANIFEST).texts("name").tolist():
        result = read_result(trained, name)
        if result is None:
            raise AnalyzerError(f"{trained} lacks {name}, which its manifest names; train it again")
        if 0 < result.recipe.corruption < 1:
            found.append(result)
    if not found:
        raise AnalyzerError(f"{trained} holds no network with labels that are corrupted in part")
    return found


def _kept(table: Path, networks: list[Result]) -> dict[str, list[Row]]:
    """The rows that the table holds, by network; without those that lack cleanlab's scores."""
    found: dict[str, list[Row]] = {}
    for row in read_table(table).rows() if table.exists() else ():
        found.setdefault(row["network"], []).append(row)
    strange = set(found) - {result.recipe.name for result in networks}
    if strange:
        raise AnalyzerError(
            f"{table} holds {min(strange)}, which is not among these networks; name another --out"
        )
    if has_cleanlab():
        complete = {name for name, rows in found.items() if CLEANLAB[0] in _scores_of(rows)}
        found = {name: rows for name, rows in found.items() if name in complete}
    return found


def _scores_of(rows: list[Row]) -> set[str]:
    return {row["score"] for row in rows}


def _audited(trained: Path, result: Result, folder: Path) -> SampleCounts:
    """The counts of the network's audit, made if it is missing."""
    model = trained / result.model
    if not (folder / "audit.json").exists():
        run_audit(
            AuditRequest(
                anyway=True,
                model=model,
                data=str(trained / TRAIN_DATA),
                keys=result.keys,
                preprocess=_AS_TRAINED,
                out=folder,
                threads=1,
            )
        )
    if read_record(folder).model.sha256 != sha256(model):
        raise AnalyzerError(f"{folder} is the audit of another network than {model}; remove it")
    samples = read_samples(folder)
    if samples.scores is None:
        raise AnalyzerError(f"{folder} was written by an early version; remove it, or name another")
    return samples


def _measured(trained: Path, result: Result, samples: SampleCounts) -> Iterator[Row]:
    with np.load(trained / TRAIN_DATA, allow_pickle=False) as stored:
        images, true = (
            stored[name][samples.index] for name in (result.keys[0], result.true_labels)
        )
    wrong, better = samples.label != true, samples.scores.other == true
    scores = class_scores(trained / result.model, images)
    about = {
        "population": result.conditions["population"],
        "network": result.recipe.name,
        "corruption": result.recipe.corruption,
        "batch_norm": result.recipe.batch_norm,
        "train_accuracy": round(result.train_accuracy, 6),
        "samples": len(wrong),
        "wrong": int(wrong.sum()),
        "memorized": round(float(samples.correct[wrong].mean()), 6),
    }
    for score, suspicion in suspicions(samples, scores).items():
        found = measured(suspicion, wrong, better)
        yield about | {"score": score} | {name: _rounded(value) for name, value in found.items()}


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("population", type=Path, help="folder of a trained population")
    parser.add_argument("audits", type=Path, help="folder of its audits, made where missing")
    parser.add_argument("--out", type=Path, help="table to write; by default docs/evidence/…")
    parser.add_argument("--limit", type=int, help="only the first networks")
    given = parser.parse_args(arguments)
    if not has_cleanlab():
        warn("cleanlab is not installed, so its scores are left out: pip install cleanlab")
    name = _networks(given.population)[0].conditions["population"]
    table = given.out or table_path(EVIDENCE, "samples", name)
    with show_progress() as progress:
        found = study(given.population, given.audits, table, limit=given.limit, progress=progress)
    print_table(HEADER, [finding.cells() for finding in sample_findings(found).findings])


HEADER = (
    "corruption", "score", "networks", "AUC", "among the first 1 %", "5 %", "other is right",
)  # fmt: skip
_MEANS = ("memorized", "auc", "precision_1", "precision_5", "other_1")
# What the figure shows: color, marker, line and name of each score.
_DRAWN = {
    "suspicion": (LIGHT["ink"], "o", "-", "suspicion"),
    "log_probability": ("#0072B2", "s", "-", "log-probability (the loss)"),
    "ascending": ("#009E73", "^", "-", "survival, least active removed first"),
    "ablation": ("#D55E00", "D", "--", "ablation score"),
    "confidence_weighted_entropy": ("#CC79A7", "v", ":", "cleanlab, weighted entropy"),
}


@dataclass(frozen=True, slots=True)
class SampleFinding:
    """One score on all networks of a corruption level: means over the networks."""

    corruption: float
    score: str
    networks: int
    samples: float
    wrong: float  # of them have a wrong label
    memorized: float  # share of the wrong labels that the network names
    auc: float
    precision_1: float  # share of wrong labels among the 1 % most suspicious
    precision_5: float
    other_1: float  # share of these for which the best class but the label is the right one

    @property
    def share(self) -> float:
        """Of the samples, those with a wrong label: what guessing would find."""
        return self.wrong / self.samples

    def cells(self) -> tuple[str, ...]:
        """For a table under :data:`HEADER`."""
        numbers = (self.auc, self.precision_1, self.precision_5, self.other_1)
        return (
            level_name(self.corruption),
            self.score,
            str(self.networks),
            *("–" if np.isnan(number) else f"{number:.3f}" for number in numbers),
        )


@dataclass(frozen=True, slots=True)
class SampleFindings:
    """All scores of one population at all its corruption levels."""

    population: str
    findings: tuple[SampleFinding, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(one.corruption for one in self.findings))

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.score for one in self.findings))

    def at(self, corruption: float) -> SampleFinding:
        """Any finding at that level, for what all scores have in common."""
        return next(one for one in self.findings if one.corruption == corruption)

    def of(self, score: str) -> tuple[SampleFinding, ...]:
        """Those of a score, by corruption."""
        return tuple(one for one in self.findings if one.score == score)

    def mean(self, score: str, name: str) -> float:
        """Over the corruption levels."""
        return float(np.mean([getattr(one, name) for one in self.of(score)]))


def sample_findings(table: Table) -> SampleFindings:
    """Every score at every corruption level of the table, the levels in rising order.

    Raises:
        AnalyzerError: a column is missing, or a cell is no number.
    """
    level, score = table.numbers("corruption"), table.texts("score")
    return SampleFindings(
        population=str(table.texts("population")[0]),
        findings=tuple(
            _finding(table.where((level == one) & (score == other)))
            for one in np.unique(level)
            for other in dict.fromkeys(score[level == one].tolist())
        ),
    )


def samples_figure(found: SampleFindings) -> "Figure":
    """AUC and both precisions against corruption, between guessing and all that can be found."""
    figure, axes = plots.new_figure(1, 3, size=(3.3, 3.4))
    titles = {
        "auc": "area under the ROC curve",
        "precision_1": "wrong labels among\nthe first 1 %",
        "precision_5": "wrong labels among\nthe first 5 %",
    }
    places = np.arange(len(found.levels))
    share = np.array([found.at(level).share for level in found.levels])
    for axis, (name, title), listed in zip(axes[0], titles.items(), (0, 0.01, 0.05), strict=True):
        bounds = (share, np.minimum(share / listed, 1)) if listed else (np.full(len(share), 0.5),)
        for bound in bounds:
            axis.plot(places, bound, color=LIGHT["muted"], linewidth=1, linestyle=(0, (1, 2)))
        for score, (color, marker, line, label) in _DRAWN.items():
            values = [getattr(one, name) for one in found.of(score)]
            if values:
                axis.plot(
                    places, values, color=color, marker=marker, linestyle=line, markersize=4.5,
                    linewidth=2 if score == "suspicion" else 1.3, label=label,
                )  # fmt: skip
        axis.set_xticks(places, [level_name(level) for level in found.levels])
        axis.set(ylim=(-0.02, 1.02), xlabel="labels corrupted")
        axis.set_title(title, loc="left", fontsize=10)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center", ncols=3, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _finding(rows: Table) -> SampleFinding:
    return SampleFinding(
        corruption=float(rows.numbers("corruption")[0]),
        score=str(rows.texts("score")[0]),
        networks=len(rows),
        samples=_mean(rows.numbers("samples")),
        wrong=_mean(rows.numbers("wrong")),
        **{name: _mean(rows.numbers(name)) for name in _MEANS},
    )


def _mean(values: np.ndarray) -> float:
    """Of the numbers that are known; NaN if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


if __name__ == "__main__":
    sys.exit(main())
