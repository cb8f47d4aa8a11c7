"""Random graphs: what to build, as plain data that Hypothesis draws and shrinks. ``worlds`` builds and runs them.

Events are ints, or lists and tuples of events; every function works on ``number(event)``, so that any operator can
follow any other.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PATIENCE = 20.0
"""Seconds after which a run counts as hanging."""

HUGE = 1_000_000


WANTED = int(os.environ.get("REACTOR_EXAMPLES", "100"))
"""Examples of each property. ``make test`` draws the same ones each time, REACTOR_EXAMPLES=5000 others."""

TIME = pytest.mark.timeout(60 + WANTED)


def examples(share: float = 1.0) -> settings:
    """The settings of a property."""
    return settings(
        max_examples=max(1, int(WANTED * share)),
        derandomize="REACTOR_EXAMPLES" not in os.environ,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


class Broken(Exception):
    """What the functions, sources and sinks raise that are asked to."""


class Crash(Exception):
    """What ends a run in any place: ``World.crash_at``."""


def number(event: Any) -> int:
    """A number for any event."""
    if isinstance(event, int):
        return event
    return sum((n + 1) * number(one) for n, one in enumerate(event)) + 7


# What to build ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A source: ``kind``, its events, and where and how it waits, is cut, and breaks."""

    kind: str
    start: int
    count: int
    waits: tuple[int, ...] = (0,)
    cuts: tuple[int, ...] = (HUGE,)
    breaks: int | None = None
    """It raises after so many events."""

    @property
    def events(self) -> range:
        return range(self.start, self.start + self.count)


@dataclass(frozen=True)
class Fails:
    """Which events make a function raise: those whose number leaves ``rest``."""

    every: int
    rest: int

    def check(self, event: Any) -> None:
        if number(event) % self.every == self.rest:
            raise Broken(event)


@dataclass(frozen=True)
class Pool:
    concurrency: int
    order: str
    """``input``, ``done`` or ``key``."""
    waits: tuple[int, ...]
    """How often the function waits, by the event's number."""
    timeout: bool = False
    """With a timeout, which never comes: the pool works another way then."""


@dataclass(frozen=True)
class Op:
    verb: str
    a: int = 2
    b: int = 0
    fails: Fails | None = None
    policy: str = "fail"
    pool: Pool | None = None
    calls: int = 1
    """How often it is called before it is given up."""


@dataclass(frozen=True)
class Step:
    """One step of building: what is done with which of the open streams."""

    kind: str
    at: tuple[int, ...]
    op: Op | None = None


@dataclass(frozen=True)
class Plan:
    """A whole pipeline."""

    sources: tuple[Given, ...]
    steps: tuple[Step, ...]
    sinks: tuple[Op, ...]
    capacity: int = 1024
    chunk: int = 1024
    letters: str = "function"
    cut: tuple[bool, ...] = ()
    """For each end, whether a take may have stopped what goes to it."""


# How to draw it --------------------------------------------------------------------------------------------

PER_EVENT = (
    "map",
    "filter",
    "flat_map",
    "tap",
    "starmap",
    "of_type",
    "buffer",
    "rate_limit",
    "limit_by_key",
    "timed",
    "again",
)
"""``timed`` and ``again`` are batches that are taken apart again: what they hold has no shape of its own."""
IN_ORDER = (
    "scan",
    "take",
    "take_while",
    "skip",
    "skip_while",
    "distinct",
    "enumerate",
    "pairwise",
    "batch",
    "weighed",
    "reduce",
    "keyed",
)
CALLING = ("map", "filter", "flat_map", "tap", "starmap")
FAILING = (
    *CALLING,
    "scan",
    "take_while",
    "skip_while",
    "distinct",
    "reduce",
    "keyed",
    "split",
    "route",
    "to",
)
SOURCES = ("range", "list", "tuple", "iterator", "generator", "async", "source", "inlet")

small = st.integers(1, 4)
waits = st.lists(st.sampled_from([0, 0, 0, 1, 2, 5]), min_size=1, max_size=4).map(tuple)
sizes = st.one_of(st.integers(1, 5), st.sampled_from([16, 1024]))


@dataclass
class _Open:
    """What the strategy knows of an open stream."""

    sources: frozenset[int]
    determined: bool = True
    flat: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Choice:
    """Which graphs are wanted."""

    verbs: tuple[str, ...] = PER_EVENT + IN_ORDER
    kinds: tuple[str, ...] = ("op", "op", "op", "op", "share", "split", "route", "merge", "concat", "zip")
    sources: tuple[str, ...] = SOURCES
    most_sources: int = 3
    steps: tuple[int, int] = (0, 8)
    events: int = 30
    pools: bool = True
    unordered: bool = True
    policies: tuple[str, ...] = ()
    """How functions that fail are dealt with; none fail where this is empty."""
    broken_sources: bool = False
    join_parts: bool = True
    """Also concat and zip what comes from one source in parts, which holds back all of that source's events."""
    sinks: tuple[str, ...] = ("function", "async", "object", "discard")
    slow: bool = False
    """Sources give their events a few at a time, with time for a barrier between."""


