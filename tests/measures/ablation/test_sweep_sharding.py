"""Classes split over devices give what one device gives; here the devices are processors."""

import time
from collections import namedtuple
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from analyzer import data, surgery
from analyzer.errors import AnalyzerError, AuditFolderError, DataError, DeviceError
from analyzer.measures.ablation.prefix_and_suffix import open_network
from analyzer.measures.ablation.ranking_and_evaluations import Ranking
from analyzer.measures.ablation.sweep import (
    SweepOptions,
    resumed_shards,
    split_into_shards,
    sweep_shards,
)
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.measures.ablation.tolerance import Tolerance

FIXTURES = Path(__file__).parents[2] / "fixtures"
Batch = namedtuple("Batch", "indices images digests skipped")
Unread = namedtuple("Unread", "name reason")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(60, 3, 32, 32)).astype(np.float32)
LABELS = RANDOM.choice([0, 2, 3, 7, 8], len(IMAGES), p=[0.4, 0.3, 0.1, 0.1, 0.1])
BAD = 13  # a sample that cannot be read


def load(indices, size):
    for start in range(0, len(indices), size):
        part = indices[start : start + size]
        good = part[part != BAD]
        skipped = (Unread("image 13", "torn"),) if BAD in part else ()
        yield Batch(good, IMAGES[good], np.repeat(good[:, None] % 256, 32, axis=1), skipped)


SAMPLES = data.Samples(np.arange(len(IMAGES)), LABELS, load)


def with_unreadable(*classes):
    """Samples of which those of some classes cannot be read."""

    def torn(indices, size):
        for batch in load(indices, size):
            bad = np.isin(LABELS[batch.indices], classes)
            yield Batch(
                batch.indices[~bad], batch.images[~bad], batch.digests[~bad],
                (*batch.skipped, *(Unread(f"image {i}", "torn") for i in batch.indices[bad])),
            )  # fmt: skip

    return replace(SAMPLES, load=torn)


@pytest.fixture
def network(request, tmp_path):
    loaded = surgery.load_network(
        FIXTURES / f"{getattr(request, 'param', 'vgg16')}-dynamo-free.onnx"
    )
    cut = surgery.cut_network(loaded, surgery.default_site(loaded), tmp_path)
    return open_network(cut, "input", "cpu")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 4)
    monkeypatch.setattr("analyzer.measures.ablation.sweep._CHUNK_CELLS", 1)
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)


def counted(
    network, shards, *, samples=SAMPLES, arrays=None, save=None, progress=None, memory=1 << 30,
    **options,
):  # fmt: skip
    parts = split_into_shards(samples, shards)
    units = network.cut.site.channels
    states = [SweepState.start(len(shard.labels), 10, units) for shard in parts]
    if arrays is not None:
        states = resumed_shards(states, arrays)
    sweep_shards(
        [network] * len(parts),
        parts,
        states,
        SweepOptions(memory, **options),
        save=save or (lambda arrays: None),
        progress=progress or (lambda stage, done, total: None),
    )
    return SweepState.joined(states)


def assert_same(one, other, *, but=()):
    for field in fields(one):
        if not field.name.endswith("_seconds") and field.name not in but:
            a, b = getattr(one, field.name), getattr(other, field.name)
            np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 9])
def test_classes_stay_whole_and_in_their_order(shards):
    parts = split_into_shards(SAMPLES, shards)
    assert len(parts) <= min(shards, 5)
    sequence = [shard.indices[shard.sequence()] for shard in parts]
    np.testing.assert_array_equal(np.concatenate(sequence), SAMPLES.sequence())
    classes = [set(shard.labels) for shard in parts]
    assert sum(map(len, classes)) == 5


def test_shards_are_about_as_large_as_each_other():
    labels = np.repeat(np.arange(100), RANDOM.integers(40, 60, 100))
    parts = split_into_shards(data.Samples(np.arange(len(labels)), labels, load), 4)
    sizes = [len(shard.labels) for shard in parts]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 60


