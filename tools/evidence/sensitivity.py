"""How far ζ and κ, and what they say of the gap, depend on the choices that an audit makes.

    python -m tools.evidence.sensitivity MANIFEST

Audits the networks of a population over and over with one choice made otherwise at a time, and
keeps a row an audit: ``population, network, corruption, gap, variation, value, M, zeta, kappa,
area``, the last the area under E_r.

================  ==========================================================================
variation         values
================  ==========================================================================
``default``       ``default``: as ``onnx-gap audit`` does it
``samples``       ``5``, ``10``, ``20`` samples a class, drawn at random, or ``all``
``activation``    ``1``, ``2``, …: ablated at the activations, from the image to the scores
``convolution``   ``1``, ``2``, …: ablated at the raw outputs of the convolutions
``rank``          ``l1``, ``selectivity``, ``random``: what units are ranked by
``control``       ``0``, ``1``, …: random orders drawn from that seed
``chance``        ``0``, ``1/K``, ``2/K``, ``0.1``: the level that Eq. 2 waits for
================  ==========================================================================

Values that come to the default are counted once and stand in the table all the same, so that each
variation can be read on its own. The table is written after every network; the same command goes
on where it was. What the table says is printed in the end.
"""

import argparse
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from analyzer import surgery
from analyzer.audit import Member, read_manifest, run_audit
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import AuditRecord
from analyzer.cli.terminal import print_table, show_progress
from analyzer.common_types import Progress
from analyzer.data import PreprocessOptions
from analyzer.errors import DataError, GapModelError
from analyzer.estimation import draw_splits, score_features
from analyzer.measures.ablation.curve_features import AREA
from analyzer.measures.registry import feature_values
from tools.evidence.analysis import FEWEST, agreement, agreement_within_levels
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path, write_table

__all__ = ["HEADER", "VARIATIONS", "Sensitivity", "sensitivities", "study"]

VARIATIONS = ("default", "samples", "activation", "convolution", "rank", "control", "chance")
_SAMPLES = (5, 10, 20)  # a class
_CONTROLS = 5  # seeds: how much of a correlation is luck
_AS_TRAINED = PreprocessOptions(scale=1 / 255)  # what every network of the zoo is fed

