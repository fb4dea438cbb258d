import copy
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from analyzer.errors import GapModelError, OutputError
from analyzer.estimation import ApplicabilityDomain, fit_gap_model, read_gap_model, write_gap_model


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


REMOVED = object()


@pytest.fixture(scope="module")
def written_gap_model():
    rng = np.random.default_rng(0)
    zeta, kappa = rng.uniform(0, 1, (2, 12))
    return fit_gap_model(
        {"zeta": zeta, "kappa": kappa},
        zeta - kappa + rng.normal(0, 0.1, 12),
        name="Ziffern",
        data="digits, 10 classes",
        architecture="CNN",
        recipe={"momentum": [0.0, 0.9], "optimizer": ["adam", "sgd"], "seed": []},
        rank="selectivity",
        domain=ApplicabilityDomain(
            accuracy=(0.97, 1.0),
            classes=(10.0, 10.0),
            channels=(32.0, 64.0),
            samples_per_class=(50.0, 130.0),
            given_per_class=(130.0, 130.0),
            sites=("activation",),
        ),
    )


def test_gap_model_comes_back_as_it_was(written_gap_model, tmp_path):
    path = tmp_path / "gap_model.json"
    written = write_gap_model(written_gap_model, path)
    read = read_gap_model(path)
    assert read == written == written_gap_model
    assert read.sha256 == written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    network = {"zeta": 0.3, "kappa": 0.4}
    assert read.estimate(network) == written_gap_model.estimate(network)
    assert read.fitted_on.rank == "selectivity"
    assert list(tmp_path.iterdir()) == [path]


def test_same_gap_model_gives_the_same_bytes(written_gap_model, tmp_path):
    first = write_gap_model(written_gap_model, tmp_path / "a.json")
    again = write_gap_model(read_gap_model(tmp_path / "a.json"), tmp_path / "b.json")
    assert first.sha256 == again.sha256


def test_unknown_fields_are_ignored(written_gap_model, tmp_path):
    path = tmp_path / "gap_model.json"
    write_gap_model(written_gap_model, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": "mine"}))
    assert read_gap_model(path) == written_gap_model


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema", 2, "'schema' must be 1"),
        ("schema", REMOVED, "has no field 'schema'"),
        ("schema", True, "'schema' must be an integer"),
        ("name", 3, "'name' must be a string"),
        ("features", ["zeta", "depth"], r"'features\[1\]' must be a feature .* knows, not 'depth'"),
        ("features", "zeta", "'features' must be a list"),
        ("features", [1], r"'features\[0\]' must be a string"),
        ("coefficients.kappa", REMOVED, "has no field 'coefficients.kappa'"),
        ("coefficients.kappa", "1", "'coefficients.kappa' must be a number, not '1'"),
        ("coefficients.zeta", float("nan"), "'coefficients.zeta' must be a finite number"),
        ("coefficients", [1, 2], "'coefficients' must be an object, not a list"),
        ("intercept", 10**400, "'intercept' must be a finite number"),
        ("intercept", float("inf"), "'intercept' must be a finite number"),
        ("intercept", 1e308, r"'intercept' must be a number from -1e\+100 to 1e\+100, not 1e\+308"),
        ("residual_variance", 1e308, "'residual_variance' must be a number from"),
        ("inverse_scatter", [[1e308, 0], [0, 1e308]], r"'inverse_scatter\[0\]\[0\]' must be"),
        ("fitted_on.networks", 0, "'fitted_on.networks' must be a number of at least 1"),
        ("fitted_on.networks", 7.5, "'fitted_on.networks' must be an integer"),
        ("fitted_on.rank", 1, "'fitted_on.rank' must be a string"),
        ("fitted_on.circumstances", 3, "'fitted_on.circumstances' must be an object"),
        ("fitted_on.circumstances.classes", [9, 1], "'fitted_on.circumstances.classes' must be"),
        ("fitted_on.circumstances.accuracy", REMOVED, "has no field 'fitted_on.circumstances"),
        ("fitted_on.circumstances.sites", [], "'fitted_on.circumstances.sites' must be a list"),
        ("fitted_on.recipe", {"momentum": [0, None]}, "'fitted_on.recipe.momentum' must be"),
        ("fitted_on.recipe", {"momentum": 0.9}, "'fitted_on.recipe.momentum' must be"),
        ("fitted_on.recipe", {"momentum": [0, 1, 2]}, "'fitted_on.recipe.momentum' must be"),
        ("ranges.zeta", [0.9, 0.1], r"'ranges.zeta' must be \[least, greatest\]"),
        ("ranges.gap", [0.9], "'ranges.gap' must be a list of 2"),
        ("inverse_scatter", [[1, 0]], "'inverse_scatter' must be 2 rows of 2 numbers"),
        ("inverse_scatter", [[1, 0.5], [0, 1]], "'inverse_scatter' must be symmetric"),
        ("inverse_scatter", [[1, 2], [2, 1]], "'inverse_scatter' must be symmetric and positive"),
        ("residual_variance", -1e-9, "'residual_variance' must be a number of at least 0"),
        ("correlation", 1.1, "'correlation' must be a number from -1 to 1"),
        ("interval.coverage", 90, "'interval.coverage' must be a number above 0 and below 1"),
        ("interval.measured_student_t", "most", "'interval.measured_student_t' must be a number"),
        ("interval.measured_student_t", 1.5, "measured_student_t' must be a number from 0 to 1"),
        ("interval.t_quantile", None, "'interval.t_quantile' must be a number of at least 0"),
        ("interval.measured_jackknife_plus", REMOVED, "has no field 'interval.measured_jack"),
    ],
)
def test_field_that_is_wrong_is_named(written_gap_model, tmp_path, field, value, message):
    path = tmp_path / "gap_model.json"
    write_gap_model(written_gap_model, path)
    content = json.loads(path.read_text())
    holder = content
    *outer, last = field.split(".")
    for name in outer:
        holder = holder[name]
    if value is REMOVED:
        del holder[last]
    else:
        holder[last] = copy.deepcopy(value)
    path.write_text(json.dumps(content))
    with pytest.raises(GapModelError, match=message) as caught:
        read_gap_model(path)
    assert str(path) in str(caught.value)


