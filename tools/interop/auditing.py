"""Auditing a cell, and comparing its counts with the framework's own or the plain way's."""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from cells import Cell, Own, read_own

from analyzer import surgery
from analyzer.audit import read_record, run_audit
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import SiteRecord
from analyzer.common_types import Site
from analyzer.errors import AnalyzerError
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.measures.ablation.class_curves import read_curves

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from plain_way import masked, plain_curves, session

__all__ = ["ROW", "Row", "audited", "read_row", "write_row"]

ROW = "row.json"

# Of the most active unit: what float32 rounding adds up to over a hundred layers. Units nearer
# than that may be ranked the other way round by another runtime.
_EQUALLY_ACTIVE = 2e-4


@dataclass(frozen=True)
class Row:
    """A line of the page."""

    cell: Cell
    opset: str = ""
    site: str = ""  # operator, its tensor's shape without the batch, and how it was chosen
    units: str = ""
    cut: str = ""  # the operators that the mask sinks past
    measures: str = ""  # of interpolation and neighbors: "both", or why not
    result: str = ""
    passed: bool = False
    exact: bool = False  # every count equal, or refused as it should be


def write_row(place: Path, row: Row) -> None:
    """Keep the line of a cell beside it."""
    (place / ROW).write_text(json.dumps(asdict(row), indent=1, ensure_ascii=False))


def read_row(place: Path) -> Row:
    """The line of a cell that was audited before."""
    found = json.loads((place / ROW).read_text())
    return Row(**{**found, "cell": Cell(**found["cell"])})


def audited(place: Path, cell: Cell) -> Row:
    """Audit the network in ``place``; a refusal is a result, anything else that fails is not."""
    if cell.failure:
        return Row(cell, result=f"not exported: {cell.failure}")
    try:
        return _audited(place, cell)
    except AnalyzerError as error:
        sentence = str(error).replace(f"{place}/", "")
        expected = bool(cell.refusal) and cell.refusal in sentence
        return Row(cell, result=f"refused: {sentence}", passed=expected, exact=expected)


def _audited(place: Path, cell: Cell) -> Row:
    budget = tuple((what, most) for what, most in cell.budget)
    budgets = DEFAULT_BUDGETS.raised(budget)
    network = surgery.load_network(place / "network.onnx", budgets=budgets)
    opset, name = str(network.info.opset), cell.site
    if cell.hidden:
        name = [s.tensor for s in surgery.candidates(network) if s.channels == cell.hidden][-1]
    out = place / "audit"
    shutil.rmtree(out, ignore_errors=True)
    request = AuditRequest(
        anyway=True,
        model=network.path, data=str(place / "data.npz"), out=out, site=name, at=cell.at,
        axis=cell.axis, device="cpu", budget=budget,
    )  # fmt: skip
    record = run_audit(request)
    missing = [one for one in ("interpolation", "neighbors") if one not in record.sections]
    measures = ", ".join(f"no {one}: {record.unmeasured[one]}" for one in missing) or "both"
    if record.site is None:
        sentence = record.unmeasured["ablation"].replace(f"{place}/", "")
        expected = bool(cell.refusal) and cell.refusal in sentence and not missing
        return Row(
            cell,
            opset=opset,
            site="none",
            measures=measures,
            result=f"pass: nothing is removed, for {sentence}",
            passed=expected,
            exact=expected,
        )
    site = surgery.find_site(network, name, at=cell.at, axis=cell.axis)
    plan = surgery.outline_network(network, site)
    chosen = "default" if name is None else "--site"
    passed, exact, result = _compared(out, network, site, place, cell)
    if name is None and cell.expected and site.operator.lower() != cell.expected.lower():
        passed = exact = False
        result = f"FAIL: default site is {site.operator} instead of {cell.expected}; {result}"
    shape = "×".join(str(d) for d in site.shape[1:])
    return Row(
        cell=cell,
        opset=opset,
        site=f"{site.operator} {shape} ({chosen})",
        units=str(site.channels),
        cut=", ".join(plan.passed) or "at the site",
        measures=measures,
        result=result,
        passed=passed and not missing,
        exact=exact,
    )


def _compared(
    out: Path, network: surgery.Network, site: Site, place: Path, cell: Cell
) -> tuple[bool, bool, str]:
    """Whether the counts in ``out`` are right, whether to the last one, and what that says."""
    own = read_own(place)
    if own is not None:
        return _against(out, own, "the framework's hooks", _activity(network, site, place))
    if cell.every > 1:
        return _against_some(out, network, place, cell.every)
    return _against(out, _plain(out, network, place), "the plain way")


