"""Linear heads against every evaluation computed on its own, in float64."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

from analyzer.common_types import Cut, LinearHead, Site
from analyzer.measures.ablation.linear_head import Head, open_head
from analyzer.measures.ablation.prefix_and_suffix import Features
from analyzer.measures.ablation.ranking_and_evaluations import necessary_evaluations
from analyzer.runtime.sessions import open_session


def made_up(random, *, samples, outer, units, inner, width, active=0.6):
    """Integer values, so that every sum is exact and ties are real ties."""
    values = random.integers(0, 4, (samples, outer, units, inner)).astype(np.float32)
    values *= random.random((samples, 1, units, 1)) < active
    weights = random.integers(-3, 4, (units, outer * inner, width)).astype(np.float32)
    bias = random.integers(-5, 6, width).astype(np.float32)
    found = Features(
        values={"features": values.reshape(samples, -1)},
        shared={},
        activity=values.sum(axis=(1, 3)),
        active=values.any(axis=(1, 3)),
    )
    return found, np.moveaxis(values, 2, 1).reshape(samples, units, -1), weights, bias


def sums(by_unit, weights, bias, kept):
    """z of one sample with only the units in ``kept``."""
    return bias + np.einsum("up,upd->d", by_unit[kept].astype(np.float64), weights[kept])


@given(
    seed=st.integers(0, 10**6),
    samples=st.integers(1, 40),
    outer=st.integers(1, 2),
    units=st.integers(1, 37),
    inner=st.integers(1, 3),
    classes=st.integers(2, 5),
)
def test_right_everywhere_is_what_each_evaluation_says(seed, samples, outer, units, inner, classes):
    random = np.random.default_rng(seed)
    found, by_unit, weights, bias = made_up(
        random, samples=samples, outer=outer, units=units, inner=inner, width=classes
    )
    head = Head("features", outer, inner, weights, bias, None, "")
    order, label = random.permutation(units), int(random.integers(classes))
    right = head.right_everywhere(found.values["features"], order, label)
    for sample in range(samples):
        for n in range(units + 1):
            descending = sums(by_unit[sample], weights, bias, order[n:])
            ascending = sums(by_unit[sample], weights, bias, order[: units - n])
            assert right[0, sample, n] == (descending.argmax() == label)
            assert right[1, sample, n] == (ascending.argmax() == label)


TAIL = """
<ir_version: 8, opset_import: ["" : 17]>
tail (float[N,6] z) => (float[N,3] scores)
<float[6,3] w = {1,-2,3, 0,1,-1, 2,2,-3, -1,0,1, 1,-1,0, 0,2,-1}>
{ r = Relu(z)  scores = MatMul(r, w) }
"""


@pytest.mark.parametrize("positions", [(1, 1), (1, 4), (3, 1), (2, 2)])
@pytest.mark.parametrize("sums_bytes", [1, 1 << 23])
@pytest.mark.parametrize("at_once", [7, 4096])
def test_classes_is_what_each_evaluation_says(
    positions, sums_bytes, at_once, tmp_path, monkeypatch
):
    monkeypatch.setattr("analyzer.measures.ablation.linear_head._SUMS_BYTES", sums_bytes)
    monkeypatch.setattr("analyzer.measures.ablation.linear_head._MOST_AT_ONCE", at_once)
    onnx.save(parser.parse_model(TAIL), tmp_path / "tail.onnx")
    tail = open_session(tmp_path / "tail.onnx", "cpu")
    random = np.random.default_rng(5)
    outer, inner = positions
    found, by_unit, weights, bias = made_up(
        random, samples=9, outer=outer, units=11, inner=inner, width=6
    )
    head = Head("features", outer, inner, weights, bias, tail, "z")
    order = random.permutation(11)
    evaluations = necessary_evaluations(found.active[:, order], share_empty=True)
    named = head.classes(found.values["features"], found.active, order, evaluations)
    for number in range(len(evaluations)):
        sample = evaluations.sample[number]
        kept = order[evaluations.low[number] : evaluations.high[number]]
        z = sums(by_unit[sample], weights, bias, kept).astype(np.float32)
        assert named[number] == tail.run({"z": z[None]})[0].argmax()


def cut_with_head(tmp_path, tail, size=(64, 1, 64)) -> Cut:
    np.save(tmp_path / "weights.npy", np.zeros(size, np.float32))
    np.save(tmp_path / "bias.npy", np.zeros(size[2], np.float32))
    head = LinearHead(tmp_path / "weights.npy", tmp_path / "bias.npy", 1, 1, tail, "z")
    site = Site("t", 1, 64, "activation", "Relu", None, (None, 64))
    return Cut(
        prefix=tmp_path, suffix=tmp_path, site=site, tensor="t", features="t",
        skip_inputs=(), shared_inputs=(), activity="a", active="b", mask="m", scores="s",
        batch=None, head=head,
    )  # fmt: skip


def test_open_head_leaves_small_heads_with_a_tail_to_the_suffix(tmp_path):
    onnx.save(parser.parse_model(TAIL), tmp_path / "tail.onnx")
    assert open_head(cut_with_head(tmp_path, tmp_path / "tail.onnx"), "cpu") is None
    assert open_head(cut_with_head(tmp_path, None), "cpu") is not None


def test_open_head_leaves_weights_that_are_no_numbers_to_the_suffix(tmp_path):
    cut = cut_with_head(tmp_path, None)
    np.save(tmp_path / "bias.npy", np.full(64, np.nan, np.float32))
    assert open_head(cut, "cpu") is None


def test_open_head_is_for_the_processor(tmp_path):
    assert open_head(cut_with_head(tmp_path, None), "cuda:0") is None
