"""`onnx-gap fit`"""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED

from analyzer.estimation import read_gap_model, read_population, write_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES

TABLE = BUNDLED / "population.csv"


def test_a_gap_model_with_its_scores(onnx_gap, tmp_path):
    out = tmp_path / "gap.json"
    shown = onnx_gap("fit", TABLE, "-o", out, "--trained-on", "digits", "--architecture", "tiny")
    assert (shown.code, shown.err) == (0, "")
    assert "60 networks (tiny; digits)" in shown.out
    assert "SSR over 100 splits with 6 of 60 networks held out" in shown.out
    assert shown.out.endswith(f"{out}: written\n")
    assert json.loads(out.read_text(encoding="utf-8"))["name"] == "gap"


def test_json_has_the_scores_of_each_feature(onnx_gap, tmp_path):
    arguments = ("fit", TABLE, "-o", tmp_path / "gap.json", "--json", "--splits", 20, "--seed", 3)
    shown = onnx_gap(*arguments)
    assert (shown.code, shown.err) == (0, "")
    assert shown.json["networks"] == 60
    assert len(shown.json["both"]["split_ssr"]) == 20
    assert shown.json["zeta_r"] > 0 > shown.json["kappa_r"]
    assert onnx_gap(*arguments).out == shown.out


@pytest.fixture
def extended(tmp_path):
    """The table with features of the curves, made up; score_q50 follows the gap."""
    population = read_population(TABLE)
    rng = np.random.default_rng(0)
    features = {name: rng.uniform(0, 0.5, len(population)) for name in CURVE_FEATURES}
    features["score_q50"] = 0.9 - 0.5 * population.gap + rng.normal(0, 0.05, len(population))
    path = tmp_path / "extended.csv"
    write_population(dataclasses.replace(population, features=features), path)
    return path


@pytest.mark.parametrize(
    ("plot", "said"),
    [("p.jpg", "cannot be written as 'jpg'"), ("p.svg", "Figures need matplotlib")],
)
def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_fitted(
    onnx_gap, monkeypatch, plot, said
):
    monkeypatch.setattr("analyzer.audit.plots.find_spec", lambda name: None)
    monkeypatch.setattr("analyzer.estimation.fit_population", None)
    shown = onnx_gap("fit", TABLE, "--plot", plot, "-o", "gap.json")
    assert shown.code == 2
    assert said in shown.err
    assert not any(Path().iterdir())


@pytest.mark.parametrize("option", ["-o", "--plot"])
def test_no_file_of_an_audit_is_replaced(option, onnx_gap):
    other = {"-o": (), "--plot": ("-o", "gap.json")}[option]
    Path("classes.csv").write_text("of an audit")
    shown = onnx_gap("fit", TABLE, option, "classes.csv", *other)
    assert (shown.code, "or one of an audit" in shown.err) == (2, True), shown.err
    assert Path("classes.csv").read_text() == "of an audit"


@pytest.mark.parametrize("which", ["gap.json", "population.svg"])
def test_without_room_for_either_neither_is_left(onnx_gap, which, monkeypatch):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    opened = Path.open

    def no_room(path, mode="r", *arguments, **options):
        if path.name.startswith(f".{which}.") and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, mode, *arguments, **options)

    def no_room_to_draw(figure, file, **_):
        if which == "population.svg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write_text("drawn")

    monkeypatch.setattr(Path, "open", no_room)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", no_room_to_draw)
    shown = onnx_gap("fit", TABLE, "--splits", 2, "--plot", "population.svg", "-o", "gap.json")
    assert shown.code == 2
    assert f"{which} cannot be written" in shown.err
    assert not any(Path().iterdir())


def test_extended_features_are_fitted_scored_and_applied(onnx_gap, extended, tmp_path):
    out, plot = tmp_path / "gap.json", tmp_path / "population.svg"
    shown = onnx_gap(
        "fit", extended, "--features", "extended", "-o", out, "--splits", 5, "--plot", plot
    )
    assert (shown.code, shown.err) == (0, "")
    assert "A ridge with penalty" in shown.out
    assert all(name in shown.out for name in (*CURVE_FEATURES, "ζ and κ", "extended"))
    assert plot.stat().st_size > 5000

    shown = onnx_gap("fit", extended, "--features", "extended", "-o", out, "--splits", 5, "--json")
    assert shown.json["extended"]["out_of_fold_r"] > 0.9 > shown.json["both"]["out_of_fold_r"]
    assert len(shown.json["extended"]["split_ssr"]) == 5
    interval = json.loads(out.read_text(encoding="utf-8"))["interval"]
    assert shown.json["coverage"] == {
        "nominal": 0.9, "student_t": None, "jackknife_plus": interval["measured_jackknife_plus"],
    }  # fmt: skip

    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 2, "--gap-model", out)
    audit = onnx_gap(*arguments, "--out", tmp_path / "audit", "--json").json
    low, high = json.loads(out.read_text(encoding="utf-8"))["ranges"]["curve_n0"]
    assert not low <= audit["features"]["curve_n0"] <= high
    assert not audit["gap"]["inside_range"]
    assert any("features are outside" in s and "curve_n0" in s for s in audit["gap"]["warnings"])
    assert audit["gap"]["low"] < audit["gap"]["high"]


