"""What a network can be run in, and making float16 of it.

float32 is exact as far as the device goes: TF32 is off. The others are faster on a GPU and round
more, so that near ties can be decided otherwise. TF32 is the GPU's own way to multiply float32;
float16 is another file.
"""

from pathlib import Path
from typing import Any

from analyzer.errors import ModelError, parameter

__all__ = ["PRECISIONS", "in_float16"]

PRECISIONS = ("float32", "tf32", "fp16")


def in_float16(path: Path) -> Any:
    """The network at ``path`` in float16 but for its inputs and outputs, an ``onnx.ModelProto``.

    By the converter that is bundled with onnxruntime. Operators without float16 keep float32
    between casts. Values beyond float16's range become its largest; small ones, its smallest above
    0.

    Raises:
        ModelError: it has no weights in float32, or cannot be converted.
    """
    # Imported here: it takes a tenth of a second, and only float16 needs it.
    from analyzer import surgery
    from analyzer.runtime.sessions import load_float16_converter

    convert, without = load_float16_converter()
    try:
        model = convert(
            str(path),
            keep_io_types=True,
            disable_shape_infer=True,
            op_block_list=[*without, *surgery.operators_of_float32(path)],
        )
    except MemoryError:
        raise
    except Exception as error:  # assertions and whatever onnx raises
        raise ModelError(
            f"The network cannot be converted to float16 ({type(error).__name__}: {error}). Use "
            f"{parameter('precision', 'float32')}."
        ) from error
    if not any(tensor.data_type == tensor.FLOAT16 for tensor in model.graph.initializer):
        raise ModelError(
            "The network has no weights in float32 that could be converted to float16. Use "
            f"{parameter('precision', 'float32')}, which runs it as it is."
        )
    _drop_repeated_casts(model.graph)
    return model


def _drop_repeated_casts(graph: Any) -> None:
    """Keep the first of the casts of one name that operators without float16 give a value."""
    made: set[str] = set()
    nodes = []
    for node in graph.node:
        if not (node.op_type == "Cast" and node.output[0] in made):
            nodes.append(node)
        made.update(node.output)
    del graph.node[:]
    graph.node.extend(nodes)
