"""Sampling noise against closed forms, scipy's bootstrap, and drawings of whole samples."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from analyzer.audit.compare import compare_audits
from analyzer.audit.folder import read_record
from analyzer.audit.sampling_noise import draw_class_means, measure_sampling_noise
from analyzer.errors import AuditFolderError, DataError
from analyzer.files import read_arrays
from analyzer.measures.ablation.class_curves import read_curves
from analyzer.measures.ablation.curve_features import class_quantities, network_quantities
from analyzer.measures.ablation.sample_scores import SAMPLES, SampleCounts, read_samples
from tools.forged_folders import rewrite_arrays, rewrite_record


@pytest.fixture
def change(make_audit, gap_record):
    """Makes two audits of one seed and changes fields of the second one's record."""

    def change(**fields):
        before, after = make_audit("before", gap=gap_record), make_audit("after", gap=gap_record)
        rewrite_record(after, dataclasses.replace(read_record(after), **fields))
        return before, after

    return change


def test_an_audit_is_not_worse_than_itself(audit):
    said = []
    comparison = compare_audits(audit, audit, progress=lambda *args: said.append(args))
    assert said == [("drawing samples", done, 10) for done in range(1, 11)]
    assert not comparison.worse
    assert comparison.zeta.difference == 0
    assert len(comparison.classes) == 10
    assert comparison.warnings == ("Both audits are of the same network.",)


@pytest.mark.parametrize(
    ("name", "difference", "said"),
    [
        ("zeta", 0.02, "ζ rose by 0.0200"),
        ("zeta", -0.02, None),
        ("zeta", 0.01, None),
        ("kappa", -0.02, "κ fell by 0.0200"),
        ("kappa", 0.02, None),
        ("accuracy", -0.02, None),
    ],
)
def test_worse_is_a_higher_zeta_or_a_lower_kappa(change, audit, name, difference, said):
    before, after = change(**{name: getattr(read_record(audit), name) + difference})
    comparison = compare_audits(before, after)
    assert comparison.worse == (said is not None)
    assert getattr(comparison, name).difference == pytest.approx(difference)
    if said:
        assert comparison.reasons[0].startswith(said)
        assert not compare_audits(before, after, tolerance=0.05).worse


def test_a_higher_gap_is_worse(change, gap_record):
    before, after = change(gap=dataclasses.replace(gap_record, estimate=0.5))
    comparison = compare_audits(before, after)
    assert comparison.gap.difference == pytest.approx(0.09)
    assert comparison.reasons == ("The estimated gap rose by 0.0900, from 0.4100 to 0.5000.",)


def test_gaps_of_different_models_are_not_compared(change, gap_record):
    before, after = change(gap=dataclasses.replace(gap_record, estimate=0.9, gap_model="1" * 64))
    comparison = compare_audits(before, after)
    assert comparison.gap is None
    assert not comparison.worse
    assert any("different gap models" in warning for warning in comparison.warnings)


def test_what_the_audits_do_not_share_is_said(change, audit):
    record = read_record(audit)
    before, after = change(
        gap=None,
        chance=0.2,
        data=dataclasses.replace(record.data, sha256="1" * 64, preprocessing={}),
        site=dataclasses.replace(record.site, tensor="other", channels=32),
        classes=(dataclasses.replace(record.classes[0], name="renamed"), *record.classes[1:9]),
    )
    arrays = read_arrays(after / SAMPLES)
    there = arrays["label"] != record.classes[9].index
    rewrite_arrays(after / SAMPLES, {name: array[there] for name, array in arrays.items()})
    said = " ".join(compare_audits(before, after).warnings)
    for part in (
        "different samples",
        "preprocessed differently",
        "The sites differ",
        "other with 32",
        "chance levels differ: 0.1 and 0.2",
        "1 classes have samples in one audit only",
        "another name in each audit",
        "Only one audit has an estimated gap",
    ):
        assert part in said


def test_a_class_of_two_names_is_shown_with_both_wherever_it_stands(change, audit):
    first, *others = read_record(audit).classes
    renamed = [dataclasses.replace(one, name=f"new {one.index}") for one in others]
    before, after = change(classes=tuple(renamed))
    arrays = read_arrays(after / SAMPLES)
    there = arrays["label"] != first.index
    rewrite_arrays(after / SAMPLES, {name: array[there] for name, array in arrays.items()})
    found = compare_audits(before, after)
    assert [one.name for one in found.classes] == [
        f"{one.name} → new {one.index}" for one in others
    ]
    assert any(one.startswith("9 classes have another name") for one in found.warnings)


def test_classes_that_the_samples_deny_are_not_compared(change, audit):
    first, *others = read_record(audit).classes
    before, after = change(classes=(dataclasses.replace(first, samples=41), *others))
    with pytest.raises(AuditFolderError, match=r"after are not those of its samples\.npz"):
        compare_audits(before, after)


