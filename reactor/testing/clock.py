"""A virtual clock: when nothing is left to do but wait, time jumps to the next timer.

The code under test isn't changed and doesn't know: ``sleep``, timeouts, ``anyio.current_time()`` and reactor's
own time of day go by the loop's clock, on asyncio and on trio, and the loop's clock is virtual. It stands
still while a thread works for some task. If nothing can happen any more, the run fails with :class:`Stuck`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, NamedTuple, TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.lowlevel import RunVar

from reactor.core import ArgumentError, ReactorError, clock
from reactor.testing.awaits import describe, threads_at_work

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Loop = Literal["asyncio", "trio"]

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of day at which a virtual clock begins, unless told otherwise."""
BEGINNING = 1000.0
"""What ``anyio.current_time()`` says at first. Not 0: there is code that takes 0 for "never"."""
POLL = 0.05
"""Real seconds between two looks whether a thread still works; its result is noticed at once."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_current: RunVar[VirtualClock | None] = RunVar("reactor.testing.clock", None)


def current_clock() -> VirtualClock | None:
    """The virtual clock of the loop that is running, if it has one."""
    return _current.get()


class Stuck(ReactorError):
    """Every task waits, and there is no timer, no thread and no file that could wake one of them."""


class Virtual(NamedTuple, Generic[T]):
    """What a function returned, and how many virtual seconds it took."""

    result: T
    elapsed: float


class VirtualClock:
    """The time of one run. What it decides is the same on each loop; the loop asks it when it is idle."""

    def __init__(self, start: datetime = START, *, grace: float = 0.0, patience: float = 1.0) -> None:
        if start.tzinfo is None:
            raise ArgumentError(f"start={start!r}: must be an aware datetime, as START is")
        if not grace >= 0 or not patience >= 0:
            raise ArgumentError(f"grace={grace}, patience={patience}: must be >= 0 seconds")
        self.start = start
        self.grace = grace
        self.patience = patience
        self.time = BEGINNING
        self.report: str | None = None
        """Where everything waited when it was stuck."""
        self._held = 0
        self._scopes: list[anyio.CancelScope] = []

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the run began."""
        return round(self.time - BEGINNING, 9)

    @property
    def now(self) -> datetime:
        """The virtual time of day; the loop's tasks see it as ``reactor.core.clock.now()``."""
        return self.start + timedelta(seconds=self.elapsed)

    @contextmanager
    def hold(self) -> Generator[None]:
        """Let no time pass inside; see :func:`hold_clock`."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def run(
        self, main: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, loop: Loop = "asyncio"
    ) -> Virtual[T]:
        """Run ``main(*args)`` on a loop of its own that goes by this clock, from its start; see run_virtual."""
        name, options = self.backend(loop)

        async def watched() -> Virtual[T]:
            began = self.time
            result = await self.watch(lambda: main(*args))
            return Virtual(result, round(self.time - began, 9))

        return anyio.run(watched, backend=name, backend_options=options)

    def backend(self, loop: str) -> tuple[str, dict[str, Any]]:
        """Name and options of an anyio backend that goes by this clock."""
        if loop == "asyncio":
            from reactor.testing.asyncio_loop import VirtualLoop

            return loop, {"loop_factory": lambda: VirtualLoop(self)}
        if loop == "trio":
            from reactor.testing.trio_clock import TrioClock

            ticking = TrioClock(self)
            return loop, {"clock": ticking, "instruments": [ticking]}
        raise ArgumentError(f'loop={loop!r}: must be "asyncio" or "trio"')

    # The loop's side:

    def rewind(self) -> None:
        """Begin anew: the loop starts."""
        self.time = BEGINNING
        self.report = None
        self._held = 0
        self._scopes.clear()

    def strike(self) -> None:
        """Set the time of day of the loop that is running."""
        clock.set_now((self.start - EPOCH) // timedelta(microseconds=1))
        _current.set(self)

    def stands(self) -> bool:
        """True while something works outside of the loop: wait for it in real time."""
        return self._held > 0 or threads_at_work()

    def jump(self, moment: float) -> None:
        """It is ``moment`` now. Sums of floats are cut to nanoseconds, so that 0.1 + 0.2 is 0.3."""
        rounded = round(moment, 9)
        self.time = max(self.time, rounded if rounded >= moment else moment)  # never before the timer

    def stuck(self) -> None:
        """Nothing can happen any more: cancel the run, so that it cleans up. Raises Stuck if that was done."""
        waiting = describe()
        if self.report is None and self._scopes:
            self.report = waiting
            self._scopes[-1].cancel()
        else:
            raise Stuck(self._complaint(self.report or waiting))

    async def watch(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await the function; raise Stuck if it had to be cancelled because nothing could happen any more."""
        results: list[T] = []
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                results.append(await function())
            except Exception as error:
                if self.report is not None:
                    raise Stuck(self._complaint(self.report)) from error
                raise
            finally:
                self._scopes.remove(scope)
        if self.report is not None:
            raise Stuck(self._complaint(self.report))
        return results[0]

    def _complaint(self, waiting: str) -> str:
        return (
            f"after {self.elapsed:g} virtual seconds every task waits, and no timer, thread or file will wake "
            f"one of them; they wait in\n{waiting}\n"
            "end the source, or open what they wait for; if another process has to act, use hold_clock()"
        )


@contextmanager
def hold_clock() -> Generator[None]:
    """Let no virtual time pass inside, while something works that the clock can't see: another process, say.

    Where the clock is a real one, it does nothing.
    """
    virtual = _current.get()
    if virtual is None:
        yield
    else:
        with virtual.hold():
            yield


def virtual_here() -> bool:
    """True where the loop that is running goes by a virtual clock."""
    return _current.get() is not None


def virtual_backend(
    loop: Loop = "asyncio", start: datetime = START, *, grace: float = 0.0, patience: float = 1.0
) -> tuple[str, dict[str, Any]]:
    """Name and options of an anyio backend with a virtual clock, as a fixture ``anyio_backend`` returns it.

    ``anyio.run(main, backend=name, backend_options=options)`` takes them, too. See :func:`run_virtual`.
    """
    return VirtualClock(start, grace=grace, patience=patience).backend(loop)


def run_virtual(
    main: Callable[[Unpack[Ts]], Awaitable[T]],
    *args: *Ts,
    loop: Loop = "asyncio",
    start: datetime = START,
    grace: float = 0.0,
    patience: float = 1.0,
) -> Virtual[T]:
    """Run ``main(*args)`` on a loop of its own with a virtual clock; return its result and how long it took.

    The time of day is ``start`` at first. ``grace`` is how many real seconds sockets get, before each jump,
    to bring something. ``patience`` is how many real seconds all tasks may wait, with no timer, for a thread
    or file that the clock doesn't know of, before the run fails with Stuck.
    """
    return VirtualClock(start, grace=grace, patience=patience).run(main, *args, loop=loop)
