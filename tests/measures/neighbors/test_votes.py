"""Neighbors against scikit-learn and PyTorch, in any order, in any batches, resumed anywhere."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from samples_in_memory import opened
from sklearn.neighbors import NearestNeighbors

from analyzer import runtime, surgery
from analyzer.data import Samples
from analyzer.errors import AuditFolderError, ModelError
from analyzer.measures.neighbors.vector_search import (
    SKETCH,
    VectorSearch,
    count_sketch,
    nearest_neighbors,
    no_neighbors,
    unit_vectors,
)
from analyzer.measures.neighbors.votes import (
    LAYERS,
    NEIGHBORS_FEATURES,
    NeighborState,
    NeighborVotes,
    affordable_samples,
    choose_part,
    count_of_part,
    measure_neighbors,
    neighbors_features,
    read_neighbors,
)
from analyzer.measures.training_images import SampleImages

FIXTURES = Path(__file__).parents[2] / "fixtures"
SHAPE = (2, 6, 6)
TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
net (float[N,2,6,6] x) => (float[N,4] y)
{
    a = Conv<pads=[1,1,1,1]>(x, v)
    b = Relu(a)
    c = Conv<pads=[1,1,1,1]>(b, w)
    d = Tanh(c)
    e = Conv(d, w)
    f = Relu(e)
    g = Flatten(f)
    y = Gemm<transB=1>(g, u)
}
"""


@pytest.fixture
def graph(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(1)
    # The first layer has 32 · 36 = 1,152 numbers, so it is sketched.
    for name, shape in (("v", (32, 2, 3, 3)), ("w", (32, 32, 3, 3)), ("u", (4, 512))):
        weights = random.normal(size=shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(weights.astype(np.float32), name)
        )
    onnx.save(model, tmp_path / "network.onnx")
    network = surgery.load_network(tmp_path / "network.onnx")
    return surgery.write_activation_outputs(network, tmp_path / "activations.onnx", SHAPE)


def made_up(samples, seed=0, shape=SHAPE):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, samples)
    centers = random.normal(size=(4, *shape))
    return (centers[labels] + random.normal(size=(samples, *shape))).astype(np.float32), labels


def measured(graph, images, part=None, state=None, **options):
    part = choose_part(images) if part is None else part
    state = state or NeighborState(len(part))
    assert (
        measure_neighbors(graph, images, part, state, device="cpu", threads=1, **options) == "cpu"
    )
    return read_neighbors(graph, images, part, state)


def search(vectors, count=10, contents=None, ranks=None, block=256):
    total = len(vectors)
    contents = np.arange(total) if contents is None else contents
    ranks = np.arange(total) if ranks is None else ranks
    parts = [
        nearest_neighbors(
            vectors, contents, ranks, count, np.arange(start, min(start + block, total))
        )
        for start in range(0, total, block)
    ]
    return np.concatenate(parts)


def compared(vectors, count, contents, ranks, block):
    """Each pair of rows once, block by block."""
    found, similar = no_neighbors(len(vectors), count)
    whole = VectorSearch(vectors, contents, ranks)
    for start in range(0, len(vectors), block):
        rows = slice(start, min(start + block, len(vectors)))
        whole.compare(rows, found, similar, block)
    return found


def plainly(vectors, count, contents, ranks):
    """One pair after another, in float64, rounded alike."""
    found = np.full((len(vectors), count), -1)
    exact = vectors.astype(np.float64)
    for i in range(len(vectors)):
        others = [
            (-round(float((exact[i] * exact[j]).sum()) * 2**20), ranks[j], j)
            for j in range(len(vectors))
            if contents[j] != contents[i]
        ]
        nearest = [j for *_, j in sorted(others)[:count]]
        found[i, : len(nearest)] = nearest
    return found


def test_neighbors_are_those_of_scikit_learn():
    values = np.abs(np.random.default_rng(0).normal(size=(700, 60)))
    found = search(unit_vectors(values))
    index = NearestNeighbors(n_neighbors=11, metric="cosine", algorithm="brute").fit(values)
    distances, wanted = index.kneighbors(values)
    assert (wanted[:, 0] == np.arange(700)).all()
    differ = found != wanted[:, 1:]
    assert differ.mean() < 1e-3  # nearer to one another than a millionth
    similarity = 1 - distances[:, 1:]
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    ours = np.einsum("nd,nkd->nk", unit, unit[found])
    np.testing.assert_allclose(ours, similarity, atol=2e-6)


