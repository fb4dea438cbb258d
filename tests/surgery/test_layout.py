import numpy as np
import onnx_ir as ir
import pytest

from analyzer.surgery.layout import Layout, move


def node(op_type, before, after, *constants, **attributes):
    value = ir.val("x", dtype=ir.DataType.FLOAT, shape=before)
    inputs = [value]
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 17})
    for index, array in enumerate(constants):
        tensor = ir.tensor(np.asarray(array), name=f"k{index}")
        inputs.append(ir.val(tensor.name, const_value=tensor))
        graph.register_initializer(inputs[-1])
    made = ir.node(op_type, inputs, attributes)
    made.outputs[0].shape = ir.Shape(after)
    graph.append(made)
    return made, value


def follow(made, value, layout, channels):
    """Where channels go, by labeling every element with its channel."""
    shape = [2, *list(value.shape)[1:]]
    runs = [1] * len(shape)
    runs[layout.axis] = shape[layout.axis]
    labels = np.repeat(np.tile(np.arange(channels), layout.outer), layout.inner)
    labels = np.broadcast_to(labels.reshape(runs), shape)
    after = [2, *list(made.outputs[0].shape)[1:]]
    if made.op_type == "Transpose":
        return labels.transpose(list(made.attributes["perm"].value))
    return labels.reshape(after)


CASES = [
    ("Reshape", ["N", 4, 3, 3], ["N", 36], Layout(1), Layout(1, 1, 9)),
    ("Flatten", ["N", 3, 3, 4], ["N", 36], Layout(3), Layout(1, 9, 1)),
    ("Reshape", ["N", 36], ["N", 9, 4], Layout(1, 9, 1), Layout(2)),
    ("Reshape", ["N", 36], ["N", 4, 9], Layout(1, 1, 9), Layout(1)),
    ("Reshape", ["N", 4, 6], ["N", 2, 12], Layout(1), None),
    ("Reshape", ["N", 4, 6], ["N", 1, 24, 1], Layout(1), Layout(2, 1, 6)),
    ("Reshape", ["N", 4, 6], [3, 4, 8], Layout(1), None),
    ("Reshape", ["N", 4, "W"], ["N", "V"], Layout(1), None),
    ("Reshape", ["N", 3, 4, 5], ["N", 3, 20], Layout(2), Layout(2, 1, 5)),
    ("Reshape", ["N", 3, 4, 5], ["N", 12, 5], Layout(2), Layout(1, 3, 1)),
]


@pytest.mark.parametrize(("op", "before", "after", "layout", "wanted"), CASES)
def test_row_major_operators(op, before, after, layout, wanted):
    made, value = node(op, before, after)
    found = move(made, value, layout, 4)
    assert found == wanted
    if found is not None:
        labels = follow(made, value, layout, 4)
        shape = [1] * labels.ndim
        shape[found.axis] = -1
        again = np.repeat(np.tile(np.arange(4), found.outer), found.inner).reshape(shape)
        np.testing.assert_array_equal(labels, np.broadcast_to(again, labels.shape))


def test_transpose_moves_the_axis_but_not_the_batch():
    made, value = node("Transpose", ["N", 4, 5, 6], ["N", 5, 6, 4], perm=[0, 2, 3, 1])
    assert move(made, value, Layout(1), 4) == Layout(3)
    made, value = node("Transpose", ["N", 4, 5], [4, "N", 5], perm=[1, 0, 2])
    assert move(made, value, Layout(1), 4) is None
    made, value = node("Transpose", ["N", 4, 5], [5, 4, "N"])
    assert move(made, value, Layout(1), 4) is None


def test_squeeze_and_unsqueeze_need_no_sizes():
    made, value = node("Squeeze", ["N", "A", 4, 1], ["N", "A", 4], [-1])
    assert move(made, value, Layout(2), 4) == Layout(2)
    made, value = node("Squeeze", ["N", 1, 4, 1], ["N", 4], axes=[1, 3])
    assert move(made, value, Layout(2), 4) == Layout(1)
    made, value = node("Squeeze", [1, 1, 4], [1, 4], [0])
    assert move(made, value, Layout(2), 4) is None
    made, value = node("Unsqueeze", ["N", 4, "W"], ["N", 1, 4, "W"], [1])
    assert move(made, value, Layout(1), 4) == Layout(2)
    made, value = node("Unsqueeze", ["N", 4], [1, "N", 4], [0])
    assert move(made, value, Layout(1), 4) is None