def test_area_is_scored_in_any_case_and_fitted_where_asked(onnx_gap, extended, tmp_path):
    out, plot = tmp_path / "gap.json", tmp_path / "population.svg"
    plain = onnx_gap("fit", extended, "-o", out, "--splits", 5, "--json")
    assert plain.json["area"]["features"] == ["curve_area_ascending"]
    arguments = ("fit", extended, "--features", "area", "-o", out, "--splits", 5)
    shown = onnx_gap(*arguments, "--plot", plot)
    assert (shown.code, shown.err) == (0, "")
    assert "area under E_r" in shown.out
    assert json.loads(out.read_text(encoding="utf-8"))["features"] == ["curve_area_ascending"]
    assert plot.stat().st_size > 5000
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 2, "--gap-model", out)
    audit = onnx_gap(*arguments, "--out", tmp_path / "audit", "--json").json
    assert audit["gap"]["low"] < audit["gap"]["estimate"] < audit["gap"]["high"]


def test_extended_features_need_their_columns(onnx_gap, tmp_path):
    plain = tmp_path / "plain.csv"
    write_population(dataclasses.replace(read_population(TABLE), features={}), plain)
    shown = onnx_gap("fit", plain, "--features", "extended", "-o", tmp_path / "gap.json")
    assert shown.code == 2
    assert "no column curve_n0" in shown.err
    assert not (tmp_path / "gap.json").exists()


def test_gap_model_of_margins_has_an_audit_measure_them(onnx_gap, extended, tmp_path):
    population = read_population(extended)
    features = {**population.features, "margin_0_q1": population.gap * 2 - 3}
    write_population(dataclasses.replace(population, features=features), extended)
    out = tmp_path / "gap.json"
    assert onnx_gap("fit", extended, "--features", "extended", "-o", out).code == 0
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 2, "--gap-model", out)
    shown = onnx_gap(*arguments, "--out", tmp_path / "audit")
    assert shown.code == 0
    assert "margins        log of the median distance" in shown.out
    assert (tmp_path / "audit" / "margins.npz").exists()


def test_networks_without_a_known_gap_are_left_out_with_a_warning(onnx_gap, tmp_path):
    header, first, *others = TABLE.read_text(encoding="utf-8").splitlines()
    unknown = ("test_accuracy", "gap")
    cells = zip(header.split(","), first.split(","), strict=True)
    first = ",".join("" if name in unknown else cell for name, cell in cells)
    (tmp_path / "population.csv").write_text("\n".join([header, first, *others]) + "\n")
    shown = onnx_gap("fit", tmp_path / "population.csv", "-o", tmp_path / "gap.json")
    assert shown.code == 0
    assert "Warning: 1 of 60 networks have no known gap" in shown.err


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,.1,.2,.5,.9\nb,.2,.1,.5,.8\nc,.3,.4,.5,.7\nd,.5,.3,.5,.8\n", "The mean gap is -0.30"),
        ("a,.1,.2,1,.9\nb,.1,.2,1,.9\nc,.3,.4,1,.7\nd,.5,.3,1,.8\n", "a; b have the same numbers"),
    ],
)
def test_what_is_probably_a_mistake_in_the_table_is_said(onnx_gap, tmp_path, rows, said):
    path = tmp_path / "population.csv"
    path.write_text("name,zeta,kappa,train_accuracy,test_accuracy\n" + rows)
    shown = onnx_gap("fit", path, "-o", tmp_path / "gap.json", "--splits", 2)
    assert shown.code == 0
    assert said in shown.err


def test_a_table_without_a_gap_is_refused(onnx_gap, tmp_path):
    path = tmp_path / "population.csv"
    path.write_text("name,zeta,kappa,gap\na,.1,.2,\n")
    shown = onnx_gap("fit", path, "-o", tmp_path / "gap.json")
    assert shown.code == 2
    assert "No network of the population has a known gap" in shown.err


def test_a_table_without_circumstances_is_fitted_with_a_warning(onnx_gap, tmp_path):
    population = read_population(TABLE)
    older, out = tmp_path / "older.csv", tmp_path / "gap.json"
    further = {"corruption": population.further["corruption"]}
    write_population(dataclasses.replace(population, further=further), older)
    shown = onnx_gap("fit", older, "-o", out)
    assert shown.code == 0
    assert "does not say of all networks under which circumstances" in shown.err
    assert json.loads(out.read_text(encoding="utf-8"))["fitted_on"]["circumstances"] is None


def test_an_audit_says_which_circumstances_are_others(onnx_gap, tmp_path):
    arguments = ("audit", "zoo:digits-c0", "--site", "node_conv2d_3", "--at", "conv")
    arguments = (*arguments, "--gap-model", "zoo:digits")
    out = tmp_path / "audit"
    shown = onnx_gap(*arguments, "--limit-per-class", 9, "--out", out, "--json")
    gap = shown.json["gap"]
    assert not gap["inside_range"]
    for said in ("is of 9 samples per class, whereas", "is of the kind 'convolution', whereas"):
        assert any(said in sentence for sentence in gap["warnings"])
        assert said in shown.err
    assert "lies outside" in (out / "report.html").read_text(encoding="utf-8")
    assert onnx_gap("verify", out, "--gap-model", "zoo:digits").code == 0


