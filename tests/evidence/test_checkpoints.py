"""A run of a network so small that it trains in a second, what is kept of longer ones; and findings
of made-up runs on the line gap = ζ − κ, or beside it.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from analyzer.errors import AnalyzerError
from analyzer.estimation import FEATURE_SETS, read_population
from analyzer.measures.ablation.curve_features import AREA, CURVE_FEATURES
from model_zoo import POPULATIONS
from tools.evidence import checkpoints
from tools.evidence.checkpoints import (
    FEATURES,
    Kept,
    checkpoint_findings,
    checkpoints_figure,
    chosen_recipes,
    study,
)
from tools.evidence.tables import read_table, write_table


@pytest.fixture(scope="module")
def torch():
    """The module; skips the test without the extra."""
    pytest.importorskip("onnxscript", reason="training needs the extra zoo (onnxscript)")
    return pytest.importorskip("torch", reason="training needs the extra zoo (torch)")


@pytest.fixture(scope="module")
def population():
    """Digits with few images, channels and epochs."""
    return replace(
        POPULATIONS["digits"],
        name="tiny",
        train_samples=100,
        widths=(8,),
        batch_sizes=(10, 10, 10),
        epochs=6,
    )


def test_checkpoints_are_copies_evenly_spaced_from_an_accuracy_on(torch, monkeypatch):
    from model_zoo import network_training

    network = torch.nn.Linear(1, 1)
    accuracies = iter([0.1, 0.2, 0.25, *30 * [0.9]])
    monkeypatch.setattr(network_training, "accuracy", lambda network, split: next(accuracies))
    kept = Kept(train=None, start=0.3, most=5)
    for epoch in range(1, 31):
        with torch.no_grad():
            network.weight.fill_(epoch)
        kept(network)
    assert {epoch: n.weight.item() for epoch, n in kept.networks.items()} == {
        4: 4, 12: 12, 20: 20, 28: 28,
    }  # fmt: skip


def test_a_run_is_trained_audited_and_tabled_once(torch, population, tmp_path, monkeypatch):
    chosen = chosen_recipes(population)[:1]
    table = tmp_path / "checkpoints.csv"
    study(population, chosen, tmp_path / "runs", table)
    found = read_population(table)
    assert set(found.further["run"]) == {"tiny-c0-00"}
    epochs = [int(epoch) for epoch in found.further["epoch"]]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 6
    assert found.name[-1] == "tiny-c0-00-e006"
    assert (found.train_accuracy[:-1] >= checkpoints.START).any()
    np.testing.assert_allclose(found.gap, found.train_accuracy - found.test_accuracy, atol=2e-6)
    assert set(CURVE_FEATURES) < set(found.features)
    extended = FEATURE_SETS["extended"].columns(found)
    assert all(np.isfinite(values).all() for values in extended.values())
    # The audit sees the checkpoint with the accuracy that it was exported with.
    audited = np.array([float(cell) for cell in found.further["audited_accuracy"]])
    np.testing.assert_allclose(audited, found.train_accuracy, atol=0.011)

    first = table.read_bytes()
    monkeypatch.setattr(checkpoints, "_trained", None)  # would be called to train again
    study(population, chosen, tmp_path / "runs", table)
    assert table.read_bytes() == first


def test_runs_are_the_plain_recipes_of_three_levels_or_those_asked_for(population):
    assert [recipe.name for recipe in chosen_recipes(population)] == [
        "tiny-c0-00", "tiny-c40-00", "tiny-c100-00",
    ]  # fmt: skip
    (one,) = chosen_recipes(population, ["tiny-c20-03"])
    assert one.corruption == 0.2
    with pytest.raises(AnalyzerError, match="no recipe 'tiny-c20'"):
        chosen_recipes(population, ["tiny-c20"])


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
