"""What `verify` finds with the data at hand, of forgeries that agree with themselves."""

import dataclasses
import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import audit_network, verify_audit
from analyzer.audit.folder import read_record
from analyzer.audit.verify_against_data import Drawn
from analyzer.errors import AnalyzerError, DataError, ModelError
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.output_files import write_arrays
from tools.forged_folders import rewrite_arrays, rewrite_counts, rewrite_record

FIXTURES = Path(__file__).parents[1] / "fixtures"
CHANNELS, CLASSES, PER_CLASS = 6, 3, 6


@pytest.fixture(scope="module")
def data():
    """Images of three patterns under noise."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    patterns = random.integers(0, 160, (CLASSES, 8, 8))
    images = patterns[labels] + random.integers(0, 96, (len(labels), 8, 8))
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def network(tmp_path_factory, data):
    """Six random channels, and a linear layer that was fitted to the data."""
    path = tmp_path_factory.mktemp("network") / "tiny.onnx"
    kernels = np.random.default_rng(1).normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32)
    images = data[0][:, None].astype(np.float32)
    last = np.eye(CHANNELS, dtype=np.float32)
    for _ in range(2):  # the features first, then what tells the classes by them
        nodes = [
            helper.make_node("Conv", ["image", "kernels"], ["conv"]),
            helper.make_node("Relu", ["conv"], ["relu"]),
            helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("MatMul", ["flat", "last"], ["scores"]),
        ]
        of_images = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
        of_scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", last.shape[1]])
        weights = [
            numpy_helper.from_array(kernels, "kernels"),
            numpy_helper.from_array(last, "last"),
        ]
        graph = helper.make_graph(nodes, "tiny", [of_images], [of_scores], weights)
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"image": images})
        last = np.linalg.lstsq(found, np.eye(CLASSES)[data[1]], rcond=None)[0].astype(np.float32)
    return path


ALONE = {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0}


def audited(folder, data, model, **options):
    """An audit, by default of the ablation alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audit_network(model, data, folder, gap_model="none", **{**ALONE, **options})
    return folder


@pytest.fixture(scope="module")
def counted(tmp_path_factory, data, network):
    """An audit of the ablation alone."""
    folder = tmp_path_factory.mktemp("counted") / "audit"
    return audited(folder, data, network, preprocess="none")


@pytest.fixture
def folder(counted, tmp_path):
    return shutil.copytree(counted, tmp_path / "audit")


def failed(folder, data, **options):
    found = verify_audit(folder, data=data, **{"cells": 4, "seed": 0, **options})
    return {check.name: check.sentence for check in found.checks if not check.passed}


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "the least is 0"),
        ({"cells": -1}, "the least is 0"),
        ({"cells": "x"}, "'x' is not a whole number"),
    ],
)
def test_options_that_no_verification_can_have_are_refused(folder, data, options, said):
    for given in (data, None):
        with pytest.raises(AnalyzerError, match=said):
            verify_audit(folder, data=given, **options)
    with pytest.raises(TypeError, match="seed is of type str"):
        verify_audit(folder, data=data, seed="1")


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


def test_other_data_are_found(folder, data):
    images, labels = data
    other = images.copy()
    other[7] = 255 - other[7]
    found = failed(folder, (other, labels))
    assert found["data read again"].startswith("The samples have SHA-256")
    swapped = labels.copy()
    swapped[[0, -1]] = swapped[[-1, 0]]
    assert "data read again" in failed(folder, (images, swapped))
    assert "data read again" in failed(folder, (images[:-1], labels[:-1]))


def record_preprocessing(folder, **changed):
    """Write another preprocessing into the record."""
    record = read_record(folder)
    said = {**record.data.preprocessing, **changed}
    recorded = dataclasses.replace(record.data, preprocessing=said)
    rewrite_record(folder, dataclasses.replace(record, data=recorded))


def test_another_preprocessing_is_found(folder, data):
    record_preprocessing(folder, mean=[99.0])
    assert "samples run again" in failed(folder, data)
    record_preprocessing(folder, mean=None, channels="cmyk")
    with pytest.raises(DataError, match=r"audit\.json: the field 'data\.preprocessing\.channels'"):
        verify_audit(folder, data=data)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "x"), ("limit_per_class", [1]), ("inputs", [1]), ("memory", None)]
)
def test_settings_that_no_audit_has_are_refused(folder, data, name, value):
    record = read_record(folder)
    settings = {**record.settings, name: value}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    with pytest.raises(AnalyzerError, match=f"settings.{name}"):
        verify_audit(folder, data=data)


def test_a_library_that_the_record_names_is_not_loaded(folder, data):
    record = read_record(folder)
    settings = {**record.settings, "custom_ops": "/nowhere/library.so"}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    assert failed(folder, data) == {}


