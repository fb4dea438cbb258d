"""Audit folders made up from a seed: each sample fails from some n on, in each order."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.audit.folder import write_record
from analyzer.audit_record import (
    AuditRecord,
    ClassRecord,
    DataRecord,
    DeviceRecord,
    EmptyClass,
    GapRecord,
    ModelRecord,
    RowsRecord,
    SecondsRecord,
    SiteRecord,
)
from analyzer.measures.ablation.class_curves import ClassCurves, write_curves
from analyzer.measures.ablation.curve_features import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.sample_scores import SampleCounts, SampleScores, write_samples
from tools.forged_folders import seal

DIGEST = hashlib.sha256(b"something").hexdigest()


def made_up_scores(labels: np.ndarray, correct: np.ndarray, classes: int) -> SampleScores:
    """Scores that agree with what is correct."""
    rng = np.random.default_rng(1)
    size = rng.exponential(4, labels.size).astype(np.float32)
    margin = np.where(correct, size, -size)
    return SampleScores(
        log_probability=-np.log1p(np.exp(-margin)),
        margin=margin,
        other=(labels + rng.integers(1, classes, labels.size)) % classes,
    )


def made_up_samples(classes: int, channels: int, per_class: int, seed: int) -> tuple:
    """Per sample: label, and correctness of shape (S, M + 1) in each order."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    n = np.arange(channels + 1)
    strength = rng.beta(2, 5, classes)[labels]
    fails = channels * np.clip(strength + rng.normal(0, 0.08, labels.size), 0.02, 0.9)
    lasts = channels * np.clip(1 - 0.6 * strength - rng.exponential(0.08, labels.size), 0.1, 0.99)
    descending, ascending = n < fails[:, None], n < lasts[:, None]
    wrong = rng.random(labels.size) < 0.02
    descending[wrong] = ascending[wrong] = False
    ascending[:, 0] = descending[:, 0]
    ascending[:, -1] = descending[:, -1] = labels == classes // 2  # the empty network's answer
    return labels, descending, ascending


def made_up_audit(
    folder: Path,
    *,
    classes: int = 10,
    channels: int = 64,
    per_class: int = 40,
    seed: int = 0,
    gap: GapRecord | None = None,
    warnings: tuple[str, ...] = (),
    names: Callable[[int], str] = "class {}".format,
    model: Path | None = None,
    empty_classes: tuple[EmptyClass, ...] = (),
    skipped: tuple[str, ...] = (),
) -> AuditRecord:
    """Write audit.json, curves.npz and samples.npz that agree with each other."""
    labels, descending, ascending = made_up_samples(classes, channels, per_class, seed)
    rng = np.random.default_rng(seed)
    curves = [
        ClassCurves(
            class_index=j,
            samples=per_class,
            order=rng.permutation(channels),
            descending=descending[labels == j].sum(axis=0),
            ascending=ascending[labels == j].sum(axis=0),
        )
        for j in range(classes)
    ]
    chance = 1 / classes
    quantities = [class_quantities(curve, chance) for curve in curves]
    zeta, kappa = network_quantities(quantities)
    samples = SampleCounts(
        label=labels,
        correct=descending[:, 0],
        descending=descending.sum(axis=1),
        ascending=ascending.sum(axis=1),
        index=np.arange(labels.size),
        scores=made_up_scores(labels, descending[:, 0], classes),
    )
    digest = hashlib.sha256(model.read_bytes()).hexdigest() if model else DIGEST
    record = AuditRecord(
        model=ModelRecord(
            path=str(model) if model else "models/digits-c40.onnx",
            sha256=digest,
            bytes=model.stat().st_size if model else 312_873,
            producer="pytorch 2.13.0",
            opset=20,
        ),
        data=DataRecord(
            source="zoo:digits-c40",
            samples=int(labels.size),
            sha256=DIGEST,
            preprocessing={"img_size": [8, 8], "mean": [0.5], "std": [0.25], "crop_pct": None},
            given=int(labels.size),
        ),
        site=SiteRecord(
            tensor="/features/13/Relu_output_0",
            axis=1,
            channels=channels,
            kind="activation",
            cut="/Flatten_output_0",
            operator="Relu",
        ),
        settings={
            "seed": 0,
            "limit_per_class": None,
            "tolerance": 0.0,
            "precision": "float32",
            "rank": "l1",
            "suspects": 0,
        },
        chance=chance,
        accuracy=float(descending[:, 0].mean()),
        zeta=zeta,
        kappa=kappa,
        classes=tuple(
            ClassRecord(
                index=q.class_index,
                name=names(q.class_index),
                samples=q.samples,
                accuracy=q.accuracy,
                n0=q.n0,
                n0_r=q.n0_r,
                zeta=q.zeta,
                kappa=q.kappa,
                chance_reached=q.chance_reached,
                flags=q.flags,
            )
            for q in quantities
        ),
        gap=gap,
        device=DeviceRecord(requested="auto", used="cpu"),
        versions={"onnx-gap": "0.1.0", "python": "3.11.2", "onnxruntime": "1.23.0"},
        seconds=SecondsRecord(prefix=0.04, sweep=0.31, total=0.62),
        rows=RowsRecord(possible=2 * int(labels.size) * (channels + 1), run=int(labels.size) * 61),
        warnings=warnings,
        empty_classes=empty_classes,
        skipped=skipped,
        created="2025-11-23T15:20:25Z",
        features=compute_curve_features(curves, samples, chance),
    )
    write_record(folder, record)
    write_curves(folder, curves)
    write_samples(folder, samples, channels)
    seal(folder)
    return record


@pytest.fixture(name="made_up_samples")
def made_up_samples_fixture() -> Callable[..., tuple]:
    """What the audits of ``make_audit`` are counted from: labels, and correctness at every n."""
    return made_up_samples


@pytest.fixture
def gap_record() -> GapRecord:
    return GapRecord(
        estimate=0.41,
        low=0.34,
        high=0.48,
        coverage=0.9,
        gap_model=DIGEST,
        inside_range=True,
        warnings=("The gap model was fitted on digits; nothing shows that it holds elsewhere.",),
        gap_model_name="zoo:digits",
        fitted_on="48 small convolutional networks trained on digits",
    )


@pytest.fixture
def make_audit(tmp_path: Path) -> Callable[..., Path]:
    """Writes an audit made up with the given options into a folder of the given name."""

    def make(name: str = "audit", **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        made_up_audit(folder, **options)
        return folder

    return make


@pytest.fixture
def audit(make_audit: Callable[..., Path], gap_record: GapRecord) -> Path:
    """A folder with a whole audit: 10 classes, 64 channels."""
    return make_audit(gap=gap_record)
