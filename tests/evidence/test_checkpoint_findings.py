"""Made-up runs on the line gap = ζ − κ, or beside it."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyzer.estimation import read_population
from analyzer.measures.ablation import AREA, CURVE_FEATURES
from tools.evidence.checkpoint_findings import FEATURES, checkpoint_findings, checkpoints_figure
from tools.evidence.tables import read_table, write_table

CHECKPOINTS = 12


def networks(names, corruption, offset, seed):
    """Rows whose gap is ζ − κ + offset; the area is ζ − κ, all further features are ζ or κ."""
    random = np.random.default_rng(seed)
    for name in names:
        zeta, kappa = random.uniform(0.5, 0.9), random.uniform(0.1, 0.4)
        curves = dict.fromkeys(CURVE_FEATURES, zeta) | {AREA: zeta - kappa}
        yield {
            "name": name,
            "corruption": corruption,
            "run": name.rsplit("-", 1)[0],
            "zeta": zeta,
            "kappa": kappa,
            "gap": zeta - kappa + offset,
            **curves,
            "margin_0_q1": kappa,
        }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Runs at 0, 0.4 and 1; the one at 0.4 lies 0.2 above the line."""
    folder = tmp_path_factory.mktemp("tables")
    rows = []
    for seed, (level, offset) in enumerate({0.0: 0.0, 0.4: 0.2, 1.0: 0.0}.items()):
        names = [f"run{seed}-{number}" for number in range(CHECKPOINTS)]
        rows += networks(names, level, offset, seed)
    write_table(folder / "checkpoints.csv", rows)
    final = list(networks(["run0", *(f"other-{n}" for n in range(10))], 0.0, 0.0, 9))
    final[0]["gap"] = 0.0  # far from the line; it is where a run leads to
    write_table(folder / "networks.csv", final)
    population = read_population(folder / "networks.csv")
    findings = SimpleNamespace(
        name="made up",
        population=population,
        column=lambda name: np.array([float(cell) for cell in population.further[name]]),
    )
    return checkpoint_findings(read_table(folder / "checkpoints.csv"), findings)


def test_each_run_alone_each_with_the_one_at_random_and_all(found):
    assert [trial.levels for trial in found.trials] == [
        (0.0,), (0.4,), (1.0,), (0.0, 1.0), (0.4, 1.0), (0.0, 0.4, 1.0),
    ]  # fmt: skip
    assert [trial.checkpoints for trial in found.trials] == [12, 12, 12, 24, 24, 36]
    assert found.count == 36
    assert [trial.levels for trial in found.alone] == [(0.0,), (0.4,), (1.0,)]
    assert found.trial(0.4, 1.0).name == "40 % + 100 %"
    assert not found.together.others
    assert np.isnan(found.together.others_spread)


def test_where_a_run_leads_to_is_not_tried_on(found):
    assert found.final.name == tuple(f"other-{number}" for number in range(10))
    assert len(found.corruption) == 10
    assert found.spread == pytest.approx(found.final.gap.std())


@pytest.mark.parametrize("label", FEATURES)
def test_runs_on_the_line_estimate_the_networks_and_those_beside_it_do_not(found, label):
    on_it, beside = found.trial(0.0), found.trial(0.4)
    assert on_it.final[label].plain.rmse == pytest.approx(0, abs=1e-3)
    assert on_it.final[label].plain.r == pytest.approx(1, abs=1e-4)
    assert beside.final[label].plain.rmse == pytest.approx(0.2, abs=1e-3)
    assert beside.final[label].plain.r == pytest.approx(1, abs=1e-4)
    assert found.own[label].rmse == pytest.approx(0, abs=1e-3)
    # Half of the others' checkpoints lie on the line, the others 0.2 above.
    assert on_it.others[label].plain.rmse == pytest.approx(0.2 / np.sqrt(2), abs=1e-3)
    assert found.onto[label].plain.rmse == pytest.approx(0.2 / np.sqrt(3), abs=1e-3)


def test_the_figure_has_a_path_a_run(found):
    figure = checkpoints_figure([found])
    paths = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == CHECKPOINTS]
    assert len(paths) == 3
