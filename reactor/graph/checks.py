"""The checks of a closed graph: all faults at once, each with its fix."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from reactor.core import Fault, GraphError
from reactor.graph.node import Graph, Node


def check(graph: Graph, *, open_end: bool = False) -> None:
    """Raise a GraphError with every fault of the graph; with ``open_end``, its end is read from outside."""
    faults = [*_ends(graph), *_ports(graph, open_end), *_names(graph), *_letters(graph), *_twice(graph)]
    faults += [*_memory(graph), *_ancestors(graph), *_processes(graph), *_times(graph), *_exactly(graph)]
    if faults:
        raise GraphError(graph.name, faults)


def _ends(graph: Graph) -> Iterator[Fault]:
    if not graph.ends:
        yield Fault(graph.name, "has no branches", "pass at least one stream that ends in to() or discard()")


def _ports(graph: Graph, open_end: bool) -> Iterator[Fault]:
    consumers = graph.consumers()
    for node in graph.nodes():
        if open_end and node in graph.ends and node.op.outputs == 1:
            continue
        for index in range(node.op.outputs - node.op.optional):
            if (node, index) not in consumers:
                what = f"output {index}" if node.op.outputs > 1 else "its output"
                yield Fault(
                    graph.labels()[node],
                    f"{what} is used by nobody, its events would be lost",
                    "end it with to() or discard(), and pass that branch to a Pipeline",
                )


def _names(graph: Graph) -> Iterator[Fault]:
    seen: set[str] = set()
    for node in graph.nodes():
        if node.name is None:
            continue
        if node.name in seen:
            yield Fault(node.name, "two operators have this name", "give each name= once")
        seen.add(node.name)


def _letters(graph: Graph) -> Iterator[Fault]:
    if graph.dead_letters is not None:
        return
    for node in graph.nodes():
        if node.op.buries:
            yield Fault(
                graph.labels()[node],
                "on_error=DeadLetters(), but the pipeline has nowhere to put them",
                "pass Pipeline(..., dead_letters=topic(...))",
            )


def _twice(graph: Graph) -> Iterator[Fault]:
    objects: dict[int, str] = {}
    groups: dict[str, str] = {}
    for node in graph.nodes():
        given: Any = getattr(node.op, "given", None)
        given = getattr(given, "iterator", given)
        kind = getattr(node.op, "kind", "")
        label = graph.labels()[node]
        if given is not None and (kind in {"source", "inlet"} or hasattr(given, "__next__")):
            if id(given) in objects:
                yield Fault(
                    label, f"the same source as {objects[id(given)]}, read by two streams", "share one Stream"
                )
            objects[id(given)] = label
            identity = getattr(given, "identity", None)
            if identity is not None:
                if identity in groups:
                    yield Fault(
                        label,
                        f"group {identity} is subscribed twice in one pipeline",
                        "share one Stream, or use two groups",
                    )
                groups[identity] = label
        sink = getattr(node.op, "sink", None)
        if sink is not None:
            if id(sink) in objects:
                yield Fault(
                    label, "this sink object ends two branches", "merge the branches, or use two sinks"
                )
            objects[id(sink)] = label


def _memory(graph: Graph) -> Iterator[Fault]:
    for node in graph.nodes():
        if graph.checkpoints is not None and node.op.opaque:
            yield Fault(
                graph.labels()[node],
                "nobody can tell what it holds, so no checkpoint can pass it: none would ever be taken",
                "end the pipeline before it in a topic, and read that in a pipeline without checkpoint=",
            )
        if node.op.memory != "remembering" or node.op.volatile:
            continue
        if graph.checkpoints is not None:
            if node.name is None:
                yield Fault(
                    graph.labels()[node],
                    "remembers what it has seen, and has no name under which a checkpoint could keep that",
                    'pass name="..." (it has to stay the same), or volatile=True to have it forgotten',
                )
            continue
        replayed = [n for n in graph.ancestors(node) if getattr(n.op, "replay", False)]
        if replayed:
            yield Fault(
                graph.labels()[node],
                f"remembers what it has seen, over {graph.labels()[replayed[0]]}, which is read on from its "
                "committed position after a restart: what was remembered would be lost",
                'pass Pipeline(..., checkpoint="sqlite:state.db"), or volatile=True to accept that',
            )


def _exactly(graph: Graph) -> Iterator[Fault]:
    if graph.guarantee != "exactly-once":
        return
    if graph.checkpoints is None:
        yield Fault(
            graph.name,
            'guarantee="exactly-once" needs checkpoints',
            'pass Pipeline(..., checkpoint="sqlite:state.db")',
        )
    for node in graph.nodes():
        label, op = graph.labels()[node], node.op
        if not node.inputs and not can_replay(node):
            yield Fault(
                label,
                "can't be read again from where a checkpoint stood: guarantee=\"exactly-once\" can't be kept",
                "read a topic, a file, or another Source that can seek",
            )
        elif not op.outputs and op.verb != "discard" and not transactional(node):
            yield Fault(
                label,
                "isn't transactional: what it was given before a crash it will be given again",
                'write to a topic or a table(...), or drop guarantee="exactly-once"',
            )
        elif op.volatile and op.memory == "remembering":
            yield Fault(label, "volatile=True: a restart forgets what it remembers", "drop volatile=True")


def can_replay(node: Node) -> bool:
    """True for a source that can go on from where a checkpoint stood."""
    given: Any = getattr(node.op, "given", None)
    return bool(getattr(node.op, "replay", False) or getattr(given, "seekable", False))


def transactional(node: Node) -> bool:
    """True for an end that holds back what it is given until a checkpoint is decided."""
    return bool(getattr(getattr(node.op, "sink", None), "transactional", False))


def _times(graph: Graph) -> Iterator[Fault]:
    timed = graph.timed()
    for node in graph.nodes():
        if node.op.times != "needs" or node in timed:
            continue
        lost = [n for n in graph.ancestors(node) - {node} if n.op.times == "loses"]
        if lost:
            what = f"event times don't get through {graph.labels()[lost[0]]}"
            fix = "put event_time(...) behind it"
        else:
            what = "its events have no event time"
            fix = "put event_time(fn, out_of_order=...) before it, or use the clock: Tumbling(60, clock=True)"
        yield Fault(graph.labels()[node], what, fix)


_BESIDE = ("concat", "zip", "interleave", "with_latest", "combine_latest")
"""What takes from one input while another waits."""


def _ancestors(graph: Graph) -> Iterator[Fault]:
    for node in graph.nodes():
        if node.op.verb not in _BESIDE:
            continue
        seen: set[Node] = set()
        shared: set[Node] = set()
        for port in node.inputs:
            mine = graph.ancestors(port.node)
            shared |= seen & mine
            seen |= mine
        if not shared:
            continue
        label = graph.labels()[node]
        common = ", ".join(sorted(graph.labels()[n] for n in shared))
        if node.op.verb == "concat":
            yield Fault(
                label,
                f"its inputs share {common}: the second waits, so the first would wait for ever",
                "give each input a source of its own, or use merge()",
            )
        elif "latest" in node.op.verb:
            # Each may be made of the other; but a window gives nothing for long, while the other branch fills up.
            branches = (graph.ancestors(port.node) - shared for port in node.inputs)
            waiting = [n for branch in branches for n in branch if n.op.times == "needs"]
            if waiting and not all(_buffered(port.node, shared) for port in node.inputs):
                yield Fault(
                    label,
                    f"its inputs share {common}: the other branch fills up until {graph.labels()[waiting[0]]} "
                    "gives its first result",
                    "use join_table(), which waits by event time; or put an explicit buffer(n) into each branch",
                )
        elif not all(_buffered(port.node, shared) for port in node.inputs):
            yield Fault(
                label,
                f"its inputs share {common}: when one branch drops events the other fills up",
                "put an explicit buffer(n) into each branch, large enough for how far they drift apart",
            )


def _buffered(node: Node, shared: set[Node]) -> bool:
    """True when every way from the shared nodes to this one leads through a buffer."""
    if node in shared:
        return False
    return node.op.verb == "buffer" or all(_buffered(port.node, shared) for port in node.inputs)


def _processes(graph: Graph) -> Iterator[Fault]:
    for node in graph.nodes():
        if getattr(node.op, "where", "") != "process":
            continue
        fn = getattr(node.op, "fn", None)
        try:
            pickle.dumps(fn)
        except Exception as error:  # pickle raises whatever it likes
            yield Fault(
                graph.labels()[node],
                f"processes= needs a function that another process can import ({error})",
                "define it with def at the top level of a module",
            )
