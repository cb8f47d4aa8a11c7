"""What was once wrong with checkpoints, and what only large states show."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reactor import (
    Cancelled,
    Checkpoints,
    Count,
    GraphError,
    Inlet,
    Pipeline,
    Record,
    Restart,
    Run,
    Session,
    Sink,
    Sliding,
    Source,
    StateError,
    StateMismatch,
    Stream,
    Topic,
    Tumbling,
    topic,
)
from reactor.engine import stage
from reactor.windows import Counting, panes
from reactor.windows.times import BEGINNING
from tests.checkpoints.worlds import BUILT, Numbers, Staging, committed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("what", ["tumbling", "sliding", "late", "join"])
async def test_windows_that_are_too_large_to_be_copied(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a certain size on changes are noted one by one; the results are the same."""
    monkeypatch.setattr(panes, "COPIED", 5)
    monkeypatch.setattr(stage, "_SETTLED", 2)
    dice = random.Random(what)

    async def results(stops: int, store: str) -> Counter[str]:
        sink = Staging()

        def pipeline() -> Pipeline:
            checkpoint = Checkpoints(store, interval=0.003, spacing=0.0005)
            stream = BUILT[what](dice)
            return Pipeline(
                "p",
                stream.to(sink),
                checkpoint=checkpoint,
                guarantee="exactly-once",
                chunk=dice.choice([5, 64]),
            )

        for _ in range(stops):
            try:
                async with pipeline().start() as run:
                    with anyio.move_on_after(dice.random() * 0.05):
                        await run.wait()
                    run.cancel()
            except Cancelled:
                pass
        await pipeline().run()
        return Counter(map(repr, sink.seen))

    wanted = await results(0, f"memory:{tmp_path.name}-once")
    assert await results(6, f"memory:{tmp_path.name}-stopped") == wanted


async def forever(number: int) -> AsyncIterator[int]:
    while True:
        yield number
        await anyio.sleep(0.01)


async def test_a_drain_does_not_wait_for_a_barrier_that_waits_for_the_end(tmp_path: Path) -> None:
    numbers: Topic[Any] = topic(f"memory:{tmp_path.name}")
    await numbers.publish(1, 2, 3)
    stream = numbers.subscribe("g")
    behind = stream.switch_map(forever)
    pipeline = Pipeline("p", behind.discard(), checkpoint=f"memory:{tmp_path.name}", interval=0.001)
    with anyio.fail_after(10):
        async with pipeline.start(drain=60) as run:
            while run.metrics().events_in < 3:
                await anyio.sleep(0.001)
            await anyio.sleep(0.02)  # a barrier is on its way, and can't pass
    assert (await numbers.groups())["g"] == 3


async def slow(number: int) -> int:
    await anyio.sleep(3600)
    return number


async def test_a_checkpoint_does_not_wait_for_calls_that_are_under_way(tmp_path: Path) -> None:
    """Nor for the events of the same chunk that no worker has taken yet."""
    numbers: Topic[Any] = topic(f"memory:{tmp_path.name}")
    await numbers.publish(*range(5))
    seen: list[int] = []
    stream = numbers.subscribe("g").map(slow, concurrency=3).to(seen.append)
    pipeline = Pipeline("p", stream, checkpoint=f"memory:{tmp_path.name}", interval=3600)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            with anyio.fail_after(20):
                while run.metrics().events_in < 5:
                    await anyio.sleep(0.001)
                taken = await run.checkpoint()
            assert list(taken.positions.values()) == [5]
            run.cancel()
    again = numbers.subscribe("g").map(abs, threads=2).to(seen.append)
    async with Pipeline("p", again, checkpoint=f"memory:{tmp_path.name}").start():
        with anyio.fail_after(20):
            while len(seen) < 5:
                await anyio.sleep(0.001)
    assert seen == [0, 1, 2, 3, 4]


