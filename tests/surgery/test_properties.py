"""What exported networks come with: each from load to finished audit.

Every case is cut at its default site (or a named one), compared with the masked original for
random masks, and audited; where the plain way can run it, the counts are the plain way's.
"""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from plain_way import plain_curves

from analyzer import surgery
from analyzer.audit import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import ModelError
from analyzer.measures.ablation.class_curves import read_curves

SAMPLES = 16
HEADS = """
net (float[N,3,8,8] x) => (OUTPUT)
<float[4,3,3,3] w, float[4] b, float[4,5] v, float[4,1] v1, float[4,2] v2,
int64[1] one = {1}, float half = {0.5},
float small = {1e-7}, float big = {0.9999999}>
{
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    BODY
}
"""


def head(output, body):
    return HEADS.replace("OUTPUT", output).replace("BODY", body)


LOGITS = head("float[N,5] y", "y = MatMul(f, v)")


def spatial(axes, layer, pool="GlobalAveragePool", weights="float[4,3,3,3] w"):
    """A network over so many spatial axes, its first layer given."""
    sizes = ",".join(["8"] * axes)
    return (
        f"net (float[N,3,{sizes}] x) => (float[N,5] y) <{weights}, float[4,5] v> {{ {layer} "
        f"r = Relu(c) p = {pool}(r) f = Flatten(p) y = MatMul(f, v) }}"
    )


KINDS = {  # output of the network, what the suffix's scores are compared with
    "logits": LOGITS,
    "probabilities": head("float[N,5] y", "z = MatMul(f, v) y = Softmax(z)"),
    "log-probabilities": head("float[N,5] y", "z = MatMul(f, v) y = LogSoftmax(z)"),
    "labels": head("int64[N] y", "z = MatMul(f, v) y = ArgMax<axis=1, keepdims=0>(z)"),
    "labels kept in a column": head("int64[N,1] y", "z = MatMul(f, v) y = ArgMax<axis=-1>(z)"),
    "one logit": head("float[N,1] y", "y = MatMul(f, v1)"),
    "one logit, no column": head("float[N] y", "z = MatMul(f, v1) y = Squeeze(z, one)"),
    "one probability": head("float[N,1] y", "z = MatMul(f, v1) y = Sigmoid(z)"),
    "one probability, no column": head(
        "float[N] y", "z = MatMul(f, v1) s = Sigmoid(z) y = Squeeze(s, one)"
    ),
    "one probability, flattened and clipped": head(
        "float[N,1] y", "z = MatMul(f, v1) s = Sigmoid(z) t = Flatten(s) y = Clip(t, small, big)"
    ),
    "one probability of two": head(
        "float[N,1] y", "z = MatMul(f, v2) s = Softmax(z) y = Gather<axis=1>(s, one)"
    ),
    "scores with spatial axes": head(
        "float[N,5,1,1] y",
        "t = Unsqueeze(f, one) g = MatMul(t, v) q = Transpose<perm=[0,2,1]>(g) "
        "m = Constant<value = int64[1] {3}>() y = Unsqueeze(q, m)",
    ),
}

