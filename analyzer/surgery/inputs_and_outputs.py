"""The inputs besides the images, bound to values; and the output that tells the class.

Of the output: which it is, how it tells the class, and its scores and logits.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import Answer, ExtraInput, TensorInfo
from analyzer.errors import ModelError, parameter
from analyzer.surgery.graph import (
    Dimensions,
    GraphBuilder,
    attribute,
    dimensions,
    dtype_of,
    get_value,
    is_op,
    name_of,
    operand,
    set_type,
    shape_of,
)
from analyzer.surgery.input_sizes import free_batch
from analyzer.surgery.network import Network
from analyzer.surgery.network_size import check_fixed_batch
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.validation import reports_invalid_file

__all__ = [
    "before_squashing",
    "bind_inputs",
    "find_answer",
    "flatten_scores",
    "format_shape",
    "make_logits",
    "make_scores",
    "reduce_to_scores",
    "score_output",
    "with_scores_alone",
]


_LISTED = 20  # inputs that a message names
_THRESHOLDS = {"logit": 0.0, "probability": 0.5}
_BEHIND_ARGMAX = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_RESHAPING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze")
_KEEPS_AXES = ("Cast", "Dropout", "Identity", "LogSoftmax", "Relu", "Sigmoid", "Softmax")
_BROADCASTING = ("Add", "Div", "Mul", "Sub")
_PROBABILITIES = ("HardSigmoid", "Sigmoid", "Softmax")
_KEEPS_PROBABILITIES = (*_RESHAPING, "Clip", "Gather", "Slice", "Transpose", "Unsqueeze")
_FIRST_IR_WITHOUT_INPUTS = 4  # before it, every initializer had to be listed as an input


def find_answer(network: Network, name: str | None = None) -> Answer:
    """How the output called ``name``, or the one that looks like class scores, is to be read.

    Raises:
        ModelError: as :func:`score_output`.
    """
    value, kind = _find_output(network, name)
    return Answer(name_of(value), kind)


def score_output(network: Network, name: str | None = None) -> ir.Value:
    """The output called ``name``, or the one that looks most like class scores.

    Scores of several classes come before a single score, and that before labels alone.

    Raises:
        ModelError: There is no such output, it does not tell classes, or several do and none
            was named.
    """
    value, _ = _find_output(network, name)
    return value


def make_scores(graph: ir.Graph) -> None:
    """Turn the only output of ``graph`` into class scores, where it tells the class otherwise.

    Of labels, the scores that ``ArgMax`` was given; of a single score, its threshold beside
    it: class 1 wins where it is higher.
    """
    (value,) = graph.outputs
    kind = _kind(value)
    if kind == "labels" and (ranked := _before_argmax(value)) is not None:
        _set_output(graph, ranked)
    if kind not in _THRESHOLDS:
        return
    new = GraphBuilder(graph, name_of(value))
    column = new.op("Reshape", value, new.constant([-1, 1]))
    # Where and not a product: the threshold stands whatever the score is.
    never = new.constant(np.zeros((1, 1), bool))
    threshold = new.constant(np.array([[_THRESHOLDS[kind]]], dtype_of(value).numpy()))
    scores = new.op("Concat", new.op("Where", never, column, threshold), column, axis=1)
    set_type(scores, value.dtype, ir.Shape([(dimensions(value) or (None,))[0], 2]))
    new.insert_after(value)
    _set_output(graph, scores)


def make_logits(graph: ir.Graph, kind: str) -> int | None:
    """Let the only output of ``graph`` be what its final softmax or sigmoid is given, (N, K).

    Margins are measured between such scores. A softmax leaves their order alone, but bends every
    distance, and where it saturates there is none left. A single score gets its threshold beside
    it.

    Args:
        graph: every shape known but for the batch.
        kind: how its output tells the class, see :class:`analyzer.common_types.Answer`.

    Returns:
        K, the number of classes; None where the shapes do not tell it.
    """
    if kind == "labels":
        make_scores(graph)
    (value,) = graph.outputs
    _set_output(graph, before_squashing(value))
    make_scores(graph)
    (scores,) = graph.outputs
    _, classes, *rest = dimensions(scores) or (None, None)
    if rest:
        flatten_scores(graph, f"{scores.name}_flatten")
    return classes if isinstance(classes, int) else None


def flatten_scores(graph: ir.Graph, name: str) -> None:
    """Make the only output of ``graph``, scores (N, K, 1, …), (N, K) under that name."""
    (scores,) = graph.outputs
    new = GraphBuilder(graph, name)
    flat = new.op("Flatten", scores, axis=1, name=name)
    set_type(flat, scores.dtype, ir.Shape(shape_of(scores)[:2]))
    new.insert_after(scores)
    _set_output(graph, flat)


def reduce_to_scores(
    network: Network, output: str | None
) -> tuple[ir.Model, tuple[str, ...], int | None]:
    """A clone with no output but the one that tells the class, freed of its batch size.

    Returns:
        The model, the names of its image inputs, and the batch size that the network could not
        be freed from.

    Raises:
        ModelError: No output holds the class scores, or several might.
    """
    scores = score_output(network, output)
    images = tuple(name_of(v) for v in network.flow.images)
    model, batch = free_batch(network.model, images)
    if batch is not None:
        check_fixed_batch(network.path, model.graph, batch, network.budgets)
    graph = model.graph
    model.ir_version = max(model.ir_version, _FIRST_IR_WITHOUT_INPUTS)
    passes.RemoveInitializersFromInputsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    _set_output(graph, next(v for v in graph.outputs if v.name == scores.name))
    return model, images, batch


def with_scores_alone(
    network: Network, output: str | None
) -> tuple[ir.Model, tuple[str, ...], int | None]:
    """As :func:`reduce_to_scores`, but where nothing is to be reduced, the network's own model.

    That is never to be changed.
    """
    if _is_reduced(network, output):
        return network.model, tuple(map(name_of, network.flow.images)), None
    return reduce_to_scores(network, output)


def _is_reduced(network: Network, output: str | None) -> bool:
    """Whether :func:`reduce_to_scores` and :func:`make_scores` would leave a network as it is.

    But for what no output depends on in part, as metadata and outputs of nodes that nobody reads.

    Raises:
        ModelError: as :func:`score_output`.
    """
    _, kind = _find_output(network, output)
    graph = network.model.graph
    return (
        len(graph.outputs) == 1
        and kind == "scores"
        and network.model.ir_version >= _FIRST_IR_WITHOUT_INPUTS
        and not any(value.is_initializer() for value in graph.inputs)
        and not any(isinstance((dimensions(v) or (None,))[0], int) for v in network.flow.images)
        and all(any(v.uses() or v.is_graph_output() for v in node.outputs) for node in graph)
    )


def format_shape(shape: Dimensions | None) -> str:
    """A shape as messages show it."""
    if shape is None:
        return "(unknown shape)"
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


def _find_output(network: Network, name: str | None) -> tuple[ir.Value, str]:
    """The output that tells the class, and its kind."""
    outputs = network.model.graph.outputs
    listed = ", ".join(map(_told, outputs))
    if name is not None:
        for value in outputs:
            if value.name == name:
                if (kind := _kind(value)) is not None:
                    _refuse_unread_type(network, value)
                    return value, kind
                _refuse_unknown_scores(network, value)
                if (dtype := dtype_of(value)).is_integer():
                    raise ModelError(
                        f"The output {name} of {network.path} is {dtype.numpy().name}, and no "
                        "ArgMax makes it of scores. Name scores in floating point with "
                        f"{parameter('output')}, or export them: {listed}."
                    )
                raise ModelError(
                    f"The output {name} of {network.path} has the shape "
                    f"{format_shape(dimensions(value))}, but class scores have one row per image "
                    f"and one column per class. Name another with {parameter('output')}: "
                    f"{listed}."
                )
        raise ModelError(f"{network.path} has no output called {name!r}. It has: {listed}.")
    kinds = [(v, kind) for v in outputs if (kind := _kind(v)) is not None]
    for wanted in (("scores",), ("logit", "probability"), ("labels",)):
        fitting = [one for one in kinds if one[1] in wanted]
        if len(fitting) == 1:
            _refuse_unread_type(network, fitting[0][0])
            return fitting[0]
        if fitting:
            raise ModelError(
                f"{network.path} has several outputs that could be class scores. Name one with "
                f"{parameter('output')}: {listed}."
            )
    for value in outputs:
        _refuse_unknown_scores(network, value)
    raise ModelError(
        f"No output of {network.path} has the shape of class scores (images × classes) and is in "
        f"floating point. It has: {listed}. Export the network with its classifier."
    )


def _told(value: ir.Value) -> str:
    """An output as messages show it: its type where it is no usual one, and its shape."""
    dtype = value.dtype
    kind = "" if dtype is None or dtype == ir.DataType.FLOAT else f" {str(dtype).lower()}"
    return f"{value.name}{kind} {format_shape(dimensions(value))}"


def _refuse_unread_type(network: Network, value: ir.Value) -> None:
    """Refuse scores of a type that onnxruntime makes no array of.

    Raises:
        ModelError: they are of such a type, as bfloat16.
    """
    dtype = dtype_of(value)
    if dtype.is_floating_point() and dtype.numpy().kind != "f":
        raise ModelError(
            f"The output {value.name} of {network.path} is {dtype.numpy().name}, which onnxruntime "
            "makes no array of. Export the network with scores that a Cast turns to float32."
        )


def _refuse_unknown_scores(network: Network, value: ir.Value) -> None:
    """Refuse labels that an ``ArgMax`` makes of a tensor of which not even the axes are known, or
    that are the last of equal scores.

    Raises:
        ModelError: they are such.
    """
    node = _argmax(value)
    if node is not None and attribute(node, "select_last_index", 0):
        raise ModelError(
            f"The output {value.name} of {network.path} is an ArgMax with select_last_index, which "
            "names the last of equal scores; here a class is the first. Export the network with "
            "the scores as its output, before the ArgMax."
        )
    if node is not None and _axes(operand(node)) is None:
        raise ModelError(
            f"The output {value.name} of {network.path} is the ArgMax of {operand(node).name}, and "
            "nothing shows whether that holds class scores (images × classes): onnx infers no "
            "shape of it. Export the network with the scores as its output, before the ArgMax."
        )


def _set_output(graph: ir.Graph, value: ir.Value) -> None:
    graph.outputs.clear()
    graph.outputs.append(value)


def _kind(value: ir.Value) -> str | None:
    """How a tensor tells the class (:class:`analyzer.common_types.Answer`); None if it cannot."""
    shape = dimensions(value)
    if value.dtype is None:
        return None
    if value.dtype.is_floating_point():
        if shape is None or (len(shape) >= 2 and all(d == 1 for d in shape[2:])):
            if shape is None or shape[1] != 1:
                return "scores"
        elif len(shape) != 1:
            return None
        return "probability" if _is_probability(value) else "logit"
    return None if _before_argmax(value) is None else "labels"


def _is_probability(value: ir.Value) -> bool:
    """Whether ``value`` is a sigmoid's or softmax's, reshaped, clipped or picked from it."""
    node = value.producer()
    while is_op(node, *_KEEPS_PROBABILITIES):
        value = operand(node)
        node = value.producer()
    return is_op(node, *_PROBABILITIES)


def _before_argmax(value: ir.Value) -> ir.Value | None:
    """The scores (N, K) that ``value`` holds the highest class of."""
    node = _argmax(value)
    if node is None or attribute(node, "select_last_index", 0):
        return None
    scores = operand(node)
    return scores if _axes(scores) == 2 and attribute(node, "axis", 0) % 2 == 1 else None


def _argmax(value: ir.Value) -> ir.Node | None:
    """The ``ArgMax`` that makes ``value``, reshaped or converted."""
    node = value.producer()
    while is_op(node, *_BEHIND_ARGMAX):
        node = operand(node).producer()
    return node if is_op(node, "ArgMax") else None


def _axes(value: ir.Value) -> int | None:
    """How many axes a tensor has, also behind operators that no shape is inferred of."""
    least = 0
    while (shape := dimensions(value)) is None:
        node = value.producer()
        if is_op(node, "Flatten", "Gemm"):
            return max(least, 2)
        if is_op(node, "Reshape"):
            target = dimensions(operand(node, 1))
            if target is None or len(target) != 1 or not isinstance(target[0], int):
                return None
            return max(least, target[0])
        if is_op(node, *_BROADCASTING):
            known = [dimensions(operand(node, place)) for place in (0, 1)]
            place = 0 if known[0] is None else 1
            other = known[1 - place]
            if other is None:
                return None
            least = max(least, len(other))
            value = operand(node, place)
        elif is_op(node, *_KEEPS_AXES) or (
            is_op(node, "MatMul") and len(dimensions(operand(node, 1)) or ()) == 2
        ):
            value = operand(node)
        else:
            return None
    return max(least, len(shape))


def before_squashing(value: ir.Value) -> ir.Value:
    """What the last softmax or sigmoid between the scores and ``value`` is given."""
    classes = _classes(value)
    found = value
    while True:
        node = value.producer()
        if is_op(node, "LogSoftmax", "Sigmoid", "Softmax"):
            value = operand(node)
            if _classes(value) != classes or not _over_classes(node, classes):
                return found
            found = value
        elif is_op(node, *_RESHAPING):
            value = operand(node)
        else:
            return found


def _classes(value: ir.Value) -> list[int | str | None]:
    """The sizes of a tensor's axes behind the batch, but those of size 1."""
    return [d for d in (dimensions(value) or ())[1:] if d != 1]


