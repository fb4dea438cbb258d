import dataclasses
import json

import numpy as np
import pytest

from analyzer.audit import verify
from analyzer.audit.assemble_record import with_class_gaps
from analyzer.audit.folder import RESULT_FILES, read_record
from analyzer.audit.result_manifest import entries_of, write_entries
from analyzer.audit.verify import verify_audit
from analyzer.audit_record import EmptyClass, GapRecord
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.estimation import conditions_of, fit_gap_model, write_gap_model
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import CURVES
from analyzer.measures.ablation.sample_scores import SAMPLES
from analyzer.measures.registry import feature_values
from tools.forged_folders import rewrite_arrays, rewrite_record


def failed(verification) -> dict[str, str]:
    return {check.name: check.sentence for check in verification.checks if not check.passed}


def test_an_honest_folder_passes(audit):
    verification = verify_audit(audit)
    assert verification.passed
    assert failed(verification) == {}
    assert [sentence.split(":")[0] for sentence in verification.not_checked] == [
        "The network was not compared",
        "The estimated gap was not checked",
    ]
    value = verification.to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"zeta": 0.1}, "network"),
        ({"kappa": 0.1}, "network"),
        ({"accuracy": 0.5}, "accuracy"),
    ],
)
def test_a_changed_number_is_found(audit, fields, check):
    rewrite_record(audit, dataclasses.replace(read_record(audit), **fields))
    assert list(failed(verify_audit(audit))) == [check]


@pytest.mark.parametrize("field", ["accuracy", "n0", "n0_r", "zeta", "kappa"])
def test_a_changed_class_is_found(audit, field):
    record = read_record(audit)
    entry = record.classes[4]
    changed = dataclasses.replace(entry, **{field: getattr(entry, field) * 2 + 1})
    classes = (*record.classes[:4], changed, *record.classes[5:])
    rewrite_record(audit, dataclasses.replace(record, classes=classes))
    sentence = failed(verify_audit(audit))["quantities"]
    assert sentence.startswith(f"Class 4: {field} is ")


def test_a_changed_table_of_classes_is_found(audit):
    table = audit / "classes.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("class 4", "class five"))
    write_entries(audit, entries_of(audit, RESULT_FILES))
    assert list(failed(verify_audit(audit))) == ["class table"]
    table.write_text("changed after the manifest")
    assert {"files", "class table"} <= failed(verify_audit(audit)).keys()
    table.unlink()
    write_entries(audit, entries_of(audit, RESULT_FILES))
    with pytest.raises(AnalyzerError, match=r"classes\.csv does not exist"):
        verify_audit(audit)


def test_changed_chance_is_found(audit):
    rewrite_record(audit, dataclasses.replace(read_record(audit), chance=0.6))
    assert "quantities" in failed(verify_audit(audit))


def test_a_class_that_is_gone_is_found(audit):
    arrays = read_arrays(audit / CURVES)
    rewrite_arrays(audit / CURVES, {name: array[1:] for name, array in arrays.items()})
    found = failed(verify_audit(audit))
    assert "Class 0 has 40 samples in audit.json and none in curves.npz" in found["classes"]
    assert "samples" in found


def test_a_changed_curve_is_found(audit):
    arrays = read_arrays(audit / CURVES)
    arrays["descending"][3, 5] -= 1
    rewrite_arrays(audit / CURVES, arrays)
    found = failed(verify_audit(audit))
    assert {"quantities", "samples"} <= set(found)
    assert found["samples"].startswith("Class 3: 'descending' adds up to")


def test_a_changed_sample_is_found(audit):
    arrays = read_arrays(audit / SAMPLES)
    arrays["ascending"][0] += 1
    arrays["descending"][1] = 99
    arrays["correct"][2] ^= True
    rewrite_arrays(audit / SAMPLES, arrays)
    found = failed(verify_audit(audit))
    assert {"samples", "sample counts", "score", "scores", "features"} == set(found)
    assert "(2 more like it)" in found["samples"]


def test_samples_of_no_class_are_found(audit):
    arrays = read_arrays(audit / SAMPLES)
    longer = {name: np.append(array, array[-1:]) for name, array in arrays.items()}
    longer["label"][-1] = 77
    longer["index"][-1] += 1
    rewrite_arrays(audit / SAMPLES, longer)
    assert set(failed(verify_audit(audit))) == {"samples", "features", "data"}


