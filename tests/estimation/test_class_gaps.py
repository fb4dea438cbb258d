"""Gaps of single classes: profiles, the line, its fit, and its tables."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from analyzer.errors import GapModelError
from analyzer.estimation import (
    AuditConditions,
    ClassesOfNetwork,
    ClassLine,
    ClassProfiles,
    PopulationTable,
    class_profiles,
    estimate_left_out_classes,
    fit_class_line,
    read_population_classes,
    write_population_classes,
)

ALIKE = AuditConditions(0.9, 4, 64, 400, 400, "activation")
LINE = ClassLine(1.0, 0.5, 2.0, 0.9, None, 10, 400)


def profiles(rng: np.random.Generator, samples: int = 100, classes: int = 4) -> ClassProfiles:
    counts = np.stack(
        [rng.multinomial(samples, rng.dirichlet(np.full(10, 2.0))) for _ in range(classes)]
    )
    return ClassProfiles(
        index=np.arange(classes),
        samples=np.full(classes, samples),
        accuracy=np.full(classes, 0.97),
        counts=counts,
    )


def scores(rng: np.random.Generator, count: int = 90) -> dict[str, np.ndarray]:
    return {
        "labels": rng.integers(0, 3, count),
        "margin": np.round(rng.normal(size=count), 1),  # some are alike
        "agreement": rng.integers(0, 11, count) / 10,
        "hold": rng.integers(0, 9, count) / 8,
    }


def test_profiles_are_the_tenths_of_a_mean_of_three_ranks():
    one = scores(np.random.default_rng(0))
    found = class_profiles(**one, accuracy={0: 1.0, 1: 0.9, 2: 0.8})
    # By scipy, ties broken by the margin.
    margin = rankdata(one["margin"])
    total = (
        margin + rankdata(one["agreement"] + 1e-6 * margin) + rankdata(one["hold"] + 1e-6 * margin)
    )
    place = (rankdata(total + 1e-6 * margin) - 0.5) / len(total)
    for index in range(3):
        wanted, _ = np.histogram(place[one["labels"] == index], bins=10, range=(0, 1))
        assert found.counts[index].tolist() == wanted.tolist()
    assert found.accuracy.tolist() == [1.0, 0.9, 0.8]


def test_profiles_do_not_depend_on_the_order_of_the_samples():
    rng = np.random.default_rng(1)
    one = scores(rng)
    order = rng.permutation(len(one["labels"]))
    other = {name: values[order] for name, values in one.items()}
    accuracy = dict.fromkeys(range(3), 1.0)
    np.testing.assert_array_equal(
        class_profiles(**one, accuracy=accuracy).counts,
        class_profiles(**other, accuracy=accuracy).counts,
    )


def test_a_sample_stands_for_those_of_its_class_that_were_not_looked_at():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 40)
    margin = np.concatenate([rng.uniform(0, 1, 40), rng.uniform(5, 6, 40)])
    some = np.where(np.arange(80) % 4 == 0, 1.0, np.nan)  # a quarter of the first class …
    some[40:] = 1.0  # … and all of the second
    found = class_profiles(labels, margin, some, np.ones(80), {0: 1.0, 1: 1.0})
    # The first class still fills the first half of the order.
    assert found.counts[0, :5].sum() == 10
    assert found.counts[1, 5:].sum() == 40
    assert found.samples.tolist() == [40, 40]


@pytest.mark.parametrize("told", [0, 1])
def test_a_class_that_hardly_tells_anything_has_no_profile(told):
    one = scores(np.random.default_rng(3))
    own = np.flatnonzero(one["labels"] == 2)
    one["hold"][own[told:]] = np.nan
    found = class_profiles(**one, accuracy=dict.fromkeys(range(3), 1.0))
    assert found.index.tolist() == [0, 1]


def test_samples_of_which_nothing_is_known_give_no_profile():
    one = scores(np.random.default_rng(3))
    one["agreement"][:] = np.nan
    assert not len(class_profiles(**one, accuracy=dict.fromkeys(range(3), 1.0)).index)


def test_the_class_whose_samples_are_the_least_sure_is_estimated_worst():
    counts = np.zeros((3, 10), int)
    counts[0, :4], counts[1, 3:7], counts[2, 6:] = 25, 25, 25
    one = ClassProfiles(np.arange(3), np.full(3, 100), np.ones(3), counts)
    found = LINE.estimate(one, 0.2, inside=True)
    assert found.estimate[0] > 0.4 > 0.2 > found.estimate[1] > found.estimate[2]
    assert (found.low < found.estimate).all()
    assert (found.high > found.estimate).all()


def test_classes_alike_have_the_gap_of_their_network():
    one = ClassProfiles(np.arange(3), np.full(3, 50), np.full(3, 0.9), np.full((3, 10), 5))
    np.testing.assert_allclose(LINE.estimate(one, 0.17, inside=True).estimate, 0.17, atol=1e-9)


def test_estimates_average_to_that_of_the_network_where_no_bound_cuts_them():
    one = profiles(np.random.default_rng(4))
    found = LINE.estimate(one, 0.3, inside=True).estimate
    assert found.min() > 0
    assert found.max() < 0.97
    assert found.mean() == pytest.approx(0.3, abs=1e-9)


def test_what_a_class_shows_is_believed_less_of_few_samples():
    one = profiles(np.random.default_rng(5), samples=200)
    few = ClassProfiles(one.index, one.samples // 20, one.accuracy, one.counts / 20)
    ratio = few.deviations(0.3) / one.deviations(0.3)
    np.testing.assert_allclose(ratio, (10 / 20) / (200 / 210))
    narrow, wide = (LINE.estimate(some, 0.3, inside=True) for some in (one, few))
    assert ((wide.high - wide.low) > (narrow.high - narrow.low)).all()


def test_estimates_and_intervals_stay_within_what_a_gap_can_be():
    one = profiles(np.random.default_rng(6))
    for gap, inside in itertools.product((0.0, 0.97), (True, False)):
        found = LINE.estimate(one, gap, inside=inside)
        assert (found.estimate >= 0).all()
        assert (found.estimate <= 0.97).all()
        assert (found.low >= -0.03 - 1e-9).all()
        assert (found.high <= 0.97).all()


def test_outside_the_domain_intervals_are_wider():
    one = profiles(np.random.default_rng(7))
    inside, outside = (LINE.estimate(one, 0.3, inside=known) for known in (True, False))
    assert (outside.high - outside.low > inside.high - inside.low).all()
    np.testing.assert_array_equal(outside.estimate, inside.estimate)


def population(seed: int, slope: float = 0.8) -> tuple[PopulationTable, list[ClassesOfNetwork]]:
    """Networks whose gap follows from a feature, and whose classes deviate by ``slope``."""
    rng = np.random.default_rng(seed)
    hold = rng.uniform(0.4, 0.8, 5)
    gap = 0.97 * (1 - hold)
    names = tuple(f"n{i}" for i in range(5))
    networks = []
    for name, one in zip(names, gap, strict=True):
        own = profiles(rng)
        wanted = one + slope * own.deviations(one)
        correct = np.rint((0.97 - wanted) * 1_000_000).astype(int)
        networks.append(ClassesOfNetwork(name, own, np.full(4, 1_000_000), correct))
    table = PopulationTable(
        name=names,
        zeta=np.full(5, 0.5),
        kappa=np.full(5, 0.2),
        train_accuracy=np.full(5, 0.97),
        test_accuracy=0.97 - gap,
        gap=gap,
        further={name: (cell,) * 5 for name, cell in ALIKE.to_cells().items()},
        features={
            "interpolation_same_50": rng.uniform(0, 1, 5),
            "interpolation_hold_mean": hold,
            "neighbors_error_third_trusted": rng.uniform(0, 1, 5),
        },
    )
    return table, networks


@pytest.fixture(scope="module")
def populations():
    made = {f"p{seed}": population(seed) for seed in range(5)}
    return {n: one for n, (one, _) in made.items()}, {n: some for n, (_, some) in made.items()}


def test_a_line_that_holds_everywhere_is_found_and_its_intervals_are_narrow(populations):
    line = fit_class_line(*populations, coverage=0.5)
    assert line.slope == pytest.approx(0.8, abs=1e-3)
    assert line.widest < 1e-3
    assert (line.populations, line.classes) == (5, 100)
    found = estimate_left_out_classes(*populations, coverage=0.5)
    assert [len(networks) for networks in found.values()] == [5] * 5
    for networks in found.values():
        for one in networks:
            np.testing.assert_allclose(one.estimates.estimate, one.classes.gap, atol=1e-3)


def test_a_population_is_estimated_by_the_others_alone(populations):
    tables, classes = populations
    other = {**classes, "p2": population(2, slope=-0.8)[1]}
    before, after = (
        estimate_left_out_classes(tables, some, coverage=0.5)["p2"] for some in (classes, other)
    )
    for one, same in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.estimates.estimate, same.estimates.estimate)
    assert fit_class_line(tables, other, coverage=0.5).slope < 0.6


def test_the_half_width_is_the_weighted_quantile_of_errors_on_whole_populations(populations):
    tables, classes = populations
    other = {**classes, "p2": population(2, slope=0.4)[1]}
    line = fit_class_line(tables, other, coverage=0.5)
    errors = []
    for name, networks in other.items():
        rest = {n: some for n, some in other.items() if n != name}
        numbers = [(d.deviations(g), c) for d, g, c in _numbers(tables, rest)]
        slope = sum(d @ c for d, c in numbers) / sum(d @ d for d, _ in numbers)
        for own, gap, wanted in _numbers(tables, {name: networks}):
            found = np.clip(gap + slope * own.deviations(gap), 0, 0.97)
            unit = (found + 0.2) * np.sqrt(1 + 10 / 100)
            errors += (np.abs(gap + wanted - found) / unit).tolist()
    errors.sort()  # 100 classes, each of weight 1/20/6: half is reached at the sixtieth
    assert line.half_width == pytest.approx(errors[59], rel=1e-3)
    assert line.widest == pytest.approx(errors[-1], rel=1e-3)


def _numbers(tables, classes):
    for name, networks in classes.items():
        for one, gap in zip(networks, tables[name].gap, strict=True):
            yield one.profiles, gap, one.gap - one.gap.mean()


def test_too_few_populations_are_refused(populations):
    tables, classes = populations
    with pytest.raises(GapModelError, match="the classes of 9 populations; there are those of 1"):
        fit_class_line(
            {f"q{i}": tables["p0"] for i in range(10)}, {"q0": classes["p0"]}, coverage=0.9
        )


def test_a_table_is_read_as_it_was_written(tmp_path, populations):
    _, classes = populations
    path = tmp_path / "classes.csv"
    write_population_classes(classes["p1"], path)
    for one, same in zip(classes["p1"], read_population_classes(path), strict=True):
        assert one.name == same.name
        np.testing.assert_array_equal(one.profiles.counts, same.profiles.counts)
        np.testing.assert_allclose(one.gap, same.gap, atol=1e-12)
        assert one.profiles.deviations(0.2) == pytest.approx(same.profiles.deviations(0.2))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("network,class\nn,0\n", "no column samples"),
        ("n,0,10,9,50,40,1 2 3", "line 2: a class needs"),
        ("n,0,10,11,50,40,1 1 1 1 1 1 1 1 1 1", "line 2: a class needs"),
        ("n,0,10,9,0,0,1 1 1 1 1 1 1 1 1 1", "line 2: a class needs"),
        ("n,0,10,9,50,x,1 1 1 1 1 1 1 1 1 1", "line 2: a class needs"),
        ("n,0,10,9,50,40,2 1 1 1 1 1 1 1 1 1", "line 2: a class needs"),
        (f"n,0,{10**30},9,50,40,1 1 1 1 1 1 1 1 1 1", "line 2: a class needs"),
        (f"n,0,10,9,50,40,{'1 ' * 70000}", "a class needs"),
        ("n,0,10,9,50,40,1 1 1 1 1 1 1 1 1 1\n" * 2, "line 3: the class 0 of .* twice"),
    ],
)
def test_what_is_no_table_of_classes_is_refused(tmp_path, text, wrong):
    path = tmp_path / "t.csv"
    head = "network,class,samples,correct,test_samples,test_correct,profile\n"
    path.write_text(text if text.startswith("network") else f"{head}{text}\n")
    with pytest.raises(GapModelError, match=wrong):
        read_population_classes(path)