def test_to_dict_is_strict_json(change):
    value = compare_audits(*change(zeta=0.9)).to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["worse"] is True
    assert value["zeta"]["after"] == 0.9
    assert set(value["classes"][0]) == {"index", "name", "accuracy", "zeta", "kappa", "noise"}


def test_audits_by_other_rankings_do_not_mean_the_same(change):
    before, after = change(settings={"rank": "random"})
    found = compare_audits(before, after)
    (sentence,) = (s for s in found.warnings if "ranked" in s)
    assert "by l1 in the first audit, by random in the second" in sentence
    assert not found.comparable


def test_what_cannot_be_compared_is_no_worse(change, gap_record):
    gap = dataclasses.replace(gap_record, estimate=0.9)
    before, after = change(settings={"rank": "random"}, zeta=0.99, kappa=0.0, gap=gap)
    found = compare_audits(before, after)
    assert (found.reasons, found.gap) == ((), None)


def test_drawn_means_vary_as_the_closed_form_says():
    chance = np.random.default_rng(3)
    values = [chance.normal(0, 2, (n, 2)) for n in (3, 40, 700)]
    means, drawn = draw_class_means(values, resamples=20_000, seed=0)
    assert drawn.shape == (20_000, 3, 2)
    for j, own in enumerate(values):
        assert means[j] == pytest.approx(own.mean(axis=0))
        # The variance of a mean of n drawings with replacement: that of the values, over n.
        assert drawn[:, j].std(axis=0) == pytest.approx(own.std(axis=0) / len(own) ** 0.5, rel=0.03)
        assert drawn[:, j].mean(axis=0) == pytest.approx(means[j], abs=0.1)
    assert abs(np.corrcoef(drawn[:, 1, 0], drawn[:, 2, 0])[0, 1]) < 0.03


def test_drawings_follow_from_the_seed_alone():
    values = [np.arange(9.0)[:, np.newaxis]]
    first, again, other = (
        draw_class_means(values, resamples=50, seed=seed)[1] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.fixture
def pair(make_audit, tmp_path):
    """pair(seed): records and samples of two made-up audits, of which the second is that seed's."""

    def make(seed, **options):
        found = []
        for name, one in (("before", 0), (f"after-{seed}", seed)):
            folder = make_audit(f"{name}-{len(list(tmp_path.iterdir()))}", seed=one, **options)
            found.append((read_record(folder), read_samples(folder)))
        return found

    return make


def by_chance(record, seed, *, classes, per_class, shifted=None):
    """Two audits whose counts are drawn alike, but for a class of the second one, if any."""
    chance = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), per_class)
    kept = tuple(
        dataclasses.replace(record.classes[j], index=j, samples=per_class) for j in range(classes)
    )
    found = []
    for number in range(2):
        hardness = np.where((label == shifted) & (number == 1), 40, 50)
        ascending = chance.binomial(64, hardness / 64).astype(np.int32)
        samples = SampleCounts(
            label=label,
            correct=chance.random(label.size) < 0.9,
            descending=chance.binomial(64, 0.2, label.size).astype(np.int32),
            ascending=ascending,
            index=np.arange(label.size),
            scores=None,
        )
        accuracy = float(samples.correct.mean())
        found.append((dataclasses.replace(record, classes=kept, accuracy=accuracy), samples))
    return found


def test_the_accuracy_varies_as_the_closed_form_and_scipy_say(pair):
    before, after = pair(1, classes=4, per_class=60)
    noise = measure_sampling_noise(before, after, resamples=5000, seed=0)
    found = noise.quantities["accuracy"]
    moved = after[1].correct.astype(float) - before[1].correct
    by_class = [moved[before[1].label == j] for j in range(4)]
    error = sum((1 / 4) ** 2 * own.var(ddof=1) / own.size for own in by_class) ** 0.5
    assert found.difference == pytest.approx(moved.mean())
    assert found.standard_error == pytest.approx(error, rel=0.04)
    one = noise.classes[2]["area_ascending"]
    areas = [counts.ascending[counts.label == 2] / 65 for _, counts in (before, after)]
    theirs = stats.bootstrap(
        areas,
        lambda a, b, axis: (b - a).mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=5000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert one.standard_error == pytest.approx(theirs.standard_error * (60 / 59) ** 0.5, rel=0.05)
    whole = noise.quantities["area_ascending"]
    assert whole.low < whole.difference < whole.high
    width = 2 * stats.norm.ppf(0.975) * whole.standard_error
    assert whole.high - whole.low == pytest.approx(width, rel=0.08)


def test_kappa_varies_as_it_does_when_whole_curves_are_drawn(pair, made_up_samples):
    """Curves of every sample at every n, which an audit folder does not keep, drawn outright."""
    before, after = pair(1, classes=5, per_class=40)
    noise = measure_sampling_noise(before, after, resamples=3000, seed=0)
    whole = [made_up_samples(5, 64, 40, seed) for seed in (0, 1)]
    chance = np.random.default_rng(9)
    drawn = []
    for _ in range(1500):
        picked = np.concatenate([j * 40 + chance.integers(40, size=40) for j in range(5)])
        kappas = []
        for labels, descending, ascending in whole:
            down, up = (
                np.stack([rows[picked][labels[picked] == j].mean(axis=0) for j in range(5)])
                for rows in (descending, ascending)
            )
            kappas.append(np.abs(up - down).sum(axis=1).mean() / (down.shape[1] - 1))
        drawn.append(kappas[1] - kappas[0])
    found = noise.quantities["kappa"]
    assert found.difference == after[0].kappa - before[0].kappa
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.1)


