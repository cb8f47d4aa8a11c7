"""The inlet: an application hands events in; it waits, is refused or is told, and never hangs."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor import (
    Cancelled,
    Closed,
    DeadLetter,
    DeadLetters,
    Full,
    Inlet,
    Pipeline,
    ReactorError,
    Skip,
    Stream,
    UsedTwice,
)
from reactor.engine.channel import Census, Parker
from tests.engine.scripted import PATIENCE, Gate, Probe, settle
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


def breaks(n: Any) -> Any:
    raise Broken(f"at {n}")


class Task:
    """A call in the background: whether it is done, and what it raised."""

    def __init__(self, tasks: Any, call: Callable[..., Any], *args: Any) -> None:
        self.done = False
        self.error: Exception | None = None
        tasks.start_soon(self._run, call, args)

    async def _run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            await call(*args)
        except Exception as error:
            self.error = error
        self.done = True


async def test_send_hands_in_in_order() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).to(probe)).start():
        for n in range(3000):
            await inlet.send(n)
    assert probe.events == list(range(3000))


async def test_send_waits_while_the_pipeline_is_behind() -> None:
    inlet, gate = Inlet[int](2), Gate()
    with anyio.fail_after(PATIENCE):
        async with (
            Pipeline("p", Stream(inlet).to(gate), capacity=1, chunk=1).start(),
            anyio.create_task_group() as tasks,
        ):
            sends = [Task(tasks, inlet.send, n) for n in range(20)]
            await gate.entered()
            await settle()
            done = sum(send.done for send in sends)
            assert 2 <= done <= 8
            assert inlet.waiting == 2
            gate.open()
    assert all(send.done for send in sends)


async def test_many_senders_lose_nothing_and_none_waits_for_ever() -> None:
    inlet, probe = Inlet[int](3), Probe[int]()

    async def send(start: int) -> None:
        for n in range(start, start + 100):
            await inlet.send(n)

    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).map(plus_one).to(probe), capacity=2).start():
            async with anyio.create_task_group() as tasks:
                for start in range(0, 1000, 100):
                    tasks.start_soon(send, start)
    assert sorted(probe.events) == list(range(1, 1001))


async def test_a_sender_that_is_cancelled_takes_nobodys_room() -> None:
    inlet, gate = Inlet[int](1), Gate()
    with anyio.fail_after(PATIENCE):
        pipeline = Pipeline("p", Stream(inlet).to(gate), capacity=1, chunk=1)
        async with pipeline.start(), anyio.create_task_group() as tasks:
            await gate_is_full(inlet, gate)
            with anyio.move_on_after(0.01) as scope:
                await inlet.send(98)
            assert scope.cancelled_caught
            last = Task(tasks, inlet.send, 99)
            gate.open()
            while not last.done:
                await anyio.lowlevel.checkpoint()
            assert last.error is None


async def test_room_given_to_a_sender_that_is_cancelled_then_goes_to_the_next() -> None:
    inlet = Inlet[int](1)
    inlet.attach(Parker(Census()))
    inlet.send_nowait(0)
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await inlet.send(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await settle()
        second = Task(tasks, inlet.send, 2)
        await settle()
        assert inlet.take(1) == [0]  # wakes the first one
        scope.cancel()
        await settle()
        assert inlet.waiting == 1
        assert inlet.take(1) in ([1], [2])
        await settle()
        assert second.done
        inlet.close()


async def gate_is_full(inlet: Inlet[int], gate: Gate) -> None:
    """Send until the inlet has no more room."""
    while True:
        await settle()
        try:
            inlet.send_nowait(0)
        except Full:
            return


async def test_send_nowait_raises_full_and_says_so() -> None:
    inlet = Inlet[int](2)
    inlet.send_nowait(1)
    inlet.send_nowait(2)
    with pytest.raises(Full, match=r"Inlet\(capacity=2\): 2 events wait; try later, or send\(\)"):
        inlet.send_nowait(3)
    assert inlet.waiting == 2


async def test_events_may_be_handed_in_before_the_pipeline_runs() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    inlet.send_nowait(1)
    await inlet.send(2)
    inlet.close()
    await Pipeline("p", Stream(inlet).to(probe)).run()
    assert probe.events == [1, 2]


async def test_waiting_and_closed_tell_how_it_stands() -> None:
    inlet = Inlet[int]()
    assert (inlet.waiting, inlet.closed) == (0, False)
    inlet.send_nowait(1)
    assert inlet.waiting == 1
    inlet.close()
    assert inlet.closed


async def test_after_close_nothing_more_is_taken_and_what_waits_goes_on() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).to(probe)).start() as run:
        await inlet.send(1)
        inlet.close()
        for call in (inlet.send, inlet.deliver):
            with pytest.raises(Closed, match="its pipeline "):
                await call(2)
        with pytest.raises(Closed):
            inlet.send_nowait(2)
        await run.wait()
    assert probe.events == [1]


async def test_close_twice_is_fine() -> None:
    inlet = Inlet[int]()
    inlet.close()
    inlet.close()
    assert await Stream(inlet).collect() == []


async def test_after_the_end_all_calls_raise_closed() -> None:
    inlet = Inlet[int]()
    async with Pipeline("p", Stream(inlet).discard()).start():
        pass
    for call in (inlet.send, inlet.deliver):
        with pytest.raises(Closed, match="its pipeline has ended"):
            await call(1)
    with pytest.raises(Closed, match="its pipeline has ended"):
        inlet.send_nowait(1)
    with pytest.raises(Closed, match="its pipeline has ended"):
        await anyio.to_thread.run_sync(inlet.send_from_thread, 1)


async def test_after_a_failure_all_calls_raise_closed_with_the_cause() -> None:
    inlet = Inlet[int]()
    with pytest.raises(Broken):
        async with Pipeline("p", Stream(inlet).map(breaks).discard()).start() as run:
            await inlet.send(1)
            with pytest.raises(Broken):
                await run.wait()
            for call in (inlet.send, inlet.deliver):
                with pytest.raises(Closed, match=r"its pipeline failed \(Broken: at 1\)") as closed:
                    await call(2)
                assert isinstance(closed.value.__cause__, Broken)


async def test_a_sender_that_waits_is_told_of_a_failure() -> None:
    inlet, gate = Inlet[int](1), Gate()

    async def sink(n: int) -> None:
        await gate()
        breaks(n)

    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream(inlet).to(sink), capacity=1, chunk=1).start() as run:
                async with anyio.create_task_group() as tasks:
                    await gate_is_full(inlet, gate)
                    sends = [Task(tasks, inlet.send, 1), Task(tasks, inlet.deliver, 1)]
                    await settle()
                    assert not any(send.done for send in sends)
                    gate.open()
                with pytest.raises(Broken):
                    await run.wait()
    for send in sends:
        assert isinstance(send.error, Closed)
        assert isinstance(send.error.__cause__, Broken)


async def test_a_sender_that_waits_is_told_of_the_end() -> None:
    inlet, gate = Inlet[int](1), Gate()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            async with Pipeline("p", Stream(inlet).to(gate), capacity=1, chunk=1).start():
                await gate_is_full(inlet, gate)
                send = Task(tasks, inlet.send, 1)
                await settle()
                gate.open()
    assert send.done
    assert send.error is None or isinstance(send.error, Closed)


# deliver ----------------------------------------------------------------------------------------------------


async def test_deliver_returns_after_the_sinks_flush_and_not_before() -> None:
    flushing = Gate()
    inlet, probe = Inlet[int](), Probe[int](on_flush=flushing)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).to(probe)).start(), anyio.create_task_group() as tasks:
            delivery = Task(tasks, inlet.deliver, 1)
            await flushing.entered()
            await settle()
            assert probe.events == [1]
            assert not delivery.done
            flushing.open()
            while not delivery.done:
                await anyio.lowlevel.checkpoint()
            assert probe.stored == [1]
    assert delivery.error is None


async def test_deliver_waits_for_all_sinks() -> None:
    gate, inlet, quick = Gate(), Inlet[int](), Probe[int]("quick")
    slow = Probe[int]("slow", on_write=gate)
    shared = Stream(inlet)
    with anyio.fail_after(PATIENCE):
        async with (
            Pipeline("p", shared.to(quick), shared.to(slow)).start(),
            anyio.create_task_group() as tasks,
        ):
            delivery = Task(tasks, inlet.deliver, 1)
            await quick.until(1)
            await settle()
            assert not delivery.done
            gate.open()
    assert delivery.error is None
    assert slow.stored == [1]


async def test_deliver_is_quick_on_an_idle_pipeline() -> None:
    """It doesn't wait for the next interval."""
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).map(plus_one, concurrency=4).to(probe), interval=3600).start():
            for n in range(50):
                await inlet.deliver(n)
    assert len(probe.stored) == 50


