"""What `verify` finds, with the data at hand, of data, settings and warnings in a forged record."""

import dataclasses

import numpy as np
import pytest
from onnx import helper
from verified_with_data import audited, failed, linear_weights, save_network

from analyzer import verify_audit
from analyzer.audit.folder import read_record
from analyzer.errors import AnalyzerError, DataError
from tools.forged_folders import rewrite_record


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": -1}, "the least is 0"),
        ({"cells": -1}, "the least is 0"),
        ({"cells": "x"}, "'x' is not a whole number"),
    ],
)
def test_options_that_no_verification_can_have_are_refused(folder, data, options, said):
    for given in (data, None):
        with pytest.raises(AnalyzerError, match=said):
            verify_audit(folder, data=given, **options)
    with pytest.raises(TypeError, match="seed is of type str"):
        verify_audit(folder, data=data, seed="1")


def test_other_data_are_found(folder, data):
    images, labels = data
    other = images.copy()
    other[7] = 255 - other[7]
    found = failed(folder, (other, labels))
    assert found["data read again"].startswith("The samples have SHA-256")
    swapped = labels.copy()
    swapped[[0, -1]] = swapped[[-1, 0]]
    assert "data read again" in failed(folder, (images, swapped))
    assert "data read again" in failed(folder, (images[:-1], labels[:-1]))


def record_preprocessing(folder, **changed):
    """Write another preprocessing into the record."""
    record = read_record(folder)
    said = {**record.data.preprocessing, **changed}
    recorded = dataclasses.replace(record.data, preprocessing=said)
    rewrite_record(folder, dataclasses.replace(record, data=recorded))


def test_another_preprocessing_is_found(folder, data):
    record_preprocessing(folder, mean=[99.0])
    assert "samples run again" in failed(folder, data)
    record_preprocessing(folder, mean=None, channels="cmyk")
    with pytest.raises(DataError, match=r"audit\.json: the field 'data\.preprocessing\.channels'"):
        verify_audit(folder, data=data)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "x"), ("limit_per_class", [1]), ("inputs", [1]), ("memory", None)]
)
def test_settings_that_no_audit_has_are_refused(folder, data, name, value):
    record = read_record(folder)
    settings = {**record.settings, name: value}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    with pytest.raises(AnalyzerError, match=f"settings.{name}"):
        verify_audit(folder, data=data)


def test_a_library_that_the_record_names_is_not_loaded(folder, data):
    record = read_record(folder)
    settings = {**record.settings, "custom_ops": "/nowhere/library.so"}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    assert failed(folder, data) == {}


def test_a_wrong_site_of_the_cut_is_found(folder, data):
    record = read_record(folder)
    rewrite_record(
        folder, dataclasses.replace(record, site=dataclasses.replace(record.site, cut="elsewhere"))
    )
    assert list(failed(folder, data)) == ["cut"]


def test_a_removed_warning_of_the_network_or_its_preprocessing_is_found(tmp_path, data, network):
    folder = audited(tmp_path / "audit", data, network, preprocess=None, anyway=True)
    assert failed(folder, data) == {}
    record = read_record(folder)
    (undeclared,) = record.input_warnings
    assert undeclared.startswith("No preprocessing was declared")
    left = tuple(one for one in record.warnings if one != undeclared)
    rewrite_record(folder, dataclasses.replace(record, input_warnings=(), warnings=left))
    found = failed(folder, data)
    assert list(found) == ["input warnings"]
    assert undeclared in found["input warnings"]


def test_nothing_is_measured_of_a_folder_that_is_wrong_already(folder, data):
    rewrite_record(folder, dataclasses.replace(read_record(folder), zeta=0.1))
    found = verify_audit(folder, data=data)
    assert not found.passed
    assert found.drawn is None
    assert "Nothing was measured again" in found.not_checked[-1]


def test_files_of_the_audit_that_are_gone_are_named_and_others_can_be_given(tmp_path, data):
    labels = data[1]
    nodes = [
        helper.make_node("Mul", ["image", "a"], ["scaled"]),
        helper.make_node("Add", ["scaled", "b"], ["shifted"]),
        helper.make_node("Flatten", ["shifted"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    save_network(tmp_path / "n.onnx", nodes, {"w": linear_weights()}, more_inputs="ab")
    for name, value in (("a", 1), ("b", 0)):
        np.save(tmp_path / f"{name}.npy", np.full(1, value, np.float32))
    np.save(tmp_path / "groups.npy", np.arange(len(labels)) // 2)
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    files = {
        "inputs": {name: str(tmp_path / f"{name}.npy") for name in "ab"},
        "groups": str(tmp_path / "groups.npy"),
        "classes": tmp_path / "classes.txt",
    }
    some = {**files, "neighbor_samples": "all", "preprocess": "none", "anyway": True}
    folder = audited(tmp_path / "audit", data, tmp_path / "n.onnx", **some)
    assert not failed(folder, data)
    given = {}
    for name, path, option, value in (
        ("classes.txt", "moved.txt", "classes", tmp_path / "moved.txt"),
        ("b.npy", "moved.npy", "inputs=b=FILE", {"b": str(tmp_path / "moved.npy")}),
        ("groups.npy", "g.npy", "groups", str(tmp_path / "g.npy")),
    ):
        (tmp_path / name).rename(tmp_path / path)
        with pytest.raises(DataError, match=f"{name}, which .* Name it with {option} where"):
            verify_audit(folder, data=data, cells=4, **given)
        given[option.partition("=")[0]] = value
        assert not failed(folder, data, **given)


def test_options_of_another_name_are_refused(folder, data):
    with pytest.raises(TypeError, match="There is no option 'limit'"):
        verify_audit(folder, data=data, limit=3)


def test_a_network_without_a_site(tmp_path, data):
    images, labels = data
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    path = tmp_path / "linear.onnx"
    save_network(path, nodes, {"weights": linear_weights()})
    folder = audited(tmp_path / "audit", (images, labels), path, anyway=True)
    found = verify_audit(folder, data=(images, labels))
    assert found.passed
    assert found.not_checked[-1].startswith("No cells were drawn: an audit without a site")
    found = verify_audit(folder, data=(255 - images, labels))
    failed = [one.name for one in found.checks if not one.passed]
    assert failed == ["data read again", "samples run again"]


def test_fewer_data_are_other_data(tmp_path, data, network):
    images, labels = data
    folder = audited(tmp_path / "audit", data, network, preprocess="none", suspects=3)
    wrong = failed(folder, (images[::6], labels[::6]))
    assert "in the data" in wrong["names"] or "data read again" in wrong
    assert "is not that of the data" in wrong["pictures"]
