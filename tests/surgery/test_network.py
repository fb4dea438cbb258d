"""Networks as they are read, refused, and left by another tool."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from analyzer import surgery
from analyzer.errors import ModelError
from analyzer.surgery.input_sizes import fix_sizes
from analyzer.surgery.validation import reports_invalid_file

TEXT = """
net (float[N,3,H,W] x) => (float[N,4] y)
<float[4,3,3,3] w>
{
    c = Conv(x, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
"""


def test_info_says_what_the_file_says(write):
    path = write(TEXT)
    info = surgery.load_network(path).info
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (info.path, info.bytes, info.opset) == (path, path.stat().st_size, 17)
    assert [(t.name, t.dtype, t.shape) for t in info.inputs] == [
        ("x", "float32", ("N", 3, "H", "W"))
    ]
    assert [(t.name, t.shape) for t in info.outputs] == [("y", ("N", 4))]


def test_initializers_listed_as_inputs_are_weights(write, cut_and_compare):
    path = write(TEXT)
    model = onnx.load(path)
    weights = model.graph.initializer[0]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims)
    )
    model.ir_version = 3
    onnx.save(model, path)
    network = surgery.load_network(path)
    assert [t.name for t in network.info.inputs] == ["x"]
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    cut_and_compare(network, surgery.default_site(network), {"x": x})


def test_external_data_is_found_hashed_and_kept(write, cut_and_compare):
    path = write(TEXT)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    network = surgery.load_network(path)
    both = path.read_bytes() + path.with_name("w.bin").read_bytes()
    assert network.info.bytes == len(both)
    assert network.info.sha256 == hashlib.sha256(both).hexdigest()
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    cut_and_compare(network, surgery.default_site(network), {"x": x})


@pytest.fixture
def compare_cut_at(tmp_path, cut_and_compare):
    """compare_cut_at(model, operator): the network is cut there, and gives what it gave."""

    def compare(model, operator):
        path = tmp_path / "functions.onnx"
        onnx.save(model, path)
        network = surgery.load_network(path)
        site = surgery.default_site(network)
        assert (site.operator, site.channels) == (operator, 3)
        x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
        cut_and_compare(network, site, {"x": x})

    return compare


def test_local_functions_are_inlined(compare_cut_at):
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N,3,6,6] x) => (float[N,3] y)
        {
            c = local.activate(x)
            p = GlobalAveragePool(c)
            y = Flatten(p)
        }
        <domain: "local", opset_import: ["" : 17]>
        activate (a) => (b)
        {
            w = Constant<value = float[3,3,1,1] {1, 2, 3, 4, 5, 6, 7, 8, 9}>()
            m = Conv(a, w)
            b = Relu(m)
        }
    """)
    compare_cut_at(model, "Relu")


@pytest.mark.parametrize("leaves_out", [True, False])
@pytest.mark.parametrize("calls", [1, 600])  # of which the latter are inlined by onnx itself
def test_calls_may_leave_out_outputs(leaves_out, calls, compare_cut_at):
    text = """
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N,3,6,6] x) => (float[N,3] y)
        <float[3,3,1,1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
        {
            m = Conv(x, w)
            r = Relu(m)
            left_out_0, c = local.two(r)
            p = GlobalAveragePool(c)
            y = Flatten(p)
        }
        <domain: "local", opset_import: ["" : 17]>
        two (a) => (z, b)
        {
            z = Neg(a)
            b = Tanh(a)
        }
    """
    model = onnx.parser.parse_model(text)
    (node,) = (node for node in model.graph.node if node.op_type == "two")
    if leaves_out:
        node.output[0] = ""
    for number in range(calls - 1):  # that nobody uses
        model.graph.node.add(op_type="two", domain="local", input=["r"], output=["", f"o{number}"])
    compare_cut_at(model, "Tanh")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not an ONNX file, or is truncated"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX file, or is truncated"),
        (b"\x08\x08", "holds no ONNX graph"),
    ],
)
def test_what_is_not_onnx_is_refused(tmp_path, content, message):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"broken\.onnx.*{message}"):
        surgery.load_network(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file_is_refused(write, share):
    path = write(TEXT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"network\.onnx"):
        surgery.load_network(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        surgery.load_network(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        surgery.load_network(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes by name")
def test_what_is_no_file_is_called_what_it_is(write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place, what in ((tmp_path / "pipe", "a pipe"), ("/dev/urandom", "a device")):
        with pytest.raises(ModelError, match=f"{place} is {what}. Give the path of an ONNX file."):
            surgery.load_network(place)
        with pytest.raises(ModelError, match=f"operators {place} is {what}, not a file"):
            surgery.load_network(write(TEXT), custom_ops=place)


def test_invalid_graph_is_refused(write):
    path = write(TEXT)
    model = onnx.load(path)
    model.graph.node[1].input[0], model.graph.node[1].name = "nothing", "late"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"not a valid ONNX network: .* node: name: late OpType"):
        surgery.load_network(path)


def test_shapes_follow_from_sizes_that_lie_beside_the_network(write, monkeypatch, tmp_path):
    path = write(
        """
        net (float[N,2,4,4] x) => (float[N,K] y)
        <int64[2] target = {-1, 128}, float[4] scales = {1, 1, 2, 2}>
        { wide = Resize(x, , scales) y = Reshape(wide, target) }
        """
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path / "elsewhere")
    wide, scores = (node.outputs[0] for node in surgery.load_network(path).model.graph)
    assert list(wide.shape)[1:] == [2, 8, 8]
    assert scores.shape[1] == 128


def test_missing_and_truncated_external_data_are_refused(write):
    path = write(TEXT)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    data = path.with_name("w.bin")
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"w\.bin.*truncated"):
        surgery.load_network(path)
    data.unlink()
    with pytest.raises(ModelError, match=r"'w\.bin', which is not beside it"):
        surgery.load_network(path)


def test_weights_that_are_not_beside_a_link_are_asked_for_where_they_are_looked_for(
    write, tmp_path, monkeypatch
):
    path = write(TEXT)
    (path.parent / "sub").mkdir()
    where = "sub/w.bin"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=where, size_threshold=0)
    (tmp_path / "linked").mkdir()
    monkeypatch.chdir(tmp_path / "linked")
    Path("link.onnx").symlink_to(path)
    with pytest.raises(ModelError) as refused:
        surgery.load_network("link.onnx")
    assert str(refused.value).endswith(
        "in 'sub/w.bin', which is not beside it. link.onnx is a link, and weights are looked for "
        f"beside the link: name {str(path.resolve())!r} itself, or copy that file to 'sub/w.bin'."
    )
    surgery.load_network(path.resolve())
    Path("sub").mkdir()
    (path.parent / where).rename(where)
    surgery.load_network("link.onnx")
    Path(where).rename("w.bin")
    with pytest.raises(ModelError, match=r"beside the link: copy that file to 'sub/w\.bin'\.$"):
        surgery.load_network("link.onnx")
    with pytest.raises(ModelError, match=r"not beside it\. Copy that file to '.*/sub/w\.bin'\.$"):
        surgery.load_network(path)


def test_weights_of_another_size_than_they_say_are_refused(write):
    path = write(TEXT)
    model = onnx.load(path)
    model.graph.initializer[0].raw_data += bytes(4)
    onnx.save(model, path)
    with pytest.raises(ModelError, match="is damaged: the weights w of shape"):
        surgery.load_network(path)


def test_what_only_the_full_check_finds_is_blamed_on_the_file(write):
    path = write(TEXT)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"network\.onnx"):
        surgery.default_site(surgery.load_network(path))


def test_memory_that_the_check_of_a_network_lacks_is_no_fault_of_the_network(tmp_path, monkeypatch):
    def lack(*_, **__):
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr("onnx.checker.check_model", lack)
    with pytest.raises(MemoryError, match="bad_alloc"):
        reports_invalid_file(lack)(tmp_path / "model.onnx")


def test_defects_of_ours_are_not_blamed_on_a_valid_file(write):
    @reports_invalid_file
    def stumble(network):
        raise KeyError("ours")

    with pytest.raises(KeyError):
        stumble(surgery.load_network(write(TEXT)))


def test_runnable_copy_is_made_only_where_names_repeat(write, tmp_path):
    path = write(TEXT)
    assert surgery.runnable_file(surgery.load_network(path), tmp_path) == path
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = "same"
    onnx.save(model, path)
    copy = surgery.runnable_file(surgery.load_network(path), tmp_path)
    names = [node.name for node in onnx.load(copy).graph.node]
    assert names == ["same", "same_2", "same_3", "same_4"]


def test_very_many_weights_that_nothing_reads_are_not_run(write, tmp_path):
    path = write(TEXT)
    model = onnx.load(path)
    read = [tensor.name for tensor in model.graph.initializer]
    for number in range(2000):
        unread = onnx.numpy_helper.from_array(np.ones(1, np.float32), f"unread_{number}")
        model.graph.initializer.append(unread)
    onnx.save(model, path)
    network = surgery.load_network(path)
    copy = surgery.runnable_file(network, tmp_path)
    assert copy != path
    assert [tensor.name for tensor in onnx.load(copy).graph.initializer] == read
    masked = tmp_path / "masked.onnx"
    surgery.write_masked(network, surgery.default_site(network), masked, to_run=True)
    assert not any("unread" in one.name for one in onnx.load(masked).graph.initializer)


FUNCTION = """
<ir_version: 8, opset_import: ["" : 8, "local" : 1]>
net (float[N,3,4,4] x) => (float[N,2] y)
<float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}>
{
    c = Conv(x, w)
    r = local.positive(c)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
<opset_import: ["" : 8], domain: "local">
positive (a) => (b) { b = Relu(a) }
"""


def test_functions_of_an_old_opset_stay(tmp_path):
    path = tmp_path / "network.onnx"
    model = onnx.parser.parse_model(FUNCTION)
    onnx.save(model, path)
    network = surgery.load_network(path)
    assert [node.op_type for node in network.model.graph if node.domain] == []
    assert surgery.default_site(network).operator == "Relu"


BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x) => (float[N,3] y)
<float[3,3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1}, bool positive = {1}>
{
    m = MatMul(x, w)
    y = If(positive) <
        then_branch = kept () => (float[N,3] same) { same = Identity(m) },
        else_branch = turned () => (float[N,3] negative) { negative = Neg(m) }>
}
"""


def test_weights_of_files_in_the_current_folder_are_not_taken(tmp_path, monkeypatch):
    """onnxruntime looks there for the condition of an If that lies beside the network."""
    folder, elsewhere, scratch = (tmp_path / name for name in ("network", "elsewhere", "scratch"))
    for one in (folder, elsewhere, scratch):
        one.mkdir()
    path = folder / "network.onnx"
    model = onnx.parser.parse_model(BRANCHES)
    for tensor in model.graph.initializer:  # the parser's fields are no raw data
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        )
    onnx.save_model(
        model, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0
    )
    (elsewhere / "positive").write_bytes(b"\0")
    monkeypatch.chdir(elsewhere)
    runnable = surgery.runnable_file(surgery.load_network(path), scratch)
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(ort.InferenceSession(runnable).run(None, {"x": x})[0], x)
    wrong = ort.InferenceSession(path).run(None, {"x": x})[0]
    assert np.array_equal(wrong, -x)  # else the copy is not needed any more


WEIGHTS_OF_BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,4,4] x) => (float[N,2] y)
<bool one = {1}>
{
    w = If(one) <
        then_branch = first () => (float[2,3,1,1] a)
            <float[2,3,1,1] v = {1, 2, 3, 4, 5, 6}> { a = Identity(v) },
        else_branch = second () => (float[2,3,1,1] b)
            <float[2,3,1,1] u = {6, 5, 4, 3, 2, 1}> { b = Identity(u) }>
    c = Conv(x, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
"""


