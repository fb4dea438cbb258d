"""What was said of a population before anything was fitted to it: its table and its section."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import model_zoo
from analyzer.errors import AnalyzerError
from analyzer.estimation import read_gap_model, read_population
from tools.judge_population import judged_rows, judged_section, read_judged

MEASURES = Path(__file__).parents[1] / "docs" / "measures"


@pytest.fixture(scope="module")
def judged():
    return read_judged(MEASURES / "judged")


def test_a_population_that_the_gap_model_has_seen_is_not_judged(tmp_path):
    gap_model = read_gap_model(model_zoo.find("any").gap_model)
    with pytest.raises(AnalyzerError, match="was fitted on digits-clean: judge a population"):
        next(judged_rows(tmp_path / "digits-clean", tmp_path, gap_model))


def test_gaps_are_those_of_the_population_and_the_section_sums_them_up(judged):
    (rows,) = judged.values()
    (name,) = judged
    table = read_population(MEASURES / f"{name}.csv")
    gap = dict(zip(table.name, table.gap, strict=True))
    true, said = (np.array([float(row[key]) for row in rows]) for key in ("gap", "estimate"))
    np.testing.assert_allclose(true, [gap[row["network"]] for row in rows], atol=1e-6)
    text = "\n".join(judged_section(judged))
    (line,) = (one for one in text.splitlines() if one.startswith(f"| {len(rows)} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert float(cells[3]) == pytest.approx(np.abs(said - true).mean(), abs=6e-4)
    assert float(cells[5]) == pytest.approx(kendalltau(said, true).statistic, abs=6e-3)


def test_a_list_that_finds_no_wrong_labels_is_said_to_fail(judged):
    poor = "\n".join(judged_section(judged))
    assert "The list of suspects fails here" in poor
    good = {name: [row | {"auc_suspects": "0.97"} for row in rows] for name, rows in judged.items()}
    assert "fails here" not in "\n".join(judged_section(good))


def test_without_tables_there_is_no_section():
    assert not list(judged_section({}))