def test_older_gap_models_say_neither_ranking_nor_circumstances(written_gap_model, tmp_path):
    path = tmp_path / "gap_model.json"
    write_gap_model(written_gap_model, path)
    content = json.loads(path.read_text())
    del content["fitted_on"]["rank"], content["fitted_on"]["circumstances"]
    path.write_text(json.dumps(content))
    fitted_on = read_gap_model(path).fitted_on
    assert (fitted_on.rank, fitted_on.domain) == ("l1", None)


def test_gap_models_from_before_a_limit_was_told_apart_had_none(written_gap_model, tmp_path):
    path = tmp_path / "gap_model.json"
    write_gap_model(written_gap_model, path)
    content = json.loads(path.read_text())
    del content["fitted_on"]["circumstances"]["given_per_class"]
    path.write_text(json.dumps(content))
    assert read_gap_model(path).fitted_on.domain.given_per_class == (50.0, 130.0)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"\x80\x04K\x01.", b"[" * 100_000])
def test_file_that_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "gap_model.json"
    path.write_bytes(content)
    with pytest.raises(GapModelError, match=r"gap_model\.json is not valid JSON"):
        read_gap_model(path)


@pytest.mark.parametrize("field", ["intercept", "features", "fitted_on", "ranges"])
def test_value_that_is_deep_is_refused(written_gap_model, tmp_path, field):
    path = tmp_path / "gap_model.json"
    write_gap_model(written_gap_model, path)
    content = json.loads(path.read_text()) | {field: "DEEP"}
    path.write_text(json.dumps(content).replace('"DEEP"', "[" * 900 + "]" * 900))
    with pytest.raises(GapModelError, match=rf"'{field}.*' must be .*, not a list of 1\."):
        read_gap_model(path)


def test_json_that_is_no_object_is_refused(tmp_path):
    path = tmp_path / "gap_model.json"
    path.write_text("[1, 2]")
    with pytest.raises(GapModelError, match=r"gap_model\.json must be an object, not a list"):
        read_gap_model(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(GapModelError, match=r"none\.json cannot be read: No such file"):
        read_gap_model(tmp_path / "none.json")


def test_unwritable_place_is_refused_and_nothing_left(written_gap_model, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in ("none/m.json", "file/m.json", "folder"):
        with pytest.raises(OutputError, match="cannot be written"):
            write_gap_model(written_gap_model, tmp_path / path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