def close_together(kind):
    random = np.random.default_rng(3)
    if kind == "spread":
        return random.normal(size=(90, 8))
    if kind == "a few far apart":
        return random.normal(size=(7, 8))
    if kind == "constant":
        return np.ones((90, 8))
    if kind == "zeros":
        return np.where(random.random((90, 1)) < 0.5, 0, random.normal(size=(90, 8)))
    if kind == "clusters of equals":
        return random.normal(size=(3, 8))[random.integers(0, 3, 90)]
    return 1 + random.normal(size=(90, 8)) * {"close": 1e-2, "closer than float32": 1e-4}[kind]


@pytest.mark.parametrize(
    "kind",
    ["spread", "a few far apart", "constant", "zeros", "clusters of equals", "close",
     "closer than float32"],
)  # fmt: skip
def test_neighbors_are_exact_however_close_samples_lie(kind):
    vectors = unit_vectors(close_together(kind))
    random = np.random.default_rng(4)
    ranks = random.permutation(len(vectors))
    contents = np.arange(len(vectors))
    contents[::9] = contents[0]
    wanted = plainly(vectors, 10, contents, ranks)
    for block in (1, 32, 256):
        np.testing.assert_array_equal(search(vectors, 10, contents, ranks, block), wanted)
    for block in (40, 90):
        np.testing.assert_array_equal(compared(vectors, 10, contents, ranks, block), wanted)


def test_float32_may_be_off_and_nothing_changes(monkeypatch):
    """Which candidates float32 proposes depends on the machine; the neighbors must not."""
    random = np.random.default_rng(5)
    values = random.normal(size=(4, 300))[random.integers(0, 4, 400)]
    vectors = unit_vectors(values + 0.003 * random.normal(size=values.shape))
    wanted = search(vectors)
    partition = np.partition

    def noisy(near, *arguments, **options):
        near += random.uniform(-4e-6, 4e-6, near.shape).astype(near.dtype)
        return partition(near, *arguments, **options)

    monkeypatch.setattr(np, "partition", noisy)
    np.testing.assert_array_equal(search(vectors), wanted)


def test_neighbors_among_many_are_exact():
    """Groups of columns, similarities in float64 where close, more equals than are sorted."""
    random = np.random.default_rng(6)
    values = random.normal(size=(30, 12))[np.sort(random.integers(0, 30, 1700))]
    values += random.choice([1e-1, 1e-3, 1e-5], (1700, 1)) * random.normal(size=values.shape)
    values[40:400] = values[40]
    values[1650:] = 0
    vectors, ranks = unit_vectors(values), random.permutation(1700)
    contents = np.arange(1700)
    contents[600:630] = 600
    exact = np.rint(vectors.astype(np.float64) @ vectors.astype(np.float64).T * 2**20)
    exact[contents[:, None] == contents] = -np.inf
    wanted = np.stack([np.lexsort((ranks, -row))[:32] for row in exact])
    np.testing.assert_array_equal(search(vectors, 32, contents, ranks, 500), wanted)
    for block in (1700, 900):
        np.testing.assert_array_equal(compared(vectors, 32, contents, ranks, block), wanted)


def test_a_sketch_adds_each_position_to_one_place_with_a_sign():
    values = np.random.default_rng(0).normal(size=(3, 5000))
    bits = np.random.PCG64([0x6E656967, 5000]).random_raw(5000)
    wanted = np.zeros((3, 1024))
    for position, bit in enumerate(bits.tolist()):
        wanted[:, bit >> 54] += values[:, position] * (-1 if bit & 1 else 1)
    np.testing.assert_allclose(count_sketch(values), wanted, atol=1e-12)
    np.testing.assert_array_equal(count_sketch(values[1:2]), count_sketch(values)[1:2])


def test_a_sketch_is_the_same_on_every_machine():
    sketch = count_sketch(np.arange(1.0, 2001.0)[None])[0]
    assert sketch[:6].tolist() == [1278, 2723, -352, -1848, 731, 153]


