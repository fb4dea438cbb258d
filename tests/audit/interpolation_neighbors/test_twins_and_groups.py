"""Twins, groups and the same image under two labels: told, recorded, verified."""

from dataclasses import replace

import numpy as np
import pytest
from interpolated_audits import failed

from analyzer.audit import run_audit, verify_audit
from analyzer.errors import AuditFolderError, DataError
from analyzer.files import read_arrays, read_json
from analyzer.output_files import write_arrays, write_json
from tools.forged_folders import seal


def test_the_same_image_under_two_labels_is_told(asked):
    arrays = dict(np.load(asked.data))
    images, labels = arrays["images"], arrays["labels"]
    images[5], labels[5] = images[2], (labels[2] + 1) % 10
    images[9], labels[9] = images[20] + 1e-4, (labels[20] + 3) % 10
    images[12], labels[12] = images[13], labels[13]
    np.savez(asked.data, **arrays)
    said = run_audit(asked).sections["neighbors"].conflicts
    assert (said.same_bytes, said.near) == (2, 2)
    first, second = said.pairs
    assert (first.index, first.other_index, first.same_bytes, first.distance) == (2, 5, True, 0)
    assert first.label_name == str(labels[2])
    assert (second.index, second.other_index, second.same_bytes) == (9, 20, False)
    assert 0 <= second.distance < 1e-3
    assert second.other_label_name == str(labels[20])
    assert verify_audit(asked.out).passed
    path = asked.out / "audit.json"
    record = read_json(path)
    pairs = record["neighbors"]["conflicts"]["pairs"]
    for field in ("index", "label_name", "other_index", "other_label_name", "same_bytes"):
        pair = {**pairs[0], field: "x" if "name" in field else not pairs[0][field]}
        pair[field] = int(pair[field]) if "index" in field else pair[field]
        conflicts = {**record["neighbors"]["conflicts"], "pairs": [pair, pairs[1]]}
        section = {**record["neighbors"], "conflicts": conflicts}
        write_json(path, {**record, "neighbors": section})
        assert failed(asked.out) == ["neighbors"], field


def with_copies(asked):
    """The request with ten brighter copies beside the samples, two of them of another label."""
    arrays = dict(np.load(asked.data))
    images, labels = arrays["images"], arrays["labels"]
    copies = labels[:10].copy()
    copies[:2] = (copies[:2] + 1) % 10
    np.savez(
        asked.data,
        images=np.concatenate([images, 1.02 * images[:10] + 0.01]),
        labels=np.concatenate([labels, copies]),
    )
    return asked


def test_twins_are_told_and_verified(asked, tmp_path):
    found = run_audit(with_copies(asked))
    twins = found.sections["neighbors"].twins
    assert (twins.samples, twins.things, twins.kept, twins.grouped) == (20, 10, False, 0)
    assert twins.share == 0.5
    assert found.sections["neighbors"].conflicts.near == 4
    assert any("20 samples (50.0%)" in sentence for sentence in found.warnings)
    assert "20 samples (50.0" in (asked.out / "report.html").read_text()
    assert verify_audit(asked.out).passed
    path = asked.out / "neighbors.npz"
    arrays = read_arrays(path)
    for array, cell, value in (
        ("twins", (0, 1), 12), ("twin_distance", 0, 3.0), ("group", 4, 1),
        ("nearest", (0, 0), 30),
    ):  # fmt: skip
        changed = arrays[array].copy()
        changed[cell] = value
        write_arrays(path, {**arrays, array: changed})
        assert "neighbors" in failed(asked.out), (array, cell)
    write_arrays(path, arrays)
    record = read_json(asked.out / "audit.json")
    section = record["neighbors"]
    for name, value in (("samples", 19), ("share", 0.6), ("things", 9), ("joined", 2)):
        forged = {**section, "twins": {**section["twins"], name: value}}
        write_json(asked.out / "audit.json", {**record, "neighbors": forged})
        seal(asked.out)
        said = " ".join(check.sentence for check in verify_audit(asked.out).checks)
        assert f"'twins.{name}' is {value} in audit.json, neighbors.npz gives" in said
    write_json(asked.out / "audit.json", record)
    seal(asked.out)
    kept = run_audit(replace(asked, keep_twins=True))
    assert kept.sections["neighbors"].twins == replace(twins, kept=True)
    assert kept.key == found.key  # nothing else is measured again
    assert (read_arrays(path)["nearest"][:10] == np.arange(30, 40)[:, None]).any(axis=1).all()
    assert verify_audit(asked.out).passed


def test_groups_are_told_from_a_file(asked, tmp_path):
    groups = np.where(np.arange(40) % 30 < 10, np.arange(40) % 30, -1)
    np.save(tmp_path / "groups.npy", groups)
    told = replace(with_copies(asked), groups=str(tmp_path / "groups.npy"))
    found = run_audit(told)
    assert (found.sections["neighbors"].twins.samples, found.settings["groups"]) == (0, told.groups)
    arrays = read_arrays(asked.out / "neighbors.npz")
    assert arrays["group"].tolist() == groups.tolist()
    for name in ("nearest", "nearest_images"):
        assert not (arrays[name][:10] == np.arange(30, 40)[:, None]).any()
    assert verify_audit(asked.out).passed
    assert run_audit(told) == found
    with pytest.raises(AuditFolderError, match="differs in groups"):
        run_audit(asked)
    np.save(tmp_path / "groups.npy", np.arange(39))
    with pytest.raises(DataError, match="39 groups"):
        run_audit(told)


def test_groups_that_share_a_sample_count_as_one_and_this_is_said(asked, tmp_path):
    arrays = dict(np.load(asked.data))
    arrays["images"][20] = arrays["images"][0]  # the same bytes in groups 0 and 2
    arrays["labels"][20] = arrays["labels"][0]
    np.savez(asked.data, **arrays)
    count = len(arrays["labels"])
    np.save(tmp_path / "groups.npy", np.arange(count) // 10)
    found = run_audit(replace(asked, groups=str(tmp_path / "groups.npy"), keep_twins=True))
    twins = found.sections["neighbors"].twins
    assert (twins.groups, twins.joined, twins.grouped) == (count // 10, 2, count)
    said = [sentence for sentence in found.warnings if "groups share" in sentence]
    assert len(said) == 1
    assert said[0].startswith(f"2 of {count // 10} groups share samples of the same bytes")
    nearest = read_arrays(asked.out / "neighbors.npz")["nearest"]
    assert not np.isin(nearest[:10], np.arange(20, 30)).any()
    assert verify_audit(asked.out).passed
