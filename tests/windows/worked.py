"""What the worked examples of other systems' documentation share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from reactor import Joined, Pipeline, Stream, Window, Windowed
from reactor.testing import At, Script

both = pytest.mark.parametrize("loop", ["asyncio", "trio"])
MINUTE, HOUR, DAY = 60, 3600, 86_400


class Event(NamedTuple):
    """An event of one of the pages: when it happened (seconds since the epoch), its key and its value."""

    time: float
    key: Any = None
    value: Any = None


def clock(text: str) -> int:
    """Return the seconds since midnight of "08:05" or "12:00:30"."""
    parts = [*map(int, text.split(":")), 0][:3]
    return parts[0] * HOUR + parts[1] * MINUTE + parts[2]


def span(window: Window, unit: float = 1) -> tuple[float, float]:
    """Return start and end of a window in units of so many seconds."""
    return window.start / unit / 1e6, window.end / unit / 1e6


def hours(window: Window) -> str:
    """Return a window of the first day as "08:00 08:10"."""
    start, end = (to_clock(at) for at in window)
    return f"{start} {end}"


def to_clock(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1e6, UTC):%H:%M}"


def timed(events: Iterable[Event], out_of_order: float = 0) -> Stream[Event]:
    return Stream(list(events)).event_time(lambda e: e.time, out_of_order, unit="s")


def played(*items: Event | At) -> Stream[Event]:
    """Events that come at the moments between them, by the clock."""
    return Stream(Script[Event](items, replay=False))


def values(joined: Iterable[Joined[Any, Any, Any]]) -> list[tuple[Any, Any]]:
    """Return what was joined, as pairs of values."""
    return [(j.left and j.left.value, j.right and j.right.value) for j in joined]


def value_of(event: Event) -> Any:
    return event.value


async def with_late(results: Any) -> tuple[list[Windowed[Any, Any]], list[Event]]:
    """Return the results and the late events of a window."""
    found: list[Windowed[Any, Any]] = []
    late: list[Event] = []
    await Pipeline("p", results.to(found.append), results.late.to(late.append)).run()
    return found, late


async def joined_within(
    assigner: Any, lefts: list[Event], rights: list[Event], how: Any = "inner", out_of_order: float = 0
) -> list[Windowed[Any, Any]]:
    left, right = (timed(side, out_of_order).key_by(lambda e: e.key) for side in (lefts, rights))
    return await left.join(right, assigner, how=how).collect()
