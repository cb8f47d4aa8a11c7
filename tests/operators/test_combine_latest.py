"""combine_latest gives a tuple for each event of any input; with_latest's rules about waiting are the same."""

import random
from collections.abc import Iterator

import anyio
import pytest

from reactor import Cancelled, DeadLetters, GraphError, Inlet, Pipeline, Stream
from reactor.engine.elements import Barrier
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.engine.test_marks import Bench

pytestmark = pytest.mark.anyio

Pair = tuple[int, str]


# The three lines --------------------------------------------------------------------------------------------


async def test_emits_when_an_input_has_an_event_and_each_has_had_one() -> None:
    numbers, texts, probe = Inlet[int](), Inlet[str](), Probe[Pair]()
    async with Pipeline("p", Stream(numbers).combine_latest(Stream(texts)).to(probe)).start():
        await numbers.send(1)
        await settle()
        assert probe.events == []
        await texts.send("a")
        assert await probe.until(1) == [(1, "a")]
        await texts.send("b")
        assert await probe.until(2) == [(1, "a"), (1, "b")]
        await numbers.send(2)
        assert await probe.until(3) == [(1, "a"), (1, "b"), (2, "b")]


async def test_backpressures_when_another_input_has_had_no_event_yet() -> None:
    numbers, silent = Endless(), Inlet[str]()
    stream = Stream(numbers).combine_latest(Stream(silent)).take(3)
    async with Pipeline("p", stream.discard(), capacity=2, chunk=1).start():
        await settle()
        assert numbers.read <= 6
        await silent.send("a")


async def test_backpressures_when_the_next_operator_does() -> None:
    left, right, gate = Endless(), Endless(), Gate()
    pipeline = Pipeline("p", Stream(left).combine_latest(Stream(right)).to(gate), capacity=1, chunk=1)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await gate.entered()
            await settle()
            assert max(left.read, right.read) <= 10
            run.cancel()


async def test_completes_when_all_inputs_have() -> None:
    numbers, texts, probe = Inlet[int](), Inlet[str](), Probe[Pair]()
    async with Pipeline("p", Stream(numbers).combine_latest(Stream(texts)).to(probe)).start() as run:
        await numbers.send(1)
        numbers.close()
        for text in "abc":
            await texts.send(text)
        assert await probe.until(3) == [(1, "a"), (1, "b"), (1, "c")]  # what has ended keeps its latest
        assert run.state == "running"
        texts.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()


async def test_completes_when_an_input_has_without_an_event() -> None:
    numbers, texts = Inlet[int](), Inlet[str]()
    async with Pipeline("p", Stream(numbers).combine_latest(Stream(texts)).discard()).start() as run:
        await numbers.send(1)
        texts.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()
        assert numbers.closed


# What is combined -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1024])
async def test_every_event_is_in_a_tuple_whatever_the_capacity(size: int) -> None:
    """So many tuples as events, but for the first ones; each is one event further than the one before."""
    probe = Probe[tuple[int, int, int]]()
    stream = Stream(range(50)).combine_latest(Stream(range(30)), Stream(range(7)))
    await Pipeline("p", stream.to(probe), capacity=size, chunk=size).run()
    assert len(probe.events) == 50 + 30 + 7 - 2
    assert probe.events[0] == (0, 0, 0)
    assert probe.events[-1] == (49, 29, 6)
    for before, after in zip(probe.events, probe.events[1:], strict=False):
        assert sum(b - a for a, b in zip(before, after, strict=True)) == 1


async def test_random_timelines_give_what_the_latest_are() -> None:
    draw = random.Random(7)
    inlets = [Inlet[int]() for _ in range(3)]
    streams = [Stream(inlet) for inlet in inlets]
    probe = Probe[tuple[int, ...]]()
    latest: dict[int, int] = {}
    expected: list[tuple[int, ...]] = []
    async with Pipeline("p", streams[0].combine_latest(*streams[1:]).to(probe)).start():
        for at, inlet in enumerate(inlets):  # each has had one
            await inlet.send(-at)
            latest[at] = -at
        expected.append((0, -1, -2))
        for n in range(60):
            at = draw.randrange(3)
            await inlets[at].send(n)
            await settle()
            latest[at] = n
            expected.append((latest[0], latest[1], latest[2]))
    assert probe.events == expected


async def test_no_input_starves() -> None:
    with anyio.fail_after(PATIENCE):
        pairs = await Stream(Endless()).combine_latest(Stream(Endless())).take(10_000).collect()
    left, right = pairs[-1]
    assert 2_000 < left < 8_000
    assert 2_000 < right < 8_000


async def test_a_stream_with_itself() -> None:
    shared = Stream(range(100))
    pairs = await shared.combine_latest(shared.map(str)).collect()
    assert len(pairs) == 199
    assert pairs[-1] == (99, "99")


# Ends -------------------------------------------------------------------------------------------------------


async def test_a_failing_input_fails_the_run() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await Stream(Endless()).combine_latest(Stream(fails)).collect()


async def test_a_drain_emits_what_was_read_and_commits_it() -> None:
    left, right = Log([1, 2, 3], name="left", follow=True), Log([9], name="right", follow=True)
    probe = Probe[tuple[int, int]]()
    async with Pipeline("p", Stream(left).combine_latest(Stream(right), volatile=True).to(probe)).start():
        assert await probe.until(3) == [(1, 9), (2, 9), (3, 9)]
    assert (left.committed, right.committed) == (3, 1)


async def test_a_drain_before_each_has_had_one_commits_nothing() -> None:
    left, right = Log([1, 2, 3], name="left", follow=True), Log([], name="right", follow=True)
    probe = Probe[tuple[int, int]]()
    stream = Stream(left).combine_latest(Stream(right), volatile=True)
    async with Pipeline("p", stream.to(probe), interval=0.001).start():
        for _ in range(20):
            await settle()
    assert probe.events == []
    assert left.committed == 0


async def test_take_behind_it_ends_it() -> None:
    with anyio.fail_after(PATIENCE):
        stream = Stream(Endless()).combine_latest(Stream(["a"])).take(2)
        assert await stream.collect() == [(1, "a"), (2, "a")]


async def test_over_a_group_it_has_to_be_volatile() -> None:
    stream = Stream(Log([1])).combine_latest(Stream([2]))
    with pytest.raises(GraphError, match="volatile=True"):
        Pipeline("p", stream.discard())
    assert await Stream(Log([1])).combine_latest(Stream([2]), volatile=True).collect() == [(1, 2)]


# Marks and origins ------------------------------------------------------------------------------------------


async def test_a_barrier_waits_behind_a_first_event_that_is_in_no_tuple() -> None:
    async with Bench(lambda a, b: a.combine_latest(b), inputs=2) as bench:
        await bench.send(1, 2, Barrier(1), to=0)
        await bench.send(Barrier(1), to=1)
        assert bench.seen == []
        await bench.send(9, to=1)
        assert bench.seen == [(1, 9), (2, 9), Barrier(1)]


async def test_a_dead_letter_keeps_the_records_of_all() -> None:
    letters: list[object] = []

    def fails(pair: tuple[int, int]) -> None:
        raise ValueError(pair)

    stream = Stream(Log([1], name="left")).combine_latest(Stream(Log([2], name="right")), volatile=True)
    failing = stream.map(fails, on_error=DeadLetters())
    await Pipeline("p", failing.discard(), dead_letters=lambda letter: letters.append(letter.origin)).run()
    (origin,) = letters
    assert [(record.topic, record.value) for record in origin] == [("left", 1), ("right", 2)]  # type: ignore[attr-defined]