LAYERS = {
    "grouped": spatial(
        2, "d = Conv(x, u) c = Conv<group=2>(d, w)", weights="float[4,3,1,1] u, float[4,2,3,3] w"
    ),
    "depthwise": spatial(
        2, "d = Conv(x, u) c = Conv<group=4>(d, w)", weights="float[4,3,1,1] u, float[4,1,3,3] w"
    ),
    "transposed": spatial(2, "c = ConvTranspose<strides=[2,2]>(x, w)", weights="float[3,4,3,3] w"),
    "1-D": spatial(1, "c = Conv(x, w)", weights="float[4,3,3] w"),
    "3-D": spatial(3, "c = Conv(x, w)", weights="float[4,3,3,3,3] w"),
    "batch norm after": spatial(
        2, "k = Conv(x, w) c = BatchNormalization(k, g, b, m, var)",
        weights="float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] var",
    ),
    "batch norm before": spatial(
        2, "k = BatchNormalization(x, g, b, m, var) c = Conv(k, w)",
        weights="float[4,3,3,3] w, float[3] g, float[3] b, float[3] m, float[3] var",
    ),
    "any image size": spatial(2, "c = Conv(x, w)").replace("3,8,8", "3,H,W"),
    "NHWC to the site": """
        net (float[N,8,8,3] x) => (float[N,5] y) <float[4,3,3,3] w, float[256,5] v>
        { t = Transpose<perm=[0,3,1,2]>(x) k = Conv<pads=[1,1,1,1]>(t, w)
          c = Transpose<perm=[0,2,3,1]>(k) r = Relu(c) f = Flatten(r) y = MatMul(f, v) }""",
    "pixels scaled inside": """
        net (uint8[N,8,8,3] x) => (float[N,5] y) <float[4,3,3,3] w, float[4,5] v,
        float[1,3,1,1] mean, float[1,3,1,1] var, float top = {255.0}>
        { h = Cast<to=1>(x) t = Transpose<perm=[0,3,1,2]>(h) s = Div(t, top) s1 = Sub(s, mean)
          s2 = Div(s1, var) c = Conv(s2, w) r = Relu(c) p = GlobalAveragePool(r)
          f = Flatten(p) y = MatMul(f, v) }""",
    "If and Loop away from the site": """
        net (float[N,3,8,8] x) => (float[N,5] y) <float[4,3,3,3] w, float[4,5] v, bool yes = {1},
        int64 twice = {2}>
        { a = If(yes) <then_branch = g1 () => (float[N,3,8,8] t) { t = Relu(x) },
                       else_branch = g2 () => (float[N,3,8,8] e) { e = Neg(x) }>
          c = Conv(a, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) z = MatMul(f, v)
          y = Loop(twice, yes, z) <body = g3 (int64 i, bool go, float[N,5] s)
                => (bool on, float[N,5] more) { on = Identity(go) more = Tanh(s) }> }""",
}  # fmt: skip

ACTIVATIONS = (
    "Relu", "LeakyRelu<alpha=0.1>", "PRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "HardSwish",
    "Mish", "Softplus", "Sigmoid", "Tanh",
)  # fmt: skip


def images_for(path, count=SAMPLES, seed=5):
    info = onnx.load(path, load_external_data=False).graph.input[0]
    kind = info.type.tensor_type
    shape = [d.dim_value or 8 for d in kind.shape.dim][1:]
    random = np.random.default_rng(seed)
    if kind.elem_type == TensorProto.UINT8:
        return random.integers(0, 256, (count, *shape)).astype(np.uint8)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return random.normal(size=(count, *shape)).astype(dtype)


def audit(path, tmp_path, classes, images, **options):
    labels = np.random.default_rng(6).integers(0, classes, len(images))
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    request = AuditRequest(
        anyway=True,
        model=path,
        data=str(tmp_path / "data.npz"),
        out=tmp_path / "audit",
        device="cpu",
        **options,
    )
    return run_audit(request), labels


def check_plain(path, tmp_path, result, images, labels):
    plain = plain_curves(path, result.site.tensor, result.site.axis, images, labels)
    for curve in read_curves(tmp_path / "audit"):
        np.testing.assert_array_equal(curve.order, plain.order[curve.class_index])
        np.testing.assert_array_equal(curve.descending, plain.descending[curve.class_index])
        np.testing.assert_array_equal(curve.ascending, plain.ascending[curve.class_index])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_output_tells_the_class(kind, write, tmp_path):
    path = write(KINDS[kind])
    classes = 2 if kind.startswith("one ") else 5
    images = images_for(path)
    result, labels = audit(path, tmp_path, classes, images)
    assert result.site.tensor == "r"
    answers = ort.InferenceSession(path).run(None, {"x": images})[0].reshape(SAMPLES, -1)
    if kind.startswith("labels"):
        told = answers[:, 0]
    elif kind.startswith("one "):
        told = answers[:, 0] > (0.5 if "probability" in kind else 0)
    else:
        told = answers.argmax(axis=1)
        check_plain(path, tmp_path, result, images, labels)
    assert result.accuracy == pytest.approx((told == labels).mean())
    assert any("taken for a logit" in w for w in result.warnings) == ("one logit" in kind)


def test_one_probability_counts_what_one_logit_counts(write, tmp_path):
    path = write(KINDS["one logit"], name="logit.onnx")
    images = images_for(path)
    (tmp_path / "logit").mkdir()
    audit(path, tmp_path / "logit", 2, images)
    audit(write(KINDS["one probability"]), tmp_path, 2, images)
    for one, other in zip(
        read_curves(tmp_path / "logit" / "audit"), read_curves(tmp_path / "audit"), strict=True
    ):
        np.testing.assert_array_equal(one.descending, other.descending)
        np.testing.assert_array_equal(one.ascending, other.ascending)


