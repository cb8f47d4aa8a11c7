"""Random timelines, and what reactor and RxPY make of them, each in virtual time.

An event is a value at a moment (seconds since the beginning). All moments of an input have the same fraction of a
second, and no duration is whole: so nothing that an operator does by the clock falls on the moment of an event,
where the order would be arbitrary.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import anyio
import pytest
import reactivex
from hypothesis import strategies as st
from reactivex.testing import ReactiveTest, TestScheduler

from reactor import OperatorTimeout, Stream
from reactor.testing import At, Script, run_virtual

Loop = Literal["asyncio", "trio"]
loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])

SUBSCRIBED = 200.0
"""RxPY's tests begin at this virtual second."""


class Timeline(NamedTuple):
    """Events in the order of time, and when the input ends."""

    events: list[tuple[float, Any]]
    end: float


class Seen(NamedTuple):
    """What came out of an operator and when; how and when it ended."""

    events: list[tuple[float, Any]]
    end: float
    how: Literal["complete", "failed"] = "complete"


durations = st.integers(0, 4).map(lambda n: n + 0.5)


@st.composite
def timelines(draw: st.DrawFn, *, fraction: float = 0.25, least: int = 0) -> Timeline:
    """Draw up to a dozen events; several may come at one moment. Values are all different."""
    gaps = draw(st.lists(st.integers(0, 5), min_size=least, max_size=12))
    moments, now = [], fraction
    for gap in gaps:
        now += gap
        moments.append(now)
    first = round(fraction * 1000) * 100
    events = [(moment, first + n) for n, moment in enumerate(moments)]
    return Timeline(events, now + draw(st.integers(0, 6)))


def on_reactor(loop: Loop, make: Callable[..., Stream[Any]], *inputs: Timeline) -> Seen:
    """Run ``make(stream, ...)`` over the timelines."""

    async def main() -> Seen:
        began = anyio.current_time()
        seen: list[tuple[float, Any]] = []
        how: Literal["complete", "failed"] = "complete"
        try:
            async with make(*map(playing, inputs)).open() as events:
                async for event in events:
                    seen.append((round(anyio.current_time() - began, 6), event))
        except OperatorTimeout:
            how = "failed"
        return Seen(seen, round(anyio.current_time() - began, 6), how)

    return run_virtual(main, loop=loop).result


def playing(line: Timeline) -> Stream[Any]:
    items: list[Any] = []
    for moment, together in groupby(line.events, key=itemgetter(0)):
        items += [At(moment), *(value for _, value in together)]
    return Stream(Script([*items, At(line.end)], replay=False))


def on_rxpy(make: Callable[..., reactivex.Observable[Any]], *inputs: Timeline) -> Seen:
    """Run ``make(scheduler, observable, ...)`` over the timelines."""
    scheduler = TestScheduler()
    sources = [
        scheduler.create_cold_observable(
            *(ReactiveTest.on_next(moment, value) for moment, value in line.events),
            ReactiveTest.on_completed(line.end),
        )
        for line in inputs
    ]
    observed = scheduler.start(lambda: make(scheduler, *sources), subscribed=SUBSCRIBED, disposed=1e6)
    *messages, last = observed.messages
    return Seen(
        [(message.time - SUBSCRIBED, message.value.value) for message in messages],
        last.time - SUBSCRIBED,
        "complete" if last.value.kind == "C" else "failed",
    )
