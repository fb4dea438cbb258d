"""A whole audit against the plain way, and what becomes of it when things go wrong."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from plain_way import plain_curves

import analyzer
from analyzer.audit import read_record, run_audit, verify_audit
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.audit_options import AuditRequest
from analyzer.errors import AuditFolderError, DataError, DeviceError, ModelError, OutputError
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.ablation.sample_scores import SampleCounts, read_samples
from analyzer.runtime.sessions import Session
from tools.forged_folders import rewrite_record

FIXTURES = Path(__file__).parents[1] / "fixtures"


def image_shape(model: Path) -> tuple[int, ...]:
    dimensions = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dimensions[1:])


def samples_for(model: Path, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images, and labels of which most are what the network says."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(count, *image_shape(model))).astype(np.float32)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else count
    scores = [session.run(None, {name: images[i : i + size]})[0] for i in range(0, count, size)]
    labels = np.concatenate(scores).argmax(axis=1)
    classes = scores[0].shape[1]
    wrong = random.random(count) < 0.4
    return images, np.where(wrong, random.integers(0, classes, count), labels)


@pytest.fixture
def request_for(tmp_path):
    def make(model: Path, count: int = 24, **options) -> AuditRequest:
        images, labels = samples_for(model, count)
        np.savez(tmp_path / "train.npz", images=images, labels=labels)
        return AuditRequest(
            anyway=True,
            model=model,
            data=str(tmp_path / "train.npz"),
            out=tmp_path / "audit",
            **options,
        )

    return make


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def check_scores(request: AuditRequest, samples: SampleCounts) -> None:
    """What is kept of the scores with nothing removed, against those of the original itself."""
    arrays = np.load(request.data)
    session = ort.InferenceSession(request.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: arrays["images"]})
    everyone, labels = np.arange(len(scores)), arrays["labels"]
    own, log_probability = scores[everyone, labels], log_softmax(scores)[everyone, labels]
    scores[everyone, labels] = -np.inf
    np.testing.assert_array_equal(samples.index, everyone)
    np.testing.assert_allclose(
        samples.scores.log_probability, log_probability, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        samples.scores.margin, own - scores.max(axis=1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(samples.scores.other, scores.argmax(axis=1))


def check_against_the_plain_way(request: AuditRequest) -> None:
    result = read_record(request.out)
    arrays = np.load(request.data)
    plain = plain_curves(
        request.model,
        result.site.tensor,
        result.site.axis,
        arrays["images"],
        arrays["labels"],
        rank=request.rank,
        seed=request.seed,
    )
    curves = {curve.class_index: curve for curve in read_curves(request.out)}
    assert curves.keys() == plain.order.keys()
    differing = 0
    for label, curve in curves.items():
        np.testing.assert_array_equal(curve.order, plain.order[label])
        differing += np.abs(curve.descending - plain.descending[label]).sum()
        differing += np.abs(curve.ascending - plain.ascending[label]).sum()
    assert differing <= plain.close
    samples = read_samples(request.out)
    np.testing.assert_array_equal(samples.label, arrays["labels"])
    if differing == 0:
        np.testing.assert_array_equal(samples.descending, plain.hits_descending)
        np.testing.assert_array_equal(samples.ascending, plain.hits_ascending)
        np.testing.assert_array_equal(samples.correct, plain.correct)
    check_scores(request, samples)
    assert result.accuracy == pytest.approx(plain.correct.mean())
    assert verify_audit(request.out).passed


@pytest.mark.parametrize("exporter", ["dynamo", "older"])
@pytest.mark.parametrize("network", ["vgg16", "vgg16_bn", "resnet34", "mobilenetv2", "densenet121"])
def test_audit_counts_what_the_plain_way_counts(network, exporter, request_for):
    request = request_for(FIXTURES / f"{network}-{exporter}-free.onnx")
    run_audit(request)
    check_against_the_plain_way(request)


def test_a_softmax_at_the_end_is_seen_through(request_for, tmp_path):
    model = FIXTURES / "mobilenetv2-dynamo-free.onnx"
    request = request_for(model)
    run_audit(request)
    proto = onnx.load(model)
    name = proto.graph.output[0].name
    proto.graph.node.append(onnx.helper.make_node("Softmax", [name], ["probabilities"], axis=1))
    proto.graph.output[0].name = "probabilities"
    onnx.save(proto, tmp_path / "softmax.onnx")
    behind = replace(request, model=tmp_path / "softmax.onnx", out=tmp_path / "behind")
    run_audit(behind)
    logits, probabilities = read_samples(request.out).scores, read_samples(behind.out).scores
    np.testing.assert_allclose(
        probabilities.log_probability, logits.log_probability, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(probabilities.other, logits.other)
    assert (np.abs(probabilities.margin) < np.abs(logits.margin)).all()


def test_samples_that_are_left_out_keep_the_others_in_place(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", count=40, limit_per_class=2)
    found = run_audit(request)
    samples = read_samples(request.out)
    assert len(samples.index) < 40
    assert (found.data.samples, found.data.given) == (len(samples.index), 40)
    assert (np.diff(samples.index) > 0).all()
    np.testing.assert_array_equal(samples.label, np.load(request.data)["labels"][samples.index])


def raw_convolutions(model: Path) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(model).graph.node if node.op_type == "Conv"]


def test_audit_with_residuals_around_the_site(request_for):
    """The raw output of a convolution inside a block: the shortcut goes around the cut."""
    model = FIXTURES / "resnet34-dynamo-free.onnx"
    request = request_for(model, site=raw_convolutions(model)[-2].name, at="conv")
    result = run_audit(request)
    assert result.site.kind == "convolution"
    check_against_the_plain_way(request)


@pytest.mark.parametrize("rank", ["selectivity", "random"])
@pytest.mark.parametrize("network", ["vgg16", "resnet34", "densenet121"])
def test_other_rankings_count_what_the_plain_way_counts(network, rank, request_for):
    request = request_for(FIXTURES / f"{network}-dynamo-free.onnx", rank=rank, seed=3)
    assert run_audit(request).settings["rank"] == rank
    check_against_the_plain_way(request)


def test_selectivity_at_a_site_with_negative_values(request_for):
    model = FIXTURES / "resnet34-dynamo-free.onnx"
    site = raw_convolutions(model)[-2].name
    request = request_for(model, rank="selectivity", site=site, at="conv")
    run_audit(request)
    check_against_the_plain_way(request)


def test_selectivity_needs_two_classes_with_samples(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", rank="selectivity")
    arrays = dict(np.load(request.data))
    np.savez(request.data, images=arrays["images"], labels=np.full(len(arrays["labels"]), 4))
    with pytest.raises(DataError, match=r"only one class has samples.*rank=l1"):
        run_audit(request)
    assert not request.out.exists()


def test_a_ranking_that_there_is_not(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", rank="taste")
    with pytest.raises(DataError, match="'taste'; choose one of l1, selectivity, random"):
        run_audit(request)
    assert not request.out.exists()


def test_what_units_are_ranked_by_is_part_of_what_is_counted(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    keys = {run_audit(request).key}
    for other in (
        replace(request, rank="selectivity"),
        replace(request, rank="random"),
        replace(request, rank="random", seed=1),
    ):
        with pytest.raises(AuditFolderError, match=r"differs in (rank|seed); "):
            run_audit(other)
        keys.add(run_audit(replace(other, fresh=True)).key)
        request = other
    assert len(keys) == 4


def test_audit_of_a_network_fixed_to_one_image(request_for):
    request = request_for(FIXTURES / "vgg16-older-fixed.onnx", count=5)
    free = replace(request, model=FIXTURES / "vgg16-older-free.onnx")
    run_audit(request)
    fixed_curves = read_curves(request.out)
    run_audit(replace(free, fresh=True))
    for fixed, found in zip(fixed_curves, read_curves(request.out), strict=True):
        np.testing.assert_array_equal(fixed.descending, found.descending)
        np.testing.assert_array_equal(fixed.ascending, found.ascending)


@pytest.mark.parametrize("rank", ["l1", "selectivity", "random"])
def test_little_memory_changes_nothing(rank, request_for, tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 4)
    request = request_for(FIXTURES / "resnet34-dynamo-free.onnx", count=60, rank=rank)
    run_audit(request)
    run_audit(replace(request, out=tmp_path / "small", memory=1))
    for one, other in zip(read_curves(request.out), read_curves(tmp_path / "small"), strict=True):
        np.testing.assert_array_equal(one.order, other.order)
        np.testing.assert_array_equal(one.descending, other.descending)
        np.testing.assert_array_equal(one.ascending, other.ascending)


def test_large_tensors_are_made_of_fewer_images_at_once(request_for, tmp_path, monkeypatch):
    request = request_for(FIXTURES / "resnet34-dynamo-free.onnx", count=20)
    run_audit(request)
    monkeypatch.setattr("analyzer.runtime.batch_size._TENSOR_BYTES", 1)
    sizes = set()
    run = Session.run

    def run_and_look(self, feeds, outputs=None):
        sizes.update(len(value) for value in feeds.values() if value.ndim == 4)
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", run_and_look)
    run_audit(replace(request, out=tmp_path / "single"))
    assert sizes == {1}
    for file in ("curves.npz", "samples.npz", "interpolation.npz", "neighbors.npz"):
        one, other = (read_arrays(out / file) for out in (request.out, tmp_path / "single"))
        for name, values in one.items():
            np.testing.assert_allclose(values, other[name], rtol=1e-5, atol=1e-6, err_msg=name)


class Stopped(BaseException):
    """Stands for Ctrl-C."""


def rewritten(data: str, *, change: bool) -> None:
    """The same file at an earlier time, or other samples with the same labels at that time."""
    arrays = dict(np.load(data))
    if change:
        arrays["images"] += 1
    np.savez(data, **arrays)
    os.utime(data, (1, 1))


def test_data_with_other_times_are_known_by_their_bytes(request_for, monkeypatch):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    before = run_audit(request)
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("counted again"))
    rewritten(request.data, change=False)
    after = run_audit(request)
    assert (after.key, after.data.sha256) == (before.key, before.data.sha256)
    assert verify_audit(request.out).passed
    read = []
    assert run_audit(request, progress=lambda stage, *_: read.append(stage)) == after
    assert not read  # nothing is read where times agree
    rewritten(request.data, change=True)
    with pytest.raises(AuditFolderError, match="differs in the training data or their labels"):
        run_audit(request)


@pytest.mark.parametrize("change", [False, True])
def test_an_interrupted_audit_holds_data_with_other_times_against_what_it_read(
    change, request_for, monkeypatch
):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    monkeypatch.setattr("analyzer.measures.ablation.sweep._CHUNK_CELLS", 1)
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 4)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", count=40)
    calls = []

    def stop(told: str, done: int, total: int) -> None:
        calls.extend([told] if told == "sweep" else [])
        if len(calls) > 3:
            raise Stopped

    with pytest.raises(Stopped):
        run_audit(request, progress=stop)
    rewritten(request.data, change=change)
    told = []
    if change:
        with pytest.raises(DataError, match="an interrupted run of this audit read it"):
            run_audit(request, progress=lambda stage, *_: told.append(stage))
        assert "sweep" not in told
    else:
        run_audit(request, say=told.append)
        assert any("Resuming after" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("rank", "stage", "after"),
    [
        ("l1", "network", 1),
        ("l1", "sweep", 3),
        ("selectivity", "network", 3),
        ("selectivity", "sweep", 1),
        ("random", "network", 1),
        ("random", "sweep", 1),
    ],
)
def test_an_interrupted_audit_goes_on_to_the_same_bits(
    rank, stage, after, request_for, tmp_path, monkeypatch
):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    monkeypatch.setattr("analyzer.measures.ablation.sweep._CHUNK_CELLS", 1)
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 4)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", count=40, rank=rank)
    whole = replace(request, out=tmp_path / "whole")
    run_audit(whole)

    calls = 0

    def stop(told: str, done: int, total: int) -> None:
        nonlocal calls
        calls += told == stage
        if calls > after:
            raise Stopped

    with pytest.raises(Stopped):
        run_audit(request, progress=stop)
    assert not (request.out / "audit.json").exists()
    said = []
    run_audit(request, say=said.append)
    if stage == "sweep":
        assert any("Resuming after" in sentence for sentence in said)
    assert (request.out / "curves.npz").read_bytes() == (whole.out / "curves.npz").read_bytes()
    assert (request.out / "samples.npz").read_bytes() == (whole.out / "samples.npz").read_bytes()
    one, other = read_record(request.out), read_record(whole.out)
    assert (one.zeta, one.kappa, one.data, one.rows) == (
        other.zeta, other.kappa, other.data, other.rows,
    )  # fmt: skip
    assert sorted(path.name for path in request.out.iterdir()) == [
        "audit.json", "classes.csv", "curves.npz", "interpolation.npz", "manifest.json",
        "neighbors.npz", "report.html", "samples.npz", "suspects.csv",
    ]  # fmt: skip


def test_a_refused_audit_leaves_only_what_the_next_one_resumes_from(request_for, monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    unfinished = request.out / ".unfinished"

    def no_room(*_):
        raise OutputError("There is no room.")

    monkeypatch.setattr("analyzer.audit.run._write", no_room)
    for _ in range(2):
        with pytest.raises(OutputError):
            run_audit(request)
        kept = {path.name for path in unfinished.iterdir()}
        assert kept
        assert all(name.endswith(".npz") for name in kept)
        (unfinished / "scratch-0").mkdir()  # a killed run's
        (unfinished / "scratch-0" / "prefix.onnx").touch()


def killed_fresh(request: AuditRequest, at: str, monkeypatch) -> None:
    """Stop a run with ``fresh`` before it writes ``at``, with no chance to tidy up."""
    replaced = os.replace

    def stop(source, target):
        if Path(target) == request.out / at:
            patched.setattr(UnfinishedAudit, "drop", lambda self: None)
            patched.setattr(UnfinishedAudit, "tidy", lambda self: None)
            raise Stopped
        replaced(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(Stopped):
            run_audit(replace(request, fresh=True))


# Killed as a measure is kept, or as the result is moved into its place.
@pytest.mark.parametrize("at", [".unfinished/interpolation.npz", "manifest.json"])
def test_fresh_starts_again_where_what_it_would_resume_no_longer_fits(at, request_for, monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", interpolation_samples=3)
    killed_fresh(request, at, monkeypatch)
    rewritten(request.data, change=True)
    run_audit(replace(request, fresh=True))
    assert verify_audit(request.out).passed
    before = read_record(request.out)
    run_audit(request)
    assert read_record(request.out) == before
    assert not (request.out / ".unfinished").exists()


@pytest.mark.parametrize(
    ("at", "damaged"),
    [
        (".unfinished/interpolation.npz", "ablation.npz"),
        ("audit.json", "result/manifest.json"),
    ],
)
def test_fresh_starts_again_where_what_it_would_resume_is_damaged(
    at, damaged, request_for, monkeypatch
):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    killed_fresh(request, at, monkeypatch)
    (request.out / ".unfinished" / damaged).write_bytes(b"{}")
    run_audit(replace(request, fresh=True))
    assert verify_audit(request.out).passed


def test_an_unfinished_audit_of_something_else_is_not_gone_on_from(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    run_audit(request)
    other = replace(request, limit_per_class=1)
    with pytest.raises(AuditFolderError, match="differs in limit_per_class; pass fresh=True"):
        run_audit(other)
    with pytest.raises(AuditFolderError, match="differs in tolerance, rank; pass fresh=True"):
        run_audit(replace(request, rank="random", tolerance=0.1))
    images, labels = samples_for(request.model, 12, seed=1)
    np.savez(request.out.parent / "others.npz", images=images, labels=labels)
    with pytest.raises(
        AuditFolderError, match="differs in the training data or their labels; pass fresh=True"
    ):
        run_audit(replace(request, data=str(request.out.parent / "others.npz")))
    older = read_record(request.out)
    older = replace(older, key="", versions={**older.versions, "onnx": "1.0", "gone": "2.0"})
    rewrite_record(request.out, older)
    with pytest.raises(AuditFolderError, match="in the version of onnx, the version of gone; "):
        run_audit(request)
    run_audit(replace(other, fresh=True))
    assert max(item.samples for item in read_record(request.out).classes) == 1


def test_a_finished_audit_is_not_counted_again(request_for, monkeypatch):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    before = run_audit(request)
    monkeypatch.setattr(Ablation, "measure", lambda *_: pytest.fail("counted again"))
    after = run_audit(replace(request, chance=0.5))
    assert after.key == before.key
    assert after.chance == 0.5
    assert verify_audit(request.out).passed


def test_a_label_outside_the_network_leaves_nothing_behind(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    arrays = dict(np.load(request.data))
    arrays["labels"][0] = 1000
    np.savez(request.data, **arrays)
    with pytest.raises(DataError, match="1000"):
        run_audit(request)
    assert not request.out.exists()


def test_cuda_without_cuda_is_an_error_and_not_a_slow_run(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", device="cuda:7")
    with pytest.raises(DeviceError, match="device=cpu"):
        run_audit(request)
    assert not request.out.exists()


def test_a_network_at_chance_is_called_one(request_for):
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx", count=40)
    arrays = dict(np.load(request.data))
    arrays["labels"] = (arrays["labels"] + 1) % len(np.unique(arrays["labels"]))
    np.savez(request.data, **arrays)
    result = run_audit(request)
    assert any("no better than chance" in sentence for sentence in result.warnings)


def test_a_wrong_surgery_is_found_before_the_sweep(request_for, monkeypatch):
    from analyzer import surgery

    real = surgery.cut_network

    def wrong(network, site, folder, *, output=None):
        """A suffix that takes the mask for its opposite."""
        cut = real(network, site, folder, output=output)
        proto = onnx.load(cut.suffix)
        for node in proto.graph.node:
            if node.op_type == "Where":
                node.input[1], node.input[2] = node.input[2], node.input[1]
        onnx.save(proto, cut.suffix)
        return cut

    monkeypatch.setattr(surgery, "cut_network", wrong)
    request = request_for(FIXTURES / "vgg16-dynamo-free.onnx")
    with pytest.raises(ModelError, match="does not repeat the original"):
        run_audit(request)
    assert not request.out.exists()


def test_audit_json_is_what_was_returned(request_for):
    request = request_for(FIXTURES / "mobilenetv2-dynamo-free.onnx")
    before = threading.active_count()
    result = run_audit(request)
    written = json.loads((request.out / "audit.json").read_text())
    assert written["zeta"] == result.zeta
    assert written["rows"]["run"] <= written["rows"]["possible"]
    assert written["device"] == {"requested": "auto", "used": "cpu", "precision": "float32"}
    assert threading.active_count() <= before


@pytest.mark.parametrize("at", ["first look", "sweep"])
def test_a_network_that_is_replaced_meanwhile_gives_no_result_and_no_counts(
    request_for, tmp_path, at
):
    """What was done until then ran on one network, what follows would on the other."""
    model = tmp_path / "network.onnx"
    original = (FIXTURES / "vgg16-dynamo-free.onnx").read_bytes()
    model.write_bytes(original)
    request = request_for(model, count=12)
    other = onnx.load(model)
    weights = next(one for one in other.graph.initializer if len(one.dims) == 2)
    weights.raw_data = (-np.frombuffer(weights.raw_data, np.float32)).tobytes()

    def replacing(stage, done, total):
        if stage == at and done == total:
            onnx.save(other, tmp_path / "other")
            (tmp_path / "other").replace(model)

    with pytest.raises(ModelError, match="was changed while it was read or run"):
        run_audit(replace(request, anyway=at != "first look"), progress=replacing)
    assert not (request.out / "manifest.json").exists()
    model.write_bytes(original)
    run_audit(request)
    assert analyzer.verify_audit(request.out, data=request.data, cells=1).passed


def test_an_extra_input_of_another_value_is_told_from_other_data(tmp_path):
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 17]>
        g (float[N,3,8,8] x, float factor) => (float[N,4] y) <float[4,3,3,3] w> {
            c = Conv<pads = [1, 1, 1, 1]>(x, w)  s = Mul(c, factor)  r = Relu(s)
            p = GlobalAveragePool(r)  y = Flatten(p)
        }"""
    )
    random = np.random.default_rng(0)
    weights = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "two.onnx")
    images = random.normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(20) % 4)
    value = tmp_path / "factor.npy"
    np.save(value, np.float32(2))
    request = AuditRequest(
        anyway=True,
        model=tmp_path / "two.onnx",
        data=str(tmp_path / "train.npz"),
        out=tmp_path / "audit",
        inputs=(("factor", str(value)),),
    )
    run_audit(request)
    np.save(value, np.float32(3))
    with pytest.raises(AuditFolderError, match="differs in inputs; pass fresh=True"):
        run_audit(request)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(1, 21) % 4)
    with pytest.raises(AuditFolderError, match="differs in the training data or their labels; "):
        run_audit(request)
