"""Features that stay on the device give what features brought here give."""

from collections import namedtuple
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from analyzer import data, surgery
from analyzer.measures.ablation import prefix_and_suffix as network_module
from analyzer.measures.ablation.prefix_and_suffix import open_network
from analyzer.measures.ablation.ranking_and_evaluations import Evaluations
from analyzer.measures.ablation.sweep import SweepOptions, ablate
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.measures.ablation.tolerance import Tolerance
from analyzer.runtime import OutOfMemory

FIXTURES = Path(__file__).parents[2] / "fixtures"
Batch = namedtuple("Batch", "indices images digests skipped")
IMAGES = np.random.default_rng(0).normal(size=(30, 3, 32, 32)).astype(np.float32)
NETWORKS = ["vgg16", "vgg16_bn", "resnet34", "mobilenetv2", "densenet121", "mobilenetv3"]


def opened(name: str, folder: Path, *, site: str | None = None, resident: bool):
    loaded = surgery.load_network(FIXTURES / f"{name}-dynamo-free.onnx")
    found = surgery.find_site(loaded, site, at="conv")
    cut = surgery.cut_network(loaded, found, folder)
    return open_network(cut, "input", "cpu", resident=resident)


def inner_convolution() -> str:
    """A convolution of ResNet34 with a shortcut around it, so that the suffix has skip inputs."""
    loaded = surgery.load_network(FIXTURES / "resnet34-dynamo-free.onnx")
    return [site for site in surgery.candidates(loaded) if site.kind == "convolution"][
        -2
    ].convolution


def cases():
    return [(name, None) for name in NETWORKS] + [("resnet34", inner_convolution())]


@pytest.mark.parametrize(("name", "site"), cases())
def test_evaluations_by_reference_are_those_by_value(name, site, tmp_path):
    here = opened(name, tmp_path, site=site, resident=False)
    there = opened(name, tmp_path, site=site, resident=True)
    found, held = here.features(IMAGES), there.features(IMAGES)
    assert held.on_device
    assert not found.on_device
    assert held.nbytes == found.nbytes
    np.testing.assert_array_equal(held.activity, found.activity)
    np.testing.assert_array_equal(held.active, found.active)

    random = np.random.default_rng(1)
    units = here.cut.site.channels
    rank = np.stack([random.permutation(units) for _ in IMAGES])
    sample = random.integers(0, len(IMAGES), 200)
    ends = np.sort(random.integers(0, units + 1, (2, 200)), axis=0)
    evaluations = Evaluations.asked(sample, ends[0], ends[1])
    every_score = lambda scores: scores  # noqa: E731
    np.testing.assert_allclose(
        there.classes(held, rank, evaluations, every_score),
        here.classes(found, rank, evaluations, every_score),
        rtol=1e-5,
        atol=1e-6,
    )
    mask = (random.random((len(IMAGES), units)) < 0.5).astype(np.float32)
    np.testing.assert_allclose(
        there.scores(held, mask), here.scores(found, mask), rtol=1e-5, atol=1e-6
    )


def counted(network, labels, memory, tolerance=None):
    digests = np.zeros((len(labels), 32), np.uint8)

    def load(indices, size):
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield Batch(part, IMAGES[part], digests[part], ())

    state = SweepState.start(len(labels), 10, network.cut.site.channels)
    ablate(
        network,
        data.Samples(np.arange(len(labels)), labels, load),
        state,
        SweepOptions(memory, tolerance),
        save=lambda state: None,
        progress=lambda stage, done, total: None,
    )
    return state


@pytest.mark.parametrize("memory", [1, 1 << 30])
@pytest.mark.parametrize(("name", "site"), cases())
def test_counts_are_the_same_wherever_features_lie(name, site, memory, tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 8)
    here = opened(name, tmp_path, site=site, resident=False)
    ones = np.ones((len(IMAGES), here.cut.site.channels), np.float32)
    named = here.scores(here.features(IMAGES), ones).argmax(axis=1)
    labels = np.where(np.arange(len(IMAGES)) % 3, named, 7)
    one = counted(here, labels, memory)
    other = counted(opened(name, tmp_path, site=site, resident=True), labels, memory)
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one.curves, other.curves)
    np.testing.assert_array_equal(one.hits, other.hits)


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_estimates_are_the_same_wherever_features_lie(name, tmp_path, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 8)
    site = inner_convolution() if name == "resnet34" else None
    here = opened(name, tmp_path, site=site, resident=False)
    units = here.cut.site.channels
    labels = np.zeros(len(IMAGES), np.int64)
    labels[20:] = 7
    tolerance = Tolerance(0.2, Fraction(1, 10), 0, 2, len(labels), units)
    one = counted(here, labels, 1 << 30, tolerance)
    there = opened(name, tmp_path, site=site, resident=True)
    other = counted(there, labels, 1 << 30, tolerance)
    assert one.guessed > 0
    assert (one.run, one.guessed, one.off, one.cost) == (
        other.run, other.guessed, other.off, other.cost,
    )  # fmt: skip
    np.testing.assert_array_equal(one.curves, other.curves)
    np.testing.assert_array_equal(one.hits, other.hits)


@pytest.mark.parametrize("error", [OutOfMemory, MemoryError])
@pytest.mark.parametrize("resident", [False, True])
def test_batches_shrink_until_they_fit(resident, error, tmp_path, monkeypatch):
    network = opened("vgg16", tmp_path, resident=resident)
    expected = network.features(IMAGES)
    real_run, real_there = type(network.prefix).run, type(network.prefix).run_on_device

    def small_only(run):
        def limited(self, feeds, *arguments):
            if self.path.name == "prefix.onnx" and len(feeds["input"]) > 7:
                raise error("too many")
            return run(self, feeds, *arguments)

        return limited

    monkeypatch.setattr(type(network.prefix), "run", small_only(real_run))
    monkeypatch.setattr(type(network.prefix), "run_on_device", small_only(real_there))
    found = network.features(IMAGES)
    np.testing.assert_allclose(found.activity, expected.activity, rtol=1e-5)
    mask = np.ones((len(IMAGES), network.cut.site.channels), np.float32)
    np.testing.assert_allclose(
        network.scores(found, mask), network.scores(expected, mask), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("error", [OutOfMemory("too many"), MemoryError()])
def test_not_even_one_fits(error, tmp_path, monkeypatch):
    network = opened("vgg16", tmp_path, resident=False)

    def never(self, feeds, *arguments):
        raise error

    monkeypatch.setattr(type(network.prefix), "run", never)
    with pytest.raises(OutOfMemory, match=f"{str(error) or 'Out of memory'}. No smaller batch"):
        network.features(IMAGES)


def test_padded_repeats_the_last():
    np.testing.assert_array_equal(network_module.padded(np.arange(3), 5), [0, 1, 2, 2, 2])
    np.testing.assert_array_equal(network_module.padded(np.arange(3), None), [0, 1, 2])
