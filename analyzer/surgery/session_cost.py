"""What onnxruntime takes more than in proportion when it opens a network, held against budgets."""

import heapq
from functools import partial

import onnx_ir as ir

from analyzer.surgery.graph import is_unused, reads, with_subgraphs
from analyzer.surgery.network import Network
from analyzer.surgery.network_size import hold_to_budget

__all__ = ["check_session_cost", "ordering_steps"]


def check_session_cost(network: Network) -> None:
    """Hold what a network asks for where it is run against its budgets.

    Raises:
        ModelError: its nodes read too many initializers, or too many nodes could run at once.
    """
    hold = partial(hold_to_budget, network.path, network.budgets)
    graphs = list(with_subgraphs(network.model.graph))
    read = sum(not is_unused(value) for graph in graphs for value in graph.initializers.values())
    hold("read_initializers", read, "has", "initializers and constants that nodes read")
    after = "steps to put its nodes in order, as very many could run at the same time"
    hold("ordering_steps", sum(map(ordering_steps, graphs)), "takes", after)


def ordering_steps(graph: ir.Graph) -> int:
    """Steps that onnxruntime takes to put the nodes of a graph, without its subgraphs, in order.

    It keeps the nodes whose inputs are there in a list, takes out the one that comes first in the
    file, and goes through the whole list for each that it puts in (Kahn's algorithm).
    """
    places = {node: place for place, node in enumerate(graph)}
    nodes = list(places)
    producers = [{value.producer() for value in reads(node)} for node in nodes]
    makers = [{places[node] for node in those if node in places} for those in producers]
    readers: list[list[int]] = [[] for _ in nodes]
    for place, those in enumerate(makers):
        for maker in those:
            readers[maker].append(place)
    missing = list(map(len, makers))
    ready = [place for place, count in enumerate(missing) if count == 0]
    steps = len(ready) * (len(ready) - 1) // 2
    while ready:
        for reader in readers[heapq.heappop(ready)]:
            missing[reader] -= 1
            if not missing[reader]:
                steps += len(ready)
                heapq.heappush(ready, reader)
    return steps