async def test_an_input_that_is_down_holds_up_no_other_one(place: str, numbers: Topic[Any]) -> None:
    async def fragile() -> AsyncIterator[int]:
        raise ConnectionError("down")
        yield 0

    down = Stream(fragile, restart=Restart(5, initial=3600, max_delay=3600))
    pipeline = Pipeline(
        "p", down.merge(numbers.subscribe("g")).discard(), checkpoint=f"memory:{place}", interval=0.01
    )
    async with pipeline.start() as run:
        for number in range(3):
            await numbers.publish(number)
            await committed(numbers, number + 1)
        with anyio.fail_after(20):
            await run.checkpoint()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Tumbling(10), Tumbling(20)),
        (Tumbling(10), Sliding(20, every=5)),
        (Tumbling(10), Session(gap=5)),
        (Session(gap=5), Count(3)),
    ],
)
async def test_windows_of_another_kind_are_not_given_what_was_saved(
    before: Any, after: Any, place: str, numbers: Topic[Any]
) -> None:
    def pipeline(assigner: Any, **settings: Any) -> Pipeline:
        timed = numbers.subscribe("g").event_time(float, unit="s")
        store = Checkpoints(f"memory:{place}", **settings)
        return Pipeline(
            "p", timed.window(assigner, name="w").sum().discard(), checkpoint=store, interval=0.01
        )

    await numbers.publish(11, 12)
    async with pipeline(before).start():
        await committed(numbers, 2)
    with pytest.raises(StateMismatch, match=r"w \(window: .*drop=\('w',\)"):
        await pipeline(after).run()
    async with pipeline(after, drop=("w",)).start() as run:
        assert (await run.checkpoint()).number


async def test_a_scan_that_has_become_keyed_is_not_given_what_was_saved(
    place: str, numbers: Topic[Any]
) -> None:
    def pipeline(keyed: bool) -> Pipeline:
        stream: Any = numbers.subscribe("g")
        if keyed:
            stream = stream.key_by(lambda n: n % 2)
        total = stream.scan(lambda a, b: a + b, 0, name="total")
        return Pipeline("p", total.discard(), checkpoint=f"memory:{place}", interval=0.01)

    await numbers.publish(1, 2)
    async with pipeline(False).start():
        await committed(numbers, 2)
    with pytest.raises(StateMismatch, match=r"total \(scan\)"):
        await pipeline(True).run()


async def test_who_asks_for_a_checkpoint_is_told_that_the_run_has_failed(
    place: str, numbers: Topic[Any]
) -> None:
    called, fails = anyio.Event(), anyio.Event()

    async def stuck(number: int) -> None:
        called.set()
        await fails.wait()
        raise ConnectionError("no route")

    told: list[Exception] = []

    async def ask(run: Run) -> None:
        with anyio.fail_after(20):
            with pytest.raises(StateError, match="no checkpoint was taken, the run is failed") as caught:
                await run.checkpoint()
        told.append(caught.value)

    await numbers.publish(1)
    pipeline = Pipeline("p", numbers.subscribe("g").to(stuck), checkpoint=f"memory:{place}")
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ConnectionError):
            async with pipeline.start() as run:
                await called.wait()
                tasks.start_soon(ask, run)
                await anyio.wait_all_tasks_blocked()
                fails.set()
                await run.wait()
    assert told


async def test_who_asks_a_standby_for_a_checkpoint_is_told_when_it_goes(
    place: str, numbers: Topic[Any]
) -> None:
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=f"memory:{place}")
    async with pipeline.start(), anyio.create_task_group() as tasks:
        async with pipeline.start() as second:
            assert second.state == "standby"

            async def ask() -> None:
                with anyio.fail_after(20), pytest.raises(StateError, match="no checkpoint was taken"):
                    await second.checkpoint()

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()


