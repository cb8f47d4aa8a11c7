"""A run's life: it completes, drains, is cancelled or fails; start() beside a host, several by reactor.run()."""

import logging
import signal
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

import reactor
from reactor import ArgumentError, Cancelled, DrainTimeout, Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


def breaks(n: int) -> int:
    raise Broken(f"at {n}")


# Complete ---------------------------------------------------------------------------------------------------


async def test_run_returns_the_run_when_it_is_complete() -> None:
    run = await Pipeline("p", Stream([1]).discard()).run()
    assert run.state == "complete"
    assert run.error is None
    assert run.name == "p"


async def test_a_pipeline_may_run_many_times_also_at_once() -> None:
    seen: list[int] = []
    pipeline = Pipeline("p", Stream(range(3)).to(seen.append))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        tasks.start_soon(pipeline.run)
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]


async def test_two_runs_at_once_may_read_one_source_and_both_let_go_of_it() -> None:
    log, seen = Log(range(6), most=1), list[int]()
    async with anyio.create_task_group() as tasks:
        for name in ("one", "other"):
            tasks.start_soon(Pipeline(name, Stream(log).to(seen.append)).run)
    assert sorted(seen) == list(range(6))
    assert "commit_soon" not in vars(log)


async def test_wait_returns_when_the_run_is_complete() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(inlet).to(probe)).start() as run:
        await inlet.send(1)
        inlet.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()
        assert run.state == "complete"
        assert probe.stored == [1]


async def test_a_run_is_ready_then_running_then_complete() -> None:
    inlet = Inlet[int]()
    block = Pipeline("p", Stream(inlet).discard()).start()
    assert block.state == "ready"
    async with block as run:
        assert run.state == "running"
    assert run.state == "complete"


async def test_a_run_runs_once() -> None:
    block = Pipeline("p", Stream([1]).discard()).start()
    async with block:
        pass
    with pytest.raises(ArgumentError, match="a run runs once; call run"):
        async with block:
            pass


# Drain ------------------------------------------------------------------------------------------------------


async def test_leaving_the_block_drains() -> None:
    numbers, probe = Endless(), Probe[int]()

    async def slowly(n: int) -> int:
        await checkpoint()
        return n

    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(numbers).map(slowly, concurrency=4).to(probe)).start() as run:
            await probe.until(10)
    assert run.state == "complete"
    assert probe.stored == list(range(1, numbers.read + 1))


async def test_drain_stops_the_sources_and_returns_when_it_is_over() -> None:
    gate = Gate()
    inlet = Inlet[int]()
    async with Pipeline("p", Stream(inlet).to(gate)).start() as run, anyio.create_task_group() as tasks:
        await inlet.send(1)
        await gate.entered()
        tasks.start_soon(run.drain)
        await settle()
        assert run.state == "draining"
        assert inlet.closed
        gate.open()
    assert run.state == "complete"


async def test_drain_interrupts_a_source_that_waits() -> None:
    log, probe = Log([1, 2], follow=True), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).to(probe)).start():
            await probe.until(2)
    assert log.calls[-1] == "close"
    assert log.committed == 2


async def test_drain_interrupts_an_async_iterable_that_waits_and_closes_it() -> None:
    closed: list[bool] = []

    async def silent() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    probe = Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(silent).to(probe)).start():
            await probe.until(1)
    assert closed == [True]


async def test_events_accepted_before_the_first_read_are_not_lost_by_a_drain() -> None:
    inlet, seen = Inlet[int](), list[int]()
    async with Pipeline("p", Stream(inlet).to(seen.append)).start():
        await inlet.send(1)
        await inlet.send(2)
    assert seen == [1, 2]


async def test_the_deadline_of_a_drain_cancels_and_says_how_many_were_in_flight() -> None:
    gate, inlet = Gate(), Inlet[int]()
    with anyio.fail_after(PATIENCE):
        with pytest.raises(DrainTimeout, match=r"pipeline 'p' .* 0\.02 s, 3 events in flight") as failure:
            async with Pipeline("p", Stream(inlet).to(gate, concurrency=2)).start(drain=0.02) as run:
                for n in range(3):
                    await inlet.send(n)
                await gate.entered(2)
    assert failure.value.in_flight == 3
    assert run.state == "cancelled"
    assert isinstance(failure.value, Cancelled)


async def test_a_drain_of_0_seconds_cancels_what_is_in_flight() -> None:
    gate, inlet = Gate(), Inlet[int]()
    with pytest.raises(DrainTimeout):
        async with Pipeline("p", Stream(inlet).to(gate)).start(drain=0):
            await inlet.send(1)
            await gate.entered()


async def test_a_sink_that_fails_while_draining_fails_the_run() -> None:
    async def flush() -> None:
        raise Broken("disk full")

    probe, inlet = Probe[int](on_flush=flush), Inlet[int]()
    with pytest.raises(Broken, match="disk full") as failure:
        async with Pipeline("p", Stream(inlet).to(probe)).start() as run:
            await inlet.send(1)
    assert run.state == "failed"
    assert "operator to(probe)" in failure.value.__notes__[0]
    assert probe.calls[-1] == "close"


