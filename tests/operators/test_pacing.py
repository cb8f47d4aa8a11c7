"""What holds for all operators that look at the clock: backpressure, drain, cancel, marks, cuttings, bounds."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from reactor import Cancelled, Inlet, Pipeline, RateLimit, Stream, Tumbling
from reactor.engine.elements import Barrier, Watermark
from tests.engine.scripted import Gate, Log, Probe, settle
from tests.engine.test_marks import Bench
from tests.operators.timelines import by_virtual_clock, every, played

pytestmark = by_virtual_clock

Build = Callable[[Stream[Any]], Stream[Any]]

HOLDING: dict[str, Build] = {
    "throttle trailing": lambda s: s.throttle(3600, trailing=True),
    "debounce": lambda s: s.debounce(3600),
    "sample": lambda s: s.sample(3600),
    "delay": lambda s: s.delay(3600),
}

ALL: dict[str, Build] = {
    "throttle": lambda s: s.throttle(0.25),
    "throttle trailing": lambda s: s.throttle(0.25, trailing=True),
    "debounce": lambda s: s.debounce(0.25),
    "sample": lambda s: s.sample(0.25),
    "delay": lambda s: s.delay(0.25),
    "timeout": lambda s: s.timeout(60),
}

holding = pytest.mark.parametrize("what", HOLDING)


@pytest.mark.parametrize("what", ALL)
async def test_backpressures_when_the_next_operator_does(what: str) -> None:
    read: list[int] = []
    gate = Gate()
    stream = ALL[what](every(1, 1000).tap(read.append))
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.to(gate), capacity=1, chunk=1).start() as run:
            await anyio.sleep(100)
            assert gate.inside == 1
            assert len(read) <= 10
            run.cancel()


@holding
async def test_what_is_held_at_a_drain_is_read_again(what: str) -> None:
    """Nothing goes on before its time, nothing is lost: the position stays before the event that is held."""
    log, probe = Log([1], follow=True), Probe[int]()
    async with Pipeline("p", HOLDING[what](Stream(log)).to(probe)).start() as run:
        await settle()
        if what == "throttle trailing":  # the first one passes
            assert probe.events == [1]
            await log.until_committed(1)
        log.append(2)
        await settle()
    assert run.state == "complete"
    assert 2 not in probe.events
    assert log.committed == (0 if what == "delay" else 1)


@holding
async def test_a_cancellation_says_how_many_are_held(what: str) -> None:
    inlet = Inlet[int]()
    with pytest.raises(Cancelled) as failure:
        async with Pipeline("p", HOLDING[what](Stream(inlet)).to(Probe[int]())).start() as run:
            await inlet.send(1)
            await settle()
            await inlet.send(2)
            await settle()
            assert run.metrics().in_flight == (2 if what == "delay" else 1)
            run.cancel()
    assert failure.value.in_flight == (2 if what == "delay" else 1)


@holding
async def test_a_failure_elsewhere_leaves_nothing_behind(what: str) -> None:
    with pytest.raises(ZeroDivisionError):
        await HOLDING[what](every(1, 9).map(lambda n: 1 // (5 - n))).collect()


# Marks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Watermark, Barrier])
@pytest.mark.parametrize("what", ["debounce", "sample", "delay", "throttle trailing"])
async def test_a_mark_waits_behind_the_event_that_is_held(what: str, kind: Callable[[int], Any]) -> None:
    builds: dict[str, Build] = {
        "debounce": lambda s: s.debounce(2),
        "sample": lambda s: s.sample(2),
        "delay": lambda s: s.delay(2),
        "throttle trailing": lambda s: s.throttle(2, trailing=True),
    }
    first = [0] if what == "throttle trailing" else []
    async with Bench(builds[what]) as bench:
        await bench.send(*first, 1, kind(10))
        assert bench.seen == []
        assert bench.sink.events == first
        await anyio.sleep(2.5)
        assert bench.seen == [*first, 1, kind(10)]
        await bench.send(kind(20))
        assert bench.seen == [*first, 1, kind(10), kind(20)]  # nothing is held: it passes at once


@pytest.mark.parametrize("what", ["debounce", "sample", "throttle trailing"])
async def test_a_mark_passes_when_a_later_event_has_taken_the_place_of_the_one_before_it(what: str) -> None:
    first = [0] if what == "throttle trailing" else []
    async with Bench(HOLDING[what]) as bench:
        await bench.send(*first, 1, Barrier(1))
        assert bench.seen == []
        await bench.send(2, Barrier(2))
        assert bench.seen == [*first, Barrier(1)]
    assert bench.seen == [*first, Barrier(1), 2, Barrier(2)]


async def test_marks_keep_their_places_between_delayed_events() -> None:
    async with Bench(lambda s: s.delay(2)) as bench:
        await bench.send(1, Barrier(1), 2, Watermark(5), Watermark(6), 3, Barrier(2))
        await anyio.sleep(3)
        assert bench.seen == [1, Barrier(1), 2, Watermark(6), 3, Barrier(2)]


async def test_marks_pass_throttle_and_timeout_at_once() -> None:
    async with Bench(lambda s: s.throttle(60).timeout(60)) as bench:
        await bench.send(1, Barrier(1), 2, Watermark(5))
        assert bench.seen == [1, Barrier(1), Watermark(5)]


async def test_a_mark_waits_behind_an_event_that_is_conflated() -> None:
    gate = Gate()

    def build(stream: Stream[Any]) -> Stream[Any]:
        return stream.conflate(lambda a, b: a + b).map(gate, concurrency=1)

    async with Bench(build) as bench:
        await bench.send(1, 2, 4, Barrier(1), 8)
        assert bench.seen == []
        gate.open()
        await settle()
        assert bench.seen[-1] == Barrier(1)
        assert sum(bench.sink.events) == 15


async def test_of_watermarks_that_wait_together_one_is_kept() -> None:
    async with Bench(HOLDING["debounce"]) as bench:
        await bench.send(1)
        for time in range(1000):
            await bench.send(Watermark(time))
        (stage,) = (stage for stage in bench.run.stages if "debounce" in stage.name)
        assert len(stage._marks) == 1  # type: ignore[attr-defined]
    assert bench.seen == [1, Watermark(999)]


async def test_events_that_overtake_others_by_key_make_none_of_those_late() -> None:
    """A window behind rate_limit(key=) gets every event: those of the fast key bring no later watermark along."""
    events = [("slow", n) if n % 3 == 0 else (f"fast{n}", n) for n in range(30)]
    limit = RateLimit(lambda key: 1 if key == "slow" else 1000)
    seen = (
        Stream(events)
        .event_time(lambda event: event[1], unit="s")
        .rate_limit(limit, key=lambda event: event[0])
        .key_by(lambda event: event[0][:4])
        .window(Tumbling(10))
        .count()
    )
    results = await seen.collect()
    assert sum(result.value for result in results) == 30
    assert {(r.key, r.window.start // 1_000_000): r.value for r in results}[("slow", 20)] == 3


async def test_lists_by_time_carry_their_events_times() -> None:
    stream = Stream(range(25)).event_time(lambda n: n, unit="s").batch(4, max_wait=60)
    results = await stream.window(Tumbling(10)).fold(lambda total, part: total + len(part), 0).collect()
    assert sum(result.value for result in results) == 25
    assert [result.value for result in results] == [
        8,
        12,
        5,
    ]  # by the latest time in each list: 3, 7; 11, ...


# Cuttings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk", "capacity"), [(1, 1), (1, 1024), (3, 2), (4096, 1024)])
@pytest.mark.parametrize("what", ALL)
async def test_the_result_does_not_depend_on_chunks_and_capacities(
    what: str, chunk: int, capacity: int
) -> None:
    async def run(**sizes: int) -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []
        began = anyio.current_time()
        stream = ALL[what](every(0.125, 40))
        sink = stream.to(lambda n: seen.append((anyio.current_time() - began, n)))
        await Pipeline("p", sink, **sizes).run()
        return seen

    assert await run(chunk=chunk, capacity=capacity) == await run()


async def test_what_follows_may_have_enough() -> None:
    for build in ALL.values():
        seen = await played(build(every(1, 50)).take(2))
        assert len(seen) == 3
        assert seen[-1][0] < 5
