"""Bad input: one clear sentence that names the culprit and the way out, exit 2, no trace."""

import io
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

PLAIN = ("--preprocess", "none", "--json")


@pytest.fixture
def against_network(refused, network):
    """The same for the good network, and "--out some/new/folder"."""
    return lambda *arguments: refused(network, *arguments, "--out", "some/new/folder")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"these are not the bytes of a network", "is not an ONNX file, or is truncated"),
        (b"", "is empty"),
        (None, "does not exist"),
    ],
)
def test_not_an_onnx_file(refused, train, tmp_path, content, wanted):
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    sentence = refused(tmp_path / "model.onnx", "--data", train, "--out", "audit")
    assert f"{tmp_path / 'model.onnx'} {wanted}" in sentence


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated_onnx(refused, network, train, kept):
    content = network.read_bytes()
    network.write_bytes(content[: int(len(content) * kept)])
    assert "network.onnx" in refused(network, "--data", train, "--out", "audit")


def test_no_convolution(onnx_gap, tmp_path):
    """It can be audited with nothing removed, but not masked."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "dense (float[N,64] x) => (float[N,10] y) <float[64,10] w> { y = MatMul(x, w) }"
    )
    weights = onnx.numpy_helper.from_array(np.ones((64, 10), np.float32), "w")
    model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "dense.onnx")
    shown = onnx_gap("mask", tmp_path / "dense.onnx", "-o", "masked.onnx")
    assert shown.code == 2
    assert "has no convolution" in shown.err
    assert "--site" in shown.err


def test_a_site_that_is_not_there_with_near_matches(against_network, train):
    sentence = against_network("--data", train, "--site", "node_conv2d_33")
    assert "no node or tensor called 'node_conv2d_33'" in sentence
    assert "Did you mean 'node_conv2d_3'" in sentence


def test_an_axis_that_the_site_lacks(against_network, train):
    sentence = against_network("--data", train, "--site", "relu_3", "--axis", 7)
    assert "[batch, 48, 4, 4]" in sentence
    assert "--axis" in sentence


def test_an_output_that_is_not_there(against_network, train):
    assert "It has: scores" in against_network("--data", train, "--output", "logits")


def test_a_label_outside_the_networks_classes(against_network, save, digits):
    labels = digits["labels"].copy()
    labels[7] = 12
    sentence = against_network("--data", save(images=digits["images"], labels=labels))
    assert "Sample 7 of" in sentence
    assert "has label 12, outside the network's 10 classes" in sentence


def test_a_label_below_zero(against_network, save, digits):
    labels = digits["labels"].copy()
    labels[7] = -1
    sentence = against_network("--data", save(images=digits["images"], labels=labels))
    assert "The label of sample 7" in sentence


def test_arrays_of_a_size_that_the_network_refuses(against_network, save, digits):
    images = np.zeros((60, 1, 9, 9), np.float32)
    sentence = against_network("--data", save(images=images, labels=digits["labels"]))
    assert "(1, 9, 9)" in sentence
    assert "(1, 8, 8)" in sentence


def test_an_image_size_that_the_network_refuses(against_network, train):
    sentence = against_network("--data", train, "--img-size", 16)
    assert "16×16" in sentence
    assert "--img-size 8" in sentence


def test_an_image_size_that_only_running_shows(refused, train, tmp_path, network):
    model = onnx.load(network)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = dim.dim_param or "size"
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "free.onnx")
    options = ("--data", train, "--img-size", 16, "--out", "audit", "--anyway")
    sentence = refused(tmp_path / "free.onnx", *options)
    assert "16 rows of scores for 4 images" in sentence
    assert "--img-size" in sentence


def test_values_that_are_not_finite(against_network, save, digits):
    images = np.zeros((60, 1, 8, 8), np.float32)
    images[7, 0, 3, 3] = np.nan
    sentence = against_network("--data", save(images=images, labels=digits["labels"]))
    assert sentence.startswith("Error: 7 in ")
    assert "--skip-bad" in sentence


def test_activity_that_overflows(against_network, save, digits):
    images = np.full((60, 1, 8, 8), 3e38, np.float32)
    sentence = against_network("--data", save(images=images, labels=digits["labels"]))
    assert re.search(r"activity (nan|-?inf)", sentence)


def test_weights_that_are_not_numbers(refused, network, train):
    model = onnx.load(network)
    (last,) = [one for one in model.graph.initializer if one.name == "14.bias"]
    last.CopyFrom(onnx.numpy_helper.from_array(np.full(last.dims, np.nan, np.float32), last.name))
    onnx.save(model, network)
    sentence = refused(network, "--data", train, "--out", "audit")
    assert "The score of class 0 is not a number" in sentence


def test_weights_that_are_not_numbers_without_a_site(refused, train, tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "dense (float[N,1,8,8] x) => (float[N,10] y) <float[64,10] w, float[10] b> "
        "{ flat = Flatten(x) product = MatMul(flat, w) y = Add(product, b) }"
    )
    for name, value, shape in (("w", 1, (64, 10)), ("b", np.nan, (10,))):
        weights = onnx.numpy_helper.from_array(np.full(shape, value, np.float32), name)
        model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "dense.onnx")
    sentence = refused(tmp_path / "dense.onnx", "--data", train, "--out", "audit")
    assert "The score of class 0 is not a number" in sentence


SEQUENCES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,1,8,8] x) => (float[N,10] y)
<float[2,1,3,3] w, float[128,10] v, int64 one = {1}>
{
  c = Conv<pads=[1,1,1,1]>(x, w)
  r = Relu(c)
  sequence = SequenceConstruct(r, r)
  t = SequenceAt(sequence, one)
  f = Flatten(t)
  y = MatMul(f, v)
}
"""


