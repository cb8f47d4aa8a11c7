"""Which event_time operators know from which partition of a source an event came."""

from __future__ import annotations

from reactor.core import Source
from reactor.graph import Graph, Node
from reactor.operators.batching import Batch
from reactor.operators.body import Fused
from reactor.operators.ends import Origin, Split
from reactor.operators.timed import EventTime


def parted_by(graph: Graph) -> dict[Node, Node]:
    """The event_time operators that know from which partition each event came, and the source of each.

    They stand behind a partitioned source, or behind operators of which each event has come from one.
    """
    found: dict[Node, Node] = {}
    for node in graph.nodes():
        if not isinstance(node.op, EventTime):
            continue
        before = node.inputs[0].node
        while _keeps_parts(before):
            before = before.inputs[0].node
        if (
            isinstance(before.op, Origin)
            and isinstance(before.op.given, Source)
            and before.op.given.partitioned
        ):
            found[node] = before
    return found


def _keeps_parts(node: Node) -> bool:
    op = node.op
    return isinstance(op, Fused | Split) and op.times == "carries" and not isinstance(op, Batch)