def test_two_networks_that_are_alike_are_seldom_said_to_differ(audit):
    """Both audits draw each sample's counts from one distribution: every finding is a false one."""
    wrong, classes_wrong, tried = 0, 0, 200
    for seed in range(tried):
        before, after = by_chance(read_record(audit), seed, classes=8, per_class=30)
        noise = measure_sampling_noise(before, after, resamples=400, seed=seed)
        wrong += noise.quantities["area_ascending"].beyond
        classes_wrong += any(found["area_ascending"].beyond for found in noise.classes.values())
    # 5 % each; a binomial's upper 99.9 % for 200 trials is 21.
    assert 1 <= wrong <= 21
    assert classes_wrong <= 21


def test_a_class_that_changed_is_found_and_the_others_are_not(audit):
    before, after = by_chance(read_record(audit), 5, classes=8, per_class=200, shifted=3)
    noise = measure_sampling_noise(before, after, resamples=1000, seed=0)
    moved = [j for j, found in noise.classes.items() if found["area_ascending"].beyond]
    assert moved == [3]


def test_small_classes_and_crossing_curves_are_not_judged(pair):
    before, after = pair(1, classes=3, per_class=9)
    noise = measure_sampling_noise(before, after, resamples=200, seed=0)
    assert all(not found for found in noise.classes.values())
    assert "Classes with too few samples to be judged: 3." in noise.unjudged
    before, after = pair(1, classes=3, per_class=40)
    crossing = dataclasses.replace(
        before[0],
        kappa=before[0].kappa + 0.2,
        classes=tuple(dataclasses.replace(c, kappa=c.kappa + 0.2) for c in before[0].classes),
    )
    noise = measure_sampling_noise((crossing, before[1]), after, resamples=200, seed=0)
    assert "kappa" not in noise.quantities
    assert any("κ is not known" in sentence for sentence in noise.unjudged)
    assert "accuracy" in noise.quantities


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r, s: (dataclasses.replace(r, data=dataclasses.replace(r.data, sha256="1")), s),
         "the data are not the same"),
        (lambda r, s: (r, dataclasses.replace(s, index=s.index + 1)),
         "other samples of the same data"),
        (lambda r, s: (r, dataclasses.replace(s, label=s.label[::-1])), "the labels are not"),
    ],
)  # fmt: skip
def test_what_is_not_paired_is_not_judged(pair, change, why):
    before, after = pair(1)
    noise = measure_sampling_noise(before, change(*after), resamples=200, seed=0)
    assert (noise.quantities, noise.classes) == ({}, {})
    (sentence,) = noise.unjudged
    assert why in sentence


def test_other_rankings_leave_the_accuracy_alone(pair):
    before, (record, counts) = pair(1)
    other = dataclasses.replace(record, settings={**record.settings, "rank": "random"})
    noise = measure_sampling_noise(before, (other, counts), resamples=200, seed=0)
    assert list(noise.quantities) == ["accuracy"]


@pytest.mark.parametrize(("resamples", "how"), [(5, "few"), (100_001, "many")])
def test_too_few_or_too_many_resamples_are_refused(pair, resamples, how):
    with pytest.raises(DataError, match=f"resamples={resamples} are too {how}"):
        measure_sampling_noise(*pair(1), resamples=resamples, seed=0)


def test_the_made_up_curves_are_those_of_the_audits(make_audit, made_up_samples):
    folder = make_audit(classes=5, per_class=40, seed=1)
    labels, descending, _ = made_up_samples(5, 64, 40, 1)
    for curve in read_curves(folder):
        own = descending[labels == curve.class_index]
        assert np.array_equal(curve.descending, own.sum(axis=0))
    quantities = [class_quantities(curve, 0.2) for curve in read_curves(folder)]
    assert network_quantities(quantities)[1] == read_record(folder).kappa