def _over_classes(node: ir.Node, classes: list[int | str | None]) -> bool:
    if is_op(node, "Sigmoid") or not classes:
        return True
    shape = shape_of(operand(node))
    # Up to opset 12 the axis was 1 by default; with (N, K) that is the last one too.
    axis = attribute(node, "axis", 1 if len(shape) == 2 else -1)
    return shape[axis] == classes[0]


@reports_invalid_file
def bind_inputs(
    network: Network, given: Mapping[str, np.ndarray]
) -> tuple[Network, tuple[ExtraInput, ...]]:
    """A network whose only input takes the images.

    Args:
        network: The network as it was loaded.
        given: Constants for its extra inputs, by name: scalars fill the whole tensor, arrays
            have its shape, with or without the batch axis.

    Returns:
        The bound network, and what the original's extra inputs are to be fed. An input that
        nothing reads is fed zeros.

    Raises:
        ModelError: An input has no value, or one that does not fit; or there is no such input.
    """
    inputs = {info.name: info for info in network.info.inputs}
    image = _image(network)
    for name in given:
        if name == image.name or name not in inputs:
            others = ", ".join(n for n in inputs if n != image.name) or "none"
            raise ModelError(
                f"{network.path} has no extra input called {name!r} that could be given a "
                f"value: {image.name} takes the images, the others are: {others}."
            )
    if len(inputs) == 1:
        return network, ()
    model = network.model.clone()
    values = {v.name: v for v in model.graph.inputs}
    fed: list[ExtraInput] = []
    missing = []
    for name, info in inputs.items():
        if name == image.name:
            continue
        value = values[name]
        if name in given:
            fed.append(_fitted(info, given[name], image))
        elif value.uses() or value.is_graph_output():
            missing.append(f"{name} {info.dtype} {list(info.shape)}")
        else:
            fed.append(_fitted(info, np.zeros(()), image))
    if missing:
        raise ModelError(
            f"{network.path} takes more than images. Give each of these a value with "
            f"{parameter('inputs', 'NAME=FILE.npy')} or {parameter('inputs', 'NAME=NUMBER')}: "
            f"{'; '.join(missing[:_LISTED])}{'; …' if len(missing) > _LISTED else ''}."
        )
    for extra in fed:
        _bind(model.graph, extra, image)
    bound = replace(network.info, inputs=(image,))
    return replace(network, info=bound, model=infer_shapes(model), bound=True), tuple(fed)


