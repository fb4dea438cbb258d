"""Networks that are refused whatever is asked of them, for what they are or for their weights."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import surgery
from analyzer.errors import ModelError

TEXT = """
net (float[N,3,8,8] x) => (float[N,4] y)
<float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] var, float half = {0.5},
 float none = {0}, bool yes = {1}, bool no = {0}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    NORM
    r = Relu(n)
    DROPOUT
    p = GlobalAveragePool(d)
    y = Flatten(p)
}
"""
NORM = "n = BatchNormalization(c, g, b, m, var)"
DROPOUT = "d = Dropout(r)"


def network(write, norm=NORM, dropout=DROPOUT, **options):
    return surgery.load_network(
        write(TEXT.replace("NORM", norm).replace("DROPOUT", dropout), **options)
    )


@pytest.mark.parametrize("inputs", ["r", "r, half", "r, half, no", "r, none, yes"])
def test_dropout_at_inference_is_accepted(write, inputs):
    found = network(write, dropout=f"d = Dropout({inputs})")
    assert surgery.default_site(found).operator == "Relu"


def test_dropout_in_training_mode_is_refused_by_name(write):
    with pytest.raises(ModelError, match=r"training mode: its Dropout 'drop'.*model\.eval\(\)"):
        network(write, dropout="[drop] d = Dropout(r, half, yes)")


def test_batch_norm_in_training_mode_is_refused(write):
    norm = "n, m2, v2 = BatchNormalization<training_mode=1>(c, g, b, m, var)"
    with pytest.raises(ModelError, match="training mode: its BatchNormalization"):
        network(write, norm=norm)


def test_batch_norm_in_training_mode_of_old_opsets_is_refused(write):
    norm = "n, m2, v2, m3, v3 = BatchNormalization(c, g, b, m, var)"
    with pytest.raises(ModelError, match="training mode: its BatchNormalization"):
        network(write, norm=norm, opset=11)


CUSTOM = """
<ir_version: 8, opset_import: ["" : 17, "my.ops" : 1]>
net (float[N,3,8,8] x) => (float[N,3] y)
{
    r = my.ops.Warp(x)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
"""


@pytest.fixture
def custom(tmp_path):
    import onnx

    path = tmp_path / "custom.onnx"
    onnx.save(onnx.parser.parse_model(CUSTOM), path)
    return path


def test_custom_operator_is_refused_by_name(custom):
    with pytest.raises(ModelError, match=r"operator Warp of the domain 'my\.ops'.*custom_ops"):
        surgery.load_network(custom)


def test_custom_operator_is_taken_as_it_is_with_its_library(custom, tmp_path):
    library = tmp_path / "ops.so"
    with pytest.raises(ModelError, match=r"ops\.so does not exist"):
        surgery.load_network(custom, custom_ops=library)
    library.write_bytes(b"no library")
    assert surgery.load_network(custom, custom_ops=library).custom_ops == library


def test_a_library_without_a_custom_operator_is_refused(write, tmp_path):
    library = tmp_path / "ops.so"
    library.write_bytes(b"no library")
    network = write("""
        plain (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w> {
            c = Conv(x, w)
            r = Relu(c)
            p = GlobalAveragePool(r)
            y = Flatten(p)
        }""")
    with pytest.raises(ModelError, match=r"custom_ops=.*ops\.so.* does nothing here"):
        surgery.load_network(network, custom_ops=library)


def test_library_that_cannot_be_loaded_is_named(custom, tmp_path):
    from analyzer.runtime import open_session

    library = tmp_path / "ops.so"
    library.write_bytes(b"no library")
    with pytest.raises(ModelError, match=r"cannot load the custom operators in .*ops\.so"):
        open_session(custom, "cpu", custom_ops=library)


def test_networks_that_draw_random_numbers_are_refused(write):
    text = """
        noisy (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w> {
            c = Conv(x, w)
            r = Relu(c)
            n = RandomNormalLike(r)
            s = Add(r, n)
            p = GlobalAveragePool(s)
            y = Flatten(p)
        }"""
    with pytest.raises(ModelError, match=r"draws random numbers \(RandomNormalLike\)"):
        surgery.load_network(write(text))
    surgery.load_network(write(text.replace("Add(r, n)", "Add(r, r)")))
    inside = text.replace(
        "n = RandomNormalLike(r)",
        "n = If(yes)<then_branch = one () => (a) {a = RandomNormalLike(r)}, "
        "else_branch = two () => (b) {b = Relu(r)}>",
    ).replace("w>", "w, bool yes = {1}>")
    with pytest.raises(ModelError, match=r"draws random numbers \(RandomNormalLike\)"):
        surgery.load_network(write(inside))


@pytest.mark.parametrize(
    ("fatal", "safe"),
    [
        ("GatherND<batch_dims=-9223372036854775808>(r, at)", "GatherND(r, at)"),
        ("com.microsoft.Inverse(c)", "com.microsoft.Inverse(even)"),
        ('TfIdfVectorizer<mode="TF">(r)', "Relu(r)"),
        ("DepthToSpace<blocksize=4294967296>(r)", "DepthToSpace<blocksize=1>(r)"),
        ("DepthToSpace<blocksize=0>(r)", "DepthToSpace<blocksize=2>(r)"),
        ("MaxPool<kernel_shape=[2,2], strides=[0,1]>(r)", "MaxPool<kernel_shape=[2,2]>(r)"),
        ("STFT(signal, two, , none)", "STFT(signal, two, , two)"),
        ("STFT(signal, none, , two)", "STFT(signal, two, , two)"),
        ("STFT(signal, two, , computed)", "STFT(signal, two, , two)"),
        (
            "com.microsoft.MultiHeadAttention<num_heads=0>(tokens, tokens, tokens)",
            "com.microsoft.MultiHeadAttention<num_heads=2>(tokens, tokens, tokens)",
        ),
        ("SplitToSequence<axis=1>(r, none)", "SplitToSequence<axis=1>(r, two)"),
        ("SplitToSequence<axis=1>(r, computed)", "SplitToSequence<axis=1>(r)"),
    ],
)
def test_forms_of_operators_that_stop_a_process_are_refused(fatal, safe, write):
    text = """
        net (float[N,3,9,8] x) => (float[N,4] y)
        <float[4,3,3,3] w, float[2,2] even = {1, 0, 0, 1}, int64[1,1] at = {0}, int64 none = {0},
         int64 two = {2}, float[1,8,1] signal, float[1,3,4] tokens> {
            c = Conv(x, w)
            r = Relu(c)
            computed = Size(x)
            unread = FATAL
            p = GlobalAveragePool(r)
            y = Flatten(p)
        }"""
    path = write(text.replace("FATAL", "Relu(r)"))
    model = onnx.load(path)
    opsets = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
    for said, refused in ((fatal, True), (safe, False)):
        node = onnx.parser.parse_model(opsets + text.replace("FATAL", said)).graph.node[3]
        model.graph.node[3].CopyFrom(node)
        del model.opset_import[1:]
        model.opset_import.add(domain="com.microsoft", version=1)
        onnx.save(model, path)
        if refused:
            with pytest.raises(
                ModelError,
                match=r"in a form that can stop the process|, which cannot be|not a valid",
            ):
                surgery.load_network(path)
        else:
            surgery.load_network(path)


BYTES = 4 * 4 * 3 * 3 * 3


@pytest.fixture
def with_weights_beside(tmp_path):
    """with_weights_beside(location=…, …): a network whose kernel is said to lie there."""
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "kernel.bin").write_bytes(kernel.tobytes())
    (tmp_path / "half.bin").write_bytes(kernel.tobytes()[: BYTES // 2])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kernel.bin").write_bytes(kernel.tobytes())
    (tmp_path / "link.bin").symlink_to("kernel.bin")
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.bin")

    def write(dims=(4, 3, 3, 3), **said):
        tensor = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "kernel.bin", **said}.items():
            tensor.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
                helper.make_node("Relu", ["c"], ["r"]),
                helper.make_node("GlobalAveragePool", ["r"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"]),
                helper.make_node("MatMul", ["f", "head"], ["y"]),
            ],
            "external",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
            [tensor, numpy_helper.from_array(np.ones((4, 5), np.float32), "head")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / "network.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "network.onnx"

    return write


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"offset": "0", "length": str(BYTES)},
        {"location": "folder/kernel.bin"},
        {"location": "./kernel.bin", "offset": "0"},
    ],
)
def test_weights_that_are_there_are_read(with_weights_beside, said):
    loaded = surgery.load_network(with_weights_beside(**said))
    kernel = loaded.model.graph.initializers["kernel"].const_value.numpy()
    np.testing.assert_array_equal(
        kernel, np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("f4")
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"location": "half.bin"}, "half.bin.*truncated: 432 bytes are needed, 216 are there"),
        ({"location": "half.bin", "length": str(BYTES)}, "half.bin.*truncated"),
        ({"offset": "4"}, "kernel.bin.*truncated: 436 bytes"),
        ({"offset": "-4"}, "offset '-4', which is no number of bytes"),
        ({"length": "-432"}, "length '-432', which is no number"),
        ({"offset": "abc"}, "offset 'abc'"),
        ({"basepath": "x"}, "says 'basepath' of the weights kernel"),
        ({"offset": ""}, "offset ''"),
        ({"length": "1e3"}, "length '1e3'"),
        ({"offset": "9" * 40}, "which is no number of bytes"),
        ({"length": "100"}, "100 bytes, but their shape .* takes 432"),
        ({"location": "network.onnx"}, "which is the network itself"),
        ({"location": "/etc/passwd"}, "no file in its own folder"),
        ({"location": "../kernel.bin"}, "no file in its own folder"),
        ({"location": "folder/../kernel.bin"}, "no file in its own folder"),
        ({"location": ""}, "no file in its own folder"),
        ({"location": "a\0b"}, "no file in its own folder"),
        ({"location": "missing.bin"}, "not beside it"),
        ({"location": "folder"}, "no regular file"),
        ({"location": "pipe.bin"}, "no regular file"),
        ({"location": "link.bin"}, "symbolic link"),
        ({"location": "zero.bin"}, "symbolic link"),
        ({"dims": (4, 3, 3, -3)}, "shape .*-3.*cannot be"),
        ({"dims": (2**40, 2**20)}, "bytes of weights|truncated"),
    ],
)
def test_weights_that_cannot_be_are_refused(with_weights_beside, said, words):
    with pytest.raises(ModelError, match=words) as refused:
        surgery.load_network(with_weights_beside(**said))
    assert "network.onnx" in str(refused.value)


def test_a_valid_network_that_onnx_ir_cannot_read_is_refused(tmp_path):
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("indices", TensorProto.INT64, [1], [2]),
        [3],
    )
    nodes = [
        helper.make_node("Constant", [], ["shift"], sparse_value=sparse),
        helper.make_node("Add", ["x", "shift"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (tmp_path / "sparse.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"sparse\.onnx holds something that onnx-ir cannot read"):
        surgery.load_network(tmp_path / "sparse.onnx")
    del model.graph.node[0]
    sparse.values.name = "shift"
    model.graph.sparse_initializer.append(sparse)
    (tmp_path / "sparse.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="keeps the weights shift as a sparse tensor"):
        surgery.load_network(tmp_path / "sparse.onnx")


def test_a_file_that_no_onnx_file_can_be_as_large_as_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # takes no room
    with pytest.raises(ModelError, match="larger than 2 GiB"):
        surgery.load_network(path)


@pytest.mark.parametrize("equation", ["ij-", "ij.", "a.b->", "....", "...a...->a", "\x1b[31m...->"])
def test_an_equation_that_onnx_would_read_without_an_end_is_refused(tmp_path, equation):
    node = helper.make_node("Einsum", ["x"], ["y"], equation=equation)
    with pytest.raises(ModelError, match="which is none"):
        surgery.load_network(_one_node(tmp_path, node))


@pytest.mark.parametrize("equation", ["ij->ji", "ij", " i j -> j i ", "...j->j...", "..."])
def test_equations_are_not_refused(tmp_path, equation):
    node = helper.make_node("Einsum", ["x"], ["y"], equation=equation)
    surgery.load_network(_one_node(tmp_path, node))


@pytest.mark.parametrize(
    ("operator", "divisor", "refused"),
    [("Div", -1, True), ("Mod", 0, True), ("Div", 0, True), ("Div", 2, False), ("Mod", -2, False)],
)
def test_integers_divided_so_that_the_process_can_stop_are_refused(
    tmp_path, operator, divisor, refused
):
    node = helper.make_node(operator, ["least", "by"], ["shift"])
    weights = {"least": np.array(-(2**63)), "by": np.array(divisor)}
    after = [
        helper.make_node("Cast", ["shift"], ["floating"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "floating"], ["y"]),
    ]
    path = _one_node(tmp_path, node, *after, weights=weights)
    if refused:
        with pytest.raises(ModelError, match="divides integers by 0 or by -1"):
            surgery.load_network(path)
    else:
        surgery.load_network(path)


def _one_node(folder, *nodes, weights=None):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    ends[1] = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["A", "B"])
    initializers = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    return folder / "network.onnx"


@pytest.mark.parametrize("missing", [0, 1, -1])
@pytest.mark.parametrize("place", ["initializer", "constant"])
@pytest.mark.parametrize(
    "kind", ["FLOAT", "DOUBLE", "INT8", "INT64", "UINT64", "FLOAT16", "INT4", "COMPLEX64", "STRING"]
)
def test_tensors_that_hold_more_or_less_than_their_shape_are_refused(write, kind, place, missing):
    path = write(TEXT.replace("NORM", NORM).replace("DROPOUT", DROPOUT), opset=21, ir_version=10)
    model = onnx.load(path)
    values = [b"a"] * 4 if kind == "STRING" else [1] * 4
    tensor = helper.make_tensor("more", getattr(TensorProto, kind), [4], values)
    held = getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))
    if missing < 0:
        held.append(held[0])
    elif missing:
        held.pop()
    if place == "initializer":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["more"], value=tensor))
    onnx.save(model, path)
    if missing:
        with pytest.raises(ModelError, match=r"more|not a valid ONNX network"):
            surgery.load_network(path)
    else:
        surgery.load_network(path)
