"""The suffix for a device with memory of its own: rows name their samples instead of bringing them.

What the suffix reads of the samples lies on the device, once; a row is three integers. The mask is
made where it is used, from the ranks of the units.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.records import Cut
from analyzer.surgery.editing import Insertion
from analyzer.surgery.writing import save

__all__ = ["HIGH", "LOW", "RANK", "SAMPLE", "write_gathering_suffix"]

SAMPLE, LOW, HIGH, RANK = "row_sample", "row_low", "row_high", "unit_rank"


def write_gathering_suffix(cut: Cut) -> Path:
    """Write ``rows.onnx`` beside the suffix.

    Its inputs are those of the suffix but the mask, now for C samples, and ``unit_rank`` int32
    (C, M), ``row_sample`` int64 (R,), ``row_low`` and ``row_high`` int32 (R,). Row r is the sample
    ``row_sample[r]`` with the units kept whose rank is at least ``row_low[r]`` and below
    ``row_high[r]``; its scores are those of the suffix.
    """
    model = ir.load(cut.suffix)
    graph = model.graph
    sample = ir.val(SAMPLE, dtype=ir.DataType.INT64, shape=["R"])
    low, high = (ir.val(name, dtype=ir.DataType.INT32, shape=["R"]) for name in (LOW, HIGH))
    rank = ir.val(RANK, dtype=ir.DataType.INT32, shape=["C", cut.site.channels])
    inputs = []
    first = Insertion(graph, "rows")
    for value in tuple(graph.inputs):
        if value.name == cut.mask:
            ranks = first.op("Gather", rank, sample, axis=0)  # (R, M)
            behind = first.constant(np.array([-1, 1]))
            at_least = first.op("Not", first.op("Less", ranks, first.op("Reshape", low, behind)))
            below = first.op("Less", ranks, first.op("Reshape", high, behind))
            kept = first.op("And", at_least, below)
            value.replace_all_uses_with(first.op("Cast", kept, to=ir.DataType.FLOAT.value))
        elif value.name in cut.shared:
            inputs.append(value)
        else:
            uses = tuple(value.uses())
            gathered = first.op("Gather", value, sample, axis=0)
            gathered.dtype, gathered.shape = value.dtype, value.shape
            for node, index in uses:
                node.replace_input_with(index, gathered)
            inputs.append(value)
    first.insert(after=None)
    graph.inputs.clear()
    graph.inputs.extend([*inputs, rank, sample, low, high])
    path = cut.suffix.with_name("rows.onnx")
    save(model, path)
    return path
