"""What 20,000 and 60,000 samples cost an audit, and what suspects and twins are worth there.

    python -m tools.many_samples_study measure TRAINED many.csv
    python -m tools.many_samples_study table many.csv

``measure`` audits a network of TRAINED, which ``onnx-gap zoo train fashion-clean`` wrote, on
Fashion-MNIST: on the images that it was trained on, and on others beside them; a twentieth of the
labels is drawn at random. It has learned none of these, so that they are easier to find than those
that a network was trained on: what the study tells is costs. Each cell runs in a process of its own
on one thread, under a profiler that counts processor time, so that other work on the machine moves
the ratios little; rows that the table has already are not measured again. ``table`` prints what it
costs in units of one pass of the network, and what it finds.
"""

import cProfile
import pstats
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime

import analyzer
from analyzer.audit.suspect_ranking import (
    doubt_labels,
    most_suspicious,
    place_without_neighbors,
)
from analyzer.errors import AnalyzerError
from analyzer.files import read_json
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.interpolation.measure import read_answers
from analyzer.measures.neighbors.record import read_votes
from analyzer.measures.neighbors.twins import find_conflicts
from analyzer.output_files import write_arrays, write_json
from model_zoo.datasets import DATA_SETS, corrupt
from model_zoo.population_training import TRAIN_DATA, read_result
from tools.evidence.single_samples import measured
from tools.study_rows import append_row, read_rows

__all__ = ["cost_table", "noisy_samples", "quality_table"]

NETWORK = "fashion-clean-n10000-03"
SIZES = (20_000, 60_000)
_MANY = 20_000  # samples; of fewer all are searched by default

PARTS = ("all", "trained", "others", "searched")
"""Whose wrong labels are looked for: all, those that the network was trained on, the others, and
those whose neighbors were looked for."""

_STAGES: Mapping[str, tuple[str, str]] = {
    "ablation": ("ablation/measure.py", "measure"),
    "interpolation": ("interpolation/measure.py", "measure"),
    "neighbors": ("neighbors/measure.py", "measure"),
    "vectors": ("neighbors/vector_search.py", "unit_vectors"),
    "search": ("neighbors/vector_search.py", "compare"),
    "twins": ("neighbors/twins.py", "find_twins"),
}
"""Functions whose time, with what they call, is a stage; the last three are of ``neighbors``."""

_SEED = 11
_SHARE = 0.05  # of the labels are drawn, one in ten of them as it was
_SCORES = ("suspects", "log_probability")
_AT_ONCE = 256  # images, in the plain pass

Row = Mapping[str, str]


def noisy_samples(trained: Path, network: str, samples: int) -> dict[str, np.ndarray]:
    """Images and labels of the first samples of Fashion-MNIST, the network's own among them.

    Returns:
        ``images`` uint8 (S, H, W), ``labels`` int64 (S,), ``true`` int64 (S,) and ``trained``
        bool (S,): the samples that the network was trained on, by their true labels.

    Raises:
        AnalyzerError: the network is not there, or fewer samples than it has are asked for.
    """
    result = read_result(trained, network)
    if result is None:
        raise AnalyzerError(f"{trained} has no network {network}: train the population first.")
    train, _ = DATA_SETS["fashion-mnist"].read(None)
    with np.load(trained / TRAIN_DATA, allow_pickle=False) as stored:
        images = stored[result.keys[0]]
    place = {image.tobytes(): number for number, image in enumerate(train.images)}
    own = np.array([place[image.tobytes()] for image in images])
    if samples < len(own):
        raise AnalyzerError(f"{network} was trained on {len(own)} samples: ask for as many.")
    others = np.setdiff1d(np.arange(len(train.labels)), own)[: samples - len(own)]
    labels = corrupt(
        train.labels,
        _SHARE,
        classes=DATA_SETS["fashion-mnist"].classes,
        generator=np.random.default_rng(_SEED),
    )
    chosen = np.sort(np.concatenate([own, others]))
    return {
        "images": train.images[chosen],
        "labels": labels[chosen],
        "true": train.labels[chosen],
        "trained": np.isin(chosen, own),
    }


@click.group()
def main() -> None:
    """Study audits of many samples."""


