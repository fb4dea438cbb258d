"""Options of the command line: given once, with what they need, and with places of their own."""

from pathlib import Path

import click
import onnx
import pytest

from analyzer.cli.click_options import Command
from analyzer.cli.commands import COMMANDS
from analyzer.cli.commands import onnx_gap as program


def every_command(group=program):
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from every_command(command)
        else:
            yield command


def test_all_commands_take_an_option_once():
    found = list(every_command())
    assert len(found) >= len(COMMANDS)
    assert all(isinstance(command, Command) for command in found)


NOTHING_DRAWN = ("--interpolation-samples", 0, "--neighbor-samples", "all")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", 1, "--seed", 1), "--seed is given more than once"),
        (("--fresh", "--resume"), "--resume / --fresh is given more than once"),
        (("--exif", "--no-exif"), "--exif / --no-exif is given more than once"),
        (("--seed", "1_0"), "'1_0' is not a whole number"),
        (("--seed", "١"), "is not a whole number"),
        (("--min-accuracy", "0.5_0"), "'0.5_0' is not a valid number"),
        (("--mean", "٠"), "is not a list of numbers"),
        (("--memory", "٢G"), "is not a size"),
        (("--pad", "1_0"), "--pad 1_0 is not a number of 1 to 16,384 pixels"),
        (("--junit", "-"), "a file called - is ./-."),
        (("--gap-model", "-"), "a file called - is ./-."),
        (("--gate", "estimate"), "--gate does nothing without --max-gap"),
        (("--axis", 1), "--axis does nothing without --site"),
        (("--at", "conv"), "--at does nothing without --site"),
        (("--site", "relu_3", "--at", "conv"), "'relu_3' of"),
        (("--site", "relu_3", "--at", "activation"), "'relu_3' of"),
        (("--test-keys", "x,y"), "--test-keys does nothing without --test-data"),
        (("--gate", "measured", "--max-gap", 0.3), "name them with --test-data"),
        (("--gap-model", "none", "--max-gap", 0.3), "--gap-model none asks for no estimate"),
        (("--max-suspects", 0.1, "--neighbor-samples", 0), "--neighbor-samples 0 leaves one"),
        (("--max-suspects", 0.1, "--interpolation-samples", 0), "--interpolation-samples 0 leaves"),
        (("--keep-twins", "--neighbor-samples", 0), "--keep-twins does nothing with"),
        (("--exif",), "--exif is for image files"),
        (("--no-exif",), "--no-exif is for image files"),
        ((*NOTHING_DRAWN, "--seed", 5), "--seed 5 does nothing here"),
        (("--no-antialias", "--interpolation", "box"), "--no-antialias is for bilinear"),
        (("--resize", "none", "--interpolation", "box"), "--interpolation box does nothing with"),
    ],
)
def test_what_would_be_dropped_or_misread_is_refused(onnx_gap, network, train, options, said):
    shown = onnx_gap("audit", network, "--data", train, "--out", "audit", *options)
    assert (shown.code, said in shown.err) == (2, True), shown.err
    assert not Path("audit").exists()


def test_a_seed_of_what_a_finished_audit_has_is_none_that_does_nothing(onnx_gap, network, train):
    plain = ("audit", network, "--data", train, "--out", "audit", "--preprocess", "none")
    assert onnx_gap(*plain, "--seed", 5).code == 0
    assert onnx_gap(*plain, "--seed", 5, *NOTHING_DRAWN).code == 0
    assert onnx_gap(*plain, "--seed", 5, *NOTHING_DRAWN, "--fresh").code == 2
    assert onnx_gap(*plain, *NOTHING_DRAWN, "--rank", "random", "--seed", 5, "--fresh").code == 0


@pytest.mark.parametrize("command", [("inspect",), ("mask", "-o", "masked.onnx")])
@pytest.mark.parametrize("option", [("--axis", 1), ("--at", "conv"), ("--at", "activation")])
def test_the_site_of_other_commands_is_named_likewise(onnx_gap, network, command, option):
    shown = onnx_gap(*command, network, *option)
    assert shown.code == 2
    assert f"{option[0]} does nothing without --site" in shown.err
    assert not Path("masked.onnx").exists()


@pytest.mark.parametrize(
    ("command", "option", "needed"),
    [
        (("audit", "--out", "audit"), ("--gate", "upper"), "--max-gap"),
        (("audit", "--out", "audit"), ("--at", "activation"), "--site"),
        (("verify",), ("--cells", 100), "--data"),
        (("verify",), ("--device", "auto"), "--data"),
    ],
)
def test_an_option_that_does_nothing_is_refused_with_its_default(onnx_gap, command, option, needed):
    shown = onnx_gap(*command, "somewhere", *option)
    assert shown.code == 2
    assert f"{option[0]} does nothing without {needed}" in shown.err


def test_keys_are_for_data_with_names(onnx_gap, network, train, class_folders):
    arguments = ("audit", network, "--out", "audit", "--mean", 0)
    shown = onnx_gap(*arguments, "--data", class_folders, "--keys", "a,b")
    assert (shown.code, "--keys names the arrays of an .npz file" in shown.err) == (2, True)
    table = Path("train.csv")
    files = sorted(class_folders.glob("*/*.png"))
    table.write_text("where,kind\n" + "".join(f"{one},{one.parent.name}\n" for one in files))
    assert onnx_gap(*arguments, "--data", table, "--keys", "where,kind", "--anyway").code == 0
    arguments = (*arguments, "--fresh")
    of_test = (*arguments, "--data", train, "--test-data", class_folders)
    shown = onnx_gap(*of_test, "--test-keys", "a,b")
    assert (shown.code, "--test-keys names the arrays" in shown.err) == (2, True)
    assert onnx_gap(*of_test, "--keys", "images,labels").code == 0  # which are the test data's not
    split = onnx_gap(*arguments, "--data", f"{train}#test", "--keys", "images,labels")
    assert (split.code, "names the arrays of a split" in split.err) == (2, True)


