"""What networks of a population share must be the same for all of them, or no table is written."""

import os
import shutil

import numpy as np
import pytest
from cli_commands import QUICK, copy_with_name, rows_of

from analyzer.audit import population
from analyzer.errors import AnalyzerError
from analyzer.make_request import gap_model_path


@pytest.fixture
def two(tmp_path, network, train, save, digits):
    """A manifest of two networks that name the same training and test data."""
    copy_with_name(network, tmp_path / "b.onnx")
    save("test.npz", images=digits["images"][::2], labels=digits["labels"][::2])
    path = tmp_path / "two.csv"
    rows = "a,network.onnx,train.npz,test.npz\nb,b.onnx,train.npz,test.npz\n"
    path.write_text("name,model,train_data,test_data\n" + rows)
    return path


@pytest.fixture
def before_b(monkeypatch):
    """before_b(change): has ``change`` called once the network a is done."""
    real = population._measured

    def arrange(change):
        def measured(member, request):
            if member.name == "b":
                change()
            return real(member, request)

        monkeypatch.setattr(population, "_measured", measured)

    return arrange


def refusal(shown):
    assert (shown.code, shown.out) == (2, "")
    (sentence,) = shown.err.splitlines()
    assert "No table is written of them, and the audits that are done stay." in sentence
    assert sentence.endswith("are refused then, without --fresh.")
    return sentence


@pytest.mark.parametrize("was", ["changed", "gone", "changed and put back"])
@pytest.mark.parametrize(
    "option", ["--classes", "--groups", "--gap-model", "--input", "--custom-ops", "--preprocess"]
)
def test_a_file_that_all_networks_take_is_the_same_for_all(
    option, was, onnx_gap, two, tmp_path, monkeypatch
):
    file = tmp_path / "file"
    shutil.copy(gap_model_path("zoo:digits"), file)
    asked = []

    def measured(member, request):
        asked.append(member.name)
        before = file.read_bytes()
        if was == "gone":
            file.unlink()
        else:
            file.write_bytes(b"something else")
        if was == "changed and put back":
            file.write_bytes(before)
        return member.name, AnalyzerError("It blames something else.")

    monkeypatch.setattr(population, "_measured", measured)
    value = f"x={file}" if option == "--input" else file
    out = tmp_path / "out"
    sentence = refusal(onnx_gap("population", two, option, value, "--skip-failed", "--out", out))
    assert sentence.startswith(f"Error: {file}, which all networks of this population take, was ")
    assert asked == ["a"]
    assert not (out / "population.csv").exists()


def test_groups_in_a_manifest_of_the_data_are_the_same_for_all(
    onnx_gap, class_folders, two, tmp_path, before_b
):
    data = class_folders / "data.csv"
    names = [path.relative_to(class_folders).as_posix() for path in class_folders.rglob("*.png")]

    def write(size):
        rows = (f"{name},{name[0]},{row // size}\n" for row, name in enumerate(sorted(names)))
        data.write_text("path,label,shows\n" + "".join(rows))

    write(2)
    two.write_text(f"name,model,train_data\na,network.onnx,{data}\nb,b.onnx,{data}\n")
    before_b(lambda: write(3))
    asked = ("--preprocess", "none", "--groups", "shows", "--out", tmp_path / "out")
    sentence = refusal(onnx_gap("population", two, *asked))
    assert sentence.startswith(f"Error: {data}, which all networks of this population take, was ")


def test_rows_are_of_one_class_list_and_the_table_before_stays(
    onnx_gap, class_folders, two, tmp_path, before_b
):
    two.write_text("name,model,train_data\na,network.onnx,images\nb,b.onnx,images\n")
    classes, out = tmp_path / "classes.txt", tmp_path / "out"
    classes.write_text("\n".join("0123456789"))
    asked = ("population", two, *QUICK, "--classes", classes, "--out", out)
    assert onnx_gap(*asked).code == 0
    table = (out / "population.csv").read_bytes()
    before_b(lambda: classes.write_text("\n".join("0123456798")))
    sentence = refusal(onnx_gap(*asked, "--fresh"))
    assert str(classes) in sentence
    assert (out / "population.csv").read_bytes() == table
    assert not (out / "failed.csv").exists()
    classes.write_text("\n".join("0123456789"))
    before_b(lambda: None)
    assert onnx_gap(*asked, "--fresh").code == 0


@pytest.mark.parametrize("name", ["train.npz", "test.npz"])
def test_rows_are_of_one_set_of_data(name, onnx_gap, two, tmp_path, save, digits, before_b):
    asked = ("population", two, *QUICK, "--out", tmp_path / "out")
    assert onnx_gap(*asked).code == 0
    table = tmp_path / "out" / "population.csv"
    before = table.read_bytes()
    arrays = np.load(tmp_path / name)
    with arrays:
        labels, images = arrays["labels"], arrays["images"]
    before_b(lambda: save(name, images=images ^ 1, labels=labels))
    sentence = refusal(onnx_gap(*asked, "--fresh"))
    assert sentence.startswith(
        f"Error: {tmp_path / name} was changed while the networks of this population were "
        "audited: b was measured on something else than a."
    )
    assert table.read_bytes() == before
    before_b(lambda: None)
    assert onnx_gap(*asked, "--fresh").code == 0


def test_data_that_are_touched_meanwhile_are_the_same(onnx_gap, two, tmp_path, before_b):
    before_b(lambda: [os.utime(tmp_path / name, (1, 1)) for name in ("train.npz", "test.npz")])
    shown = onnx_gap("population", two, *QUICK, "--out", tmp_path / "out")
    assert (shown.code, shown.err) == (0, "")


def test_rows_that_are_kept_are_of_the_gap_model_as_it_is(onnx_gap, two, tmp_path):
    model, out = tmp_path / "gap-model.json", tmp_path / "out"
    shutil.copy(gap_model_path("zoo:digits"), model)
    (tmp_path / "bad.onnx").write_text("no network")
    asked = ("population", two, *QUICK, "--gap-model", model, "--out", out)
    assert onnx_gap(*asked).code == 0
    text = two.read_text()
    two.write_text(text.replace("b,b.onnx", "bad,bad.onnx,train.npz,\nb,b.onnx"))
    assert "and b of an earlier run" in onnx_gap(*asked).err
    model.write_bytes(model.read_bytes() + b"\n")
    assert "It has b no more" in onnx_gap(*asked).err
    assert [row["name"] for row in rows_of(out / "population.csv")] == ["a"]
