"""The part of a pipeline behind one of its operators, as a graph of its own."""

from __future__ import annotations

from typing import Any

from reactor.core import LetterError, Source
from reactor.graph import Graph, Node, Port
from reactor.operators import Items, Origin


def behind(graph: Graph, operator: str, source: Source[Any]) -> Graph:
    """Return the graph in which ``source`` gives this operator its events; all behind it is as it was.

    What else comes together with them there (merge) gives nothing. Raises LetterError where there is no such
    operator, or where something behind it remembers what has passed: it would take the events for new ones.
    """
    labels = graph.labels()
    begins = next((node for node, label in labels.items() if label == operator), None)
    where = f"pipeline {graph.name!r}"
    if begins is None:
        raise LetterError(
            f"{where} has no operator {operator!r}; it has {', '.join(labels.values())}; "
            "replay to the topic that the event came from"
        )
    if isinstance(begins.op, Items):  # the second half of a flat_map: the first is given the event
        begins = begins.inputs[0].node
    if not begins.inputs:
        raise LetterError(
            f"{where}: {operator} is the source, which couldn't read it; replay to the topic that it came from"
        )
    after: dict[Node, None] = {begins: None}
    for node in graph.nodes():
        if any(port.node in after for port in node.inputs):
            after.setdefault(node)
    remembers = [labels[node] for node in after if node.op.memory == "remembering"]
    if remembers:
        raise LetterError(
            f"{where}: {', '.join(remembers)} remembers what has passed, and would know nothing of it in a "
            "replay into " + operator + "; replay to the topic that the event came from"
        )
    name = "dead letters"
    while name in labels.values():
        name += "'"
    given = Port(Node(Origin(source, "source"), name=name))
    made: dict[Node, Node] = {}
    for node in graph.nodes():
        if node is begins:
            inputs: tuple[Port, ...] = (given,)
        elif node in after:
            inputs = tuple(
                Port(made[port.node], port.index)
                if port.node in after
                else Port(Node(Origin((), "iterable")))
                for port in node.inputs
            )
        else:
            continue
        # By name they keep their labels, which otherwise depend on what comes before.
        made[node] = Node(node.op, inputs, labels[node], node.ports)
    ends = tuple(made[end] for end in graph.ends if end in made)
    return Graph(
        graph.name,
        ends,
        dead_letters=graph.dead_letters,
        capacity=graph.capacity,
        chunk=graph.chunk,
        interval=graph.interval,
    )
