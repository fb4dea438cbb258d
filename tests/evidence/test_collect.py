"""The tables of a population of two small random networks, against what can be counted plainly."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer.audit import audit_population, read_manifest
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.estimation import read_population
from analyzer.files import sha256
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from analyzer.output_files import write_arrays
from model_zoo import POPULATIONS
from model_zoo.datasets import DataSet, Split
from model_zoo.population_training import Result, write_manifest, write_result
from model_zoo.recipes import recipes
from tools.evidence import collect as collecting
from tools.evidence.tables import read_table

CLASSES, CHANNELS, SIZE = 3, 6, 8
LEVELS = (0.0, 0.4)


def write_network(path, seed):
    random = np.random.default_rng(seed)
    weights = {
        "w": random.normal(size=(CHANNELS, 1, 3, 3)),
        "m": random.normal(size=(CHANNELS, CLASSES)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path
    )


def named(path, images):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {"image": images[:, None].astype(np.float32) / 255})[0].argmax(1)


@pytest.fixture
def half():
    """A split of random images, S of them, with labels of every class."""

    def draw(seed, samples=60):
        random = np.random.default_rng(seed)
        images = random.integers(0, 256, (samples, SIZE, SIZE), dtype=np.uint8)
        return Split(images, np.arange(samples) % CLASSES)

    return draw


@pytest.fixture
def population(half, tmp_path, monkeypatch):
    """(trained, audited, test half) of the population "small"."""
    train, test = half(0), half(1)
    data_set = DataSet("noise", CLASSES, SIZE, lambda folder: (train, test), 0.0, 0.0, False)
    declared = replace(POPULATIONS["digits"], name="small", data_set=data_set)
    monkeypatch.setattr(collecting, "POPULATIONS", {"small": declared})
    trained, audited = tmp_path / "trained", tmp_path / "audited"
    trained.mkdir()
    labels = {"labels_c0": train.labels, "labels_c40": (train.labels + (train.labels > 1)) % 3}
    write_arrays(trained / "train.npz", {"images": train.images} | labels)

    def accuracy(path, split):
        return float((named(path, split.images) == split.labels).mean())

    results = []
    for seed, corruption in enumerate(LEVELS):
        recipe = replace(
            recipes(declared)[0], name=f"small-c{corruption * 100:.0f}-00", corruption=corruption,
            train_samples=60, batch_size=8, width=CHANNELS, seed=seed,
        )  # fmt: skip
        path = trained / f"{recipe.name}.onnx"
        write_network(path, seed)
        found = Result(
            recipe=recipe,
            conditions={"population": "small", "train_samples": 60},
            sha256=sha256(path),
            train_accuracy=accuracy(path, Split(train.images, labels[f"labels_c{40 * seed}"])),
            test_accuracy=accuracy(path, test),
            epochs=1,
            reached=not seed,
            seconds=1.0,
            versions={},
        )
        write_result(trained, found)
        results.append(found)
    template = AuditRequest(
        anyway=True,
        model=trained,
        data="",
        out=audited,
        preprocess=PreprocessOptions(scale=1 / 255),
    )
    audit_population(read_manifest(write_manifest(trained, results)), template, audited)
    return trained, audited, test


def test_the_tables_hold_what_was_measured(population, tmp_path):
    trained, audited, test = population
    out = tmp_path / "tables"
    assert collecting.collect(trained, audited, out) == "small"
    networks = read_population(out / "networks-small.csv")
    assert networks.name == ("small-c0-00", "small-c40-00")
    assert networks.further["reached"] == ("True", "False")
    assert set(CURVE_FEATURES) <= set(networks.features)
    classes = read_table(out / "classes-small.csv")
    for name in networks.name:
        right = named(trained / f"{name}.onnx", test.images) == test.labels
        own = classes.where(classes.texts("network") == name)
        expected = [right[test.labels == label].mean() for label in own.numbers("class")]
        np.testing.assert_allclose(own.numbers("test_accuracy"), expected, atol=1e-4)
        np.testing.assert_allclose(
            own.numbers("gap"), own.numbers("accuracy") - expected, atol=2e-4
        )
        network = networks.name.index(name)
        assert own.numbers("zeta").mean() == pytest.approx(networks.zeta[network], abs=1e-4)
        assert own.numbers("kappa").mean() == pytest.approx(networks.kappa[network], abs=1e-4)
    wrong = classes.numbers("wrong_labels")
    np.testing.assert_allclose(wrong[:CLASSES], 0)
    np.testing.assert_allclose(wrong[CLASSES:], [0.5, 0])  # no sample has the last label
    summary = read_table(out / "populations.csv").rows()
    assert [(row["networks"], row["reached"]) for row in summary] == [("2", "1")]
    collecting.collect(trained, audited, out)
    assert read_table(out / "populations.csv").rows() == summary


def test_curves_begin_at_the_accuracy_and_the_example_is_one_class(population, tmp_path):
    trained, audited, _ = population
    collecting.collect(trained, audited, tmp_path)
    curves = read_table(tmp_path / "curves-small.csv")
    classes = read_table(tmp_path / "classes-small.csv")
    for name in ("small-c0-00", "small-c40-00"):
        mean = classes.where(classes.texts("network") == name).numbers("accuracy").mean()
        first = curves.where(curves.texts("network") == name).numbers("0.00")
        np.testing.assert_allclose(first, mean, atol=1e-3)
    example = read_table(tmp_path / "example-small.csv")
    assert len(example) == 2 * len(LEVELS)
    assert len(set(example.texts("class"))) == 1
    np.testing.assert_array_equal(example.numbers("0")[::2], example.numbers("0")[1::2])


def test_another_test_half_is_noticed(population, half, tmp_path, monkeypatch):
    trained, audited, _ = population
    declared = collecting.POPULATIONS["small"]
    other = replace(declared.data_set, read=lambda folder: (half(0), half(2)))
    monkeypatch.setitem(collecting.POPULATIONS, "small", replace(declared, data_set=other))
    with pytest.raises(AnalyzerError, match="recorded when it was trained"):
        collecting.collect(trained, audited, tmp_path)


def test_an_audit_of_another_network_is_noticed(population, tmp_path):
    trained, audited, _ = population
    path = trained / "small-c0-00.onnx"
    write_network(path, 9)
    result = collecting.read_result(trained, "small-c40-00")
    changed = replace(result, sha256=sha256(path), recipe=replace(result.recipe, name=path.stem))
    write_result(trained, changed)
    with pytest.raises(AnalyzerError, match="is the audit of another network"):
        collecting.collect(trained, audited, tmp_path)
