"""The JSON Schema of audit.json: what audits write is valid, and what is not theirs is refused."""

import copy
import importlib.resources
import json

import jsonschema
import pytest
from cli_commands import BUNDLED

from analyzer.audit import run_audit
from analyzer.make_request import audit_request
from tools.write_audit_schema import TARGET, audit_schema

SCHEMA = json.loads(
    (importlib.resources.files("analyzer.audit") / "audit.schema.json").read_text("utf-8")
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Records of audits of several kinds, as their files hold them."""
    asked = {
        "plain": {},
        "no gap": {"gap_model": "none"},
        "margins": {"margins": True},
        "estimated": {"tolerance": 0.1},
        "without measures": {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0},
        "limits": {"max_gap": 0.5, "min_accuracy": 0.5},
        "test data": {
            "test_data": BUNDLED / "train.npz",
            "test_keys": ("images", "labels_c0"),
        },
        "random": {"rank": "random", "seed": 3},
    }
    found = {}
    for name, options in asked.items():
        out = tmp_path_factory.mktemp("audits") / "audit"
        run_audit(audit_request("zoo:digits-c40", None, out, limit_per_class=5, **options))
        found[name] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return found


def validate(record):
    jsonschema.validate(record, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_the_file_in_the_package_follows_from_the_records():
    assert TARGET.read_text(encoding="utf-8") == (
        json.dumps(audit_schema(), indent=2, ensure_ascii=False) + "\n"
    ), "run python tools/write_audit_schema.py"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_audits_are_valid(audited):
    for record in audited.values():
        validate(record)


def test_every_field_that_audits_write_is_described(audited):
    def unknown(value, schema, where):
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].split("/")[-1]]
        for choice in schema.get("anyOf", ()):
            if choice.get("type") != "null":
                schema = choice if "$ref" not in choice else SCHEMA["$defs"][
                    choice["$ref"].split("/")[-1]
                ]  # fmt: skip
        if isinstance(value, dict) and "properties" in schema:
            for name, item in value.items():
                if name not in schema["properties"]:
                    yield f"{where}.{name}"
                else:
                    yield from unknown(item, schema["properties"][name], f"{where}.{name}")
        if isinstance(value, list) and "items" in schema and schema["items"]:
            for item in value:
                yield from unknown(item, schema["items"], f"{where}[]")

    for record in audited.values():
        assert list(unknown(record, SCHEMA, "audit")) == []


def test_a_record_without_a_field_it_needs_is_refused(audited):
    for name in SCHEMA["required"]:
        record = {key: value for key, value in audited["plain"].items() if key != name}
        with pytest.raises(jsonschema.ValidationError, match=name):
            validate(record)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(schema=2),
        lambda r: r.update(accuracy="1.0"),
        lambda r: r.update(zeta=1.5),
        lambda r: r.update(classes=[]),
        lambda r: r["classes"][0].update(n0=0.5),
        lambda r: r["classes"][0].pop("kappa"),
        lambda r: r["model"].update(sha256="abc"),
        lambda r: r["gap"].pop("high"),
        lambda r: r.update(warnings="none"),
        lambda r: r.update(features={"curve_n0": "a"}),
        lambda r: r["neighbors"].pop("layers"),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(audited, change):
    record = copy.deepcopy(audited["plain"])
    change(record)
    with pytest.raises(jsonschema.ValidationError):
        validate(record)