async def test_deliver_waits_for_its_own_event_not_for_those_of_an_earlier_run(
    place: str, numbers: Topic[Any]
) -> None:
    seen: list[Any] = []

    def pipeline(inlet: Inlet[Any], follow: bool) -> Pipeline:
        first = numbers.read(follow=follow)  # whatever reads a topic without a group, to its end or on and on
        return Pipeline(
            "p", first.concat(Stream(inlet)).to(seen.append), checkpoint=f"memory:{place}", interval=0.01
        )

    await numbers.publish(1)
    inlet = Inlet[Any]()
    async with pipeline(inlet, False).start():
        for each in "abc":
            await inlet.deliver(each)
    inlet = Inlet[Any]()
    with pytest.raises(Cancelled):
        async with pipeline(inlet, True).start() as run:
            await numbers.publish(2)
            await run.checkpoint()
            with anyio.move_on_after(0.1) as waits:
                await inlet.deliver("d")
            run.cancel()
    assert waits.cancelled_caught
    assert "d" not in seen


@pytest.mark.parametrize("how", ["merge", "concat", "interleave"])
async def test_a_drain_flushes_nothing_though_one_input_had_ended(
    how: str, place: str, numbers: Topic[Any]
) -> None:
    seen: list[Any] = []

    def pipeline() -> Pipeline:
        both = getattr(Stream(Numbers(random.Random(1), 3, 1)), how)(numbers.subscribe("g"))
        return Pipeline("p", both.batch(10).to(seen.append), checkpoint=f"memory:{place}", interval=0.01)

    await numbers.publish(4, 5)
    async with pipeline().start():
        await committed(numbers, 2)
    assert seen == []
    await numbers.publish(6, 7, 8, 9, 10)
    async with pipeline().start():
        await committed(numbers, 7)
    assert [sorted(each) for each in seen] == [list(range(1, 11))]


