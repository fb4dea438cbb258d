"""Same-label interpolation as a measure: forward passes of the whole network over mixed images."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.files import array_of, read_arrays
from analyzer.measures.ablation.sample_scores import SAMPLES, read_samples
from analyzer.measures.interpolation.mixing import (
    INTERPOLATION_FEATURES,
    MIXING_WEIGHTS,
    PARTNERS,
    InterpolationState,
    MixedAnswers,
    MixingPlan,
    ResponseCurves,
    interpolation_features,
    measure_interpolation,
    plan_mixing,
    read_interpolation,
    response_curves,
)
from analyzer.measures.measure import Check, Job, Measure, ReportSection, check, differing, same
from analyzer.measures.svg import Frame, path_through
from analyzer.measures.training_images import SampleImages, class_weights
from analyzer.output_files import write_arrays

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest

__all__ = [
    "INTERPOLATION",
    "Interpolation",
    "InterpolationRecord",
    "InterpolationResult",
    "ResponseCurve",
    "ResponseFigure",
    "read_answers",
    "report_section",
]

INTERPOLATION = "interpolation.npz"
_COUNTS = ("same", "same_asked", "other", "third", "other_asked")
_FRAME = Frame(width=480, height=300, left=48, right=14, top=14, bottom=44)


_Share: TypeAlias = float | None
_Curve: TypeAlias = tuple[_Share, _Share, _Share, _Share, _Share]  # at each of MIXING_WEIGHTS


@dataclass(frozen=True, slots=True)
class InterpolationRecord:
    """The section ``interpolation`` of ``audit.json``; null where no sample tells."""

    lambdas: tuple[float, ...]  # λ: what part of a mixed image is the sample's own
    accuracy: float | None  # A(1), with nothing mixed
    same: _Curve  # A_same(λ) / A(1)
    other: _Curve  # A_other(λ) / A(1)
    third: _Curve  # third(λ) / A(1)
    hold_mean: float | None  # A_same(½)
    partners: int  # R
    samples: int  # that were looked at
    seconds: float


@dataclass(frozen=True, slots=True)
class InterpolationResult:
    """What was found of the S samples that were read, in the order of the data."""

    answers: MixedAnswers
    partners: int
    seconds: float


class Interpolation(Measure[InterpolationResult]):
    """Whether the network names a sample's label on the way to others of that label."""

    name = "interpolation"
    features = tuple(INTERPOLATION_FEATURES)
    section = InterpolationRecord
    files = (INTERPOLATION,)
    optional = True

    def wanted(self, options: "AuditRequest") -> bool:
        """Unless ``interpolation_samples`` is 0."""
        return options.interpolation_samples != 0

    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Whether the record tells of as many samples, or why they cannot be measured."""
        return (self.measured(record) or self.name in record.unmeasured) and record.settings[
            "interpolation_samples"
        ] == options.interpolation_samples

    def asked_for_by(self) -> dict[str, Any]:
        """The default number of samples."""
        return {"interpolation_samples": None}

    def kept_by(self, record: AuditRecord) -> dict[str, Any]:
        """As many samples as the record says."""
        return {"interpolation_samples": record.settings["interpolation_samples"]}

    def measure(self, job: Job) -> InterpolationResult:
        """Mix the samples of the plan, or what is left of them."""
        from analyzer import runtime, surgery

        request, subject, images = job.request, job.subject, job.images()
        plan = plan_mixing(images, samples=request.interpolation_samples, seed=request.seed)
        network = runtime.WholeNetwork(
            surgery.runnable_file(subject.network, job.scratch),
            subject.network.info.inputs[0],
            subject.answer,
            extra_inputs=subject.extra_inputs,
            custom_ops=subject.network.custom_ops,
            largest=subject.network.largest,
        )
        device, *_ = runtime.named_devices(request.device)
        session = runtime.open_session(
            network.path, device, threads=request.threads, custom_ops=network.custom_ops
        )
        image = images.take(np.flatnonzero(images.read)[:1])
        state, plan_digest = InterpolationState.start(plan), _digest(plan, images)
        saved = job.saved()
        if saved is not None and str(saved.get("plan")) == plan_digest:
            state = state.resumed(saved)
        measure_interpolation(
            plan,
            images,
            state,
            lambda batch: runtime.name_classes(network, session, batch),
            batch=network.image.fixed_batch or runtime.images_at_once(image.nbytes, session.device),
            memory=request.memory // 2,
            save=lambda state: job.save({"plan": np.array(plan_digest), **state.arrays()}),
            progress=job.progress,
        )
        answers = _taken(read_interpolation(plan, state), images.read)
        return InterpolationResult(answers, PARTNERS, state.seconds)

    def measured(self, record: AuditRecord) -> bool:
        """Whether the record has the section."""
        return self.name in record.sections

    def read(self, folder: Path, record: AuditRecord) -> InterpolationResult:
        """The section and ``interpolation.npz``."""
        said: InterpolationRecord = record.sections[self.name]
        return InterpolationResult(read_answers(folder), said.partners, said.seconds)

    def write(self, folder: Path, result: InterpolationResult) -> None:
        """Write ``interpolation.npz``: counts by sample and λ, and what follows from them."""
        answers = result.answers
        write_arrays(
            folder / INTERPOLATION,
            {
                "hold": answers.hold.astype(np.float32),
                **{field.name: getattr(answers, field.name) for field in fields(answers)},
            },
        )

    def fields(self, result: InterpolationResult, job: Job) -> dict[str, Any]:
        """The section ``interpolation``."""
        curves, answers = response_curves(result.answers), result.answers
        record = InterpolationRecord(
            lambdas=MIXING_WEIGHTS,
            **_curve_fields(curves),
            partners=result.partners,
            samples=int(answers.measured.sum()),
            seconds=result.seconds,
        )
        return {"sections": {self.name: record}}

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """Three points of the curves, and the mean of hold; without those that are null."""
        if not self.measured(record):
            return {}
        said: InterpolationRecord = record.sections[self.name]
        curves = ResponseCurves(
            accuracy=_number(said.accuracy),
            same=np.array([_number(value) for value in said.same]),
            other=np.array([_number(value) for value in said.other]),
            third=np.array([_number(value) for value in said.third]),
            hold_mean=_number(said.hold_mean),
        )
        found = interpolation_features(curves)
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """What becomes of the label half way to another image of it."""
        if self.measured(record):
            said: InterpolationRecord = record.sections[self.name]
            if said.hold_mean is None:
                yield self.name, "no sample has another image of its label"
            else:
                yield (
                    self.name,
                    f"half way to another image of its label, {said.hold_mean:.1%} of "
                    f"{said.samples:,} samples keep it",
                )

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Whether counts are within bounds, and hold and the curves follow from them."""
        if self.measured(record):
            said: InterpolationRecord = record.sections[self.name]
            hold = _read(folder)["hold"]
            wrong = _faults(said, read_answers(folder), hold, read_samples(folder).label)
            right = f"hold and the response curves follow from the counts of {INTERPOLATION}."
            yield check(self.name, wrong, right)

    measured_again = "Partners and the labels named on the way to them"

    def differences(self, said: InterpolationResult, found: InterpolationResult) -> list[str]:
        """Other partners, or other labels named."""
        one, other = said.answers, found.answers
        wrong = [
            f"'{name}' in {INTERPOLATION} is not what data and seed give."
            for name in ("measured", "same_asked", "other_asked")
            if not np.array_equal(getattr(one, name), getattr(other, name))
        ]
        if said.partners != found.partners:
            wrong.append(
                f"'partners' is {said.partners} in audit.json, a sample has {found.partners}."
            )
        if not wrong:
            named = ("same", "other", "third", "correct")
            differs = [getattr(one, name) != getattr(other, name) for name in named]
            differs = [part.reshape(len(part), -1).any(axis=1) for part in differs]
            wrong += differing(np.any(differs, axis=0), f"What {INTERPOLATION} counts")
        return wrong

    def report(self, folder: Path, record: AuditRecord) -> ReportSection | None:
        """The response curves."""
        if not self.measured(record):
            return None
        return report_section(record.sections[self.name])


