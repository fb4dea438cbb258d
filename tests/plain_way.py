"""The plain way, as an independent reference: the whole network, once per n, order and class.

Shares no code with the package: the mask goes into the original's protobuf by hand, and the
order of the units comes from the site's own values.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper


@dataclass(frozen=True)
class PlainCurves:
    order: dict[int, np.ndarray]  # class -> (M,)
    descending: dict[int, np.ndarray]  # class -> (M + 1,) correct counts
    ascending: dict[int, np.ndarray]
    hits_descending: np.ndarray  # (S,)
    hits_ascending: np.ndarray
    correct: np.ndarray  # (S,)
    close: int  # rows whose two highest scores lie within 1e-5 of the scores' scale


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def masked(model: Path, tensor: str, axis: int, rank: int) -> onnx.ModelProto:
    """The original with ``tensor`` multiplied, where it is made, by an input ``plain_mask``."""
    proto = onnx.load(model)
    inner = f"{tensor}__before_mask"
    for node in proto.graph.node:
        for i, name in enumerate(node.output):
            if name == tensor:
                node.output[i] = inner
                place = list(proto.graph.node).index(node)
    shape = [1] * rank
    shape[axis] = -1
    proto.graph.initializer.append(
        helper.make_tensor("plain_shape", TensorProto.INT64, [rank], shape)
    )
    proto.graph.input.append(helper.make_tensor_value_info("plain_mask", TensorProto.FLOAT, ["M"]))
    for offset, node in enumerate(
        (
            helper.make_node("Reshape", ["plain_mask", "plain_shape"], ["plain_spread"]),
            helper.make_node("Mul", [inner, "plain_spread"], [tensor]),
        )
    ):
        proto.graph.node.insert(place + 1 + offset, node)
    del proto.graph.value_info[:]
    return proto


def plain_attribute(
    rank: str, seed: int, activity: np.ndarray, labels: np.ndarray, label: int
) -> list[float]:
    """What the units of a class are ranked by, highest first, from their activity (S, M)."""
    mean = {j: activity[labels == j].mean(axis=0) for j in np.unique(labels)}
    if rank == "l1":
        return list(mean[label])
    if rank == "random":
        drawn = list(np.random.default_rng((seed, label)).permutation(activity.shape[1]))
        return [-drawn.index(unit) for unit in range(len(drawn))]
    # Morcos et al. 2018, with class ``label`` in the place of the unit's highest class.
    selectivity = []
    for unit, own in enumerate(mean[label]):
        others = [float(mean[j][unit]) for j in mean if j != label]
        rest = sum(others) / len(others)
        selectivity.append((own - rest) / (own + rest) if own + rest else 0.0)
    return selectivity


def plain_curves(
    model: Path,
    tensor: str,
    axis: int,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rank: str = "l1",
    seed: int = 0,
) -> PlainCurves:
    """Everything that METHOD.md asks of a network, by brute force."""
    proto = onnx.load(model)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    (values,) = session(proto).run(None, {proto.graph.input[0].name: images})
    spatial = tuple(i for i in range(1, values.ndim) if i != axis)
    activity = np.abs(values.astype(np.float64)).sum(axis=spatial)  # (S, M)
    units = activity.shape[1]

    whole = session(masked(model, tensor, axis, values.ndim))
    image, scores = whole.get_inputs()[0].name, whole.get_outputs()[0].name
    order, curves = {}, ({}, {})
    hits = np.zeros((2, len(labels)), dtype=int)
    correct = np.zeros(len(labels), dtype=bool)
    close = 0
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        by = plain_attribute(rank, seed, activity, labels, label)
        order[label] = np.array(sorted(range(units), key=lambda i, by=by: (-by[i], i)))
        for number, removal in enumerate((order[label], order[label][::-1])):
            counts = np.zeros(units + 1, dtype=int)
            for n in range(units + 1):
                mask = np.ones(units, dtype=np.float32)
                mask[removal[:n]] = 0
                found = whole.run([scores], {image: images[mine], "plain_mask": mask})[0]
                found = found.reshape(len(mine), -1)
                right = found.argmax(axis=1) == label
                top = np.sort(found, axis=1)[:, -2:]
                close += int((top[:, 1] - top[:, 0] <= 1e-5 * np.abs(found).max(axis=1)).sum())
                counts[n] = right.sum()
                hits[number, mine] += right
                if n == 0:
                    correct[mine] = right
            curves[number][label] = counts
    return PlainCurves(order, curves[0], curves[1], hits[0], hits[1], correct, close)
