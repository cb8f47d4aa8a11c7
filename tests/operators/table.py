"""Every operator once, with an input, what comes out, and what comes out after how much of the input."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio.lowlevel

from reactor import (
    Context,
    Count,
    Early,
    Global,
    Interval,
    Process,
    RateLimit,
    Session,
    Sliding,
    Stream,
    Tumbling,
)


async def plus_one(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return n + 1


async def is_even(n: int) -> bool:
    await anyio.lowlevel.checkpoint()
    return n % 2 == 0


async def twice(n: int) -> list[int]:
    await anyio.lowlevel.checkpoint()
    return [n, n]


async def up_to(n: int) -> AsyncIterator[int]:
    for item in range(1, n):
        await anyio.lowlevel.checkpoint()
        yield item


def negative(n: int) -> int:
    return -n


def add(total: int, n: int) -> int:
    return total + n


def timed(stream: Stream[int]) -> Stream[int]:
    return stream.event_time(float, unit="s")


def value(result: Any) -> Any:
    return result.value


def pair(result: Any) -> Any:
    return result.left, result.right


def same(event: Any) -> int:
    return 0


class Later(Process[int, int, int]):
    """Emits the negative event a second of event time later, and in the end how many there were."""

    def __init__(self) -> None:
        self.number = 0

    def event(self, event: int, context: Context[int]) -> None:
        self.number += 1
        context.at(context.time + 1_000_000)

    def timer(self, time: int, context: Context[int]) -> list[int]:
        return [1 - time // 1_000_000]

    def end(self, context: Context[int]) -> list[int]:
        return [self.number]


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[Stream[int]], Stream[Any]]
    after: list[list[Any]]
    """What has come out in all after 1, 2, 3, 4 events (1, 2, 3, 4) of a stream that goes on."""
    rest: list[Any] | None = None
    """What comes when the input ends after these four."""
    empty: list[Any] | None = None
    one: list[Any] | None = None
    sorted: bool = False
    """True when the order of what comes out isn't determined."""
    ends: bool = False
    """True when it completes by itself within these four events."""
    drops: bool = False
    """True when it may drop all events that come, or put them together, and so never holds its input back."""

    @property
    def all(self) -> list[Any]:
        return self.after[-1] + (self.rest or [])

    def seen(self, events: list[Any]) -> list[Any]:
        """The events, in an order that can be compared."""
        return sorted(events) if self.sorted else events

    def __str__(self) -> str:
        return self.name


def grow(*steps: Any) -> list[list[Any]]:
    """Lists that grow by one step each; None adds nothing."""
    lists: list[list[Any]] = []
    so_far: list[Any] = []
    for step in steps:
        so_far = [*so_far, *([] if step is None else [step])]
        lists.append(so_far)
    return lists