def test_labels_that_no_argmax_makes_are_refused(write):
    network = surgery.load_network(
        write(head("int64[N,5] y", "z = MatMul(f, v) y = Cast<to=7>(z)"))
    )
    with pytest.raises(ModelError, match=r"No output of .* has the shape of class scores"):
        surgery.default_site(network)


def test_output_chosen_among_several(write, tmp_path):
    text = head("float[N,5] y, float[N,4] f", "y = MatMul(f, v)")
    path = write(text)
    images = images_for(path)
    with pytest.raises(ModelError, match=r"Name one with output: y \[N, 5\], f \[N, 4\]"):
        audit(path, tmp_path, 4, images)
    result, labels = audit(path, tmp_path, 4, images, output="f")
    told = ort.InferenceSession(path).run(["f"], {"x": images})[0].argmax(axis=1)
    assert result.accuracy == pytest.approx((told == labels).mean())


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_cut_and_audited(layer, write, cut_and_compare, tmp_path):
    path = write(LAYERS[layer])
    network = surgery.load_network(path)
    site = surgery.default_site(network)
    assert (site.tensor, site.channels) == ("r", 4)
    images = images_for(path)
    cut_and_compare(network, site, {"x": images[:3]}, exact=False)
    result, labels = audit(path, tmp_path, 5, images)
    check_plain(path, tmp_path, result, images, labels)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_the_default_site(activation, write, tmp_path):
    name = activation.split("<")[0]
    inputs = {"PRelu": "(c, slope)", "Clip": "(c, zero, six)"}.get(name, "(c)")
    text = spatial(2, "c = Conv(x, w)", weights="float[4,3,3,3] w, float[4,1,1] slope, "
                   "float zero = {0.0}, float six = {6.0}")  # fmt: skip
    path = write(text.replace("Relu(c)", f"{activation}{inputs}", 1), opset=20, ir_version=9)
    images = images_for(path)
    result, labels = audit(path, tmp_path, 5, images)
    assert (result.site.tensor, result.site.operator) == ("r", name)
    check_plain(path, tmp_path, result, images, labels)


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_is_audited(opset, write, tmp_path):
    path = write(LOGITS, opset=opset, ir_version=3 if opset < 9 else 8)
    if opset < 9:
        list_initializers(path)
    try:
        ort.InferenceSession(path)
    except Exception:  # onnxruntime itself does not know the newest yet
        with pytest.raises(ModelError, match="onnxruntime cannot load"):
            audit(path, tmp_path, 5, images_for(path))
        assert opset > 23
        return
    images = images_for(path)
    result, labels = audit(path, tmp_path, 5, images)
    assert result.model.opset == opset
    check_plain(path, tmp_path, result, images, labels)


def list_initializers(path):
    """As every exporter did until ONNX 1.4."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    onnx.save(model, path)


def converted(path, elem_type, to):
    """The network with all its float tensors of another type."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(elem_type))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = elem_type
    del model.graph.value_info[:]
    onnx.save(model, to)
    return to


def test_float16_is_audited(write, cut_and_compare, tmp_path):
    path = converted(write(LOGITS), TensorProto.FLOAT16, tmp_path / "half.onnx")
    network = surgery.load_network(path)
    images = images_for(path)
    site = surgery.default_site(network)
    cut_and_compare(network, site, {"x": images[:3]}, exact=False, rtol=1e-2)
    result, labels = audit(path, tmp_path, 5, images)
    told = ort.InferenceSession(path).run(None, {"x": images})[0].argmax(axis=1)
    assert result.accuracy == pytest.approx((told == labels).mean())


def test_float64_is_cut_and_run_where_onnxruntime_can(write, tmp_path):
    """Matrix products it can; it has no convolution of doubles on the processor."""
    path = converted(write(LOGITS), TensorProto.DOUBLE, tmp_path / "double.onnx")
    images = images_for(path)
    with pytest.raises(
        ModelError, match=r"implementation for Conv.*export the network without it, or in float32"
    ):
        audit(path, tmp_path, 5, images)
    dense = """
        net (float[N,6] x) => (float[N,5] y) <float[6,4] w, float[4,5] v>
        { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"""
    path = converted(write(dense), TensorProto.DOUBLE, tmp_path / "dense.onnx")
    images = images_for(path)
    result, labels = audit(path, tmp_path, 5, images, site="r")
    told = ort.InferenceSession(path).run(None, {"x": images})[0].argmax(axis=1)
    assert result.accuracy == pytest.approx((told == labels).mean())


