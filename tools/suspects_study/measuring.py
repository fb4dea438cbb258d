"""From audited networks with known wrong labels to the two tables of the study."""

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import runtime, surgery
from analyzer.audit import read_record
from analyzer.audit.suspect_ranking import (
    DEPTHS,
    DoubtLine,
    LabelDoubt,
    doubt_labels,
    doubt_terms,
    likely_labels,
    most_suspicious,
)
from analyzer.errors import AnalyzerError
from analyzer.files import read_arrays, sha256
from analyzer.measures.ablation.sample_scores import SampleCounts, read_samples
from analyzer.measures.interpolation.measure import read_answers
from analyzer.measures.neighbors.record import NEIGHBORS_FILE
from model_zoo.population_training import TRAIN_DATA, Result, read_result
from tools.evidence.collect import class_scores
from tools.evidence.single_samples import has_cleanlab, measured, suspicions
from tools.suspects_study.fitting import (
    AGREEMENT_PARTS,
    HOLD_PARTS,
    Cell,
    fit_line,
    samples_rows,
)

__all__ = ["SCORES", "AuditedNetwork", "network_rows", "networks_of", "samples_table"]

SCORES: Mapping[str, str] = {
    "suspects": "the order of `suspects.csv`",
    "product": "log(hold + 0.1) + log(agreement + 0.1)",
    "no_depths": "the same line without the depths",
    "agreement": "neighbors' agreement, mean of four depths",
    "agreement_images": "neighbors' agreement at the images: no network needed",
    "agreement_two_thirds": "neighbors' agreement at two thirds of the way",
    "hold": "hold",
    "survival": "ablation survival",
    "ablation": "ablation × log-probability: the order without neighbors and hold",
    "log_probability": "log-probability: cleanlab's self-confidence",
    "normalized_margin": "cleanlab's normalized margin",
    "confidence_weighted_entropy": "cleanlab's confidence-weighted entropy",
    "datalab": "Datalab on the last activation: logistic regression, cross-validated",
}
"""What ranks the samples, by its columns in the table."""

_CLEANLAB = ("normalized_margin", "confidence_weighted_entropy")
_PERCENT = 100


@dataclass(frozen=True, slots=True, eq=False)
class AuditedNetwork:
    """A network, its audit, and the true labels of its S training samples."""

    population: str
    name: str
    data_set: str
    noise: str  # "clean", "uniform" or "confusable"
    level: int  # percent of the labels that were drawn at random, or mistaken
    model: Path
    images: np.ndarray  # uint8 (S, H, W)
    samples: SampleCounts
    true: np.ndarray  # int64 (S,)
    hold: np.ndarray  # float64 (S,)
    agreement: np.ndarray  # float64 (5, S)
    majority: np.ndarray  # int64 (5, S)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> np.ndarray:
        """bool (S,): labels that are not the true ones."""
        return self.samples.label != self.true

    @property
    def cell(self) -> Cell:
        """What the network's samples are counted under."""
        return Cell(self.data_set, self.noise, self.level)

    @property
    def terms(self) -> np.ndarray:
        """float64 (S, 3), see :func:`analyzer.audit.suspect_ranking.doubt_terms`."""
        return doubt_terms(self.samples.label, self.hold, self.agreement, self.majority)

    def doubt(self, line: DoubtLine) -> LabelDoubt:
        """What hold and neighbors say against the labels."""
        return doubt_labels(self.samples.label, self.hold, self.agreement, self.majority, line)


def networks_of(trained: Path, audited: Path) -> Iterator[AuditedNetwork]:
    """The audited networks of a population that learned their labels, by name.

    Those without any true label, and those no better than chance on their training data, tell
    nothing of wrong labels and are left out.

    Raises:
        AnalyzerError: an audit is of another network, or lacks hold or neighbors.
    """
    for folder in sorted((audited / "audits").iterdir()):
        if not (folder / "audit.json").exists():
            continue
        result = read_result(trained, folder.name)
        if result is None:
            raise AnalyzerError(f"{trained} lacks {folder.name}, of which there is an audit.")
        if result.recipe.corruption == 1:
            continue
        found = _audited(trained, result, folder)
        classes = len(np.unique(found.samples.label))
        if found.samples.correct.mean() > 2 / classes:
            yield found


def _audited(trained: Path, result: Result, folder: Path) -> AuditedNetwork:
    model = trained / result.model
    if read_record(folder).model.sha256 != sha256(model):
        raise AnalyzerError(f"{folder} is the audit of another network than {model}; remove it.")
    samples = read_samples(folder)
    # Not read_votes: audits of earlier versions have these arrays, but not all of today's.
    votes = read_arrays(folder / NEIGHBORS_FILE, ("agreement", "majority"))
    with np.load(trained / TRAIN_DATA, allow_pickle=False) as stored:
        images, given, true = (
            stored[name][samples.index] for name in (*result.keys, result.true_labels)
        )
    if not np.array_equal(given, samples.label):
        raise AnalyzerError(f"{folder} is not of the labels that {model} was trained on.")
    population = str(result.conditions["population"])
    level = round(_PERCENT * result.recipe.corruption)
    uniform = "confusable" if population.endswith("confusable") else "uniform"
    wrong = samples.label != true
    return AuditedNetwork(
        population=population,
        name=result.recipe.name,
        data_set=population.split("-")[0],
        noise=uniform if level else "clean",
        level=level,
        model=model,
        images=images,
        samples=samples,
        true=true.astype(np.int64),
        hold=read_answers(folder).hold,
        agreement=votes["agreement"].astype(np.float64),
        majority=votes["majority"].astype(np.int64),
        about={
            "architecture": result.recipe.architecture,
            "train_accuracy": round(result.train_accuracy, 4),
            "memorized": round(float(samples.correct[wrong].mean()), 4) if wrong.any() else "",
        },
    )


