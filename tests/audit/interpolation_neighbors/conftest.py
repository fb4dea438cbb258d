"""What is asked of an audit with interpolation and neighbors."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from interpolated_audits import S

from analyzer.audit_options import AuditRequest

FIXTURES = Path(__file__).parents[2] / "fixtures"


def labels_by(model, images):
    """Labels of which most are what the network says."""
    random = np.random.default_rng(0)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = session.run(None, {"input": images})[0].argmax(axis=1)
    labels[::4] = random.integers(0, 10, len(labels[::4]))
    return labels


@pytest.fixture
def asked(tmp_path):
    model = FIXTURES / "vgg16-older-free.onnx"
    images = np.random.default_rng(0).normal(size=(S, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "train.npz", images=images, labels=labels_by(model, images))
    return AuditRequest(
        anyway=True,
        model=model,
        data=str(tmp_path / "train.npz"),
        out=tmp_path / "audit",
        device="cpu",
        threads=1,
    )
