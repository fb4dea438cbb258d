import re

import numpy as np
import pytest

from analyzer.audit import plots
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.curve_features import class_quantities


@pytest.fixture
def drawn():
    figure, axes = plots.new_figure()
    return figure, axes[0, 0]


def texts(figure, tmp_path) -> str:
    svg = plots.save_figure(figure, tmp_path / "figure.svg").read_text(encoding="utf-8")
    return " ".join(re.findall(r"<text[^>]*>([^<]*)", svg))


def test_class_curves_show_both_turning_points(audit, drawn):
    _, axes = drawn
    curves = read_curves(audit)[2]
    quantities = class_quantities(curves, 0.1)
    plots.draw_class_curves(axes, curves, quantities, chance=0.1)
    lines = {line.get_label(): line for line in axes.get_lines()}
    down, up = lines["most active removed first"], lines["least active removed first"]
    np.testing.assert_array_equal(down.get_ydata(), curves.descending / curves.samples)
    np.testing.assert_array_equal(up.get_ydata(), curves.ascending / curves.samples)
    n0, n0_r = quantities.n0, quantities.n0_r
    assert lines["$n_0$"].get_xydata().tolist() == [[n0, down.get_ydata()[n0]]]
    assert lines["$n_0^r$"].get_xydata().tolist() == [[n0_r, up.get_ydata()[n0_r]]]
    assert set(lines["chance"].get_ydata()) == {0.1}
    assert len(axes.collections) == 1  # the area between them


def test_mean_curves_are_the_average_of_the_classes(audit, drawn):
    _, axes = drawn
    curves = read_curves(audit)
    quantities = [class_quantities(curve, 0.1) for curve in curves]
    plots.draw_mean_curves(axes, curves, quantities, chance=0.1)
    lines = {line.get_label(): line for line in axes.get_lines()}
    mean = np.mean([curve.descending / 40 for curve in curves], axis=0)
    np.testing.assert_allclose(lines["most active removed first"].get_ydata(), mean)
    assert lines["$n_0$"].get_xdata()[0] == pytest.approx(np.mean([q.n0 for q in quantities]))


def test_networks_share_the_class_scatter(drawn, tmp_path):
    figure, axes = drawn
    for label, color in (("clean", "black"), ("corrupted", "red")):
        plots.draw_class_scatter(
            axes, np.array([0.1, 0.2]), np.array([0.5, 0.6]), label=label, color=color
        )
    said = texts(figure, tmp_path)
    assert "clean" in said
    assert "corrupted" in said


def test_population_figures_carry_their_numbers(tmp_path):
    gap = np.linspace(0.1, 0.9, 20)
    figure, axes = plots.new_figure(2, 2)
    plots.draw_population(axes[0, 0], gap, 1 - gap, gap)
    plots.draw_gap_against(axes[0, 1], 1 - gap, gap, symbol="κ")
    plots.draw_estimates(
        axes[1, 0], gap + 0.01, gap, tested=np.arange(20) < 2, half_width=np.full(20, 0.1)
    )
    plots.draw_ssr(axes[1, 1], np.linspace(0.01, 0.03, 101), reference=0.035)
    said = texts(figure, tmp_path)
    for part in ("generalization gap", "r = −1.000", "fitted on", "held out", "y = x"):
        assert part in said
    assert "median 0.02" in said
    assert "reference 0.035" in said


@pytest.mark.parametrize("kind", plots.FORMATS)
def test_the_same_figure_gives_the_same_bytes(tmp_path, kind):
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        figure, axes = plots.new_figure()
        plots.draw_ssr(axes[0, 0], np.linspace(0.01, 0.03, 20))
        plots.save_figure(figure, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_unknown_format_is_refused(drawn, tmp_path):
    with pytest.raises(AuditFolderError, match=r"end the name in \.svg, \.png, \.pdf"):
        plots.save_figure(drawn[0], tmp_path / "figure.doc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("epoch", ["abc", "1e9", "99999999999999999999"])
def test_an_epoch_that_is_no_time_is_refused(monkeypatch, tmp_path, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(AnalyzerError, match=f"SOURCE_DATE_EPOCH is '{epoch}', not a time"):
        plots.check_figure(tmp_path / "figure.svg")
