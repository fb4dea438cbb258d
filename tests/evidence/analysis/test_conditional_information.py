import itertools

import numpy as np
import pytest

from analyzer.errors import GapModelError
from tools.evidence.analysis import conditional_information


def make_grid(repeats=1, seed=0):
    """A full grid of three hyperparameters, and a gap that depends on them and on chance."""
    rows = list(itertools.product("012", "ab", "xyz")) * repeats
    names = ("corruption", "norm", "batch")
    hyperparameters = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    gap = np.array([0.3 * int(row[0]) + 0.1 * (row[1] == "b") for row in rows])
    return gap + rng.normal(0, 0.1, len(rows)), hyperparameters


def score_plainly(measure, gap, hyperparameters):
    """Î of every set, pair by pair, from the definition."""
    found = {}
    for size in range(3):
        for subset in itertools.combinations(hyperparameters, size):
            tables = {}
            for i, j in itertools.permutations(range(len(gap)), 2):
                key = tuple((hyperparameters[h][i], hyperparameters[h][j]) for h in subset)
                table = tables.setdefault(key, np.zeros((2, 2)))
                table[int(gap[i] > gap[j]), int(measure[i] > measure[j])] += 1
            pairs = sum(table.sum() for table in tables.values())
            information = entropy = 0.0
            for table in tables.values():
                joint = table / table.sum()
                v_gap, v_measure = joint.sum(axis=1), joint.sum(axis=0)
                share = table.sum() / pairs
                entropy -= share * sum(p * np.log2(p) for p in v_gap if p > 0)
                information += share * sum(
                    joint[a, b] * np.log2(joint[a, b] / (v_gap[a] * v_measure[b]))
                    for a, b in itertools.product((0, 1), repeat=2)
                    if joint[a, b] > 0
                )
            found[subset] = information / entropy
    return found


@pytest.mark.parametrize("measure", ["gap", "falling", "cubed"])
def test_perfect_measure_scores_one(measure):
    gap, hyperparameters = make_grid()
    values = {"gap": gap, "falling": 5 - 2 * gap, "cubed": gap**3}[measure]
    found = conditional_information(values, gap, hyperparameters)
    assert found.score == pytest.approx(1)
    assert all(s.normalized == pytest.approx(1) for s in found.sets)
    assert all(s.adjusted == pytest.approx(1) for s in found.sets)


def test_constant_measure_scores_nothing():
    gap, hyperparameters = make_grid()
    found = conditional_information(np.full(len(gap), 0.5), gap, hyperparameters)
    assert found.score == 0
    assert all(s.normalized == 0 for s in found.sets)


def test_noise_scores_nothing():
    gap, hyperparameters = make_grid(repeats=10)
    noise = np.random.default_rng(5).normal(size=len(gap))
    found = conditional_information(noise, gap, hyperparameters, shuffles=20)
    assert found.score < 0.01
    assert max(s.normalized for s in found.sets) < 0.05
    assert max(abs(s.adjusted) for s in found.sets) < 0.03


def test_noise_over_few_networks_is_seen_through_by_shuffling():
    gap, hyperparameters = make_grid()
    rng = np.random.default_rng(6)
    found = [
        conditional_information(rng.normal(size=len(gap)), gap, hyperparameters, shuffles=30)
        for _ in range(20)
    ]
    assert np.mean([one.sets[-1].normalized for one in found]) > 0.1
    assert abs(np.mean([one.sets[-1].adjusted for one in found])) < 0.03


def test_measure_that_mirrors_a_hyperparameter_tells_nothing_once_that_is_known():
    gap, hyperparameters = make_grid()
    mirrored = np.array(hyperparameters["corruption"], dtype=float)
    found = conditional_information(mirrored, gap, hyperparameters)
    assert found.sets[0].normalized > 0.3
    assert found.score == 0
    assert "corruption" in found.worst.hyperparameters
    adjusted = {s.hyperparameters: s.adjusted for s in found.sets}
    assert adjusted["corruption", "norm"] < 0 < adjusted["norm", "batch"]


def test_score_is_that_of_the_definition_pair_by_pair():
    gap, hyperparameters = make_grid()
    gap[3] = gap[7]
    measure = gap + np.random.default_rng(2).normal(0, 0.15, len(gap))
    measure[4] = measure[5]
    found = conditional_information(measure, gap, hyperparameters, shuffles=0)
    wanted = score_plainly(measure, gap, hyperparameters)
    assert {s.hyperparameters: s.normalized for s in found.sets} == pytest.approx(wanted)
    assert found.score == pytest.approx(min(wanted.values()))
    assert found.worst.hyperparameters == min(wanted, key=wanted.get)
    assert {s.shuffled for s in found.sets} == {None}


def test_four_networks_are_as_worked_out_by_hand():
    # Within each level the measure orders the two networks rightly in "a", wrongly in "b".
    gap = np.array([0.0, 1.0, 0.0, 1.0])
    measure = np.array([0.0, 1.0, 1.0, 0.0])
    found = conditional_information(measure, gap, {"level": ["a", "a", "b", "b"]}, shuffles=0)
    pooled, within = found.sets
    # Of 12 ordered pairs 4 have V_g = 1, 4 have V_μ = 1, and 1 has both.
    h = lambda *p: -sum(x * np.log2(x) for x in p if x)  # noqa: E731
    entropy = h(4 / 12, 8 / 12)
    information = 2 * entropy - h(1 / 12, 3 / 12, 3 / 12, 5 / 12)
    assert pooled.entropy == pytest.approx(entropy)
    assert pooled.normalized == pytest.approx(information / entropy)
    # (a, a) and (b, b): told in full, whichever way round. (a, b): of 4 pairs one has V_g = 1 and
    # another V_μ = 1; (b, a) likewise.
    mixed = 2 * h(1 / 4, 3 / 4) - h(1 / 4, 1 / 4, 2 / 4)
    assert within.entropy == pytest.approx((4 * 1 + 8 * h(1 / 4, 3 / 4)) / 12)
    assert within.normalized == pytest.approx((4 * 1 + 8 * mixed) / 12 / within.entropy)


def test_hyperparameters_that_leave_nothing_open_are_no_set_to_score():
    gap = np.array([0.1, 0.2, 0.3, 0.4])
    own = {"name": list("abcd"), "same": list("xxxx")}
    found = conditional_information(np.array([1.0, 3.0, 2.0, 4.0]), gap, own)
    assert [s.hyperparameters for s in found.sets] == [(), ("name",)]
    assert found.sets[1].entropy == 0
    assert (found.sets[1].normalized, found.sets[1].shuffled) == (None, None)
    assert found.worst.hyperparameters == ()


def test_shuffles_depend_on_the_seed_alone():
    gap, hyperparameters = make_grid()
    measure = np.random.default_rng(3).normal(size=len(gap))
    first, again, other = (
        conditional_information(measure, gap, hyperparameters, shuffles=5, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first.score == other.score


@pytest.mark.parametrize(
    ("measure", "gap", "values", "message"),
    [
        ([1, 2, 3], [0.1, 0.1, 0.1], "abc", "No two networks differ in their gap"),
        ([1, 2], [0.1, 0.2, 0.3], "abc", "one number per network"),
        ([1, np.nan, 3], [0.1, 0.2, 0.3], "abc", "measure of network 2 of 3 is nan"),
        ([1, 2, 3], [0.1, 0.2, 0.3], "ab", "'h' has 2 values for 3 networks"),
    ],
)
def test_what_cannot_be_scored_is_refused(measure, gap, values, message):
    with pytest.raises(GapModelError, match=message):
        conditional_information(np.array(measure), np.array(gap), {"h": list(values)})