def test_a_wrong_site_of_the_cut_is_found(folder, data):
    record = read_record(folder)
    rewrite_record(
        folder, dataclasses.replace(record, site=dataclasses.replace(record.site, cut="elsewhere"))
    )
    assert list(failed(folder, data)) == ["cut"]


def test_a_removed_warning_of_the_network_or_its_preprocessing_is_found(tmp_path, data, network):
    folder = audited(tmp_path / "audit", data, network, preprocess=None, anyway=True)
    assert failed(folder, data) == {}
    record = read_record(folder)
    (undeclared,) = record.input_warnings
    assert undeclared.startswith("No preprocessing was declared")
    left = tuple(one for one in record.warnings if one != undeclared)
    rewrite_record(folder, dataclasses.replace(record, input_warnings=(), warnings=left))
    found = failed(folder, data)
    assert list(found) == ["input warnings"]
    assert undeclared in found["input warnings"]


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


def test_nothing_is_measured_of_a_folder_that_is_wrong_already(folder, data):
    rewrite_record(folder, dataclasses.replace(read_record(folder), zeta=0.1))
    found = verify_audit(folder, data=data)
    assert not found.passed
    assert found.drawn is None
    assert "Nothing was measured again" in found.not_checked[-1]


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


@pytest.fixture(scope="module")
def everything(tmp_path_factory, data, network):
    """An audit with every measure and a list of suspects with pictures."""
    folder = tmp_path_factory.mktemp("everything") / "audit"
    every = {"interpolation_samples": None, "neighbor_samples": None, "suspects": None}
    return audited(folder, data, network, preprocess="none", margins=True, **every)


def test_every_measure_is_measured_again(everything, data, tmp_path):
    found = verify_audit(everything, data=data, cells=2)
    assert [check for check in found.checks if not check.passed] == []
    names = {check.name for check in found.checks}
    assert {f"{name} measured again" for name in ("margins", "interpolation", "neighbors")} <= names
    folder = shutil.copytree(everything, tmp_path / "audit")
    record = read_record(folder)
    sections = {**record.sections}
    for name in ("margins", "neighbors"):
        layers = sections[name].layers
        other = dataclasses.replace(layers[1], tensor="elsewhere")
        sections[name] = dataclasses.replace(sections[name], layers=(layers[0], other, *layers[2:]))
    settings = {**record.settings, "seed": 1}
    rewrite_record(folder, dataclasses.replace(record, sections=sections, settings=settings))
    assert set(failed(folder, data)) == {
        f"{name} measured again" for name in ("margins", "interpolation", "neighbors")
    }


def test_as_many_samples_are_measured_again_as_are_recorded(tmp_path, data, network, monkeypatch):
    """Versions and machines differ in how many samples they look at by default."""
    with monkeypatch.context() as another_version:
        another_version.setattr(
            "analyzer.measures.neighbors.measure.affordable_samples", lambda graph, total: 11
        )
        audited(tmp_path, data, network, preprocess="none", neighbor_samples=None)
    record = read_record(tmp_path)
    assert record.settings["neighbor_samples"] is None
    assert record.sections["neighbors"].samples == 11
    found = verify_audit(tmp_path, data=data, cells=2)
    assert [check for check in found.checks if not check.passed] == []
    assert "neighbors measured again" in {check.name for check in found.checks}


def test_what_measures_say_of_how_they_measured_is_checked(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    record = read_record(folder)
    mixed = dataclasses.replace(record.sections["interpolation"], partners=10)
    sections = {**record.sections, "interpolation": mixed}
    rewrite_record(folder, dataclasses.replace(record, sections=sections))
    assert "a sample has 8" in failed(folder, data)["interpolation measured again"]

    near = record.sections["neighbors"]
    twins = dataclasses.replace(near.twins, kept=not near.twins.kept)
    sections = {**record.sections, "neighbors": dataclasses.replace(near, twins=twins)}
    rewrite_record(folder, dataclasses.replace(record, sections=sections))
    assert "settings.keep_twins" in failed(folder, data)["neighbors"]


def swapped(row):
    """The nearest and the farthest neighbor of a sample have changed places."""
    row[[0, -1]] = row[[-1, 0]]


@pytest.mark.parametrize(
    ("file", "name", "change"),
    [
        ("neighbors", "nearest", lambda a: swapped(a[5])),
        ("neighbors", "nearest_images", lambda a: swapped(a[5])),
        ("neighbors", "distance_images", lambda a: a[5, -1:].__iadd__(0.1)),
        ("neighbors", "agreement", lambda a: a[4, 5:6].__imul__(0.5)),
        ("margins", "distance", lambda a: a[np.argmax(a[:, 1]), 1:2].__imul__(2)),
    ],
)
def test_one_value_that_rounding_does_not_explain_is_found(
    everything, data, tmp_path, file, name, change
):
    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / f"{file}.npz")
    change(arrays[name])
    rewrite_arrays(folder / f"{file}.npz", arrays)
    assert verify_audit(folder).passed
    assert list(failed(folder, data)) == [f"{file} measured again"]