def test_impossible_rows_are_found(audit):
    record = read_record(audit)
    rows = dataclasses.replace(record.rows, run=record.rows.possible + 1)
    rewrite_record(audit, dataclasses.replace(record, rows=rows))
    assert list(failed(verify_audit(audit))) == ["rows"]


def test_changed_feature_is_found(audit):
    record = read_record(audit)
    changed = {**record.features, "score_q50": 0.125}
    rewrite_record(audit, dataclasses.replace(record, features=changed))
    assert "score_q50 is 0.125 in audit.json" in failed(verify_audit(audit))["features"]


def test_features_that_are_missing_or_unknown_are_found(audit):
    record = read_record(audit)
    for changed, said in (
        ({}, "curve_n0 is missing in audit.json"),
        ({k: v for k, v in record.features.items() if k != "score_q10"}, "score_q10 is missing"),
        ({**record.features, "later": 0.5}, "later is 0.5 in audit.json"),
    ):
        rewrite_record(audit, dataclasses.replace(record, features=changed))
        assert said in failed(verify_audit(audit))["features"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("suspects", 3),
        ("suspects", "x"),
        ("tolerance", 0.1),
        ("margins", True),
        ("test_data", "test.npz"),
    ],
)
def test_a_setting_that_other_fields_deny_is_found(audit, name, value):
    record = read_record(audit)
    rewrite_record(audit, dataclasses.replace(record, settings={**record.settings, name: value}))
    assert f"settings.{name} is {value!r}" in failed(verify_audit(audit))["settings"]


@pytest.fixture
def gap_model(tmp_path):
    rng = np.random.default_rng(0)
    gap = rng.uniform(0.1, 0.9, 30)
    zeta, kappa = 0.2 + 0.5 * gap, 0.8 - 0.4 * gap
    zeta, kappa = (values + rng.normal(0, 0.03, 30) for values in (zeta, kappa))
    path = tmp_path / "gap_model.json"
    columns = {"zeta": zeta, "kappa": kappa}
    fitted = fit_gap_model(columns, gap, name="made up", data="nothing", architecture="none")
    return write_gap_model(fitted, path), path


def estimated(folder, line, **changed):
    record = read_record(folder)
    values = {"zeta": record.zeta, "kappa": record.kappa}
    estimate = line.estimate(values, rank=record.rank, conditions=conditions_of(record))
    gap = GapRecord(
        **{f.name: getattr(estimate, f.name) for f in dataclasses.fields(estimate)},
        gap_model=line.sha256,
        fitted_on=str(line.fitted_on),
    )
    record = with_class_gaps(dataclasses.replace(record, gap=gap), line)
    rewrite_record(folder, dataclasses.replace(record, gap=dataclasses.replace(gap, **changed)))


def test_the_gap_is_worked_out_again(make_audit, gap_model):
    line, path = gap_model
    folder = make_audit()
    estimated(folder, line)
    verification = verify_audit(folder, gap_model=path)
    assert verification.passed
    assert verification.checks[-1].name == "gap"


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"estimate": 0.0}, "The gap's estimate is 0.0"), ({"gap_model": "1" * 64}, "has SHA-256")],
)
def test_a_changed_gap_is_found(make_audit, gap_model, changed, said):
    line, path = gap_model
    folder = make_audit()
    estimated(folder, line, **changed)
    assert said in failed(verify_audit(folder, gap_model=path))["gap"]


def test_an_excuse_beside_an_estimate_is_found(make_audit, gap_model):
    line, path = gap_model
    folder = make_audit()
    estimated(folder, line)
    rewrite_record(folder, dataclasses.replace(read_record(folder), no_gap="The estimate is void."))
    assert "and there is one" in failed(verify_audit(folder, gap_model=path))["gap"]


