"""Networks written as ONNX text, and the comparison that every surgery has to pass."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from analyzer import surgery

onnxruntime.set_default_logger_severity(3)


def _run(path, feeds):
    """Run without graph optimization: fused kernels round differently in whole and in parts."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [v.name for v in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _fill(model, seed):
    """Random weights for every value that is declared, but neither made nor given."""
    random = np.random.default_rng(seed)
    made = {name for node in model.graph.node for name in node.output}
    for info in list(model.graph.value_info):
        if info.name in made:
            continue
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        weights = random.normal(size=shape) / np.sqrt(np.prod(shape[1:], initial=1))
        weights = np.abs(weights) if info.name.startswith("var") else weights
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(weights.astype(dtype), info.name)
        )
        model.graph.value_info.remove(info)


@pytest.fixture
def write(tmp_path):
    """ONNX text → file. Declared values without data get random weights ("var…": positive)."""

    def make(text, name="network.onnx", opset=17, ir_version=8, seed=0):
        header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
        model = onnx.parser.parse_model(header + text)
        _fill(model, seed)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make


@pytest.fixture
def run():
    """(path, feeds) → outputs by name."""
    return _run


@pytest.fixture
def operators():
    """The operator types of a file, in order."""

    def read(path):
        return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]

    return read


@pytest.fixture
def cut_and_compare(tmp_path):
    """Cut at the site and compare with the masked network run in full, for random masks.

    Returns the cut. The features are those of the original network; suffix after prefix must
    give the masked network's scores for a mask per sample, one for all, and none removed.
    """

    def compare(network, site, feeds, *, exact=True, output=None, rtol=1e-5):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        cut = surgery.cut_network(network, site, folder, output=output)
        masked = Path(tmp_path / "masked.onnx")
        surgery.write_masked(network, site, masked)
        onnx.checker.check_model(masked)
        onnx.checker.check_model(cut.prefix)
        onnx.checker.check_model(cut.suffix)
        original = _run(network.path, feeds)
        scores = output or cut.scores
        made = _run(cut.prefix, feeds)
        passed = {name: made[name] for name in (cut.features, *cut.skip_inputs)}
        samples = len(made[cut.activity])
        random = np.random.default_rng(1)
        masks = random.integers(0, 2, (samples, site.channels)).astype(np.float32)
        plain = _run(masked, feeds)
        for name, value in original.items():
            np.testing.assert_array_equal(plain[name], value)
        for mask in (masks, masks[:1], np.ones_like(masks), np.zeros_like(masks[:1])):
            whole = _run(masked, {**feeds, "channel_mask": mask})
            whole = next(v for k, v in whole.items() if k == scores or len(whole) == 1)
            got = _run(cut.suffix, {**passed, cut.mask: mask})[cut.scores]
            if whole.size == len(got):  # a single score: the threshold stands beside it
                got = got[:, 1]
            whole = whole.reshape(got.shape)
            if exact:
                np.testing.assert_array_equal(got, whole)
            else:
                np.testing.assert_allclose(got, whole, rtol=rtol, atol=rtol)
        return cut

    return compare