class Gated(Sink[Any]):
    """The first flush waits."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.flushing, self.go = anyio.Event(), anyio.Event()

    async def write(self, events: Sequence[Any]) -> None:
        self.seen += [dict(each) for batch in events for each in batch]

    async def flush(self) -> None:
        self.flushing.set()
        await self.go.wait()


async def test_what_is_held_is_saved_as_it_was_when_the_barrier_passed(
    place: str, numbers: Topic[Any]
) -> None:
    def one_more(batch: list[dict[str, int]]) -> list[dict[str, int]]:
        for each in batch:
            each["n"] += 1
        return batch

    def pipeline(sink: Gated) -> Pipeline:
        stream = numbers.subscribe("g").map(lambda n: {"n": n}).batch(2).map(one_more)
        return Pipeline("p", stream.to(sink), checkpoint=f"memory:{place}", interval=0.01)

    first = Gated()
    await numbers.publish(0)
    with pytest.raises(Cancelled):
        async with pipeline(first).start() as run:
            await first.flushing.wait()  # the barrier has passed the batch
            await numbers.publish(100)
            while run.metrics().stages[0].events_in < 2:
                await anyio.sleep(0.001)
            first.go.set()
            await committed(numbers, 1)
            run.cancel()
    second = Gated()
    second.go.set()
    async with pipeline(second).start():
        with anyio.fail_after(10):
            while len(second.seen) < 2:
                await anyio.sleep(0.001)
    assert second.seen == [{"n": 1}, {"n": 101}]


async def test_a_standby_that_is_drained_just_goes(place: str, numbers: Topic[Any]) -> None:
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=f"memory:{place}")
    async with pipeline.start() as first:
        async with pipeline.start() as second:
            assert second.state == "standby"
        assert second.state == "complete"
        assert second.error is None
        assert first.state == "running"


async def test_a_run_that_is_drained_before_it_knows_that_it_stands_by_goes_at_once(
    place: str, numbers: Topic[Any]
) -> None:
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=f"memory:{place}")
    async with pipeline.start():
        second = pipeline.start()
        async with anyio.create_task_group() as tasks:

            async def drained() -> None:
                while second.state == "ready":
                    await anyio.lowlevel.checkpoint()
                await second.drain()

            tasks.start_soon(drained)
            with anyio.fail_after(20):
                async with second:
                    await second.wait()
        assert second.error is None


async def test_an_endless_inner_stream_holds_up_neither_checkpoints_nor_the_drain(
    place: str, numbers: Topic[Any]
) -> None:
    other: Topic[Any] = topic(f"memory:{place}-other")
    seen: list[Any] = []

    async def endless(number: int) -> AsyncIterator[str]:
        yield f"of {number}"
        await anyio.sleep_forever()

    def pipeline() -> Pipeline:
        both = other.subscribe("g").merge(numbers.subscribe("g").switch_map(endless))
        return Pipeline("p", both.to(seen.append), checkpoint=f"memory:{place}", interval=0.01)

    await numbers.publish(7)
    with anyio.fail_after(10):
        async with pipeline().start() as run:
            await committed(numbers, 1)
            await run.checkpoint()
            await other.publish(1)
            await committed(other, 1)
        assert seen == ["of 7", 1]
        async with pipeline().start():  # it is read again
            while len(seen) < 3:
                await anyio.sleep(0.001)
    assert seen == ["of 7", 1, "of 7"]


def test_what_nobody_can_save_is_refused(numbers: Topic[Any]) -> None:
    async def same(events: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for event in events:
            yield event

    with pytest.raises(GraphError, match="no checkpoint can pass it"):
        Pipeline("p", numbers.subscribe("g").through(same).discard(), checkpoint="memory:x")


async def test_what_was_volatile_for_a_while_begins_anew(place: str, numbers: Topic[Any]) -> None:
    seen: list[int] = []

    def pipeline(volatile: bool) -> Pipeline:
        total = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name="total", volatile=volatile)
        return Pipeline("p", total.to(seen.append), checkpoint=f"memory:{place}", interval=0.01)

    for at, volatile in enumerate((False, True, False), 1):
        await numbers.publish(1, 1)
        async with pipeline(volatile).start():
            await committed(numbers, 2 * at)
    assert seen == [1, 2, 1, 2, 1, 2]


async def test_a_volatile_window_may_have_very_many_keys(place: str, numbers: Topic[Any]) -> None:
    timed = Stream(range(70_000)).event_time(lambda n: 1, unit="s").key_by(lambda n: n)
    counts = timed.window(Tumbling(10), name="w", volatile=True).count()
    seen = 0

    def count(found: Any) -> None:
        nonlocal seen
        seen += 1

    await Pipeline("p", counts.to(count), checkpoint=f"memory:{place}").run()
    assert seen == 70_000


@pytest.mark.parametrize("how", ["zip", "interleave"])
async def test_what_is_read_ahead_is_bounded(how: str, place: str, numbers: Topic[Any]) -> None:
    slow: Topic[Any] = topic(f"memory:{place}-slow")
    fast, behind = numbers.subscribe("g"), slow.subscribe("g")
    both = fast.zip(behind, name="zip") if how == "zip" else fast.interleave(behind)
    seen: list[Any] = []
    pipeline = Pipeline(
        "p", both.to(seen.append), checkpoint=f"memory:{place}", interval=0.001, capacity=10, chunk=5
    )
    await numbers.publish(*range(5000))
    async with pipeline.start() as run:
        most = 0
        for number in range(60):
            await slow.publish(number)
            await anyio.sleep(0.005)
            most = max(most, run.metrics().in_flight)
    assert most < 200


async def awaited(number: int) -> int:
    await anyio.sleep(0)
    return number


@pytest.mark.parametrize("how", ["take", "take_while", "behind an async map"])
async def test_a_group_goes_no_further_than_what_was_taken(how: str, place: str, numbers: Topic[Any]) -> None:
    await numbers.publish(*range(100))
    stream = numbers.subscribe("g")
    if how == "take_while":
        some = stream.take_while(lambda n: n < 9, name="some")  # it has seen the tenth
    elif how == "take":
        some = stream.take(10, name="some")
    else:
        some = stream.map(awaited, concurrency=3).take(10, name="some")
    for _ in range(2):
        await Pipeline("p", some.discard(), checkpoint=f"memory:{place}").run()
        assert (await numbers.groups())["g"] == 10


class Told(Source[int]):
    """Gives one number for each time that it is told to."""

    seekable = True

    def __init__(self, base: int, told: int) -> None:
        self.name = f"from {base}"
        self.base = base
        self.at = 0
        self.may = anyio.Semaphore(told)

    async def read(self, limit: int) -> Sequence[Record[int]] | None:
        await self.may.acquire()
        if self.at == 50:
            return None
        self.at += 1
        return [Record(self.base + self.at)]

    def position(self) -> int:
        return self.at

    async def seek(self, position: int) -> None:
        self.at = position


async def at_rest(source: Told) -> None:
    """Return once it gives nothing more."""
    with anyio.fail_after(10):
        before = -1
        while source.at != before:
            before = source.at
            await anyio.sleep(0.02)


async def test_a_drain_may_overtake_a_barrier_that_one_input_hasnt_sent(place: str) -> None:
    """Its last barrier takes that one's place there: what the others brought between both still goes on."""
    gate, sink = anyio.Event(), Staging()

    async def held(number: int) -> int:
        await gate.wait()
        return number

    def pipeline(*sources: Told) -> Pipeline:
        one, two = map(Stream, sources)
        return Pipeline(
            "p",
            one.merge(two, name="merged").map(held, concurrency=1, name="held").to(sink),
            checkpoint=Checkpoints(f"memory:{place}", interval=3600, when_idle=False),
            guarantee="exactly-once",
            capacity=1,
            chunk=1,
        )

    idle, busy = Told(0, 0), Told(1000, 40)
    async with anyio.create_task_group() as tasks, pipeline(idle, busy).start() as run:
        await at_rest(busy)  # it is in the middle of giving one
        tasks.start_soon(run.checkpoint)
        await at_rest(busy)
        idle.may.release()  # behind its barrier
        await at_rest(busy)
        assert (idle.at, 0 < busy.at < 40) == (1, True)
        tasks.start_soon(run.drain)
        await at_rest(busy)
        gate.set()
    assert 0 < len(sink.seen) < 50
    await pipeline(Told(0, 100), Told(1000, 100)).run()
    assert Counter(sink.seen) == Counter([*range(1, 51), *range(1001, 1051)])


