from pathlib import Path

import numpy as np
import pytest

from analyzer.errors import AuditFolderError
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import CURVES, ClassCurves, read_curves, write_curves
from analyzer.measures.ablation.sample_scores import (
    SAMPLES,
    SampleCounts,
    SampleScores,
    read_samples,
    write_samples,
)
from analyzer.output_files import write_arrays


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_file_is_refused(audit, share):
    path = audit / CURVES
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AuditFolderError, match=r"curves\.npz is damaged"):
        read_curves(audit)


def test_curves_come_back_by_class_index(tmp_path):
    curves = [
        ClassCurves(j, 5, np.array([1, 0]), np.array([5, j, 0]), np.array([5, 4, 0]))
        for j in (4, 2)
    ]
    write_curves(tmp_path, curves)
    found = read_curves(tmp_path)
    assert [curve.class_index for curve in found] == [2, 4]
    np.testing.assert_array_equal(found[0].descending, [5, 2, 0])
    with np.load(tmp_path / CURVES) as arrays:
        assert {name: arrays[name].shape for name in arrays.files} == {
            "descending": (2, 3),
            "ascending": (2, 3),
            "samples": (2,),
            "order": (2, 2),
            "class_index": (2,),
        }
        assert {arrays[name].dtype.name for name in arrays.files} == {"int64"}


def test_samples_carry_their_score(tmp_path):
    counts = SampleCounts(
        label=np.array([0, 1]),
        correct=np.array([True, False]),
        descending=np.array([1, 0]),
        ascending=np.array([4, 2]),
        index=np.array([3, 7]),
        scores=SampleScores(np.zeros(2, np.float32), np.ones(2, np.float32), np.array([1, 0])),
    )
    write_samples(tmp_path, counts, channels=4)
    with np.load(tmp_path / SAMPLES) as arrays:
        np.testing.assert_array_equal(arrays["score"], np.array([0.6, 0.4], np.float32))
        assert arrays["descending"].dtype == np.int32
        assert arrays["label"].dtype == np.int64
    found = read_samples(tmp_path)
    np.testing.assert_array_equal(found.ascending, counts.ascending)
    assert found.correct.dtype == bool


def spoil(folder: Path, file: str, **arrays: np.ndarray) -> None:
    write_arrays(folder / file, {**read_arrays(folder / file), **arrays})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {"descending": a["descending"][:, :-1]}, "'descending' is int64 of shape"),
        (lambda a: {"samples": a["samples"] * 0}, "class 0 has no samples"),
        (lambda a: {"ascending": a["ascending"] + 100}, "'ascending' of class 0 is not between"),
        (lambda a: {"order": a["order"] * 0}, "'order' of class 0 does not name every channel"),
        (lambda a: {"class_index": a["class_index"] * 0}, "not ascending from 0"),
        (lambda a: {"order": a["order"].astype(float)}, "'order' is float64 of shape"),
        (lambda a: {name: value[:0] for name, value in a.items()}, "no class or no channel"),
    ],
)
def test_curves_that_contradict_themselves_are_refused(audit, change, said):
    spoil(audit, CURVES, **change(read_arrays(audit / CURVES)))
    with pytest.raises(AuditFolderError, match=said):
        read_curves(audit)


@pytest.mark.parametrize("name", ["correct", "index", "margin"])
def test_samples_of_different_lengths_are_refused(audit, name):
    spoil(audit, SAMPLES, **{name: read_arrays(audit / SAMPLES)[name][:3]})
    with pytest.raises(AuditFolderError, match=rf"'{name}' is .* of shape \(3,\)"):
        read_samples(audit)


@pytest.mark.parametrize(
    ("name", "value"),
    [("margin", "wide"), ("correct", 2), ("descending", 2**32 + 1), ("index", 0.5)],
)
def test_samples_of_another_type_are_refused(audit, name, value):
    changed = read_arrays(audit / SAMPLES)
    spoil(audit, SAMPLES, **{name: np.full(changed[name].shape, value)})
    with pytest.raises(AuditFolderError, match=f"'{name}' is "):
        read_samples(audit)


def test_scores_that_are_there_in_part_are_refused(audit):
    arrays = read_arrays(audit / SAMPLES)
    del arrays["other"]
    write_arrays(audit / SAMPLES, arrays)
    with pytest.raises(AuditFolderError, match="no array 'other'"):
        read_samples(audit)
