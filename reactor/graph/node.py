"""What to run, as frozen data: operators with their settings, wired by ports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Memory = Literal["stateless", "holding", "remembering"]
Column = Literal["origin", "time", "watermark", "highest", "highest_of", "behind"]
"""The last three don't leave a loop: the highest time seen, by which operator, how far the watermark is behind."""
Times = Literal["carries", "loses", "makes", "takes", "needs"]
"""What an operator does with event times: hands them on, or can't; makes them; takes them if there are any, or
needs them."""


class Operator:
    """A verb with its settings. Subclasses are frozen dataclasses; they hold no running state."""

    verb: ClassVar[str] = ""
    outputs: int = 1
    """How many output ports the node has; 0 for an end."""
    optional: int = 0
    """So many of them, the last ones, may be left unused."""
    opaque: ClassVar[bool] = False
    """True when nobody can tell what it holds of what it was given."""
    carries_time: bool = True
    """False when event times don't get through."""

    @property
    def times(self) -> Times:
        """What it does with event times."""
        return "carries" if self.carries_time else "loses"

    @property
    def memory(self) -> Memory:
        """What it keeps between events: nothing, events on their way, or something it remembers."""
        return "stateless"

    @property
    def layout(self) -> str:
        """What its saved state depends on, beside its verb: one of another layout can't be restored."""
        return ""

    @property
    def volatile(self) -> bool:
        """True when the user accepts that a restart forgets what it remembers."""
        return False

    @property
    def needs(self) -> frozenset[Column]:
        """The columns that have to reach it: with dead letters, where an event came from."""
        return frozenset({"origin"}) if self.buries else frozenset()

    @property
    def buries(self) -> bool:
        """True when an event that fails here goes to the pipeline's dead letters."""
        return getattr(getattr(self, "on_error", None), "buries", False)

    def describe(self) -> str:
        """The verb with what tells it from its neighbours, as in ``map(double)``."""
        return f"{self.verb}()"


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """One output of a node."""

    node: Node
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operator in its place: where its input comes from. Compared by identity."""

    op: Operator
    inputs: tuple[Port, ...] = ()
    name: str | None = None
    ports: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """The user's name for it, else what it does."""
        return self.name or self.op.describe()


@dataclass(frozen=True, eq=False)
class Graph:
    """A closed graph: every branch ends in a node without outputs."""

    name: str
    ends: tuple[Node, ...]
    dead_letters: Any = None
    capacity: int = 1024
    chunk: int = 4096
    interval: float = 1.0
    checkpoints: Any = None
    """Where positions and state are saved together; None: positions alone, at the sources."""
    guarantee: str = "at-least-once"

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, each after its inputs."""
        return self._nodes

    @functools.cached_property
    def _nodes(self) -> tuple[Node, ...]:
        seen: dict[Node, None] = {}
        for end in self.ends:
            stack: list[tuple[Node, Iterator[Port]]] = [(end, iter(end.inputs))]
            while stack:
                node, inputs = stack[-1]
                port = next(inputs, None)
                if port is None:
                    stack.pop()
                    seen.setdefault(node)
                elif port.node not in seen:
                    stack.append((port.node, iter(port.node.inputs)))
        return tuple(seen)

    def timed(self) -> frozenset[Node]:
        """The nodes whose input has event times."""
        has: set[Node] = set()
        gives: set[Node] = set()
        for node in self.nodes():
            if node.inputs and all(port.node in gives for port in node.inputs):
                has.add(node)
            times = node.op.times
            if times == "makes" or (times != "loses" and node in has):
                gives.add(node)
        return frozenset(has)

    def consumers(self) -> dict[tuple[Node, int], tuple[tuple[Node, int], ...]]:
        """For each output port, the (node, input index) pairs that read it."""
        return self._consumers

    @functools.cached_property
    def _consumers(self) -> dict[tuple[Node, int], tuple[tuple[Node, int], ...]]:
        found: dict[tuple[Node, int], list[tuple[Node, int]]] = {}
        for node in self.nodes():
            for index, port in enumerate(node.inputs):
                found.setdefault((port.node, port.index), []).append((node, index))
        return {port: tuple(readers) for port, readers in found.items()}

    def labels(self) -> dict[Node, str]:
        """A name for each node that no other node of the graph has."""
        return self._labels

    @functools.cached_property
    def _labels(self) -> dict[Node, str]:
        taken: dict[str, int] = {}
        labels: dict[Node, str] = {}
        for node in self.nodes():
            count = taken[node.label] = taken.get(node.label, 0) + 1
            labels[node] = node.label if count == 1 else f"{node.label}#{count}"
        return labels

    def ancestors(self, node: Node) -> set[Node]:
        """All nodes that ``node`` gets events from, itself included."""
        found: set[Node] = set()
        todo = [node]
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo.extend(port.node for port in at.inputs)
        return found


def name_of(fn: Callable[..., Any] | None) -> str:
    """A short name for a function in a plan or an error."""
    if fn is None:
        return ""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__name__", type(fn).__name__)
    if name == "<lambda>":
        code = getattr(fn, "__code__", None)
        return f"lambda:{code.co_firstlineno}" if code else "lambda"
    return str(name)