def read_answers(folder: Path) -> MixedAnswers:
    """What an audit folder says of its S samples.

    Raises:
        AuditFolderError: ``interpolation.npz`` is missing, damaged or holds something else.
    """
    arrays = _read(folder)
    return MixedAnswers(**{field.name: arrays[field.name] for field in fields(MixedAnswers)})


def _read(folder: Path) -> dict[str, np.ndarray]:
    path = folder / INTERPOLATION
    names = ["hold", *(field.name for field in fields(MixedAnswers))]
    arrays = read_arrays(path, names)
    samples = arrays["measured"].shape[:1]
    wanted = {name: (np.uint8, (*samples, len(MIXING_WEIGHTS))) for name in _COUNTS} | {
        "measured": (np.bool_, samples),
        "correct": (np.bool_, samples),
        "weight": (np.float64, samples),
        "hold": (np.float32, samples),
    }
    for name, (dtype, shape) in wanted.items():
        array_of(path, arrays, name, dtype, shape)
    return arrays


def _taken(answers: MixedAnswers, places: np.ndarray) -> MixedAnswers:
    """The answers of some samples, bool (S,)."""
    taken = {field.name: getattr(answers, field.name)[places] for field in fields(answers)}
    return MixedAnswers(**taken)


def _digest(plan: MixingPlan, images: SampleImages) -> str:
    """The identity of what is to be run, as hex: samples, partners and their order."""
    found = hashlib.sha256(images.digests.tobytes())
    for array in (plan.content_of, plan.place, plan.label, plan.partner, plan.weight):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _curve_fields(curves: ResponseCurves) -> dict[str, Any]:
    """The fields of the record that follow from the curves."""
    return {
        "accuracy": _known(curves.accuracy),
        "same": tuple(map(_known, curves.same.tolist())),
        "other": tuple(map(_known, curves.other.tolist())),
        "third": tuple(map(_known, curves.third.tolist())),
        "hold_mean": _known(curves.hold_mean),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _faults(
    said: InterpolationRecord, found: MixedAnswers, hold: np.ndarray, labels: np.ndarray
) -> list[str]:
    """What section and file say and the counts do not, in sentences."""
    if len(found.measured) != len(labels):
        return [f"{INTERPOLATION} has {len(found.measured)} samples, {SAMPLES} has {len(labels)}."]
    if said.lambdas != MIXING_WEIGHTS:
        return [f"'lambdas' is {said.lambdas} in audit.json, {MIXING_WEIGHTS} was expected."]
    measured, wrong = found.measured, []
    if int(measured.sum()) != said.samples:
        wrong.append(
            f"{int(measured.sum())} samples are measured in {INTERPOLATION}, "
            f"{said.samples} in audit.json."
        )
    most = np.array([1] * (len(MIXING_WEIGHTS) - 1) + [said.partners])
    asked, others = found.same_asked, found.other_asked
    bounds = {
        "same": found.same <= asked,
        "same_asked": (asked <= most * measured[:, None]) & ((asked > 0) == (asked[:, -1:] > 0)),
        "other": found.other.astype(int) + found.third <= others,
        "other_asked": (others <= measured[:, None]) & (others == others[:, -1:]),
    }
    wrong += [
        f"'{name}' of {int((~within).any(axis=1).sum())} samples in {INTERPOLATION} is out of "
        "bounds."
        for name, within in bounds.items()
        if not within.all()
    ]
    everyone = np.ones(len(labels), bool)
    if not np.allclose(found.weight, class_weights(labels, everyone, measured), rtol=1e-9):
        wrong.append(f"'weight' in {INTERPOLATION} does not follow from the labels of {SAMPLES}.")
    if not np.array_equal(hold, found.hold.astype(np.float32), equal_nan=True):
        wrong.append(f"'hold' in {INTERPOLATION} does not follow from the counts beside it.")
    for name, value in _curve_fields(response_curves(found)).items():
        stated = getattr(said, name)
        one, other = (item if isinstance(item, tuple) else (item,) for item in (stated, value))
        if len(one) != len(other) or not all(map(same, one, other)):
            wrong.append(f"'{name}' is {stated} in audit.json, {INTERPOLATION} gives {value}.")
    return wrong


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """One curve, as a path and the points it goes through."""

    style: str  # a class of the page's style sheet
    words: str
    path: str  # "" without a point
    points: tuple[tuple[float, float, str], ...]  # pixels, and what the point says


@dataclass(frozen=True, slots=True)
class ResponseFigure:
    """The response curves of a network over how much of another image is mixed in."""

    frame: Frame
    curves: tuple[ResponseCurve, ...]
    x_ticks: tuple[tuple[float, str], ...]  # pixels, and what the tick says
    y_ticks: tuple[tuple[float, str], ...]


def report_section(record: InterpolationRecord) -> ReportSection:
    """Compute what the section shows."""
    return ReportSection(
        links=(("interpolation", "Interpolation"),),
        template=Path(__file__).parent / "interpolation.html.jinja",
        words=Path(__file__).parent / "interpolation_words.html.jinja",
        values={"interpolation": record, "responses": _figure(record)},
    )


def _figure(record: InterpolationRecord) -> ResponseFigure:
    mixed_in = [1 - weight for weight in MIXING_WEIGHTS]
    widest = max(mixed_in)
    known = [v for v in (*record.same, *record.other, *record.third) if v is not None]
    head = max([1.0, *known])

    def curve(
        style: str, words: str, values: tuple[float | None, ...], start: float | None
    ) -> ResponseCurve:
        places = [(0.0, start), *zip(mixed_in, values, strict=True)]
        points = tuple(
            (
                round(float(_FRAME.x(share / widest)), 1),
                round(float(_FRAME.y(value / head)), 1),
                f"{share:.0%} mixed in: {value:.3f}",
            )
            for share, value in places
            if value is not None
        )
        path = path_through(np.array([point[:2] for point in points])) if points else ""
        return ResponseCurve(style, words, path, points)

    start = None if record.accuracy is None else 1.0
    return ResponseFigure(
        frame=_FRAME,
        curves=(
            curve("down", "the label, towards an image of the same label", record.same, start),
            curve("up", "the label, towards an image of another label", record.other, start),
            curve("mean", "neither of the two labels", record.third, None),
        ),
        x_ticks=tuple(
            (round(float(_FRAME.x(share / widest)), 1), f"{100 * share:.0f}")
            for share in (0.0, *mixed_in)
        ),
        y_ticks=tuple(
            (round(float(_FRAME.y(value / head)), 1), f"{value:g}")
            for value in (0, 0.25, 0.5, 0.75, 1)
        ),
    )