@main.command()
@click.argument("trained", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--work", type=click.Path(path_type=Path), default=Path("many-samples"))
@click.option("--network", default=NETWORK, show_default=True)
@click.option("--samples", "sizes", multiple=True, default=SIZES, show_default=True)
def measure(trained: Path, table: Path, work: Path, network: str, sizes: Sequence[int]) -> None:
    """Audit a network in the cells that TABLE lacks."""
    done = [(row["samples"], row["asked"]) for row in read_rows(table)]
    cells = [(size, asked) for size in sizes for asked in ("default", "all")]
    for samples, neighbors in cells:
        same = neighbors == "all" and samples < _MANY
        if same or (str(samples), neighbors) in done:
            continue
        folder = work / f"{samples}-{neighbors}"
        folder.mkdir(parents=True, exist_ok=True)
        drawn = noisy_samples(trained, network, samples)
        data = folder / "samples.npz"
        write_arrays(data, {name: drawn[name] for name in ("images", "labels")})
        # Apart from this process, so that its memory is its own.
        words = [sys.executable, "-m", "tools.many_samples_study", "cell"]
        subprocess.run(
            [*words, str(trained / f"{network}.onnx"), str(data), str(folder), neighbors],
            check=True,
        )
        cost = read_json(folder / "cost.json")
        append_row(
            table,
            {
                "samples": samples,
                "asked": neighbors,
                **cost,
                **_quality(folder / "audit", drawn),
            },
        )


@main.command(hidden=True)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("neighbors")
def cell(model: Path, data: Path, folder: Path, neighbors: str) -> None:
    """Audit one cell, and write what it cost."""
    floor = _pass(model, data)
    profile = cProfile.Profile(time.process_time)
    warnings.simplefilter("ignore", analyzer.AuditWarning)
    audit = profile.runcall(
        analyzer.audit_network,
        model,
        str(data),
        folder / "audit",
        preprocess=dict(DATA_SETS["fashion-mnist"].preprocessing),
        device="cpu",
        threads=1,
        neighbor_samples=None if neighbors == "default" else neighbors,
        tolerance=0.05,
        anyway=True,
        fresh=True,
    )
    spent = _spent(profile)
    said = audit.record.sections["neighbors"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_json(
        folder / "cost.json",
        {
            "searched": said.samples,
            "mixed": audit.record.sections["interpolation"].samples,
            "peak_mb": round(peak),
            "pass": round(floor, 2),
            **{name: round(seconds, 2) for name, seconds in spent.items()},
        },
    )


def _pass(model: Path, data: Path) -> float:
    """Processor seconds of the network once over the images, as an audit's floor."""
    with np.load(data, allow_pickle=False) as stored:
        images = stored["images"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    began = time.process_time()
    for start in range(0, len(images), _AT_ONCE):
        batch = images[start : start + _AT_ONCE, None].astype(np.float32) / 255
        session.run(None, {name: batch})
    return time.process_time() - began


def _spent(profile: cProfile.Profile) -> dict[str, float]:
    """Processor seconds by stage, and of the whole audit."""
    found = pstats.Stats(profile)
    times: Mapping[tuple[str, int, str], tuple[Any, ...]] = found.stats  # type: ignore[attr-defined]
    spent = {}
    for stage, (file, function) in _STAGES.items():
        spent[stage] = sum(
            values[3]
            for (path, _, name), values in times.items()
            if name == function and path.endswith(file)
        )
    return {**spent, "total": found.total_tt}  # type: ignore[attr-defined]


def _quality(folder: Path, drawn: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How well wrong labels are found, and what twins there are."""
    samples, votes = read_samples(folder), read_votes(folder)
    true, trained = (drawn[name][samples.index] for name in ("true", "trained"))
    wrong = samples.label != true
    doubt = doubt_labels(samples.label, read_answers(folder).hold, votes.agreement, votes.majority)
    order = most_suspicious(samples, len(wrong), place_without_neighbors(doubt, samples))
    scores = {
        "suspects": -np.argsort(order).astype(np.float64),
        "log_probability": -samples.scores.log_probability.astype(np.float64),
    }
    parts = dict(
        zip(PARTS, (np.ones(len(wrong), bool), trained, ~trained, votes.measured), strict=True)
    )
    conflicts = find_conflicts(votes, samples.label)
    in_conflict = conflicts.twin >= 0
    row: dict[str, Any] = {
        "accuracy": round(float(samples.correct.mean()), 4),
        "wrong": int(wrong.sum()),
        "with_twin": len(np.unique(votes.twins)),
        "in_conflict": int(in_conflict.sum()),
        "in_conflict_wrong": int((in_conflict & wrong).sum()),
        "same_bytes": int(conflicts.same_bytes.sum()),
    }
    better = samples.scores.other == true
    for part, chosen in parts.items():
        row[f"samples_{part}"] = int(chosen.sum())
        for name, score in scores.items():
            found = measured(score[chosen], wrong[chosen], better[chosen])
            row[f"auc_{part}_{name}"] = round(float(found["auc"] or 0), 4)
            row[f"first_{part}_{name}"] = round(float(found["precision_1"] or 0), 4)
    return row


@main.command()
@click.argument("table", type=click.Path(path_type=Path, exists=True))
def table(table: Path) -> None:
    """Print what the cells in TABLE cost."""
    rows = read_rows(table)
    click.echo("\n".join([*cost_table(rows), "", *quality_table(rows)]))


def cost_table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown: processor time in units of one pass, and memory."""
    names = ("ablation", "interpolation", "neighbors", "search", "twins", "total")
    yield (
        "| samples | `--neighbor-samples` | searched | mixed | pass | ablation ÷ pass "
        "| interpolation | neighbors | of it: search | twins | whole audit | peak memory |"
    )
    yield "|---" * 12 + "|"
    for row in rows:
        floor = float(row["pass"])
        ratios = " | ".join(f"{float(row[name]) / floor:.1f}" for name in names)
        yield (
            f"| {int(row['samples']):,} | {row['asked']} | {int(row['searched']):,} "
            f"| {int(row['mixed']):,} | {floor:.0f} s | {ratios} | {int(row['peak_mb']):,} MB |"
        )


def quality_table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown: AUC and share of wrong labels in the first 1 %, and twins."""
    yield f"| samples | `--neighbor-samples` | ranked by | {' | '.join(PARTS)} | with a twin |"
    yield "|---" * (4 + len(PARTS)) + "|"
    for row in rows:
        for score in _SCORES:
            cells = [
                f"{float(row[f'auc_{part}_{score}']):.2f} / "
                f"{float(row[f'first_{part}_{score}']):.2f}"
                for part in PARTS
            ]
            yield (
                f"| {int(row['samples']):,} | {row['asked']} | {score.replace('_', '-')} "
                f"| {' | '.join(cells)} | {int(row['with_twin']):,} |"
            )


if __name__ == "__main__":
    main()
