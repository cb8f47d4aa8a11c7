"""From the graph to stages and channels: which operators share a task, and which columns flow between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reactor.engine.channel import Policy
from reactor.engine.fuse import Loop, fuse
from reactor.graph import ChannelView, Column, Description, Graph, Node, StageView
from reactor.operators import (
    Batch,
    Buffer,
    Call,
    Fused,
    Limit,
    Origin,
    Split,
    Take,
    TakeWhile,
    TimedBatch,
)

Wanted = tuple[Column, ...]

_ORIGIN: frozenset[Column] = frozenset({"origin"})
_ENDING = (Take, TakeWhile, Batch, TimedBatch)


@dataclass(slots=True, eq=False)
class ChannelPlan:
    """One channel: from a port of a stage to an input of another."""

    source: StagePlan
    port: int
    target: StagePlan
    capacity: int
    overflow: Policy


@dataclass(slots=True, eq=False)
class StagePlan:
    """The operators that run in one task: a head that says where events come from, and a fused chain."""

    head: Node
    chain: tuple[Node, ...] = ()
    name: str = ""
    given: Wanted = ()
    """The columns of the chunks that go into the chain."""
    wanted: tuple[Wanted, ...] = ()
    """The columns of what comes out, for each port."""
    loop: Loop | None = None
    sources: frozenset[int] = frozenset()
    """The numbers of the sources with positions that events come from."""
    in_order: bool = True
    """True when the events of each source come in its order: the last one says which came before it."""
    inputs: list[ChannelPlan] = field(default_factory=list)
    outlets: list[list[ChannelPlan]] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All of its operators, the head included."""
        return self.chain if self.chain and self.chain[0] is self.head else (self.head, *self.chain)

    @property
    def last(self) -> Node:
        """The operator whose outputs are the stage's."""
        return self.chain[-1] if self.chain else self.head


@dataclass(slots=True)
class Plan:
    """All stages and channels of a graph."""

    graph: Graph
    stages: list[StagePlan]
    channels: list[ChannelPlan]
    sources: tuple[Node, ...]
    """The sources with positions: their place here is their number."""


def plan(graph: Graph) -> Plan:
    """Cut the graph into stages."""
    stages = _stages(graph)
    stage_of = {node: stage for stage in stages for node in stage.nodes}
    numbered = tuple(node for node in graph.nodes() if isinstance(node.op, Origin) and node.op.committed)
    cut = _cut(graph, frozenset(numbered))
    needs = _needs(graph, cut)
    labels = graph.labels()
    for stage in stages:
        names = [labels[node] for node in stage.nodes]
        stage.name = " | ".join(names if len(names) <= 5 else [*names[:2], "...", *names[-2:]])
        ancestors = graph.ancestors(stage.head)
        stage.sources = frozenset(n for n, node in enumerate(numbered) if node in ancestors)
        stage.in_order = not any(_reorders(graph, node, numbered) for node in ancestors)
    channels: list[ChannelPlan] = []
    for stage in stages:
        ports = stage.last.op.outputs
        stage.outlets = [[] for _ in range(ports)]
        for port in range(ports):
            for reader, _ in graph.consumers().get((stage.last, port), ()):
                target = stage_of[reader]
                capacity, overflow = graph.capacity, "block"
                if isinstance(target.head.op, Buffer):
                    capacity, overflow = target.head.op.size, target.head.op.overflow
                channel = ChannelPlan(stage, port, target, capacity, overflow)  # type: ignore[arg-type]
                stage.outlets[port].append(channel)
                channels.append(channel)
        stage.wanted = tuple(
            _columns(*(needs[channel.target.head] for channel in outlet)) for outlet in stage.outlets
        )
    for stage in stages:
        # In the order of the node's inputs: concat and zip depend on it.
        for given in stage.head.inputs:
            source = stage_of[given.node]
            free = (c for c in source.outlets[given.index] if c.target is stage and c not in stage.inputs)
            stage.inputs.append(next(free))
        head = stage.head.op
        plain = isinstance(head, Origin) and head.kind != "source" and stage.head not in cut
        _fuse(stage, needs, values_are_origins=plain)
    return Plan(graph, stages, channels, numbered)


