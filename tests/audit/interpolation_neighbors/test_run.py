"""Audits with interpolation and neighbors: what they keep, what they resume from, what is null."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from interpolated_audits import BOTH, OFF, S

from analyzer import surgery
from analyzer.audit import run_audit, verify_audit
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.errors import DataError, ModelError
from analyzer.estimation import fit_gap_model, ridge, write_gap_model
from analyzer.files import read_arrays, read_json
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.interpolation.measure import Interpolation
from analyzer.measures.interpolation.mixing import INTERPOLATION_FEATURES
from analyzer.measures.neighbors.measure import Neighbors
from analyzer.measures.neighbors.votes import LAYERS, NEIGHBORS_FEATURES
from analyzer.measures.registry import feature_values


def content(folder):
    """What the files of an audit say, but for times."""
    record = json.loads((folder / "audit.json").read_bytes())
    for timed in (record, *(record[name] for name in BOTH if record[name])):
        timed.pop("seconds")
    record.pop("created")
    files = sorted(folder.glob("*.npz"))
    return record, {file.name: file.read_bytes() for file in files}


def refuse(*_):
    pytest.fail("measured again")


def test_the_record_says_what_follows_from_the_files(asked):
    result = run_audit(asked)
    mixed, votes = (read_arrays(asked.out / f"{name}.npz") for name in BOTH)
    labels = read_samples(asked.out).label
    said = result.sections["interpolation"]
    assert mixed["hold"].dtype == np.float32
    with np.errstate(invalid="ignore"):
        hold = mixed["same"][:, -1] / mixed["same_asked"][:, -1]
    np.testing.assert_array_equal(mixed["hold"], hold.astype(np.float32))
    assert said.hold_mean == pytest.approx(np.nanmean(hold))
    assert said.accuracy == pytest.approx(mixed["correct"].mean())
    np.testing.assert_array_equal(mixed["correct"], read_samples(asked.out).correct)
    assert (said.samples, said.partners, len(said.same)) == (S, 8, 5)

    layers = result.sections["neighbors"].layers
    assert tuple(layer.name for layer in layers) == LAYERS
    for layer, majority, agreement in zip(
        layers, votes["majority"], votes["agreement"], strict=True
    ):
        assert layer.error == pytest.approx((majority != labels).mean())
        trusted = hold >= 0.5
        assert layer.trusted_error == pytest.approx((majority != labels)[trusted].mean())
        assert agreement.dtype == np.float32
    assert votes["nearest"].shape == (S, 10)
    features = feature_values(result)
    assert {*INTERPOLATION_FEATURES, *NEIGHBORS_FEATURES} <= features.keys()
    assert features["interpolation_hold_mean"] == said.hold_mean
    assert features["neighbors_error_last_trusted"] == layers[-1].trusted_error
    assert verify_audit(asked.out).passed


def test_they_are_added_to_a_finished_audit(asked, tmp_path, monkeypatch):
    without = run_audit(replace(asked, **OFF))
    assert not without.sections
    assert not any((asked.out / f"{name}.npz").exists() for name in BOTH)
    assert read_json(asked.out / "audit.json")["neighbors"] is None
    run_audit(replace(asked, out=tmp_path / "at once"))
    monkeypatch.setattr(Ablation, "measure", refuse)
    run_audit(asked)
    assert content(asked.out) == content(tmp_path / "at once")
    assert not (asked.out / ".unfinished").exists()

    for measure in (Interpolation, Neighbors):
        monkeypatch.setattr(measure, "measure", refuse)
    again = run_audit(asked)
    assert run_audit(replace(asked, **OFF)) == again  # what is known is not thrown away
    other = run_audit(replace(asked, **OFF, chance=0.2))
    assert (other.sections, other.chance) == (again.sections, 0.2)


def test_other_samples_are_measured_again_for_one_measure_alone(asked, tmp_path, monkeypatch):
    whole = run_audit(asked)
    run_audit(replace(asked, out=tmp_path / "at once", interpolation_samples=10))
    for measure in (Ablation, Neighbors):
        monkeypatch.setattr(measure, "measure", refuse)
    part = run_audit(replace(asked, interpolation_samples=10))
    assert content(asked.out) == content(tmp_path / "at once")
    assert part.sections["interpolation"].samples == 10
    before, after = (one.sections["neighbors"].layers for one in (whole, part))
    assert [layer.error for layer in before] == [layer.error for layer in after]
    assert [one.trusted_error for one in before] != [one.trusted_error for one in after]
    assert part.settings["interpolation_samples"] == 10
    assert verify_audit(asked.out).passed


def test_neighbors_without_interpolation_have_no_trusted_error(asked):
    result = run_audit(replace(asked, interpolation_samples=0, neighbor_samples=20))
    assert "interpolation" not in result.sections
    said = result.sections["neighbors"]
    assert said.samples == 20
    assert all(layer.trusted_error is None and layer.error >= 0 for layer in said.layers)
    assert sum(name.endswith("_trusted") for name in feature_values(result)) == 0
    assert verify_audit(asked.out).passed
    assert "of the trusted" not in (asked.out / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def small_steps(monkeypatch):
    """Many checkpoints, each kept."""
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 32)
    monkeypatch.setattr("analyzer.measures.neighbors.votes._BLOCK", 16)
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", -1)


def test_every_checkpoint_is_resumed_to_the_byte(asked, tmp_path, monkeypatch, small_steps):
    run_audit(replace(asked, **OFF))
    shutil.copytree(asked.out, tmp_path / "counted")
    write, kept = UnfinishedAudit.write, []

    def keep(self, key, arrays, measure):
        write(self, key, arrays, measure)
        kept.append({file.name: file.read_bytes() for file in self.folder.glob("*.npz")})

    monkeypatch.setattr(UnfinishedAudit, "write", keep)
    run_audit(asked)
    monkeypatch.setattr(UnfinishedAudit, "write", write)
    wanted = content(asked.out)
    assert sum("neighbors.npz" in files for files in kept) > 5
    assert sum("neighbors.npz" not in files for files in kept) > 5
    for files in kept:
        shutil.rmtree(asked.out)
        shutil.copytree(tmp_path / "counted", asked.out)
        (asked.out / ".unfinished").mkdir()
        for name, written in files.items():
            (asked.out / ".unfinished" / name).write_bytes(written)
        seen = []
        run_audit(asked, progress=lambda *at, seen=seen: seen.append(at))
        assert content(asked.out) == wanted
        done = [at for stage, at, _ in seen if stage == "neighbors"]
        assert done == sorted(set(done))
    assert done == []  # of the last, nothing was left


@pytest.mark.parametrize("stage", BOTH)
def test_what_is_unfinished_with_other_samples_is_not_resumed(stage, asked, tmp_path, small_steps):
    other = {"interpolation_samples": 12, "neighbor_samples": 12}
    run_audit(replace(asked, **other, out=tmp_path / "at once"))

    def interrupt(told, done, total):
        if told == stage and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_audit(asked, progress=interrupt)
    assert (asked.out / ".unfinished" / f"{stage}.npz").exists()
    run_audit(replace(asked, **other))
    assert content(asked.out) == content(tmp_path / "at once")


def test_the_order_of_the_samples_does_not_matter(asked, tmp_path):
    arrays = dict(np.load(asked.data))
    order = np.random.default_rng(1).permutation(S)
    np.savez(tmp_path / "other.npz", **{name: array[order] for name, array in arrays.items()})
    for part in ({}, {"interpolation_samples": 16, "neighbor_samples": 16}):
        one = run_audit(replace(asked, fresh=True, **part))
        out = tmp_path / f"other {len(part)}"
        other = run_audit(replace(asked, data=str(tmp_path / "other.npz"), out=out, **part))
        for name in BOTH:
            found, shuffled = (read_arrays(a / f"{name}.npz") for a in (asked.out, out))
            for array, values in found.items():
                if array in ("nearest", "nearest_images"):
                    near = np.where(shuffled[array] < 0, -1, order[shuffled[array]])
                    np.testing.assert_array_equal(near, values[order])
                elif array in ("agreement", "majority"):
                    np.testing.assert_array_equal(shuffled[array], values[:, order])
                elif array in ("twins", "twin_distance"):
                    assert len(shuffled[array]) == len(values) == 0
                else:
                    np.testing.assert_array_equal(shuffled[array], values[order], array)
        for feature in (*INTERPOLATION_FEATURES, *NEIGHBORS_FEATURES):
            assert feature_values(one)[feature] == feature_values(other)[feature]


def test_samples_that_cannot_be_read_have_no_row(asked, tmp_path):
    arrays = dict(np.load(asked.data))
    arrays["images"][[3, 17], 0, 0, 0] = np.nan
    np.savez(asked.data, **arrays)
    with pytest.raises(DataError):
        run_audit(asked)
    result = run_audit(replace(asked, skip_bad=True))
    kept = np.delete(np.arange(S), [3, 17])
    np.savez(tmp_path / "kept.npz", **{name: array[kept] for name, array in arrays.items()})
    run_audit(replace(asked, data=str(tmp_path / "kept.npz"), out=tmp_path / "kept"))
    assert result.sections["interpolation"].samples == S - 2
    for name in BOTH:
        found, wanted = (read_arrays(a / f"{name}.npz") for a in (asked.out, tmp_path / "kept"))
        for array, values in found.items():
            np.testing.assert_array_equal(values, wanted[array], array)
    assert verify_audit(asked.out).passed


def test_what_a_network_does_not_allow_is_null_with_a_warning(asked, monkeypatch, tmp_path):
    def impossible(*_, **__):
        raise ModelError("It has no layers.")

    monkeypatch.setattr(surgery, "write_activation_outputs", impossible)
    result = run_audit(asked)
    assert result.unmeasured == {"neighbors": "It has no layers."}
    assert "Neighbors could not be measured. It has no layers." in result.warnings
    assert not (asked.out / "neighbors.npz").exists()
    assert result.sections.keys() == {"interpolation"}
    assert verify_audit(asked.out).passed
    for measure in (Ablation, Interpolation, Neighbors):
        monkeypatch.setattr(measure, "measure", refuse)
    assert run_audit(asked) == result
    again = run_audit(replace(asked, chance=0.3))
    assert again.unmeasured == result.unmeasured
    assert again.warnings[-1] == result.warnings[-1]


def gap_model_of(path, *features):
    random = np.random.default_rng(5)
    columns = {name: random.uniform(size=12) for name in features}
    gap = 0.1 * sum(columns.values())
    words = {"name": "further", "data": "none", "architecture": "none"}
    write_gap_model(fit_gap_model(columns, gap, fit=ridge, **words), path)
    return path


def test_a_gap_model_that_takes_them_has_them_measured(asked, tmp_path, monkeypatch):
    path = gap_model_of(tmp_path / "gap.json", "interpolation_same_50", "neighbors_error_last")
    result = run_audit(replace(asked, **OFF, gap_model=path))
    assert result.sections.keys() == set(BOTH)
    assert result.gap is not None
    assert result.settings["neighbor_samples"] is None

    def impossible(*_, **__):
        raise ModelError("It has no layers.")

    monkeypatch.setattr(surgery, "write_activation_outputs", impossible)
    with pytest.raises(ModelError, match="no layers"):
        run_audit(replace(asked, fresh=True, gap_model=path))


def test_samples_without_a_partner_leave_nulls(asked, tmp_path):
    arrays = dict(np.load(asked.data))
    few = {"images": arrays["images"][:4], "labels": np.array([1, 1, 1, 1])}
    np.savez(asked.data, **few)
    result = run_audit(asked)
    said = result.sections["interpolation"]
    assert said.other == said.third == (None,) * 5
    assert "interpolation_other_80" not in feature_values(result)
    assert verify_audit(asked.out).passed
    np.savez(asked.data, images=few["images"], labels=np.arange(4))
    result = run_audit(replace(asked, fresh=True))
    assert result.sections["interpolation"].hold_mean is None
    assert result.sections["neighbors"].layers[0].trusted_error is None
    report = (asked.out / "report.html").read_text(encoding="utf-8")
    assert "No sample has another image of its label" in report
    assert verify_audit(asked.out).passed
    path = gap_model_of(tmp_path / "gap.json", "interpolation_same_50")
    estimated = run_audit(replace(asked, gap_model=path))
    assert estimated.gap is None  # what was counted is not lost for it
    assert "interpolation_same_50, which is not measured" in estimated.no_gap


def test_the_report_shows_both(asked):
    result = run_audit(asked)
    report = (asked.out / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", report)).replace("\xa0", " ")
    mean = f"{100 * result.sections['interpolation'].hold_mean:.1f}%"
    assert f"still names the label for {mean} of the samples" in text
    assert "It is neither an accuracy nor an estimate of the gap." in text
    for layer in result.sections["neighbors"].layers:
        assert layer.tensor in text
        assert f"{100 * layer.error:.1f}%" in text
    assert report.count('<path class="mean"') >= 1
    for name in BOTH:
        assert f'id="{name}"' in report
        assert f'href="#{name}"' in report


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interpolation_samples": -1}, "interpolation_samples cannot be -1"),
        ({"neighbor_samples": "some"}, "neighbor_samples cannot be 'some'"),
    ],
)
def test_numbers_of_samples_that_there_are_not(options, said, asked):
    with pytest.raises(DataError, match=said):
        run_audit(replace(asked, **options))
    assert not asked.out.exists()