def samples_table(networks: Iterable[AuditedNetwork]) -> list[dict[str, Any]]:
    """How many right and wrong labels have which terms, by cell."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for one in networks:
        _, depths = likely_labels(one.samples.label, one.majority)
        agreement = np.nan_to_num(one.agreement[: len(DEPTHS)], nan=0.5).mean(axis=0)
        hold = np.nan_to_num(one.hold, nan=0.5)
        columns = zip(
            np.rint(AGREEMENT_PARTS * agreement).astype(int).tolist(),
            np.rint(HOLD_PARTS * hold).astype(int).tolist(),
            depths.tolist(),
            one.wrong.tolist(),
            strict=True,
        )
        counts.update((one.cell, *row) for row in columns)
    return samples_rows(counts)


def network_rows(
    networks: Sequence[AuditedNetwork], rows: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A row a network with wrong labels: how well each score finds them.

    The lines are fitted on the data sets of the fit but the network's own.

    Args:
        networks: all of them.
        rows: of :func:`samples_table`.
    """
    for one in networks:
        if one.wrong.any():
            yield _network_row(
                one,
                fit_line(rows, without=one.data_set),
                fit_line(rows, without=one.data_set, depths=False),
            )


def _network_row(one: AuditedNetwork, line: DoubtLine, without_depths: DoubtLine) -> dict[str, Any]:
    samples, wrong = one.samples, one.wrong
    doubt = one.doubt(line)
    better = samples.scores.other == one.true
    with np.errstate(divide="ignore"):
        logits = class_scores(one.model, one.images)
    known = suspicions(samples, logits)
    four = np.nan_to_num(one.agreement[: len(DEPTHS)], nan=0.5)
    terms = one.terms
    found = {
        "suspects": _places(most_suspicious(samples, len(wrong), doubt)),
        "product": -terms[:, 0] - terms[:, 1],
        "no_depths": one.doubt(without_depths).log_odds,
        "agreement": -np.round(four.mean(axis=0), 9),
        "agreement_images": -four[DEPTHS.index("images")],
        "agreement_two_thirds": -four[DEPTHS.index("two_thirds")],
        "hold": -np.nan_to_num(one.hold, nan=0.5),
        "survival": known["ascending"],
        "ablation": known["suspicion"],
        "log_probability": known["log_probability"],
        **{name: known[name] for name in _CLEANLAB if name in known},
    }
    row: dict[str, Any] = {
        "population": one.population,
        "network": one.name,
        "noise": one.noise,
        "level": one.level,
        **one.about,
        "samples": len(wrong),
        "wrong": int(wrong.sum()),
        "likely_right": round(float((doubt.likely == one.true)[wrong].mean()), 4),
        "other_right": round(float(better[wrong].mean()), 4),
        "flagged": int((doubt.log_odds >= 0).sum()),
        "flagged_wrong": int((doubt.log_odds >= 0)[wrong].sum()),
    }
    if has_cleanlab():
        row |= _label_issues(samples.label, logits, wrong)
        found["datalab"] = _datalab(one)
    for name in SCORES:
        if name in found:
            quality = measured(found[name], wrong, better)
            row[f"auc_{name}"] = round(float(quality["auc"] or 0), 4)
            row[f"first_{name}"] = round(float(quality["precision_1"] or 0), 4)
    return row


def _places(order: np.ndarray) -> np.ndarray:
    """A score that sorts as ``order`` does."""
    score = np.empty(len(order))
    score[order] = np.arange(len(order), 0, -1)
    return score


def _label_issues(labels: np.ndarray, logits: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """What cleanlab's ``find_label_issues`` flags of a network's own answers."""
    from cleanlab.filter import find_label_issues

    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    with contextlib.redirect_stdout(io.StringIO()):
        flagged = find_label_issues(labels, powers / powers.sum(axis=1, keepdims=True), n_jobs=1)
    return {
        "issues": int(flagged.sum()),
        "issues_wrong": int((flagged & wrong).sum()),
    }


def _datalab(one: AuditedNetwork) -> np.ndarray:
    """How suspicious Datalab finds each label from the network's last activation."""
    import tempfile

    from cleanlab import Datalab

    pixels = one.images[:, None].astype(np.float32) / 255
    with tempfile.TemporaryDirectory() as folder:
        graph = surgery.write_activation_outputs(
            surgery.load_network(one.model), Path(folder) / "activations.onnx", pixels.shape[1:]
        )
        (last,) = [layer.output for layer in graph.layers if layer.name == "last"]
        session = runtime.open_session(graph.path, "cpu", threads=1)
        features = np.concatenate(
            [
                session.run({graph.image: part}, [last])[0].reshape(len(part), -1)
                for part in np.array_split(pixels, max(len(pixels) // 256, 1))
            ]
        )
    logging.getLogger("cleanlab").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Datalab({"label": one.samples.label.tolist()}, label_name="label", verbosity=0)
        lab.find_issues(features=features, issue_types={"label": {}})
        score = lab.get_issues("label")["label_score"].to_numpy()
    return -score
