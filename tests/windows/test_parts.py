"""Event time behind a source with partitions: the one that is furthest behind sets the pace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Checkpoints, Pipeline, Restart, Stream, Tumbling
from reactor.core import Source
from reactor.testing import interpret, run_virtual
from tests.engine.graphs import examples
from tests.windows.partitioned import Partitioned, Ready, Turn

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "trio"])

Event = tuple[str, float]
Between = Callable[[Stream[Event]], Stream[Event]]


def ahead(**last: Any) -> tuple[Turn, ...]:
    """Partition a is read to 100 s before b has given anything."""
    return (
        Turn(*[("a", float(at)) for at in range(0, 100, 5)]),
        Turn(*[("b", float(at)) for at in range(0, 100, 5)], **last),
    )


class Seen:
    """What came of a window of ten seconds, and when."""

    def __init__(self, idle: float | None = None, out_of_order: float = 0.0) -> None:
        self.counts: dict[int, int] = {}
        self.at: dict[int, float] = {}
        self.late: list[Event] = []
        self.idle = idle
        self.out_of_order = out_of_order

    def pipeline(self, source: Any, between: Between | None = None, **settings: Any) -> Pipeline:
        began = anyio.current_time()
        stream = source if isinstance(source, Stream) else Stream(source)
        if between is not None:
            stream = between(stream)
        timed = stream.event_time(lambda event: event[1], self.out_of_order, unit="s", idle=self.idle)
        counted = timed.window(Tumbling(10), name="counted").count()

        return Pipeline(
            "parts", counted.to(partial(self.keep, began)), counted.late.to(self.late.append), **settings
        )

    def keep(self, began: float, result: Any) -> None:
        start = result.window.start // 1_000_000
        self.counts[start] = result.value
        self.at[start] = anyio.current_time() - began


def run(loop: Any, source: Any, between: Between | None = None, **settings: Any) -> Seen:
    seen = Seen(**settings)

    async def main() -> None:
        await seen.pipeline(source, between).run()

    run_virtual(main, loop=loop)
    return seen


def test_a_partition_that_is_ahead_makes_the_others_not_late(loop: Any) -> None:
    seen = run(loop, Partitioned(*ahead()))
    assert seen.late == []
    assert seen.counts == dict.fromkeys(range(0, 100, 10), 4)


BETWEEN: dict[str, Between] = {
    "map": lambda s: s.map(lambda event: event).filter(lambda event: event[1] >= 0),
    "flat_map": lambda s: s.flat_map(lambda event: [event]),
    "scan": lambda s: s.scan(lambda _, event: event, ("", 0.0), name="last"),
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("idle", [None, 4.0])
def test_behind_operators_that_keep_the_origin(loop: Any, between: str, idle: float | None) -> None:
    seen = run(loop, Partitioned(*ahead()), BETWEEN[between], idle=idle)
    assert (seen.late, seen.counts[0]) == ([], 4)


def test_where_the_partition_isnt_known_the_highest_time_counts(loop: Any) -> None:
    """A batch has events of several, and what an async function returns comes through a pool."""
    seen = run(loop, Partitioned(*ahead()), lambda s: s.batch(3).flat_map(lambda batch: batch))
    assert seen.late


def test_behind_a_split(loop: Any) -> None:
    even, odd = Seen(), Seen()

    async def main() -> None:
        streams = Stream(Partitioned(*ahead())).split(lambda event: event[1] % 2 == 0)
        ends: list[Any] = []
        for seen, stream, name in zip((even, odd), streams, ("even", "odd"), strict=True):
            timed = stream.event_time(lambda event: event[1], unit="s")
            counted = timed.window(Tumbling(10), name=name).count()
            ends += [counted.to(partial(seen.keep, 0.0)), counted.late.to(seen.late.append)]
        await Pipeline("split", *ends).run()

    run_virtual(main, loop=loop)
    assert (even.late, odd.late) == ([], [])
    assert even.counts == odd.counts == dict.fromkeys(range(0, 100, 10), 2)


def test_where_others_read_the_source_too(loop: Any) -> None:
    seen, other = Seen(), []

    async def main() -> None:
        shared = Stream(Partitioned(*ahead()))
        timed = shared.event_time(lambda event: event[1], unit="s")
        counted = timed.window(Tumbling(10), name="counted").count()
        await Pipeline(
            "shared",
            counted.to(lambda result: seen.counts.update({len(seen.counts): result.value})),
            counted.late.to(seen.late.append),
            shared.map(lambda event: event[0]).to(other.append),
        ).run()

    run_virtual(main, loop=loop)
    assert seen.late == []
    assert list(seen.counts.values()) == [4] * 10
    assert len(other) == 40


def test_out_of_order_counts_within_each_partition(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 50.0), ("b", 20.0), ("b", 16.0), ("b", 9.0), ("b", 31.0), ("b", 12.0), ("a", 30.0)),
    )
    seen = run(loop, source, out_of_order=5.0)
    assert seen.late == [("b", 9.0), ("b", 12.0)]  # b was at 20, and at 31


def test_a_partition_without_events_holds_up_nobody_for_ever(loop: Any) -> None:
    seen = run(loop, Partitioned(Turn(("a", 5.0), ("a", 25.0)), Turn(("a", 26.0), wait=60)), idle=2.0)
    assert 2.0 <= seen.at[0] <= 4.0


def test_without_idle_it_is_given_some_seconds(loop: Any) -> None:
    seen = run(loop, Partitioned(Turn(("a", 5.0), ("a", 25.0)), Turn(("a", 26.0), wait=60)))
    assert 3.0 <= seen.at[0] <= 6.0
    assert seen.at[20] == 60.0  # all idle: time stands where the furthest is


def test_a_partition_that_has_more_to_give_is_waited_for(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 5.0), ("a", 25.0), lag=["b"]),
        Turn(("b", 3.0), wait=100, caught_up=["b"]),
        Turn(("b", 27.0), wait=1),
    )
    seen = run(loop, source)
    assert (seen.late, seen.counts[0]) == ([], 2)
    assert seen.at[0] == 101.0


def test_an_idle_one_that_gives_again_is_waited_for_again(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 1.0), ("b", 1.0)),
        *[Turn(("a", 1.0 + second), wait=1) for second in range(1, 20)],  # b is idle at the latest after 6 s
        Turn(("b", 21.0), wait=0.5),
        Turn(("a", 50.0), wait=0.5),
        Turn(("b", 22.0), wait=0.5),
    )
    seen = run(loop, source)
    assert seen.late == []
    assert seen.counts == {0: 10, 10: 10, 20: 2 + 1, 50: 1}
    assert seen.at[0] == 9.0


def test_one_whose_events_are_all_filtered_out_is_idle(loop: Any) -> None:
    """It gives events all the time, though none of them comes as far as event_time."""
    turns = [Turn(("a", float(second)), ("b", 1000.0), wait=1) for second in range(30)]
    seen = run(loop, Partitioned(*turns), lambda s: s.filter(lambda event: event[0] == "a"))
    assert seen.at[0] == 11.0
    assert seen.counts == {0: 10, 10: 10, 20: 10}


def test_a_partition_that_goes_leaves_and_one_that_comes_counts(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 5.0), ("a", 25.0), lag=["b", "c"]),
        Turn(wait=10, go=["b"]),
        Turn(wait=10, come=["c"]),
        Turn(("a", 45.0), wait=1),
        Turn(("c", 26.0), wait=10),
        Turn(("c", 50.0), ("a", 60.0), wait=10),
    )
    seen = run(loop, source)
    assert seen.late == []
    assert (seen.at[0], seen.at[20]) == (10.0, 41.0)
    assert seen.counts[20] == 2


def test_the_last_events_of_one_that_is_read_to_its_end_are_not_late(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 100.0), lag=["a", "b"]), Turn(("b", 1.0), ("b", 2.0), go=["b"]), Turn(("a", 101.0), wait=1)
    )
    seen = run(loop, source)
    assert (seen.late, seen.counts[0]) == ([], 2)
    assert seen.at[0] == 0.0


def test_all_idle_goes_on_with_the_clock(loop: Any) -> None:
    seen = run(loop, Partitioned(Turn(("a", 3.0), ("b", 1.0)), Turn(wait=1000)), idle=2.0)
    assert 9.0 <= seen.at[0] <= 13.0


def test_nobody_is_asked_once_all_are_idle(loop: Any) -> None:
    source = Partitioned(
        Turn(("a", 3.0), ("b", 1.0)), Turn(wait=1000), Turn(("a", 4.0), wait=0), Turn(wait=1000)
    )
    run(loop, source)
    assert 2 <= len(source.asked) <= 8


def test_one_partition_alone_asks_nobody(loop: Any) -> None:
    source = Partitioned(Turn(("a", 3.0)), Turn(("a", 13.0), wait=100), Turn(wait=100), there=["a"])
    seen = run(loop, source)
    assert source.asked == []
    assert seen.at[0] == 100.0


def test_a_merge_waits_for_the_partition_that_is_behind(loop: Any) -> None:
    seen = Seen()

    async def main() -> None:
        parted = Stream(Partitioned(*ahead()))
        other = Stream([("x", float(at)) for at in range(0, 100, 5)])
        both = parted.event_time(lambda e: e[1], unit="s").merge(other.event_time(lambda e: e[1], unit="s"))
        counted = both.window(Tumbling(10), name="counted").count()
        await Pipeline(
            "merged",
            counted.to(lambda result: seen.counts.update({len(seen.counts): result.value})),
            counted.late.to(seen.late.append),
        ).run()

    run_virtual(main, loop=loop)
    assert seen.late == []
    assert list(seen.counts.values()) == [6] * 10


def test_the_partitions_times_are_in_the_checkpoint(loop: Any, tmp_path: Path) -> None:
    """Killed behind a's events; the next run knows how far a was, and that b was behind it."""
    first, second = Seen(), Seen()
    store = Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.5, spacing=0.1)
    turns = (
        Turn(("a", 55.0), ("b", 12.0), lag=["a", "b"]),
        Turn(("b", 13.0), wait=10),
        Turn(("b", 31.0), ("b", 29.0), ("b", 45.0), wait=10),
    )

    async def interrupted() -> None:
        async with first.pipeline(Partitioned(*turns), checkpoint=store).start(drain=5) as run:
            await anyio.sleep(5)
            await run.checkpoint()

    async def goes_on() -> None:
        source = Partitioned(*turns)
        source.lagging = {"a", "b"}
        await second.pipeline(source, checkpoint=store).run()

    run_virtual(interrupted, loop=loop)
    assert (first.counts, first.late) == ({}, [])
    run_virtual(goes_on, loop=loop)
    assert second.late == [("b", 29.0)]  # a is at 55 still, though it has given nothing in this run
    assert second.counts == {10: 2, 30: 1, 40: 1, 50: 1}
    assert second.at[10] < 25


