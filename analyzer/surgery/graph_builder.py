"""Adding nodes to a graph."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from analyzer.errors import ModelError, parameter
from analyzer.surgery.graph import UniqueNames, name_of

__all__ = ["GraphBuilder", "redirect", "replace_with_input", "set_type"]


class GraphBuilder:
    """What adds nodes to a graph: made one by one, then put into it together.

    Values are named after ``stem``, or as asked, in a way that clashes with nothing in the
    graph. To learn the names that are taken takes a while in a large graph, so many insertions
    share one builder.
    """

    def __init__(self, graph: ir.Graph, stem: str):
        self.stem = stem
        self._graph = graph
        self._tape = ir.tape.Tape()
        self._names = UniqueNames(graph)

    def op(
        self, op_type: str, *inputs: ir.Value, name: str | None = None, **attributes: Any
    ) -> ir.Value:
        """A new node of the default domain; returns its one output."""
        unique = self._names.give(name or f"{self.stem}_{op_type.lower()}")
        output = self._tape.op(op_type, inputs, attributes, name=f"{unique}_node")
        output.name = unique
        return output

    def constant(self, array: Any) -> ir.Value:
        """A new initializer; lists of int become int64."""
        tensor = ir.tensor(np.asarray(array), name=self._names.give(f"{self.stem}_constant"))
        value = ir.val(tensor.name, const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def input(self, name: str, dtype: ir.DataType, shape: ir.Shape) -> ir.Value:
        """A new input of the graph."""
        value = ir.val(self._names.give(name), dtype=dtype, shape=shape)
        self._graph.inputs.append(value)
        return value

    def insert_after(self, value: ir.Value) -> None:
        """Put the nodes behind the one that makes ``value``, or first if it is an input."""
        maker = value.producer()
        if maker is None:
            self.insert_first()
        else:
            self._graph.insert_after(maker, self._take())

    def insert_before(self, node: ir.Node) -> None:
        """Put the nodes right before ``node``."""
        self._graph.insert_before(node, self._take())

    def insert_first(self) -> None:
        """Put the nodes before all others."""
        if len(self._graph):
            self.insert_before(self._graph[0])
        else:
            self._graph.extend(self._take())

    def _take(self) -> list[ir.Node]:
        nodes, self._tape = list(self._tape.nodes), ir.tape.Tape()
        return nodes


def redirect(uses: Iterable[tuple[ir.Node, int]], value: ir.Value) -> None:
    """Let the inputs of nodes that ``uses`` lists read ``value``."""
    for node, index in uses:
        node.replace_input_with(index, value)


def set_type(value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Say what is known of a new value."""
    if dtype is not None:
        value.dtype = dtype
    value.shape = shape


def replace_with_input(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    """A new value called ``name`` that all consumers of ``value`` now read instead.

    Raises:
        ModelError: the element type of ``value`` is unknown.
    """
    if value.dtype is None:
        raise ModelError(
            f"The element type of the tensor {value.name} is unknown, so the network cannot be cut "
            f"there. Choose another {parameter('site')}."
        )
    if value.name == name:
        value.name = f"{name}_above_cut"
    shape = None if value.shape is None else value.shape.copy()
    new = ir.val(name, dtype=value.dtype, shape=shape)
    if value.is_graph_output():
        output = name_of(value)
        value.name = f"{output}_above_cut"
        builder = GraphBuilder(graph, name)
        copy = builder.op("Identity", new, name=output)
        set_type(copy, new.dtype, new.shape)
        builder.insert_after(value)
        graph.outputs[graph.outputs.index(value)] = copy
    value.replace_all_uses_with(new)
    return new