def test_a_sketch_keeps_angles():
    random = np.random.default_rng(1)
    values = np.abs(random.normal(size=(40, 1))) * random.normal(size=20_000) + random.normal(
        size=(40, 20_000)
    )
    exact = values / np.linalg.norm(values, axis=1, keepdims=True)
    sketched = unit_vectors(values)
    assert sketched.shape == (40, SKETCH)
    assert np.abs(sketched @ sketched.T - exact @ exact.T).max() < 0.15
    assert np.abs(sketched @ sketched.T - exact @ exact.T).mean() < 0.03


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ModelError, match="'relu' are not finite"):
        unit_vectors(np.array([[1.0, np.inf]]), "relu")


def test_activations_are_those_of_the_network_at_its_depths(graph):
    images, labels = made_up(60)
    samples = opened(images, labels)
    state = NeighborState(60)
    found = measured(graph, samples, state=state)
    assert [layer.tensor for layer in graph.layers] == ["x", "b", "b", "f", "f"]
    session = runtime.open_session(graph.path, "cpu")
    outputs = dict(zip(session.outputs, session.run({"x": images}), strict=True))
    for number, values in enumerate((images, outputs["b"], outputs["f"])):
        vectors = unit_vectors(values.reshape(60, -1))
        np.testing.assert_allclose(state.vectors[number], vectors, atol=1e-6)
        wanted = search(vectors)
        layers = [i for i, layer in enumerate(graph.layers) if layer.tensor == "xbf"[number]]
        for layer in layers:
            for i in range(60):
                near = labels[wanted[i]]
                assert found.agreement[layer, i] == (near == labels[i]).mean()
                counts = np.bincount(near)
                ahead = [label for label in near if counts[label] == counts.max()]
                assert found.majority[layer, i] == ahead[0]
        if "two_thirds" in [LAYERS[layer] for layer in layers]:
            np.testing.assert_array_equal(found.nearest, wanted)
        if number == 0:
            np.testing.assert_array_equal(found.nearest_images, wanted)
            cosine = np.einsum("nkd,nd->nk", vectors[wanted].astype(float), vectors)
            np.testing.assert_allclose(found.distance_images, np.sqrt(2 - 2 * cosine), atol=1e-5)


def equal(found, wanted, order=slice(None)):
    np.testing.assert_array_equal(found.measured, wanted.measured[order])
    np.testing.assert_array_equal(found.agreement, wanted.agreement[:, order])
    np.testing.assert_array_equal(found.majority, wanted.majority[:, order])


def test_the_order_of_the_samples_changes_nothing(graph):
    images, labels = made_up(120)
    images[10:30], labels[10:20] = images[40:60], labels[40:50]  # copies, half of them relabeled
    images[60:70] = 0.0
    images[60:70, 0, 0, 0] = np.arange(1, 11) * 2.0  # one direction: all equally near
    order = np.random.default_rng(2).permutation(120)
    whole, shuffled = opened(images, labels), opened(images[order], labels[order])
    hold = np.linspace(0, 1, 120)
    for samples in (None, 50):
        parts = [choose_part(one, samples=samples) for one in (whole, shuffled)]
        found = measured(graph, whole, parts[0])
        again = measured(graph, shuffled, parts[1])
        equal(again, found, order)
        features = neighbors_features(found, labels, hold)
        assert features == neighbors_features(again, labels[order], hold[order])
        for i, near in enumerate(again.nearest):
            for place, wanted in zip(near, found.nearest[order[i]], strict=True):
                assert (place < 0) == (wanted < 0)
                if place >= 0:
                    assert (images[order[place]] == images[wanted]).all()


def test_batches_and_memory_change_nothing(graph):
    images, labels = made_up(100)
    wanted = measured(graph, opened(images, labels))
    for batch in (1, 7, 33, 100):
        for memory in (1, 1 << 30):
            found = measured(graph, opened(images, labels, memory=memory), batch=batch)
            equal(found, wanted)
            np.testing.assert_array_equal(found.nearest, wanted.nearest)


def test_smaller_batches_where_memory_runs_out(graph, monkeypatch):
    images, labels = made_up(40)
    wanted = measured(graph, opened(images, labels))
    run = runtime.Session.run

    def limited(self, feeds, *arguments):
        if len(feeds["x"]) > 3:
            raise runtime.OutOfMemory("too many")
        return run(self, feeds, *arguments)

    monkeypatch.setattr(runtime.Session, "run", limited)
    equal(measured(graph, opened(images, labels), batch=16), wanted)