# Cancel -----------------------------------------------------------------------------------------------------


async def test_cancel_abandons_and_says_what_was_in_flight() -> None:
    gate, inlet = Gate(), Inlet[int]()
    with pytest.raises(Cancelled, match=r"pipeline 'p' was cancelled, 5 events in flight") as failure:
        async with Pipeline("p", Stream(inlet).to(gate, concurrency=2)).start() as run:
            for n in range(5):
                await inlet.send(n)
            await gate.entered(2)
            run.cancel()
            with pytest.raises(Cancelled):
                await run.wait()
    assert failure.value.in_flight == 5
    assert run.state == "cancelled"


async def test_in_flight_counts_each_event_once_wherever_it_is() -> None:
    """In a batch, in a buffer, in a pool: read and not yet in a sink."""
    gate, inlet = Gate(), Inlet[int]()
    stream = Stream(inlet).buffer(100).map(gate, concurrency=3).batch(1000)
    with pytest.raises(Cancelled) as failure:
        async with Pipeline("p", stream.discard()).start() as run:
            for n in range(10):
                await inlet.send(n)
            await gate.entered(3)
            await settle()
            assert run.metrics().in_flight == 10
            run.cancel()
    assert failure.value.in_flight == 10


async def test_an_exception_in_the_block_cancels_and_is_raised_as_it_is() -> None:
    gate, inlet = Gate(), Inlet[int]()
    with pytest.raises(Broken, match="in the host"):
        async with Pipeline("p", Stream(inlet).to(gate)).start() as run:
            await inlet.send(1)
            await gate.entered()
            raise Broken("in the host")
    assert run.state == "cancelled"
    assert isinstance(run.error, Cancelled)


async def test_cancelling_the_host_cancels_the_run() -> None:
    gate, inlet, probe = Gate(), Inlet[int](), Probe[int]()
    with anyio.CancelScope() as scope:
        async with Pipeline("p", Stream(inlet).map(gate).to(probe)).start() as run:
            await inlet.send(1)
            await gate.entered()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert run.state == "cancelled"
    assert probe.calls[-1] == "close"


async def test_cancelling_a_task_that_runs_a_pipeline_closes_everything() -> None:
    gate, log, probe = Gate(), Log([1]), Probe[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Pipeline("p", Stream(log).map(gate).to(probe)).run)
        await gate.entered()
        tasks.cancel_scope.cancel()
    assert log.calls == ["open", "close"]
    assert probe.calls[-1] == "close"


async def test_cancel_after_the_end_changes_nothing() -> None:
    async with Pipeline("p", Stream([1]).discard()).start() as run:
        await run.wait()
        run.cancel()
    assert run.state == "complete"
    assert run.error is None


async def test_cancel_ends_a_drain() -> None:
    gate, inlet = Gate(), Inlet[int]()
    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(inlet).to(gate)).start() as run, anyio.create_task_group() as tasks:
            await inlet.send(1)
            await gate.entered()
            tasks.start_soon(run.drain)
            await settle()
            run.cancel()


# Failure ----------------------------------------------------------------------------------------------------


async def test_a_failure_is_told_at_once_logged_at_once_and_raised_on_leaving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inlet = Inlet[int]()
    reached = False
    with pytest.raises(Broken, match="at 1"):
        async with Pipeline("shop", Stream(inlet).map(breaks).discard()).start() as run:
            await inlet.send(1)
            with pytest.raises(Broken):
                await run.wait()
            assert run.state == "failed"
            assert isinstance(run.error, Broken)
            (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert record.name == "reactor"
            assert "pipeline 'shop' failed: Broken: at 1" in record.getMessage()
            await checkpoint()  # the host isn't cancelled
            await anyio.sleep(0)
            reached = True
    assert reached


async def test_a_failure_while_leaving_is_raised_once() -> None:
    inlet = Inlet[int]()
    with pytest.raises(Broken, match="at 1"):
        async with Pipeline("p", Stream(inlet).map(breaks).discard()).start():
            await inlet.send(1)


async def test_run_raises_what_failed() -> None:
    with pytest.raises(Broken, match="at 1"):
        await Pipeline("p", Stream([1]).map(breaks).discard()).run()


async def test_on_failure_restarts() -> None:
    asked: list[Exception] = []
    inlets = iter([[1], [2], [3]])
    seen: list[int] = []

    def once(n: int) -> int:
        return n if n == 3 else breaks(n)

    def again(error: Exception) -> bool:
        asked.append(error)
        return True

    run = await Pipeline("p", Stream(lambda: next(inlets)).map(once).to(seen.append)).run(on_failure=again)
    assert [str(error) for error in asked] == ["at 1", "at 2"]
    assert seen == [3]
    assert run.restarts == 2
    assert run.state == "complete"
    assert run.error is None


@pytest.mark.parametrize("answer", [False, None])
async def test_on_failure_may_give_up(answer: bool | None) -> None:
    with pytest.raises(Broken):
        await Pipeline("p", Stream([1]).map(breaks).discard()).run(on_failure=lambda error: answer)


async def test_on_failure_may_be_async_and_say_how_long_to_wait() -> None:
    began = anyio.current_time()
    answers = iter([0.02, 0.02, False])

    async def again(error: Exception) -> float:
        await checkpoint()
        return next(answers)

    with pytest.raises(Broken):
        await Pipeline("p", Stream([1]).map(breaks).discard()).run(on_failure=again)
    assert anyio.current_time() - began >= 0.039


async def test_on_failure_may_wait_0_seconds() -> None:
    answers = iter([0, False])
    with pytest.raises(Broken):
        run = Pipeline("p", Stream([1]).map(breaks).discard()).start(on_failure=lambda error: next(answers))
        async with run:
            with pytest.raises(Broken):
                await run.wait()
    assert run.restarts == 1


async def test_on_failure_that_fails_raises_both() -> None:
    def again(error: Exception) -> bool:
        raise LookupError("nobody to ask")

    with pytest.raises((LookupError, ExceptionGroup)) as failure:
        await Pipeline("p", Stream([1]).map(breaks).discard()).run(on_failure=again)
    shown = failure.value
    assert "nobody to ask" in str(shown) or "Broken" in repr(shown)
    assert isinstance(shown.__context__, Broken) or isinstance(shown, ExceptionGroup)


async def test_beside_a_host_a_failure_of_on_failure_does_not_cancel_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def again(error: Exception) -> bool:
        raise LookupError("nobody to ask")

    with pytest.raises((LookupError, Broken, ExceptionGroup)):
        async with Pipeline("p", Stream([1]).map(breaks).discard()).start(on_failure=again) as run:
            with pytest.raises((LookupError, Broken)):
                await run.wait()
            await checkpoint()
    assert "nobody to ask" in caplog.text


async def test_a_restart_that_waits_can_be_drained() -> None:
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream([1]).map(breaks).discard()).start(
                on_failure=lambda e: 3600.0
            ) as run:
                await settle()
                assert run.state in ("failed", "running")


