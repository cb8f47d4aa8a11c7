"""timeout= of each attempt, retry=Retry(...), then on_error."""

import itertools
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    Cancelled,
    DeadLetter,
    DeadLetters,
    Fallback,
    OperatorTimeout,
    Pipeline,
    Retry,
    Skip,
    Stream,
)
from tests.engine.scripted import PATIENCE, Gate, Probe, settle

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


class Worse(Exception):
    """What is not worth another call."""


def failing(
    times: int, error: type[Exception] = Broken
) -> tuple[Callable[[Any], Awaitable[Any]], list[float]]:
    """A function that fails so many times, and when it was called."""
    calls: list[float] = []

    async def call(event: Any) -> Any:
        calls.append(anyio.current_time())
        await checkpoint()
        if len(calls) <= times:
            raise error(f"call {len(calls)}")
        return event

    return call, calls


async def never(event: Any) -> Any:
    await anyio.sleep_forever()


# Timeouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_function_that_never_returns_is_given_up(concurrency: int, ordered: bool) -> None:
    stream = Stream([1]).map(never, concurrency=concurrency, ordered=ordered, timeout=0.01)
    with anyio.fail_after(PATIENCE):
        with pytest.raises(OperatorTimeout, match=r"map\(never\): no result within 0.01 s") as failure:
            await stream.collect()
    assert isinstance(failure.value, TimeoutError)
    assert "operator map(never), event 1" in failure.value.__notes__[0]


@pytest.mark.usefixtures("virtual_clock")
async def test_the_timeout_is_a_timedelta_too() -> None:
    began = anyio.current_time()
    with pytest.raises(OperatorTimeout):
        await Stream([1]).map(never, timeout=timedelta(milliseconds=30)).collect()
    assert anyio.current_time() - began == pytest.approx(0.03)


async def test_a_function_that_is_fast_enough_is_left_alone() -> None:
    async def call(n: int) -> int:
        await checkpoint()
        return n

    assert await Stream(range(500)).map(call, concurrency=8, timeout=30).collect() == list(range(500))


async def test_only_the_event_that_takes_too_long_is_given_up() -> None:
    async def call(n: int) -> int:
        if n % 3 == 0:
            await anyio.sleep_forever()
        return n

    with anyio.fail_after(PATIENCE):
        stream = Stream(range(9)).map(call, concurrency=3, timeout=0.01, on_error=Skip())
        assert await stream.collect() == [1, 2, 4, 5, 7, 8]
        stream = Stream(range(9)).map(call, concurrency=3, timeout=0.01, on_error=Fallback(lambda n: -n))
        assert await stream.collect() == [0, 1, 2, -3, 4, 5, -6, 7, 8]


async def test_a_dead_letter_says_that_it_was_the_timeout() -> None:
    letters: list[DeadLetter] = []
    stream = Stream([1]).map(never, timeout=0.01, on_error=DeadLetters())
    await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    assert letters[0].error.startswith("OperatorTimeout: map(never): no result within 0.01 s")


async def test_a_function_that_swallows_the_cancellation_once_counts_as_late_or_as_done() -> None:
    """It is asked to stop, goes on, and returns: its result isn't lost, and no other event suffers."""

    async def stubborn(n: int) -> int:
        if n == 1:
            try:
                await anyio.sleep_forever()
            except BaseException:
                pass
        return n

    with anyio.fail_after(PATIENCE):
        seen = await Stream([1, 2, 3]).map(stubborn, timeout=0.01, on_error=Skip()).collect()
    assert seen in ([1, 2, 3], [2, 3])


async def test_after_a_swallowed_cancellation_the_next_event_has_a_timeout_again() -> None:
    async def stubborn(n: int) -> int:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if n == 2:
                raise
        return n

    with anyio.fail_after(PATIENCE):
        seen = await Stream([1, 2, 1, 2]).map(stubborn, timeout=0.01, on_error=Skip()).collect()
    assert seen in ([1, 1], [])


async def test_a_cleanup_that_awaits_is_waited_for() -> None:
    cleaned: list[int] = []

    async def call(n: int) -> int:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
                cleaned.append(n)
        return n

    with anyio.fail_after(PATIENCE):
        assert await Stream([1, 2]).map(call, concurrency=2, timeout=0.01, on_error=Skip()).collect() == []
    assert sorted(cleaned) == [1, 2]


async def test_a_timeout_error_of_the_function_itself_is_its_own() -> None:
    async def call(n: int) -> int:
        with anyio.fail_after(0.001):
            await anyio.sleep_forever()
        return n

    with pytest.raises(TimeoutError) as failure:
        await Stream([1]).map(call, timeout=30).collect()
    assert not isinstance(failure.value, OperatorTimeout)