async def test_many_deliver_at_once() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).to(probe)).start():
            async with anyio.create_task_group() as tasks:
                for n in range(200):
                    tasks.start_soon(inlet.deliver, n)
            assert sorted(probe.stored) == list(range(200))


async def test_deliver_of_an_event_that_is_filtered_or_skipped_returns() -> None:
    inlet = Inlet[int]()
    stream = Stream(inlet).filter(lambda n: n > 5).map(breaks, on_error=Skip())
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", stream.discard()).start():
            await inlet.deliver(1)
            await inlet.deliver(9)


async def test_deliver_of_an_event_that_becomes_a_dead_letter_returns_once_that_is_stored() -> None:
    storing = Gate()
    inlet, letters = Inlet[int](), Probe[DeadLetter]("letters", on_write=storing)
    stream = Stream(inlet).map(breaks, on_error=DeadLetters())
    with anyio.fail_after(PATIENCE):
        pipeline = Pipeline("p", stream.discard(), dead_letters=letters)
        async with pipeline.start(), anyio.create_task_group() as tasks:
            delivery = Task(tasks, inlet.deliver, 1)
            await storing.entered()
            await settle()
            assert not delivery.done
            storing.open()
    assert delivery.error is None
    assert [letter.event for letter in letters.stored] == [1]


