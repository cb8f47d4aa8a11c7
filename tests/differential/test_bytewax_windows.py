"""Windows against Bytewax's: the same events in the same windows, and the same late ones.

Where the two differ on purpose:

- Bytewax has a watermark for each key, reactor one for the stream. Late events are compared with one key.
- Bytewax drops each event that is behind the watermark. In reactor, as in Flink, it is late only when all its
  windows have gone. ``on_time_only`` gives reactor Bytewax's rule; without it, what differs are just those events.
- Bytewax hands the events of a window over in the order of time, reactor in the order in which they came. They are
  compared by number.

Sessions of both are complete when the watermark has passed their end: an event at the end would still join them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import anyio
from hypothesis import given
from hypothesis import strategies as st

from reactor import Pipeline, Process, Session, Sliding, Stream, Tumbling, Windowed, aggregates
from reactor.testing import Script
from reactor.windows import Assigner, Context
from tests.differential.on_bytewax import (
    Found,
    Happened,
    Result,
    joined_on_bytewax,
    on_bytewax,
    session,
    sliding,
    tumbling,
)
from tests.engine.graphs import TIME, examples

pytestmark = TIME


class Windows(NamedTuple):
    """One kind of windows, in the words of both; ``gap`` is a session's."""

    ours: Assigner
    theirs: Any
    gap: float = 0


@st.composite
def aligned(draw: st.DrawFn) -> Windows:
    """Draw tumbling or sliding windows, also with an offset, also where they don't divide evenly."""
    size = draw(st.integers(1, 20))
    every = draw(st.integers(1, size))
    offset = draw(st.integers(0, 15))
    if draw(st.booleans()):
        return Windows(Tumbling(size, offset=offset), tumbling(size, offset))
    return Windows(Sliding(size, every=every, offset=offset), sliding(size, every, offset))


kinds = aligned() | st.integers(1, 12).map(lambda gap: Windows(Session(gap), session(gap), gap))
bounds = st.integers(0, 20)
batches = st.integers(1, 5)


@st.composite
def within(draw: st.DrawFn, out_of_order: int) -> list[Happened]:
    """Draw events of several keys that come out of order, but not by more than the bound."""
    moments = sorted(draw(st.lists(st.integers(-40, 120), max_size=25)))
    delays = [draw(st.integers(0, out_of_order)) for _ in moments]
    came = sorted(range(len(moments)), key=lambda n: moments[n] + delays[n])
    return [Happened(moments[n], draw(st.sampled_from("abc")), n) for n in came]


anyhow = st.lists(st.integers(-40, 120), max_size=25).map(
    lambda moments: [Happened(moment, "a", n) for n, moment in enumerate(moments)]
)
"""Events of one key in any order."""


class OnTime(Process[str, Happened, Happened]):
    """Bytewax's rule: what is behind the watermark is late."""

    def __init__(self, late: list[int]) -> None:
        self.late = late

    def event(self, event: Happened, context: Context[str]) -> Sequence[Happened]:
        if context.time < context.watermark:
            self.late.append(event.number)
            return ()
        return (event,)


def on_reactor(
    events: list[Happened],
    assigner: Assigner,
    out_of_order: float,
    batch: int,
    *,
    on_time_only: bool = False,
    lateness: float = 0,
) -> Found:
    """Collect the events of each window; of several results of one window, the last."""
    late: list[int] = []
    found: dict[tuple[str, Any], Result] = {}
    stream = Stream(Script[Happened](events, replay=False, most=batch))
    stream = stream.event_time(lambda e: e.time, out_of_order, unit="s")
    if on_time_only:
        stream = stream.key_by(lambda e: e.key).process(lambda: OnTime(late))
    windows = stream.key_by(lambda e: e.key).window(assigner, lateness=lateness)
    parts = aggregates.Count(), aggregates.Sum(lambda e: e.number), aggregates.Collect()

    def keep(result: Windowed[str, Any]) -> None:
        count, total, collected = result.value
        numbers = tuple(sorted(event.number for event in collected))
        assert (count, total) == (len(numbers), sum(numbers))
        start, end = result.window.start / 1e6, result.window.end / 1e6
        found[result.key, result.window] = Result(result.key, start, end, numbers)

    results = windows.aggregate(*parts)
    pipeline = Pipeline("p", results.to(keep), results.late.to(lambda event: late.append(event.number)))
    anyio.run(pipeline.run)
    return Found(sorted(found.values()), sorted(late))