def test_bfloat16_weights_behind_casts_are_audited(write, tmp_path):
    text = LOGITS.replace("c = Conv<pads=[1,1,1,1]>(x, w, b)", "wf = Cast<to=1>(w) "
                          "c = Conv<pads=[1,1,1,1]>(x, wf, b)")  # fmt: skip
    path = write(text)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            kind = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), "w")
            )
    onnx.save(model, path)
    images = images_for(path)
    result, labels = audit(path, tmp_path, 5, images)
    check_plain(path, tmp_path, result, images, labels)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("free", [True, False])
def test_fixed_batches_are_audited(batch, free, write, tmp_path):
    """Freed, or run at that size with padding where the batch takes part in a reshape."""
    loose_body = body = "s = Sigmoid(f) y = MatMul(s, v)"
    if not free:
        body = "t = Reshape(f, flat) s = Sigmoid(t) u = Reshape(s, back) y = MatMul(u, v)"
    text = head("float[N,5] y", body).replace(
        "half = {0.5}", f"half = {{0.5}}, int64[1] flat = {{-1}}, int64[2] back = {{{batch}, 4}}"
    )
    path = write(text.replace("[N,", f"[{batch},"))
    images = images_for(path, 13)
    result, _ = audit(path, tmp_path, 5, images)
    fixed = [
        "one image at a time" in w or f"batches of {batch} images" in w for w in result.warnings
    ]
    assert any(fixed) == (not free)
    loose = tmp_path / "loose"
    loose.mkdir()
    audit(write(head("float[N,5] y", loose_body), name="loose.onnx"), loose, 5, images)
    counts = read_curves(tmp_path / "audit")
    for one, other in zip(counts, read_curves(loose / "audit"), strict=True):
        np.testing.assert_array_equal(one.descending, other.descending)
        np.testing.assert_array_equal(one.ascending, other.ascending)


def test_external_data_is_audited(write, tmp_path):
    folder = tmp_path / "external"
    folder.mkdir()
    model = onnx.load(write(LOGITS))
    onnx.save(model, folder / "network.onnx", save_as_external_data=True, size_threshold=0)
    assert len(list(folder.iterdir())) > 1
    images = images_for(folder / "network.onnx")
    result, labels = audit(folder / "network.onnx", tmp_path, 5, images)
    check_plain(write(LOGITS, name="inline.onnx"), tmp_path, result, images, labels)


def test_names_missing_repeated_and_initializers_listed_as_inputs(write, tmp_path):
    path = write(LOGITS)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = "same"
    model.graph.node[0].name = ""
    onnx.save(model, path)
    list_initializers(path)
    images = images_for(path)
    result, labels = audit(path, tmp_path, 5, images)
    plain = write(LOGITS, name="plain.onnx")  # onnxruntime refuses repeated names
    check_plain(plain, tmp_path, result, images, labels)


def test_further_inputs_are_given_by_option(write, tmp_path):
    text = head("float[N,5] y", "g = Mul(f, gain) z = MatMul(g, v) y = Add(z, shift)")
    path = write(text.replace("x) =>", "x, float gain, float[N,5] shift) =>"))
    images = images_for(path)
    with pytest.raises(ModelError, match=r"inputs=NAME=NUMBER: gain .*; shift"):
        audit(path, tmp_path, 5, images)
    shift = np.linspace(-1, 1, 5)
    np.save(tmp_path / "shift.npy", shift)
    inputs = (("gain", "2"), ("shift", str(tmp_path / "shift.npy")))
    result, labels = audit(path, tmp_path, 5, images, inputs=inputs)
    feeds = {
        "x": images,
        "gain": np.array(2, np.float32),
        "shift": np.tile(shift, (SAMPLES, 1)).astype(np.float32),
    }
    told = ort.InferenceSession(path).run(None, feeds)[0].argmax(axis=1)
    assert result.accuracy == pytest.approx((told == labels).mean())


def test_custom_operators_are_run_from_their_library(write, tmp_path):
    extensions = pytest.importorskip("onnxruntime_extensions", reason="no library of operators")
    text = head("float[N,5] y", "z = MatMul(f, v) y = Identity(z)")
    model = onnx.load(write(text))
    last = model.graph.node[-1]
    last.op_type, last.domain = "NegPos", "ai.onnx.contrib"
    last.output[:] = ["below", "y"]
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    onnx.save(model, tmp_path / "custom.onnx")
    images = images_for(tmp_path / "custom.onnx")
    library = extensions.get_library_path()
    result, _ = audit(tmp_path / "custom.onnx", tmp_path, 5, images, custom_ops=library)
    assert result.site.tensor == "r"
