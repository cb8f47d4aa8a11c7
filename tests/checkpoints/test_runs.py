"""What a pipeline with checkpoint= does, seen from its user."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor import (
    ArgumentError,
    Cancelled,
    Checkpoints,
    Fenced,
    GraphError,
    Inlet,
    Pipeline,
    Process,
    Restart,
    Sink,
    StateError,
    StateMismatch,
    Stream,
    Topic,
    Tumbling,
    checkpoints,
    files,
    topic,
)
from reactor.connectors.states import state_store
from tests.checkpoints.worlds import committed

pytestmark = pytest.mark.anyio


def tens(numbers: Topic[Any]) -> Stream[Any]:
    """Sums of windows of ten."""
    timed = numbers.subscribe("g").event_time(float, unit="s")
    return timed.window(Tumbling(10), name="tens").sum().map(lambda found: found.value)


async def test_windows_go_on_where_they_were(place: str, numbers: Topic[Any]) -> None:
    seen: list[int] = []

    def pipeline() -> Pipeline:
        return Pipeline("p", tens(numbers).to(seen.append), checkpoint=f"memory:{place}", interval=0.01)

    await numbers.publish(*range(15))
    async with pipeline().start():
        await committed(numbers, 15)
    assert seen == [sum(range(10))]  # the drain has saved the second window, and not fired it
    await numbers.publish(*range(15, 25))
    async with pipeline().start():
        await committed(numbers, 25)
    assert seen == [sum(range(10)), sum(range(10, 20))]


async def test_a_checkpoint_can_be_asked_for(place: str, numbers: Topic[Any]) -> None:
    await numbers.publish(1, 2, 3)
    slow = Checkpoints(f"memory:{place}", interval=3600, when_idle=False)
    seen: list[int] = []
    async with Pipeline("p", numbers.subscribe("g").to(seen.append), checkpoint=slow).start() as run:
        with anyio.fail_after(10):
            while len(seen) < 3:
                await anyio.sleep(0.001)
        assert (await numbers.groups()).get("g") != 3
        taken = await run.checkpoint()
        assert list(taken.positions.values()) == [3]
        assert (await numbers.groups())["g"] == 3
        again = await run.checkpoint()
        assert again.number > taken.number
    assert (await run.checkpoint()).number > again.number  # the last one, of the drain


async def test_without_checkpoints_there_is_none_to_ask_for(numbers: Topic[Any]) -> None:
    async with Pipeline("p", numbers.subscribe("g").discard()).start() as run:
        with pytest.raises(ArgumentError, match=r'pass Pipeline\(..., checkpoint="sqlite:state.db"\)'):
            await run.checkpoint()


async def test_a_savepoint_brings_back_an_earlier_state(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    seen: list[int] = []
    store = checkpoints(url)

    def pipeline() -> Pipeline:
        stream = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name="sum")
        return Pipeline("p", stream.to(seen.append), checkpoint=url, interval=0.01)

    await numbers.publish(1, 2)
    async with pipeline().start() as run:
        await committed(numbers, 2)
        kept = await run.savepoint("before")
        assert kept.rows["sum"] == 2  # what it has come to, and that it holds nothing
        await numbers.publish(3)
        await committed(numbers, 3)
    assert [each.name for each in await store.savepoints("p")] == ["before"]
    assert seen == [1, 3, 6]
    await store.restore("p", "before")
    async with pipeline().start():
        with anyio.fail_after(10):
            while len(seen) < 4:
                await anyio.sleep(0.001)
    assert seen == [1, 3, 6, 6]  # the third event once more, from the state before it


async def test_a_failed_run_goes_on_from_its_last_checkpoint(place: str, numbers: Topic[Any]) -> None:
    seen: list[int] = []
    failures = 2

    def fragile(total: int) -> int:
        nonlocal failures
        if total > 20 and failures:
            failures -= 1
            raise ConnectionError("the line is down")
        return total

    stream = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name="sum").map(fragile)
    restarting = Restart(5, initial=0.001)
    pipeline = Pipeline(
        "p", stream.to(seen.append), checkpoint=f"memory:{place}", interval=0.001, restart=restarting
    )
    await numbers.publish(*range(10))
    async with pipeline.start() as run:
        await committed(numbers, 10)
        assert run.restarts == 2
    assert seen[-1] == sum(range(10))
    assert set(seen) == {sum(range(n + 1)) for n in range(10)}


async def test_restarts_are_given_up(place: str, numbers: Topic[Any]) -> None:
    await numbers.publish(0)
    stream = numbers.subscribe("g").map(lambda n: 1 // n)
    pipeline = Pipeline("p", stream.discard(), restart=Restart(3, initial=0.001))
    with pytest.raises(ZeroDivisionError) as caught:
        await pipeline.run()
    assert any("given up after 3 restarts" in note for note in caught.value.__notes__)


async def test_what_an_operator_remembers_can_be_read(place: str, numbers: Topic[Any]) -> None:
    keyed = numbers.subscribe("g").key_by(lambda n: n % 2)
    total = keyed.scan(lambda a, b: a + b, 0, name="total")
    await numbers.publish(*range(7))
    async with Pipeline("p", total.discard(), checkpoint=f"memory:{place}", interval=0.01).start() as run:
        await committed(numbers, 7)
        assert run.state == "running"
        assert run.state("total").get(1) == 9
        assert run.state("total").get(0) == 12
        assert run.state("total").get(2) is None
        with pytest.raises(ArgumentError, match=r"state\('totals'\): no operator .* there are: total"):
            run.state("totals")


class Running(Process[int, int, int]):
    def __init__(self) -> None:
        self.total = 0

    def event(self, event: int, context: Any) -> list[int]:
        self.total += event
        context.at(context.time + 100)
        return []

    def timer(self, time: int, context: Any) -> list[int]:
        return [self.total]

    def end(self, context: Any) -> Iterator[int]:
        yield self.total


async def test_the_objects_of_a_process_and_their_timers_come_back(place: str, numbers: Topic[Any]) -> None:
    seen: list[int] = []

    def pipeline() -> Pipeline:
        timed = numbers.subscribe("g").event_time(lambda n: n, unit="us")
        stream = timed.key_by(lambda n: n % 2).process(Running, name="running")
        return Pipeline("p", stream.to(seen.append), checkpoint=f"memory:{place}", interval=0.01)

    await numbers.publish(2, 4, 5)
    async with pipeline().start():
        await committed(numbers, 3)
    assert seen == []
    await numbers.publish(103)  # behind the first timer, that of 2
    async with pipeline().start() as run:
        await committed(numbers, 4)
        assert run.state("running").get(0).total == 6
    assert seen == [6]


# Ownership --------------------------------------------------------------------------------------------------


async def test_a_second_run_stands_by_and_takes_over(place: str, numbers: Topic[Any]) -> None:
    seen: list[tuple[str, int]] = []

    def pipeline(who: str) -> Pipeline:
        stream = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name="sum")
        return Pipeline(
            "p", stream.to(lambda n: seen.append((who, n))), checkpoint=f"memory:{place}", interval=0.01
        )

    await numbers.publish(1)
    async with pipeline("second").start() as second:
        pass
    async with pipeline("first").start() as first:
        assert first.state == "running"
        async with pipeline("second").start() as second:
            assert second.state == "standby"
            await numbers.publish(2)
            await committed(numbers, 2)
            await first.drain()
            await numbers.publish(3)
            await committed(numbers, 3)
            assert second.state == "running"
    assert seen[-1] == ("second", 6)
    assert ("second", 3) not in seen


async def test_who_has_been_replaced_fails(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    store = state_store(url)
    await store.open()
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=url, interval=0.01)
    with pytest.raises(Fenced, match="has taken over"):
        async with pipeline.start():
            # As if it had been paused for longer than its lease, and another one had taken over.
            owner = await store.owner("p")
            assert owner is not None
            await store.release("p", owner.fence)
            other = store.holder()
            assert await store.claim("p", other, 60) is not None
            await numbers.publish(1)
    store.done(other)
    await store.close()
    assert (await numbers.groups()).get("g") != 1


# Changed pipelines -------------------------------------------------------------------------------------------


async def test_state_without_an_operator_is_named(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    await numbers.publish(1, 2)

    def pipeline(name: str, **settings: Any) -> Pipeline:
        stream = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name=name)
        return Pipeline("p", stream.discard(), checkpoint=Checkpoints(url, **settings), interval=0.01)

    async with pipeline("total").start():
        await committed(numbers, 2)
    with pytest.raises(StateMismatch, match=r"total \(scan\).*drop=\('total',\)"):
        await pipeline("sum").run()
    await numbers.publish(3)
    async with pipeline("sum", drop=("total",)).start() as run:
        await committed(numbers, 3)
        assert run.state("sum").get() == 3


async def test_events_that_a_batch_holds_are_not_given_to_another_one(
    place: str, numbers: Topic[Any]
) -> None:
    url = f"memory:{place}"
    await numbers.publish(1, 2)
    plain = numbers.subscribe("g")
    async with Pipeline("p", plain.batch(10).discard(), checkpoint=url, interval=0.01).start():
        await committed(numbers, 2)
    with pytest.raises(StateMismatch, match=r"batch#1 \(batch\)"):
        await Pipeline("p", plain.map(abs).batch(10).discard(), checkpoint=url).run()


async def test_operators_that_are_new_begin_anew(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    await numbers.publish(1, 2)
    total = numbers.subscribe("g").scan(lambda a, b: a + b, 0, name="total")
    async with Pipeline("p", total.discard(), checkpoint=url, interval=0.01).start():
        await committed(numbers, 2)
    await numbers.publish(3)
    numbered = total.enumerate(name="number")
    seen: list[Any] = []
    async with Pipeline("p", numbered.to(seen.append), checkpoint=url, interval=0.01).start():
        await committed(numbers, 3)
    assert seen == [(0, 6)]


# Checks -----------------------------------------------------------------------------------------------------


def test_what_remembers_needs_a_name(numbers: Topic[Any]) -> None:
    with pytest.raises(GraphError) as caught:
        Pipeline("p", numbers.subscribe("g").scan(max, 0).pairwise().discard(), checkpoint="memory:x")
    faults = [(fault.where, fault.fix) for fault in caught.value.faults]
    assert [where for where, _ in faults] == ["scan(max)", "pairwise()"]
    assert all('name="..."' in fix for _, fix in faults)


def test_without_a_checkpoint_what_would_be_lost_is_refused(numbers: Topic[Any]) -> None:
    with pytest.raises(GraphError, match=r'checkpoint="sqlite:state.db"\), or volatile=True'):
        Pipeline("p", numbers.subscribe("g").pairwise().discard())


def test_exactly_once_names_what_cannot_keep_it(numbers: Topic[Any]) -> None:
    stream = Stream(range(3)).merge(numbers.subscribe("g"))
    with pytest.raises(GraphError) as caught:
        Pipeline("p", stream.to(print), checkpoint="memory:x", guarantee="exactly-once")
    assert len(caught.value.faults) == 2
    assert "range" in str(caught.value.faults[0])
    assert "isn't transactional" in str(caught.value.faults[1])
    with pytest.raises(GraphError, match="needs checkpoints"):
        Pipeline("p", numbers.subscribe("g").to(topic("memory:y")), guarantee="exactly-once")


def test_explain_says_what_is_guaranteed_and_why(numbers: Topic[Any]) -> None:
    out: Topic[Any] = topic("memory:out")
    stream = numbers.subscribe("g").pairwise(name="pairs")
    exact = Pipeline("p", stream.to(out), checkpoint="memory:x", guarantee="exactly-once").explain()
    assert "exactly once" in exact
    assert "staged, and published" in exact
    at_least = Pipeline("p", stream.to(print), checkpoint="memory:x").explain()
    assert "at least once" in at_least
    assert "may get again what came after the last checkpoint" in at_least


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoint": "nowhere"}, "has no scheme"),
        ({"checkpoint": 3}, "a URL as sqlite:state.db, or Checkpoints"),
        ({"guarantee": "twice"}, 'must be "at-least-once" or "exactly-once"'),
    ],
)
def test_what_cannot_work_is_refused(numbers: Topic[Any], settings: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Pipeline("p", numbers.subscribe("g").discard(), **settings)


# Inlets, sinks, failures --------------------------------------------------------------------------------------


async def test_deliver_returns_once_a_checkpoint_has_the_event(place: str) -> None:
    inlet = Inlet[int]()
    url = f"memory:{place}"
    seen: list[Any] = []
    stream = Stream(inlet).batch(2)
    async with Pipeline("p", stream.to(seen.append), checkpoint=url, interval=60).start() as run:
        with anyio.fail_after(10):
            await inlet.deliver(7)  # the batch isn't full: it is saved with the event in it
        assert (await run.checkpoint()).number
    assert seen == []
    second = Inlet[int]()
    async with Pipeline("p", Stream(second).batch(2).to(seen.append), checkpoint=url).start():
        await second.deliver(8)
        with anyio.fail_after(10):
            while not seen:
                await anyio.sleep(0.001)
    assert seen == [[7, 8]]


class Unsaid:
    """A class that nobody has said how to save."""

    def __init__(self, number: int) -> None:
        self.number = number


async def test_state_that_cannot_be_saved_is_named(place: str, numbers: Topic[Any]) -> None:
    await numbers.publish(1)
    stream = numbers.subscribe("g").map(Unsaid).pairwise(name="pairs")
    with pytest.raises(StateError, match="Unsaid") as caught:
        await Pipeline("p", stream.discard(), checkpoint=f"memory:{place}", interval=0.01).run()
    assert any("pairs" in note for note in caught.value.__notes__)


class Broken(Sink[Any]):
    async def write(self, events: Sequence[Any]) -> None:
        raise ConnectionError("no route")


async def test_nothing_is_saved_that_did_not_reach_the_sink(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    await numbers.publish(1, 2)
    with pytest.raises(ConnectionError):
        await Pipeline("p", numbers.subscribe("g").to(Broken()), checkpoint=url, interval=0.001).run()
    saved = await checkpoints(url).last("p")
    assert saved is None or list(saved.positions.values()) in ([], [0])
    assert (await numbers.groups()).get("g") == 0


async def test_a_run_that_is_cancelled_keeps_its_last_checkpoint(place: str, numbers: Topic[Any]) -> None:
    url = f"memory:{place}"
    await numbers.publish(1, 2)
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=url, interval=0.01)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await committed(numbers, 2)
            run.cancel()
    saved = await checkpoints(url).last("p")
    assert saved is not None
    assert list(saved.positions.values()) == [2]


async def test_a_bounded_pipeline_that_has_ended_gives_nothing_twice(place: str, tmp_path: Path) -> None:
    lines = tmp_path / "numbers.jsonl"
    lines.write_text("".join(f"{n}\n" for n in range(25)))
    out: Topic[Any] = topic(f"memory:{place}-out")

    def pipeline() -> Pipeline:
        timed = Stream(files.jsonl(lines, int)).event_time(float, unit="s")
        found = timed.window(Tumbling(10), name="tens").sum().map(lambda each: each.value)
        return Pipeline("p", found.to(out), checkpoint=f"memory:{place}", guarantee="exactly-once")

    for _ in range(2):
        await pipeline().run()
        assert [record.value async for record in out.records()] == [45, 145, 110]


async def test_a_takeover_is_logged(
    place: str, numbers: Topic[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reactor")
    pipeline = Pipeline("p", numbers.subscribe("g").discard(), checkpoint=f"memory:{place}")
    async with pipeline.start() as first, pipeline.start() as second:
        await first.drain()
        with anyio.fail_after(10):
            while second.state != "running":
                await anyio.sleep(0.001)
    assert any("stands by" in record.message for record in caplog.records)
    assert any("takes over" in record.message for record in caplog.records)
