"""What one node asks of the processor, from the sizes of its tensors alone: for the budgets.

An upper estimate that a small file cannot hide from, not the cost that a result states
(:mod:`analyzer.surgery.operations`): it counts every operator, and takes a size that is not known
as 1.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import CONVOLUTIONS, attribute, constant, filled_up

__all__ = ["OF_AN_ELEMENT", "Sizes", "hidden_elements", "work_of"]

Sizes = Callable[[ir.Value | None], Sequence[int]]
"""The sizes of a tensor, 1 for each that is not known; () for no tensor."""

OF_AN_ELEMENT = 64  # multiply-adds that take as long as one element read or made by the others
_OF_A_FACTOR = 16  # those that take as long as one element that a product reads or makes
_OF_A_CUBE = 100  # elements that take as long as one of a cubic ``Resize`` or ``GridSample``
_OF_A_SAMPLE = 10  # elements that take as much memory as what RoiAlign keeps of a place it reads
_OF_A_SEARCH = 256  # elements that take as long as one that Unique looks for in its tree
_OF_A_PLACE = 4  # elements that take as much memory as one coordinate that NonZero finds
_OF_A_VALUE = 32  # elements that take as much memory and time as a value of Unique
_OF_A_PIECE = 1024  # elements that take as much memory and time as one tensor of a sequence
_OF_A_WHOLE = 32  # multiply-adds of floats that take as long as one of integers of 32 bits or more
_OF_A_GROUP = 16  # those of a usual convolution that take as long as one of few channels a group
_FEW = 4  # channels
_MANY = 1 << 30
_PRODUCTS = frozenset(
    ("DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger",
     "MatMulIntegerToFloat", "QGemm", "QLinearMatMul", "TransposeMatMul")
)  # fmt: skip
_WHOLE = {getattr(ir.DataType, name) for name in ("INT32", "INT64", "UINT32", "UINT64")}
_ATTENTIONS = ("Attention", "GroupQueryAttention", "MultiHeadAttention")
_TRANSPOSED = ("ConvTranspose", "ConvTransposeWithDynamicPads")
_CONVOLVED = frozenset((*CONVOLUTIONS, *_TRANSPOSED, "DeformConv", "FusedConv", "NhwcFusedConv"))
_WITHIN = {"AffineGrid": 4, "CenterCropPad": 2, "DFT": 10}  # elements, for each that they give on
_IN_BLOCKS = ("Conv", "Resize", "Upsample")
_POOLING = ("AveragePool", "LpPool", "MaxPool", "QLinearAveragePool")
_RECURRENT = ("GRU", "LSTM", "RNN")
_MULTIPLYING = _PRODUCTS.union(_CONVOLVED, _ATTENTIONS, _RECURRENT, ("Einsum", "MatMulNBits"))
_REPEATING = frozenset(
    (
        *_POOLING,
        "DFT",
        "Det",
        "GridSample",
        "LRN",
        "MaxRoiPool",
        "NonMaxSuppression",
        "Resize",
        "RoiAlign",
        "STFT",
        "Unique",
        "Upsample",
    )
)
_SIZED_BY_OUTPUT = frozenset(  # they read what they give on, or no element
    ("Constant", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "If", "Loop",
     "Reshape", "Scan", "Shape", "Size", "Slice", "Squeeze", "Unsqueeze")
)  # fmt: skip


def work_of(node: ir.Node, sizes: Sizes) -> int:
    """Multiply-adds of a node, without those of its subgraphs: at most, as its sizes tell.

    What is no product counts by elements, at :data:`OF_AN_ELEMENT` each; what a product reads and
    makes counts less, beside its multiply-adds.
    """
    kind, touched = node.op_type, 0
    for made in node.outputs:
        touched += math.prod(sizes(made))
    if kind not in _SIZED_BY_OUTPUT:
        for read in node.inputs:
            touched += math.prod(sizes(read))
    if kind in _REPEATING:
        touched += _repeated(node, sizes)
    products = _products(node, sizes) * _slowness(node, sizes) if kind in _MULTIPLYING else 0
    return (_OF_A_FACTOR if kind in _MULTIPLYING else OF_AN_ELEMENT) * touched + products


def _slowness(node: ir.Node, sizes: Sizes) -> int:
    """How many multiply-adds of a usual product take as long as one of this product."""
    if node.op_type in _CONVOLVED:
        factor = sizes(node.inputs[1]) if len(node.inputs) > 1 else ()
        alone = attribute(node, "group", 1) > 1 and len(factor) > 1 and factor[1] < _FEW
        return _OF_A_GROUP if alone else 1
    made = node.outputs[0].dtype
    whole = made in _WHOLE and node.op_type in ("Einsum", "MatMul")
    return _OF_A_WHOLE if whole else 1


def hidden_elements(node: ir.Node, sizes: Sizes) -> int:
    """Elements of the largest tensor that a node makes and does not give on."""
    if node.op_type == "Einsum":
        return _contracted(node, sizes)[1]
    if node.op_type == "RoiAlign":
        return _OF_A_SAMPLE * math.prod(sizes(node.outputs[0])[2:]) * _samples(node)
    first = sizes(node.inputs[0]) if node.inputs else ()
    if node.op_type == "NonZero":  # all may be other than 0
        return _OF_A_PLACE * len(first) * math.prod(first)
    if node.op_type == "SplitToSequence":
        return _OF_A_PIECE * _pieces(node, first)
    if node.op_type in _ATTENTIONS:
        return _weights_of_attention(node, sizes)
    if node.op_type in _WITHIN:
        return _WITHIN[node.op_type] * math.prod(sizes(node.outputs[0]))
    if node.op_type == "LRN":  # squares, with as many channels of 0 as it looks at
        return (attribute(node, "size", 1) + math.prod(first[1:2])) * math.prod(first[2:])
    if node.op_type in _IN_BLOCKS:
        return filled_up(sizes(node.outputs[0])[1:])
    if node.op_type in _CONVOLVED:
        return _unfolded(node, sizes)
    if node.op_type == "Unique":
        return _OF_A_VALUE * math.prod(first)
    return 0


def _unfolded(node: ir.Node, sizes: Sizes) -> int:
    """What a convolution keeps of one group of one image beside its tensors, as elements.

    Those that are no plain ones in floating point lay out all windows, the quantized ones as bytes
    or as pointers to what they read; ``DeformConv`` also keeps where and how each place is read.
    """
    kind, second = node.op_type, _second_factor(node)
    given = [sizes(value) for value in node.inputs]
    if len(given) <= second:
        return 0
    window, kernel = math.prod(given[second][1:]), math.prod(given[second][2:])
    if kind in _TRANSPOSED:
        return window * math.prod(given[0][2:])
    positions = math.prod(sizes(node.outputs[0])[2:])
    if kind in ("ConvInteger", "QLinearConv"):
        return max(window // 4, 2 * kernel) * positions
    return (window + 8 * kernel) * positions if kind == "DeformConv" else 0


def _second_factor(node: ir.Node) -> int:
    """Which input of a product is the other factor, behind scale and zero point of the first."""
    return 3 if node.op_type.startswith("QLinear") or node.op_type == "QGemm" else 1


def _pieces(node: ir.Node, shape: Sequence[int]) -> int:
    """The tensors that a ``SplitToSequence`` makes, at most."""
    axis = attribute(node, "axis", 0)
    size = shape[axis] if -len(shape) <= axis < len(shape) else 1
    split = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if split is None or not split.size:
        return size
    return split.size if split.ndim else -(-size // max(int(split), 1))


def _products(node: ir.Node, sizes: Sizes) -> int:
    """Multiply-adds of convolutions and matrix products."""
    kind = node.op_type
    given = [sizes(value) for value in node.inputs]
    if kind in _PRODUCTS or kind in _CONVOLVED:
        second = _second_factor(node)
        if len(given) <= second:
            return 0
        first, factor, output = given[0], given[second], sizes(node.outputs[0])
        if kind in _TRANSPOSED:
            return math.prod(first) * math.prod(factor[1:])
        if kind in _CONVOLVED:
            return math.prod(output) * math.prod(factor[1:])
        if attribute(node, "transA", 0):
            first = _transposed(first)
        if attribute(node, "transB", 0):
            factor = _transposed(factor)
        rows = math.prod(first[-2:-1])
        columns = factor[-1] if len(factor) > 1 else 1
        shared = max(first[-1] if first else 1, factor[-2] if len(factor) > 1 else 1)
        return max(math.prod(first) * columns, math.prod(factor) * rows, math.prod(output) * shared)
    if kind == "MatMulNBits":
        return math.prod(sizes(node.outputs[0])) * max(attribute(node, "K", 1), 1)
    if kind in _ATTENTIONS and len(given) > 1:
        keys = _keys(node, given)
        across = 2 * (keys[-2] if len(keys) > 1 else 1)
        weighted = given[1][-1] if keys is given[0] and given[1] else 0
        softmax = OF_AN_ELEMENT * _weights_of_attention(node, sizes)
        return math.prod(given[0]) * (across + weighted) + softmax
    if kind in _RECURRENT and len(given) > 2:
        steps = math.prod(given[0][:-1])  # times images
        return steps * (math.prod(given[1]) + math.prod(given[2]))
    if kind == "Einsum":
        return _contracted(node, sizes)[0]
    return 0


def _weights_of_attention(node: ir.Node, sizes: Sizes) -> int:
    """The elements of the weights of an attention: each query by each key, for each head."""
    given = [sizes(value) for value in node.inputs]
    heads = max(attribute(node, "num_heads", 0), attribute(node, "q_num_heads", 0), 1)
    if len(given[0]) > 3:  # with an axis of heads
        heads = given[0][-3]
    queries, keys = (shape[-2] if len(shape) > 1 else 1 for shape in (given[0], _keys(node, given)))
    return heads * queries * keys


def _keys(node: ir.Node, given: Sequence[Sequence[int]]) -> Sequence[int]:
    """The shape of what an attention takes its keys from: its first input, beside weights."""
    of_itself = node.op_type == "Attention" and node.domain == "com.microsoft"
    return given[0] if of_itself or len(given) < 2 or not given[1] else given[1]


def _transposed(shape: Sequence[int]) -> Sequence[int]:
    return [*shape[:-2], *shape[-1:], *shape[-2:-1]]


def _repeated(node: ir.Node, sizes: Sizes) -> int:
    """Elements that a node reads again, window by window or pair by pair."""
    kind, first = node.op_type, sizes(node.inputs[0]) if node.inputs else ()
    if kind in _POOLING:
        kernel = attribute(node, "kernel_shape", ())
        window = math.prod(max(min(k, n), 1) for k, n in zip(kernel, first[2:], strict=False))
        return math.prod(sizes(node.outputs[0])) * window
    if kind == "RoiAlign":
        return math.prod(sizes(node.outputs[0])) * _samples(node)
    if kind == "MaxRoiPool" and len(node.inputs) > 1:
        return math.prod([*first[1:], *sizes(node.inputs[1])[:1]])
    if kind in ("GridSample", "Resize", "Upsample"):
        cubic = attribute(node, "mode", "") in ("bicubic", "cubic")
        return math.prod(sizes(node.outputs[0])) * (_OF_A_CUBE if cubic else 1)
    if kind == "LRN":
        return hidden_elements(node, sizes)
    if kind in ("DFT", "STFT"):  # where no power of two lets it be faster
        made = sizes(node.outputs[0])
        lengths = (2 * made[-2],) if kind == "STFT" and len(made) > 1 else (*first[:-1], *made[:-1])
        return math.prod(made) * max(lengths, default=1)
    if kind == "Unique":
        return _OF_A_SEARCH * math.prod(first)
    if kind == "Det":
        return math.prod(first) * (first[-1] if first else 1)
    if kind == "NonMaxSuppression" and len(node.inputs) > 1:
        scores = sizes(node.inputs[1])  # [images, classes, boxes]
        return math.prod(scores) * (scores[-1] if scores else 1)
    return 0


def _samples(node: ir.Node) -> int:
    """What a ``RoiAlign`` reads for one element; 1 where that is left to regions not known."""
    ratio = attribute(node, "sampling_ratio", 0)
    if ratio > 0:
        return min(ratio, _MANY) ** 2
    regions = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if regions is None or regions.ndim != 2 or regions.shape[1] != 4 or not regions.size:
        return 1
    cells = [attribute(node, f"output_{axis}", 1) for axis in ("width", "height")]
    extents = np.abs(regions[:, 2:].astype(np.float64) - regions[:, :2]).max(axis=0)
    scaled = extents * abs(attribute(node, "spatial_scale", 1.0)) / np.maximum(cells, 1)
    return math.prod(int(min(size, _MANY)) + 1 for size in np.nan_to_num(scaled))


_Labels = tuple[str | int, ...]


def _equation(node: ir.Node, sizes: Sizes) -> tuple[dict[str | int, int], list[_Labels], _Labels]:
    """Of an ``Einsum``: the size of each label, the labels of each operand, and of the output.

    An axis behind an ellipsis is labeled by its distance from the last of these.
    """
    text = attribute(node, "equation", "").replace(" ", "")
    left, arrow, right = text.partition("->")
    extents: dict[str | int, int] = {}
    terms: list[_Labels] = []
    for term, value in zip(left.split(","), node.inputs, strict=False):
        shape = sizes(value)
        before, dots, after = term.partition("...")
        hidden = max(len(shape) - len(before) - len(after), 0) if dots else 0
        labels: _Labels = (*before, *range(hidden, 0, -1), *after)
        for label, size in zip(labels, shape, strict=False):
            extents[label] = max(extents.get(label, 1), size)
        extents |= {label: 1 for label in labels if label not in extents}
        terms.append(labels)
    behind = [label for label in extents if isinstance(label, int)]
    if arrow:
        output: _Labels = (*right.replace(".", ""), *(behind if "." in right else ()))
    else:
        once = [label for label in extents if left.count(str(label)) == 1]
        output = (*behind, *once)
    return extents, terms, output


def _contracted(node: ir.Node, sizes: Sizes) -> tuple[int, int]:
    """Of an ``Einsum``: its multiply-adds, and the elements of its largest tensor within.

    onnxruntime takes two operands at a time, and sums an axis once no other operand has it.
    """
    extents, terms, output = _equation(node, sizes)
    total = largest = 0
    left = set[str | int](terms[0] if terms else ())
    for number, term in enumerate(terms[1:], 2):
        left.update(term)
        total += math.prod(extents[label] for label in left)
        left &= set(output).union(*terms[number:])
        largest = max(largest, math.prod(extents[label] for label in left))
    return total, largest