@pytest.mark.parametrize("network", ["vgg16", "resnet34", "mobilenetv3"], indirect=True)
@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_counts_are_those_of_one_device(network, memory):
    one = counted(network, 1, memory=memory)
    assert one.skipped.tolist() == ["image 13: torn"]
    for shards in (2, 3):
        found = counted(network, shards, memory=memory)
        assert_same(found, one)
    assert one.run == counted(network, 1, memory=1 << 20).run


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_samples_that_cannot_be_read_are_named_even_where_a_shard_has_no_others(network, memory):
    samples = with_unreadable(7, 8)
    one = counted(network, 1, samples=samples, memory=memory)
    torn = np.isin(LABELS, [7, 8]) | (np.arange(len(LABELS)) == BAD)
    assert len(one.skipped) == torn.sum()
    assert one.samples[[7, 8]].tolist() == [0, 0]
    assert set(split_into_shards(samples, 5)[-1].labels) <= {7, 8}
    assert_same(counted(network, 5, samples=samples, memory=memory), one)


def test_estimates_keep_what_they_promise(network):
    exact = counted(network, 1)
    tolerance = Tolerance(0.2, Fraction(1, 10), 0, 5, len(LABELS), network.cut.site.channels)
    found = counted(network, 2, tolerance=tolerance)
    assert found.guessed > 0
    _, kappa = tolerance.bounds(classes=5, off=found.off, cost=found.cost, guessed=found.guessed)
    off = np.abs(found.curves - exact.curves).sum(axis=(0, 2)) / np.maximum(exact.samples, 1)
    assert off.sum() / network.cut.site.channels / 5 <= kappa <= 0.2


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_what_all_shares_are_allowed_is_what_one_is(shards):
    tolerance = Tolerance(0.05, Fraction(1, 10), 0, 8, 400, 64)
    parts = replace(tolerance, shards=shards)
    whole = tolerance.allowance(8, 0.0)
    assert shards * parts.allowance(8 // shards, 0.0) == pytest.approx(whole)


def test_progress_is_that_of_all_shares(network):
    told = []
    counted(network, 2, progress=lambda *said: told.append(said))
    for stage in ("network", "sweep"):
        done = [at for name, at, total in told if name == stage]
        assert done == sorted(done)
        assert done[-1] == len(LABELS)
    assert {total for _, _, total in told} == {len(LABELS)}


class Stopped(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("after", [1, 6])
def test_interrupted_shards_resume_to_the_same_counts(network, after):
    kept = []

    def stop(stage, done, total):
        if stage == "sweep" and len(kept) > after:
            raise Stopped

    with pytest.raises(Stopped):
        counted(network, 2, save=kept.append, progress=stop)
    assert kept[-1]["swept"] + kept[-1]["swept@1"] < len(LABELS)
    told = []
    again = counted(
        network, 2, arrays=kept[-1], progress=lambda stage, done, total: told.append((stage, done))
    )
    assert_same(again, counted(network, 2))
    assert min(done for stage, done in told if stage == "sweep") > kept[-1]["swept"]


def test_what_one_shard_keeps_is_what_one_device_keeps(network):
    kept = []
    counted(network, 1, save=kept.append)
    assert kept[-1].keys() == SweepState.start(1, 1, 1).arrays().keys()


def test_a_shard_that_fails_brings_the_others_to_a_halt(network, monkeypatch):
    real = type(network).features
    calls = []

    def torn(self, images):
        calls.append(len(images))
        if len(calls) == 4:
            raise DataError("torn")
        time.sleep(0.05)  # long enough for the failure to be heard of
        return real(self, images)

    monkeypatch.setattr(type(network), "features", torn)
    with pytest.raises(AnalyzerError, match="torn"):
        counted(network, 2)
    assert len(calls) < 10  # of 17


def test_a_ranking_that_compares_classes_wants_one_device(network):
    with pytest.raises(DeviceError, match="rank=selectivity compares all classes"):
        counted(network, 2, ranking=Ranking("selectivity"))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hits", np.full((2, 3), np.nan)),
        ("read", np.zeros(3, np.float32)),
        ("curves", np.zeros((2, 2, 1), np.int64)),
        ("run", np.array("x")),
        ("skipped", np.zeros(2)),
    ],
)
def test_a_checkpoint_of_other_arrays_is_refused(name, wrong):
    state = SweepState.start(3, 2, 4)
    arrays = state.arrays()
    assert state.resumed(arrays).arrays().keys() == arrays.keys()
    with pytest.raises(AuditFolderError, match=rf"does not fit \('{name}'\)\. Use fresh=True"):
        state.resumed({**arrays, name: wrong})
