"""What windows refuse, and what they say: the fault, where, and the fix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from reactor import (
    ArgumentError,
    Count,
    Early,
    Global,
    GraphError,
    Interval,
    Pipeline,
    Process,
    Session,
    Sliding,
    Stream,
    Tumbling,
    aggregates,
)

S: Any = Stream([1])
K: Any = S.key_by(abs)
W: Any = S.window(Tumbling(1))
A: Any = aggregates


async def waits(event: int) -> int:
    return event


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Tumbling(0), "Tumbling(size=0): must be > 0 seconds"),
    (lambda: Tumbling(-1), "Tumbling(size=-1): must be > 0 seconds"),
    (lambda: Tumbling(timedelta(0)), "Tumbling(size=datetime.timedelta(0)): must be > 0"),
    (lambda: Tumbling("a"), "Tumbling(size='a'): a duration is seconds or a timedelta"),  # type: ignore[arg-type]
    (lambda: Tumbling(math.inf), "Tumbling(size=inf): must be finite"),
    (lambda: Tumbling(math.nan), "Tumbling(size=nan): a duration is seconds or a timedelta"),
    (lambda: Tumbling(1e-9), "Tumbling(size=1e-09): must be at least a microsecond"),
    (lambda: Tumbling(1, offset="x"), "Tumbling(offset='x'): a duration is"),  # type: ignore[arg-type]
    (lambda: Sliding(0, 1), "Sliding(size=0): must be > 0 seconds"),
    (lambda: Sliding(1, 0), "Sliding(every=0): must be > 0 seconds"),
    (lambda: Sliding(1, 2), "Sliding(size=1, every=2): every must be <= size"),
    (lambda: Session(0), "Session(gap=0): must be > 0 seconds"),
    (lambda: Count(0), "Count(size=0): must be a whole number >= 1"),
    (lambda: Count(True), "Count(size=True): must be a whole number >= 1"),
    (lambda: Count(3, 0), "Count(every=0): must be a whole number >= 1"),
    (lambda: Count(2, 3), "Count(size=2, every=3): every must be <= size"),
    (lambda: Early(), "Early(): pass either events= or seconds="),
    (lambda: Early(1, 1), "Early(): pass either events= or seconds="),
    (lambda: Early(events=0), "Early(events=0): must be a whole number >= 1"),
    (lambda: Early(seconds=0), "Early(seconds=0): must be > 0 seconds"),
    (lambda: Interval(before=-1), "Interval(before=-1): must be >= 0 seconds"),
    (lambda: Interval(after=-1), "Interval(after=-1): must be >= 0 seconds"),
    (lambda: A.Top(0), "Top(n=0): must be a whole number >= 1"),
    (lambda: A.Quantile(2), "Quantile(q=2): must be between 0 and 1"),
    (lambda: A.Quantile(math.nan), "Quantile(q=nan): must be between 0 and 1"),
    (
        lambda: S.window(60),
        "window(60): Tumbling(size), Sliding(size, every), Session(gap), Count(n) or Global",
    ),
    (lambda: S.window(Tumbling), "window(<class 'reactor.windows.assigners.Tumbling'>): Tumbling(size)"),
    (lambda: S.window(Tumbling(1), early=3), "window(early=3): pass Early(events=n) or Early(seconds=s)"),
    (lambda: S.window(Count(3), lateness=1), "window(Count()): takes no lateness= and no early="),
    (lambda: S.window(Count(3), early=Early(1)), "window(Count()): takes no lateness= and no early="),
    (lambda: S.window(Tumbling(1), lateness=-1), "window(lateness=-1): must be >= 0 seconds"),
    (lambda: S.window(Tumbling(1), on_error=3), "window(on_error=3): must be Fail(), Skip(), DeadLetters()"),
    (lambda: W.aggregate(), "aggregate(): pass one aggregate or more, as aggregate(Count(), Sum(fn))"),
    (lambda: W.aggregate(3), "aggregate(3): is no Aggregate; as in aggregate(Count(), Sum(fn))"),
    (lambda: W.aggregate(A.Count), "is no Aggregate; as in aggregate(Count(), Sum(fn))"),
    (lambda: W.sum(3), "sum(3): has to be a function"),
    (lambda: W.sum(waits), "sum(waits): this function has to be sync"),
    (lambda: W.mean(3), "mean(3): has to be a function"),
    (lambda: W.min(3), "min(3): has to be a function"),
    (lambda: W.max(3), "max(3): has to be a function"),
    (lambda: W.reduce(3), "reduce(3): has to be a function"),
    (lambda: W.top(0), "Top(n=0): must be a whole number >= 1"),
    (lambda: W.top(1, 3), "top(3): has to be a function"),
    (lambda: W.quantile(0.5, 3), "quantile(3): has to be a function"),
    (lambda: W.fold(max), "fold(): pass either an initial state or factory="),
    (lambda: W.fold(max, []), "fold(initial=[]): a list would be shared by all runs; pass factory=list"),
    (lambda: W.fold(max, 0, merge=3), "fold(merge=)"),
    (lambda: S.window(Session(1)).fold(max, 0), "fold(): sessions merge; pass merge="),
    (lambda: S.event_time(3), "event_time(3): has to be a function"),
    (lambda: S.event_time(waits), "event_time(waits): this function has to be sync"),
    (lambda: S.event_time(abs, unit="h"), 'event_time(unit=\'h\'): must be "s", "ms" or "us"'),
    (lambda: S.event_time(abs, -1), "event_time(out_of_order=-1): must be >= 0 seconds"),
    (lambda: S.event_time(abs, idle=0), "event_time(idle=0): must be > 0 seconds"),
    (lambda: K.join(S, Tumbling(1)), "join(Stream): the other side is a stream with a key: key_by(fn)"),
    (lambda: K.join(K, Count(1)), "pass Tumbling(size), Sliding(size, every), Session(gap) or Interval(...)"),
    (lambda: K.join(K, Global()), "pass Tumbling(size), Sliding(size, every), Session(gap) or Interval(...)"),
    (lambda: K.join(K, 60), "join(60): pass Tumbling(size), Sliding(size, every), Session(gap) or Interval"),
    (lambda: K.join(K, Tumbling(1), how="right"), 'join(how=\'right\'): must be "inner", "left" or "outer"'),
    (lambda: K.join_table(S), "join_table(Stream): the other side is a stream with a key: key_by(fn)"),
    (lambda: K.join_table(K, how="outer"), 'join_table(how=\'outer\'): must be "inner" or "left"'),
    (lambda: K.process(3), "process(3): pass a class derived from Process, or what makes one"),
    (lambda: K.process(dict), "process(<class 'dict'>): pass a class derived from Process"),
    (lambda: K.process(Process, ttl=0), "process(ttl=0): must be > 0 seconds"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED, ids=[says[:50] for _, says in REFUSED])
def test_what_is_refused_when_it_is_built(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(says)):
        make()


def test_offsets_may_be_negative_or_longer_than_the_window() -> None:
    assert str(Tumbling(60, offset=-30)) == "Tumbling(60)"
    assert str(Sliding(60, 10, offset=3600)) == "Sliding(60, every=10)"


TIMED: Any = S.event_time(abs, unit="s")
FAULTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: W.count(), "has no event time|have no event time"),
    (lambda: S.window(Session(1)).count(), "have no event time"),
    (lambda: K.join(K, Tumbling(1)), "have no event time"),
    (lambda: K.join(K, Interval(1)), "have no event time"),
    (lambda: TIMED.key_by(abs).join(K, Interval(1)), "have no event time"),
    (lambda: TIMED.merge(Stream([2])).window(Tumbling(1)).count(), "have no event time"),
    (lambda: TIMED.zip(Stream([2])).window(Tumbling(1)).count(), "event times don't get through zip"),
]


@pytest.mark.parametrize(("make", "says"), FAULTS)
def test_windows_without_event_times_are_a_fault_of_the_graph(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(GraphError, match=says) as raised:
        Pipeline("p", make().discard())
    assert "put event_time(" in str(raised.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: S.window(Tumbling(1, clock=True)).count(),
        lambda: S.window(Count(2)).count(),
        lambda: S.window(Global()).count(),
        lambda: K.process(Process),
        lambda: K.join_table(K),
        lambda: TIMED.zip(Stream([2])).event_time(max, unit="s").window(Tumbling(1)).count(),
    ],
)
def test_what_needs_no_event_times_builds_without(make: Callable[[], Any]) -> None:
    assert Pipeline("p", make().discard(), capacity=8).explain()