async def test_deliver_raises_closed_with_the_cause_when_the_pipeline_fails() -> None:
    inlet = Inlet[int]()
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream(inlet).map(breaks).discard()).start():
                with pytest.raises(Closed, match=r"failed \(Broken: at 1\)") as closed:
                    await inlet.deliver(1)
                assert isinstance(closed.value.__cause__, Broken)


async def test_deliver_raises_closed_when_the_sink_refuses() -> None:
    async def write(events: Sequence[int]) -> None:
        raise Broken("disk full")

    inlet = Inlet[int]()
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream(inlet).to(Probe(on_write=write))).start():
                with pytest.raises(Closed, match="disk full"):
                    await inlet.deliver(1)


async def test_deliver_raises_closed_when_the_run_is_cancelled() -> None:
    inlet, gate = Inlet[int](), Gate()
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Cancelled):
            async with Pipeline("p", Stream(inlet).to(gate)).start() as run:
                async with anyio.create_task_group() as tasks:
                    delivery = Task(tasks, inlet.deliver, 1)
                    await gate.entered()
                    run.cancel()
    assert isinstance(delivery.error, Closed)


async def test_deliver_of_what_take_does_not_want_raises_closed() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).take(1).to(probe), chunk=1).start():
            async with anyio.create_task_group() as tasks:
                first = Task(tasks, inlet.deliver, 1)
                await settle()
                second = Task(tasks, inlet.deliver, 2)
    assert first.error is None
    assert isinstance(second.error, Closed)
    assert probe.stored == [1]


async def test_a_drain_delivers_what_waits() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with anyio.create_task_group() as tasks:
        async with Pipeline("p", Stream(inlet).map(plus_one, concurrency=2).to(probe)).start():
            deliveries = [Task(tasks, inlet.deliver, n) for n in range(20)]
            await settle()
    assert [delivery.error for delivery in deliveries] == [None] * 20
    assert len(probe.stored) == 20


async def test_deliver_through_a_batch_with_max_wait() -> None:
    inlet, probe = Inlet[int](), Probe[list[int]]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).batch(100, max_wait=0.01).to(probe)).start():
            await inlet.deliver(1)
            assert probe.stored == [[1]]


async def test_a_cancelled_deliver_leaves_the_event_in() -> None:
    inlet, gate, probe = Inlet[int](), Gate(), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).map(gate).to(probe)).start():
            with anyio.move_on_after(0.01):
                await inlet.deliver(1)
            gate.open()
            await inlet.deliver(2)
    assert probe.stored == [1, 2]


# Threads ----------------------------------------------------------------------------------------------------


async def test_send_from_thread() -> None:
    inlet, probe = Inlet[int](4), Probe[int]()

    def work() -> None:
        for n in range(100):
            inlet.send_from_thread(n)

    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).map(plus_one).to(probe)).start():
            await anyio.to_thread.run_sync(work)
    assert probe.events == list(range(1, 101))


async def test_send_from_a_thread_of_the_applications_own() -> None:
    inlet, probe = Inlet[int](4), Probe[int]()
    thread = threading.Thread(target=lambda: [inlet.send_from_thread(n) for n in range(10)])
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).to(probe)).start():
            await settle()
            thread.start()
            await probe.until(10)
    await anyio.to_thread.run_sync(thread.join)
    assert probe.events == list(range(10))


async def test_a_thread_that_waits_is_told_of_a_failure() -> None:
    inlet, gate = Inlet[int](1), Gate()
    errors: list[Exception] = []

    async def sink(n: int) -> None:
        await gate()
        breaks(n)

    def work() -> None:
        try:
            for n in range(100):
                inlet.send_from_thread(n)
        except Exception as error:
            errors.append(error)

    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream(inlet).to(sink), capacity=1, chunk=1).start():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.to_thread.run_sync, work)
                    await gate.entered()
                    gate.open()
    assert isinstance(errors[0], Closed)
    assert isinstance(errors[0].__cause__, Broken)


async def test_send_from_thread_before_the_start_says_what_to_do() -> None:
    with pytest.raises(Closed, match=r"send_from_thread\(\): the pipeline doesn't run yet; start it first"):
        await anyio.to_thread.run_sync(Inlet[int]().send_from_thread, 1)


async def test_send_from_thread_on_the_loop_itself_says_what_to_do() -> None:
    inlet = Inlet[int]()
    async with Pipeline("p", Stream(inlet).discard()).start():
        await settle()
        with pytest.raises((RuntimeError, ReactorError), match="event loop"):
            inlet.send_from_thread(1)


# One run ----------------------------------------------------------------------------------------------------


async def test_an_inlet_is_read_by_one_run() -> None:
    inlet = Inlet[int]()
    pipeline = Pipeline("p", Stream(inlet).discard())
    async with pipeline.start():
        await settle()
        with pytest.raises(UsedTwice, match="make a new Inlet for each run"):
            await pipeline.run()
        await inlet.send(1)  # the first one goes on
    with pytest.raises(UsedTwice):
        await pipeline.run()
