"""What `verify` finds, with the data at hand, of forged orders, counts and scores."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from verified_with_data import CHANNELS, CLASSES, PER_CLASS, audited, failed

from analyzer import verify_audit
from analyzer.audit.folder import read_record
from analyzer.audit.verify_against_data import Drawn
from analyzer.errors import ModelError
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.sample_scores import read_samples
from tools.forged_folders import rewrite_counts, rewrite_record

FIXTURES = Path(__file__).parents[2] / "fixtures"


def forge(folder, curves=None, samples=None):
    """Write other counts, and all that follows from them."""
    curves = read_curves(folder) if curves is None else curves
    rewrite_counts(folder, curves, read_samples(folder) if samples is None else samples)
    assert verify_audit(folder).passed  # without the data, nothing is to be seen


OVERFLOWING = """
<ir_version: 8, opset_import: ["" : 17]>
logsigmoid (float[N,1,8,8] x) => (BODY
  <float[6,1,3,3] w, float[6,4] v>
{
  conv = Conv <pads = [1,1,1,1]> (x, w)
  on = Sigmoid(conv)
  log = Log(on)
  pool = GlobalAveragePool(log)
  flat = Flatten(pool)
  y = Gemm(flat, v)
  TAIL
}
"""


@pytest.fixture
def overflowing(tmp_path):
    """Make a network whose scores are not numbers with some units removed: log(0) is infinite."""

    def make(output="float[N,4] y)", tail=""):
        model = onnx.parser.parse_model(
            OVERFLOWING.replace("(BODY", f"({output}").replace("TAIL", tail)
        )
        random = np.random.default_rng(3)
        for name, shape in (("w", (6, 1, 3, 3)), ("v", (6, 4))):
            weights = random.normal(size=shape).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weights, name))
        onnx.save(model, tmp_path / "overflowing.onnx")
        images = random.normal(size=(12, 1, 8, 8)).astype(np.float32)
        session = ort.InferenceSession(
            tmp_path / "overflowing.onnx", providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {"x": images})
        labels = found.argmax(axis=1) if found.ndim > 1 else found
        return tmp_path / "overflowing.onnx", (images, labels)

    return make


@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_scores_that_are_not_numbers_under_a_mask_name_no_class(overflowing, tmp_path, tolerance):
    model, data = overflowing()
    folder = audited(tmp_path / "audit", data, model, tolerance=tolerance)
    assert failed(folder, data, cells="all") == {}
    for curve in read_curves(folder):
        assert not curve.descending[3:].any()  # 0 × inf, or inf − inf, in one score at least
        assert not curve.ascending[3:].any()
    (warning,) = [one for one in read_record(folder).warnings if "not numbers" in one]
    assert re.match(
        r"With \d units? removed, scores of images of class \d are not numbers", warning
    )


def test_classes_that_a_network_makes_of_what_are_no_numbers_are_refused(overflowing, tmp_path):
    model, data = overflowing("int64[N] k)", "k = ArgMax <axis = 1, keepdims = 0> (y)")
    with pytest.raises(ModelError, match=r"are not numbers.* choose another site"):
        audited(tmp_path / "audit", data, model)


def test_an_honest_audit_passes_and_every_cell_is_what_the_plain_way_gives(folder, data):
    found = verify_audit(folder, data=data, cells="all")
    assert [check for check in found.checks if not check.passed] == []
    assert found.drawn.cells == found.drawn.all_cells == 2 * CLASSES * (CHANNELS + 1)
    assert found.drawn.samples == found.drawn.all_samples == CLASSES * PER_CLASS
    assert found.drawn.passes == {"one cell": 0.0, "1%": 0.0, "10%": 0.0}
    value = found.to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_how_much_was_drawn_is_told_with_the_chance_that_a_forgery_passes(folder, data):
    drawn = verify_audit(folder, data=data, cells=8, seed=3).drawn
    assert (drawn.seed, drawn.cells, drawn.all_cells, drawn.samples) == (3, 8, 42, 5)
    assert drawn.passes["one cell"] == pytest.approx(1 - 8 / 42)
    assert drawn.passes["10%"] == pytest.approx(0.9**8)
    assert "8 of 42 cells" in drawn.sentence
    again = verify_audit(folder, data=data, cells=8).drawn
    assert again.seed != verify_audit(folder, data=data, cells=8).drawn.seed


def test_the_chance_is_what_drawing_shows():
    forged, cells, drawn = 98, 980, 12
    random = np.random.default_rng(0)
    met = [(random.choice(cells, drawn, replace=False) < forged).any() for _ in range(4000)]
    told = Drawn(0, drawn, cells, 1, 1).passes["10%"]
    assert 1 - np.mean(met) <= told + 0.02
    assert 1 - np.mean(met) == pytest.approx(told, abs=0.03)


def test_a_forged_cell_is_found_where_it_is_drawn(folder, data):
    curves, samples = read_curves(folder), read_samples(folder)
    ascending, hits = curves[1].ascending.copy(), samples.ascending.copy()
    ascending[1] -= 1
    hits[np.flatnonzero((samples.label == 1) & (hits > 0))[0]] -= 1
    curves = (curves[0], dataclasses.replace(curves[1], ascending=ascending), curves[2])
    forge(folder, curves, dataclasses.replace(samples, ascending=hits))
    found = failed(folder, data, cells="all")
    assert set(found) == {"curves counted again", "samples counted again"}
    assert found["curves counted again"].startswith(f"Of class 1 {ascending[1]} samples are right")


def test_curves_that_are_another_networks_are_found_by_few_cells(folder, data):
    """All curves flat: half of the cells at least are wrong."""
    curves, samples = read_curves(folder), read_samples(folder)
    flat = []
    for curve in curves:
        hold = np.full_like(curve.descending, curve.descending[0])
        hold[-1] = curve.descending[-1]
        flat.append(dataclasses.replace(curve, descending=hold, ascending=hold))
    steps = len(curves[0].descending)
    hits = np.where(samples.correct, steps - 1, 0)
    for curve in flat:
        own = np.flatnonzero(samples.label == curve.class_index)
        hits[own[: curve.descending[-1]]] += 1
    forge(folder, flat, dataclasses.replace(samples, descending=hits, ascending=hits))
    assert "curves counted again" in failed(folder, data, cells=12)


def test_a_forged_order_is_found(folder, data):
    curves = read_curves(folder)
    order = curves[0].order.copy()
    order[[0, 3]] = order[[3, 0]]
    forge(folder, (dataclasses.replace(curves[0], order=order), *curves[1:]))
    assert failed(folder, data)["order worked out again"] == (
        "The units of class 0 are not in the order of l1 in curves.npz."
    )


def test_counts_moved_from_one_sample_to_another_are_found(folder, data):
    samples = read_samples(folder)
    hits = samples.ascending.copy()
    one, other = np.flatnonzero(samples.label == 2)[:2]
    hits[one], hits[other] = hits[one] - 1, hits[other] + 1
    forge(folder, samples=dataclasses.replace(samples, ascending=hits))
    found = failed(folder, data, cells="all")
    assert list(found) == ["samples counted again"]
    assert "'ascending' of sample" in found["samples counted again"]


@pytest.mark.parametrize(("name", "by"), [("log_probability", -1.0), ("margin", 2.0), ("other", 0)])
def test_a_forged_score_of_a_sample_is_found(folder, data, name, by):
    samples = read_samples(folder)
    place = int(np.flatnonzero(samples.correct)[0])
    values = getattr(samples.scores, name).copy()
    values[place] = values[place] + by if by else (samples.label[place] + 1) % CLASSES
    if name == "other" and values[place] == getattr(samples.scores, name)[place]:
        values[place] = (samples.label[place] + 2) % CLASSES
    scores = dataclasses.replace(samples.scores, **{name: values})
    forge(folder, samples=dataclasses.replace(samples, scores=scores))
    assert f"'{name}' of sample" in failed(folder, data)["samples run again"]


@pytest.fixture(scope="module")
def far_network(tmp_path_factory, network):
    """The same, with a class that a score of −1e9 switches off, and a unit that nothing reads."""
    path = tmp_path_factory.mktemp("far") / "far.onnx"
    model = onnx.load(network)
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    kernels = np.pad(weights["kernels"], ((0, 1), (0, 0), (0, 0), (0, 0)), constant_values=1e9)
    last = np.pad(weights["last"], ((0, 1), (0, 1)))
    bias = np.array([0] * CLASSES + [-1e9], np.float32)
    del model.graph.initializer[:]
    for name, values in (("kernels", kernels), ("last", last), ("bias", bias)):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    (product,) = [node for node in model.graph.node if node.output[0] == "scores"]
    product.output[0] = "product"
    model.graph.node.append(helper.make_node("Add", ["product", "bias"], ["scores"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = CLASSES + 1
    onnx.save(model, path)
    return path


def test_what_never_competes_hides_no_forgery(far_network, data, tmp_path):
    audit = audited(tmp_path / "audit", data, far_network, preprocess="none", anyway=True)
    assert failed(audit, data, cells="all") == {}
    curves, samples = read_curves(audit), read_samples(audit)
    assert len(curves[0].order) == CHANNELS + 1
    forged = shutil.copytree(audit, tmp_path / "forged")
    hits = samples.ascending.copy()
    one, other = np.flatnonzero(samples.label == 2)[:2]
    hits[one], hits[other] = hits[one] - 1, hits[other] + 1
    forge(forged, samples=dataclasses.replace(samples, ascending=hits))
    assert "samples counted again" in failed(forged, data, cells="all")
    forged = shutil.copytree(audit, tmp_path / "swapped")
    (first, *others) = curves
    order = first.order.copy()
    order[[1, -1]] = order[[-1, 1]]  # behind the unit of 1e9
    forge(forged, curves=[dataclasses.replace(first, order=order), *others])
    assert "order worked out again" in failed(forged, data)


def test_estimated_counts_are_not_counted_again(tmp_path, data, network):
    audited(tmp_path, data, network, preprocess="none", tolerance=0.02)
    found = verify_audit(tmp_path, data=data)
    assert found.passed
    assert found.drawn is None
    assert "to a tolerance of 0.02" in found.not_checked[-1]


@pytest.mark.parametrize("rank", ["selectivity", "random"])
def test_other_orders_are_worked_out_again(tmp_path, data, network, rank):
    audited(tmp_path, data, network, preprocess="none", rank=rank)
    assert failed(tmp_path, data) == {}
    record = read_record(tmp_path)
    rewrite_record(
        tmp_path, dataclasses.replace(record, settings={**record.settings, "rank": "l1"})
    )
    assert list(failed(tmp_path, data)) == ["order worked out again"]


def test_a_network_fixed_to_a_batch_is_counted_again(tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(10, 3, 32, 32)).astype(np.float32)
    labels = np.arange(10) % 2
    model = FIXTURES / "vgg16-dynamo-fixed.onnx"
    audited(tmp_path, (images, labels), model, anyway=True)
    assert failed(tmp_path, (images, labels), cells=10) == {}
