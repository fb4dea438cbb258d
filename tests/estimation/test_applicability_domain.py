import dataclasses

import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import (
    CONDITION_COLUMNS,
    FEATURE_SETS,
    ApplicabilityDomain,
    AuditConditions,
    PopulationTable,
    fit_gap_model,
    fit_population,
    read_gap_model,
    read_population,
    write_gap_model,
    write_population,
)
from tools.evidence.analysis import transfer, transfer_matrix

TYPICAL = AuditConditions(
    accuracy=0.99,
    classes=100,
    channels=256,
    samples=5000,
    given=5000,
    site="activation",
    pixels=784,
    colors=1,
)
CELLS = TYPICAL.to_cells()
WORDS = {"data": "d", "architecture": "a"}


def make_population(networks=20, *, seed=0, **changed):
    """A population whose accuracies are 0.97 to 1 and whose M is 128 or 256."""
    rng = np.random.default_rng(seed)
    zeta, kappa = rng.uniform(0.2, 0.6, (2, networks))
    unknown = np.full(networks, np.nan)
    audits = [
        dataclasses.replace(TYPICAL, accuracy=accuracy, channels=channels)
        for accuracy, channels in zip(
            np.linspace(0.97, 1, networks), np.resize([128, 256], networks).tolist(), strict=True
        )
    ]
    cells = [dataclasses.replace(audit, **changed).to_cells() for audit in audits]
    return PopulationTable(
        name=tuple(map(str, range(networks))),
        zeta=zeta,
        kappa=kappa,
        train_accuracy=unknown,
        test_accuracy=unknown,
        gap=zeta - 0.5 * kappa + 0.3 + rng.normal(0, 0.02, networks),
        further={name: tuple(row[name] for row in cells) for name in CONDITION_COLUMNS},
    )


@pytest.fixture(scope="module")
def gap_model():
    return fit_population(make_population(), name="mine", **WORDS)


def estimated(gap_model, **changed):
    conditions = dataclasses.replace(TYPICAL, **changed)
    center = dict(zip(gap_model.features, gap_model.feature_means, strict=True))
    return gap_model.estimate(center, conditions=conditions)


def test_ranges_are_those_of_the_networks(gap_model):
    found = gap_model.fitted_on.domain
    assert found.accuracy == pytest.approx((0.97, 1.0))
    assert (found.classes, found.channels) == ((100, 100), (128, 256))
    assert (found.samples_per_class, found.given_per_class) == ((50, 50), (50, 50))
    assert found.sites == ("activation",)


def test_network_like_the_others_is_inside_and_nothing_is_said(gap_model):
    for changed in ({}, {"channels": 200}, {"accuracy": 1.0}):
        found = estimated(gap_model, **changed)
        assert found.inside_range
        assert found.warnings == (gap_model.caution,)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"accuracy": 0.81},
            "The accuracy on the training data is 0.810, below the 0.970 to 1.000 of the networks "
            "that the gap model 'mine' was fitted on: this network has not memorized its training "
            "data as they had",
        ),
        (
            {"classes": 10, "samples": 500, "given": 500},
            "The audit is of 10 classes, whereas the networks that the gap model 'mine' was fitted "
            "on have 100:",
        ),
        ({"channels": 512}, "The site has 512 channels, whereas the networks that the gap "),
        ({"samples": 2000}, "The audit is of 20 samples per class, whereas the networks "),
        ({"given": 20_000}, "The training data have 200 samples per class, whereas those of "),
        (
            {"samples": 20_000, "given": 20_000},  # one fact, one sentence
            "The training data have 200 samples per class, whereas those of ",
        ),
        ({"samples": 2600, "given": 9900}, "The audit is of 26% of the samples of the training "),
        ({"pixels": 50_176, "colors": 1}, "The images have 50,176 pixels, whereas those of the "),
        ({"pixels": 784, "colors": 3}, "The images have 3 channels, whereas those of the "),
        ({"site": "convolution"}, "The site is of the kind 'convolution', whereas that of the "),
    ],
)
def test_circumstance_outside_is_named_and_nothing_refused(gap_model, changed, said):
    found, usual = estimated(gap_model, **changed), estimated(gap_model)
    assert not found.inside_range
    caution, sentence = found.warnings
    assert caution == gap_model.caution
    assert sentence.startswith(said)
    assert sentence.endswith(".")
    assert (found.estimate, found.low, found.high) == (usual.estimate, usual.low, usual.high)


def test_each_circumstance_has_a_sentence_of_its_own(gap_model):
    found = estimated(
        gap_model, accuracy=0.5, classes=10, channels=8, samples=90, given=9000, site="convolution"
    )
    assert len(found.warnings) == 7


def test_network_that_learned_more_than_the_others_is_named():
    population = make_population(accuracy=0.8)
    found = estimated(fit_population(population, name="mine", **WORDS))
    assert not found.inside_range
    assert "is 0.990, above the 0.800 of the networks" in found.warnings[1]


