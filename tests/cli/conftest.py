"""The command line run in this process, and a small network with data to run it on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_commands import BUNDLED, ROOT, copy_with_name
from PIL import Image

from analyzer.cli import terminal
from analyzer.cli.commands import exit_code_of

PER_CLASS = 6


@dataclass(frozen=True)
class Outcome:
    """What a command left behind on its streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def onnx_gap(capfd, monkeypatch, tmp_path) -> Callable[..., Outcome]:
    """onnx_gap("audit", path, …): runs the command in this process, in an empty folder.

    The streams are caught at their descriptors, so that nothing slips past on the way.
    """
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # A line for whoever waits long would be one that a busy machine adds to what is compared.
    monkeypatch.setattr(terminal, "LINE_SECONDS", 3600.0)

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = exit_code_of([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def spawn(tmp_path) -> Callable[..., subprocess.Popen]:
    """spawn("audit", …): the command in a process of its own; python=… runs other code.

    With own_group=True it leads a group of processes, as a shell has a command do.
    """

    def start(
        *arguments: object, python: tuple[str, ...] = ("-m", "analyzer"), own_group: bool = False
    ) -> Any:
        return subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=own_group,
            # Whoever runs the tests in the background may have Ctrl-C ignored, which is inherited.
            preexec_fn=None if sys.platform == "win32" else _heed_interrupts,
        )

    return start


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def digits() -> Mapping[str, np.ndarray]:
    """A few samples a class of what zoo:digits-c0 was trained on, sorted by class."""
    with np.load(BUNDLED / "train.npz") as stored:
        images, labels = stored["images"], stored["labels_c0"]
    chosen = np.concatenate([np.flatnonzero(labels == j)[:PER_CLASS] for j in range(10)])
    return {"images": images[chosen], "labels": labels[chosen].astype(np.int64)}


@pytest.fixture
def network(tmp_path) -> Path:
    """The file of zoo:digits-c0 as somebody's own."""
    return shutil.copy(BUNDLED / "digits-c0.onnx", tmp_path / "network.onnx")


@pytest.fixture
def save(tmp_path, digits) -> Callable[..., Path]:
    """save(name, **arrays): an .npz of these arrays; the digits unless told otherwise."""

    def write(name: str = "train.npz", **arrays: np.ndarray) -> Path:
        np.savez(tmp_path / name, **(arrays or digits))
        return tmp_path / name

    return write


@pytest.fixture
def train(save) -> Path:
    """The digits as an .npz file."""
    return save()


@pytest.fixture
def class_folders(tmp_path, digits) -> Path:
    """The digits as a folder of class folders; those of class 3 are 3/a.png to 3/f.png."""
    for number, (image, label) in enumerate(zip(*digits.values(), strict=True)):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{'abcdef'[number % PER_CLASS]}.png")
    return tmp_path / "images"


@pytest.fixture
def audit(onnx_gap, network, train, tmp_path) -> Callable[..., Path]:
    """audit(name, …): a finished audit of the network in a folder of that name."""

    def run(name: str = "audit", *options: object) -> Path:
        folder = tmp_path / name
        arguments = ("audit", network, "--data", train, "--preprocess", "none", "--out", folder)
        outcome = onnx_gap(*arguments, *options)
        assert outcome.code == 0, outcome.err
        return folder

    return run


@pytest.fixture
def manifest(tmp_path, network, train, save, digits):
    """A manifest of two networks, with test data for one and a known gap for the other."""
    copy_with_name(network, tmp_path / "b.onnx")
    save("test.npz", x=digits["images"], y=np.roll(digits["labels"], 3))
    path = tmp_path / "manifest.csv"
    path.write_text(
        "name,model,train_data,test_data,test_keys,gap,width\n"
        'a,network.onnx,train.npz,test.npz,"x,y",,48\n'
        "b,b.onnx,train.npz,,,0.25,48\n"
    )
    return path


@pytest.fixture
def refused(onnx_gap, tmp_path):
    """Runs an audit that must be refused; returns its sentence."""

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        shown = onnx_gap("audit", *arguments)
        assert shown.code == 2, shown.err
        assert shown.out == ""
        *usage, sentence = shown.err.splitlines()
        assert sentence.startswith("Error: ")
        assert not usage or usage[0].startswith("Usage: onnx-gap audit")
        assert sorted(tmp_path.rglob("*")) == before
        return sentence

    return run