LINEAR = Choice(kinds=("op",), most_sources=1)


@st.composite
def givens(draw: st.DrawFn, choice: Choice, place: int) -> Given:
    kind = draw(st.sampled_from(choice.sources))
    count = draw(st.integers(0, choice.events))
    given = Given(
        kind, place * 1000, count, draw(waits), draw(st.lists(small, min_size=1, max_size=3).map(tuple))
    )
    if choice.slow:
        given = replace(given, count=draw(st.sampled_from(range(10, choice.events))))
        given = replace(
            given, waits=draw(st.lists(st.sampled_from([1, 5, 10]), min_size=1, max_size=3).map(tuple))
        )
    if choice.broken_sources and kind in ("generator", "async", "source") and draw(st.booleans()):
        given = replace(given, breaks=draw(st.integers(0, count)))
    return given


@st.composite
def pools(draw: st.DrawFn, orders: Sequence[str]) -> Pool:
    size = draw(st.sampled_from([1, 2, 3, 5, 20]))
    return Pool(size, draw(st.sampled_from(orders)), draw(waits), draw(st.sampled_from([False, False, True])))


@st.composite
def operators(draw: st.DrawFn, choice: Choice, verb: str) -> Op:
    op = Op(verb, draw(st.integers(1, 5)), draw(st.integers(0, 4)))
    if choice.policies and verb in FAILING and draw(st.booleans()):
        every = draw(st.integers(1, 13))
        op = replace(op, fails=Fails(every, draw(st.integers(0, every - 1))))
        op = replace(op, policy=draw(st.sampled_from(choice.policies)))
        if verb in CALLING:
            op = replace(op, calls=draw(st.sampled_from([1, 1, 1, 2])))
    if choice.pools and verb in CALLING and draw(st.booleans()):
        orders = ("input", "done", "key") if choice.unordered else ("input",)
        op = replace(op, pool=draw(pools(orders)))
    return op


@st.composite
def plans(draw: st.DrawFn, choice: Choice = Choice()) -> Plan:
    sources = [draw(givens(choice, n)) for n in range(draw(st.integers(1, choice.most_sources)))]
    streams = [_Open(frozenset({n})) for n in range(len(sources))]
    forked: set[int] = set()
    steps: list[Step] = []
    for _ in range(draw(st.sampled_from(range(choice.steps[0], choice.steps[1] + 1)))):
        kind = draw(st.sampled_from(choice.kinds))
        at = draw(st.integers(0, len(streams) - 1))
        one = streams[at]
        if kind == "op":
            verbs = [v for v in choice.verbs if v in PER_EVENT or one.determined]
            if one.flat > 1:
                verbs = [v for v in verbs if v != "flat_map"]
            op = draw(operators(choice, draw(st.sampled_from(verbs))))
            steps.append(Step("op", (at,), op))
            keeps = (op.pool is None or op.pool.order == "input") and op.verb != "limit_by_key"
            streams[at] = replace(
                one,
                determined=one.determined and keeps,
                flat=one.flat + (op.verb == "flat_map"),
                cut=one.cut or op.verb in ("take", "take_while"),
            )
        elif kind in ("share", "split", "route"):
            if len(streams) > 4:
                continue
            op = draw(operators(choice, kind))
            steps.append(Step(kind, (at,), op))
            streams[at : at + 1] = [replace(one) for _ in range(3 if kind == "route" else 2)]
            forked |= one.sources
        else:
            other = draw(st.integers(0, len(streams) - 1))
            two = streams[other]
            if at == other or (kind == "concat" and one.sources & two.sources):
                continue
            if kind == "zip" and not (one.determined and two.determined):
                continue
            sources_of = one.sources | two.sources
            # A join may have to wait for one side while the other goes on: where the sides come from the same
            # source, only a buffer keeps them from waiting for each other.
            if kind != "merge" and sources_of & forked:
                if not choice.join_parts:
                    continue
                kind = f"buffered {kind}"
            steps.append(Step(kind, (at, other)))
            determined = one.determined and two.determined and kind != "merge"
            streams[at] = _Open(sources_of, determined, max(one.flat, two.flat), one.cut or two.cut)
            del streams[other]
    sinks = []
    for _ in streams:
        kind = draw(st.sampled_from(choice.sinks))
        sink = replace(draw(operators(choice, "to")), verb=kind)
        if kind == "async":
            sink = replace(
                sink, pool=draw(pools(("input", "done", "key") if choice.unordered else ("input",)))
            )
        sinks.append(sink if kind != "discard" else replace(sink, fails=None))
    letters = draw(st.sampled_from(["function", "async", "sink"]))
    cut = tuple(stream.cut for stream in streams)
    return Plan(tuple(sources), tuple(steps), tuple(sinks), draw(sizes), draw(sizes), letters, cut)
