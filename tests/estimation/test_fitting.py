import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import PopulationTable, fit_gap_model, fit_population

ZETA = np.array([0.1, 0.2, 0.4, 0.5, 0.7, 0.8])
KAPPA = np.array([0.9, 0.7, 0.8, 0.6, 0.6, 0.3])
GAP = 0.5 * ZETA - 0.25 * KAPPA + 0.3
PAPER = {"zeta": ZETA, "kappa": KAPPA}
WORDS = {"name": "m", "data": "d", "architecture": "a"}


def test_line_is_found_again():
    gap_model = fit_gap_model(PAPER, GAP, **WORDS)
    assert gap_model.features == ("zeta", "kappa")
    assert gap_model.coefficients == pytest.approx((0.5, -0.25))
    assert gap_model.intercept == pytest.approx(0.3)
    assert gap_model.correlation == pytest.approx(1.0)
    assert gap_model.residual_variance == pytest.approx(0, abs=1e-20)
    assert gap_model.feature_ranges == ((0.1, 0.8), (0.3, 0.9))
    assert gap_model.gap_range == (GAP.min(), GAP.max())
    assert gap_model.fitted_on.networks == 6
    assert gap_model.coverage.nominal == 0.9


def test_noise_leaves_the_residual_variance_of_the_closed_form():
    # Balanced design: the noise is orthogonal to both features and to the constant.
    zeta, kappa = np.array([0.2, 0.2, 0.6, 0.6]), np.array([0.3, 0.7, 0.3, 0.7])
    gap = zeta - 0.5 * kappa + 0.5 + 0.01 * np.array([1, -1, -1, 1])
    gap_model = fit_gap_model({"zeta": zeta, "kappa": kappa}, gap, **WORDS)
    assert gap_model.coefficients == pytest.approx((1.0, -0.5))
    assert gap_model.residual_variance == pytest.approx(4 * 0.01**2)
    assert gap_model.max_leverage == pytest.approx(0.75)
    assert gap_model.coverage.student_t is None
    assert gap_model.coverage.jackknife_plus is None


def test_population_is_fitted_where_its_gap_is_known():
    population = PopulationTable(
        name=tuple("abcdefg"),
        zeta=np.append(ZETA, 0.99),
        kappa=np.append(KAPPA, 0.99),
        train_accuracy=np.ones(7),
        test_accuracy=np.append(1 - GAP, np.nan),
        gap=np.append(GAP, np.nan),
        further={
            "momentum": ("0", "0.5", "0.9", "0", "0.5", "0.9", "7"),
            "model": tuple("tuvwxyz"),
        },
    )
    gap_model = fit_population(population, **WORDS)
    assert gap_model.fitted_on.networks == 6
    assert gap_model.feature_ranges[0] == (0.1, 0.8)
    assert gap_model.fitted_on.recipe == {"momentum": [0.0, 0.9]}
    assert gap_model == fit_gap_model(PAPER, GAP, recipe={"momentum": [0.0, 0.9]}, **WORDS)


@pytest.mark.parametrize(
    ("zeta", "kappa", "gap", "message"),
    [
        (ZETA[:3], KAPPA[:3], GAP[:3], "at least 4 networks with a known gap, there are 3"),
        (ZETA, KAPPA[:5], GAP, r"zeta, kappa, gap have shapes \(6,\), \(5,\), \(6,\)"),
        (ZETA, np.append(KAPPA[:5], np.nan), GAP, "κ of network 6 of 6 is nan"),
        (ZETA, KAPPA, np.append(np.inf, GAP[1:]), "gap of network 1 of 6 is inf"),
        (np.full(6, 0.3), KAPPA, GAP, "ζ of all 6 networks is 0.3"),
        (ZETA, KAPPA, np.full(6, 0.3), "gap of all 6 networks is 0.3"),
        (ZETA, 1 - ZETA, GAP, "ζ and κ lie on one line"),
    ],
)
def test_population_that_cannot_be_fitted_is_refused(zeta, kappa, gap, message):
    with pytest.raises(GapModelError, match=message):
        fit_gap_model({"zeta": zeta, "kappa": kappa}, gap, **WORDS)


@pytest.mark.parametrize("coverage", [0, 1, 90, float("nan")])
def test_coverage_outside_its_range_is_refused(coverage):
    with pytest.raises(GapModelError, match="coverage"):
        fit_gap_model(PAPER, GAP, coverage=coverage, **WORDS)
