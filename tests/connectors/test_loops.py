"""How threads hand results to the loop that waits for them."""

import gc
import threading
import time
import weakref
from functools import partial

import anyio
import pytest

from reactor.connectors.loops import AwaitableThread, OwnThread, Waiter, poster

pytestmark = pytest.mark.anyio


async def test_a_thread_hands_over_a_result_or_a_failure() -> None:
    for outcome in ("result", ValueError("broken")):
        waiter: Waiter[str] = Waiter()
        if isinstance(outcome, str):
            threading.Thread(target=waiter.succeed, args=(outcome,)).start()
            assert await waiter.wait() == outcome
        else:
            threading.Thread(target=waiter.fail, args=(outcome,)).start()
            with pytest.raises(ValueError, match="broken"):
                await waiter.wait()
        assert waiter.abandoned


async def test_a_wait_that_was_cancelled_can_be_taken_up_again() -> None:
    waiter: Waiter[int] = Waiter()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await waiter.wait()
    waiter.succeed(5)
    assert await waiter.wait() == 5


async def test_posting_does_not_wait_for_a_busy_loop() -> None:
    """The thread that serves several loops isn't held up by one of them."""
    post = poster()
    called = anyio.Event()
    posted = threading.Event()

    def work() -> None:
        post(called.set)
        posted.set()

    threading.Thread(target=work).start()
    while not posted.is_set():  # the loop is busy, and yet the thread gets on
        pass
    assert not called.is_set()
    await called.wait()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_posting_to_a_loop_that_has_ended_does_nothing(backend: str) -> None:
    async def main() -> object:
        return poster()

    post = anyio.run(main, backend=backend)
    post(lambda: pytest.fail("there is no loop to run this"))  # type: ignore[operator]


async def test_a_thread_has_ended_when_that_is_told() -> None:
    go = threading.Event()
    thread = AwaitableThread(go.wait, "a thread")
    thread.start()
    with anyio.move_on_after(0.01) as scope:
        await thread.ended()
    assert scope.cancelled_caught
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(thread.ended)
        go.set()
    assert not thread.is_alive()
    await thread.ended()


async def test_an_own_thread_runs_calls_in_their_order_to_the_last() -> None:
    done: list[int] = []
    thread = OwnThread("a thread")
    waiters = [thread.ask(partial(done.append, n)) for n in range(5)]
    broken = thread.ask(partial(divmod, 1, 0))
    await thread.end(partial(done.append, 5))
    assert done == [0, 1, 2, 3, 4, 5]
    for waiter in waiters:
        await waiter.wait()
    with pytest.raises(ZeroDivisionError):
        await broken.wait()


async def test_an_idle_thread_holds_nothing_of_its_last_call() -> None:
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    thread = OwnThread("a thread")
    await thread.ask(partial(id, thing)).wait()
    del thing
    until = time.monotonic() + 5
    while gone() is not None and time.monotonic() < until:
        gc.collect()
        await anyio.lowlevel.checkpoint()
    assert gone() is None
    await thread.end(lambda: None)
