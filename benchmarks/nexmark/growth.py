"""How cost and memory grow: with the number of events, of keys, of windows, and with how windows overlap."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from reactor import Sliding, Stream

from . import memory
from .events import Bid, Event, Market, generate
from .measuring import run, timed
from .queries import timed as with_time

EVENTS = (20_000, 100_000, 500_000)
QUERIES = ("q4", "q5", "q8")
KEYS = (1, 10, 100, 1_000, 10_000)
WINDOWS = (1, 10, 100, 1_000)
OVERLAPS = (1, 5, 10, 50)
SIZE = 100_000
"""How many events where it isn't they that grow: 100 seconds at 1000 a second."""

MARKET = Market(rate=1_000)


@dataclass(frozen=True)
class Point:
    """One measurement: ``of`` is what grows, ``at`` how far. Nanoseconds are those of all cores together."""

    of: str
    query: str
    at: int
    events: int
    rows: int
    ns_per_event: float
    peak_mib: float | None = None

    def row(self) -> dict[str, Any]:
        return {
            "growth": self.of,
            "query": self.query,
            "at": self.at,
            "events": self.events,
            "rows": self.rows,
            "ns_per_event": round(self.ns_per_event, 1),
            "peak_mib": self.peak_mib,
        }


def counts(events: Stream[Event], keys: int, size: float, every: float) -> Stream[Any]:
    """Bids by key in sliding windows: as many keys as are asked for, equally often."""
    bids = with_time(events.of_type(Bid)).key_by(lambda bid: bid.price % keys)
    return bids.window(Sliding(size, every=every)).count()


def measure(*, quick: bool) -> Iterator[Point]:
    """Yield the points as they are measured."""
    rounds = 1 if quick else 3
    for query in QUERIES:
        for count in EVENTS[:1] if quick else EVENTS:
            point = _point("events", query, count, list(generate(count, MARKET)), None, rounds)
            yield replace(point, peak_mib=memory.measure("reactor", query, count, MARKET))
    size = SIZE // 20 if quick else SIZE
    events = list(generate(size, MARKET))
    seconds = size / MARKET.rate
    for keys in KEYS:
        how = partial(counts, keys=keys, size=10, every=10)
        yield _point("keys", "counts", keys, events, how, rounds)
    for windows in WINDOWS:
        how = partial(counts, keys=100, size=seconds / windows, every=seconds / windows)
        yield _point("windows", "counts", windows, events, how, rounds)
    for overlap in OVERLAPS:
        # About as many results: windows grow, and one begins as often as before.
        how = partial(counts, keys=100, size=overlap, every=1)
        yield _point("size / every", "counts", overlap, events, how, rounds)


def _point(
    of: str, query: str, at: int, events: list[Event], how: Callable[..., Any] | None, rounds: int
) -> Point:
    found = [timed(lambda: run("reactor", query, events, how), len(events)) for _ in range(rounds)]
    return Point(of, query, at, len(events), found[0][0], statistics.median(each[2] for each in found))