def test_texts_that_are_not_utf8(onnx_gap, tmp_path):
    odd = os.fsdecode(b"odd\xff")
    place = tmp_path / f"{odd}.json"
    texts = ("--trained-on", odd, "--architecture", odd)
    shown = onnx_gap("fit", TABLE, "-o", place, *texts)
    assert shown.code == 0, shown.err
    found = read_gap_model(place)
    assert (found.name, found.fitted_on.data, found.fitted_on.architecture) == (odd,) * 3


def test_too_few_networks(onnx_gap, tmp_path):
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:3]) + "\n")
    shown = onnx_gap("fit", tmp_path / "few.csv", "-o", tmp_path / "gap.json")
    assert shown.code == 2
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "gap.json").exists()


@pytest.mark.parametrize("value", ["0", "1", "2", "nan"])
def test_a_coverage_that_is_none(onnx_gap, tmp_path, value):
    shown = onnx_gap("fit", TABLE, "-o", tmp_path / "gap.json", "--coverage", value)
    assert shown.code == 2
    assert "--coverage" in shown.err


def test_the_table_is_not_overwritten_by_a_folder(onnx_gap, tmp_path):
    shutil.copy(TABLE, tmp_path / "population.csv")
    shown = onnx_gap("fit", tmp_path / "population.csv", "-o", tmp_path)
    assert shown.code == 2
    assert "cannot be written: it is a folder." in shown.err


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (("-o", "x" * 5000), "cannot be written: File name too long."),
        (("-o", "nowhere/gap.json"), "gap.json cannot be written: No such file or directory."),
        (("-o", "gap.json", "--plot", "nowhere/gap.svg"), "gap.svg cannot be written"),
        (("-o", "gap.json", "--plot", "gap.bmp"), "a figure cannot be written as 'bmp'"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_fit(
    onnx_gap, monkeypatch, places, said
):
    monkeypatch.setattr("analyzer.estimation.fit_population", None)
    shown = onnx_gap("fit", TABLE, *places)
    assert shown.code == 2
    assert said in shown.err
    assert not os.listdir()


def test_interpolation_and_neighbors_make_a_gap_model_that_an_audit_measures_them_for(
    onnx_gap, tmp_path
):
    table = Path(__file__).parents[2] / "docs" / "measures" / "digits-clean.csv"
    out = tmp_path / "measures.json"
    shown = onnx_gap("fit", table, "--features", "measures", "-o", out, "--json")
    assert shown.code == 0
    assert shown.json["measures"]["out_of_fold_tau"] > 0.6 > shown.json["both"]["out_of_fold_tau"]
    # Off, but for the gap model that takes them.
    switched_off = ("--interpolation-samples", 0, "--neighbor-samples", 0)
    arguments = ("zoo:digits-c0", "--gap-model", out, *switched_off, "--limit-per-class", 20)
    shown = onnx_gap("audit", *arguments, "--out", tmp_path / "audit", "--json")
    assert shown.code == 0
    assert shown.json["interpolation"] is not None
    assert shown.json["neighbors"] is not None
    assert 0 < shown.json["gap"]["estimate"] < 0.3


def table_of(path, rng, *, useful):
    """Networks whose gap follows from interpolation and neighbors, or from nothing at all."""
    names = (
        "interpolation_same_50", "interpolation_hold_mean", "neighbors_error_third_trusted",
    )  # fmt: skip
    values = rng.uniform(0, 1, (30, 5))
    gap = 0.5 - 0.4 * values[:, 2] + 0.3 * values[:, 4] if useful else rng.uniform(0, 1, 30)
    gap = gap + rng.normal(0, 0.02, 30)
    rows = [f"name,zeta,kappa,{','.join(names)},gap"]
    rows += [
        ",".join([f"n{i}", *(f"{v:.6f}" for v in row), f"{one:.6f}"])
        for i, (row, one) in enumerate(zip(values, gap, strict=True))
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("useful", [True, False])
def test_another_feature_set_is_named_where_it_is_clearly_better(onnx_gap, tmp_path, useful):
    table = table_of(tmp_path / "table.csv", np.random.default_rng(3), useful=useful)
    shown = onnx_gap("fit", table, "-o", tmp_path / "g.json", "--splits", 5)
    assert ("--features measures" in shown.out.splitlines()[-1]) == useful
    found = onnx_gap("fit", table, "-o", tmp_path / "g.json", "--splits", 5, "--json").json
    assert found["clearly_better"] == ("measures" if useful else "")
    arguments = ("fit", table, "-o", tmp_path / "g.json", "--splits", 5, "--features", "measures")
    assert onnx_gap(*arguments, "--json").json["clearly_better"] == ""
