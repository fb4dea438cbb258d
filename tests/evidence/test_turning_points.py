"""Turning points at several levels, against plain loops and against those that ζ is made of."""

import numpy as np
import pytest

from analyzer.measures.ablation.class_curves import ClassCurves
from tools.evidence.findings import population_findings
from tools.evidence.tables import EVIDENCE, read_table, table_path
from tools.evidence.turning_points import LEVELS, SHARES, turning_cells, turning_points

UNITS, SAMPLES, CHANCE = 12, 7, 1 / 3


def falling(random):
    """Correct counts as units go, with a bump here and there."""
    curve = np.sort(random.integers(0, SAMPLES + 1, UNITS + 1))[::-1].copy()
    at = random.integers(0, UNITS, 2)
    curve[at] = curve[at[::-1]]
    return curve.astype(np.int64)


@pytest.fixture
def curves():
    random = np.random.default_rng(0)
    return [
        ClassCurves(
            class_index=k,
            samples=SAMPLES,
            order=np.arange(UNITS),
            descending=falling(random),
            ascending=falling(random),
        )
        for k in range(9)
    ]


def first_at_most(curve, level):
    for n, right in enumerate(curve):
        if right / SAMPLES <= level + 1e-12:
            return n
    return int(np.argmin(curve))


def last_at_least(curve, share):
    best = max(curve[:UNITS])
    return max(n for n in range(UNITS) if curve[n] >= share * best - 1e-12)


def test_turning_points_against_plain_loops(curves):
    cells = turning_cells(curves, CHANCE)
    assert list(cells) == [f"n0 {level}" for level in LEVELS] + [f"n0_r {s}" for s in SHARES]
    for level in LEVELS:
        at = CHANCE if level == "chance" else float(level)
        wanted = np.mean([first_at_most(curve.descending, at) for curve in curves]) / UNITS
        assert cells[f"n0 {level}"] == pytest.approx(wanted, abs=1e-6)
    for share in SHARES:
        wanted = np.mean([last_at_least(curve.ascending, float(share)) for curve in curves]) / UNITS
        assert cells[f"n0_r {share}"] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("path", sorted(EVIDENCE.glob("turning-*.csv")), ids=lambda path: path.stem)
def test_the_committed_turning_points_make_up_zeta(path):
    table, name = read_table(path), path.stem.removeprefix("turning-")
    networks = read_table(table_path(EVIDENCE, "networks", name))
    assert table.texts("network").tolist() == networks.texts("name").tolist()
    zeta = (table.numbers("n0 chance") + 1 - table.numbers("n0_r 1.00")) / 2
    np.testing.assert_allclose(zeta, networks.numbers("zeta"), atol=2e-6)


def test_the_first_of_each_says_what_zeta_says():
    about = next(
        row for row in read_table(EVIDENCE / "populations.csv").rows() if row["name"] == "digits"
    )
    findings = population_findings(EVIDENCE, about)
    found = turning_points(read_table(table_path(EVIDENCE, "turning", "digits")), findings)
    both = findings.scores["ζ and κ"].out_of_fold_r
    for point in found:
        if point.level in (LEVELS[0], SHARES[0]):
            assert point.out_of_fold_r == pytest.approx(both, abs=1e-3)
    assert "at chance (Eq. 2)" in [point.looked_for for point in found]
