import numpy as np
import pytest

from analyzer.audit import write_population_figure
from analyzer.errors import AuditFolderError
from analyzer.estimation import PopulationTable, fit_scores


def population(networks: int = 24) -> PopulationTable:
    random = np.random.default_rng(0)
    zeta, kappa = random.random((2, networks))
    gap = 0.5 * zeta - 0.3 * kappa + 0.4 + 0.02 * random.normal(size=networks)
    unknown = np.full(networks, np.nan)
    names = tuple(f"network{number}" for number in range(networks))
    return PopulationTable(names, zeta, kappa, unknown, unknown, gap, {})


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_population_is_drawn(ending, tmp_path):
    drawn = population()
    scores = fit_scores(drawn.columns, drawn.gap, splits=20)
    path = write_population_figure(drawn, scores, tmp_path / f"population.{ending}")
    assert path.stat().st_size > 5000
    if ending == "svg":
        text = path.read_text()
        assert f"r = {scores['paper'].out_of_fold_r:.3f}" in text
        assert "held out" in text


def test_another_ending_is_refused(tmp_path):
    drawn = population()
    scores = fit_scores(drawn.columns, drawn.gap, splits=2)
    with pytest.raises(AuditFolderError, match="svg"):
        write_population_figure(drawn, scores, tmp_path / "population.txt")
    assert not list(tmp_path.iterdir())
