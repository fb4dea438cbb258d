"""No room: every command says so in one sentence, leaves no part of a file, and loses nothing."""

import errno
import os
import sys

import pytest
from cli_commands import BUNDLED

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits are those of POSIX")

# Files longer than the first argument cannot be written: the error is that of a full disk but for
# its number, and it comes in the middle of a file.
LIMITED = """
import resource, sys
from analyzer.cli import main
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""
SMALL = ("--limit-per-class", "3")
AUDIT = ("audit", "zoo:digits-c0", *SMALL, "--margins", "--out")


@pytest.fixture
def limited(spawn):
    """limited(bytes, *arguments): the exit code; after 2, with one sentence."""

    def run(most, *arguments):
        process = spawn(most, *arguments, python=("-c", LIMITED))
        _, said = process.communicate(timeout=120)
        assert process.returncode in (0, 2), said
        errors = [line for line in said.splitlines() if not line.startswith("Warning: ")]
        if process.returncode == 2:
            assert len(errors) == 1, said
            assert errors[0].startswith("Error: ")
            assert ".unfinished" not in errors[0]  # nobody has named a file of it
        return process.returncode

    return run


def test_an_audit_without_room_resumes_where_it_was(limited, onnx_gap, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert onnx_gap(*AUDIT, whole).code == 0
    sizes = sorted(path.stat().st_size for path in whole.iterdir())
    for most in (0, 100, sizes[2] - 1, sizes[-2], sizes[-1] - 1):
        assert limited(most, *AUDIT, out) == 2, most
        left = {path.name for path in out.iterdir()} if out.exists() else set()
        assert left <= {".unfinished"}, most
    assert onnx_gap(*AUDIT, out).code == 0
    for name in ("curves.npz", "samples.npz", "margins.npz", "suspects.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT", "ENODEV", "EBUSY", "EBADMSG"])
def test_a_disk_that_fails_is_no_defect(onnx_gap, tmp_path, monkeypatch, name):
    def fail(*_):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr("analyzer.audit.result_manifest.sha256", fail)
    shown = onnx_gap(*AUDIT, tmp_path / "out")
    assert (shown.code, "Traceback" in shown.err) == (2, False)
    assert os.strerror(getattr(errno, name)) in shown.err
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {".unfinished"}


def test_what_is_there_stays_where_there_is_no_room_to_replace_it(limited, onnx_gap, tmp_path):
    out = tmp_path / "out"
    assert onnx_gap(*AUDIT, out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = ("audit", "zoo:digits-c60", *SMALL, "--fresh", "--out", out)
    for most in (100, 3000, len(before["report.html"]) // 2):
        assert limited(most, *other) == 2
        now = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        assert now == before, most
    assert onnx_gap("verify", out).code == 0
    assert onnx_gap(*other).code == 0


def test_the_summary_of_a_step_is_whole_or_as_it_was(limited, tmp_path, monkeypatch):
    step = tmp_path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    command = (*AUDIT[:-2], "--suspects", "0", "--out", tmp_path / "out")
    assert limited(1 << 30, *command) == 0
    assert limited(100, *command, "--markdown", "auto") == 2
    assert not step.exists()
    step.write_text("# Before\n")
    assert limited(100, *command, "--markdown", "auto") == 2
    assert step.read_text() == "# Before\n"
    assert limited(1 << 30, *command, "--markdown", "auto") == 0
    assert step.read_text().startswith("# Before\n## ")


def test_single_files(limited, tmp_path):
    commands = {
        "masked.onnx": ("mask", "zoo:digits-c0", "-o"),
        "gap.json": ("fit", BUNDLED / "population.csv", "--splits", "2", "-o"),
    }
    for name, command in commands.items():
        assert limited(100, *command, tmp_path / name) == 2
        assert list(tmp_path.iterdir()) == []


def test_a_population_without_room(limited, onnx_gap, tmp_path):
    manifest, out = tmp_path / "manifest.csv", tmp_path / "out"
    manifest.write_text(
        "name,model,train_data,keys,gap\n"
        f'a,{BUNDLED}/digits-c0.onnx,{BUNDLED}/train.npz,"images,labels_c0",0.1\n'
    )
    command = ("population", manifest, *SMALL, "--out", out)
    for most in (0, 100, 3000):
        assert limited(most, *command) == 2
        assert not (out / "population.csv").exists()
    assert onnx_gap(*command).code == 0
    table = (out / "population.csv").read_bytes()
    assert limited(300, *command) == 2
    assert (out / "population.csv").read_bytes() == table
