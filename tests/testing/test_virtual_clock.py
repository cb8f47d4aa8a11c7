"""Time that jumps when nothing is left to do but wait."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread
import pytest

from reactor import ArgumentError, Inlet, Pipeline, Stream, topic
from reactor.core import clock
from reactor.testing import Stuck, hold_clock, run_virtual, settle, virtual_backend

both = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def quick() -> None:
    """Work of a thread: it takes longer than a jump would."""
    time.sleep(0.02)


@both
def test_an_hour_passes_in_no_time(loop: str) -> None:
    async def main(word: str) -> str:
        for _ in range(60):
            await anyio.sleep(60)
        return word

    began = time.monotonic()
    assert run_virtual(main, "done", loop=loop) == ("done", 3600)
    assert time.monotonic() - began < 5


@both
def test_timeouts_strike_in_virtual_time_and_in_order(loop: str) -> None:
    struck: list[tuple[int, float]] = []

    async def wait(seconds: int) -> None:
        began = anyio.current_time()
        with anyio.move_on_after(seconds):
            await anyio.sleep_forever()
        struck.append((seconds, anyio.current_time() - began))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (7, 200_000, 3):
                tasks.start_soon(wait, seconds)

    assert run_virtual(main, loop=loop).elapsed == 200_000
    assert struck == [(3, 3.0), (7, 7.0), (200_000, 200_000.0)]


@both
def test_tenths_of_seconds_add_up(loop: str) -> None:
    async def main() -> None:
        for _ in range(10):
            await anyio.sleep(0.1)

    assert run_virtual(main, loop=loop).elapsed == 1.0


@both
def test_work_takes_no_virtual_time(loop: str) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.001) as scope:
            for _ in range(2_000):
                await anyio.lowlevel.checkpoint()
        assert not scope.cancelled_caught

    assert run_virtual(main, loop=loop).elapsed == 0


@both
def test_the_time_of_day_is_virtual_too(loop: str) -> None:
    moments: list[int] = []

    async def main() -> None:
        moments.append(clock.now())
        await anyio.sleep(90)
        moments.append(clock.now())

    run_virtual(main, loop=loop)
    run_virtual(main, loop=loop, start=datetime(2030, 6, 1, tzinfo=UTC))
    begins = [int(datetime(year, month, 1, tzinfo=UTC).timestamp()) for year, month in ((2026, 1), (2030, 6))]
    assert moments == [(begin + passed) * 1_000_000 for begin in begins for passed in (0, 90)]


@both
def test_a_pipeline_runs_unchanged(loop: str) -> None:
    async def ticks() -> AsyncIterator[int]:
        for n in range(60):
            await anyio.sleep(60)
            yield n

    async def main() -> list[tuple[int, ...]]:
        return [tuple(batch) for batch in await Stream(ticks).batch(100, max_wait=570).collect()]

    batches, elapsed = run_virtual(main, loop=loop)
    assert [len(batch) for batch in batches] == [10] * 6
    assert elapsed == 3600


# What works beside the loop -----------------------------------------------------------------------------------


async def by_anyio() -> None:
    await anyio.to_thread.run_sync(quick)


async def by_anyio_in_a_generator() -> None:
    async def events() -> AsyncIterator[int]:
        await anyio.to_thread.run_sync(quick)
        yield 1

    async for _ in events():
        pass
    async with aclosing(events()) as again:
        assert await anext(again, None) == 1


async def by_a_stage() -> None:
    assert await Stream([1, 2, 3]).map(lambda _: quick(), threads=1).count() == 3


async def by_a_topic() -> None:
    numbers = topic("sqlite:numbers.db/numbers", int)
    for n in range(5):
        await numbers.publish(n)
    assert await numbers.subscribe("all", follow=False).count() == 5


async def with_a_way_back() -> None:
    inner: list[int] = []

    async def back() -> None:
        inner.append(1)

    await anyio.to_thread.run_sync(lambda: [quick(), anyio.from_thread.run(back), quick()])
    assert inner == [1]


@both
@pytest.mark.parametrize("work", [by_anyio, by_anyio_in_a_generator, by_a_stage, by_a_topic, with_a_way_back])
def test_the_clock_stands_while_a_thread_works(
    loop: str, work: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        with anyio.fail_after(0.001):  # a jump would strike at once
            await work()

    assert run_virtual(main, loop=loop).elapsed == 0


def test_the_clock_stands_while_an_executor_works() -> None:
    async def main() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.to_thread(quick)
            await asyncio.get_running_loop().run_in_executor(None, quick)

    assert run_virtual(main).elapsed == 0


@both
def test_a_thread_that_waits_for_the_loop_does_not_hold_the_clock(loop: str) -> None:
    async def main() -> None:
        await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 3600)

    assert run_virtual(main, loop=loop).elapsed == 3600


@both
def test_the_clock_stands_while_it_is_held(loop: str) -> None:
    async def main() -> None:
        done = anyio.Event()
        token = anyio.lowlevel.current_token()

        def outside() -> None:  # a thread that the clock can't know of
            quick()
            anyio.from_thread.run_sync(done.set, token=token)

        thread = threading.Thread(target=outside)
        thread.start()
        with hold_clock(), anyio.fail_after(1):
            await done.wait()
        await anyio.to_thread.run_sync(thread.join)

    assert run_virtual(main, loop=loop).elapsed == 0


@pytest.mark.anyio
async def test_holding_a_real_clock_does_nothing() -> None:
    with hold_clock():
        await anyio.sleep(0.001)


@both
def test_an_unknown_thread_has_time_to_act_before_the_run_counts_as_stuck(loop: str) -> None:
    async def main() -> None:
        inlet = Inlet[int](1)
        words: queue.SimpleQueue[int] = queue.SimpleQueue()

        def outside() -> None:
            inlet.send_from_thread(words.get())

        thread = threading.Thread(target=outside)
        thread.start()
        async with Pipeline("one", Stream(inlet).take(1).discard()).start() as run:
            await settle()
            words.put(1)
            await run.wait()
        await anyio.to_thread.run_sync(thread.join)

    run_virtual(main, loop=loop, patience=20)


@both
def test_sockets_can_be_given_time(loop: str) -> None:
    async def main() -> bytes:
        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send(await stream.receive())

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            with anyio.fail_after(1):
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await stream.send(b"ping")
                    answer_ = await stream.receive()
            tasks.cancel_scope.cancel()
        return answer_

    assert run_virtual(main, loop=loop, grace=1) == (b"ping", 0)


# Nothing can happen any more ------------------------------------------------------------------------------------


async def nobody_comes() -> None:
    await anyio.Event().wait()


@both
@pytest.mark.timeout(10)
def test_sleeping_for_ever_is_waiting_for_ever(loop: str) -> None:
    with pytest.raises(Stuck, match="after 0 virtual seconds"):
        run_virtual(anyio.sleep_forever, loop=loop, patience=0)


@both
def test_waiting_for_ever_is_an_error_that_says_where(loop: str) -> None:
    cleaned: list[float] = []

    async def main() -> None:
        await anyio.sleep(2)
        began = anyio.current_time()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(nobody_comes)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            cleaned.append(anyio.current_time() - began)

    with pytest.raises(Stuck, match=r"after 5 virtual seconds every task waits(.|\n)*in nobody_comes"):
        run_virtual(main, loop=loop, patience=0)
    assert cleaned == [3.0]


@both
def test_what_fails_while_it_is_broken_off_is_the_cause(loop: str) -> None:
    async def main() -> None:
        try:
            await nobody_comes()
        finally:
            raise ValueError("on the way out")

    with pytest.raises(Stuck) as caught:
        run_virtual(main, loop=loop, patience=0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_waiting_for_ever_where_nothing_can_be_cancelled() -> None:
    async def main() -> None:
        with anyio.CancelScope(shield=True):
            await nobody_comes()

    with pytest.raises(Stuck, match="in nobody_comes"):
        asyncio.Runner(loop_factory=virtual_backend("asyncio", patience=0)[1]["loop_factory"]).run(main())


@both
def test_an_error_of_the_function_is_raised_as_it_is(loop: str) -> None:
    async def main() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        run_virtual(main, loop=loop)


def test_arguments() -> None:
    with pytest.raises(ArgumentError, match='must be "asyncio" or "trio"'):
        run_virtual(nobody_comes, loop="curio")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must be an aware datetime"):
        virtual_backend("trio", datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ArgumentError, match="patience=-1"):
        virtual_backend("trio", patience=-1)
