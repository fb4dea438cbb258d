"""An audit in float16 beside the one in float32, and what says in which of them it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import analyzer
from analyzer import surgery
from analyzer.audit import (
    Member,
    audit_population,
    compare_audits,
    run_audit,
    verify_audit,
)
from analyzer.audit.provenance import provenance_of
from analyzer.audit_options import AuditRequest
from analyzer.errors import AnalyzerError, AuditFolderError, DataError, DeviceError, ModelError
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.prefix_and_suffix import open_network
from tools.forged_folders import seal

FIXTURES = Path(__file__).parents[1] / "fixtures"
VGG16 = FIXTURES / "vgg16-dynamo-free.onnx"
NEAR = 0.05  # of the scores' scale: what float16 may decide otherwise


@pytest.fixture
def request_for(tmp_path):
    """Audits of images that are mostly labeled as the network names them."""

    def make(model: Path, count: int = 60, **options) -> AuditRequest:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        random = np.random.default_rng(0)
        images = random.normal(size=(count, *given.shape[1:])).astype(np.float32)
        scores = session.run(None, {given.name: images})[0].reshape(count, -1)
        labels = np.where(random.random(count) < 0.8, scores.argmax(axis=1), 1)
        np.savez(tmp_path / "train.npz", images=images, labels=labels)
        return AuditRequest(
            anyway=True,
            model=model,
            data=str(tmp_path / "train.npz"),
            out=tmp_path / "audit",
            **options,
        )

    return make


def near_ties(request: AuditRequest, folder: Path) -> np.ndarray:
    """Rows whose best scores are nearer than NEAR of their scale, by sample (S,), both orders."""
    folder.mkdir()
    loaded = surgery.load_network(request.model)
    cut = surgery.cut_network(loaded, surgery.default_site(loaded), folder)
    network = open_network(cut, loaded.info.inputs[0].name, "cpu")
    arrays = np.load(request.data)
    order = {curve.class_index: curve.order for curve in read_curves(request.out)}
    units = cut.site.channels
    found = network.features(arrays["images"])
    near = np.zeros(len(arrays["labels"]), dtype=int)
    for ascending in (False, True):
        mask = np.ones((len(near), units), np.float32)
        for n in range(units + 1):
            if n:
                gone = [order[j][-n] if ascending else order[j][n - 1] for j in arrays["labels"]]
                mask[np.arange(len(near)), gone] = 0
            top = np.sort(scores := network.scores(found, mask), axis=1)
            near += top[:, -1] - top[:, -2] <= NEAR * np.abs(scores).max(axis=1)
    return near


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn", "resnet34", "mobilenetv3"])
def test_float16_differs_from_float32_at_near_ties_alone(name, request_for, tmp_path):
    request = request_for(FIXTURES / f"{name}-dynamo-free.onnx")
    exact = run_audit(request)
    half = replace(request, out=tmp_path / "half", precision="fp16")
    found = run_audit(half)
    assert found.rows.possible == exact.rows.possible
    assert verify_audit(half.out).passed
    near = near_ties(request, tmp_path / "again")
    same_order = {
        one.class_index
        for one, other in zip(read_curves(request.out), read_curves(half.out), strict=True)
        if np.array_equal(one.order, other.order)
    }
    samples, halves = (np.load(place / "samples.npz") for place in (request.out, half.out))
    mine = np.isin(samples["label"], list(same_order))
    assert mine.mean() > 0.5
    differing = sum(
        np.abs(samples[order].astype(int) - halves[order])[mine]
        for order in ("descending", "ascending")
    )
    assert (differing <= near[mine]).all()


def test_the_precision_is_named_wherever_a_result_is_read(request_for, tmp_path):
    request = request_for(VGG16)
    exact = run_audit(request)
    half = replace(request, out=tmp_path / "half", precision="fp16")
    found = run_audit(half)
    assert (exact.device.precision, exact.settings["precision"]) == ("float32", "float32")
    assert (found.device.precision, found.settings["precision"]) == ("fp16", "fp16")
    (said,) = [w for w in found.warnings if "Counted in fp16" in w]
    assert "of their scale" in said
    assert not any("Counted in" in w for w in exact.warnings)
    assert ("precision", "fp16") in dict(provenance_of(found))["Run"]
    assert said in (half.out / "report.html").read_text(encoding="utf-8")
    warnings = compare_audits(request.out, half.out).warnings
    assert any("first audit was counted in float32, the second in fp16" in w for w in warnings)
    assert not any("counted in" in w for w in compare_audits(half.out, half.out).warnings)


def test_precisions_are_never_mixed(request_for):
    request = request_for(VGG16)
    before = run_audit(request)
    half = replace(request, precision="fp16")
    with pytest.raises(AuditFolderError, match="fresh=True"):
        run_audit(half)
    found = run_audit(replace(half, fresh=True))
    assert found.key != before.key
    assert run_audit(half) == found
    with pytest.raises(AuditFolderError, match="fresh=True"):
        run_audit(request)


def test_an_interrupted_audit_is_not_gone_on_with_in_another_precision(request_for, monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    monkeypatch.setattr("analyzer.measures.ablation.sweep._CHUNK_CELLS", 1)
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 8)
    request = request_for(VGG16)

    class Stopped(BaseException):
        """Stands for Ctrl-C."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "sweep" and done > total // 3:
            raise Stopped

    with pytest.raises(Stopped):
        run_audit(request, progress=stop)
    half = replace(request, precision="fp16")
    with pytest.raises(AuditFolderError, match="fresh=True"):
        run_audit(half)
    assert run_audit(request).device.precision == "float32"


