"""What a first look at the data finds before anything is counted."""

import numpy as np
import onnx
import pytest

from analyzer.audit.first_look import find_class_order
from analyzer.audit.first_look_verdict import describe_order
from analyzer.audit.run import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import ModelError

RANDOM = np.random.default_rng(0)


def named_with(order, per_class=20, right=0.95):
    """Labels, and what a network that was trained with its classes in another order names them."""
    classes = len(order)
    label = np.repeat(np.arange(classes), per_class)
    named = np.asarray(order)[label]
    wrong = RANDOM.random(len(label)) > right
    named[wrong] = RANDOM.integers(0, classes, wrong.sum())
    return label, named, classes


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (np.roll(np.arange(12), -1), "counts them from 1 on"),
        (np.array(sorted(range(12), key=str)), "the data sort them as texts"),
        (np.argsort(sorted(range(12), key=str)), "the data sort them as numbers"),
        (RANDOM.permutation(12), " as "),
        (np.array([0, 1, 3, 2, 5, 4, 7, 6]), "c2 as c3, c3 as c2"),
    ],
)
def test_another_order_is_found_and_named(order, rule):
    found = find_class_order(*named_with(order))
    np.testing.assert_array_equal(found.named_as, order)
    assert 0.85 < found.accuracy <= 1
    names = [f"c{index}" for index in range(len(order))]
    said = describe_order(found.named_as.tolist(), names, by_name=True)
    assert rule in said
    # The list that --classes takes: the k-th name is that of the network's class k.
    listed = said.rsplit(": ", 1)[1].rstrip(".").split(", ")
    assert [names.index(name) for name in listed] == np.argsort(order).tolist()


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("per_class", [2, 10, 50])
def test_a_network_that_knows_nothing_is_in_no_order(classes, per_class):
    for _ in range(20):
        label = np.repeat(np.arange(classes), per_class)
        guessed = RANDOM.integers(0, classes, len(label))
        assert find_class_order(label, guessed, classes) is None
        assert find_class_order(label, np.zeros_like(label), classes) is None


def test_a_network_that_knows_its_classes_is_in_order():
    for right in (0.99, 0.7, 0.4):
        assert find_class_order(*named_with(np.arange(10), right=right)) is None


def test_one_sample_a_class_says_nothing():
    label, named, classes = named_with(RANDOM.permutation(10), per_class=1, right=1.0)
    assert find_class_order(label, named, classes) is None


def test_an_order_of_very_many_classes_takes_no_matrix_of_them_all():
    classes = 200_000
    label = np.repeat(np.arange(0, classes, 2_000), 4)
    found = find_class_order(label, classes - 1 - label, classes)
    assert found is not None
    assert found.accuracy == 1
    assert np.array_equal(found.named_as[label], classes - 1 - label)
    assert np.array_equal(np.sort(found.named_as), np.arange(classes))


def test_a_single_score_that_is_a_probability_in_disguise_is_refused(tmp_path):
    model = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] x) => (float[N,1] y) <float[4,3,3,3] w, float[4,1] v, float one = {1.0}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    z = MatMul(f, v)
    s = Sigmoid(z)
    y = Sub(one, s)
}
""")
    random = np.random.default_rng(1)
    for info in list(model.graph.value_info):
        shape = [axis.dim_value for axis in info.type.tensor_type.shape.dim]
        weights = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, info.name))
    del model.graph.value_info[:]
    path = tmp_path / "network.onnx"
    onnx.save(model, path)
    images = random.normal(size=(30, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=np.repeat([0, 1, 1], 10))
    options = {"model": path, "data": str(tmp_path / "data.npz"), "out": tmp_path / "audit"}
    for anyway in (False, True):  # True: nothing is looked at before the sweep
        with pytest.raises(ModelError, match=r"on 30 samples it is 0\.\d+ to 0\.\d+, as prob"):
            run_audit(AuditRequest(**options, device="cpu", anyway=anyway))
        assert not (tmp_path / "audit" / "audit.json").exists()