def _image(network: Network) -> TensorInfo:
    """The input that a convolution stems from, or else the first."""
    names = {v.name for v in network.flow.images}
    return next(info for info in network.info.inputs if info.name in names)


def _fitted(info: TensorInfo, value: np.ndarray, image: TensorInfo) -> ExtraInput:
    """``value`` in the input's type and shape, 1 for the batch and for sizes not known."""
    shape = [d if isinstance(d, int) else 1 for d in info.shape]
    per_image = bool(shape and image.shape) and info.shape[0] == image.shape[0]
    if per_image:
        shape[0] = 1
    free = [not isinstance(d, int) for d in info.shape]
    array = _exactly(info, value)
    if array.ndim == 0:
        array = np.full(shape, array)
    if array.ndim == len(shape) - 1 and per_image:
        array = array[None]
    fits = array.ndim == len(shape) and all(
        have == want or (any_size and axis > 0)
        for axis, (have, want, any_size) in enumerate(zip(array.shape, shape, free, strict=True))
    )
    if not fits:
        raise ModelError(
            f"The value given with {parameter('inputs', info.name)} has the shape "
            f"{list(value.shape)}, but the "
            f"input takes {list(info.shape)}."
        )
    return ExtraInput(info.name, array, per_image)


def _exactly(info: TensorInfo, value: np.ndarray) -> np.ndarray:
    """The value in the input's type, floating-point numbers rounded to it."""
    try:
        dtype = np.dtype(info.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind in "OSUc" or info.dtype == "unknown":
        raise ModelError(
            f"The input {info.name} takes no numbers, so it cannot be given a value. Export the "
            "network without it."
        )
    with np.errstate(all="ignore"):
        array = value.astype(dtype)
    if dtype.kind in "biu":
        held = np.array_equal(array, value)
    else:
        held = bool((np.isfinite(array.astype(np.float64)) | ~np.isfinite(value)).all())
    if not held:
        raise ModelError(
            f"The input {info.name} is {info.dtype}, which cannot hold the value given with "
            f"{parameter('inputs', info.name)}."
        )
    return array


def _bind(graph: ir.Graph, extra: ExtraInput, image: TensorInfo) -> None:
    """Let a constant, repeated for every image, take the place of an input."""
    value = get_value(graph, extra.name)
    graph.inputs.remove(value)
    if not value.uses() and not value.is_graph_output():
        return
    value.name = f"{extra.name}_unbound"
    new = GraphBuilder(graph, extra.name)
    constant = new.constant(extra.value)
    if extra.per_image:
        shape = new.op("Shape", get_value(graph, image.name))
        count = new.op("Gather", shape, new.constant([0]), axis=0)
        rest = new.constant(np.array(extra.value.shape[1:], np.int64))
        shape = new.op("Concat", count, rest, axis=0)
        constant = new.op("Expand", constant, shape, name=extra.name)
    value.replace_all_uses_with(constant)
    new.insert_first()
