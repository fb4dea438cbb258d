"""Options under which an estimate of a gap model with other options means something else."""

import dataclasses

import pytest
from cli_commands import BUNDLED

from analyzer.audit import read_record
from analyzer.estimation import read_gap_model, unusual_settings
from analyzer.estimation.changed_features import outside_settings

ANY = ("interpolation_same_50", "neighbors_error_third_trusted")


@pytest.mark.parametrize(
    ("unusual", "features", "recipe", "told"),
    [
        ({}, ANY, {}, 0),
        ({"neighbor_samples": 20.0}, ANY, {}, 1),
        ({"neighbor_samples": 20.0}, ANY, {"neighbor_samples": [30.0, 30.0]}, 0),
        ({"neighbor_samples": 10.0}, ANY, {"neighbor_samples": [30.0, 30.0]}, 1),
        ({"neighbor_samples": 20.0}, ("zeta", "kappa"), {}, 0),
        ({"interpolation_samples": 20.0}, ("neighbors_error_third_trusted",), {}, 1),
        ({"interpolation_samples": 20.0}, ("neighbors_error_third",), {}, 0),
        ({"chance": 0.5}, ("zeta", "kappa"), {}, 1),
        ({"chance": 0.5}, ANY, {}, 0),
    ],
)
def test_an_option_is_told_where_it_touches_a_feature(unusual, features, recipe, told):
    assert len(list(outside_settings(unusual, features, recipe, "any"))) == told


def test_such_an_estimate_is_outside_its_domain():
    line = read_gap_model(BUNDLED / "gap_model.json")
    values = dict(zip(line.features, line.feature_means, strict=True))
    assert line.estimate(values).inside_range
    found = line.estimate(values, unusual={"chance": 0.5})
    assert not found.inside_range
    assert "The chance level was set to 0.5" in found.warnings[1]


@pytest.mark.parametrize(("samples", "unusual"), [(10, 10.0), (700, None), ("all", None)])
def test_what_is_unusual(audit, samples, unusual):
    record = read_record(audit)
    record = dataclasses.replace(
        record,
        data=dataclasses.replace(record.data, samples=1_300),
        sections={**record.sections, "neighbors": None},
        settings={**record.settings, "neighbor_samples": samples},
        chance=1 / (len(record.classes) + len(record.empty_classes)),
    )
    assert unusual_settings(record).get("neighbor_samples") == unusual
    assert "chance" not in unusual_settings(record)
    assert unusual_settings(dataclasses.replace(record, chance=0.001))["chance"] == 0.001
