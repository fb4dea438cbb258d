"""A suffix that takes evaluations by reference, for features that stay on a device.

It gathers the features of the samples named, and makes their masks from ranks.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.common_types import Cut
from analyzer.surgery.graph import (
    GraphBuilder,
    redirect,
    set_type,
)
from analyzer.surgery.saving import save_part

__all__ = ["HIGH", "LOW", "RANK", "SAMPLE", "write_gathering_suffix"]

SAMPLE, LOW, HIGH, RANK = "evaluation_sample", "evaluation_low", "evaluation_high", "unit_rank"


def write_gathering_suffix(cut: Cut) -> Path:
    """Write ``evaluations.onnx`` beside the suffix.

    Its inputs are those of the suffix but the mask, now for C samples, and ``unit_rank`` int32
    (C, M), ``evaluation_sample`` int64 (E,), ``evaluation_low`` and ``evaluation_high`` int32
    (E,). Evaluation e is the sample ``evaluation_sample[e]`` with the units kept whose rank is at
    least ``evaluation_low[e]`` and below ``evaluation_high[e]``; its scores are those of the
    suffix.
    """
    model = ir.load(cut.suffix)
    graph = model.graph
    sample = ir.val(SAMPLE, dtype=ir.DataType.INT64, shape=["E"])
    low, high = (ir.val(name, dtype=ir.DataType.INT32, shape=["E"]) for name in (LOW, HIGH))
    rank = ir.val(RANK, dtype=ir.DataType.INT32, shape=["C", cut.site.channels])
    inputs = []
    new = GraphBuilder(graph, "evaluations")
    for value in tuple(graph.inputs):
        if value.name == cut.mask:
            ranks = new.op("Gather", rank, sample, axis=0)  # (E, M)
            column = new.constant(np.array([-1, 1]))
            at_least = new.op("Not", new.op("Less", ranks, new.op("Reshape", low, column)))
            below = new.op("Less", ranks, new.op("Reshape", high, column))
            kept = new.op("And", at_least, below)
            value.replace_all_uses_with(new.op("Cast", kept, to=ir.DataType.FLOAT.value))
        elif value.name in cut.shared_inputs:
            inputs.append(value)
        else:
            uses = value.uses()
            gathered = new.op("Gather", value, sample, axis=0)
            set_type(gathered, value.dtype, value.shape)
            redirect(uses, gathered)
            inputs.append(value)
    new.insert_first()
    graph.inputs.clear()
    graph.inputs.extend([*inputs, rank, sample, low, high])
    path = cut.suffix.with_name("evaluations.onnx")
    save_part(model, path)
    return path
