"""interleave takes strict turns; an input that has ended is passed over."""

from collections.abc import AsyncIterator, Iterator
from itertools import chain

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Cancelled, GraphError, Inlet, Pipeline, Stream, Tumbling
from reactor.engine.elements import Barrier
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.engine.test_marks import Bench

pytestmark = pytest.mark.anyio


def in_turn(*inputs: list[int]) -> list[int]:
    longest = max(map(len, inputs))
    return list(chain.from_iterable([one[n] for one in inputs if n < len(one)] for n in range(longest)))


# The three lines --------------------------------------------------------------------------------------------


async def test_emits_when_the_input_whose_turn_it_is_has_an_event() -> None:
    first, second, probe = Inlet[int](), Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(first).interleave(Stream(second)).to(probe)).start():
        await second.send(10)
        await settle()
        assert probe.events == []
        await first.send(1)
        assert await probe.until(2) == [1, 10]
        await first.send(2)
        assert await probe.until(3) == [1, 10, 2]
        await first.send(3)
        await settle()
        assert probe.events == [1, 10, 2]


async def test_backpressures_when_another_inputs_turn_it_is() -> None:
    numbers, slow = Endless(), Inlet[int]()
    async with Pipeline(
        "p", Stream(numbers).interleave(Stream(slow)).take(4).discard(), capacity=2, chunk=1
    ).start():
        await settle()
        read = numbers.read
        assert read <= 8
        await slow.send(1)
        await settle()
        assert numbers.read <= read + 1
        await slow.send(2)


async def test_backpressures_when_the_next_operator_does() -> None:
    left, right, gate = Endless(), Endless(), Gate()
    pipeline = Pipeline("p", Stream(left).interleave(Stream(right)).to(gate), capacity=1, chunk=1)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await gate.entered()
            await settle()
            assert max(left.read, right.read) <= 10
            run.cancel()


async def test_completes_when_all_inputs_have() -> None:
    first, second, probe = Inlet[int](), Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(first).interleave(Stream(second)).to(probe)).start() as run:
        first.close()
        await second.send(1)
        await second.send(2)
        assert await probe.until(2) == [1, 2]  # the first one has ended: it is passed over
        assert run.state == "running"
        second.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()


# Order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 1024])
@pytest.mark.parametrize("lengths", [(5, 5), (3, 100), (100, 3), (0, 7), (1, 50, 20), (2000, 1999, 1)])
async def test_the_order_depends_on_no_capacity(lengths: tuple[int, ...], size: int) -> None:
    inputs = [[1000 * each + n for n in range(length)] for each, length in enumerate(lengths)]
    probe = Probe[int]()
    first, *others = (Stream(one) for one in inputs)
    await Pipeline("p", first.interleave(*others).to(probe), capacity=size, chunk=size).run()
    assert probe.events == in_turn(*inputs)


async def test_one_that_ends_in_the_middle_of_a_turn_is_passed_over() -> None:
    inlets = [Inlet[int]() for _ in range(3)]
    first, second, third = inlets
    streams = [Stream(inlet) for inlet in inlets]
    probe = Probe[int]()
    async with Pipeline("p", streams[0].interleave(*streams[1:]).to(probe)).start():
        await first.send(1)
        await third.send(3)
        await settle()
        assert probe.events == [1]
        second.close()
        assert await probe.until(2) == [1, 3]
        for inlet in (third, first):
            await inlet.send(4)
        assert await probe.until(4) == [1, 3, 4, 4]


# Ends -------------------------------------------------------------------------------------------------------


async def test_a_failing_input_fails_the_run_and_closes_the_others() -> None:
    closed: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await checkpoint()
                yield 1
        finally:
            closed.append("endless")

    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await Stream(endless).interleave(Stream(fails)).collect()
    assert closed == ["endless"]


async def test_take_behind_it_stops_all_inputs() -> None:
    with anyio.fail_after(PATIENCE):
        stream = Stream(Endless()).interleave(Stream(Endless()), Stream([7])).take(6)
        assert await stream.collect() == [1, 1, 7, 2, 2, 3]


async def test_a_drain_over_logs_emits_and_commits_what_was_read() -> None:
    left, right = Log([1, 3, 5, 7], name="left", follow=True), Log([2, 4], name="right", follow=True)
    probe = Probe[int]()
    async with Pipeline("p", Stream(left).interleave(Stream(right)).to(probe)).start():
        assert await probe.until(5) == [1, 2, 3, 4, 5]
        await settle()
        assert probe.events == [1, 2, 3, 4, 5]  # 7 waits for its turn
    assert probe.events == [1, 2, 3, 4, 5, 7]
    assert (left.committed, right.committed) == (4, 2)


async def test_take_behind_it_commits_no_more_than_it_has_had() -> None:
    left, right = Log(list(range(100)), name="left"), Log(list(range(100)), name="right")
    stream = Stream(left).interleave(Stream(right)).take(5, volatile=True)
    await Pipeline("p", stream.to(Probe[int]())).run()
    assert left.committed == 3
    assert right.committed <= 2


async def test_cancelling_counts_what_waits_for_its_turn() -> None:
    left, right = Inlet[int](), Inlet[int]()
    with pytest.raises(Cancelled) as cancelled:
        async with Pipeline("p", Stream(left).interleave(Stream(right)).discard()).start() as run:
            for n in range(4):
                await left.send(n)
            await settle()
            run.cancel()
    assert cancelled.value.in_flight == 3


# Marks ------------------------------------------------------------------------------------------------------


async def test_a_barrier_waits_behind_the_events_that_wait_for_their_turn() -> None:
    async with Bench(lambda a, b: a.interleave(b), inputs=2) as bench:
        await bench.send(1, 2, Barrier(1), to=0)
        await bench.send(Barrier(1), to=1)
        assert bench.seen == []
        await bench.send(10, to=1)
        assert bench.seen == [1, 10, 2, Barrier(1)]


async def test_nothing_is_committed_ahead_of_what_waits_for_its_turn() -> None:
    left, right = Log([1, 3], name="left", follow=True), Log([], name="right", follow=True)
    probe = Probe[int]()
    stream = Stream(left).interleave(Stream(right))
    async with Pipeline("p", stream.to(probe), interval=0.001).start():
        await probe.until(1)
        for _ in range(20):
            await settle()
        assert left.committed <= 1
        right.append(2)
        await left.until_committed(2)
    assert probe.events == [1, 2, 3]


@pytest.mark.parametrize("size", [1, 3, 1024])
async def test_no_event_is_late_because_the_other_input_is_ahead(size: int) -> None:
    behind = Stream(range(30)).event_time(lambda n: n, unit="s")
    ahead = Stream(range(100, 120)).event_time(lambda n: n, unit="s")
    probe = Probe[tuple[int, int]]()
    counts = behind.interleave(ahead).window(Tumbling(10)).count()
    results = counts.map(lambda result: (result.window.start // 10_000_000, result.value))
    await Pipeline("p", results.to(probe), capacity=size, chunk=size).run()
    assert probe.events == [(0, 10), (1, 10), (2, 10), (10, 10), (11, 10)]


# A shared source --------------------------------------------------------------------------------------------


async def test_branches_of_one_source_need_buffers() -> None:
    shared = Stream(range(20))
    with pytest.raises(GraphError, match=r"put an explicit buffer\(n\) into each branch"):
        Pipeline("p", shared.interleave(shared.map(abs)).discard())
    buffered = shared.buffer(20).interleave(shared.map(abs).buffer(20))
    assert await buffered.collect() == [n // 2 for n in range(40)]