def _plain(out: Path, network: surgery.Network, place: Path) -> Own:
    site = read_record(out).site
    with np.load(place / "data.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    plain = plain_curves(network.path, site.tensor, site.axis, images, labels)
    classes = np.array(sorted(plain.order))
    return Own(
        class_index=classes,
        order=np.array([plain.order[c] for c in classes]),
        descending=np.array([plain.descending[c] for c in classes]),
        ascending=np.array([plain.ascending[c] for c in classes]),
        near=np.full(len(classes), plain.close),
    )


def _activity(network: surgery.Network, site: Site, place: Path) -> np.ndarray:
    """What the audit ranks units by, (K', M): their mean activity class by class."""
    with np.load(place / "data.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    bound, _ = surgery.bind_inputs(network, {})
    with tempfile.TemporaryDirectory() as folder:
        cut = surgery.cut_network(bound, site, folder)
        prefix = session(onnx.load(cut.prefix))
        image = bound.info.inputs[0].name
        (activity,) = prefix.run([cut.activity], {image: images})
    return np.array([activity[labels == label].mean(axis=0) for label in np.unique(labels)])


def _against(
    out: Path, own: Own, whose: str, activity: np.ndarray | None = None
) -> tuple[bool, bool, str]:
    """Whether the audit's counts are ``own`` but for near ties, whether to the last, and words.

    Ranks may be swapped only where ``activity`` shows the units to be equally active.
    """
    curves = {curve.class_index: curve for curve in read_curves(out)}
    if sorted(curves) != own.class_index.tolist():
        return False, False, f"other classes than {whose}"
    differing = swapped = near = rows = 0
    for i, label in enumerate(own.class_index.tolist()):
        curve = curves[label]
        for mine, theirs in (
            (curve.descending, own.descending[i]),
            (curve.ascending, own.ascending[i]),
        ):
            if mine.shape != theirs.shape:
                return False, False, f"M = {len(mine) - 1}, but {len(theirs) - 1} by {whose}"
            differing += int(np.abs(mine - theirs).sum())
            rows += len(mine) * curve.samples
        swapped += int((curve.order != own.order[i]).sum())
        near += int(own.near[i])
    if not differing:
        return True, True, f"pass: all {rows:,} evaluations match {whose}"
    said = f"{differing} of {rows:,} evaluations differ from {whose}"
    notes = [f"{near} nearly tie"] if near else []
    notes += [f"{swapped} ranks of nearly equal units are swapped"] if swapped else []
    passed = differing <= near + 2 * swapped
    if activity is not None:
        steps = [
            np.diff(mean[order]).max(initial=0) / mean.max()
            for order, mean in zip(own.order, activity, strict=True)
        ]
        notes.append(f"their activities {max(steps):.0e} of the highest apart")
        passed = passed and max(steps) <= _EQUALLY_ACTIVE
    verdict = "pass" if passed else "FAIL"
    return passed, False, f"{verdict}: {said} ({', '.join(notes) or 'no ties'})"


def _against_some(
    out: Path, network: surgery.Network, place: Path, every: int
) -> tuple[bool, bool, str]:
    """The plain way at every ``every``-th n, for networks that take seconds an image."""
    site = read_record(out).site
    with np.load(place / "data.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    whole = session(masked(network.path, site.tensor, site.axis, len(network_shape(network, site))))
    names = [value.name for value in whole.get_inputs()]
    differing = rows = 0
    for curve in read_curves(out):
        mine = np.flatnonzero(labels == curve.class_index)
        for counts, order in (
            (curve.descending, curve.order), (curve.ascending, curve.order[::-1])
        ):  # fmt: skip
            for n in range(0, len(counts), every):
                mask = np.ones(len(order), np.float32)
                mask[order[:n]] = 0
                right = 0
                for image in images[mine]:
                    found = whole.run(None, {names[0]: image[None], "plain_mask": mask})[0]
                    right += int(found.reshape(-1).argmax() == curve.class_index)
                differing += abs(right - int(counts[n]))
                rows += len(mine)
    said = f"{rows} evaluations at every {every}th n, {differing} differ from the plain way"
    return not differing, False, f"{'FAIL' if differing else 'pass'}: {said}"


def network_shape(network: surgery.Network, site: SiteRecord) -> tuple[int | str | None, ...]:
    """The shape of the site's tensor."""
    return surgery.named_site(network, site.tensor, axis=site.axis).shape
