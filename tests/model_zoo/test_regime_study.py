import csv
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from model_zoo.datasets import DATA_SETS, GLYPHS, Split
from tools import regime_study

TABLE = Path(__file__).parents[2] / "docs" / "regime.csv"


def rows(table):
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_cell_is_asked_for_twice():
    cells = list(regime_study.cells())
    assert len(set(cells)) == len(cells)


def test_every_row_of_the_table_is_a_cell():
    cells = [
        {name: str(value) for name, value in asdict(cell).items()} for cell in regime_study.cells()
    ]
    for row in rows(TABLE):
        assert {name: row[name] for name in cells[0]} in cells
        assert float(row["gap"]) == pytest.approx(
            float(row["train_accuracy"]) - float(row["test_accuracy"]), abs=2e-4
        )


def test_fewer_classes_are_evenly_spaced_and_numbered_again():
    labels = np.repeat(np.arange(10), 3)
    images = np.arange(30, dtype=np.uint8).reshape(30, 1, 1)
    splits = Split(images, labels), Split(images[::3], labels[::3])
    whole = replace(DATA_SETS["digits"], read=lambda _: splits)
    assert regime_study.of_classes(whole, 10) is whole
    for first, kept in ((0, [0, 2, 5, 7]), (1, [1, 3, 6, 8]), (3, [0, 3, 5, 8])):
        fewer = regime_study.of_classes(whole, 4, first)
        train, test = fewer.read(None)
        assert fewer.classes == 4
        np.testing.assert_array_equal(np.array(kept)[train.labels], train.images.ravel() // 3)
        np.testing.assert_array_equal(np.unique(train.labels), np.arange(4))
        np.testing.assert_array_equal(test.labels, np.arange(4))
        np.testing.assert_array_equal(test.images.ravel() // 3, kept)


def test_cycles_have_as_many_steps_however_few_images():
    for cell in regime_study.cells():
        if cell.architecture == "conv6" and cell.step == 0.6:
            images = cell.classes * cell.images_per_class
            assert (cell.cycle * images, cell.most * images) == (100_000, 300_000)


@pytest.fixture
def data(tmp_path):
    """A folder with two images of noise of each character, the same to train and to test on."""
    generator = np.random.default_rng(0)
    arrays = {"labels": np.repeat(np.arange(100, dtype=np.uint8), 2)}
    arrays["images"] = generator.integers(256, size=(200, 32, 32), dtype=np.uint8)
    stored = {
        f"{split}_{name}": array for split in ("train", "test") for name, array in arrays.items()
    }
    np.savez(tmp_path / GLYPHS, **stored)
    return tmp_path


def test_study_resumes(torch, monkeypatch, data):
    few = [
        regime_study.Cell(
            level, images_per_class=2, architecture="narrow6-small", most=20, **smaller
        )
        for level, smaller in ((0.0, {}), (1.0, {"classes": 20, "width": 64}))
    ]
    table = data / "table.csv"
    monkeypatch.setattr(regime_study, "cells", lambda: iter(few[:1]))
    regime_study.study(data, table, data / "networks")
    (first,) = rows(table)
    monkeypatch.setattr(regime_study, "cells", lambda: iter(few))
    regime_study.study(data, table, data / "networks")
    again, second = rows(table)
    assert again == first
    assert second["corruption"] == "1.0"
    assert 0 <= float(second["zeta"]) <= 1
    assert int(second["audited_classes"]) <= 20  # wrong labels may leave one without samples
    assert (second["audited_channels"], second["audited_given"]) == ("64", "40")
    assert float(second["curve_area_ascending"]) > 0
    assert second["margin_3_upper"]


def test_a_network_with_a_dead_layer_is_kept_without_margins(torch, monkeypatch, data):
    from model_zoo import network_training

    trained = network_training.train_network

    def then_dies(*given, **named):
        fit = trained(*given, **named)
        with torch.no_grad():
            for weights in fit.network.parameters():
                weights.zero_()
        return fit

    monkeypatch.setattr(network_training, "train_network", then_dies)
    few = [
        regime_study.Cell(0.0, images_per_class=2, architecture="narrow6-small", most=1, seed=seed)
        for seed in (1, 2)
    ]
    monkeypatch.setattr(regime_study, "cells", lambda: iter(few[:1]))
    table = data / "table.csv"
    regime_study.study(data, table, data / "networks")
    monkeypatch.setattr(network_training, "train_network", trained)
    monkeypatch.setattr(regime_study, "cells", lambda: iter(few))
    regime_study.study(data, table, data / "networks")
    dead, alive = rows(table)
    assert not dead["margin_3_upper"]
    assert alive["margin_3_upper"]
