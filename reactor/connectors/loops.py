"""How threads talk to the event loop that waits for them, whichever loop it is.

anyio's own ``from_thread.run_sync`` waits until the loop has run the call: one busy loop would hold up the
thread that serves all of them. What is posted here returns at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.lowlevel

R = TypeVar("R")

Post = Callable[[Callable[[], object]], object]


def poster() -> Post:
    """Return a function that runs a callback on the current loop soon; it may be called from any thread.

    Posting to a loop that has ended does nothing: nobody waits there any more.
    """
    token: object = anyio.lowlevel.current_token()
    native: object = getattr(token, "native_token", token)
    soon = getattr(native, "run_sync_soon", None) or getattr(native, "call_soon_threadsafe", None)
    if soon is None:
        raise RuntimeError(f"reactor runs on asyncio and trio, not on {native!r}")
    call = cast(Post, soon)

    def post(callback: Callable[[], object]) -> None:
        try:
            call(callback)
        except RuntimeError:  # asyncio: "Event loop is closed"; trio: RunFinishedError
            pass

    return post


class Waiter(Generic[R]):
    """One result, handed from a thread to the task that waits for it."""

    __slots__ = ("_done", "_error", "_post", "_result", "abandoned")

    def __init__(self) -> None:
        self._post = poster()
        self._done = anyio.Event()
        self._result: R | None = None
        self._error: BaseException | None = None
        self.abandoned = False
        """True once the task was cancelled: a thread that hasn't begun yet needn't."""

    def succeed(self, result: R) -> None:
        """Hand over the result; from the thread, once."""
        self._result = result
        self._post(self._done.set)

    def fail(self, error: BaseException) -> None:
        """Hand over a failure; from the thread, once."""
        self._error = error
        self._post(self._done.set)

    async def wait(self) -> R:
        """Return the result, or raise the failure."""
        try:
            await self._done.wait()
        finally:
            self.abandoned = True
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # no cycle between the error's traceback and this frame
        return cast(R, self._result)


class AwaitableThread(threading.Thread):
    """A thread whose end a task can wait for. A daemon: if nobody ends it, the interpreter still can."""

    def __init__(self, work: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._lock = threading.Lock()
        self._waiters: list[Waiter[None]] | None = []

    def run(self) -> None:
        try:
            self._work()
        finally:
            with self._lock:
                waiters, self._waiters = self._waiters or [], None
            for waiter in waiters:
                waiter.succeed(None)

    async def ended(self) -> None:
        """Return once the thread is gone; somebody else has told it to end."""
        waiter: Waiter[None] = Waiter()
        with self._lock:
            if self._waiters is not None:
                self._waiters.append(waiter)
            else:
                waiter.succeed(None)
        await waiter.wait()
        # It has done its work; only Python's own last steps are left, which tell nobody.
        while self.is_alive():
            await anyio.lowlevel.checkpoint()


class OwnThread:
    """Runs calls that block, one after the other, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Waiter[Any]] | None] = queue.SimpleQueue()
        self._thread = AwaitableThread(self._run, name)
        self._thread.start()

    def ask(self, work: Callable[[], R]) -> Waiter[R]:
        """Have it run, and return what waits for its result."""
        waiter: Waiter[R] = Waiter()
        self._calls.put((work, waiter))
        return waiter

    async def end(self, last: Callable[[], object]) -> None:
        """Run ``last`` after what was asked for before, and return once the thread is gone."""
        waiter = self.ask(last)
        self._calls.put(None)
        await self._thread.ended()
        await waiter.wait()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            work, waiter = call
            try:
                waiter.succeed(work())
            except BaseException as error:
                waiter.fail(error)
            del call, work, waiter  # an idle thread holds nothing
