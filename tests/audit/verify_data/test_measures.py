"""What `verify` finds, with the data at hand, of the other measures, pictures and names."""

import dataclasses
import shutil

import numpy as np
import pytest
from verified_with_data import CLASSES, audited, failed

from analyzer import verify_audit
from analyzer.audit.folder import read_record
from analyzer.files import read_arrays
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.output_files import write_arrays
from tools.forged_folders import rewrite_arrays, rewrite_record


@pytest.fixture(scope="module")
def everything(tmp_path_factory, data, network):
    """An audit with every measure and a list of suspects with pictures."""
    folder = tmp_path_factory.mktemp("everything") / "audit"
    every = {"interpolation_samples": None, "neighbor_samples": None, "suspects": None}
    return audited(folder, data, network, preprocess="none", margins=True, **every)


def test_every_measure_is_measured_again(everything, data, tmp_path):
    found = verify_audit(everything, data=data, cells=2)
    assert [check for check in found.checks if not check.passed] == []
    names = {check.name for check in found.checks}
    assert {f"{name} measured again" for name in ("margins", "interpolation", "neighbors")} <= names
    folder = shutil.copytree(everything, tmp_path / "audit")
    record = read_record(folder)
    sections = {**record.sections}
    for name in ("margins", "neighbors"):
        layers = sections[name].layers
        other = dataclasses.replace(layers[1], tensor="elsewhere")
        sections[name] = dataclasses.replace(sections[name], layers=(layers[0], other, *layers[2:]))
    settings = {**record.settings, "seed": 1}
    rewrite_record(folder, dataclasses.replace(record, sections=sections, settings=settings))
    assert set(failed(folder, data)) == {
        f"{name} measured again" for name in ("margins", "interpolation", "neighbors")
    }


def test_other_labels_are_found_where_a_measure_cannot_be_of_them(everything, data):
    predicted = read_samples(everything).predicted
    said = failed(everything, (data[0], (predicted + 1) % CLASSES))
    assert "data read again" in said
    (more,) = (one for one in said.values() if one.startswith("Nothing more can be measured"))
    assert "no margins to describe" in more


def test_as_many_samples_are_measured_again_as_are_recorded(tmp_path, data, network, monkeypatch):
    """Versions and machines differ in how many samples they look at by default."""
    with monkeypatch.context() as another_version:
        another_version.setattr(
            "analyzer.measures.neighbors.measure.affordable_samples", lambda graph, total: 11
        )
        audited(tmp_path, data, network, preprocess="none", neighbor_samples=None)
    record = read_record(tmp_path)
    assert record.settings["neighbor_samples"] is None
    assert record.sections["neighbors"].samples == 11
    found = verify_audit(tmp_path, data=data, cells=2)
    assert [check for check in found.checks if not check.passed] == []
    assert "neighbors measured again" in {check.name for check in found.checks}


def test_what_measures_say_of_how_they_measured_is_checked(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    record = read_record(folder)
    mixed = dataclasses.replace(record.sections["interpolation"], partners=10)
    sections = {**record.sections, "interpolation": mixed}
    rewrite_record(folder, dataclasses.replace(record, sections=sections))
    assert "a sample has 8" in failed(folder, data)["interpolation measured again"]

    near = record.sections["neighbors"]
    twins = dataclasses.replace(near.twins, kept=not near.twins.kept)
    sections = {**record.sections, "neighbors": dataclasses.replace(near, twins=twins)}
    rewrite_record(folder, dataclasses.replace(record, sections=sections))
    assert "settings.keep_twins" in failed(folder, data)["neighbors"]


def swapped(row):
    """The nearest and the farthest neighbor of a sample have changed places."""
    row[[0, -1]] = row[[-1, 0]]


@pytest.mark.parametrize(
    ("file", "name", "change"),
    [
        ("neighbors", "nearest", lambda a: swapped(a[5])),
        ("neighbors", "nearest_images", lambda a: swapped(a[5])),
        ("neighbors", "distance_images", lambda a: a[5, -1:].__iadd__(0.1)),
        ("neighbors", "agreement", lambda a: a[4, 5:6].__imul__(0.5)),
        ("margins", "distance", lambda a: a[np.argmax(a[:, 1]), 1:2].__imul__(2)),
    ],
)
def test_one_value_that_rounding_does_not_explain_is_found(
    everything, data, tmp_path, file, name, change
):
    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / f"{file}.npz")
    change(arrays[name])
    rewrite_arrays(folder / f"{file}.npz", arrays)
    assert verify_audit(folder).passed
    assert list(failed(folder, data)) == [f"{file} measured again"]


def test_another_picture_of_a_suspect_is_found(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / "thumbnails.npz")
    first, second = list(arrays)[:2]
    arrays[first] = arrays[second]
    write_arrays(folder / "thumbnails.npz", arrays, compressed=False)
    rewrite_record(folder, read_record(folder))
    assert list(failed(folder, data)) == ["pictures"]


def test_another_name_of_a_class_or_a_suspect_is_found(everything, data, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    table = folder / "suspects.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    cells[1] = "somebody"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:], ""]), encoding="utf-8")
    rewrite_record(folder, read_record(folder))
    assert "is called 'somebody'" in failed(folder, data)["names"]


def test_a_measure_that_was_left_out_for_no_reason_is_found(tmp_path, data, network):
    folder = audited(tmp_path / "audit", data, network, preprocess="none", interpolation_samples=0)
    record = read_record(folder)
    settings = {**record.settings, "interpolation_samples": None}
    excuse = {"interpolation": "It has no gradients."}
    warned = "Interpolation could not be measured. It has no gradients."
    forged = dataclasses.replace(
        record, settings=settings, unmeasured=excuse, warnings=(*record.warnings, warned)
    )
    rewrite_record(folder, forged)
    assert verify_audit(folder).passed  # without the data, nothing is to be seen
    said = failed(folder, data)["interpolation measured again"]
    assert said == "audit.json says that interpolation could not be measured; here they can."


@pytest.mark.parametrize(
    ("file", "name"), [("neighbors.npz", "agreement"), ("interpolation.npz", "hold")]
)
@pytest.mark.parametrize("wrong", [-0.5, 1.5, np.inf])
@pytest.mark.filterwarnings("error")
def test_what_is_no_share_is_found_without_a_word_of_numpy(file, name, wrong, everything, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / file)
    arrays[name].flat[3] = wrong
    rewrite_arrays(folder / file, arrays)
    found = verify_audit(folder)
    assert file.removesuffix(".npz") in {check.name for check in found.checks if not check.passed}