def test_branches_may_keep_their_weights_in_another_file(tmp_path):
    path = tmp_path / "network.onnx"
    model = onnx.parser.parse_model(WEIGHTS_OF_BRANCHES)
    (branches,) = (node.attribute for node in model.graph.node if node.op_type == "If")
    (tmp_path / "w.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    for branch in branches:
        (tensor,) = branch.g.initializer
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
    onnx.save(model, path)
    network = surgery.load_network(path)
    surgery.cut_network(network, surgery.default_site(network), tmp_path)
    fix_sizes(network.model, "x", (1, 3, 4, 4))  # evaluates what it can


def test_texts_in_another_file_are_refused(write, tmp_path):
    path = write(TEXT)
    model = onnx.load(path)
    (tmp_path / "w.bin").write_bytes(b"text")
    texts = model.graph.initializer.add(name="texts", data_type=onnx.TensorProto.STRING, dims=[1])
    texts.data_location = onnx.TensorProto.EXTERNAL
    texts.external_data.add(key="location", value="w.bin")
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"keeps the texts texts in .*w\.bin, where ONNX allows"):
        surgery.load_network(path)


def test_a_file_of_much_more_than_weights_is_refused(write, tmp_path):
    """It is read as a whole, and one with holes is of any length."""
    path = write(TEXT)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    sha256 = surgery.load_network(path).info.sha256
    os.truncate(tmp_path / "w.bin", 1 << 40)
    with pytest.raises(ModelError, match=r"w.bin has 1,099,511,627,\d+ bytes besides the weights"):
        surgery.load_network(path)
    os.truncate(tmp_path / "w.bin", 10_000)
    assert surgery.load_network(path).info.sha256 != sha256