def _of_text(text, path):
    model = onnx.parser.parse_model(text)
    for name, shape in (("w", (2, 1, 3, 3)), ("v", (128, 10))):
        weights = onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        model.graph.initializer.append(weights)
    onnx.save(model, path)
    return path


def test_a_network_that_is_not_cut_is_named_not_its_parts(refused, train, tmp_path):
    network = _of_text(SEQUENCES, tmp_path / "sequences.onnx")
    sentence = refused(network, "--data", train, "--out", "audit", "--anyway")
    assert f"onnxruntime loads {network}, but not what is left where it is cut at 'r'" in sentence
    assert "suffix.onnx" not in sentence


def test_a_network_that_cannot_be_masked_is_named_not_a_file_of_ours(refused, train, tmp_path):
    text = SEQUENCES.replace("SequenceConstruct(r, r)", "SplitToSequence<axis=1>(r)")
    text = text.replace(
        "  f = Flatten(t)", "  k = ConcatFromSequence<axis=1>(sequence)\n f = Flatten(k)"
    )
    network = _of_text(text, tmp_path / "sequences.onnx")
    sentence = refused(network, "--data", train, "--out", "audit", "--anyway")
    assert "onnxruntime loads the network, but not with a mask at 'r'" in sentence
    assert "masked.onnx" not in sentence
    assert "without sequences" in sentence


def test_a_network_without_scores(refused, train, tmp_path):
    text = SEQUENCES.replace("y = MatMul(f, v)", "z = MatMul(f, v)\n  y, places = TopK(z, none)")
    text = text.replace("int64 one = {1}", "int64 one = {1}, int64[1] none = {0}")
    network = _of_text(
        text.replace("= SequenceAt(sequence, one)", "= Relu(r)"), tmp_path / "n.onnx"
    )
    sentence = refused(network, "--data", train, "--out", "audit", "--anyway")
    assert "output y has the shape (4, 0), so there are no scores. Export" in sentence


def test_a_padding_that_onnx_does_not_have(refused, train, tmp_path):
    text = SEQUENCES.replace("<pads=[1,1,1,1]>", '<auto_pad="BAD">')
    network = _of_text(text, tmp_path / "padded.onnx")
    sentence = refused(network, "--data", train, "--out", "audit")
    assert "of the operator Conv with the auto_pad 'BAD'" in sentence


@pytest.mark.parametrize("damage", [40, 0])
def test_an_unreadable_image_is_named_with_the_way_out(against_network, class_folders, damage):
    bad = class_folders / "3" / "c.png"
    bad.write_bytes(bad.read_bytes()[:damage])
    sentence = against_network("--data", class_folders, *PLAIN)
    assert "3/c.png in" in sentence
    assert "--skip-bad" in sentence


def test_no_readable_image_at_all(against_network, class_folders):
    for path in class_folders.rglob("*.png"):
        path.write_bytes(b"")
    assert "0/a.png" in against_network("--data", class_folders, "--skip-bad", *PLAIN)


def test_an_empty_class_folder(against_network, class_folders):
    for path in (class_folders / "4").iterdir():
        path.unlink()
    sentence = against_network("--data", class_folders)
    assert f"{class_folders / '4'} holds no image" in sentence


def test_a_class_folder_too_few(against_network, class_folders):
    for path in (class_folders / "9").iterdir():
        path.unlink()
    (class_folders / "9").rmdir()
    sentence = against_network("--data", class_folders)
    assert "9 classes but the network has 10" in sentence
    assert "--classes" in sentence


