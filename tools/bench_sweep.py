"""Measures the sweep against the reference way, forward hooks, and one pass over the images.

    python tools/bench_sweep.py [CASE ...] [--small] [--json FILE]

Prints a table of ratios, all from this run on this machine. Needs the extra zoo (torch).

reference
    the suffix once per n, order and class, by onnxruntime with the same threads; its prefix
    and the cut are the ones that an audit makes
hooks
    a PyTorch forward hook that masks, and the whole network once per n and order; measured on
    a few n and scaled
pass
    the original network once over the images, by onnxruntime

Cases with a tolerance are swept once more with it, and a second table holds the estimates against
the exact counts.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analyzer import ablation, estimation, surgery
from tools.bench import networks
from tools.bench.ways import Counts, by_hooks, by_reference, one_pass, ours


@dataclass(frozen=True)
class Case:
    """A network, its images, and what is asked of the sweep."""

    name: str
    size: int  # of the images
    classes: int
    with_samples: int  # classes that have samples
    samples: int  # a class
    activity: float | None = None  # share of the images for which a unit is active
    tolerance: float | None = None
    target: str = ""

    def build(self) -> tuple[torch.nn.Sequential, torch.Tensor, np.ndarray]:
        torch.manual_seed(0)
        count = self.with_samples * self.samples
        labels = np.repeat(np.arange(self.with_samples), self.samples)
        centres = torch.randn(self.with_samples, 3, self.size, self.size)
        images = 0.5 * centres[labels] + torch.randn(count, 3, self.size, self.size)
        if self.name == "resnet34":
            network = networks.resnet34(self.classes)
        elif self.name == "mobilenetv2":
            network = networks.mobilenetv2(self.classes)
        else:
            network = networks.vgg16(self.classes, self.size)
        if self.activity is not None:
            networks.set_activity(network, images, self.activity)
        networks.fit_last_layer(network, images, labels)
        return network, images, labels


CASES = (
    Case("resnet34", 64, 100, 100, 20, target="prefix + sweep ≤ 1.3 × pass"),
    Case("mobilenetv2", 96, 100, 100, 20, target="prefix + sweep ≤ 1.3 × pass"),
    Case("vgg16-cifar-10", 32, 10, 10, 200, 0.1, target="sweep ≥ 8 × faster"),
    Case("vgg16-cifar-70", 32, 10, 10, 200, 0.7, 0.01, target="sweep ≥ 1.3 × faster"),
    Case("vgg16-imagenet", 224, 1000, 2, 25, target="sweep ≥ 4 × faster"),
)
SMALL = (
    Case("resnet34", 32, 5, 5, 6),
    Case("mobilenetv2", 32, 5, 5, 6),
    Case("vgg16-cifar-10", 32, 3, 3, 3, 0.1),
    Case("vgg16-cifar-70", 32, 3, 3, 12, 0.7, 0.1),
)


@dataclass(frozen=True)
class Estimated:
    """A sweep with a tolerance beside the exact one."""

    tolerance: float
    sweep_seconds: float
    rows_run: int
    rows_audited: int
    zeta_bound: float
    kappa_bound: float
    zeta_error: float
    kappa_error: float

    @property
    def true(self) -> bool:
        return self.zeta_error <= self.zeta_bound and self.kappa_error <= self.kappa_bound


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds."""

    case: str
    samples: int
    units: int
    accuracy: float
    active: float  # share of (sample, unit) pairs with a map that is not all zero
    rows_possible: int
    rows_run: int
    pass_seconds: float
    prefix_seconds: float
    sweep_seconds: float
    reference_seconds: float
    reference_part: float  # share of the samples that the reference was run on
    hooks_seconds: float
    differing: int  # counts that differ from the reference's
    near_ties: int  # reference rows whose two highest scores lie within 1e-5 of the scale
    target: str
    estimated: Estimated | None


