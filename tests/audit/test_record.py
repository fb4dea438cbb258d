import dataclasses
import json

import numpy as np
import pytest

from analyzer.audit.folder import AUDIT, from_dict, read_record, to_dict
from analyzer.audit_record import SCHEMA, AuditRecord
from analyzer.errors import AuditFolderError
from analyzer.files import read_json
from analyzer.output_files import write_json

CONTRACT = {
    "": "schema model data site settings accuracy zeta kappa classes gap device versions seconds "
    "rows warnings",
    "model": "path sha256 bytes producer opset",
    "data": "source samples sha256 preprocessing",
    "site": "tensor axis channels kind cut",
    "gap": "estimate low high coverage gap_model inside_range warnings",
    "device": "requested used precision",
    "seconds": "prefix sweep total",
    "rows": "possible run",
}
CLASS_FIELDS = (
    "index name samples accuracy n0 n0_r zeta kappa chance_reached flags "
    "gap gap_low gap_high sureness"
)


def test_the_file_has_the_fields_of_the_contract(audit):
    value = read_json(audit / AUDIT)
    for part, names in CONTRACT.items():
        assert set(names.split()) <= set(value[part] if part else value), part
    assert set(CLASS_FIELDS.split()) == set(value["classes"][0])
    assert value["schema"] == SCHEMA
    assert next(iter(value)) == "schema"


def test_record_comes_back_as_it_was(audit):
    record = read_record(audit)
    assert from_dict(json.loads(json.dumps(to_dict(record)))) == record


def test_numpy_numbers_become_plain_ones(audit):
    record = dataclasses.replace(read_record(audit), zeta=np.float64(0.5), settings={"a": (1, 2)})
    value = to_dict(record)
    assert type(value["zeta"]) is float
    assert value["settings"] == {"a": [1, 2]}


def test_nan_is_never_written(audit):
    record = dataclasses.replace(read_record(audit), kappa=float("nan"))
    with pytest.raises(ValueError, match=r"audit\.kappa is nan"):
        to_dict(record)


def test_without_a_gap_model_gap_is_null(make_audit):
    folder = make_audit()
    assert read_json(folder / AUDIT)["gap"] is None
    assert read_record(folder).gap is None


def test_fields_of_later_versions_are_ignored(audit):
    value = read_json(audit / AUDIT)
    value["later"] = 1
    value["model"]["later"] = {}
    assert isinstance(from_dict(value), AuditRecord)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), 99, "has schema 99, this version of onnx-gap reads 1"),
        (("zeta",), "0.5", "'zeta' must be a number, not '0.5'"),
        (("accuracy",), None, "'accuracy' must be a number, not None"),
        (("model",), [], "'model' must be an object"),
        (("model", "bytes"), 1.5, r"'model\.bytes' must be an integer, not 1\.5"),
        (("model", "opset"), True, r"'model\.opset' must be an integer, not True"),
        (("classes",), {}, "'classes' must be a list"),
        (("classes",), [], "'classes' is empty"),
        (("classes", 3, "zeta"), "x", r"'classes\[3\]\.zeta' must be a number"),
        (("classes", 3, "flags"), [1], r"'classes\[3\]\.flags\[0\]' must be a string"),
        (("gap", "inside_range"), 1, r"'gap\.inside_range' must be true or false"),
        (("versions",), {"numpy": 2}, r"'versions\.numpy' must be a string"),
        (("settings",), 3, "'settings' must be an object"),
        (("settings", "max_gap"), 2.0, "'settings' has a limit that no audit has. max_gap cannot"),
        (("settings", "gate"), "class", "'settings' has a limit that no audit has. gate cannot be"),
        (("data", "samples"), 0, r"'data\.samples' must be an integer of at least 1"),
        (("chance",), 1.0, "'chance' must be a number from 0 to below 1"),
        (("kappa",), None, "'kappa' must be a number, as there is a site"),
        (("classes", 1, "n0"), None, r"'classes\[1\]\.n0' must be a number, as there is a site"),
        (("settings", "max_gap"), "x", r"'settings\.max_gap' must be a number, not 'x'"),
    ],
)
def test_a_wrong_field_is_named(audit, path, value, said):
    whole = read_json(audit / AUDIT)
    *way, last = path
    part = whole
    for key in way:
        part = part[key]
    part[last] = value
    write_json(audit / AUDIT, whole)
    with pytest.raises(AuditFolderError, match=said) as error:
        read_record(audit)
    assert str(audit / AUDIT) in str(error.value)


def test_a_missing_field_is_named(audit):
    value = read_json(audit / AUDIT)
    del value["site"]["channels"]
    with pytest.raises(AuditFolderError, match=r"audit\.json has no field 'site\.channels'"):
        from_dict(value)


@pytest.mark.parametrize("value", [[], 3, {}, {"zeta": 1}])
def test_what_is_no_record_is_refused(value):
    with pytest.raises(AuditFolderError, match="not the record of an audit"):
        from_dict(value)


def test_a_folder_without_an_audit_is_named(tmp_path):
    with pytest.raises(AuditFolderError, match=r"audit\.json does not exist"):
        read_record(tmp_path)