async def test_cancelling_the_run_is_no_timeout() -> None:
    gate, letters = Gate(), list[DeadLetter]()
    stream = Stream([1]).map(gate, timeout=30, retry=Retry(5), on_error=DeadLetters())
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.discard(), dead_letters=letters.append).start() as run:
            await gate.entered()
            run.cancel()
    assert letters == []


async def test_a_thread_that_takes_too_long_is_left_behind() -> None:
    release = threading.Event()

    def blocks(n: int) -> int:
        if n == 1:
            release.wait(PATIENCE)
        return n

    try:
        with anyio.fail_after(PATIENCE):
            stream = Stream([1, 2, 3]).map(blocks, threads=2, timeout=1, on_error=Skip())
            assert await stream.collect() == [2, 3]
    finally:
        release.set()


async def test_by_key_a_timeout_frees_the_key() -> None:
    async def call(n: int) -> int:
        if n == 1:
            await anyio.sleep_forever()
        return n

    with anyio.fail_after(PATIENCE):
        stream = Stream([1, 2, 3]).map(call, concurrency=2, key=lambda n: 0, timeout=0.01, on_error=Skip())
        assert await stream.collect() == [2, 3]


@pytest.mark.parametrize("verb", ["filter", "tap", "flat_map"])
async def test_other_verbs_have_timeouts_too(verb: str) -> None:
    with pytest.raises(OperatorTimeout, match=verb):
        await getattr(Stream([1]), verb)(never, timeout=0.01).collect()


async def test_an_async_sink_function_has_a_timeout() -> None:
    with pytest.raises(OperatorTimeout, match=r"to\(never\)"):
        await Pipeline("p", Stream([1]).to(never, timeout=0.01)).run()


# Retry ------------------------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again() -> None:
    call, calls = failing(2)
    assert await Stream([7]).map(call, retry=Retry(3, initial=0.001)).collect() == [7]
    assert len(calls) == 3


async def test_calls_are_all_calls_and_the_last_error_is_raised() -> None:
    call, calls = failing(100)
    with pytest.raises(Broken, match="call 3"):
        await Stream([7]).map(call, retry=Retry(3, initial=0.001)).collect()
    assert len(calls) == 3


@pytest.mark.usefixtures("virtual_clock")
async def test_the_waits_double_up_to_the_longest() -> None:
    call, calls = failing(4)
    retry = Retry(5, initial=0.02, max=0.04, jitter=0)
    assert await Stream([7]).map(call, retry=retry).collect() == [7]
    waits = [later - earlier for earlier, later in itertools.pairwise(calls)]
    assert waits == pytest.approx([0.02, 0.04, 0.04, 0.04])


async def test_jitter_only_shortens() -> None:
    delays = [Retry(9, initial=1, max=8, jitter=0.5).delay(3, Broken()) for _ in range(200)]
    assert all(delay is not None and 2 <= delay <= 4 for delay in delays)
    assert len(set(delays)) > 100
    assert Retry(9, initial=1, max=8, jitter=0).delay(3, Broken()) == 4
    assert Retry(9, initial=1, max=8, jitter=0).delay(8, Broken()) == 8


async def test_a_thousand_calls_do_not_overflow() -> None:
    assert Retry(5000, initial=1, max=8, jitter=0).delay(4000, Broken()) == 8


@pytest.mark.parametrize("on", [Broken, (Broken, LookupError), lambda error: isinstance(error, Broken)])
async def test_only_what_on_names_is_tried_again(on: Any) -> None:
    call, calls = failing(1)
    assert await Stream([7]).map(call, retry=Retry(3, initial=0, on=on)).collect() == [7]
    call, calls = failing(1, Worse)
    with pytest.raises(Worse):
        await Stream([7]).map(call, retry=Retry(3, initial=0, on=on)).collect()
    assert len(calls) == 1


async def test_on_may_say_how_long_to_wait() -> None:
    call, calls = failing(1)
    stream = Stream([7]).map(call, retry=Retry(3, initial=3600, on=lambda error: 0.03))
    with anyio.fail_after(PATIENCE):
        assert await stream.collect() == [7]
    assert calls[1] - calls[0] >= 0.029


async def test_on_may_say_0_seconds_and_that_is_a_wait() -> None:
    call, calls = failing(1)
    stream = Stream([7]).map(call, retry=Retry(3, initial=3600, on=lambda error: 0))
    with anyio.fail_after(PATIENCE):
        assert await stream.collect() == [7]
    assert len(calls) == 2


async def test_an_on_that_fails_fails_the_run_by_name() -> None:
    call, _ = failing(1)

    def on(error: Exception) -> bool:
        raise LookupError("on")

    with pytest.raises(LookupError, match="on") as failure:
        await Stream([7]).map(call, retry=Retry(3, on=on), name="charge").collect()
    assert "operator charge, event 7" in failure.value.__notes__[0]