def large() -> panes.Panes:
    """Windows with 1000 keys in one pane, which is too large to be copied."""
    kernel = panes.Panes(100, 100, 0, 0, Counting())
    kernel.track()
    kernel.noting = True
    states = kernel.pane(5, BEGINNING)
    assert states is not None
    assert kernel.changed is not None
    for key in range(1000):
        states[key] = 1
        kernel.changed[0, key] = None
    assert len(kernel.saved().rows) == 1000
    return kernel


async def test_a_pane_that_is_gone_is_handed_over_whole() -> None:
    """A window of very many keys ends: to note them, or to free them, would stop everything else."""
    kernel = large()
    kernel.pane(150, BEGINNING)  # the next window is open
    assert len(list(kernel.fire(100))) == 1000
    assert (kernel.noted, kernel.changed) == (0, {})
    saved = kernel.saved()
    ((start, table),) = saved.gone
    assert (start, list(table), saved.rows, saved.complete) == (0, list(range(1000)), {}, False)
    assert not kernel.saved().gone


async def test_the_last_pane_that_is_gone_is_handed_over_to_be_freed() -> None:
    kernel = large()
    assert len(list(kernel.fire(100))) == 1000
    saved = kernel.saved()
    assert (len(saved.gone), saved.rows, saved.complete) == (1, {}, True)


async def test_rows_of_panes_that_have_grown_are_noted_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(panes, "COPIED", 999)
    kernel = panes.Panes(100, 100, 0, 0, Counting())
    kernel.track()
    states = kernel.pane(5, BEGINNING)
    assert states is not None
    states.update(dict.fromkeys(range(1000), 1))
    kernel.grown()
    assert (kernel.noting, kernel.noted, kernel.changed) == (True, 1000, {})
    states[1000] = 1  # and what comes from now on is noted by who changes it
    first = kernel.some(300)
    assert (first, kernel.noted) == ({(0, key): 1 for key in range(300)}, 700)
    assert kernel.saved().rows == {(0, key): 1 for key in range(300, 1000)}
    assert kernel.noted == 0
