"""A run of a network so small that it trains in a second, and what is kept of longer ones."""

from dataclasses import replace

import numpy as np
import pytest

from analyzer.errors import AnalyzerError
from analyzer.estimation import FEATURE_SETS, read_population
from analyzer.measures.ablation import CURVE_FEATURES
from model_zoo import POPULATIONS
from tools.evidence import checkpoints
from tools.evidence.checkpoints import Kept, chosen_recipes, study


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
    from model_zoo import optimization

    network = torch.nn.Linear(1, 1)
    accuracies = iter([0.1, 0.2, 0.25, *30 * [0.9]])
    monkeypatch.setattr(optimization, "accuracy", lambda network, split: next(accuracies))
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
