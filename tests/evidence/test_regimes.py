from dataclasses import replace
from pathlib import Path

import pytest

from tools.evidence.regimes import Regime, regimes, regimes_figure
from tools.evidence.tables import read_table

HEADER = (
    "corruption,size,images_per_class,architecture,batch_norm,augmentation,dropout,enough,step,"
    "batch_size,epochs,train_accuracy,test_accuracy,gap,zeta,kappa,processor_seconds"
)


def cell(corruption, zeta, kappa, *, architecture="narrow", accuracy=0.98):
    return (
        f"{corruption},16,25,{architecture},True,False,0.0,0.97,0.1,32,9,{accuracy},0.5,0.4,"
        f"{zeta},{kappa},9"
    )


@pytest.fixture
def table(tmp_path):
    def write(*cells):
        path = Path(tmp_path) / "regime.csv"
        path.write_text("\n".join([HEADER, *cells]) + "\n")
        return read_table(path)

    return write


def test_cells_of_one_setting_are_one_regime_in_the_order_of_corruption(table):
    found = regimes(
        table(
            cell(1.0, 0.6, 0.3),
            cell(0.0, 0.5, 0.3, architecture="wide"),
            cell(0.0, 0.4, 0.4),
            cell(0.4, 0.5, 0.35),
        )
    )
    assert [regime.corruption for regime in found] == [(0.0, 0.4, 1.0)]  # "wide" has no pair
    assert found[0].name == "narrow, batch norm, 25 images a class, step 0.1"
    assert (found[0].zeta_rises, found[0].kappa_falls, found[0].kappa_rises) == (True, True, False)


def test_what_was_not_trained_far_enough_is_not_judged(table):
    (found,) = regimes(table(cell(0.0, 0.4, 0.4), cell(1.0, 0.0, 0.0, accuracy=0.2)))
    assert not found.judged
    assert not any((found.zeta_rises, found.kappa_falls, found.kappa_rises))
    (found,) = regimes(
        table(cell(0.0, 0.4, 0.4), cell(0.4, 0.42, 0.5), cell(1.0, 0.0, 0.0, accuracy=0.2))
    )
    assert found.change("zeta") == pytest.approx(0.02)
    assert not found.zeta_rises  # no more than another seed may change
    assert found.kappa_rises
    assert not regimes(table(cell(0.0, 0.4, 0.4, accuracy=0.2), cell(1.0, 0.7, 0.2)))


def test_the_greatest_rise_comes_first_and_each_setting_has_its_row():
    flat = Regime("flat", (0.0, 1.0), (1, 1), (True, True), (0, 0.9), (0.4, 0.4), (0.5, 0.5))
    figure = regimes_figure([flat, replace(flat, name="second", reached=(True, False))])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["flat", "second"]
