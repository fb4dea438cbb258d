"""Plain accuracy, whatever the batches."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from analyzer import data, runtime, surgery
from analyzer.errors import DataError

FIXTURES = Path(__file__).parents[1] / "fixtures"
Batch = namedtuple("Batch", "indices images digests skipped")
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


def test_ranks_and_confusions_follow_from_the_scores():
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
    confusions = found.confusions()
    assert confusions.sum() == len(found.label)
    assert np.trace(confusions) == round(found.accuracy * len(found.label))


def test_what_is_not_a_number_counts_as_the_lowest_score(monkeypatch):
    network = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    (image,) = network.info.inputs
    run = runtime.Session.run

    def broken(self, feeds, *arguments):
        (scores,) = run(self, feeds, *arguments)
        scores[:, 2] = np.nan
        return [scores]

    monkeypatch.setattr(runtime.Session, "run", broken)
    session = runtime.open_session(network.path, "cpu")
    others = np.delete(session.run({image.name: IMAGES})[0], 2, axis=1)
    named = np.delete(np.arange(others.shape[1] + 1), 2)[others.argmax(axis=1)]
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    np.testing.assert_array_equal(runtime.name_classes(given, session, IMAGES), named)
    labels = np.where(np.arange(len(IMAGES)) % 2, named, 2)
    samples = runtime.Samples(np.arange(len(IMAGES)), labels, load)
    found = runtime.predict(given, samples, device="cpu")
    np.testing.assert_array_equal(found.named, named[found.index])
    np.testing.assert_array_equal(found.rank, np.where(found.label == 2, others.shape[1], 0))


def test_a_label_outside_the_classes_is_named():
    network = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    (image,) = network.info.inputs
    samples = data.Samples(np.arange(3), np.array([0, 1, 99]), load)
    given = runtime.WholeNetwork(network.path, image, surgery.find_answer(network, None))
    with pytest.raises(DataError, match="label 99, outside the network's"):
        runtime.predict(given, samples, device="cpu")
