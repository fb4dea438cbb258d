import dataclasses

import numpy as np
import pytest

from analyzer.estimation import CONDITION_COLUMNS, AuditConditions, PopulationTable, fit_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from tools.evidence.tables import EVIDENCE, read_table
from tools.evidence.variations import (
    NOT_REACHED,
    features_figure,
    judgment,
    own_setting,
    variations,
    verdicts,
    verdicts_figure,
)

OWN = AuditConditions(
    accuracy=0.97,
    classes=100,
    channels=256,
    samples=2500,
    given=2500,
    site="activation",
    pixels=256,
    colors=1,
)
BASE = {
    "corruption": 0.0, "architecture": "conv6", "batch_norm": True, "enough": 0.97, "step": 0.6,
    "images_per_class": 25, "classes": 100, "width": 256, "seed": 1, "train_accuracy": 0.97,
}  # fmt: skip


@pytest.fixture(scope="module")
def gap_model():
    """ĝ is ζ, and nothing else."""
    zeta = np.linspace(0.2, 0.8, 12)
    kappa = np.tile([0.3, 0.5, 0.4], 4)
    unknown = np.full(len(zeta), np.nan)
    further = {name: (cell,) * len(zeta) for name, cell in OWN.to_cells().items()}
    noise = 0.01 * np.resize([1, -1], len(zeta))
    population = PopulationTable(
        name=tuple(map(str, range(len(zeta)))), zeta=zeta, kappa=kappa, gap=zeta + noise,
        train_accuracy=unknown, test_accuracy=unknown, further=further,
    )  # fmt: skip
    return fit_population(population, name="mine", data="d", architecture="a")


def network(gap, zeta, **changed):
    """A row of the table; circumstances follow from the setting."""
    row = BASE | {"gap": gap, "zeta": zeta, "kappa": 0.4} | changed
    circumstances = dataclasses.replace(
        OWN,
        accuracy=row["train_accuracy"],
        classes=row["classes"],
        channels=row["width"],
        samples=row["classes"] * min(row["images_per_class"], 50),
        given=row["classes"] * row["images_per_class"],
    )
    return row | circumstances.to_cells() | dict.fromkeys(CURVE_FEATURES, 0.5)


@pytest.fixture
def table(tmp_path):
    def write(*rows):
        path = tmp_path / "regime.csv"
        header = list(rows[0])
        lines = [",".join(str(row[name]) for name in header) for row in rows]
        path.write_text("\n".join([",".join(header), *lines]) + "\n")
        return read_table(path)

    return write


def test_networks_are_sorted_by_what_was_varied(table, gap_model):
    found = variations(
        table(
            network(0.4, 0.4, step=0.1),
            network(0.5, 0.5, classes=25, width=64, architecture="conv6-16"),
            network(0.5, 0.5, classes=25),
            network(0.5, 0.6, classes=25, seed=2),
            network(0.5, 0.5, classes=10),
            network(0.5, 0.5, train_accuracy=0.5),
            network(0.5, 0.5),
            network(0.5, 0.5, architecture="vgg16-small"),  # another form
            network(0.5, 0.5) | dict.fromkeys(CONDITION_COLUMNS, ""),  # from before they were kept
        ),
        gap_model,
    )
    assert [(one.name, len(one.networks)) for one in found] == [
        ("its own", 1), ("10 classes", 1), ("25 classes", 2), ("step 0.1", 1),
        ("25 classes, 64 channels", 1), (NOT_REACHED, 1),
    ]  # fmt: skip
    assert found[4].varied == ("classes", "width")
    assert found[2].estimate.rmse == pytest.approx(np.sqrt((0.1**2) / 2), abs=0.01)
    assert found[2].estimate.r is None  # of two networks
    assert found[2].share("covered") == 0.5


def test_what_is_warned_of_is_told_apart(table, gap_model):
    own, few, late = variations(
        table(
            network(0.5, 0.5),
            network(0.9, 0.9),
            network(0.2, 0.5, classes=10),
            network(0.2, 0.9, classes=10),
            network(0.5, 0.5, enough=0.999, train_accuracy=1.0),
        ),
        gap_model,
    )
    assert (own.share("warned"), own.share("by_features")) == (0.5, 0.5)
    assert (few.share("by_circumstances"), few.share("by_features")) == (1.0, 0.5)
    assert late.share("by_circumstances") == 1.0
    said = {one.said: (one.networks, one.covered) for one in verdicts([own, few])}
    assert said == {
        "nothing": (1, 1.0),
        "features outside": (1, 1.0),
        "circumstances outside": (2, 0.0),
        NOT_REACHED: (0, None),
    }
    (silent,) = (one for one in verdicts([few]) if one.said == "nothing")
    assert (silent.networks, silent.rmse, silent.covered, silent.r) == (0, None, None, None)


def test_what_was_not_trained_far_enough_stands_apart(table, gap_model):
    found = variations(
        table(network(0.5, 0.5), network(0.0, 0.5, train_accuracy=0.01, batch_norm=False)),
        gap_model,
    )
    said = {one.said: one.networks for one in verdicts(found)}
    assert said == {
        "nothing": 1, "features outside": 0, "circumstances outside": 0, NOT_REACHED: 1
    }  # fmt: skip
    assert [len(level) for level in found[1].sorted_by(batch_norm=False)] == [1, 0, 0]
    assert [len(level) for level in found[1].sorted_by(batch_norm=True)] == [0, 0, 0]


def test_warnings_are_judged_by_the_error(table, gap_model):
    found = variations(
        table(
            network(0.51, 0.5),
            network(0.2, 0.5, classes=10),
            network(0.5, 0.5, classes=25),
            network(0.2, 0.5, step=0.1),
            network(0.5, 0.5, step=0.2),
        ),
        gap_model,
    )
    judged = judgment(found)
    assert (judged.caught, judged.needless) == (("10 classes",), ("25 classes",))
    assert (judged.missed, judged.fine) == (("step 0.1",), ("step 0.2",))


def test_a_limit_per_class_hides_no_training_data(table, gap_model):
    (many,) = variations(table(network(0.5, 0.5, images_per_class=100)), gap_model)
    assert many.name == "100 images a class"
    (sentence,) = many.networks[0].estimated.warnings[1:]
    assert "training data have 100 samples per class" in sentence


def test_figures_have_a_panel_for_all_that_was_varied(table, gap_model):
    found = variations(
        table(
            network(0.5, 0.5),
            network(0.9, 0.7, corruption=1.0),
            network(0.2, 0.5, classes=10, batch_norm=False),
            network(0.2, 0.5, step=0.1),
            network(0.2, 0.5, classes=10, step=0.1),
        ),
        gap_model,
    )
    panels = features_figure(found).axes
    assert len(panels) == 3 * 2  # classes and step, each for ζ, κ and the area
    assert [tick.get_text() for tick in panels[-2].get_xticklabels()] == ["10", "100"]
    shown = [axis for axis in verdicts_figure(found).axes if axis.get_visible()]
    assert len(shown) == len(found)


def test_the_committed_table_has_the_gap_model_s_own_setting():
    table = read_table(EVIDENCE.parent / "regime.csv")
    own = own_setting()
    rows = [
        row
        for row in table.rows()
        if row["audited_accuracy"] and all(float(row[axis]) == own[axis] for axis in own)
    ]
    assert {row["batch_norm"] for row in rows} == {"True", "False"}
