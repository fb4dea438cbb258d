"""An audit leaves files in its output folder alone: no telemetry of onnxruntime, no caches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "fixtures" / "vgg16-dynamo-free.onnx"


def files_left(folder: Path, *arguments: object) -> list[str]:
    """The files that a fresh Python leaves in a user's own folders, all of them empty before."""
    places = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
        "XDG_STATE_HOME": "state",
    }
    dropped = ("ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "PYTHONPYCACHEPREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    for name, place in places.items():
        (folder / place).mkdir(parents=True)
        environment[name] = str(folder / place)
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run(
        [sys.executable, "-B", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=120,
    )
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_an_audit_leaves_no_file_behind(precision, tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(12, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(12) % 6)
    audit = ("-m", "analyzer", "audit", MODEL, "--data", tmp_path / "train.npz")
    options = ("--out", tmp_path / "audit", "--precision", precision, "--anyway")
    assert files_left(tmp_path / "user", *audit, *options) == []
    assert (tmp_path / "audit" / "audit.json").exists()


def test_training_leaves_nothing_of_onnxruntime_behind(tmp_path):
    pytest.importorskip("torch", reason="the extra zoo is not installed")
    train = ("-m", "analyzer", "zoo", "train", "digits", "--out", tmp_path / "digits")
    left = files_left(tmp_path / "user", *train, "--limit", 1, "--samples", 30)
    assert [path for path in left if "inductor" not in path] == []  # which is torch's own


def test_a_session_leaves_no_file_behind(tmp_path):
    code = f"from analyzer.runtime import open_session; open_session({str(MODEL)!r}, 'cpu')"
    assert files_left(tmp_path / "user", "-c", code) == []


def test_float16_leaves_no_file_behind(tmp_path):
    code = f"from analyzer.runtime import in_float16; in_float16({str(MODEL)!r})"
    assert files_left(tmp_path / "user", "-c", code) == []