def test_another_picture_of_a_suspect_is_found(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / "thumbnails.npz")
    first, second = list(arrays)[:2]
    arrays[first] = arrays[second]
    write_arrays(folder / "thumbnails.npz", arrays, compressed=False)
    rewrite_record(folder, read_record(folder))
    assert list(failed(folder, data)) == ["pictures"]


def test_another_name_of_a_class_or_a_suspect_is_found(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    table = folder / "suspects.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    cells[1] = "somebody"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:], ""]), encoding="utf-8")
    rewrite_record(folder, read_record(folder))
    assert "is called 'somebody'" in failed(folder, data)["names"]


def test_files_of_the_audit_that_are_gone_are_named_and_others_can_be_given(tmp_path, data):
    labels = data[1]
    scale, shift = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("a", "b"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])
    weights = np.random.default_rng(2).normal(size=(64, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["image", "a"], ["scaled"]),
        helper.make_node("Add", ["scaled", "b"], ["shifted"]),
        helper.make_node("Flatten", ["shifted"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    weights = numpy_helper.from_array(weights, "w")
    graph = helper.make_graph(nodes, "two", [image, scale, shift], [scores], [weights])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "n.onnx")
    for name, value in (("a", 1), ("b", 0)):
        np.save(tmp_path / f"{name}.npy", np.full(1, value, np.float32))
    np.save(tmp_path / "groups.npy", np.arange(len(labels)) // 2)
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    files = {
        "inputs": {name: str(tmp_path / f"{name}.npy") for name in "ab"},
        "groups": str(tmp_path / "groups.npy"),
        "classes": tmp_path / "classes.txt",
    }
    some = {**files, "neighbor_samples": "all", "preprocess": "none", "anyway": True}
    folder = audited(tmp_path / "audit", data, tmp_path / "n.onnx", **some)
    assert not failed(folder, data)
    given = {}
    for name, path, option, value in (
        ("classes.txt", "moved.txt", "classes", tmp_path / "moved.txt"),
        ("b.npy", "moved.npy", "inputs=b=FILE", {"b": str(tmp_path / "moved.npy")}),
        ("groups.npy", "g.npy", "groups", str(tmp_path / "g.npy")),
    ):
        (tmp_path / name).rename(tmp_path / path)
        with pytest.raises(DataError, match=f"{name}, which .* Name it with {option} where"):
            verify_audit(folder, data=data, cells=4, **given)
        given[option.partition("=")[0]] = value
        assert not failed(folder, data, **given)


def test_options_of_another_name_are_refused(folder, data):
    with pytest.raises(TypeError, match="There is no option 'limit'"):
        verify_audit(folder, data=data, limit=3)


def test_a_network_without_a_site(tmp_path, data):
    images, labels = data
    weights = np.random.default_rng(2).normal(size=(64, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path / "linear.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    folder = audited(tmp_path / "audit", (images, labels), path, anyway=True)
    found = verify_audit(folder, data=(images, labels))
    assert found.passed
    assert found.not_checked[-1].startswith("No cells were drawn: an audit without a site")
    found = verify_audit(folder, data=(255 - images, labels))
    failed = [one.name for one in found.checks if not one.passed]
    assert failed == ["data read again", "samples run again"]


def test_a_measure_that_was_left_out_for_no_reason_is_found(tmp_path, data, network):
    folder = audited(tmp_path / "audit", data, network, preprocess="none", interpolation_samples=0)
    record = read_record(folder)
    settings = {**record.settings, "interpolation_samples": None}
    excuse = {"interpolation": "It has no gradients."}
    warned = "Interpolation could not be measured. It has no gradients."
    forged = dataclasses.replace(
        record, settings=settings, unmeasured=excuse, warnings=(*record.warnings, warned)
    )
    rewrite_record(folder, forged)
    assert verify_audit(folder).passed  # without the data, nothing is to be seen
    said = failed(folder, data)["interpolation measured again"]
    assert said == "audit.json says that interpolation could not be measured; here they can."


def test_fewer_data_are_other_data(tmp_path, data, network):
    images, labels = data
    folder = audited(tmp_path / "audit", data, network, preprocess="none", suspects=3)
    wrong = failed(folder, (images[::6], labels[::6]))
    assert "in the data" in wrong["names"] or "data read again" in wrong
    assert "is not that of the data" in wrong["pictures"]
