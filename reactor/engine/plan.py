"""From the graph to stages and channels: which operators share a task, and which columns flow between them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from reactor.engine.channel import Policy
from reactor.engine.fuse import Loop, fuse
from reactor.graph import ChannelView, Column, Description, Graph, Node, StageView, can_replay, transactional
from reactor.operators import (
    Batch,
    Buffer,
    Call,
    EventTime,
    Fused,
    Inner,
    Limit,
    Merge,
    Origin,
    Split,
    Take,
    TakeWhile,
    Timed,
    TimedBatch,
    parted_by,
)

Wanted = tuple[Column, ...]

_ORIGIN: frozenset[Column] = frozenset({"origin"})
_TIMES: frozenset[Column] = frozenset({"time", "watermark"})
_ENDING = (Take, TakeWhile, Batch, TimedBatch)

QUIET = 3.0
"""Seconds for which event_time waits for a partition that gives nothing, where it has no ``idle=``."""

LONGEST = 100
"""The most operators of one loop: it is written by calls in each other."""

DEEPEST = 6
"""The most loops in each other: two blocks each, of the 20 that Python allows."""


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
    unused: frozenset[int] = frozenset()
    """The ports that nobody reads."""
    loop: Loop | None = None
    arriving: Wanted = ()
    """The columns of what its channels bring; not the same as ``given`` where the clock makes the times."""
    sources: frozenset[int] = frozenset()
    """The numbers of the sources with positions that events come from."""
    patience: float | None = None
    """Of a partitioned source before event_time: seconds between asking it which partitions are quiet."""
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
    saves = graph.checkpoints is not None
    numbered = tuple(
        node for node in graph.nodes() if isinstance(node.op, Origin) and (saves or node.op.committed)
    )
    # With checkpoints what was dropped is part of the state; what nobody wanted isn't committed there either.
    ending = (Take, TakeWhile) if saves else _ENDING
    cut = _cut(graph, frozenset(node for node in numbered if node.op.committed), ending)  # type: ignore[attr-defined]
    parted = parted_by(graph)
    needs = _needs(graph, cut, ending, parted)
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
        stage.arriving = _columns(needs[stage.head])
        stage.wanted = tuple(
            _columns(*(needs[channel.target.head] for channel in outlet)) for outlet in stage.outlets
        )
        stage.unused = frozenset(n for n, outlet in enumerate(stage.outlets) if n and not outlet)
    for stage in stages:
        # In the order of the node's inputs: concat and zip depend on it.
        for given in stage.head.inputs:
            source = stage_of[given.node]
            free = (c for c in source.outlets[given.index] if c.target is stage and c not in stage.inputs)
            stage.inputs.append(next(free))
        head = stage.head.op
        plain = isinstance(head, Origin) and head.kind != "source" and stage.head not in cut
        _fuse(stage, needs, values_are_origins=plain, saves=saves, parted=frozenset(parted))
        waits = [_patience(node) for node, source in parted.items() if source is stage.head]
        stage.patience = max(waits, default=None)
    return Plan(graph, stages, channels, numbered)


def _fuse(
    stage: StagePlan,
    needs: dict[Node, frozenset[Column]],
    values_are_origins: bool,
    saves: bool,
    parted: frozenset[Node],
) -> None:
    stage.given = stage.arriving = _columns(needs[stage.head])
    if not stage.chain:
        return
    origin = values_are_origins and "origin" in stage.given
    if values_are_origins:
        stage.given = stage.arriving = tuple(column for column in stage.given if column != "origin")
    first = stage.chain[0].op
    clocked = isinstance(first, Timed) and first.clock
    if clocked:
        stage.given = _columns(frozenset(stage.arriving) | _TIMES)
    ticks = isinstance(first, Timed | EventTime) and first.ticks
    its = frozenset(at for at, node in enumerate(stage.chain) if node in parted)
    stage.loop = fuse(stage.chain, stage.given, stage.wanted, origin, stage.unused, ticks, saves, its)


def _stages(graph: Graph) -> list[StagePlan]:
    """Neighbours that are fused, as long as nobody else reads what flows between them."""
    open_at: dict[Node, StagePlan] = {}
    stages: list[StagePlan] = []
    consumers = graph.consumers()
    for node in graph.nodes():
        fused = isinstance(node.op, Fused | Split)
        if fused and len(node.inputs) == 1 and not _alone(node):
            before = node.inputs[0]
            stage = open_at.get(before.node)
            if stage is not None and len(consumers[before.node, before.index]) == 1 and _fits(node, stage):
                stage.chain = (*stage.chain, node)
                del open_at[before.node]
                if not _parts(node, consumers):
                    open_at[node] = stage
                continue
        stage = StagePlan(node, chain=(node,) if fused else ())
        stages.append(stage)
        if not _parts(node, consumers):
            open_at[node] = stage
    return stages


def _fits(node: Node, stage: StagePlan) -> bool:
    """True where there is room, and the stage sends watermarks through its loop or the loop makes them itself."""
    nested = sum(isinstance(each.op, Fused) and each.op.nests for each in (*stage.chain, node))
    return (len(stage.chain) < LONGEST and nested <= DEEPEST) and (
        node.op.times != "needs"
        or isinstance(stage.head.op, Fused | Origin | Merge)
        or any(each.op.times == "makes" for each in stage.chain)
    )


def _alone(node: Node) -> bool:
    """True where a stage has to begin: what looks at the clock has a task of its own."""
    op = node.op
    return isinstance(op, Timed | EventTime) and (op.ticks or getattr(op, "clock", False))


def _parts(node: Node, consumers: Mapping[tuple[Node, int], Any]) -> bool:
    """True where a stage has to end: it has several outputs that are read."""
    return isinstance(node.op, Split) or (isinstance(node.op, Timed) and (node, 1) in consumers)


def _reorders(graph: Graph, node: Node, numbered: tuple[Node, ...]) -> bool:
    """True when events of one source may overtake each other here."""
    op = node.op
    if isinstance(op, Call):
        return op.order != "input"
    if isinstance(op, Inner):
        return not op.in_order
    if isinstance(op, Limit):
        return op.key is not None
    if len(node.inputs) < 2:
        return False
    reached = [source for port in node.inputs for source in graph.ancestors(port.node) if source in numbered]
    return len(reached) > len(set(reached))


def _cut(graph: Graph, numbered: frozenset[Node], ending: tuple[type, ...]) -> frozenset[Node]:
    """The sources with positions whose events may end in the middle: something has enough, or drops some."""
    ends = [node for node in graph.nodes() if isinstance(node.op, ending)]
    return frozenset(source for node in ends for source in graph.ancestors(node) & numbered)


def _patience(node: Node) -> float:
    assert isinstance(node.op, EventTime)
    return QUIET if node.op.idle is None else node.op.idle


def _needs(
    graph: Graph, cut: frozenset[Node], ending: tuple[type, ...], parted: Container[Node]
) -> dict[Node, frozenset[Column]]:
    """For each node, the columns that have to reach it, for itself or for those behind it."""
    consumers = graph.consumers()
    needs: dict[Node, frozenset[Column]] = {}
    timed = graph.timed()
    for node in reversed(graph.nodes()):
        found: frozenset[Column] = node.op.needs
        if node.op.times == "takes" and node in timed:
            found |= _TIMES
        if node in parted:
            found |= _ORIGIN
        if isinstance(node.op, ending) and graph.ancestors(node) & cut:
            found |= _ORIGIN  # how far its sources have been handled when it ends
        for port in range(node.op.outputs):
            for reader, _ in consumers.get((node, port), ()):
                found |= needs[reader]
        if node.op.times in ("makes", "loses"):
            found -= _TIMES
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
    guarantee, why = _guarantee(graph)
    return Description(graph.name, guarantee, why, tuple(views), channels)


def _remembers(node: Node) -> str:
    if node.op.memory == "remembering" and node.op.volatile:
        return "remembering, volatile"
    breaker = getattr(node.op, "breaker", None)
    told = ["" if node.op.memory == "stateless" else node.op.memory, "" if breaker is None else str(breaker)]
    return ", ".join(filter(None, told))


def _guarantee(graph: Graph) -> tuple[str, str]:
    labels = graph.labels()
    sources = [node for node in graph.nodes() if isinstance(node.op, Origin)]
    saves = graph.checkpoints is not None
    replayed = [
        labels[node] for node in sources if getattr(node.op, "replay", False) or (saves and can_replay(node))
    ]
    names = ", ".join(replayed)
    if not replayed:
        if saves:
            begin = ", ".join(labels[node] for node in sources)
            return "none", f"{begin}: read from the start by each run, while what is remembered goes on"
        return "at most once", "no source can be read again after a crash; within the run nothing is lost"
    if graph.guarantee == "exactly-once":
        ends = [labels[node] for node in graph.nodes() if transactional(node)]
        return "exactly once", (
            f"{names}: positions and state are saved in one transaction; what goes into {', '.join(ends)} is "
            "staged, and published when that stands"
        )
    if saves:
        why = f"{names}: positions and state are saved in one transaction, after all sinks have what came before"
        plain = [labels[n] for n in graph.nodes() if not n.op.outputs and not transactional(n)]
        if plain:
            why += f"; {', '.join(plain)} may get again what came after the last checkpoint"
        else:
            why += '; all sinks are transactional: guarantee="exactly-once" can be had'
    else:
        why = f"{names}: positions are committed after all sinks have what came before them"
    if len(replayed) < len(sources):
        return "at least once for some", f"{why}; the other sources can't be read again"
    return "at least once", why
