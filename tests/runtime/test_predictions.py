"""Plain accuracy, whatever the batches."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import onnx
import pytest

from analyzer import data, runtime, surgery
from analyzer.errors import DataError, ModelError

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOT_TOLD = np.empty((0, 32), np.uint8)
Batch = namedtuple("Batch", "indices images digests skipped fed", defaults=[NOT_TOLD])
IMAGES = np.random.default_rng(0).normal(size=(10, 3, 32, 32)).astype(np.float32)
UNREADABLE = 4


def load(indices, size):
    for start in range(0, len(indices), size):
        part = indices[start : start + size]
        part = part[part != UNREADABLE]
        yield Batch(part, IMAGES[part], np.zeros((len(part), 32), np.uint8), ())


def measured(form: str) -> tuple[float, float]:
    """The accuracy, and what it should be; every third label is wrong."""
    network = surgery.load_network(FIXTURES / f"vgg16-dynamo-{form}.onnx")
    (image,) = network.info.inputs
    whole = runtime.open_session(network.path, "cpu")
    size = image.fixed_batch or 1
    named = [
        whole.run({image.name: np.repeat(one[None], size, axis=0)})[0][0].argmax() for one in IMAGES
    ]
    labels = np.array(named) + (np.arange(len(IMAGES)) % 3 == 0)
    samples = data.Samples(np.arange(len(IMAGES)), labels, load)
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    found = runtime.predict(given, samples, device="cpu")
    readable = np.arange(len(IMAGES)) != UNREADABLE
    assert np.array_equal(found.named, np.array(named)[readable])
    return found.accuracy, float((np.array(named) == labels)[readable].mean())


@pytest.mark.parametrize("form", ["free", "fixed"])
def test_accuracy_is_the_share_classified_as_their_label(form):
    found, expected = measured(form)
    assert found == expected


def test_accuracy_takes_smaller_batches_where_memory_runs_out(monkeypatch):
    run = runtime.Session.run

    def limited(self, feeds, *arguments):
        if len(feeds["input"]) > 2:
            raise runtime.OutOfMemory("too many")
        return run(self, feeds, *arguments)

    monkeypatch.setattr(runtime.Session, "run", limited)
    found, expected = measured("free")
    assert found == expected


def test_ranks_follow_from_the_scores():
    network = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    (image,) = network.info.inputs
    scores = runtime.open_session(network.path, "cpu").run({image.name: IMAGES})[0]
    labels = np.arange(len(IMAGES)) % scores.shape[1]
    samples = data.Samples(np.arange(len(IMAGES)), labels, load)
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    found = runtime.predict(given, samples, device="cpu")
    best_first = np.argsort(-scores, axis=1, kind="stable")[found.index]
    assert found.classes == scores.shape[1]
    for count in (1, 3, 5):
        among = (best_first[:, :count] == found.label[:, None]).any(axis=1)
        assert found.top(count) == pytest.approx(among.mean())


def test_scores_of_which_one_is_not_a_number_name_no_class(monkeypatch):
    network = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    (image,) = network.info.inputs
    run = runtime.Session.run
    intact = runtime.open_session(network.path, "cpu").run({image.name: IMAGES})[0]
    middle = np.sort(intact[:, 0])[len(intact) // 2]

    def broken(self, feeds, *arguments):
        (scores,) = run(self, feeds, *arguments)
        scores[scores[:, 0] > middle, 2] = np.nan
        return [scores]

    monkeypatch.setattr(runtime.Session, "run", broken)
    session = runtime.open_session(network.path, "cpu")
    scores = session.run({image.name: IMAGES})[0]
    named = np.where(np.isnan(scores).any(axis=1), runtime.UNNAMED, scores.argmax(axis=1))
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    np.testing.assert_array_equal(runtime.name_classes(given, session, IMAGES), named)
    labels = np.maximum(named, 0)
    samples = data.Samples(np.arange(len(IMAGES)), labels, load)
    found = runtime.predict(given, samples, device="cpu")
    np.testing.assert_array_equal(found.named, named[found.index])
    lost = found.named == runtime.UNNAMED
    assert 0 < lost.sum() < len(lost)
    np.testing.assert_array_equal(found.rank, np.where(lost, scores.shape[1], 0))


def test_a_label_outside_the_classes_is_named():
    network = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    (image,) = network.info.inputs
    samples = data.Samples(np.arange(3), np.array([0, 1, 99]), load)
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    with pytest.raises(DataError, match="label 99, outside the network's"):
        runtime.predict(given, samples, device="cpu")


IN_ROWS_OF_A_MEAN = onnx.helper.make_tensor_value_info("y", 1, [1, 3])
AS_A_LIST = onnx.helper.make_tensor_sequence_value_info("y", 1, ["N", 3])


@pytest.mark.parametrize(
    ("operator", "attributes", "output", "said"),
    [
        ("ReduceMean", {"axes": [0]}, IN_ROWS_OF_A_MEAN, "has 1 row of scores for 10 images"),
        ("SequenceConstruct", {}, AS_A_LIST, "no array of numbers"),
    ],
)
def test_answers_that_are_not_one_row_an_image_are_refused(
    operator, attributes, output, said, tmp_path
):
    node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
    scores = onnx.helper.make_tensor_value_info("x", 1, ["N", 3])
    graph = onnx.helper.make_graph([node], "g", [scores], [output])
    version = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[version], ir_version=8), tmp_path / "n")
    network = surgery.load_network(tmp_path / "n")
    given = runtime.WholeNetwork(
        network.path, network.info.inputs[0], surgery.find_answer(network, None)
    )

    def rows(indices, size):
        yield Batch(indices, np.zeros((10, 3), np.float32), np.zeros((10, 32), np.uint8), ())

    samples = data.Samples(np.arange(10), np.arange(10) % 3, rows)
    with pytest.raises(ModelError, match=said):
        runtime.predict(given, samples, device="cpu")
