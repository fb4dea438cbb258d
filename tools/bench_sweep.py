"""Measures the sweep against the reference way, forward hooks, and one pass over the images.

    python tools/bench_sweep.py [CASE ...] [--small] [--json FILE]

Prints the tables of docs/PERFORMANCE.md: ratios, all from this run on this machine. Needs the
extra zoo (torch). The exit code is 1 where counts differ by more than near ties explain, or a
tolerance's bound is not true.

reference
    the suffix once per n, order and class, by onnxruntime with the same threads; its prefix
    and the cut are the ones that an audit makes
hooks
    a PyTorch forward hook that masks, and the whole network once per n and order; measured on
    a few n and scaled
pass
    the original network once over the images, by onnxruntime

Cases with a tolerance are swept once more with it, and a second table holds the estimates against
the exact counts. A third has the audit of the zoo's digits-c0 as a whole process, report included,
against the imports of onnxruntime, onnx and numpy, timed in turn.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analyzer import surgery
from analyzer.measures.ablation.curve_features import class_quantities, network_quantities
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, open_network
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.measures.ablation.tolerance import Tolerance
from tools.bench import networks, whole
from tools.bench.tables import (
    Asked,
    Estimated,
    Row,
    estimates_table,
    machine,
    sweeps_table,
    whole_table,
)
from tools.bench.ways import Counts, active_share, by_hooks, by_reference, one_pass, ours


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
    referenced: int | None = None  # classes that reference and hooks are run on; None: all
    pairs: int = 1  # of a pass and an audit, in turn
    asked: Asked = field(default_factory=Asked)

    def build(self) -> tuple[torch.nn.Sequential, torch.Tensor, np.ndarray]:
        torch.manual_seed(0)
        count = self.with_samples * self.samples
        labels = np.repeat(np.arange(self.with_samples), self.samples)
        centers = torch.randn(self.with_samples, 3, self.size, self.size)
        images = 0.5 * centers[labels] + torch.randn(count, 3, self.size, self.size)
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
    Case("resnet34", 64, 100, 100, 20, pairs=5, asked=Asked(of_pass=1.3)),
    Case("mobilenetv2", 96, 100, 100, 20, pairs=5, asked=Asked(of_pass=1.3)),
    Case("vgg16-cifar-10", 32, 10, 10, 200, 0.1, referenced=2, asked=Asked(faster=8)),
    Case(
        "vgg16-cifar-70", 32, 10, 10, 200, 0.7, 0.01, referenced=2,
        asked=Asked(faster=1.3, faster_estimated=5),
    ),
    Case("vgg16-imagenet", 224, 1000, 2, 25, asked=Asked(faster=4)),
)  # fmt: skip
SMALL = (
    Case("resnet34", 32, 5, 5, 6),
    Case("mobilenetv2", 32, 5, 5, 6),
    Case("vgg16-cifar-10", 32, 3, 3, 3, 0.1),
    Case("vgg16-cifar-70", 32, 3, 3, 12, 0.7, 0.1),
)
PAIRS, SMALL_PAIRS = 15, 1
WHOLE_ASKED = 6.0  # times the imports


def measure(case: Case) -> Row:
    """Counts a case in every way."""
    network, images, labels = case.build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks.export(network, images, folder / "network.onnx")
        loaded = surgery.load_network(folder / "network.onnx")
        cut = surgery.cut_network(loaded, surgery.default_site(loaded), folder)
        arrays = images.numpy()
        passes, audits = [], []
        for _ in range(case.pairs):
            passes.append(one_pass(folder / "network.onnx", arrays))
            opened = open_network(cut, "images", "cpu")
            state = ours(opened, arrays, labels)
            audits.append((state.prefix_seconds, state.sweep_seconds))
        chosen = labels < (case.referenced or case.with_samples)
        reference: Counts = by_reference(opened, arrays[chosen], labels[chosen], state.order)
        hooks = by_hooks(network, images[chosen], state.order[0])
        part = float(chosen.mean())
        differing = int(
            np.abs(state.curves[:, labels[chosen].min() : labels[chosen].max() + 1]
                   - reference.curves).sum()
        )  # fmt: skip
        return Row(
            case=case.name,
            samples=len(labels),
            units=cut.site.channels,
            accuracy=float(state.correct.mean()),
            active=active_share(opened, arrays),
            rows_possible=state.possible,
            rows_run=state.run,
            pass_seconds=tuple(passes),
            prefix_seconds=tuple(prefix for prefix, _ in audits),
            sweep_seconds=tuple(sweep for _, sweep in audits),
            reference_seconds=reference.seconds / part,
            reference_part=part,
            hooks_seconds=hooks / part,
            differing=differing,
            near_ties=reference.near_ties,
            asked=case.asked,
            estimated=case.tolerance and estimate(case, opened, arrays, labels, state),
        )


def estimate(
    case: Case,
    network: CutNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    exact: SweepState,
) -> Estimated:
    """The sweep once more, with the case's tolerance."""
    tolerance = Tolerance(
        asked=case.tolerance,
        chance=Fraction(1, case.classes),
        seed=0,
        classes=case.with_samples,
        samples=len(labels),
        channels=network.cut.site.channels,
    )
    state = ours(network, images, labels, tolerance)
    zeta_bound, kappa_bound = tolerance.bounds(
        classes=case.with_samples, off=state.off, cost=state.cost, guessed=state.guessed
    )
    found, wanted = (
        network_quantities(
            class_quantities(curve, tolerance.chance) for curve in counts.class_curves()
        )
        for counts in (state, exact)
    )
    return Estimated(
        tolerance=case.tolerance,
        sweep_seconds=state.sweep_seconds,
        rows_run=state.run,
        rows_audited=state.drawn,
        zeta_bound=zeta_bound,
        kappa_bound=kappa_bound,
        zeta_error=abs(found[0] - wanted[0]),
        kappa_error=abs(found[1] - wanted[1]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cases = [*(case.name for case in CASES), whole.NETWORK]
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"cases to run, of {', '.join(cases)} (all)"
    )
    parser.add_argument("--small", action="store_true", help="small sizes, to check the equality")
    parser.add_argument("--json", type=Path, help="also write what was found there")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(cases):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    chosen = options.cases or cases
    print(f"{machine()}\n", flush=True)

    process = None
    if whole.NETWORK in chosen:  # first, before memory is full of the others
        pairs = SMALL_PAIRS if options.small else PAIRS
        process = whole.measure_whole(pairs, asked=WHOLE_ASKED)
    rows = []
    for case in SMALL if options.small else CASES:
        if case.name in chosen:
            began = time.perf_counter()
            rows.append(measure(case))
            print(f"{case.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)

    if rows:
        print(f"{sweeps_table(rows)}\n")
    if any(row.estimated for row in rows):
        print(f"{estimates_table(rows)}\n")
    if process:
        print(whole_table(process))
    if options.json:
        found = {"sweeps": [asdict(row) for row in rows], "whole": process and asdict(process)}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    counted = [*rows, *([process] if process else [])]
    wrong = any(one.differing > one.near_ties for one in counted)
    return int(wrong or not all(row.estimated.true for row in rows if row.estimated))


if __name__ == "__main__":
    sys.exit(main())
