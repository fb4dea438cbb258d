"""Audits with margins: what they keep, and what they go on from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from analyzer import runtime, surgery
from analyzer.audit import run_audit, verify_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import DataError, ModelError
from analyzer.estimation import fit_gap_model, ridge, write_gap_model
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.margins.distances import MARGIN_FEATURES, compute_margin_features
from analyzer.measures.margins.measure import Margins
from analyzer.output_files import write_arrays

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = ("audit.json", "curves.npz", "samples.npz", "margins.npz")
S = 30


@pytest.fixture
def asked(tmp_path):
    """A small VGG16 on images of which most have the label that it says."""
    model = FIXTURES / "vgg16-older-free.onnx"
    random = np.random.default_rng(0)
    images = random.normal(size=(S, 3, 32, 32)).astype(np.float32)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = session.run(None, {"input": images})[0].argmax(axis=1)
    labels[::4] = random.integers(0, 10, len(labels[::4]))
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    return AuditRequest(
        anyway=True,
        model=model,
        data=str(tmp_path / "train.npz"),
        out=tmp_path / "audit",
        margins=True,
        device="cpu",
        threads=1,
    )


@pytest.fixture
def no_counting(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("counted again")

    monkeypatch.setattr(Ablation, "measure", refuse)


def content(request):
    """What the files of an audit say, but for times."""
    record = json.loads((request.out / "audit.json").read_bytes())
    for timed in (record, record["margins"], record["interpolation"], record["neighbors"]):
        timed.pop("seconds")
    record.pop("created")
    return record, [(request.out / name).read_bytes() for name in FILES[1:]]


def test_the_record_describes_what_is_kept_of_every_sample(asked):
    result = run_audit(asked)
    with np.load(asked.out / "margins.npz") as kept:
        distance, variation = kept["distance"], kept["total_variation"]
    with np.load(asked.out / "samples.npz") as samples:
        np.testing.assert_array_equal(distance[:, 0] > 0, samples["correct"])
    assert distance.shape == (S, 4)
    assert result.sections["margins"].samples == (distance[:, 0] > 0).sum()
    for number, layer in enumerate(result.sections["margins"].layers):
        described = compute_margin_features(distance[:, number])
        assert all(getattr(layer, f) == getattr(described, f) for f in MARGIN_FEATURES)
        assert layer.total_variation == variation[number]
    flat = np.load(asked.data)["images"].reshape(S, -1).astype(np.float64)
    assert variation[0] == pytest.approx(np.sqrt(flat.var(axis=0).sum()), rel=1e-6)
    assert result.versions["onnx-ad"]
    assert result.settings["margins"] is True
    assert "onnx-ad" not in run_audit(replace(asked, margins=False, fresh=True)).versions
    assert not (asked.out / "margins.npz").exists()


def test_margins_are_added_to_a_finished_audit(asked, tmp_path, monkeypatch):
    without = run_audit(replace(asked, margins=False))
    run_audit(replace(asked, out=tmp_path / "at once"))
    assert without.sections.keys() == {"interpolation", "neighbors"}
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("counted again"))
    run_audit(asked)
    assert content(asked) == content(replace(asked, out=tmp_path / "at once"))
    assert not (asked.out / ".unfinished").exists()

    monkeypatch.setattr(Margins, "measure", lambda *_: pytest.fail("measured again"))
    again = run_audit(asked)
    assert run_audit(replace(asked, margins=False)) == again  # what is known is not thrown away
    other = run_audit(replace(asked, margins=False, chance=0.2))
    assert (other.sections, other.chance) == (again.sections, 0.2)


def test_a_gap_model_that_takes_margins_has_them_measured(asked, tmp_path):
    random = np.random.default_rng(5)
    features = random.normal(-2, 1, (2, 12))
    columns = {"margin_0_q1": features[0], "margin_3_q2": features[1]}
    words = {"name": "margins", "data": "none", "architecture": "none"}
    fitted = fit_gap_model(columns, 0.25 - 0.05 * features.sum(axis=0), fit=ridge, **words)
    write_gap_model(fitted, tmp_path / "gap_model.json")
    request = replace(asked, margins=False, gap_model=tmp_path / "gap_model.json")
    result = run_audit(request)
    first, *_, last = result.sections["margins"].layers
    assert result.gap.estimate == pytest.approx(0.25 - 0.05 * (first.q1 + last.q2), abs=0.01)
    assert result.settings["margins"] is True


def test_interrupted_margins_go_on_where_they_were(asked, tmp_path, monkeypatch):
    run_audit(replace(asked, out=tmp_path / "at once"))
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", -1)
    write = surgery.write_margin_graph
    monkeypatch.setattr(
        surgery, "write_margin_graph", lambda *a, **o: write(*a, **{**o, "most": 8})
    )
    run_audit(replace(asked, out=tmp_path / "in pieces"))

    def interrupt(stage, done, total):
        if stage == "margins" and done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_audit(asked, progress=interrupt)
    assert not (asked.out / "audit.json").exists()
    seen = []
    run_audit(asked, progress=lambda *at: seen.append(at))
    assert [done for stage, done, _ in seen if stage == "margins"] == [16, 24, 30]
    assert content(asked) == content(replace(asked, out=tmp_path / "in pieces"))


def test_a_batch_that_does_not_fit_is_halved(asked, monkeypatch):
    run = runtime.Session.run
    sizes = []

    def small(self, feeds, outputs=None):
        size = len(next(iter(feeds.values())))
        if "label" in feeds:
            sizes.append(size)
            if size > 10:
                raise runtime.OutOfMemory("too large")
        return run(self, feeds, outputs)

    monkeypatch.setattr(runtime.Session, "run", small)
    assert run_audit(asked).sections["margins"].samples > 0
    assert sizes == [128, 64, 32, 16, 8, 8, 8, 8]


def test_a_network_without_gradient_is_refused_before_the_sweep(asked, no_counting, monkeypatch):
    def refuse(*arguments, **options):
        raise ModelError("no gradient")

    monkeypatch.setattr(surgery, "write_margin_graph", refuse)
    with pytest.raises(ModelError, match="no gradient"):
        run_audit(asked)
    assert not asked.out.exists()


def test_labels_that_are_never_right_have_no_margins(asked, tmp_path):
    arrays = dict(np.load(asked.data))
    session = ort.InferenceSession(asked.model, providers=["CPUExecutionProvider"])
    said = session.run(None, {"input": arrays["images"]})[0].argmax(axis=1)
    np.savez(asked.data, images=arrays["images"], labels=(said + 1) % 10)
    with pytest.raises(DataError, match="Not one of the samples is classified as its label"):
        run_audit(asked)


def test_verification_tells_numbers_that_do_not_follow(asked):
    run_audit(asked)
    found = {check.name: check for check in verify_audit(asked.out).checks}
    assert found["margins"].passed
    record = json.loads((asked.out / "audit.json").read_bytes())
    record["margins"]["layers"][2]["q2"] += 1e-3
    (asked.out / "audit.json").write_text(json.dumps(record))
    found = {check.name: check for check in verify_audit(asked.out).checks}
    assert not found["margins"].passed
    assert "'q2' at '/features/features.18/Relu_output_0'" in found["margins"].sentence
    record["margins"]["layers"][2]["q2"] -= 1e-3
    record["margins"]["layers"][2]["total_variation"] *= 1.0001
    (asked.out / "audit.json").write_text(json.dumps(record))
    found = {check.name: check for check in verify_audit(asked.out).checks}
    assert "'total_variation' in audit.json is not" in found["margins"].sentence
    with np.load(asked.out / "margins.npz") as kept:
        arrays = {**kept, "distance": kept["distance"][1:]}
    write_arrays(asked.out / "margins.npz", arrays)
    assert "29, 4" in {c.name: c for c in verify_audit(asked.out).checks}["margins"].sentence
