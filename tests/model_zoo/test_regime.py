import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from model_zoo import regime
from model_zoo.datasets import GLYPHS

TABLE = Path(__file__).parents[2] / "docs" / "regime.csv"


def rows(table):
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_cell_is_asked_for_twice():
    cells = list(regime.cells())
    assert len(set(cells)) == len(cells)


def test_every_row_of_the_table_is_a_cell():
    cells = [{name: str(value) for name, value in asdict(cell).items()} for cell in regime.cells()]
    for row in rows(TABLE):
        assert {name: row[name] for name in cells[0]} in cells
        assert float(row["gap"]) == pytest.approx(
            float(row["train_accuracy"]) - float(row["test_accuracy"]), abs=2e-4
        )


def test_study_goes_on_where_it_was(torch, monkeypatch, tmp_path):
    generator = np.random.default_rng(0)
    arrays = {"labels": np.repeat(np.arange(100, dtype=np.uint8), 2)}
    arrays["images"] = generator.integers(256, size=(200, 32, 32), dtype=np.uint8)
    stored = {
        f"{half}_{name}": array for half in ("train", "test") for name, array in arrays.items()
    }
    np.savez(tmp_path / GLYPHS, **stored)
    few = [
        regime.Cell(level, images_per_class=2, architecture="narrow6-small", most=20)
        for level in (0.0, 1.0)
    ]
    table = tmp_path / "table.csv"
    monkeypatch.setattr(regime, "cells", lambda: iter(few[:1]))
    regime.study(tmp_path, table, tmp_path / "networks")
    (first,) = rows(table)
    monkeypatch.setattr(regime, "cells", lambda: iter(few))
    regime.study(tmp_path, table, tmp_path / "networks")
    again, second = rows(table)
    assert again == first
    assert second["corruption"] == "1.0"
    assert 0 <= float(second["zeta"]) <= 1
