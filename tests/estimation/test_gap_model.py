import subprocess
import sys

import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import fit_gap_model


def network(zeta, kappa):
    return {"zeta": zeta, "kappa": kappa}


def fitted_on(population, name="digits", **options):
    zeta, kappa, gap = population
    words = {"name": name, "data": "digits", "architecture": "small CNN"}
    return fit_gap_model({"zeta": zeta, "kappa": kappa}, gap, **words, **options)


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(0)
    zeta = rng.uniform(0.1, 0.8, 40)
    kappa = 0.95 - 0.5 * zeta + rng.normal(0, 0.02, 40)
    return zeta, kappa, 0.9 * zeta - 0.1 * kappa + 0.2 + rng.normal(0, 0.03, 40)


@pytest.fixture(scope="module")
def gap_model(population):
    return fitted_on(population)


def test_estimate_inside_the_population_carries_the_caution_alone(gap_model):
    found = gap_model.estimate(network(0.45, 0.725))
    a, b = gap_model.coefficients
    assert found.estimate == pytest.approx(a * 0.45 + b * 0.725 + gap_model.intercept)
    assert found.low < found.estimate < found.high
    assert found.inside_range
    assert found.warnings == (gap_model.caution,)
    for words in ("'digits'", "40 networks", "small CNN", "nothing shows"):
        assert words in gap_model.caution


def test_every_network_of_the_population_is_inside(gap_model, population):
    zeta, kappa, _ = population
    found = [gap_model.estimate(network(*pair)) for pair in zip(zeta, kappa, strict=True)]
    assert all(estimate.inside_range for estimate in found)


def test_quantity_outside_its_range_is_named(gap_model):
    (least, _), (_, greatest) = gap_model.feature_ranges
    found = gap_model.estimate(network(least - 0.01, greatest))
    assert not found.inside_range
    assert found.warnings[0] == gap_model.caution
    assert found.warnings[1].startswith(f"ζ = {least - 0.01:.4g} is outside the range")
    assert not any("κ" in warning for warning in found.warnings)
    both = gap_model.estimate(network(0.95, 0.2)).warnings
    assert [warning[0] for warning in both[1:3]] == ["ζ", "κ"]


def test_combination_unlike_any_network_is_outside_though_each_value_is_inside(gap_model):
    found = gap_model.estimate(network(0.2, 0.6))
    assert not found.inside_range
    assert "ζ = 0.2 and κ = 0.6 are within their ranges, but no network" in found.warnings[1]


def test_interval_widens_away_from_the_population(gap_model):
    near, far = gap_model.estimate(network(0.45, 0.725)), gap_model.estimate(network(0.2, 0.6))
    assert far.high - far.low > 1.5 * (near.high - near.low)


def test_estimate_is_not_clipped_but_named(gap_model):
    found = gap_model.estimate(network(1.0, 0.0))
    assert found.estimate > 1
    assert "outside the gaps" in found.warnings[-1]
    assert found.warnings[-1].endswith("and outside 0 to 1.")


def test_estimate_holds_plain_numbers(gap_model):
    found = gap_model.estimate(network(np.float32(0.5), np.float64(0.7)))
    assert all(type(v) is float for v in (found.estimate, found.low, found.high))
    assert type(found.inside_range) is bool


@pytest.mark.parametrize(("zeta", "kappa", "symbol"), [(np.nan, 0.5, "ζ"), (0.5, np.inf, "κ")])
def test_quantity_that_is_no_number_is_refused(gap_model, zeta, kappa, symbol):
    with pytest.raises(GapModelError, match=f"{symbol} is"):
        gap_model.estimate(network(zeta, kappa))


def test_estimating_does_not_import_what_only_fitting_needs():
    code = "import sys, analyzer.estimation; print({'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_another_ranking_than_the_gap_models_is_named(gap_model, population):
    same = gap_model.estimate(network(0.45, 0.725))
    other = gap_model.estimate(network(0.45, 0.725), rank="random")
    assert other.estimate == same.estimate
    caution, sentence = other.warnings
    assert caution == gap_model.caution
    assert "ranked by random here, by l1 where the gap model 'digits' was fitted" in sentence
    fitted = fitted_on(population, "mine", rank="random")
    assert "units ranked by random" in fitted.caution
    assert fitted.estimate(network(0.45, 0.725), rank="random").warnings == (fitted.caution,)
    assert "by l1 here, by random" in fitted.estimate(network(0.45, 0.725)).warnings[1]
