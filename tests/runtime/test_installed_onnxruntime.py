"""One onnxruntime over another, or what an uninstall leaves: named, with the commands that help."""

import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from analyzer.audit.provenance import installed_versions
from analyzer.errors import DeviceError
from analyzer.runtime import installation_warning, running_onnxruntime
from analyzer.runtime.installed_onnxruntime import OLDEST, refuse_old_module

ROOT = Path(__file__).parents[2]
REPAIR = "pip uninstall -y onnxruntime onnxruntime-gpu"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """pretend(name, version): pip believes that this distribution is installed as well."""

    def make(name: str, version: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        installed_versions.cache_clear()

    yield make
    installed_versions.cache_clear()


def other_distribution() -> str:
    name, _ = running_onnxruntime()
    return "onnxruntime" if name != "onnxruntime" else "onnxruntime-gpu"


def test_a_single_one_is_not_worth_a_word():
    assert installation_warning() is None


def test_two_are_named_with_the_commands_that_leave_one(pretend):
    pretend(other_distribution(), "1.2.3")
    sentence = installation_warning()
    assert f"{other_distribution()} 1.2.3" in sentence
    assert f"what runs is {running_onnxruntime()[0]} {onnxruntime.__version__}" in sentence
    assert REPAIR in sentence
    assert "pip install --force-reinstall onnxruntime-gpu" in sentence


def test_the_version_recorded_is_the_one_that_runs(pretend):
    name, version = running_onnxruntime()
    pretend(name, "0.0.1")
    assert installed_versions()[name] == version == onnxruntime.__version__


def test_a_version_that_is_too_old_is_refused():
    for version in ("1.25.0", "1.25.0.dev20260101", "2.0.0", "from source"):
        refuse_old_module(version)
    with pytest.raises(DeviceError, match=rf"onnxruntime 1\.9\.1 is too old: 1\.25 or .*{REPAIR}"):
        refuse_old_module("1.9.1")


def test_the_oldest_version_is_that_of_the_package():
    packages = (ROOT / "setup.cfg").read_text()
    wanted = {tuple(map(int, found)) for found in re.findall(r"runtime\S*>=(\d+)\.(\d+)", packages)}
    assert wanted == {OLDEST}


def test_another_distribution_is_not_recorded(pretend):
    pretend(other_distribution(), "1.2.3")
    assert other_distribution() not in installed_versions()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("doctor",), 1),
        (("audit", "zoo:digits-c0", "--limit-per-class", "1", "--out", "audit"), 2),
    ],
)
@pytest.mark.parametrize(
    "left",
    ["", "from onnxruntime.capi import _pybind_state\n", "raise OSError('wrong ELF class')\n"],
    ids=["an empty folder", "no extension", "a library that does not load"],
)
def test_what_an_uninstall_leaves_is_explained(arguments, code, left, tmp_path):
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(left)
    found = subprocess.run(
        [sys.executable, "-m", "analyzer", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    assert "onnxruntime does not work" in found.stderr
    assert REPAIR in found.stderr
    assert not (tmp_path / "audit").exists()
