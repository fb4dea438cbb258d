"""Arrays that hold indices: readers refuse those that are out of bounds or of order, by name."""

import csv
import shutil

import numpy as np
import pytest

import analyzer
from analyzer.api import audit_network
from analyzer.errors import AuditFolderError
from analyzer.files import read_arrays
from analyzer.output_files import csv_text
from tools.forged_folders import rewrite_arrays, seal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indices") / "audit"
    images = np.random.default_rng(0).integers(0, 255, (20, 28, 28), np.uint8)
    labels = np.arange(20) % 10
    options = {"preprocess": "none", "anyway": True, "suspects": "all"}
    with pytest.warns(analyzer.AuditWarning):
        audit_network("zoo:digits-c0", (images, labels), folder, **options)
    return folder


@pytest.fixture
def audit(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "audit")


def reversed_(array):
    return array[::-1].copy()


def with_first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("file", "name", "change"),
    [
        ("samples.npz", "index", reversed_),
        ("samples.npz", "index", with_first(-1)),
        ("samples.npz", "label", with_first(-1)),
        ("samples.npz", "other", with_first(-1)),
        ("neighbors.npz", "nearest", with_first(20)),
        ("neighbors.npz", "nearest_images", with_first(-2)),
        ("neighbors.npz", "twins", lambda _: np.array([[0, 20]], np.int32)),
        ("neighbors.npz", "content", with_first(2**31 - 1)),
        ("neighbors.npz", "majority", with_first(-2)),
    ],
)
def test_readers_refuse_what_no_audit_writes(onnx_gap, audit, file, name, change):
    arrays = read_arrays(audit / file)
    changed = {name: change(arrays[name])}
    if name == "twins":
        changed["twin_distance"] = np.zeros(1, np.float32)
    rewrite_arrays(audit / file, arrays | changed)
    for command in ("verify", "report"):
        shown = onnx_gap(command, audit)
        assert shown.code == 2
        assert f"{file}: '{name}' " in shown.err
    if file == "samples.npz":
        with pytest.raises(AuditFolderError, match=f"'{name}'"):
            _ = analyzer.open_audit(audit).samples


def test_suspects_are_samples_of_the_audit(onnx_gap, audit):
    path = audit / "suspects.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][rows[0].index("index")] = "999"
    path.write_text(csv_text(rows))
    seal(audit)
    for command in ("verify", "report"):
        shown = onnx_gap(command, audit)
        assert shown.code == 2
        assert "samples.npz has no sample 999" in shown.err