def measure(case: Case, classes_of_reference: int | None) -> Row:
    network, images, labels = case.build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks.export(network, images, folder / "network.onnx")
        loaded = surgery.load(folder / "network.onnx")
        cut = surgery.cut(loaded, surgery.default_site(loaded), folder)
        arrays = images.numpy()
        opened = ablation.open_network(cut, "images", "cpu")
        seconds = one_pass(folder / "network.onnx", arrays)
        tally, active = ours(opened, arrays, labels)
        chosen = labels < (classes_of_reference or case.with_samples)
        reference: Counts = by_reference(opened, arrays[chosen], labels[chosen], tally.order)
        hooks = by_hooks(network, images[chosen], tally.order[0])
        part = float(chosen.mean())
        differing = int(
            np.abs(tally.curves[:, labels[chosen].min() : labels[chosen].max() + 1]
                   - reference.curves).sum()
        )  # fmt: skip
        return Row(
            case=case.name,
            samples=len(labels),
            units=cut.site.channels,
            accuracy=float(tally.correct.mean()),
            active=active,
            rows_possible=tally.possible,
            rows_run=tally.run,
            pass_seconds=seconds,
            prefix_seconds=tally.prefix_seconds,
            sweep_seconds=tally.sweep_seconds,
            reference_seconds=reference.seconds / part,
            reference_part=part,
            hooks_seconds=hooks / part,
            differing=differing,
            near_ties=reference.near_ties,
            target=case.target,
            estimated=case.tolerance and estimate(case, opened, arrays, labels, tally),
        )


def estimate(
    case: Case,
    network: ablation.CutNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    exact: ablation.Tally,
) -> Estimated:
    """The sweep once more, with the case's tolerance."""
    tolerance = ablation.Tolerance(
        asked=case.tolerance,
        chance=Fraction(1, case.classes),
        seed=0,
        classes=case.with_samples,
        samples=len(labels),
        channels=network.cut.site.channels,
    )
    tally, _ = ours(network, images, labels, tolerance)
    zeta_bound, kappa_bound = tolerance.bounds(
        classes=case.with_samples, off=tally.off, cost=tally.cost, guessed=tally.guessed
    )
    found, wanted = (
        estimation.network_quantities(
            estimation.class_quantities(curve, tolerance.chance) for curve in counts.class_curves()
        )
        for counts in (tally, exact)
    )
    return Estimated(
        tolerance=case.tolerance,
        sweep_seconds=tally.sweep_seconds,
        rows_run=tally.run,
        rows_audited=tally.drawn,
        zeta_bound=zeta_bound,
        kappa_bound=kappa_bound,
        zeta_error=abs(found[0] - wanted[0]),
        kappa_error=abs(found[1] - wanted[1]),
    )


def table(rows: list[Row]) -> str:
    lines = [
        "| case | S × M | active | counts differing (near ties) | pass | prefix + sweep | ÷ pass "
        "| sweep | reference ÷ sweep | hooks ÷ (prefix + sweep) | asked |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        whole = row.prefix_seconds + row.sweep_seconds
        lines.append(
            f"| {row.case} | {row.samples} × {row.units} | {row.active:.0%} "
            f"| {row.differing} ({row.near_ties}) | {row.pass_seconds:.1f} s | {whole:.1f} s "
            f"| {whole / row.pass_seconds:.2f} | {row.sweep_seconds:.1f} s "
            f"| {row.reference_seconds / row.sweep_seconds:.1f} × "
            f"| {row.hooks_seconds / whole:.0f} × | {row.target} |"
        )
    return "\n".join(lines)


def estimates(rows: list[Row]) -> str:
    lines = [
        "| case | tolerance | rows run of possible | drawn for audits | sweep | reference ÷ sweep "
        "| ζ off by (bound) | κ off by (bound) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if found := row.estimated:
            lines.append(
                f"| {row.case} | {found.tolerance:g} "
                f"| {found.rows_run} of {row.rows_possible} "
                f"(1 in {row.rows_possible / found.rows_run:.1f}) | {found.rows_audited} "
                f"| {found.sweep_seconds:.1f} s "
                f"| {row.reference_seconds / found.sweep_seconds:.1f} × "
                f"| {found.zeta_error:.5f} ({found.zeta_bound:.5f}) "
                f"| {found.kappa_error:.5f} ({found.kappa_bound:.5f}) |"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help="cases to run (default: all)")
    parser.add_argument("--small", action="store_true", help="small sizes, to check the equality")
    parser.add_argument("--reference-classes", type=int, help="run the reference on these only")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args()
    chosen = [
        case
        for case in (SMALL if options.small else CASES)
        if not options.cases or case.name in options.cases
    ]
    rows = []
    for case in chosen:
        began = time.perf_counter()
        rows.append(measure(case, options.reference_classes))
        print(f"{case.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads\n")
    print(table(rows))
    if any(row.estimated for row in rows):
        print(f"\n{estimates(rows)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    wrong = any(row.differing > row.near_ties for row in rows)
    return int(wrong or not all(row.estimated.true for row in rows if row.estimated))


if __name__ == "__main__":
    sys.exit(main())