def _fuse(stage: StagePlan, needs: dict[Node, frozenset[Column]], values_are_origins: bool) -> None:
    stage.given = _columns(needs[stage.head])
    if stage.chain:
        if values_are_origins:
            origin = "origin" in stage.given
            stage.given = tuple(column for column in stage.given if column != "origin")
            stage.loop = fuse(stage.chain, stage.given, stage.wanted, origin_is_value=origin)
        else:
            stage.loop = fuse(stage.chain, stage.given, stage.wanted)


def _stages(graph: Graph) -> list[StagePlan]:
    """Neighbours that are fused, as long as nobody else reads what flows between them."""
    open_at: dict[Node, StagePlan] = {}
    stages: list[StagePlan] = []
    consumers = graph.consumers()
    for node in graph.nodes():
        fused = isinstance(node.op, Fused | Split)
        if fused and len(node.inputs) == 1:
            before = node.inputs[0]
            stage = open_at.get(before.node)
            if stage is not None and len(consumers[before.node, before.index]) == 1:
                stage.chain = (*stage.chain, node)
                del open_at[before.node]
                if not isinstance(node.op, Split):
                    open_at[node] = stage
                continue
        stage = StagePlan(node, chain=(node,) if fused else ())
        stages.append(stage)
        if not isinstance(node.op, Split):
            open_at[node] = stage
    return stages


def _reorders(graph: Graph, node: Node, numbered: tuple[Node, ...]) -> bool:
    """True when events of one source may overtake each other here."""
    op = node.op
    if isinstance(op, Call):
        return op.order != "input"
    if isinstance(op, Limit):
        return op.key is not None
    if len(node.inputs) < 2:
        return False
    reached = [source for port in node.inputs for source in graph.ancestors(port.node) if source in numbered]
    return len(reached) > len(set(reached))


def _cut(graph: Graph, numbered: frozenset[Node]) -> frozenset[Node]:
    """The sources with positions whose events may end in the middle: something has enough, or drops some."""
    ending = [node for node in graph.nodes() if isinstance(node.op, _ENDING)]
    return frozenset(source for node in ending for source in graph.ancestors(node) & numbered)


def _needs(graph: Graph, cut: frozenset[Node]) -> dict[Node, frozenset[Column]]:
    """For each node, the columns that have to reach it, for itself or for those behind it."""
    consumers = graph.consumers()
    needs: dict[Node, frozenset[Column]] = {}
    for node in reversed(graph.nodes()):
        found: frozenset[Column] = node.op.needs
        if isinstance(node.op, _ENDING) and graph.ancestors(node) & cut:
            found |= _ORIGIN  # how far its sources have been handled when it ends
        for port in range(node.op.outputs):
            for reader, _ in consumers.get((node, port), ()):
                found |= needs[reader]
        needs[node] = found
    return needs


def _columns(*needs: frozenset[Column]) -> Wanted:
    return tuple(sorted(frozenset[Column]().union(*needs)))


def described(graph: Graph) -> Description:
    """Return what ``explain()`` tells."""
    planned = plan(graph)
    labels = graph.labels()
    views = []
    for stage in planned.stages:
        operators = tuple((labels[node], _remembers(node)) for node in stage.nodes)
        reads = tuple(channel.source.name for channel in stage.inputs)
        views.append(StageView(stage.name, operators, reads, stage.given))
    channels = tuple(
        ChannelView(channel.source.name, channel.target.name, channel.capacity, channel.overflow)
        for channel in planned.channels
    )
    guarantee, why = _guarantee([node for node in graph.nodes() if isinstance(node.op, Origin)])
    return Description(graph.name, guarantee, why, tuple(views), channels)


def _remembers(node: Node) -> str:
    if node.op.memory == "remembering" and node.op.volatile:
        return "remembering, volatile"
    return "" if node.op.memory == "stateless" else node.op.memory


def _guarantee(sources: Sequence[Node]) -> tuple[str, str]:
    replayed = [node.label for node in sources if isinstance(node.op, Origin) and node.op.replay]
    if not replayed:
        return "at most once", "no source can be read again after a crash; within the run nothing is lost"
    why = f"{', '.join(replayed)}: positions are committed after all sinks have what came before them"
    if len(replayed) < len(sources):
        return "at least once for some", f"{why}; the other sources can't be read again"
    return "at least once", why