def test_npz_with_other_keys(against_network, save, digits):
    data = save(pictures=digits["images"], tags=digits["labels"])
    sentence = against_network("--data", data)
    assert "holds 'pictures', 'tags'" in sentence
    assert "--keys" in sentence
    assert "not 'a'" in against_network("--data", data, "--keys", "a,tags")


@pytest.mark.parametrize("keys", ["images", "a,b,c", "images,"])
def test_keys_that_are_not_two(against_network, train, keys):
    assert "--keys" in against_network("--data", train, "--keys", keys)


class Trap:
    """Unpickling one of these is noticed."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_pickled_objects_are_never_read(against_network, save, digits):
    objects = np.array([Trap()] * 60, dtype=object)
    sentence = against_network("--data", save(images=objects, labels=digits["labels"]))
    assert "pickled objects are never read" in sentence
    sentence = against_network("--data", save(images=digits["images"], labels=objects))
    assert "pickled objects are never read" in sentence
    assert not Trap.sprung


def test_npz_that_is_truncated_or_uneven(against_network, save, digits):
    data = save(images=digits["images"], labels=digits["labels"][:50])
    assert "holds 60 images but 50 labels" in against_network("--data", data)
    data.write_bytes(data.read_bytes()[:900])
    assert "is not a readable .npz file" in against_network("--data", data)


def test_data_that_are_missing_or_not_named(against_network, network, tmp_path):
    assert "There is no data at nowhere" in against_network("--data", "nowhere")
    assert "name them with --data" in against_network()
    sentence = against_network("--data", network)
    assert f"{network} is not a known kind of data" in sentence
    assert "near it: digits" in against_network("--data", "zoo:digts")


def test_a_device_that_cannot_be_had(against_network, train, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.providers.Cuda.count", lambda self: 0)
    sentence = against_network("--data", train, "--device", "cuda")
    assert "no NVIDIA GPU" in sentence or "no CUDA provider" in sentence
    assert "--device cpu" in sentence
    assert "Unknown device 'gpu'" in against_network("--data", train, "--device", "gpu")
    sentence = against_network("--data", train, "--device", "cuda:1,cuda:0")
    assert "--device cuda:1" in sentence
    assert "'cpu' is none" in against_network("--data", train, "--device", "cuda:0,cpu")


def test_a_precision_that_the_device_lacks(against_network, train):
    sentence = against_network("--data", train, "--device", "cpu", "--precision", "tf32")
    assert "--precision tf32 is for NVIDIA GPUs" in sentence
    assert "--precision float32" in sentence


@pytest.mark.parametrize(
    "wrong",
    [
        ["--chance", "2"],
        ["--chance", "nan"],
        ["--min-accuracy", "70"],
        ["--max-gap", "nan"],
        ["--limit-per-class", "0"],
        ["--seed", "-1"],
        ["--precision", "int8"],
        ["--memory", "lots"],
        ["--memory", "0"],
        ["--crop-pct", "87.5"],
        ["--img-size", "big"],
        ["--mean", "a,b"],
        ["--std", "1,2,3,4"],
        ["--scale", "0"],
        ["--channels", "rgba"],
        ["--layout", "hwc"],
        ["--interpolation", "cubic"],
        ["--at", "relu"],
        ["--axis", "one"],
        ["--tolerance", "1"],
        ["--max-gap", "20%"],
        ["--input", "size"],
        ["--input", "size=3"],
    ],
    ids=" ".join,
)
def test_options_out_of_range_are_named(against_network, train, wrong):
    sentence = against_network("--data", train, *wrong)
    assert wrong[0].lstrip("-") in sentence


def test_files_that_options_name(against_network, train, tmp_path):
    assert "imagenet-tf" in against_network("--data", train, "--preprocess", "imagnet")
    sentence = against_network("--data", train, "--classes", "nowhere.txt")
    assert "nowhere.txt cannot be read (No such file or directory)" in sentence
    sentence = against_network("--data", train, "--gap-model", "nowhere.json")
    assert "nowhere.json cannot be read" in sentence
    sentence = against_network("--data", train, "--gap-model", train)
    assert "is not valid JSON" in sentence
    sentence = against_network("--data", train, "--custom-ops", "nowhere.so")
    assert "nowhere.so does not exist" in sentence
    (tmp_path / "other.json").write_text(json.dumps({"schema": 1}))
    sentence = against_network("--data", train, "--gap-model", tmp_path / "other.json")
    assert "other.json" in sentence


def test_a_place_that_takes_no_folder(refused, network, train):
    sentence = refused(network, "--data", train, "--out", train)
    assert "is a file, not a folder" in sentence
    assert "cannot be written" in refused(network, "--data", train, "--out", train / "below")
    assert "'--out'" in refused(network, "--data", train)


@pytest.mark.parametrize("out", ["", "a" * 300, "there/" + "b" * 300, "nul\0"])
def test_a_place_that_cannot_be(refused, onnx_gap, network, train, out, tmp_path):
    assert "--out" in refused(network, "--data", train, "--out", out) or len(out) > 200
    before = sorted(tmp_path.rglob("*"))
    for command in (("mask", network), ("fit", tmp_path / "nowhere.csv"), ("population", train)):
        assert onnx_gap(*command, "--out", out).code == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_not_utf8(refused, onnx_gap, network, digits, tmp_path):
    folder = tmp_path / "images"
    for number, (image, label) in enumerate(zip(*digits.values(), strict=True)):
        place = folder / f"{label}\udcff"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}\udce9.png")
    data = ("--data", folder, "--preprocess", "none")
    odd = shutil.copy(network, tmp_path / "n\udcff.onnx")
    assert "is not UTF-8 text" in refused(odd, *data, "--out", "audit")
    assert "n\\udcff.onnx is not UTF-8 text" in onnx_gap("inspect", odd).err
    assert "is not UTF-8 text" in refused(network, *data, "--out", "a\udcff")
    shown = onnx_gap("audit", network, *data, "--out", "audit")
    assert shown.code == 0, shown.err
    assert onnx_gap("verify", "audit").code == 0
    assert onnx_gap("report", "audit").code == 0
    assert onnx_gap("compare", "audit", "audit").code == 0
    assert json.loads(Path("audit/audit.json").read_text())["classes"][3]["name"] == "3\udcff"
    assert Path("audit/suspects.csv").read_text("utf-8").count("\\udce9.png") == 3  # 5 % of 60


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_archives_whose_names_are_not_utf8(refused, onnx_gap, network, digits):
    """They are hashed and read as any; pyarrow alone takes no such path."""
    np.savez("d\udcff.npz", **digits)
    with tarfile.open("d\udcff.tar", "w") as archive:
        for number, (image, label) in enumerate(zip(*digits.values(), strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            for ending, content in (("png", png.getvalue()), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{number:03}\udce9.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    Path("d\udcff.parquet").write_bytes(b"PAR1")
    curves = []
    for name in ("d\udcff.npz", "d\udcff.tar"):
        given = ("--data", name, "--test-data", name, "--preprocess", "none")
        shown = onnx_gap("audit", network, *given, "--out", name[-3:])
        assert shown.code == 0, shown.err
        assert onnx_gap("verify", name[-3:], "--data", name).code == 0
        curves.append(Path(name[-3:], "curves.npz").read_bytes())
    assert curves[0] == curves[1]
    said = refused(network, "--data", "d\udcff.parquet", "--out", "audit")
    assert "is not UTF-8 text" in said or "needs pyarrow" in said


def test_warnings_of_libraries_do_not_come_before_the_sentence(spawn, network, tmp_path):
    images = tmp_path / "images" / "0"
    images.mkdir(parents=True)
    png = io.BytesIO()
    Image.new("1", (13_300, 13_300)).save(png, "PNG")  # a few kilobytes
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(png.getvalue())
    (tmp_path / "classes.txt").write_text("\n".join("0123456789"))
    asked = ("--data", images.parent, "--classes", tmp_path / "classes.txt", "--out", "audit")
    out, err = spawn("audit", network, *asked).communicate(timeout=60)
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("Error: 0/a.png in ")
    assert "it has 176,890,000 pixels, more than the budget of 89,478,485 pixels" in err
    assert "pass --budget pixels=176890000)" in err


@pytest.mark.parametrize(("budget", "has"), [("channels=3", "channels"), ("classes=2", "classes")])
def test_a_network_of_many_channels_or_classes_is_refused(budget, has, refused, network, train):
    arguments = (network, "--data", train, "--preprocess", "none", "--out", "audit")
    sentence = refused(*arguments, "--budget", budget)
    assert re.search(rf" has \d+ {has}, more than the budget of {budget[-1]} {has}\.", sentence)


def test_a_budget_is_raised_as_the_sentence_says(refused, onnx_gap, network, train):
    limit = ("--interpolation-samples", 0, "--neighbor-samples", 0)
    arguments = (network, "--data", train, "--preprocess", "none", *limit, "--out", "audit")
    sentence = refused(*arguments, "--budget", "samples=59")
    raised = re.search(r"--budget (samples=\d+)", sentence)[1]
    assert raised == "samples=60"
    assert onnx_gap("audit", *arguments, "--budget", raised).code == 0
    assert "raises no budget" in refused(*arguments, "--budget", "memory=1G")