def test_the_same_bytes_never_count(graph):
    images, labels = made_up(60)
    images[20:30], labels[20:25] = images[0:10], labels[0:5]
    found = measured(graph, opened(images, labels))
    for i, near in enumerate(found.nearest):
        assert all((images[j] != images[i]).any() for j in near)
    assert (np.sort(found.nearest[0:10]) == np.sort(found.nearest[20:30])).all()


def copied(count=160, copies=40):
    """Samples, copies of some of them that are a little brighter, and the places of both."""
    images, labels = made_up(count)
    images = np.concatenate([images, 1.05 * images[:copies] + 0.02])
    return images, np.concatenate([labels, labels[:copies]]), np.arange(copies)


def test_twins_are_no_neighbors_unless_they_are_kept(graph):
    images, labels, first = copied()
    samples = opened(images, labels)
    found, kept = (measured(graph, samples, keep_twins=keep) for keep in (False, True))
    np.testing.assert_array_equal(found.twins, np.stack([first, 160 + first], axis=1))
    np.testing.assert_array_equal(kept.twins, found.twins)
    assert (found.twin_distance < 1e-2).all()
    for votes in (found, kept):
        for near in (votes.nearest, votes.nearest_images):
            beside = (near[first] == 160 + first[:, None]).any(axis=1)
            assert beside.all() if votes is kept else not beside.any()
    # Otherwise they are as if the twin were not there.
    alone = measured(graph, opened(images[:160], labels[:160]))
    for place in (first[0], first[-1]):
        others = np.where(found.nearest[place] < 160, found.nearest[place], -1)
        assert set(others[others >= 0]) <= set(alone.nearest[place])
    order = np.random.default_rng(4).permutation(200)
    equal(measured(graph, opened(images[order], labels[order])), found, order)


def test_samples_of_a_group_are_no_neighbors_however_many_they_are(graph):
    images, labels = made_up(120)
    images[40:100] = images[40] + 0.01 * images[40:100]  # more than the search reaches
    groups = np.full(120, -1)
    groups[40:100], groups[[0, 7]] = 5, 2
    found = measured(graph, opened(images, labels, groups=groups))
    for place, near in enumerate(found.nearest):
        assert (near >= 0).all()
        assert groups[place] < 0 or (groups[near] != groups[place]).all()
    assert found.group.tolist() == groups.tolist()
    assert not np.isin(found.twins, np.arange(40, 100)).any()


def test_of_few_samples_all_others_are_neighbors(graph):
    images, _ = made_up(4)
    found = measured(graph, opened(images, [0, 0, 1, 1]))
    assert (np.sort(found.nearest[:, :3]) == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]).all()
    assert (found.nearest[:, 3:] == -1).all()
    np.testing.assert_allclose(found.agreement, 1 / 3)
    two_thirds = found.majority[LAYERS.index("two_thirds")]
    np.testing.assert_array_equal(two_thirds, [1, 1, 0, 0])

    alone = measured(graph, opened(images[[0, 0]], [0, 1]))
    assert np.isnan(alone.agreement).all()
    assert np.isnan(alone.distance_images).all()
    assert alone.content.tolist() == [0, 0]
    assert (alone.majority == -1).all()
    assert np.isnan(list(neighbors_features(alone, np.array([0, 1]), np.ones(2)).values())).all()


def test_samples_that_cannot_be_read_have_no_part(graph):
    images, labels = made_up(60)
    unread = {0, 3 * 7, 3 * 59}
    kept = np.array([3 * i not in unread for i in range(60)])
    found = measured(graph, opened(images, labels, unread=unread))
    wanted = measured(graph, opened(images[kept], labels[kept]))
    np.testing.assert_array_equal(found.measured, kept)
    np.testing.assert_array_equal(found.agreement[:, kept], wanted.agreement)
    assert (found.nearest[~kept] == -1).all()
    np.testing.assert_array_equal(found.nearest[kept], np.flatnonzero(kept)[wanted.nearest])


def test_a_part_is_told_in_samples_and_limited_by_default(graph):
    images, labels = made_up(200)
    samples = opened(images, labels)
    np.testing.assert_array_equal(choose_part(samples), np.arange(200))
    np.testing.assert_array_equal(choose_part(samples, samples="all", memory=1), np.arange(200))
    part = choose_part(samples, samples=50)
    assert np.ptp(np.bincount(labels[part])) <= 1
    assert len(part) == 50
    assert len(choose_part(samples, memory=30 * 4 * SKETCH * 6)) == 30
    found = measured(graph, samples, part)
    np.testing.assert_array_equal(np.flatnonzero(found.measured), part)
    assert np.isin(found.nearest[part], part).all()
    assert found.weight.sum() == pytest.approx(200)
    nothing = measured(graph, samples, choose_part(samples, samples=0))
    assert not nothing.measured.any()
    assert np.isnan(list(neighbors_features(nothing, labels, np.ones(200)).values())).all()