def test_a_source_that_restarts(loop: Any) -> None:
    class Breaks(Partitioned):
        broken = False

        async def read(self, limit: int) -> Any:
            if self._given >= 20 and not self.broken:
                self.broken = True
                raise ConnectionError("gone")
            return await super().read(limit)

    seen = run(loop, Stream(Breaks(*ahead()), restart=Restart(initial=20, jitter=0)))
    assert (seen.late, seen.counts) == ([], dict.fromkeys(range(0, 100, 10), 4))


def test_a_source_that_is_not_up_yet_has_no_partitions(loop: Any) -> None:
    class Slow(Partitioned):
        tries = 0

        async def open(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise ConnectionError("not there yet")
            await super().open()

        def parts(self) -> Any:
            assert self.tries > 1, "asked before it was open"
            return super().parts()

    seen = run(loop, Stream(Slow(*ahead()), restart=Restart(initial=20, jitter=0)))
    assert (seen.late, seen.counts) == ([], dict.fromkeys(range(0, 100, 10), 4))


@pytest.mark.parametrize("chunk", [1, 3, 4096])
@pytest.mark.parametrize("capacity", [1, 1024])
def test_however_the_chunks_are_cut(loop: Any, chunk: int, capacity: int) -> None:
    seen = Seen()

    async def main() -> None:
        await seen.pipeline(Partitioned(*ahead()), chunk=chunk, capacity=capacity).run()

    run_virtual(main, loop=loop)
    assert (seen.late, seen.counts) == ([], dict.fromkeys(range(0, 100, 10), 4))


def test_a_source_that_doesnt_say_its_partitions_is_an_error(loop: Any) -> None:
    class Silent(Partitioned):
        parts = Source.parts

    with pytest.raises(NotImplementedError, match=r"Silent\.parts"):
        run(loop, Silent(*ahead()))


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60).map(float)), max_size=40)