def test_an_estimate_in_float16(request_for):
    found = run_audit(request_for(VGG16, tolerance=0.2, precision="fp16"))
    assert found.rows.run < found.rows.possible
    assert found.device.precision == "fp16"


def test_a_network_with_several_inputs_is_converted_with_them(tmp_path):
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3,8,8] x, float[1] factor, int64 unread) => (float[N,4] y)
        <float[6,3,3,3] w, float[6,4] v> {
            c = Conv<pads = [1, 1, 1, 1]>(x, w)  s = Mul(c, factor)  r = Relu(s)
            a = Max(r, r)  b = Max(a, r)
            p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, v)
        }"""
    )
    random = np.random.default_rng(0)
    for name, shape in (("w", (6, 3, 3, 3)), ("v", (6, 4))):
        weights = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    onnx.save(model, tmp_path / "two.onnx")
    images = random.normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(20) % 4)
    request = AuditRequest(
        anyway=True,
        model=tmp_path / "two.onnx", data=str(tmp_path / "train.npz"), out=tmp_path / "audit",
        inputs=(("factor", "2.0"),), precision="fp16",
    )  # fmt: skip
    found = run_audit(request)
    exact = run_audit(replace(request, out=tmp_path / "exact", precision="float32"))
    assert found.accuracy == exact.accuracy


def test_what_float16_cannot_hold_is_refused(request_for, tmp_path):
    """Its numbers end at 65504."""
    request = request_for(VGG16, precision="fp16")
    arrays = np.load(request.data)
    np.savez(request.data, images=arrays["images"] * 1e6, labels=arrays["labels"])
    with pytest.raises(ModelError, match="precision=float32"):
        run_audit(request)
    assert not request.out.exists()
    assert run_audit(replace(request, precision="float32")).device.precision == "float32"


def test_a_later_image_that_float16_cannot_hold(request_for):
    request = request_for(VGG16, precision="fp16")
    arrays = dict(np.load(request.data))
    arrays["images"][7] *= 1e6  # not among those that are looked at first
    np.savez(request.data, **arrays)
    with pytest.raises(ModelError, match="precision=float32"):
        run_audit(request)


def test_a_network_without_float32_is_refused(request_for, tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "net (double[N,6] x) => (double[N,5] y) <double[6,4] w, double[4,5] v>"
        "{ h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"
    )
    random = np.random.default_rng(0)
    for name, shape in (("w", (6, 4)), ("v", (4, 5))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape), name))
    onnx.save(model, tmp_path / "double.onnx")
    np.savez(tmp_path / "train.npz", images=random.normal(size=(9, 6)), labels=np.arange(9) % 5)
    request = AuditRequest(
        anyway=True,
        model=tmp_path / "double.onnx", data=str(tmp_path / "train.npz"), out=tmp_path / "audit",
        site="r", precision="fp16",
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"no weights in float32.*precision=float32"):
        run_audit(request)
    assert run_audit(replace(request, precision="float32")).settings["precision"] == "float32"


def test_a_network_in_float16_stays_one(request_for, tmp_path):
    model = onnx.load(VGG16)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "half.onnx")
    request = request_for(VGG16)
    arrays = np.load(request.data)
    np.savez(request.data, images=arrays["images"].astype(np.float16), labels=arrays["labels"])
    request = replace(request, model=tmp_path / "half.onnx")
    own = run_audit(request)
    asked = run_audit(replace(request, out=tmp_path / "asked", precision="fp16"))
    assert (asked.zeta, asked.kappa) == (own.zeta, own.kappa)


def test_tf32_is_for_gpus(request_for):
    request = request_for(VGG16, device="cpu", precision="tf32")
    with pytest.raises(DeviceError, match="precision=tf32 is for NVIDIA GPUs"):
        run_audit(request)
    assert not request.out.exists()


def test_a_precision_that_is_none_is_refused(request_for):
    with pytest.raises(
        DataError, match="precision cannot be 'int8'; choose one of float32, tf32, fp16"
    ):
        run_audit(request_for(VGG16, precision="int8"))


def test_verify_finds_a_precision_that_cannot_be(request_for):
    request = request_for(VGG16)
    run_audit(request)
    path = request.out / "audit.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for said, sentence in (("fp16", "float32 was asked for"), ("tf32", "No processor has TF32")):
        written["device"]["precision"] = said
        path.write_text(json.dumps(written), encoding="utf-8")
        seal(request.out)
        (failed,) = [check for check in verify_audit(request.out).checks if not check.passed]
        assert failed.name == "precision"
        written["settings"]["precision"] = "tf32"
        assert sentence in failed.sentence
    written["device"]["precision"] = "float32"
    del written["settings"]["precision"]
    path.write_text(json.dumps(written), encoding="utf-8")
    seal(request.out)
    (failed,) = [check for check in verify_audit(request.out).checks if not check.passed]
    assert failed.sentence.startswith("The settings do not say which precision was asked for.")


def test_test_accuracy_is_measured_in_the_precision_of_the_audit(request_for, tmp_path):
    request = request_for(VGG16, precision="fp16")
    member = Member(
        name="one", model=VGG16, train_data=request.data, keys=None, test_data=request.data,
        test_keys=None, train_accuracy=None, test_accuracy=None, gap=None,
        cells={"name": "one", "model": "", "train_data": ""},
    )  # fmt: skip
    table = audit_population([member], request, tmp_path / "population").table
    assert table.gap[0] == 0  # training and test data are the same


def test_a_network_that_float16_makes_another_is_refused(tmp_path):
    """Its weights are told apart by less than float16 can."""
    values = np.full((1, 3), 30_000, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Add", ["f", "larger"], ["s"]),
            helper.make_node("Sub", ["s", "large"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w"),
            numpy_helper.from_array(values + np.float32([0, 1, 2]), "larger"),
            numpy_helper.from_array(values, "large"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "far.onnx")
    images = np.random.default_rng(0).normal(size=(12, 3, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(12) % 3)
    request = AuditRequest(
        anyway=True,
        model=tmp_path / "far.onnx",
        data=str(tmp_path / "train.npz"),
        out=tmp_path / "audit",
    )
    run_audit(request)
    with pytest.raises(AnalyzerError, match="In fp16 a score moves by"):
        run_audit(replace(request, out=tmp_path / "half", precision="fp16"))


def test_a_site_that_is_an_output_too_is_masked_in_float16(request_for, tmp_path):
    model = onnx.load(VGG16)
    network = surgery.load_network(VGG16)
    site = surgery.default_site(network)
    shape = ["N", site.channels, *site.shape[2:]]
    model.graph.output.append(helper.make_tensor_value_info(site.tensor, TensorProto.FLOAT, shape))
    path = tmp_path / "with_features.onnx"
    onnx.save(model, path)
    scores = model.graph.output[0].name
    alone = run_audit(request_for(VGG16, count=20, precision="fp16"))
    both = request_for(path, count=20, precision="fp16", output=scores)
    found = run_audit(replace(both, out=tmp_path / "both"))
    assert (found.zeta, found.kappa) == (alone.zeta, alone.kappa)
    assert any("several outputs" in warning for warning in found.warnings)
    assert analyzer.verify_audit(tmp_path / "both", data=both.data, cells="all").passed