def test_slack_is_given_where_it_should_be(gap_model):
    assert estimated(gap_model, accuracy=0.966).inside_range
    assert not estimated(gap_model, accuracy=0.964).inside_range
    assert estimated(gap_model, samples=2500).inside_range
    assert estimated(gap_model, samples=10_000).inside_range
    assert not estimated(gap_model, samples=10_100).inside_range
    assert not estimated(gap_model, channels=257).inside_range
    assert not estimated(gap_model, classes=99, samples=99 * 50, given=99 * 50).inside_range


def test_tensor_that_the_caller_named_may_be_of_either_kind(gap_model):
    assert estimated(gap_model, site="tensor").inside_range
    named = fit_population(make_population(site="tensor"), name="mine", **WORDS)
    assert estimated(named, site="convolution").inside_range


def test_without_circumstances_the_features_alone_decide(gap_model):
    zeta, kappa = gap_model.feature_means
    assert gap_model.estimate({"zeta": zeta, "kappa": kappa}).inside_range
    population = make_population()
    columns = FEATURE_SETS["paper"].columns(population)
    plain = fit_gap_model(columns, population.gap, name="old", **WORDS)
    assert plain.fitted_on.domain is None
    assert estimated(plain, accuracy=0.1, classes=2).inside_range


def test_they_come_back_from_the_files(gap_model, tmp_path):
    write_gap_model(gap_model, tmp_path / "gap_model.json")
    assert read_gap_model(tmp_path / "gap_model.json") == gap_model
    population = make_population()
    write_population(population, tmp_path / "population.csv")
    again = read_population(tmp_path / "population.csv")
    assert again.conditions(3) == population.conditions(3)
    assert again.conditions(3).channels == 256
    assert fit_population(again, name="mine", **WORDS) == gap_model


def test_they_are_neither_hyperparameters_nor_features(tmp_path):
    write_population(make_population(), tmp_path / "population.csv")
    population = read_population(tmp_path / "population.csv")
    assert (population.hyperparameters, population.recipe()) == ({}, {})
    assert not population.features
    assert set(population.values(0)) == {"zeta", "kappa"}


def test_cells_are_those_of_spreadsheets_too():
    spreadsheet = {**CELLS, "audited_samples": "5000.0", "audited_accuracy": "0.990"}
    assert AuditConditions.from_cells(spreadsheet, "a") == TYPICAL
    assert AuditConditions.from_cells({**CELLS, "audited_given": "9000"}, "a").given_per_class == 90
    older = {name: cell for name, cell in CELLS.items() if name != "audited_given"}
    assert AuditConditions.from_cells(older, "a") == TYPICAL
    assert AuditConditions.from_cells({}, "a") is None
    assert AuditConditions.from_cells(dict.fromkeys(CELLS, ""), "a") is None


@pytest.mark.parametrize(
    ("column", "text", "wanted"),
    [
        ("audited_accuracy", "99", "a fraction"),
        ("audited_accuracy", "", "a fraction"),
        ("audited_classes", "many", "a whole number of at least 1"),
        ("audited_classes", "0", "a whole number"),
        ("audited_channels", "32.5", "a whole number"),
        ("audited_samples", "inf", "a whole number"),
        ("audited_given", "0", "a whole number"),
        ("audited_site", "", "the kind of a site"),
    ],
)
def test_cell_that_is_wrong_is_named_with_its_network(column, text, wanted):
    population = make_population()
    cells = ("", *population.further[column][1:]) if not text else (text,) * len(population)
    population = dataclasses.replace(population, further={**population.further, column: cells})
    with pytest.raises(GapModelError, match=f"network '0', column '{column}': '{text}' .*{wanted}"):
        fit_population(population, name="mine", **WORDS)


def test_nothing_is_noted_unless_all_networks_say_it():
    population = make_population()
    cells = {name: ("", *texts[1:]) for name, texts in population.further.items()}
    population = dataclasses.replace(population, further=cells)
    assert fit_population(population, name="m", **WORDS).fitted_on.domain is None
    assert ApplicabilityDomain.of([TYPICAL, None]) is None
    assert ApplicabilityDomain.of([]) is None
    assert ApplicabilityDomain.of([TYPICAL]).classes == (100, 100)


def test_transfer_holds_them_against_each_other_where_both_tables_say_them(gap_model):
    target = make_population(seed=1)
    few = make_population(seed=1, classes=10, samples=500, given=500)
    silent = dataclasses.replace(few, further={})
    like, unlike, unknown = (transfer(gap_model, one).inside for one in (target, few, silent))
    assert like == unknown
    assert sum(like) > 0
    assert not any(unlike)
    own, across, *_ = transfer_matrix({"a": target, "b": few}, repetitions=2)
    assert any(own.inside)
    assert not any(across.inside)