Key = tuple[str, str]  # variation, value
Cells = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to audit a network: what is not as in the default audit."""

    variation: str
    value: str
    changes: Mapping[str, Any] = field(default_factory=dict)  # fields of the request
    chance: float | None = None  # level of Eq. 2
    times_guessing: bool = False  # the level is in multiples of 1/K

    @property
    def key(self) -> Key:
        return self.variation, self.value


def study(
    manifest: Path,
    table: Path,
    *,
    population: str,
    variations: Collection[str] = VARIATIONS,
    networks: int | None = None,
    limit_per_class: int | None = None,
    jobs: int = 1,
    progress: Progress = lambda stage, done, total: None,
) -> Table:
    """Audit a population under variations, going on with the rows that ``table`` holds.

    Args:
        manifest: as ``onnx-gap population`` reads it, with a column ``corruption``.
        table: CSV file to write.
        population: its name, for the table.
        variations: which of :data:`VARIATIONS`.
        networks: at most so many of each corruption level, the first ones; None: all.
        limit_per_class: samples a class that stand for all of them, where all take too long.
        jobs: networks audited at once, each in a process of its own.
        progress: told of the stage "networks".

    Raises:
        AnalyzerError: the manifest or the table cannot be read, the table is of another
            population, or a network cannot be audited.
    """
    members = read_manifest(manifest)
    found = _kept(table, population, members)
    chosen = _first_of_each_level(members, networks)
    run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    tasks = (
        joblib.delayed(_audited)(member, variations, limit_per_class, set(found[member.name]))
        for member in chosen
    )
    for number, (member, rows) in enumerate(run(tasks), 1):
        about = {
            "population": population,
            "network": member.name,
            "corruption": member.cells["corruption"],
            "gap": round(_gap(member), 6),
        }
        found[member.name] |= {key: about | cells for key, cells in rows.items()}
        write_table(table, _in_order(found))
        progress("networks", number, len(chosen))
    return read_table(table)


def _kept(table: Path, population: str, members: Sequence[Member]) -> dict[str, dict[Key, Cells]]:
    """The rows that the table holds already, by network, for all networks of the manifest."""
    found: dict[str, dict[Key, Cells]] = {member.name: {} for member in members}
    for row in read_table(table).rows() if table.exists() else ():
        if row["population"] != population or row["network"] not in found:
            raise DataError(
                f"{table} holds {row['network']} of the population {row['population']}, which is "
                "not in this manifest; name another --out"
            )
        found[row["network"]][row["variation"], row["value"]] = row
    return found


def _in_order(found: Mapping[str, Mapping[Key, Cells]]) -> Iterator[Cells]:
    for rows in found.values():
        yield from sorted(rows.values(), key=lambda row: VARIATIONS.index(row["variation"]))


def _first_of_each_level(members: Sequence[Member], count: int | None) -> list[Member]:
    taken: dict[str, int] = {}
    chosen = []
    for member in members:
        if "corruption" not in member.cells:
            raise DataError("the manifest has no column 'corruption'; add each network's level")
        level = member.cells["corruption"]
        taken[level] = taken.get(level, 0) + 1
        if count is None or taken[level] <= count:
            chosen.append(member)
    return chosen


def _gap(member: Member) -> float:
    if member.gap is not None:
        return member.gap
    if member.train_accuracy is None or member.test_accuracy is None:
        raise DataError(f"the gap of {member.name} is not in the manifest; add its accuracies")
    return member.train_accuracy - member.test_accuracy


def _audited(
    member: Member, variations: Collection[str], limit: int | None, present: set[Key]
) -> tuple[Member, dict[Key, Cells]]:
    """The rows of one network that are not present yet. Runs in a worker."""
    choices = [
        choice
        for choice in _choices(member, limit)
        if choice.variation in variations and choice.key not in present
    ]
    default = AuditRequest(
        anyway=True,
        model=member.model,
        data=member.train_data,
        keys=member.keys,
        out=Path(),
        preprocess=_AS_TRAINED,
        limit_per_class=limit,
        threads=1,
        interpolation_samples=0,
        neighbor_samples=0,
    )
    rows, folders = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for choice in choices:
            # Choices that come to the same counts share a folder, and are counted once.
            folder = folders.setdefault(tuple(choice.changes.items()), str(len(folders)))
            request = replace(default, out=Path(scratch) / folder, **choice.changes)
            result = run_audit(request)
            if choice.chance is not None:
                unit = 1 / _classes(result) if choice.times_guessing else 1.0
                result = run_audit(replace(request, chance=choice.chance * unit))
            rows[choice.key] = {
                "variation": choice.variation,
                "value": choice.value,
                "M": result.site.channels,
                "zeta": round(result.zeta, 6),
                "kappa": round(result.kappa, 6),
                "area": round(feature_values(result)[AREA], 6),
            }
    return member, rows


def _classes(result: AuditRecord) -> int:
    return len(result.classes) + len(result.empty_classes)


def _choices(member: Member, limit: int | None) -> Iterator[_Choice]:
    yield _Choice("default", "default")
    for count in _SAMPLES:
        if limit is None or count < limit:
            yield _Choice("samples", str(count), {"limit_per_class": count})
    yield _Choice("samples", "all" if limit is None else str(limit))
    yield from _sites(member.model)
    yield _Choice("rank", "l1")
    yield _Choice("rank", "selectivity", {"rank": "selectivity"})
    yield _Choice("rank", "random", {"rank": "random", "seed": 0})
    for seed in range(_CONTROLS):
        yield _Choice("control", str(seed), {"rank": "random", "seed": seed})
    yield _Choice("chance", "0", chance=0.0)
    yield _Choice("chance", "1/K", chance=1.0, times_guessing=True)
    yield _Choice("chance", "2/K", chance=2.0, times_guessing=True)
    yield _Choice("chance", "0.1", chance=0.1)


def _sites(model: Path) -> Iterator[_Choice]:
    """Each activation of a convolution and each raw convolution, numbered from the image on."""
    network = surgery.load_network(model)
    default = surgery.default_site(network).tensor
    for kind in ("activation", "convolution"):
        sites = [site for site in surgery.candidates(network) if site.kind == kind]
        for number, site in enumerate(sites, 1):
            changes = {} if site.tensor == default else {"site": site.tensor}
            yield _Choice(kind, str(number), changes)


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="manifest.csv of a trained population")
    parser.add_argument("--name", help="of the population; by default that of its folder")
    parser.add_argument("--out", type=Path, help="table to write; by default docs/evidence/…")
    parser.add_argument("--networks", type=int, help="at most so many of each corruption level")
    parser.add_argument("--limit-per-class", type=int, help="samples that stand for all")
    parser.add_argument("--jobs", type=int, default=1, help="networks at once")
    parser.add_argument(
        "--variations", nargs="+", choices=VARIATIONS, default=VARIATIONS, metavar="VARIATION"
    )
    given = parser.parse_args(arguments)
    name = given.name or given.manifest.resolve().parent.name
    out = given.out or table_path(EVIDENCE, "sensitivity", name)
    with show_progress() as progress:
        table = study(
            given.manifest,
            out,
            population=name,
            variations=given.variations,
            networks=given.networks,
            limit_per_class=given.limit_per_class,
            jobs=given.jobs,
            progress=progress,
        )
    print_table(HEADER, [found.cells() for found in sensitivities(table)])


HEADER = (
    "variation", "value", "networks", "ζ", "κ", "area", "r(ζ, gap)", "r(κ, gap)", "r(area, gap)",
    "within: ζ", "κ", "area", "out of fold: ζ and κ", "area",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """All audits of a population under one choice; None is what cannot be computed."""

    variation: str
    value: str
    networks: int  # N
    zeta: float  # mean
    kappa: float  # mean
    area: float  # under E_r, mean
    zeta_r: float | None  # Pearson's r with the gap
    kappa_r: float | None
    area_r: float | None
    zeta_within: float | None  # the same without what differs between corruption levels
    kappa_within: float | None
    area_within: float | None
    out_of_fold_r: float | None  # of gaps estimated by Eq. 7, fitted on other networks
    area_out_of_fold_r: float | None  # of gaps estimated by a line through the area

    def cells(self) -> tuple[str, ...]:
        """For a table under :data:`HEADER`."""
        correlations = (
            self.zeta_r, self.kappa_r, self.area_r, self.zeta_within, self.kappa_within,
            self.area_within, self.out_of_fold_r, self.area_out_of_fold_r,
        )  # fmt: skip
        return (
            self.variation,
            self.value,
            str(self.networks),
            f"{self.zeta:.3f}",
            f"{self.kappa:.3f}",
            f"{self.area:.3f}",
            *("–" if r is None else f"{r:+.2f}" for r in correlations),
        )


def sensitivities(table: Table) -> tuple[Sensitivity, ...]:
    """Every variation and value of the table, in its order.

    Raises:
        AnalyzerError: a column is missing, or a cell is no number.
    """
    pairs = list(zip(table.texts("variation"), table.texts("value"), strict=True))
    return tuple(
        _sensitivity(table.where(np.array([other == pair for other in pairs])))
        for pair in dict.fromkeys(pairs)
    )


def _sensitivity(rows: Table) -> Sensitivity:
    zeta, kappa, area, gap = (rows.numbers(name) for name in ("zeta", "kappa", "area", "gap"))
    levels = rows.texts("corruption").tolist()
    within = [agreement_within_levels(quantity, gap, levels) for quantity in (zeta, kappa, area)]
    return Sensitivity(
        variation=str(rows.texts("variation")[0]),
        value=str(rows.texts("value")[0]),
        networks=len(rows),
        zeta=float(zeta.mean()),
        kappa=float(kappa.mean()),
        area=float(area.mean()),
        zeta_r=agreement(zeta, gap).r,
        kappa_r=agreement(kappa, gap).r,
        area_r=agreement(area, gap).r,
        zeta_within=within[0].r if within[0] else None,
        kappa_within=within[1].r if within[1] else None,
        area_within=within[2].r if within[2] else None,
        out_of_fold_r=_out_of_fold({"zeta": zeta, "kappa": kappa}, gap),
        area_out_of_fold_r=_out_of_fold({"area": area}, gap),
    )


def _out_of_fold(columns: Mapping[str, np.ndarray], gap: np.ndarray) -> float | None:
    if len(gap) < FEWEST:
        return None
    try:
        return score_features(columns, gap, draw_splits(len(gap), splits=1)).out_of_fold_r
    except GapModelError:  # a quantity that is the same for all networks
        return None


if __name__ == "__main__":
    sys.exit(main())