def test_of_very_many_samples_a_balanced_part_is_looked_at_whatever_their_order():
    count = 150_000
    random = np.random.default_rng(0)
    labels = random.choice(7, count, p=[0.4, 0.3, 0.2, 0.05, 0.03, 0.015, 0.005])
    digests = random.integers(0, 256, (count, 32), dtype=np.uint8)
    order = random.permutation(count)
    parts = []
    for of in (np.arange(count), order):
        samples = Samples(np.arange(count), labels[of], load=None)
        images = SampleImages(samples, digests[of], np.ones(count, bool))
        parts.append(of[choose_part(images)])
    assert len(parts[0]) == 20_000
    counts, everything = np.bincount(labels[parts[0]]), np.bincount(labels)
    small = everything < 3_000  # of these all are taken
    assert small.tolist() == [False] * 5 + [True] * 2
    np.testing.assert_array_equal(counts[small], everything[small])
    assert np.ptp(counts[~small]) <= 1
    assert sorted(parts[1]) == parts[0].tolist()


def test_by_default_the_search_takes_one_pass_of_the_network(graph):
    # The vectors: 72 numbers of the images, 1,152 of b, sketched, and 512 of f.
    lengths = 72 + 1024 + 512
    operations = 32 * 2 * 9 * 36 + 32 * 32 * 9 * (36 + 16) + 512 * 4
    assert graph.operations == operations
    for total in (100_000, 500_000):
        wanted = int((total * operations / lengths) ** 0.5)
        assert 5_000 < affordable_samples(graph, total) == wanted < 20_000
    assert affordable_samples(graph, 19_999) == 19_999
    assert affordable_samples(replace(graph, operations=1), 20_000) == 5_000
    assert affordable_samples(replace(graph, operations=None), 10**9) == 5_000
    assert affordable_samples(replace(graph, operations=10**9), 50_000) == 20_000


def test_the_part_of_a_size_is_found_again_copies_and_all(graph):
    images, labels = made_up(200)
    images[100:160], labels[100:160] = images[40:100], labels[40:100]
    samples = opened(images, labels)
    for asked in (1, 37, 120, 199, 200):
        part = choose_part(samples, samples=asked, seed=3)
        again = choose_part(samples, samples=count_of_part(samples, len(part), seed=3), seed=3)
        np.testing.assert_array_equal(again, part)


def _append(done, *at):
    done.append(at)


def test_a_run_resumes_from_every_checkpoint_to_the_byte(graph, monkeypatch):
    images, labels = made_up(50)
    samples = opened(images, labels)
    part = choose_part(samples)
    states = []

    def keep(state):
        states.append({name: array.copy() for name, array in state.arrays().items()})

    state = NeighborState(50)
    monkeypatch.setattr("analyzer.measures.neighbors.votes._BLOCK", 8)
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", -1)
    options = {"batch": 4, "memory": 0}
    wanted = measured(graph, samples, part, state, save=keep, **options)
    assert len(states) > 20
    for kept in states:
        resumed = NeighborState(50).resumed(kept)
        done = []
        report = partial(_append, done)
        found = measured(graph, samples, part, resumed, progress=report, **options)
        equal(found, wanted)
        for own, other in zip(resumed.vectors, state.vectors, strict=True):
            assert own.tobytes() == other.tobytes()
        assert resumed.found.tobytes() == state.found.tobytes()
        already = kept["counts"][1] + kept["counts"][2]
        assert all(stage == "neighbors" and total == 200 for stage, _, total in done)
        assert [at for _, at, _ in done] == sorted({at for _, at, _ in done})
        assert all(at > already for _, at, _ in done)
    with pytest.raises(AuditFolderError, match="other samples"):
        NeighborState(49).resumed(states[0])
    with pytest.raises(ValueError, match="to its end"):
        read_neighbors(graph, samples, part, NeighborState(50).resumed(states[-3]))


