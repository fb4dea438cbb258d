"""Places that results cannot have: one sentence, exit 2, and what is there stays."""

import os

import pytest

import analyzer
from analyzer.errors import DataError


def test_a_folder_that_cannot_be_written(refused, network, train, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    (tmp_path / "there").mkdir()
    for out in ("there", "new"):
        sentence = refused(network, "--data", train, "--out", tmp_path / out)
        assert "cannot be written: No space left on device" in sentence


def test_earlier_results_stay_as_they_are(refused, audit, network, train, class_folders):
    folder = audit()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sentence = refused(network, "--data", class_folders, "--out", folder)
    assert "holds an audit that differs in the preprocessing; pass --fresh" in sentence
    bad = class_folders / "9" / "f.png"
    bad.write_bytes(bad.read_bytes()[:40])
    arguments = (network, "--data", class_folders, "--preprocess", "none", "--json")
    sentence = refused(*arguments, "--out", folder, "--fresh")
    assert "9/f.png" in sentence
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_fresh_replaces_a_finished_audit(onnx_gap, audit, network, train):
    folder = audit()
    arguments = ("audit", network, "--data", train, "--out", folder, "--limit-per-class", 2)
    assert onnx_gap(*arguments).code == 2
    shown = onnx_gap(*arguments, "--fresh", "--json")
    assert shown.code == 0
    assert shown.json["data"]["samples"] == 20


@pytest.mark.parametrize("option", ["--resume", "--fresh"])
def test_files_that_no_audit_wrote_are_kept(option, refused, network, train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("mine")
    sentence = refused(network, "--data", train, "--out", tmp_path / "mine", option)
    assert "mine holds no audit, but a file report.html" in sentence
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["report.html"]
    assert (tmp_path / "mine" / "report.html").read_text() == "mine"


def test_a_damaged_result_names_fresh_as_the_way_out(refused, onnx_gap, audit, network, train):
    folder = audit()
    (folder / "audit.json").write_text("{")
    arguments = (network, "--data", train, "--preprocess", "none", "--out", folder)
    assert "--fresh" in refused(*arguments)
    assert onnx_gap("audit", *arguments, "--fresh").code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_are_not_waited_for(onnx_gap, audit, network, train, tmp_path):
    folder, pipe = audit(), tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read = ("audit", network, "--data", train, "--out", "other")
    commands = [
        *((*read, option, pipe) for option in ("--gap-model", "--classes", "--preprocess")),
        (*read, "--input", f"x={pipe}"),
        ("audit", network, "--data", pipe, "--out", "other"),
        ("inspect", pipe),
        ("fit", pipe, "-o", "gap.json"),
        ("population", pipe, "--out", "other"),
        ("verify", folder, "--signature", pipe, "--allowed-signers", pipe),
    ]
    for command in commands:
        assert onnx_gap(*command).code == 2, command
    for name in ("manifest.json", "audit.json", "curves.npz", "suspects.csv", "report.html"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert onnx_gap("verify", folder).code in (1, 2), name
        assert onnx_gap("compare", folder, folder).code == 2, name
        assert onnx_gap("audit", network, "--data", train, "--out", folder).code in (0, 2), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "a", "b", "--resamples", 10**23], "not in the range 100<=x<=100000"),
        (["compare", "a", "b", "--html", ""], "'--html': It is empty; name a file or folder."),
        (["fit", "t.csv", "-o", "g.json", "--splits", 10**23], "not in the range 1<=x<=10000"),
    ],
)
def test_a_count_that_no_memory_holds_and_a_file_without_a_name(onnx_gap, arguments, said):
    shown = onnx_gap(*arguments)
    assert (shown.code, said in shown.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fit", "table.csv", "-o", "table.csv"], "--out table.csv"),
        (["fit", "table.csv", "-o", "g.json", "--plot", "g.json"], "--plot g.json"),
        (["compare", "a", "b", "--html", "b/report.html"], "--html b/report.html"),
        (["audit", "m.onnx", "--data", "d.npz", "--out", "a", "--junit", "d.npz"], "--junit d.npz"),
        (["audit", "m.onnx", "--data", "d", "--out", "a", "--junit", "a/.lock"], "--junit a/.lock"),
        (
            ["audit", "m.onnx", "--data", "d", "--out", "a", "--junit", "a/x", "--markdown", "a/x"],
            "--markdown a/x",
        ),
    ],
)
def test_a_result_does_not_replace_what_the_command_reads_or_writes(
    onnx_gap, arguments, named, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    for name in ("table.csv", "d.npz", "m.onnx"):
        (tmp_path / name).write_text("kept")
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert f"{named} would replace a file" in shown.err
    assert (tmp_path / "table.csv").read_text() == (tmp_path / "d.npz").read_text() == "kept"


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "", "--data", "t.npz", "--out", "a"),
        ("audit", "n.onnx", "--data", "", "--out", "a"),
        ("audit", "n.onnx", "--data", "t.npz", "--out", "a", "--classes", ""),
        ("compare", "a", "b", "--html", ""),
        ("verify", ""),
        ("fit", "", "-o", "g.json"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(onnx_gap, arguments):
    shown = onnx_gap(*arguments)
    assert shown.code == 2
    assert "It is empty; name a file" in shown.err


def test_an_empty_path_from_python_is_not_the_current_folder(network, tmp_path):
    with pytest.raises(DataError, match="data is empty"):
        analyzer.audit_network(network, "", tmp_path / "audit")
