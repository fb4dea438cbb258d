"""An audit with a tolerance: beside the exact one, interrupted, and where it has nothing to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from analyzer.audit import compare_audits, read_record, run_audit, verify_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import AuditFolderError, DataError
from analyzer.measures.ablation.class_curves import read_curves

FIXTURES = Path(__file__).parents[1] / "fixtures"
VGG16 = FIXTURES / "vgg16-dynamo-free.onnx"


@pytest.fixture
def request_for(tmp_path):
    """Audits of smooth images, most of them labeled as the network names them."""

    def make(model: Path, count: int = 100, **options) -> AuditRequest:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        random = np.random.default_rng(0)
        images = random.normal(size=(count, *given.shape[1:])).astype(np.float32)
        (scores,) = session.run(None, {given.name: images})
        labels = (scores - scores.mean(axis=0)).argmax(axis=1) % scores.shape[1]
        named = scores.argmax(axis=1)
        labels = np.where(random.random(count) < 0.8, named, labels)
        np.savez(tmp_path / "train.npz", images=images, labels=labels)
        return AuditRequest(
            anyway=True,
            model=model,
            data=str(tmp_path / "train.npz"),
            out=tmp_path / "audit",
            **options,
        )

    return make


@pytest.mark.parametrize(("asked", "rank"), [(0.05, "l1"), (0.2, "l1"), (0.2, "selectivity")])
def test_estimates_lie_as_near_the_exact_ones_as_they_say(asked, rank, request_for, tmp_path):
    request = request_for(VGG16, tolerance=asked, rank=rank)
    found = run_audit(request)
    exact = run_audit(replace(request, out=tmp_path / "exact", tolerance=0.0))
    kept_to = found.tolerance
    assert exact.tolerance is None
    assert kept_to.asked == asked
    assert abs(found.zeta - exact.zeta) <= kept_to.zeta_bound <= asked
    assert abs(found.kappa - exact.kappa) <= kept_to.kappa_bound <= asked
    assert found.rows.possible == exact.rows.possible
    assert found.rows.run < exact.rows.run
    assert found.accuracy == exact.accuracy
    assert any("estimates" in sentence for sentence in found.warnings)
    assert not any("estimates" in sentence for sentence in exact.warnings)
    assert verify_audit(request.out).passed


def test_an_interrupted_estimate_goes_on_to_the_same_bits(request_for, tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    request = request_for(VGG16, tolerance=0.2)
    whole = run_audit(replace(request, out=tmp_path / "whole"))

    class Stopped(BaseException):
        """Stands for Ctrl-C."""

    swept = []

    def stop(told: str, done: int, total: int) -> None:
        swept.extend([done] if told == "sweep" else [])
        if len(swept) > 1:
            raise Stopped

    with pytest.raises(Stopped):
        run_audit(request, progress=stop)
    said = []
    result = run_audit(request, say=said.append)
    assert any("Resuming after" in sentence for sentence in said)
    for file in ("curves.npz", "samples.npz"):
        assert (request.out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert (result.rows, result.tolerance) == (whole.rows, whole.tolerance)


def test_classes_too_large_for_memory_are_exact(request_for, tmp_path):
    request = request_for(VGG16, count=40, tolerance=0.2, memory=1)
    found = run_audit(request)
    exact = run_audit(replace(request, out=tmp_path / "exact", tolerance=0.0))
    assert (found.tolerance.zeta_bound, found.tolerance.kappa_bound) == (0, 0)
    assert found.rows == exact.rows
    for one, other in zip(read_curves(request.out), read_curves(tmp_path / "exact"), strict=True):
        np.testing.assert_array_equal(one.descending, other.descending)
        np.testing.assert_array_equal(one.ascending, other.ascending)


def test_a_linear_suffix_is_exact_with_any_tolerance(request_for):
    found = run_audit(request_for(FIXTURES / "resnet34-dynamo-free.onnx", 40, tolerance=0.2))
    assert (found.tolerance.zeta_bound, found.tolerance.kappa_bound) == (0, 0)
    assert found.tolerance.rows_audited == 0
    assert not any("estimates" in sentence for sentence in found.warnings)


def test_a_finished_estimate_is_not_taken_for_another(request_for):
    request = request_for(VGG16, count=20, tolerance=0.2)
    run_audit(request)
    assert run_audit(request).tolerance == read_record(request.out).tolerance
    for other in ({"tolerance": 0.0}, {"tolerance": 0.1}, {"seed": 1}, {"chance": 0.3}):
        with pytest.raises(AuditFolderError, match="fresh=True"):
            run_audit(replace(request, **other))


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_that_is_none_is_refused(tolerance, request_for):
    request = request_for(VGG16, count=8, tolerance=tolerance)
    with pytest.raises(DataError, match="tolerance"):
        run_audit(request)
    assert not request.out.exists()


def test_a_comparison_says_which_audit_is_an_estimate(request_for, tmp_path):
    request = request_for(VGG16, tolerance=0.2)
    run_audit(request)
    run_audit(replace(request, out=tmp_path / "exact", tolerance=0.0))
    said = [w for w in compare_audits(tmp_path / "exact", request.out).warnings if "estimate" in w]
    assert len(said) == 1
    assert said[0].startswith("The second audit")