@pytest.mark.parametrize("told", ["", "Nothing to worry about."])
def test_a_removed_estimate_is_found(make_audit, gap_model, told):
    line, path = gap_model
    folder = make_audit()
    estimated(folder, line)
    record = read_record(folder)
    settings = {**record.settings, "gap_model": str(path)}
    rewrite_record(folder, dataclasses.replace(record, gap=None, no_gap=told, settings=settings))
    for named in ({}, {"gap_model": path}):
        found = failed(verify_audit(folder, **named))["gap"]
        assert found.startswith("audit.json has no estimated gap, the gap model gives 0.")


def test_a_gap_model_that_no_audit_asked_for_fails(make_audit, gap_model):
    audit = make_audit()
    assert read_record(audit).settings.get("gap_model") is None
    sentence = failed(verify_audit(audit, gap_model=gap_model[1]))["gap"]
    assert sentence.startswith("audit.json says that no gap model was asked for, and ")


def test_why_there_is_no_estimate_is_worked_out_again(make_audit, tmp_path):
    lacking = fit_gap_model(
        {"interpolation_same_50": np.linspace(0, 1, 30)}, np.linspace(0, 0.5, 30),
        name="made up", data="nothing", architecture="none",
    )  # fmt: skip
    write_gap_model(lacking, tmp_path / "lacking.json")
    folder = make_audit()
    record = read_record(folder)
    with pytest.raises(AnalyzerError) as why:
        lacking.estimate(feature_values(record), rank=record.rank)
    settings = {**record.settings, "gap_model": str(tmp_path / "lacking.json")}
    for told, passed in ((str(why.value), True), ("The weather was bad.", False)):
        rewrite_record(folder, dataclasses.replace(record, no_gap=told, settings=settings))
        checks = {one.name: one.passed for one in verify_audit(folder).checks}
        assert checks["gap"] == passed


def test_a_gap_model_that_is_none_is_refused(audit, tmp_path):
    with pytest.raises(AnalyzerError, match="cannot be read"):
        verify_audit(audit, gap_model=tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "value"), [("margin", -50.0), ("log_probability", 0.5), ("other", None)]
)
def test_a_changed_score_of_a_sample_is_found(audit, name, value):
    arrays = read_arrays(audit / SAMPLES)
    place = int(np.flatnonzero(arrays["correct"])[0])
    arrays[name][place] = arrays["label"][place] if value is None else value
    rewrite_arrays(audit / SAMPLES, arrays)
    assert list(failed(verify_audit(audit))) == ["scores"]


def test_classes_that_are_listed_twice_are_refused(audit):
    record = read_record(audit)
    for changed in (
        {"classes": (*record.classes, record.classes[0])},
        {"classes": record.classes[::-1]},
        {"empty_classes": (EmptyClass(3, "class 3"),)},
    ):
        rewrite_record(audit, dataclasses.replace(record, **changed))
        with pytest.raises(AuditFolderError, match=r"class|ascending by index"):
            verify_audit(audit)


def test_a_class_gap_without_its_whole_interval_is_refused(audit):
    record = read_record(audit)
    whole = dataclasses.replace(record.classes[0], gap=0.2, gap_low=0.1, gap_high=0.3)
    for name in ("gap", "gap_low", "gap_high"):
        broken = dataclasses.replace(whole, **{name: None})
        rewrite_record(audit, dataclasses.replace(record, classes=(broken, *record.classes[1:])))
        with pytest.raises(AuditFolderError, match="without an interval"):
            verify_audit(audit)


def test_a_result_that_is_replaced_meanwhile_does_not_pass(audit, monkeypatch):
    record = read_record(audit)

    def replaced(folder):
        rewrite_record(audit, dataclasses.replace(record, created="2026-01-01T00:00:00+00:00"))
        return read_record(folder)

    monkeypatch.setattr(verify, "read_record", replaced)
    with pytest.raises(AuditFolderError, match="was replaced while it was being read"):
        verify_audit(audit)


@pytest.mark.parametrize("name", ["stopped.json", "test.npz", "margins.npz"])
def test_a_file_that_the_record_tells_nothing_of_is_found(audit, name):
    (audit / name).write_bytes(b"{}")
    write_entries(audit, entries_of(audit, RESULT_FILES))
    found = failed(verify_audit(audit))
    assert found == {
        "other files": f"{name} is there, and audit.json tells of nothing that would be in it."
    }
