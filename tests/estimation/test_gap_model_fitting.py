"""Gap models of several populations, on tables whose gaps follow from their features."""

import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import (
    AuditConditions,
    PopulationTable,
    estimate_left_out_populations,
    fit_across_populations,
    fit_gap_model,
    fit_population,
    read_gap_model,
    write_gap_model,
)
from analyzer.estimation.regression import least_squares, ridge

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


@pytest.mark.parametrize(("fit", "most"), [(least_squares, 5000), (ridge, 1000)])
def test_a_population_whose_pairs_are_too_many_is_refused_before_a_fit(monkeypatch, fit, most):
    values = np.random.default_rng(0).uniform(0, 1, (3, most + 1))
    monkeypatch.setattr("analyzer.estimation.gap_model_fitting.measure_coverage", None)
    with pytest.raises(GapModelError, match=f"{most + 1:,} networks .* {most:,} at most"):
        fit_gap_model(
            dict(zip(("zeta", "kappa"), values, strict=False)),
            values[2],
            name="",
            data="",
            architecture="",
            fit=fit,
        )


@pytest.mark.parametrize(
    ("zeta", "kappa", "gap", "message"),
    [
        (ZETA[:3], KAPPA[:3], GAP[:3], "at least 4 networks with a known gap, there are 3"),
        (ZETA, KAPPA[:5], GAP, r"zeta, kappa, gap have shapes \(6,\), \(5,\), \(6,\)"),
        (ZETA, np.append(KAPPA[:5], np.nan), GAP, "κ of network 6 of 6 is nan"),
        (ZETA, KAPPA, np.append(np.inf, GAP[1:]), "gap of network 1 of 6 is inf"),
        (np.append(1e308, ZETA[1:]), KAPPA, GAP, r"ζ of network 1 of 6 is 1e\+308"),
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


FEATURES = (
    "interpolation_same_50",
    "interpolation_hold_mean",
    "neighbors_error_third_trusted",
)
ALIKE = AuditConditions(0.99, 10, 64, 500, 500, "activation")


def table(seed: int, networks: int, *, noise: float = 0.0, offset: float = 0.0) -> PopulationTable:
    rng = np.random.default_rng(seed)
    features = {name: rng.uniform(0, 1, networks) for name in FEATURES}
    gap = 0.3 - 0.2 * features[FEATURES[0]] + 0.4 * features[FEATURES[2]] + offset
    gap = gap + noise * rng.normal(size=networks)
    cells = ALIKE.to_cells()
    return PopulationTable(
        name=tuple(f"n{i}" for i in range(networks)),
        zeta=np.full(networks, 0.5),
        kappa=np.full(networks, 0.2),
        train_accuracy=np.ones(networks),
        test_accuracy=1 - gap,
        gap=gap,
        further={name: (cell,) * networks for name, cell in cells.items()},
        features=features,
    )


def populations(count: int = 12, **options: float) -> dict[str, PopulationTable]:
    return {f"p{i}": table(i, 6 + 3 * i, **options) for i in range(count)}


def fit(tables, **options):
    return fit_across_populations(tables, name="m", data="d", architecture="a", **options)


def test_a_plane_that_holds_everywhere_is_found_and_its_interval_is_a_point():
    found = fit(populations())
    np.testing.assert_allclose(found.coefficients, (-0.2, 0, 0.4), atol=1e-9)
    values = dict(zip(FEATURES, (0.5, 0.5, 0.5), strict=True))
    one = found.estimate(values, conditions=ALIKE)
    assert one.inside_range
    np.testing.assert_allclose((one.low, one.estimate, one.high), 0.4, atol=1e-9)


def test_populations_weigh_alike_whatever_their_size():
    tables = populations(noise=0.05)
    tables["p1"] = tables["p1"].take(list(range(len(tables["p1"]))))
    doubled = {**tables, "p3": _twice(tables["p3"])}
    np.testing.assert_allclose(fit(doubled).coefficients, fit(tables).coefficients, rtol=1e-9)


def _twice(one: PopulationTable) -> PopulationTable:
    twice = one.take([*range(len(one))] * 2)
    names = tuple(f"m{i}" for i in range(len(twice)))
    return PopulationTable(**{**{f: getattr(twice, f) for f in one.__slots__}, "name": names})


def test_the_interval_is_the_weighted_quantile_of_fits_without_whole_populations():
    tables = populations(noise=0.05)
    found = fit(tables)
    x = np.array([0.3, 0.6, 0.4])
    ends = []
    for name, one in tables.items():  # by scikit-learn's weighted least squares
        from sklearn.linear_model import LinearRegression

        rest = [t for other, t in tables.items() if other != name]
        points = np.vstack([np.column_stack([t.features[f] for f in FEATURES]) for t in rest])
        gaps = np.concatenate([t.gap for t in rest])
        weight = np.concatenate([np.full(len(t), 1 / len(t)) for t in rest])
        line = LinearRegression().fit(points, gaps, sample_weight=weight)
        own = np.column_stack([one.features[f] for f in FEATURES])
        here = line.predict([x])[0]
        # In units of what an estimate may err by: of itself and 0.2.
        wrong = np.abs(one.gap - line.predict(own)) / (np.maximum(line.predict(own), 0) + 0.2)
        ends += [(here + w * (max(here, 0) + 0.2), 1 / len(one) / 13) for w in wrong]
    ends.sort()
    reached = np.cumsum([weight for _, weight in ends])
    high = ends[int(np.flatnonzero(reached >= 0.9)[0])][0]
    estimate = found.estimate(dict(zip(FEATURES, x, strict=True)), conditions=ALIKE)
    assert estimate.high == pytest.approx(high, abs=1e-9)
    assert estimate.low < estimate.estimate < estimate.high


def test_outside_the_domain_the_interval_is_wider():
    found = fit(populations(noise=0.05))
    values = dict(zip(FEATURES, (0.5, 0.5, 0.5), strict=True))
    inside = found.estimate(values, conditions=ALIKE)
    other = AuditConditions(0.99, 1000, 64, 50_000, 50_000, "convolution")
    outside = found.estimate(values, conditions=other)
    assert not outside.inside_range
    assert outside.low < inside.low
    assert outside.high > inside.high
    assert any("1,000 classes" in sentence for sentence in outside.warnings)
    wider = AuditConditions(0.99, 10, 4096, 500, 500, "convolution")  # the site says nothing here
    assert found.estimate(values, conditions=wider).inside_range


def test_an_estimate_lies_from_0_to_the_accuracy():
    found = fit(populations(noise=0.05))
    for third, accuracy in ((-5.0, 0.9), (5.0, 0.9)):
        values = dict(zip(FEATURES, (0.5, 0.5, third), strict=True))
        one = found.estimate(values, conditions=AuditConditions(accuracy, 10, 64, 500, 500, "x"))
        assert 0 <= one.low <= one.estimate <= one.high <= accuracy
        assert "Before it was clipped, the estimate was" in one.warnings[-1]


def test_an_estimate_below_0_leaves_an_interval_that_is_as_wide_as_others_needed():
    lower = fit(populations(noise=0.05, offset=-0.3))
    values = dict(zip(FEATURES, (0.95, 0.5, 0.05), strict=True))  # the plane's own value is −0.17
    below = lower.estimate(values, conditions=ALIKE)
    assert below.inside_range
    assert below.estimate == below.low == 0
    assert below.high > 0.03


def test_few_samples_a_class_make_the_interval_wider():
    found = fit(populations(noise=0.05))
    values = dict(zip(FEATURES, (0.5, 0.5, 0.5), strict=True))
    of_50, of_25 = (
        found.estimate(values, conditions=AuditConditions(0.99, 10, 64, n, n, "activation"))
        for n in (500, 250)
    )
    assert of_50.inside_range
    assert of_25.inside_range
    ratio = (of_25.high - of_25.low) / (of_50.high - of_50.low)
    assert ratio == pytest.approx(((1 + 5 / 25) / (1 + 5 / 50)) ** 0.5, rel=0.02)


def test_left_out_populations_are_estimated_by_the_others_alone():
    tables = populations(noise=0.02)
    first = estimate_left_out_populations(tables)
    changed = {**tables, "p0": table(0, 6, noise=0.02, offset=0.2)}
    again = estimate_left_out_populations(changed)
    np.testing.assert_allclose(
        first["p0"].estimate, again["p0"].estimate
    )  # its own gaps say nothing
    np.testing.assert_allclose(first["p0"].high, again["p0"].high)
    assert np.mean([one.held.mean() for one in first.values()]) >= 0.85


def test_the_file_gives_the_same_estimates(tmp_path):
    found = write_gap_model(fit(populations(noise=0.05)), tmp_path / "m.json")
    assert read_gap_model(tmp_path / "m.json") == found


def test_too_few_populations_are_refused():
    with pytest.raises(GapModelError, match="needs 9 of them; there are 3"):
        fit(populations(3))


def test_a_table_without_a_feature_is_named():
    tables = populations()
    del tables["p2"].features["interpolation_hold_mean"]
    with pytest.raises(GapModelError, match="'p2' has no column interpolation_hold_mean"):
        fit(tables)
