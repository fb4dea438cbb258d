"""How well single training samples with a wrong label are found from one network.

    onnx-gap zoo train NAME --out POPULATION
    python -m tools.evidence.single_samples POPULATION AUDITS [--out FILE] [--limit N]

Audits every network of POPULATION whose labels are corrupted in part, into ``AUDITS/audits/NAME``
as ``onnx-gap population`` does, where that is not done yet. As the corrupted labels are known, each
score of :mod:`tools.evidence.sample_scores` can be held against them: a row a network and score.
The table is written after every network; the same command goes on where it was.

cleanlab's scores are in the table where cleanlab is installed (``pip install cleanlab``).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit import read_record, run_audit
from analyzer.audit_options import AuditRequest
from analyzer.cli.terminal import print_table, show_progress, warn
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from analyzer.measures.ablation import read_samples
from analyzer.records import Progress, SampleCounts
from model_zoo.population_folder import MANIFEST, TRAIN_DATA, Result, read_result
from tools.evidence.collect import class_scores
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.sample_findings import HEADER, sample_findings
from tools.evidence.sample_scores import CLEANLAB, has_cleanlab, measured, suspicions
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path, write_table

__all__ = ["study"]

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
        "memorised": round(float(samples.correct[wrong].mean()), 6),
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


if __name__ == "__main__":
    sys.exit(main())
