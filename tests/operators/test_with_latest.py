"""with_latest emits on the first stream's events only, each with the latest of the others."""

import anyio
import pytest

from reactor import Cancelled, GraphError, Inlet, Pipeline, Stream
from reactor.engine.elements import Barrier
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.engine.test_marks import Bench

pytestmark = pytest.mark.anyio


# The three lines --------------------------------------------------------------------------------------------


async def test_emits_when_this_stream_has_an_event_and_the_others_have_had_one() -> None:
    numbers, rate, country = Inlet[int](), Inlet[float](), Inlet[str]()
    probe = Probe[tuple[int, float, str]]()
    stream = Stream(numbers).with_latest(Stream(rate), Stream(country))
    async with Pipeline("p", stream.to(probe)).start():
        await rate.send(0.5)
        await numbers.send(1)
        await settle()
        assert probe.events == []
        await country.send("UK")
        assert await probe.until(1) == [(1, 0.5, "UK")]  # it has waited
        await rate.send(0.7)
        await country.send("FR")
        await settle()
        assert len(probe.events) == 1
        await numbers.send(2)
        assert (await probe.until(2))[-1] == (2, 0.7, "FR")


async def test_backpressures_while_another_has_had_no_event_yet() -> None:
    numbers, silent = Endless(), Inlet[str]()
    stream = Stream(numbers).with_latest(Stream(silent)).take(3)
    async with Pipeline("p", stream.discard(), capacity=2, chunk=1).start():
        await settle()
        assert numbers.read <= 6
        await silent.send("a")


async def test_backpressures_when_the_next_operator_does() -> None:
    left, right, gate = Endless(), Endless(), Gate()
    pipeline = Pipeline("p", Stream(left).with_latest(Stream(right)).to(gate), capacity=1, chunk=1)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await gate.entered()
            await settle()
            assert max(left.read, right.read) <= 20
            run.cancel()


async def test_completes_when_this_stream_has() -> None:
    numbers, texts, probe = Inlet[int](), Inlet[str](), Probe[tuple[int, str]]()
    async with Pipeline("p", Stream(numbers).with_latest(Stream(texts)).to(probe)).start() as run:
        await texts.send("a")
        await numbers.send(1)
        await probe.until(1)
        numbers.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()
        assert texts.closed


async def test_completes_when_another_has_without_an_event() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).with_latest(Stream(["a"]), Stream([])).collect() == []


# What is combined -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1024])
async def test_each_of_its_events_is_in_one_tuple_whatever_the_capacity(size: int) -> None:
    probe = Probe[tuple[int, int]]()
    stream = Stream(range(500)).with_latest(Stream(range(30)))
    await Pipeline("p", stream.to(probe), capacity=size, chunk=size).run()
    assert [n for n, _ in probe.events] == list(range(500))
    others = [other for _, other in probe.events]
    assert others == sorted(others)


async def test_another_that_has_ended_keeps_its_latest() -> None:
    numbers, probe = Inlet[int](), Probe[tuple[int, str]]()
    async with Pipeline("p", Stream(numbers).with_latest(Stream(["a", "b"])).to(probe)).start():
        await settle()
        for n in (1, 2, 3):
            await numbers.send(n)
    assert probe.events == [(1, "b"), (2, "b"), (3, "b")]


async def test_a_fast_one_beside_it_starves_it_not() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(range(1000)).with_latest(Stream(Endless())).count() == 1000


async def test_a_stream_with_something_that_is_made_of_it() -> None:
    shared = Stream(range(100))
    totals = shared.scan(lambda total, n: total + n, 0)
    assert [n for n, _ in await shared.with_latest(totals).collect()] == list(range(100))


# Ends, marks ------------------------------------------------------------------------------------------------


async def test_a_drain_commits_what_is_in_a_tuple() -> None:
    numbers, config = Log([1, 2, 3], name="numbers", follow=True), Log(["a"], name="config", follow=True)
    probe = Probe[tuple[int, str]]()
    stream = Stream(numbers).with_latest(Stream(config), volatile=True)
    async with Pipeline("p", stream.to(probe)).start():
        assert await probe.until(3) == [(1, "a"), (2, "a"), (3, "a")]
    assert numbers.committed == 3


async def test_a_drain_while_it_waits_commits_nothing_of_what_waits() -> None:
    numbers, config = Log([1, 2, 3], name="numbers", follow=True), Log([], name="config", follow=True)
    probe = Probe[tuple[int, str]]()
    stream = Stream(numbers).with_latest(Stream(config), volatile=True)
    async with Pipeline("p", stream.to(probe), interval=0.001).start():
        for _ in range(20):
            await settle()
    assert probe.events == []
    assert numbers.committed == 0


async def test_at_its_end_all_of_it_is_committed() -> None:
    numbers, config = Log([1, 2, 3], name="numbers"), Log(["a"], name="config", follow=True)
    stream = Stream(numbers).with_latest(Stream(config), volatile=True)
    with anyio.fail_after(PATIENCE):
        await Pipeline("p", stream.to(Probe[tuple[int, str]]())).run()
    assert numbers.committed == 3


async def test_at_its_end_all_of_a_shared_source_is_committed() -> None:
    """What the other branch has still in hand isn't wanted any more."""
    log, gate = Log(list(range(10))), Gate()

    async def first_only(n: int) -> int:
        return n if n == 0 else await gate(n)

    shared = Stream(log)
    pairs = shared.with_latest(shared.map(first_only), volatile=True)
    with anyio.fail_after(PATIENCE):
        await Pipeline("p", pairs.to(Probe[tuple[int, int]]()), interval=3600).run()
    assert log.committed == 10


async def test_over_a_group_it_has_to_be_volatile() -> None:
    with pytest.raises(GraphError, match="volatile=True"):
        Pipeline("p", Stream(Log([1])).with_latest(Stream([2])).discard())


async def test_a_barrier_waits_behind_the_events_that_wait() -> None:
    async with Bench(lambda a, b: a.with_latest(b), inputs=2) as bench:
        await bench.send(1, 2, Barrier(1), to=0)
        await bench.send(Barrier(1), to=1)
        assert bench.seen == []
        await bench.send(9, to=1)
        assert bench.seen == [(1, 9), (2, 9), Barrier(1)]