async def test_the_timeout_is_of_each_attempt() -> None:
    calls: list[float] = []

    async def call(n: int) -> int:
        calls.append(anyio.current_time())
        if len(calls) < 3:
            await anyio.sleep_forever()
        return n

    with anyio.fail_after(PATIENCE):
        stream = Stream([7]).map(call, timeout=0.02, retry=Retry(3, initial=0.001))
        assert await stream.collect() == [7]
    assert len(calls) == 3
    assert calls[2] - calls[0] >= 0.04


async def test_after_the_last_attempt_timed_out_the_policy_decides() -> None:
    letters: list[DeadLetter] = []
    stream = Stream([7]).map(never, timeout=0.01, retry=Retry(3, initial=0.001), on_error=DeadLetters())
    with anyio.fail_after(PATIENCE):
        run = await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    assert letters[0].attempts == 3
    assert letters[0].error.startswith("OperatorTimeout")
    assert run.metrics().stages[1].dropped["map(never): retried"] == 2


async def test_timeouts_are_retried_only_if_on_takes_them() -> None:
    calls: list[int] = []

    async def call(n: int) -> int:
        calls.append(n)
        await anyio.sleep_forever()
        return n

    with pytest.raises(OperatorTimeout):
        await Stream([7]).map(call, timeout=0.01, retry=Retry(3, initial=0, on=LookupError)).collect()
    assert calls == [7]


async def test_in_order_the_others_wait_for_one_that_is_tried_again() -> None:
    failed: set[int] = set()

    async def call(n: int) -> int:
        await checkpoint()
        if n == 1 and n not in failed:
            failed.add(n)
            raise Broken
        return n

    stream = Stream(range(5)).map(call, concurrency=5, retry=Retry(2, initial=0.01))
    assert await stream.collect() == [0, 1, 2, 3, 4]
    failed.clear()
    stream = Stream(range(5)).map(call, concurrency=5, ordered=False, retry=Retry(2, initial=0.03, jitter=0))
    seen = await stream.collect()
    assert sorted(seen[:4]) == [0, 2, 3, 4]
    assert seen[4] == 1


async def test_while_it_waits_to_try_again_its_key_is_not_free() -> None:
    order: list[tuple[str, int]] = []

    async def call(event: tuple[str, int]) -> tuple[str, int]:
        await checkpoint()
        order.append(event)
        if event == ("a", 0) and order.count(event) == 1:
            raise Broken
        return event

    stream = Stream([("a", 0), ("a", 1), ("b", 0)]).map(
        call, concurrency=3, key=lambda event: event[0], retry=Retry(2, initial=0.01)
    )
    await stream.collect()
    assert [event for event in order if event[0] == "a"] == [("a", 0), ("a", 0), ("a", 1)]


async def test_a_sync_function_may_be_tried_again() -> None:
    calls: list[int] = []

    def call(n: int) -> int:
        calls.append(n)
        if len(calls) < 3:
            raise Broken
        return n

    assert await Stream([7]).map(call, retry=Retry(3, initial=0.001)).collect() == [7]
    assert len(calls) == 3


async def test_a_sync_function_with_retry_that_returns_an_awaitable_is_refused() -> None:
    with pytest.raises(ValueError, match="awaitable"):
        await Stream([7]).map(lambda n: never(n), retry=Retry(3, initial=0.001)).collect()


async def test_a_thread_may_be_tried_again() -> None:
    calls: list[int] = []

    def call(n: int) -> int:
        calls.append(n)
        if len(calls) < 3:
            raise Broken
        return n

    assert await Stream([7]).map(call, threads=1, retry=Retry(3, initial=0.001)).collect() == [7]


async def test_a_waiting_retry_ends_with_a_cancelled_run() -> None:
    call, calls = failing(1)
    with anyio.fail_after(PATIENCE):
        with pytest.raises(Cancelled):
            stream = Stream([7]).map(call, retry=Retry(3, initial=3600))
            async with Pipeline("p", stream.discard()).start() as run:
                await settle()
                run.cancel()
    assert len(calls) == 1


@pytest.mark.usefixtures("virtual_clock")
async def test_a_waiting_retry_is_waited_for_by_a_drain() -> None:
    call, calls = failing(1)
    probe = Probe[int]()
    with anyio.fail_after(PATIENCE):
        stream = Stream([7]).map(call, retry=Retry(3, initial=0.03, jitter=0))
        async with Pipeline("p", stream.to(probe)).start():
            await settle()
            assert len(calls) == 1
    assert probe.events == [7]


async def test_attempts_are_counted_in_the_letter() -> None:
    call, _ = failing(100)
    letters: list[DeadLetter] = []
    stream = Stream([7]).map(call, retry=Retry(4, initial=0), on_error=DeadLetters())
    await Pipeline("p", stream.discard(), dead_letters=letters.append).run()
    assert letters[0].attempts == 4
    assert letters[0].error == "Broken: call 4"
