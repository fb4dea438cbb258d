"""Leaving whole populations out, on tables whose gaps follow from their features."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import model_zoo
from analyzer.estimation import (
    AuditConditions,
    PopulationTable,
    estimate_left_out_classes,
    fit_class_line,
    read_gap_model,
    write_population,
)
from tools.judge_population import read_judged
from tools.left_out_classes import read_class_tables
from tools.left_out_fits import CHOICES, any_network, left_out, read_tables
from tools.left_out_populations import colors_unseen, main, page

DOCS = Path(__file__).parents[1] / "docs"


def table(
    seed: int, networks: int, *, offset: float = 0.0, colors: int | None = None
) -> PopulationTable:
    """Gaps that are 0.1 + 0.5 · neighbors + offset; everything else is noise."""
    rng = np.random.default_rng(seed)
    features = {
        name: rng.uniform(0, 1, networks)
        for names in CHOICES.values()
        for name in names
        if name not in ("zeta", "kappa")
    }
    gap = 0.1 + 0.5 * features["neighbors_error_third_trusted"] + offset
    audit = AuditConditions(1.0, 10, 8, 100, 100, "activation", 784, colors)
    cells = {} if colors is None else audit.to_cells()
    return PopulationTable(
        name=tuple(f"n{i}" for i in range(networks)),
        zeta=rng.uniform(0, 1, networks),
        kappa=rng.uniform(0, 1, networks),
        train_accuracy=np.ones(networks),
        test_accuracy=1 - gap,
        gap=gap,
        further={name: (cell,) * networks for name, cell in cells.items()},
        features=features,
    )


def test_a_line_that_holds_everywhere_has_no_error():
    tables = {"a-1": table(0, 20), "a-2": table(1, 30), "b-1": table(2, 25)}
    found = list(left_out(tables, {name: name for name in tables}))
    assert [one.name for one in found] == list(tables)
    for one in found:
        assert one.error("neighbors") == pytest.approx(0, abs=1e-12)
        assert one.tau("neighbors") == pytest.approx(1)
        assert one.error("ζ and κ") > 0.05


def test_the_mean_is_that_of_the_other_populations_each_counting_alike():
    tables = {"a": table(0, 10), "b": table(1, 100), "c": table(2, 30)}
    (first, *_) = left_out(tables, {name: name for name in tables})
    wanted = (tables["b"].gap.mean() + tables["c"].gap.mean()) / 2
    np.testing.assert_allclose(first.estimates["the mean"], wanted)


def test_groups_are_left_out_together():
    tables = {"a-1": table(0, 20), "a-2": table(1, 30, offset=0.2), "b-1": table(2, 25)}
    found = {one.name: one for one in left_out(tables, {n: n.split("-")[0] for n in tables})}
    assert len(found["a"].gap) == 50
    expected = np.concatenate([np.zeros(20), np.full(30, 0.2)]).mean()
    assert found["a"].error("neighbors") == pytest.approx(expected)


def test_images_in_color_are_estimated_by_those_that_are_gray():
    tables = {f"a-{n}": table(n, 12, colors=1) for n in range(9)}
    assert not list(colors_unseen(tables))
    tables["color-a"] = table(9, 12, offset=0.3, colors=3)
    (row,) = (line for line in colors_unseen(tables) if line.startswith("| color-a |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "12"
    assert float(cells[3]) == pytest.approx(0.3, abs=1e-3)  # all the other gaps lie on the line
    assert cells[5] == cells[7] == "0%"  # so the others' intervals are narrow


def test_the_command_writes_a_row_a_population(tmp_path):
    for number, name in enumerate(("digits-a", "digits-b", "glyphs-a")):
        write_population(table(number, 12), tmp_path / f"{name}.csv")
    out = tmp_path / "page.md"
    assert CliRunner().invoke(main, [str(tmp_path), str(out)]).exit_code == 0
    written = out.read_text(encoding="utf-8")
    assert "| digits-a | 12 |" in written
    assert "| digits | 24 |" in written
    (tmp_path / "digits-a.csv").unlink()
    (tmp_path / "digits-b.csv").unlink()
    assert CliRunner().invoke(main, [str(tmp_path), str(out)]).exit_code == 2


@pytest.fixture(scope="module")
def tables():
    return read_tables(DOCS / "measures")


@pytest.fixture(scope="module")
def classes():
    return read_class_tables(DOCS / "measures" / "classes")


@pytest.fixture(scope="module")
def left_out_classes(tables, classes):
    return estimate_left_out_classes(tables, classes)


def test_the_page_is_what_the_tables_say(tables, left_out_classes):
    written = (DOCS / "MEASURES.md").read_text(encoding="utf-8")
    assert written == page(tables, left_out_classes, read_judged(DOCS / "measures" / "judged"))


def test_the_bundled_gap_model_is_fitted_on_the_tables(tables, classes, left_out_classes):
    bundled = read_gap_model(model_zoo.find("any").gap_model)
    again = any_network(tables)
    assert bundled.fitted_on == again.fitted_on
    np.testing.assert_allclose(bundled.coefficients, again.coefficients, rtol=1e-9)
    np.testing.assert_allclose(bundled.left_out.residuals, again.left_out.residuals, atol=1e-9)
    assert bundled.coverage == again.coverage
    line = fit_class_line(tables, classes, left_out=left_out_classes)
    assert asdict(bundled.class_line) == pytest.approx(asdict(line), rel=1e-9)


def test_single_classes_are_told_better_than_by_their_network(left_out_classes):
    errors = {
        name: np.mean(
            [
                (
                    np.abs(one.estimates.estimate - one.classes.gap).mean(),
                    np.abs(one.network - one.classes.gap).mean(),
                )
                for one in networks
            ],
            axis=0,
        )
        for name, networks in left_out_classes.items()
    }
    error, plain = np.mean(list(errors.values()), axis=0)
    assert error < 0.8 * plain
    held = [np.mean([one.held.mean() for one in some]) for some in left_out_classes.values()]
    assert np.mean(held) >= 0.85


def test_networks_that_never_learned_are_left_out(tables):
    for name, one in tables.items():
        for row in range(len(one)):
            assert one.conditions(row).accuracy > 2 / one.conditions(row).classes, name