def test_features_by_hand():
    labels = np.array([0, 0, 1, 1, 1])
    majority = np.tile([0, 1, 1, 0, -1], (5, 1))
    majority[4] = [1, 1, 0, 0, 0]
    found = NeighborVotes(
        measured=np.ones(5, bool), agreement=np.zeros((5, 5)), majority=majority,
        nearest=np.zeros((5, 10), int), weight=np.array([1.0, 1, 2, 2, 2]),
        nearest_images=np.zeros((5, 10), int), distance_images=np.zeros((5, 10)),
        content=np.arange(5), group=np.full(5, -1), twins=np.empty((0, 2), int),
        twin_distance=np.empty(0),
    )  # fmt: skip
    hold = np.array([1.0, 0.5, 0.25, np.nan, 1.0])
    features = neighbors_features(found, labels, hold)
    assert list(features) == list(NEIGHBORS_FEATURES)
    assert list(features)[::4] == [
        "neighbors_error_images", "neighbors_error_last", "neighbors_error_two_thirds_trusted"
    ]  # fmt: skip
    assert features["neighbors_error_third"] == 3 / 6  # the last has no neighbors there
    assert features["neighbors_error_last"] == 1
    assert features["neighbors_error_third_trusted"] == 1 / 2
    assert all(type(value) is float for value in features.values())


@pytest.mark.parametrize("network", ["vgg16-dynamo", "densenet121-older"])
def test_a_network_of_fixed_batches_sees_as_the_free_one(network, tmp_path):
    images = np.random.default_rng(0).normal(size=(30, 3, 32, 32)).astype(np.float32)
    found = []
    for form in ("free", "fixed"):
        loaded = surgery.load_network(FIXTURES / f"{network}-{form}.onnx")
        graph = surgery.write_activation_outputs(loaded, tmp_path / f"{form}.onnx", (3, 32, 32))
        found.append(measured(graph, opened(images, np.arange(30) % 3), batch=8))
    equal(*found)


def test_images_with_channels_last_are_seen_like_others(tmp_path):
    path = FIXTURES / "interop" / "tensorflow-keras-small-cnn.onnx"
    with np.load(path.with_suffix(".npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    network = surgery.load_network(path)
    graph = surgery.write_activation_outputs(network, tmp_path / "a.onnx", images.shape[1:])
    found = measured(graph, opened(images, labels))
    wanted = search(unit_vectors(images.reshape(12, -1)))
    near = labels[wanted]
    np.testing.assert_allclose(found.agreement[0], (near == labels[:, None]).mean(axis=1))
    assert (found.agreement >= 0).all()


@pytest.mark.filterwarnings("ignore")
def test_activations_are_those_of_forward_hooks(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra zoo)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra zoo)")
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(2, 40, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(40, 8, 3),
        torch.nn.Sigmoid(), torch.nn.Conv2d(8, 8, 3), torch.nn.Tanh(), torch.nn.Flatten(),
        torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4),
    ]  # fmt: skip
    module = torch.nn.Sequential(*layers).eval()
    seen = {}
    for number in (1, 3, 5, 8):
        layers[number].register_forward_hook(
            lambda module, inputs, output, number=number: seen.update({number: output.numpy()})
        )
    images, labels = made_up(80)
    torch.onnx.export(
        module, (torch.from_numpy(images[:2]),), tmp_path / "n.onnx", input_names=["x"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
    )  # fmt: skip
    with torch.no_grad():
        module(torch.from_numpy(images))
    network = surgery.load_network(tmp_path / "n.onnx")
    graph = surgery.write_activation_outputs(network, tmp_path / "a.onnx", SHAPE)
    state = NeighborState(80)
    found = measured(graph, opened(images, labels), state=state)
    # Of four activations the nearest to 5/3 and 10/3, counted from 1, are the second and third.
    for number, place in enumerate((1, 3, 5, 8), start=1):
        values = seen[place].reshape(80, -1)
        np.testing.assert_allclose(state.vectors[number], unit_vectors(values), atol=1e-5)
        index = NearestNeighbors(n_neighbors=11, metric="cosine", algorithm="brute").fit(
            state.vectors[number]
        )
        wanted = index.kneighbors(return_distance=False)[:, :10]
        near = labels[wanted]
        agreed = np.isclose(found.agreement[number], (near == labels[:, None]).mean(axis=1))
        assert agreed.mean() > 0.98
