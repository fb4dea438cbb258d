"""Audits killed for real in the middle of the sweep, and gone on with by the same command."""

import signal
import sys
import time

import pytest

FILES = [
    "audit.json", "classes.csv", "curves.npz", "interpolation.npz", "manifest.json",
    "neighbors.npz", "report.html", "samples.npz", "suspects.csv", "thumbnails.npz",
]  # fmt: skip

# The same command, except that it stops for a while after each of its many checkpoints.
SLOW = """
import sys, time
from analyzer.measures import checkpoint
from analyzer.measures.ablation import sweep as cumulative
from analyzer.audit.unfinished_audit import UnfinishedAudit as Checkpoint
from analyzer.cli import main

write = Checkpoint.write

def write_and_wait(self, *arguments):
    write(self, *arguments)
    time.sleep(0.3)

for module, name, value in ((checkpoint, "SECONDS", 0), (cumulative, "_CHUNK_CELLS", 1)):
    assert hasattr(module, name)
    setattr(module, name, value)
Checkpoint.write = write_and_wait
main(sys.argv[1:])
"""


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("kills", [[signal.SIGINT], [signal.SIGKILL], [signal.SIGKILL] * 3])
def test_the_same_command_goes_on_to_the_same_bits(spawn, onnx_gap, tmp_path, kills):
    arguments = ("audit", "zoo:digits-c20", "--out")
    assert onnx_gap(*arguments, tmp_path / "whole").code == 0
    out = tmp_path / "audit"
    counts = out / ".unfinished" / "ablation.npz"
    for kill in kills:
        process = spawn(*arguments, out, python=("-c", SLOW))
        wait_for(counts, process)
        before = counts.read_bytes()
        while counts.read_bytes() == before:
            time.sleep(0.01)
        process.send_signal(kill)
        shown, said = process.communicate(timeout=60)
        assert shown == ""
        if kill == signal.SIGINT:
            assert process.returncode == 130
            assert said.strip() == "Interrupted; the same command resumes where it was."
        else:
            assert process.returncode == -kill
            assert said == ""
        assert {item.name for item in out.iterdir()} - {".lock"} == {".unfinished"}
    (out / ".unfinished" / ".prefix.onnx.part").mkdir()  # as a kill while cutting leaves one

    process = spawn(*arguments, out)
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert sorted(item.name for item in out.iterdir()) == FILES
    for name in ("curves.npz", "samples.npz"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_unfinished_audit_of_something_else_is_not_gone_on_with(spawn, onnx_gap, tmp_path):
    out = tmp_path / "audit"
    process = spawn("audit", "zoo:digits-c20", "--out", out, python=("-c", SLOW))
    wait_for(out / ".unfinished" / "ablation.npz", process)
    process.kill()
    process.communicate(timeout=60)
    shown = onnx_gap("audit", "zoo:digits-c40", "--out", out)
    assert shown.code == 2
    assert "unfinished audit of another network" in shown.err
    assert (out / ".unfinished" / "ablation.npz").exists()
    shown = onnx_gap("audit", "zoo:digits-c40", "--out", out, "--fresh")
    assert shown.code == 0
    assert sorted(item.name for item in out.iterdir()) == FILES