def test_a_result_replaces_nothing_that_the_audit_reads(
    onnx_gap, network, train, class_folders, monkeypatch
):
    picture = class_folders / "3" / "a.png"
    before = picture.read_bytes()
    arguments = ("audit", network, "--mean", 0, "--data")
    for options, said in (
        ((class_folders, "--out", class_folders / "audit"), "whose folders are classes"),
        ((class_folders, "--out", "audit", "--junit", picture), "is no text"),
        ((train, "--out", "audit", "--junit", "audit"), "would replace a file"),
        ((train, "--out", "audit", "--junit", "audit/.lock/a.xml"), "would replace a file"),
        ((train, "--out", "in/audit", "--junit", "in"), "would replace a file"),
    ):
        shown = onnx_gap(*arguments, *options)
        assert (shown.code, said in shown.err) == (2, True), shown.err
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(train))
    shown = onnx_gap(*arguments, train, "--out", "audit", "--markdown", "auto")
    assert (shown.code, "would replace a file" in shown.err) == (2, True), shown.err
    assert picture.read_bytes() == before
    assert sorted(path.name for path in class_folders.iterdir()) == list("0123456789")
    curves = train.rename(train.with_name("curves.npz"))
    shown = onnx_gap(*arguments, curves, "--out", train.parent, "--fresh")
    assert (shown.code, f"would replace {curves}" in shown.err) == (2, True)


@pytest.mark.parametrize(
    ("data", "results"),
    [
        (("--data", "in/train.csv"), ("--junit", "in/a.pgm")),
        (("--data", "in/train.csv"), ("--junit", "new.xml", "--markdown", "link.pgm")),
        (("--data", "in/train.csv#train"), ("--junit", "in/train.csv")),
        (("--data", "in/train.csv", "--test-data", "in/test.csv#test"), ("--junit", "in/test.csv")),
        (("--data", "in/train.csv", "--test-data", "in/test.csv#test"), ("--junit", "in/b.pgm")),
        (("--data", "in/train.csv"), ("--junit", "weights")),
    ],
)
def test_results_replace_no_file_that_the_data_or_the_network_name(
    onnx_gap, network, data, results
):
    Path("in").mkdir()
    for name in "ab":
        Path("in", f"{name}.pgm").write_bytes(b"P5 8 8 255\n" + bytes(range(100, 164)))
    Path("link.pgm").symlink_to("in/a.pgm")
    for name, image in (("train", "a"), ("test", "b")):
        Path("in", f"{name}.csv").write_text(f"path,label,split\n{image}.pgm,0,{name}\n")
    model = onnx.load(network)
    onnx.save(model, "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    text = b"x" * 5000  # as a file that begins without a zero
    Path("weights").write_bytes(text + Path("weights").read_bytes()[len(text) :])
    files = sorted(file for file in Path().rglob("*") if file.is_file())
    before = {file: file.read_bytes() for file in files}
    shown = onnx_gap("audit", "m.onnx", *data, *results, "--out", "audit", "--anyway")
    assert (shown.code, "which this command reads" in shown.err) == (2, True), shown.err
    assert results[-1] in shown.err
    assert {file: file.read_bytes() for file in files} == before


def test_a_result_named_by_the_data_with_a_split_is_not_replaced(onnx_gap, network, save, digits):
    images, labels = digits["images"], digits["labels"]
    data = save("samples.npz", x_test=images, y_test=labels)
    arguments = ("audit", network, "--mean", 0, "--out", data.parent, "--fresh", "--anyway")
    shown = onnx_gap(*arguments, "--data", f"{data}#test")
    assert (shown.code, "would replace" in shown.err) == (2, True), shown.err


def test_mask_replaces_no_weights_of_its_network(onnx_gap, network):
    model = onnx.load(network)
    onnx.save(model, "m.onnx", save_as_external_data=True, location="w.onnx", size_threshold=0)
    before = Path("w.onnx").read_bytes()
    shown = onnx_gap("mask", "m.onnx", "--out", "w.onnx")
    assert (shown.code, "w.onnx is a part of m.onnx" in shown.err) == (2, True), shown.err
    assert Path("w.onnx").read_bytes() == before


@pytest.mark.parametrize("name", ["population.csv", "population.html", "failed.csv"])
def test_a_population_replaces_no_file_of_somebody_else(onnx_gap, network, train, name):
    Path("manifest.csv").write_text(f"name,model,train_data\na,{network},{train}\n")
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    shown = onnx_gap("population", "manifest.csv", "--out", "out")
    assert (shown.code, f"out/{name} was not written by this command" in shown.err) == (2, True)
    assert [path.read_text() for path in Path("out").iterdir()] == ["mine"]


def test_a_gap_model_that_is_none_is_not_the_fault_of_a_network(onnx_gap, network, train):
    Path("manifest.csv").write_text(f"name,model,train_data\na,{network},{train}\n")
    shown = onnx_gap("population", "manifest.csv", "--out", "out", "--gap-model", train)
    assert shown.code == 2
    assert shown.err.startswith("Error: The gap model ")


def test_no_color(monkeypatch):
    from analyzer.cli import terminal

    assert "\x1b" in terminal._styled("ok", fg="green")
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal._styled("ok", fg="green") == "ok"
