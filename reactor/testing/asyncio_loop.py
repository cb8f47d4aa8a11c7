"""asyncio's event loop, with a virtual clock."""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from reactor.testing.clock import POLL, VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Where the loop waits; here it waits for no timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        loop, clock = self.loop, self.loop.virtual
        if loop.calls or clock.stands():
            return super().select(POLL)
        if timeout is not None:
            if clock.grace and (events := super().select(clock.grace)):
                return events
            clock.jump(clock.time + timeout)
            return events
        # One file is the loop's own, by which threads and signals wake it.
        if len(self.get_map()) > 1 or threading.active_count() > 1:
            events = super().select(clock.patience)
        if not events:
            clock.stuck()
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of a :class:`VirtualClock`."""

    def __init__(self, virtual: VirtualClock | None = None) -> None:
        self.virtual = virtual or VirtualClock()
        self.virtual.rewind()
        self.calls: set[asyncio.Future[Any]] = set()
        """What executors work at."""
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.call_soon(self._begin, context=Context())

    def time(self) -> float:
        return self.virtual.time

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if when == math.inf:  # anyio sleeps for ever like that; each wait for it would be one of a day
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        call = super().run_in_executor(executor, func, *args)
        self.calls.add(call)
        call.add_done_callback(self.calls.discard)
        return call

    def _begin(self) -> None:
        try:
            import sniffio
        except ImportError:  # anyio finds the loop without it
            pass
        else:
            sniffio.current_async_library_cvar.set("asyncio")
        self.virtual.strike()
