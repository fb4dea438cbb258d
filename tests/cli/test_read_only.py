"""A place that belongs to somebody else: one sentence, exit code 2, and nothing changed."""

import contextlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_commands import BUNDLED

from analyzer.zoo_names import network_path
from model_zoo import population_training

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone can become somebody else"
)

NOBODY = 65534
QUICK = ("--limit-per-class", 2)


@contextlib.contextmanager
def somebody_else():
    """This process with the rights of a user who owns nothing here."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        for network in (BUNDLED / "digits-c0.onnx", network_path("zoo:digits-c0")):
            if not os.access(network, os.R_OK, effective_ids=True):
                pytest.skip(f"{network} lies where nobody else can read")
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture(scope="module")
def kept():
    """A folder that others can only read, with an audit, a population and a masked network."""
    from analyzer.cli.commands import exit_code_of

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "closed").mkdir(0o700)
    row = f"a,{BUNDLED / 'digits-c0.onnx'},{BUNDLED / 'train.npz'}"
    (folder / "m.csv").write_text(f'name,model,train_data,keys\n{row},"images,labels_c0"\n')
    for arguments in (
        ("audit", "zoo:digits-c0", *QUICK, "--out", folder / "audit"),
        ("population", folder / "m.csv", *QUICK, "--preprocess", "none", "--out", folder / "p"),
        ("mask", "zoo:digits-c0", "-o", folder / "masked.onnx"),
    ):
        assert exit_code_of([str(one) for one in arguments]) == 0
    yield folder
    shutil.rmtree(folder)


def content(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


AUDIT = ("audit", "zoo:digits-c0", *QUICK, "--out")
POPULATION = ("population", "{}/m.csv", *QUICK, "--preprocess", "none", "--out")


@pytest.mark.parametrize(
    "arguments",
    [
        (*AUDIT, "{}/new/audit"),
        (*AUDIT, "{}/audit"),
        (*AUDIT, "{}/audit", "--fresh"),
        (*AUDIT, "{}/closed"),
        (*AUDIT, "{}/new", "--junit", "{}/gap.xml"),
        (*AUDIT, "{}/new", "--markdown", "{}/gap.md"),
        (*POPULATION, "{}/new"),
        (*POPULATION, "{}/closed"),
        (*POPULATION, "{}/p"),
        (*POPULATION, "{}/p", "--fresh"),
        ("report", "{}/audit"),
        ("report", "{}/audit", "--model-card", "{}/card.md"),
        ("mask", "zoo:digits-c0", "-o", "{}/m.onnx"),
        ("mask", "zoo:digits-c0", "-o", "{}/masked.onnx"),
        ("fit", "{}/p/population.csv", "-o", "{}/gap.json"),
        ("compare", "{}/audit", "{}/audit", "--html", "{}/page.html"),
    ],
)
def test_a_place_of_somebody_else_is_refused(onnx_gap, kept, arguments):
    refused(onnx_gap, kept, arguments)


@pytest.mark.skipif(find_spec("torch") is None, reason="networks are trained by torch")
@pytest.mark.parametrize("out", ["{}/new", "{}/audit", "{}/closed"])
def test_networks_are_not_trained_there(onnx_gap, kept, out, monkeypatch):
    data = SimpleNamespace(arrays=dict)
    monkeypatch.setattr(population_training, "population_data", lambda *_: data)
    refused(onnx_gap, kept, ("zoo", "train", "digits", "--out", out))


def refused(onnx_gap, kept, arguments):
    before = content(kept)
    with somebody_else():
        shown = onnx_gap(*(str(one).format(kept) for one in arguments))
    assert (shown.code, shown.out) == (2, "")
    *usage, error = shown.err.splitlines()
    assert error.startswith("Error: ")
    assert "cannot be written: Permission denied. Name a f" in error
    assert not usage or usage[0].startswith("Usage: ")
    assert content(kept) == before