@examples(0.6)
@given(st.data(), bounds, kinds, batches)
def test_disorder_within_the_bound_changes_nothing(
    data: st.DataObject, out_of_order: int, windows: Windows, batch: int
) -> None:
    events = data.draw(within(out_of_order))
    ours = on_reactor(events, windows.ours, out_of_order, batch)
    assert ours == on_bytewax(events, windows.theirs, out_of_order, batch, windows.gap)
    assert ours.late == []


@examples(0.6)
@given(anyhow, bounds, kinds, batches)
def test_what_is_behind_the_watermark_is_the_same(
    events: list[Happened], out_of_order: int, windows: Windows, batch: int
) -> None:
    ours = on_reactor(events, windows.ours, out_of_order, batch, on_time_only=True)
    assert ours == on_bytewax(events, windows.theirs, out_of_order, batch, windows.gap)


@examples(0.6)
@given(anyhow, bounds, aligned(), batches, st.integers(0, 20))
def test_reactor_keeps_what_still_has_an_open_window(
    events: list[Happened], out_of_order: int, windows: Windows, batch: int, lateness: int
) -> None:
    """With lateness A, windows are open as long as with a bound that is larger by A."""
    ours = on_reactor(events, windows.ours, out_of_order, batch, lateness=lateness)
    theirs = on_bytewax(events, windows.theirs, out_of_order + lateness, batch)
    assert set(ours.late) <= set(theirs.late)
    less = [w._replace(numbers=tuple(n for n in w.numbers if n not in theirs.late)) for w in ours.windows]
    assert [window for window in less if window.numbers] == theirs.windows


def test_a_session_that_the_watermark_has_reached_is_still_open() -> None:
    """Its end is 10; an event of 10 comes when the watermark is 10, and joins it."""
    events = [Happened(0, "a", 0), Happened(14, "a", 1), Happened(10, "a", 2)]
    ours = on_reactor(events, Session(10), 4, 1)
    assert ours == on_bytewax(events, session(10), 4, 1, 10)
    assert [(w.start, w.end, w.numbers) for w in ours.windows] == [(0, 24, (0, 1, 2))]


def test_sessions_that_touch_are_one() -> None:
    events = [Happened(0, "a", 0), Happened(10, "a", 1), Happened(21, "a", 2)]
    ours = on_reactor(events, Session(10), 30, 2)
    assert ours == on_bytewax(events, session(10), 30, 2, 10)
    assert [w.numbers for w in ours.windows] == [(0, 1), (2,)]


# Joins ------------------------------------------------------------------------------------------------------

Row = tuple[str, int | None, int | None]


def joined_on_reactor(
    lefts: list[Happened],
    rights: list[Happened],
    assigner: Assigner,
    how: Any,
    out_of_order: float,
    batch: int,
) -> list[Row]:
    async def main() -> list[Row]:
        left, right = (
            Stream(Script[Happened](side, replay=False, most=batch))
            .event_time(lambda e: e.time, out_of_order, unit="s")
            .key_by(lambda e: e.key)
            for side in (lefts, rights)
        )
        found = await left.join(right, assigner, how=how).collect()
        return [(f.key, *(None if e is None else e.number for e in f.value)) for f in found]

    return anyio.run(main)


@examples(0.6)
@given(st.data(), bounds, kinds, batches)
def test_joins_within_windows(data: st.DataObject, out_of_order: int, windows: Windows, batch: int) -> None:
    """Bytewax's product, told at the end of the window, is an outer join.

    Which side goes ahead isn't determined. In reactor that makes nothing late; Bytewax needs a bound for it.
    """
    lefts, rights = (data.draw(within(out_of_order)) for _ in range(2))
    theirs = joined_on_bytewax(lefts, rights, windows.theirs, 1000, batch)
    expected = {
        "outer": theirs,
        "left": [row for row in theirs if row[1] is not None],
        "inner": [row for row in theirs if row[1] is not None and row[2] is not None],
    }
    for how, rows in expected.items():
        assert Counter(joined_on_reactor(lefts, rights, windows.ours, how, out_of_order, batch)) == Counter(
            rows
        )
