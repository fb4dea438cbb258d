"""Distances by hand, and the pass for them: batches, unread samples, sums that keep digits."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from analyzer import surgery
from analyzer.common_types import MarginGraph, MarginLayer
from analyzer.data import Samples
from analyzer.errors import ModelError
from analyzer.estimation import draw_splits, fit_scores, score_features
from analyzer.measures.margins.distances import (
    MARGIN_FEATURES,
    MarginState,
    compute_margin_features,
    margin_column,
    margin_obstacle,
    measure_margins,
    normalized_margins,
)


def test_distances_by_hand():
    found = normalized_margins(
        np.array([3.0, -1.0]), np.array([[9.0, 0.0], [0.25, 4.0]]), np.array([2.0, 0.5])
    )
    wanted = [
        [3 / np.sqrt(9 + 1e-6) / 2, 3 / 1e-3 / 0.5],
        [-1 / np.sqrt(0.25 + 1e-6) / 2, -1 / np.sqrt(4 + 1e-6) / 0.5],
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_five_numbers_by_hand():
    # Above 0: 1 2 2 3 3 4 7 50. Q1 = 2 and Q3 = 4.75, so the fences lie within −2.125 and 8.875.
    found = compute_margin_features(np.array([1.0, 2, 3, 4, 7, -5, 0, 3, 2, 50]))
    assert MARGIN_FEATURES == ("q1", "q2", "q3", "lower", "upper")
    wanted = np.log([2.0, 3.0, 4.75, 1.0, 7.0])
    assert [getattr(found, name) for name in MARGIN_FEATURES] == pytest.approx(list(wanted))


def test_a_single_sample_is_all_five_numbers():
    found = compute_margin_features(np.array([-1.0, np.e]))
    assert [getattr(found, name) for name in MARGIN_FEATURES] == pytest.approx([1.0] * 5)


@pytest.fixture
def columns():
    """Features of 60 networks at two layers, the first of which tells the gap."""
    rng = np.random.default_rng(0)
    names = [margin_column(layer, name) for layer in range(2) for name in MARGIN_FEATURES]
    return {name: rng.normal(size=60) for name in names}


def test_the_estimate_is_scored_on_the_splits_of_the_others(columns):
    assert next(iter(columns)) == "margin_0_q1"
    rng = np.random.default_rng(1)
    gap = 0.4 + 0.1 * columns["margin_0_q1"] + 0.01 * rng.normal(size=60)
    paper = dict(zip(("zeta", "kappa"), rng.random((2, 60)), strict=True))
    scores = fit_scores({**paper, **columns}, gap, splits=10, seed=3)
    assert scores["margins"] == score_features(columns, gap, draw_splits(60, splits=10, seed=3))
    assert scores["margins"].out_of_fold_r > 0.98 > scores["paper"].out_of_fold_r
    assert scores.to_dict()["margins"]["features"] == list(columns)
    assert fit_scores(paper, gap).by_features["margins"] is None
    few = {name: values[:11] for name, values in {**paper, **columns}.items()}
    scores = fit_scores(few, gap[:11])
    assert scores.by_features["margins"] is None
    assert "10 features need more than the 9 networks" in scores.obstacles["margins"]


def test_features_that_are_missing_are_named(columns):
    assert margin_obstacle(columns, 11) == ""
    columns["margin_1_upper"][:2] = np.nan
    assert "2 networks have no margin_1_upper" in margin_obstacle(columns, 54)


S = 11
TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[N,2,3,3] x) => (float[N,4] y)
{
    f = Flatten(x)
    t = Tanh(f)
    y = Gemm<transB=1>(t, w)
}
"""


def samples_of(images, labels, unread=()):
    """Samples that are read from arrays; the indices of the data are every third number."""
    indices = 3 * np.arange(len(labels))

    def load(asked, size):
        for start in range(0, len(asked), size):
            found = np.array([i for i in asked[start : start + size] if i not in unread], int)
            yield SimpleNamespace(
                indices=found,
                images=images[found // 3],
                digests=np.zeros((len(found), 32), np.uint8),
                skipped=(),
            )

    return Samples(indices, labels, load)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(S, 2, 3, 3)).astype(np.float32)