CASES = [
    Case("map", lambda s: s.map(negative), grow(-1, -2, -3, -4)),
    Case("map async", lambda s: s.map(plus_one), grow(2, 3, 4, 5)),
    Case("map concurrent", lambda s: s.map(plus_one, concurrency=3), grow(2, 3, 4, 5)),
    Case("map keyed", lambda s: s.map(plus_one, concurrency=3, key=negative), grow(2, 3, 4, 5), sorted=True),
    Case("map threads", lambda s: s.map(negative, threads=2), grow(-1, -2, -3, -4)),
    Case("starmap", lambda s: s.map(lambda n: (n, n)).starmap(add), grow(2, 4, 6, 8)),
    Case("filter", lambda s: s.filter(lambda n: n % 2 == 0), grow(None, 2, None, 4)),
    Case("filter async", lambda s: s.filter(is_even), grow(None, 2, None, 4)),
    Case("tap", lambda s: s.tap(negative), grow(1, 2, 3, 4)),
    Case("tap async", lambda s: s.tap(plus_one), grow(1, 2, 3, 4)),
    Case(
        "flat_map",
        lambda s: s.flat_map(lambda n: range(n - 1)),
        [[], [0], [0, 0, 1], [0, 0, 1, 0, 1, 2]],
    ),
    Case(
        "flat_map async",
        lambda s: s.flat_map(twice),
        [[1, 1], [1, 1, 2, 2], [1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3, 4, 4]],
    ),
    Case("flat_map streams", lambda s: s.flat_map(up_to), [[], [1], [1, 1, 2], [1, 1, 2, 1, 2, 3]]),
    Case(
        "flat_map streams in order",
        lambda s: s.flat_map(up_to, concurrency=2),
        [[], [1], [1, 1, 2], [1, 1, 2, 1, 2, 3]],
    ),
    Case(
        "flat_map streams as they come",
        lambda s: s.flat_map(up_to, concurrency=2, ordered=False),
        [[], [1], [1, 1, 2], [1, 1, 1, 2, 2, 3]],
        sorted=True,
    ),
    Case("scan", lambda s: s.scan(add, 10), grow(11, 13, 16, 20)),
    Case("take", lambda s: s.take(2), [[1], [1, 2], [1, 2], [1, 2]], ends=True),
    Case("take_while", lambda s: s.take_while(lambda n: n < 3), [[1], [1, 2], [1, 2], [1, 2]], ends=True),
    Case("skip", lambda s: s.skip(2), grow(None, None, 3, 4)),
    Case("skip_while", lambda s: s.skip_while(lambda n: n < 3), grow(None, None, 3, 4)),
    Case("distinct", lambda s: s.distinct(lambda n: n % 3), grow(1, 2, 3, None)),
    Case("enumerate", lambda s: s.enumerate(5), grow((5, 1), (6, 2), (7, 3), (8, 4))),
    Case("pairwise", lambda s: s.pairwise(), grow(None, (1, 2), (2, 3), (3, 4))),
    Case("of_type", lambda s: s.of_type(int), grow(1, 2, 3, 4)),
    Case("batch", lambda s: s.batch(3), [[], [], [[1, 2, 3]], [[1, 2, 3]]], rest=[[4]], one=[[1]]),
    Case(
        "batch by weight",
        lambda s: s.batch(max_weight=4, weight=float),
        [[], [], [[1, 2]], [[1, 2], [3], [4]]],
        one=[[1]],
    ),
    Case(
        "batch with max_wait",
        lambda s: s.batch(3, max_wait=3600),
        [[], [], [[1, 2, 3]], [[1, 2, 3]]],
        rest=[[4]],
        one=[[1]],
    ),
    Case("rate_limit", lambda s: s.rate_limit(RateLimit(1e6)), grow(1, 2, 3, 4)),
    Case(
        "rate_limit by key", lambda s: s.rate_limit(RateLimit(1e6, burst=10), key=negative), grow(1, 2, 3, 4)
    ),
    Case(
        "distinct with ttl", lambda s: s.distinct(lambda n: n % 3, ttl=3600), grow(1, 2, 3, None), drops=True
    ),
    Case("throttle", lambda s: s.throttle(3600), grow(1, None, None, None), drops=True),
    Case(
        "throttle trailing",
        lambda s: s.throttle(3600, trailing=True),
        grow(1, None, None, None),
        rest=[4],
        drops=True,
    ),
    Case("debounce", lambda s: s.debounce(3600), [[], [], [], []], rest=[4], one=[1], drops=True),
    Case("sample", lambda s: s.sample(3600), [[], [], [], []], rest=[4], one=[1], drops=True),
    Case("delay", lambda s: s.delay(1e-9), grow(1, 2, 3, 4)),
    Case("timeout", lambda s: s.timeout(3600), grow(1, 2, 3, 4)),
    Case("timeout with fallback", lambda s: s.timeout(3600, fallback=0), grow(1, 2, 3, 4)),
    Case(
        "conflate",
        lambda s: s.map(lambda n: [n]).conflate(lambda a, b: a + b).flat_map(lambda part: part),
        grow(1, 2, 3, 4),
        drops=True,
    ),
    Case("buffer", lambda s: s.buffer(2), grow(1, 2, 3, 4)),
    Case("merge", lambda s: s.merge(Stream([])), grow(1, 2, 3, 4)),
    Case(
        "concat",
        lambda s: Stream([0]).concat(s),
        [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]],
        empty=[0],
    ),
    Case("zip", lambda s: s.zip(Stream(["abc"])), [[(1, "abc")]] * 4, ends=True),
    Case(
        "interleave",
        lambda s: s.interleave(Stream([0])),
        [[1, 0], [1, 0, 2], [1, 0, 2, 3], [1, 0, 2, 3, 4]],
        empty=[0],
    ),
    Case(
        "combine_latest",
        lambda s: s.combine_latest(Stream(["abc"])),
        grow((1, "abc"), (2, "abc"), (3, "abc"), (4, "abc")),
    ),
    Case(
        "with_latest",
        lambda s: s.with_latest(Stream(["abc"])),
        grow((1, "abc"), (2, "abc"), (3, "abc"), (4, "abc")),
    ),
    Case(
        "switch_map",
        lambda s: s.switch_map(lambda n: [n, -n]),
        [[1, -1], [1, -1, 2, -2], [1, -1, 2, -2, 3, -3], [1, -1, 2, -2, 3, -3, 4, -4]],
    ),
    Case(
        "key_by reduce", lambda s: s.key_by(lambda n: n % 2).reduce(add), grow((1, 1), (0, 2), (1, 4), (0, 6))
    ),
    Case(
        "key_by scan",
        lambda s: s.key_by(lambda n: n % 2).scan(add, 10),
        grow((1, 11), (0, 12), (1, 14), (0, 16)),
    ),
    Case("event_time", lambda s: timed(s), grow(1, 2, 3, 4)),
    Case(
        "window",
        lambda s: timed(s).window(Tumbling(2)).count().map(value),
        [[], [1], [1], [1, 2]],
        rest=[1],
        one=[1],
    ),
    Case(
        "window sliding by key",
        lambda s: timed(s).key_by(same).window(Sliding(2, every=1)).sum().map(value),
        [[], [1], [1, 3], [1, 3, 5]],
        rest=[7, 4],
        one=[1, 1],
    ),
    Case(
        "window session",
        lambda s: timed(s).window(Session(0.5)).collect().map(value),
        [[], [[1]], [[1], [2]], [[1], [2], [3]]],
        rest=[[4]],
        one=[[1]],
    ),
    Case("window count", lambda s: s.window(Count(2)).max().map(value), [[], [2], [2], [2, 4]], one=[1]),
    Case(
        "window global",
        lambda s: s.window(Global(), early=Early(events=3)).sum().map(value),
        [[], [], [6], [6]],
        rest=[10],
        one=[1],
    ),
    Case(
        "window by the clock",
        lambda s: s.window(Tumbling(timedelta(days=36500), clock=True)).count().map(value),
        [[], [], [], []],
        rest=[4],
        one=[1],
        drops=True,
    ),
    Case(
        "join",
        lambda s: timed(s).key_by(same).join(timed(Stream([1, 2, 3])).key_by(same), Interval()).map(pair),
        grow((1, 1), (2, 2), (3, 3), None),
    ),
    Case(
        "join window",
        lambda s: (
            timed(s).key_by(same).join(timed(Stream([1, 2])).key_by(same), Tumbling(2), how="left").map(value)
        ),
        [[], [(1, 1)], [(1, 1)], [(1, 1), (2, 2), (3, 2)]],
        rest=[(4, None)],
        one=[(1, 1)],
    ),
    Case(
        "join_table",
        lambda s: timed(s).key_by(same).join_table(timed(Stream([0, 2])).key_by(same)).map(pair),
        [[], [(1, 0)], [(1, 0), (2, 2)], [(1, 0), (2, 2), (3, 2)]],
        rest=[(4, 2)],
        one=[(1, 0)],
    ),
    Case(
        "process",
        lambda s: timed(s).key_by(same).process(Later),
        [[], [-1], [-1, -2], [-1, -2, -3]],
        rest=[-4, 4],
        one=[-1, 1],
        empty=[],
    ),
    Case("split", lambda s: merged(s.split(lambda n: n > 2)), grow(1, 2, 3, 4), sorted=True),
    Case("split_by_type", lambda s: merged(s.split_by_type(bool, int)), grow(1, 2, 3, 4), sorted=True),
    Case("route", lambda s: routed(s), grow(1, 2, 3, 4), sorted=True),
    Case("through", lambda s: s.through(shifted, 5), grow(6, 7, 8, 9)),
]


def merged(branches: tuple[Stream[int], Stream[int]]) -> Stream[int]:
    return branches[0].merge(branches[1])


def routed(stream: Stream[int]) -> Stream[int]:
    routes = stream.route(lambda n: "low" if n < 3 else "high", "low")
    return routes["low"].merge(routes.other)


def shifted(stream: Stream[int], by: int) -> Stream[int]:
    return stream.map(lambda n: n + by)
