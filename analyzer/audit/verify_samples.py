"""Whether ``samples.npz`` and ``suspects.csv`` follow from each other and from the curves."""

from collections.abc import Iterator, Sequence

import numpy as np

from analyzer.audit.checks import Check, check
from analyzer.audit.folder import CURVES, SAMPLES
from analyzer.audit.record import AuditRecord
from analyzer.audit.suspects import SUSPECTS, Suspect
from analyzer.audit.suspicion import most_suspicious
from analyzer.records import ClassCurves, SampleCounts

__all__ = ["sample_checks"]

_NEAR = 1e-4  # of the largest margin


def sample_checks(
    record: AuditRecord,
    curves: Sequence[ClassCurves],
    samples: SampleCounts,
    score: np.ndarray,
    suspects: Sequence[Suspect],
) -> Iterator[Check]:
    """Every check of single samples.

    Args:
        record: the audit.
        curves: of its classes.
        samples: S.
        score: float32 (S,), as ``samples.npz`` has it.
        suspects: as ``suspects.csv`` lists them.
    """
    yield from _samples(record, curves, samples)
    yield _score(samples, score, record.site.channels)
    yield from _scores(samples)
    yield from _suspects(record, samples, suspects)


def _samples(
    record: AuditRecord, curves: Sequence[ClassCurves], samples: SampleCounts
) -> Iterator[Check]:
    """Samples against curves: counted either way, the hits are the same."""
    wrong = []
    for curve in curves:
        own = samples.label == curve.class_index
        for name, by_sample, by_curve in (
            ("samples", own.sum(), curve.samples),
            ("correct", samples.correct[own].sum(), curve.descending[0]),
            ("descending", samples.descending[own].sum(dtype=np.int64), curve.descending.sum()),
            ("ascending", samples.ascending[own].sum(dtype=np.int64), curve.ascending.sum()),
        ):
            if by_sample != by_curve:
                wrong.append(
                    f"Class {curve.class_index}: '{name}' adds up to {by_sample} over {SAMPLES}, "
                    f"{by_curve} in {CURVES}."
                )
    known = sum(curve.samples for curve in curves)
    if len(samples.label) != known:
        wrong.append(f"{SAMPLES} has {len(samples.label)} samples, {CURVES} counts {known}.")
    yield check("samples", wrong, f"{SAMPLES} adds up to {CURVES} in every class.")
    top = record.site.channels + 1
    outside = [
        f"'{name}' of sample {np.argmax(bad)} is not between 0 and M + 1 = {top}."
        for name in ("descending", "ascending")
        if (bad := (getattr(samples, name) < 0) | (getattr(samples, name) > top)).any()
    ]
    yield check("sample counts", outside, f"Every sample's counts lie between 0 and {top}.")


def _score(samples: SampleCounts, score: np.ndarray, channels: int) -> Check:
    wanted = (samples.ascending.astype(np.float64) - samples.descending) / (channels + 1)
    agrees = score.shape == wanted.shape and np.allclose(score, wanted, rtol=0, atol=1e-6)
    return check(
        "score",
        [] if agrees else [f"'score' in {SAMPLES} is not (ascending − descending) / (M + 1)."],
        "The scores follow from the sample counts.",
    )


def _scores(samples: SampleCounts) -> Iterator[Check]:
    scores = samples.scores
    if scores is None:  # written by an early version
        return
    wrong = []
    for name, bad in (
        ("log_probability", ~(scores.log_probability <= 0)),
        ("margin", ~np.isfinite(scores.margin)),
        ("other", (scores.other == samples.label) | (scores.other < 0)),
        ("index", np.diff(samples.index, prepend=-1) <= 0),
    ):
        if bad.any():
            wrong.append(f"'{name}' of sample {np.argmax(bad)} in {SAMPLES} cannot be.")
    # Margins near zero may change sides by rounding alone.
    clear = np.abs(scores.margin) > _NEAR * np.abs(scores.margin).max(initial=0)
    against = clear & ((scores.margin > 0) != samples.correct)
    if against.any():
        wrong.append(f"'margin' of sample {np.argmax(against)} in {SAMPLES} denies 'correct'.")
    yield check("scores", wrong, "Log-probabilities and margins go with what is correct.")


def _suspects(
    record: AuditRecord, samples: SampleCounts, listed: Sequence[Suspect]
) -> Iterator[Check]:
    wrong = []
    if len(listed) != record.suspects:
        wrong.append(f"{SUSPECTS} lists {len(listed)} samples, audit.json says {record.suspects}.")
    if listed and samples.scores is not None:
        places = most_suspicious(samples, len(listed))
        found = zip(samples.index[places].tolist(), samples.label[places].tolist(), strict=True)
        wrong += [
            f"Rank {one.rank} of {SUSPECTS} is sample {one.index} with label {one.label}, "
            f"{SAMPLES} gives sample {index} with label {label}."
            for one, (index, label) in zip(listed, found, strict=False)
            if (one.index, one.label) != (index, label)
        ]
    if listed or wrong:
        yield check("suspects", wrong, f"{len(listed)} suspects follow from the sample counts.")