@pytest.fixture
def labels():
    return np.arange(S) % 4


@pytest.fixture
def graph_of(tmp_path):
    """(batch) → the margins of a small network, in batches of that size."""
    model = onnx.parser.parse_model(TEXT)
    weights = np.random.default_rng(1).normal(size=(4, 18)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "network.onnx")
    network = surgery.load_network(tmp_path / "network.onnx")
    return lambda batch: surgery.write_margin_graph(
        network, tmp_path / f"margins-{batch}.onnx", (2, 3, 3), most=batch
    )


def measured(graph, samples, state=None, **options):
    state = state or MarginState.start(len(samples.labels), graph)
    assert measure_margins(graph, samples, state, device="cpu", threads=1, **options) == "cpu"
    return state


def test_batches_of_any_size_find_the_same(graph_of, images, labels):
    whole = measured(graph_of(S), samples_of(images, labels))
    flat = images.reshape(S, -1).astype(np.float64)
    np.testing.assert_allclose(
        whole.total_variation[:2],
        [np.sqrt(values.var(axis=0).sum()) for values in (flat, np.tanh(flat))],
        rtol=1e-6,
    )
    for batch in (1, 4, 16):
        found = measured(graph_of(batch), samples_of(images, labels))
        np.testing.assert_allclose(found.margin, whole.margin, rtol=1e-5)
        np.testing.assert_allclose(found.squares, whole.squares, rtol=1e-5)
        np.testing.assert_allclose(found.total_variation, whole.total_variation, rtol=1e-6)
        assert (found.read, found.at) == (S, S)


def test_samples_that_cannot_be_read_leave_no_trace(graph_of, images, labels):
    unread = {0, 3 * 5, 3 * 6, 3 * 7, 3 * 8}  # a whole batch of four among them
    found = measured(graph_of(4), samples_of(images, labels, unread))
    kept = np.array([3 * i not in unread for i in range(S)])
    only = measured(graph_of(4), samples_of(images[kept], labels[kept]))
    np.testing.assert_array_equal(np.isnan(found.margin), ~kept)
    np.testing.assert_allclose(found.margin[kept], only.margin, rtol=1e-6)
    np.testing.assert_allclose(found.squares[kept], only.squares, rtol=1e-6)
    np.testing.assert_allclose(found.total_variation, only.total_variation, rtol=1e-6)
    assert found.read == only.read == S - 5


def test_an_interrupted_pass_goes_on_to_the_same_bits(graph_of, images, labels, monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", -1)
    graph, samples = graph_of(2), samples_of(images, labels)
    whole = measured(graph, samples)
    states = []

    def save(state):
        states.append({name: array.copy() for name, array in state.arrays().items()})
        if len(states) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(graph, samples, save=save)
    state = MarginState.start(S, graph).resumed(states[-1])
    assert state.at == 6
    done = []
    measured(graph, samples, state, progress=lambda *at: done.append(at))
    assert done == [("margins", 8, S), ("margins", 10, S), ("margins", 11, S)]
    for name, array in whole.arrays().items():
        if name != "seconds":
            np.testing.assert_array_equal(state.arrays()[name], array)


def test_the_spread_around_a_far_mean_keeps_its_digits():
    layer = MarginLayer("x", "input", 5, "", "", "")
    graph = MarginGraph(path="", image="", label="", weight="", margin="", layers=(layer,), batch=7)
    state = MarginState.start(7000, graph)
    values = np.random.default_rng(0).normal(size=(7000, 5)) + 1e6
    for part in np.split(values, 1000):
        state.add(0, part.mean(axis=0), float(part.var(axis=0).sum()), len(part))
        state.read += len(part)
    exact = (values - 1e6).var(axis=0).sum()
    assert state.total_variation[0] == pytest.approx(np.sqrt(exact), rel=1e-9)


def test_what_is_no_number_is_refused(graph_of, images, labels):
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="not finite numbers"):
        measured(graph_of(4), samples_of(images, labels))