async def test_a_cancelled_run_is_not_restarted() -> None:
    asked: list[Exception] = []

    def again(error: Exception) -> bool:
        asked.append(error)
        return True

    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream(Inlet[int]()).discard()).start(on_failure=again) as run:
            run.cancel()
    assert asked == []


# Several ----------------------------------------------------------------------------------------------------


async def test_several_pipelines_run_each_on_its_own() -> None:
    left, right = Probe[int]("left"), Probe[int]("right")
    runs = await reactor.run(
        Pipeline("a", Stream(range(10)).to(left)), Pipeline("b", Stream(range(5)).map(str).to(right))
    )
    assert left.events == list(range(10))
    assert len(right.events) == 5
    assert [run.state for run in runs] == ["complete", "complete"]


async def test_one_that_fails_stops_no_other_and_is_raised_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    going, probe = Log([1], follow=True), Probe[int]()

    async def end_when_logged() -> None:
        with anyio.fail_after(PATIENCE):
            while "pipeline 'bad' failed" not in caplog.text:
                await checkpoint()
        going.append(2)  # the other one still runs
        await probe.until(2)
        going.end()

    with pytest.raises(Broken, match="at 7"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_when_logged)
            try:
                await reactor.run(
                    Pipeline("bad", Stream([7]).map(breaks).discard()),
                    Pipeline("good", Stream(going).to(probe)),
                )
            except Broken as error:
                failure = error
        raise failure
    assert probe.stored == [1, 2]


async def test_two_failures_are_raised_as_a_group() -> None:
    with pytest.raises(ExceptionGroup, match="2 of 3 pipelines failed") as failure:
        await reactor.run(
            Pipeline("a", Stream([1]).map(breaks).discard()),
            Pipeline("b", Stream([2]).map(breaks).discard()),
            Pipeline("c", Stream([3]).discard()),
        )
    assert sorted(str(error) for error in failure.value.exceptions) == ["at 1", "at 2"]


async def test_run_of_nothing_and_of_two_with_one_name_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"run\(\): pass one pipeline or more"):
        await reactor.run()
    one = Pipeline("a", Stream([1]).discard())
    with pytest.raises(ArgumentError, match=r"run\(a, a\): two pipelines have the same name"):
        await reactor.run(one, one)


# Signals ----------------------------------------------------------------------------------------------------


async def test_start_never_touches_signals() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    inlet = Inlet[int]()
    async with Pipeline("p", Stream(inlet).discard()).start():
        await settle()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        now = signal.set_wakeup_fd(wakeup)
        assert now == wakeup


async def test_run_gives_the_signals_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    during: list[object] = []
    await Pipeline("p", Stream([1]).to(lambda n: during.append(signal.getsignal(signal.SIGTERM)))).run()
    assert during != [before[1]]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_no_task_outlives_a_run_that_fails_everywhere_at_once() -> None:
    async def fail(events: Sequence[int]) -> None:
        raise Broken("write")

    async def fail_to_close() -> None:
        raise Broken("close")

    probe = Probe[int](on_write=fail, on_close=fail_to_close)
    with pytest.raises(ExceptionGroup) as failure:
        await Pipeline("p", Stream([1]).to(probe)).run()
    assert sorted(str(error) for error in failure.value.exceptions) == ["close", "write"]
