"""Gap models whose numbers no fit could have given are refused, and those of fits are not."""

import json

import numpy as np
import pytest
from cli_commands import BUNDLED
from scipy import stats

from analyzer.errors import GapModelError
from analyzer.estimation import fit_gap_model, read_gap_model, ridge
from analyzer.estimation.gap_model_consistency import contradictions


def of_left_out(name, change):
    """A change of one list of what was left out."""
    return lambda file: file["interval"]["left_out"].update({name: change(file)})


def of_class_line(**change):
    """A line for classes that a fit can have, but for a change."""
    line = {"slope": 0.9, "half_width": 0.4, "widest": 1.5, "coverage": 0.9, "measured": 0.9}
    return lambda file: file.update(
        class_line={**line, "populations": 15, "classes": 8000, **change}
    )


FORGERIES = {
    "coverage": ("digits", lambda file: file["interval"].update(coverage=0.99)),
    "t_quantile": ("digits", lambda file: file["interval"].update(t_quantile=0.5)),
    "residual_variance": ("digits", lambda file: file.update(residual_variance=1e-6)),
    "correlation": ("digits", lambda file: file.update(correlation=0.99)),
    "networks": ("digits", lambda file: file["fitted_on"].update(networks=3)),
    "means": ("digits", lambda file: file["means"].update(zeta=1.5)),
    "another's coefficient": ("digits", lambda file: file["coefficients"].update(curve_n0=1.0)),
    "coefficients": ("any", lambda file: file["coefficients"].update(interpolation_same_50=-7.0)),
    "intercept": ("any", lambda file: file.update(intercept=-0.9)),
    "ranges": ("any", lambda file: file["ranges"].update(interpolation_same_50=[-50, 50])),
    "range of gaps": ("any", lambda file: file["ranges"].update(gap=[-5, 5])),
    "max_leverage": ("any", lambda file: file.update(max_leverage=1e9)),
    "inverse_scatter": (
        "any",
        lambda file: file.update(inverse_scatter=(np.eye(3) * 5e-324).tolist()),
    ),
    "accuracy": ("any", lambda file: file["fitted_on"]["circumstances"].update(accuracy=[-1, 2])),
    "both intervals": ("any", lambda file: file["interval"].update(t_quantile=1.6)),
    "inverted ends": ("any", lambda file: file["interval"].update(coverage=0.1)),
    "residuals": ("any", of_left_out("residuals", lambda file: [0.0] * 320)),
    "intercepts": ("any", of_left_out("intercepts", lambda file: [0.9] * 320)),
    "class widths": ("any", of_class_line(half_width=0.5, widest=0.4)),
    "class coverage": ("any", of_class_line(coverage=1.0)),
    "class populations": ("any", of_class_line(populations=3)),
    "classes": ("any", of_class_line(classes=2)),
    "classes of one population": ("digits", of_class_line()),
    "weights": ("any", of_left_out("weights", lambda file: [0.95] + [0.0] * 319)),
}


@pytest.mark.parametrize("forged", FORGERIES)
def test_numbers_that_do_not_belong_together_are_refused(tmp_path, forged):
    bundled, change = FORGERIES[forged]
    file = json.loads((BUNDLED.parent / bundled / "gap_model.json").read_text(encoding="utf-8"))
    change(file)
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(file))
    with pytest.raises(GapModelError, match=r"forged\.json: the field '"):
        read_gap_model(path)


@pytest.mark.parametrize("networks", [5, 12, 200])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_fitted_belongs_together(networks, seed):
    chance = np.random.default_rng(seed)
    zeta, kappa, noise = chance.random((3, networks)) ** (1 + 4 * seed)
    gap = (zeta - kappa) / 2 + noise / 10
    coverage = stats.uniform(0.5, 0.3).rvs(random_state=seed)
    named = {"name": "n", "data": "d", "architecture": "a", "coverage": coverage}
    line = fit_gap_model({"zeta": zeta, "kappa": kappa}, gap, **named)
    assert not list(contradictions(line))
    if networks <= 12:
        columns = {"zeta": zeta, "kappa": 1e3 * kappa, "curve_n0": zeta + 1e-3 * noise}
        assert not list(contradictions(fit_gap_model(columns, gap, fit=ridge, **named)))


def test_an_interval_whose_ends_would_change_places_is_not_made():
    gap = np.linspace(0, 0.5, 8)
    with pytest.raises(GapModelError, match="too little for an interval by jackknife"):
        fit_gap_model(
            {"zeta": gap}, gap, name="n", data="d", architecture="a", coverage=0.3, fit=ridge
        )


def test_gaps_are_fractions():
    zeta, kappa, gap = np.random.default_rng(0).random((3, 8))
    with pytest.raises(GapModelError, match=r"network 1 of 8 is .*: give gaps"):
        fit_gap_model(
            {"zeta": zeta, "kappa": kappa}, 100 * gap[[np.argmax(gap), *range(1, 8)]],
            name="n", data="d", architecture="a",
        )  # fmt: skip