@examples(0.3)
@given(
    events=EVENTS,
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    bound=st.sampled_from([0.0, 3.0, 20.0]),
    lateness=st.sampled_from([0.0, 10.0]),
    chunk=st.sampled_from([1, 2, 100]),
    between=st.sampled_from([None, lambda e: e[1] % 7 > 0, lambda e: e[0] != "b"]),
)
def test_as_the_reference_interpreter_has_it(
    loop: Any,
    events: list[Event],
    sizes: list[int],
    bound: float,
    lateness: float,
    chunk: int,
    between: Callable[[Event], bool] | None,
) -> None:
    got: list[Any] = []
    late: list[Event] = []

    def pipeline() -> Pipeline:
        stream = Stream(Ready(events, sizes))
        if between is not None:
            stream = stream.filter(between)
        timed = stream.event_time(lambda event: event[1], bound, unit="s")
        counted = timed.key_by(lambda event: event[0]).window(Tumbling(10), lateness=lateness).count()
        return Pipeline("interpreted", counted.to(got.append), counted.late.to(late.append), chunk=chunk)

    async def main() -> None:
        await pipeline().run()

    run_virtual(main, loop=loop)
    results, late_ones = interpret(pipeline()).ends
    assert sorted(map(shown, got)) == sorted(map(shown, results.events))
    assert late == list(late_ones.events)


def shown(result: Any) -> tuple[Any, ...]:
    return result.key, result.window.start, result.value
