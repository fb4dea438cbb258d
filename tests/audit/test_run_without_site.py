"""Networks without a site: what an audit still says of them, and what it refuses."""

import re
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from analyzer.api import audit_network
from analyzer.audit import compare_audits, run_audit, verify_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import AuditFolderError, SiteError
from analyzer.files import read_arrays, read_json
from analyzer.measures.registry import feature_values
from analyzer.output_files import write_json
from model_zoo.bundled import find
from tools.forged_folders import seal

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[N,1,6,6] x) => (float[N,4] y)
{
    f = Flatten(x)
    h = Gemm<transB=1>(f, v)
    r = Relu(h)
    y = Gemm<transB=1>(r, w)
}
"""


@pytest.fixture(scope="module")
def request_of(tmp_path_factory):
    """The audit of a perceptron on 60 images, a tenth of them under another label."""
    folder = tmp_path_factory.mktemp("perceptron")
    model = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, shape in (("v", (12, 36)), ("w", (4, 12))):
        weights = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    onnx.save(model, folder / "network.onnx")
    images = random.normal(size=(60, 1, 6, 6)).astype(np.float32)
    session = ort.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    scores = session.run(None, {"x": images})[0]
    labels = scores.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 4
    np.savez(folder / "train.npz", images=images, labels=labels)
    request = AuditRequest(
        anyway=True, model=folder / "network.onnx", data=str(folder / "train.npz"),
        out=folder / "audit", device="cpu", threads=1,
        gap_model=find("any").gap_model, gap_model_name="zoo:any", gap_model_named=False,
    )  # fmt: skip
    return request, run_audit(request), scores, labels


def test_all_but_the_units_is_said(request_of):
    request, record, scores, labels = request_of
    assert (record.site, record.zeta, record.kappa, record.features) == (None, None, None, {})
    assert record.accuracy == 0.9
    assert record.sections.keys() == {"interpolation", "neighbors"}
    assert "no convolution" in record.unmeasured["ablation"]
    assert any("no convolution" in sentence for sentence in record.warnings)
    assert {"zeta", "kappa"}.isdisjoint(feature_values(record))
    for entry in record.classes:
        own = labels == entry.index
        assert entry.samples == own.sum()
        assert entry.accuracy == (scores.argmax(axis=1) == labels)[own].mean()
        assert (entry.n0, entry.zeta) == (None, None)
    samples = read_arrays(request.out / "samples.npz")
    np.testing.assert_array_equal(samples["ascending"], scores.argmax(axis=1) == labels)
    logits = scores.astype(np.float64)
    normalized = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        samples["log_probability"], normalized[np.arange(60), labels], rtol=1e-4, atol=1e-9
    )
    assert not (request.out / "curves.npz").exists()
    html = (request.out / "report.html").read_text()
    assert "no ζ and no κ" in html
    assert "What happens on the way" in html


def test_the_estimate_is_outside_what_the_gap_model_has_seen(request_of):
    gap = request_of[1].gap
    assert gap is not None
    assert not gap.inside_range
    assert any("no activation behind a convolution" in sentence for sentence in gap.warnings)


def test_its_classes_have_estimated_gaps_and_the_report_shows_the_worst_first(request_of):
    request, record, *_ = request_of
    assert all(one.gap_low <= one.gap <= one.gap_high for one in record.classes)
    html = (request.out / "report.html").read_text()
    shown = re.findall(r"<tr><td>(\d)</td>", html[html.index('<h2 id="table">') :])
    assert [int(index) for index in shown[:4]] == [one.index for one in record.worst_first]


def test_it_is_returned_as_it_is_and_verified(request_of, tmp_path):
    request, record, *_ = request_of
    assert run_audit(request) == record
    assert verify_audit(request.out, model=request.model).passed
    path = request.out / "audit.json"
    said = read_json(path)
    try:
        for field, value in (("accuracy", 0.8), ("zeta", 0.5)):
            write_json(path, {**said, field: value})
            seal(request.out)
            failed = [one.name for one in verify_audit(request.out).checks if not one.passed]
            assert "classes" in failed, field
    finally:
        write_json(path, said)
        seal(request.out)


def test_what_needs_units_is_refused_in_a_sentence(request_of, tmp_path):
    request, *_ = request_of
    with pytest.raises(AuditFolderError, match="no site, so there is no ζ"):
        compare_audits(request.out, request.out)
    digits = replace(
        request, out=tmp_path / "a", gap_model=find("digits").gap_model, gap_model_named=True
    )
    with pytest.raises(SiteError, match="The gap model needs features of a site"):
        run_audit(digits)
    with pytest.raises(SiteError, match="no default site"):
        run_audit(replace(request, out=tmp_path / "b", needs_site=True))
    with pytest.raises(SiteError, match="nothing"):
        run_audit(replace(request, out=tmp_path / "c", site="nothing"))
    assert not any(tmp_path.iterdir())


def test_a_named_site_is_masked(request_of, tmp_path):
    request, *_ = request_of
    found = run_audit(replace(request, out=tmp_path / "audit", site="r"))
    assert (found.site.tensor, found.site.channels) == ("r", 12)


@pytest.mark.filterwarnings("ignore::analyzer.AuditWarning")
def test_the_library_shows_it(request_of):
    request, *_ = request_of
    found = audit_network(request.model, request.data, request.out, device="cpu", anyway=True)
    assert found.zeta is None
    assert "ζ" not in repr(found)
    assert "<svg" not in found._repr_html_()