def test_a_producer_that_is_not_text_is_refused(tmp_path):
    """Found by the fuzz test: protobuf hands such a field over as bytes."""
    content = (Path(__file__).parents[1] / "fixtures" / "vgg16-older-free.onnx").read_bytes()
    path = tmp_path / "network.onnx"
    path.write_bytes(content.replace(b"pytorch", b"py\xc1orch", 1))
    with pytest.raises(ModelError, match="damaged: its producer_name is not text"):
        surgery.load_network(path)


NETWORK = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N,2,4,4] x, float[1] factor) => (float[N,2] y)
    <float[2,2,1,1] w = {1, 2, 3, 4}> {
        c = Conv(x, w)
        s = Mul(c, factor)
        r = Relu(s)
        p = GlobalAveragePool(r)
        y = Flatten(p)
    }"""


@pytest.fixture
def bound(tmp_path):
    onnx.save(onnx.parser.parse_model(NETWORK), tmp_path / "net.onnx")
    bound, _ = surgery.bind_inputs(
        surgery.load_network(tmp_path / "net.onnx"), {"factor": np.array(2.0, np.float32)}
    )
    return bound


def scores(path, images):
    return ort.InferenceSession(path).run(None, {"x": images})[0]


def double_and_turn_around(path):
    """Doubles the convolution's weights, and puts the nodes into an order nobody could run."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if list(tensor.dims) == [2, 2, 1, 1]:
            doubled = 2 * onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(doubled, tensor.name))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])
    return proto


def test_the_new_network_is_what_the_tool_leaves(bound, tmp_path):
    for name in ("same", "doubled"):
        (tmp_path / name).mkdir()
    same = surgery.rewrite_network(bound, tmp_path / "same", onnx.load)
    doubled = surgery.rewrite_network(bound, tmp_path / "doubled", double_and_turn_around)
    assert doubled.path.parent == tmp_path / "doubled"
    assert [info.name for info in doubled.info.inputs] == ["x"]
    assert surgery.default_site(doubled).tensor == surgery.default_site(bound).tensor
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(
        scores(doubled.path, images), 2 * scores(same.path, images), rtol=1e-6
    )


def test_what_is_no_network_is_refused(bound, tmp_path):
    def cut_off(path):
        proto = onnx.load(path)
        del proto.graph.node[1:]
        return proto

    with pytest.raises(ModelError, match="not a valid ONNX network"):
        surgery.rewrite_network(bound, tmp_path, cut_off)
