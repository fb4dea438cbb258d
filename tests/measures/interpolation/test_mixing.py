"""Interpolation against loops over every pair, in any order, in any batches, resumed anywhere."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from samples_in_memory import opened

from analyzer import runtime, surgery
from analyzer.data import Samples
from analyzer.errors import AuditFolderError
from analyzer.measures.interpolation.mixing import (
    INTERPOLATION_FEATURES,
    MIXING_WEIGHTS,
    InterpolationState,
    interpolation_features,
    measure_interpolation,
    mix,
    plan_mixing,
    read_interpolation,
    response_curves,
)
from analyzer.measures.training_images import SampleImages

FIXTURES = Path(__file__).parents[2] / "fixtures"
SHAPE = (2, 3, 3)
CLASSES = 4
FIELDS = ("measured", "correct", "same", "same_asked", "other", "third", "other_asked", "hold")


def made_up(samples, seed=0):
    """Images around a center for each label, and labels that are partly wrong."""
    random = np.random.default_rng(seed)
    true = random.integers(0, CLASSES, samples)
    centers = random.normal(size=(CLASSES, *SHAPE))
    images = (centers[true] + random.normal(size=(samples, *SHAPE))).astype(np.float32)
    wrong = random.random(samples) < 0.2
    return images, np.where(wrong, random.integers(0, CLASSES, samples), true)


def named(images):
    """A network: a bend, then scores; each image by itself, so the same in every batch."""
    weights = np.random.default_rng(7).normal(size=(CLASSES, np.prod(images.shape[1:])))
    flat = np.tanh(images.reshape(len(images), -1).astype(np.float64))
    return (flat[:, None, :] * weights).sum(axis=2).argmax(axis=1)


def measured(images, plan=None, predict=named, batch=7, **options):
    plan = plan or plan_mixing(images)
    state = InterpolationState.start(plan)
    measure_interpolation(plan, images, state, predict, batch=batch, **options)
    return read_interpolation(plan, state)


def equal(found, wanted, order=slice(None)):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name)[order], name)


def partners_of(plan, content):
    """All contents that a content is mixed with half way, from both ends of the pairs."""
    halves = plan.partner[:, plan.halves]
    before, _ = np.nonzero(halves == content)
    return sorted([*halves[content][halves[content] >= 0], *before])


def test_of_small_classes_every_pair_counts_as_in_plain_loops():
    images, labels = made_up(30, seed=5)
    assert np.bincount(labels).max() == 9  # up to R + 1, everyone is everyone's partner
    found = measured(opened(images, labels))
    for i, label in enumerate(labels):
        others = [j for j in range(30) if labels[j] == label and j != i]
        halves = [np.float32(0.5) * (images[i] + images[j]) for j in others]
        own = sum(named(half[None])[0] == label for half in halves)
        assert (found.same[i, -1], found.same_asked[i, -1]) == (own, len(others))
        assert found.hold[i] == own / len(others)
        assert found.correct[i] == (named(images[i : i + 1])[0] == label)


def test_of_larger_classes_the_partners_of_the_plan_count_as_in_plain_loops():
    images, labels = made_up(120)
    samples = opened(images, labels)
    plan = plan_mixing(samples)
    found = measured(samples, plan)
    for i, label in enumerate(labels):
        content = plan.content_of[i]
        partners = plan.place[partners_of(plan, content)]
        assert len(set(partners)) == len(partners) == 8
        assert (labels[partners] == label).all()
        assert i not in partners
        halves = np.float32(0.5) * images[i] + np.float32(0.5) * images[partners]
        assert found.same[i, -1] == sum(named(half[None])[0] == label for half in halves)
        following = plan.place[plan.partner[content, 1]]
        rival = plan.place[plan.partner[content, -1]]
        assert labels[rival] != label
        for column, weight in enumerate(MIXING_WEIGHTS):
            own, rest = np.float32(weight), np.float32(1 - weight)
            for j, counts in ((following, found.same), (rival, found.other)):
                if counts is found.same and weight == 0.5:
                    continue
                (answer,) = named((own * images[i] + rest * images[j])[None])
                assert counts[i, column] == (answer == label)
                if counts is found.other:
                    assert found.third[i, column] == (answer not in (label, labels[rival]))
    assert (found.same_asked == [1, 1, 1, 1, 8]).all()
    assert (found.other_asked == 1).all()


def test_samples_of_a_group_are_no_partners():
    images, labels = made_up(150, seed=3)
    random = np.random.default_rng(1)
    groups = random.integers(-1, 12, 150)
    groups[labels == 3] = 20  # a class that shows one thing alone
    samples = opened(images, labels, groups=groups)
    plan = plan_mixing(samples)
    one, column = np.nonzero(plan.partner >= 0)
    group, other = groups[plan.place[one]], groups[plan.place[plan.partner[one, column]]]
    assert ((column == 0) | (group < 0) | (group != other)).all()
    found = measured(samples, plan)
    asked = found.same_asked
    assert (asked[:, 0] > 0).tolist() == (asked[:, -1] > 0).tolist()
    assert asked[:, -1].max() == 8
    assert (asked[labels == 3] == 0).all()
    assert np.median(asked[labels != 3, -1]) >= 7
    order = random.permutation(150)
    shuffled = opened(images[order], labels[order], groups=groups[order])
    equal(measured(shuffled, plan_mixing(shuffled)), found, order)
    without = plan_mixing(opened(images, labels))
    nothing_said = plan_mixing(opened(images, labels, groups=np.full(150, -1)))
    np.testing.assert_array_equal(nothing_said.partner, without.partner)
    np.testing.assert_array_equal(nothing_said.place, without.place)


def test_the_order_of_the_samples_changes_nothing():
    images, labels = made_up(150, seed=1)
    images[10:30], labels[10:20] = images[40:60], labels[40:50]  # copies, half of them relabeled
    whole = opened(images, labels)
    order = np.random.default_rng(2).permutation(150)
    shuffled = opened(images[order], labels[order])
    for options in ({}, {"samples": 40}, {"partners": 4}, {"seed": 5}):
        found = measured(whole, plan_mixing(whole, **options))
        again = measured(shuffled, plan_mixing(shuffled, **options))
        equal(again, found, order)
        features = [interpolation_features(response_curves(one)) for one in (found, again)]
        assert features[0] == features[1]


def test_another_seed_takes_other_partners():
    images, labels = made_up(150)
    samples = opened(images, labels)
    plans = [plan_mixing(samples, seed=seed) for seed in (0, 1)]
    pairs = []
    for plan in plans:
        first, column = np.nonzero(plan.partner[:, plan.halves] >= 0)
        second = plan.partner[:, plan.halves][first, column]
        ends = zip(plan.place[first], plan.place[second], strict=True)
        pairs.append({frozenset(pair) for pair in ends})
    assert len(pairs[0]) == len(pairs[1]) == 150 * 4
    assert len(pairs[0] & pairs[1]) < 200


def test_batches_and_memory_change_nothing():
    images, labels = made_up(150)
    wanted = measured(opened(images, labels))
    for batch in (1, 64, 10_000):
        equal(measured(opened(images, labels), batch=batch), wanted)
    for memory in (0, 12 * images[0].nbytes, 1 << 30):
        reads = []
        samples = opened(images, labels, memory=1, reads=reads)
        reads.clear()
        equal(measured(samples, batch=16, memory=memory), wanted)
    assert len(reads) == 151  # of the whole at once: the size of one, then each once


def test_equal_bytes_never_are_partners_and_copies_share_their_values():
    images, labels = made_up(80)
    images[20:25], labels[20:25] = images[0:5], labels[0:5]
    images[30:35], labels[30:35] = images[0:5], (labels[0:5] + 1) % CLASSES
    plan = plan_mixing(opened(images, labels))
    assert len(plan.place) == 75
    for content, row in enumerate(plan.partner):
        for partner in row[1:][row[1:] >= 0]:
            assert (images[plan.place[content]] != images[plan.place[partner]]).any()
    found = measured(opened(images, labels), plan)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[20:25], getattr(found, name)[0:5])


def test_who_is_alone_has_no_partner():
    images, labels = made_up(12)
    labels[:] = [0, 1, 1, 2, 2, *[3] * 7]
    images[2] = images[1]  # a class of copies alone
    found = measured(opened(images, labels))
    np.testing.assert_array_equal(np.isnan(found.hold), np.arange(12) < 3)
    assert found.measured.all()
    np.testing.assert_array_equal(found.same_asked[:, -1], [0, 0, 0, 1, 1, *[6] * 7])
    assert (found.other_asked == 1).all()
    assert not np.isnan(list(interpolation_features(response_curves(found)).values())).any()

    lonely = measured(opened(images[3:5], [2, 2]))
    assert (lonely.other_asked == 0).all()
    features = interpolation_features(response_curves(lonely))
    assert np.isnan(features["interpolation_other_80"])
    assert np.isnan(features["interpolation_third_50"])


def test_copies_of_one_image_under_two_labels_have_no_other_partner():
    images = np.repeat(made_up(1)[0], 4, axis=0)
    found = measured(opened(images, [0, 1, 0, 1]))
    assert not found.same_asked.any()
    assert not found.other_asked.any()


def test_samples_that_cannot_be_read_have_no_part():
    images, labels = made_up(60)
    unread = {0, 3 * 7, 3 * 59}
    kept = np.array([3 * i not in unread for i in range(60)])
    found = measured(opened(images, labels, unread=unread))
    wanted = measured(opened(images[kept], labels[kept]))
    np.testing.assert_array_equal(found.measured, kept)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[kept], getattr(wanted, name))
    assert interpolation_features(response_curves(found)) == interpolation_features(
        response_curves(wanted)
    )


def test_a_part_has_the_values_of_the_whole():
    images, labels = made_up(200)
    samples = opened(images, labels)
    whole = measured(samples)
    part = measured(samples, plan_mixing(samples, samples=50))
    assert part.measured.sum() == 50
    assert np.ptp(np.bincount(labels[part.measured])) <= 1
    for name in FIELDS[1:]:
        np.testing.assert_array_equal(
            getattr(part, name)[part.measured], getattr(whole, name)[part.measured]
        )
    weighted = [(labels == label).sum() / 200 for label in range(CLASSES)]
    means = [part.hold[part.measured & (labels == label)].mean() for label in range(CLASSES)]
    assert response_curves(part).hold_mean == pytest.approx(np.dot(weighted, means))
    nothing = measured(samples, plan_mixing(samples, samples=0))
    assert not nothing.measured.any()
    assert np.isnan(response_curves(nothing).hold_mean)
    everything = measured(samples, plan_mixing(samples, samples="all"))
    equal(everything, whole)


@pytest.mark.parametrize(
    ("total", "classes", "most", "least"),
    [(19_999, 10, 14 * 19_999, 14 * 19_999), (20_000, 10, 20_000, 14_000),
     (50_000, 1000, 50_000, 40_000)],
)  # fmt: skip
def test_from_20000_samples_on_evaluations_are_no_more_than_one_pass(total, classes, most, least):
    digests = np.random.default_rng(0).integers(0, 256, (total, 32), np.uint8)
    samples = Samples(np.arange(total), np.arange(total) % classes, None)
    plan = plan_mixing(SampleImages(samples, digests, np.ones(total, bool)))
    assert least <= len(plan.rows) <= most
    chosen = np.flatnonzero(plan.content_of >= 0)
    assert np.ptp(np.bincount(samples.labels[chosen])) <= 1


def _append(done, *at):
    done.append(at)


def test_a_run_resumes_from_every_checkpoint_to_the_byte(monkeypatch):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", -1)
    images, labels = made_up(60)
    samples = opened(images, labels, memory=1)
    plan = plan_mixing(samples)
    states = []

    def keep(state):
        states.append({name: array.copy() for name, array in state.arrays().items()})

    options = {"batch": 32, "memory": 20 * images[0].nbytes}
    state = InterpolationState.start(plan)
    measure_interpolation(plan, samples, state, named, save=keep, **options)
    assert len(states) > 20
    for kept in states:
        resumed = InterpolationState.start(plan).resumed(kept)
        done = []
        report = partial(_append, done)
        measure_interpolation(plan, samples, resumed, named, progress=report, **options)
        assert resumed.named.tobytes() == state.named.tobytes()
        assert resumed.at == state.at == len(plan.rows)
        assert [stage for stage, *_ in done] == ["interpolation"] * len(done)
        assert [at for _, at, _ in done] == sorted({at for _, at, _ in done})
        assert all(at > kept["at"] for _, at, _ in done)
    with pytest.raises(AuditFolderError, match="other samples"):
        InterpolationState.start(plan_mixing(samples, partners=4)).resumed(states[0])
    with pytest.raises(ValueError, match="to its end"):
        read_interpolation(plan, InterpolationState.start(plan).resumed(states[3]))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32", "float64"])
def test_mixtures_are_those_of_plain_arithmetic(dtype):
    random = np.random.default_rng(0)
    first, second = (random.integers(-128, 256, (50, 3, 2)).astype(dtype) for _ in range(2))
    weight = np.repeat(MIXING_WEIGHTS, 10)
    mixed = mix(first, second, weight)
    assert mixed.dtype == dtype
    for i, own in enumerate(weight):
        exact = own * first[i].astype(np.float64) + (1 - own) * second[i].astype(np.float64)
        if np.issubdtype(mixed.dtype, np.integer):  # rounded once, to the nearest
            assert (np.abs(mixed[i] - exact) <= 0.5 + 1e-4).all()
        else:
            np.testing.assert_allclose(mixed[i], exact, rtol=2e-3 if dtype == "float16" else 1e-6,
                                       atol=0.06 if dtype == "float16" else 1e-4)  # fmt: skip
    alone = np.ones(50)
    np.testing.assert_array_equal(mix(first, first, alone), first)


def test_whole_numbers_are_rounded_after_mixing():
    first, second = np.array([[10], [255], [0]], np.uint8), np.array([[13], [250], [255]], np.uint8)
    np.testing.assert_array_equal(
        mix(first, second, np.array([0.9, 0.7, 0.5])).ravel(), [10, 254, 128]
    )


def test_a_network_that_names_no_label_has_no_responses():
    images, labels = made_up(30)
    features = interpolation_features(
        response_curves(measured(opened(images, labels), predict=lambda x: np.full(len(x), 9)))
    )
    assert features.pop("interpolation_hold_mean") == 0
    assert np.isnan(list(features.values())).all()


def test_features_by_hand():
    """Four samples on a line: the network names 1 from 0.5 on."""
    images = np.array([0.0, 0.2, 1.0, 0.3], np.float32).reshape(-1, 1)
    samples = opened(images, [0, 0, 1, 1])  # the last label was memorized wrongly

    def predict(batch):
        return np.where(batch[:, 0] == np.float32(0.3), 1, batch[:, 0] >= 0.5).astype(int)

    found = measured(samples, predict=predict)
    np.testing.assert_array_equal(found.hold, [1, 1, 1, 1])  # ½·(1 + 0.3) is 0.65
    np.testing.assert_array_equal(found.same[3], [0, 0, 1, 1, 1])  # from 0.3 + 0.7·0.3 = 0.51 on
    curves = response_curves(found)
    assert curves.accuracy == 1
    np.testing.assert_allclose(curves.same, [0.75, 0.75, 1, 1, 1])
    features = interpolation_features(curves)
    assert list(features) == list(INTERPOLATION_FEATURES)
    assert all(type(value) is float for value in features.values())
    assert features["interpolation_same_50"] == features["interpolation_hold_mean"] == 1
    assert features["interpolation_third_50"] == 0


def test_responses_are_relative_to_the_accuracy_with_nothing_mixed():
    images, labels = made_up(100)
    found = measured(opened(images, labels))
    curves = response_curves(found)
    assert 0 < curves.accuracy < 1
    assert curves.accuracy == found.correct.mean()
    np.testing.assert_allclose(curves.other, found.other.mean(axis=0) / curves.accuracy)
    np.testing.assert_allclose(curves.third, found.third.mean(axis=0) / curves.accuracy)
    np.testing.assert_allclose(curves.same[-1], found.hold.mean() / curves.accuracy)


def test_an_odd_number_of_partners_is_refused():
    with pytest.raises(ValueError, match="even"):
        plan_mixing(opened(*made_up(4)), partners=3)


def predictor(path):
    network = surgery.load_network(path)
    (image,) = network.info.inputs
    whole = runtime.WholeNetwork(path, image, surgery.find_answer(network))
    return partial(runtime.name_classes, whole, runtime.open_session(path, "cpu")), image


def of_network(path, images, labels):
    predict, image = predictor(path)
    batch = image.fixed_batch or 16
    return measured(opened(images, labels), predict=predict, batch=batch)


@pytest.mark.parametrize("network", ["vgg16-dynamo", "mobilenetv2-older"])
def test_a_network_of_fixed_batches_answers_as_the_free_one(network):
    images = np.random.default_rng(0).normal(size=(20, 3, 32, 32)).astype(np.float32)
    labels = np.arange(20) % 3
    found = [
        of_network(FIXTURES / f"{network}-{f}.onnx", images, labels) for f in ("free", "fixed")
    ]
    equal(*found)


WHOLE_NUMBERS = """
<ir_version: 8, opset_import: ["" : 18]>
net (uint8[N,2,3,3] p) => (float[N,4] y)
<float s = {2.0}, uint8 z = {3}>
{
    x = Cast<to=1>(p)
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    f = Flatten(d)
    y = Gemm<transB=1>(f, w)
}
"""


def test_a_network_of_whole_numbers_gets_rounded_mixtures(tmp_path):
    random = np.random.default_rng(0)
    weights = random.normal(size=(4, 18)).astype(np.float32)
    model = onnx.parser.parse_model(WHOLE_NUMBERS)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    path = tmp_path / "whole.onnx"
    onnx.save(model, path)
    images, labels = random.integers(0, 256, (32, *SHAPE)).astype(np.uint8), np.arange(32) % 4
    found = of_network(path, images, labels)
    for i, label in enumerate(labels):
        others = [j for j in range(32) if labels[j] == label and j != i]
        halves = np.rint((images[i] + images[others].astype(np.float64)) / 2)
        scores = np.round(halves / 2).clip(-3, 252).reshape(7, -1) @ weights.T
        assert found.same[i, -1] == (scores.argmax(axis=1) == label).sum()
    assert 0 < found.hold.mean() < 1


def test_images_with_channels_last_are_mixed_like_others():
    path = FIXTURES / "interop" / "tensorflow-keras-small-cnn.onnx"
    with np.load(path.with_suffix(".npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"] % 3
    assert images.shape[1:] == (16, 16, 3)
    one, _ = predictor(path)
    found = of_network(path, images, labels)
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if labels[j] == label and j != i]
        halves = [np.float32(0.5) * (images[i] + images[j]) for j in others]
        assert found.same[i, -1] == sum(one(half[None])[0] == label for half in halves)
