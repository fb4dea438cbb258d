"""Adding nodes to a graph."""

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import names_of

__all__ = ["Insertion"]


class Insertion:
    """Nodes made one by one, then put into a graph together.

    Values are named after ``stem`` in a way that clashes with nothing in the graph.
    """

    def __init__(self, graph: ir.Graph, stem: str):
        self._graph = graph
        self._stem = stem
        self._nodes: list[ir.Node] = []
        self._taken = names_of(graph)

    def op(self, op_type: str, *inputs: ir.Value, name: str | None = None, **attributes):
        """A new node of the default domain; returns its one output."""
        node = ir.node(op_type, inputs, attributes)
        output = node.outputs[0]
        output.name = self._unique(name or f"{self._stem}_{op_type.lower()}")
        node.name = f"{output.name}_node"
        self._nodes.append(node)
        return output

    def constant(self, array) -> ir.Value:
        """A new initializer; lists of int become int64."""
        tensor = ir.tensor(np.asarray(array), name=self._unique(f"{self._stem}_constant"))
        value = ir.val(tensor.name, const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def insert(self, *, after: ir.Value | None) -> None:
        """Put the nodes behind the one that makes ``after``, or first for an input or None."""
        maker = None if after is None else after.producer()
        if maker is not None:
            self._graph.insert_after(maker, self._nodes)
        elif len(self._graph):
            self._graph.insert_before(self._graph[0], self._nodes)
        else:
            self._graph.extend(self._nodes)

    def _unique(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        return wanted
