"""Forms of a gradient that are right and fast in onnxruntime, for those that onnx-ad writes.

Two of the rewritings make it right. A transposed convolution that is told its output's size
splits the padding by a rule of its own, so where a convolution pads its two ends differently
it would give another one's gradient; and ``ScatterND`` adds up on several threads that do not
wait for each other. All others make it fast.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.surgery.fixed import size_of
from analyzer.surgery.graph import attribute, constant, depending, dimensions, is_op, names_of
from analyzer.surgery.shapes import infer_shapes

__all__ = ["settle_forms"]

_PREFIX = "adjoint_form"


def settle_forms(model: ir.Model, seed: ir.Value) -> ir.Model:
    """Rewrite, in place, what depends on ``seed``; every shape must follow from the inputs'."""
    names = _Names(model.graph)
    # Before the shapes are inferred, because those of transposed convolutions often are not.
    _rewrite(model, seed, names, {"ConvTranspose": _convolution})
    model = infer_shapes(model)
    _rewrite(model, seed, names, _RULES)
    return model


def _rewrite(
    model: ir.Model, seed: ir.Value, names: "_Names", rules: Mapping[str, "_Rule"]
) -> None:
    made = depending(model.graph, [seed])
    for node in tuple(model.graph):
        rule = rules.get(node.op_type) if is_op(node, *rules) else None
        value = node.outputs[0]
        if rule is None or value.is_graph_output():
            continue
        if value not in made and not is_op(node, "Transpose"):
            continue
        replacement = rule(_Before(node, names))
        if replacement is not None:
            replacement.type, replacement.shape = value.type, value.shape
            value.replace_all_uses_with(replacement)
    passes.RemoveUnusedNodesPass()(model)


class _Names:
    """Names that no value of a graph bears; asking the graph each time would take too long."""

    def __init__(self, graph: ir.Graph):
        self._stem = _PREFIX
        taken = names_of(graph)
        while any(name.startswith(self._stem) for name in taken):
            self._stem += "_"
        self._count = 0

    def __call__(self) -> str:
        self._count += 1
        return f"{self._stem}_{self._count}"


class _Before:
    """A node, and a way to put others before it."""

    def __init__(self, node: ir.Node, names: _Names):
        self.node = node
        self._names = names

    def op(self, op_type: str, *inputs: ir.Value, **attributes) -> ir.Value:
        name = self._names()
        node = ir.node(op_type, inputs, attributes, name=name)
        node.outputs[0].name = name
        self.node.graph.insert_before(self.node, node)
        return node.outputs[0]

    def ints(self, values: Sequence[int]) -> ir.Value:
        return self.op("Constant", value=ir.tensor(np.array(values, np.int64)))


def _transpose(at: _Before) -> ir.Value | None:
    """Two in a row are one or none; one that moves only axes of size 1 is a ``Reshape``."""
    source = at.node.inputs[0]
    shape = dimensions(at.node.outputs[0])
    if shape is None:
        return None
    order = list(attribute(at.node, "perm", range(len(shape))[::-1]))
    if is_op(source.producer(), "Transpose"):
        before = attribute(source.producer(), "perm", range(len(order))[::-1])
        source = source.producer().inputs[0]
        order = [before[axis] for axis in order]
        if order == sorted(order):
            return source
    moved = [axis for axis, size in zip(order, shape, strict=True) if size != 1]
    if moved == sorted(moved) and size_of(at.node.outputs[0]) is not None:
        return at.op("Reshape", source, at.ints(shape))
    return at.op("Transpose", source, perm=order) if source is not at.node.inputs[0] else None


def _where(at: _Before) -> ir.Value | None:
    """A choice between a gradient and 0 is a product with 1 or 0."""
    condition, *choices = at.node.inputs
    zero = [v is not None and v.size == 1 and not v.any() for v in map(constant, choices)]
    if zero == [True, False]:
        condition = at.op("Not", condition)
    elif zero != [False, True]:
        return None
    gradient = choices[zero.index(False)]
    return at.op("Mul", gradient, at.op("Cast", condition, to=gradient.dtype.value))


def _same(at: _Before) -> ir.Value | None:
    """An ``Expand`` to the size it has, or a sum over axes of size 1."""
    source = at.node.inputs[0]
    shape = dimensions(source)
    return source if shape is not None and shape == dimensions(at.node.outputs[0]) else None


def _scatter(at: _Before) -> ir.Value | None:
    """Σ by ``ScatterElements``, one element after the other, which float16 has to be cast for."""
    data, indices, updates = at.node.inputs
    if attribute(at.node, "reduction", "none") != "add" or dimensions(indices)[-1] != 1:
        return None
    rest = list(dimensions(data)[1:])
    places = at.op("Reshape", indices, at.ints([-1] + [1] * len(rest)))
    places = at.op("Expand", places, at.ints([size_of(indices), *rest]))
    updates = at.op("Reshape", updates, at.ints([-1, *rest]))
    half = data.dtype.itemsize < ir.DataType.FLOAT.itemsize
    if half:
        data, updates = (at.op("Cast", v, to=ir.DataType.FLOAT.value) for v in (data, updates))
    added = at.op("ScatterElements", data, places, updates, axis=0, reduction="add")
    return at.op("Cast", added, to=at.node.inputs[0].dtype.value) if half else added


def _convolution(at: _Before) -> ir.Value:
    """The gradient of a convolution, with the padding written out.

    The attributes are the convolution's own, ``output_shape`` is the size of its input. If it
    took no steps, the gradient is a convolution too, with the kernels turned around, and that
    is what onnxruntime's processor code is fastest at.
    """
    gradient, weights = at.node.inputs
    sizes, pads, strides, dilations, group = (
        attribute(at.node, name, None)
        for name in ("output_shape", "pads", "strides", "dilations", "group")
    )
    kernels, inner, *kernel = dimensions(weights)  # kernels, input channels of a group
    reach = [dilation * (k - 1) for k, dilation in zip(kernel, dilations, strict=True)]
    ends = [r - pad for r, pad in zip([*reach, *reach], pads, strict=True)]
    if max(strides) > 1 or min(ends) < 0:
        both = zip(pads, pads[len(kernel) :], strict=False)
        padded = [size + sum(pair) for size, pair in zip(sizes, both, strict=True)]
        # Elements behind the last step, which the convolution did not see.
        unseen = [(p - r - 1) % s for p, r, s in zip(padded, reach, strides, strict=True)]
        steps = {"strides": strides, "dilations": dilations, "output_padding": unseen}
        return at.op("ConvTranspose", gradient, weights, group=group, pads=pads, **steps)
    turned = at.op("Reshape", weights, at.ints([group, kernels // group, inner, *kernel]))
    axes = [axis + 3 for axis in range(len(kernel))]
    turned = at.op("Transpose", turned, perm=[0, 2, 1, *axes])
    backwards, everything = ([n] * len(axes) for n in (-1, np.iinfo(np.int64).min))
    bounds = (at.ints(values) for values in (backwards, everything, axes, backwards))
    turned = at.op("Slice", turned, *bounds)
    turned = at.op("Reshape", turned, at.ints([group * inner, kernels // group, *kernel]))
    return at.op("Conv", gradient, turned, group=group, pads=ends, dilations=dilations)


_Rule = Callable[[_Before], ir.Value | None]
_RULES: dict[str, _Rule] = {
    "Expand": _same,
    "ReduceSum": _same,
    "ScatterND": _scatter,
    "Transpose": _transpose,
    "Where": _where,
}
