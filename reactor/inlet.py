"""The source that an application feeds."""

from __future__ import annotations

import threading
from collections import deque
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from reactor.core import ArgumentError, Closed, Full, UsedTwice
from reactor.engine import Feed

__all__ = ["Inlet"]

T = TypeVar("T")


class Inlet(Feed[T]):
    """A source that an application hands events to, one by one: ``Stream(inlet)``.

    At most ``capacity`` events wait here. After the pipeline's end or failure all calls raise Closed, whose
    ``__cause__`` is the failure; they never hang. Handing in begins before or while the pipeline runs; all
    calls but ``send_from_thread`` come from its event loop.
    """

    name = "inlet"

    def __init__(self, capacity: int = 1024) -> None:
        super().__init__()
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            raise ArgumentError(f"Inlet(capacity={capacity!r}): must be a whole number >= 1")
        self.capacity = capacity
        self._sent = 0
        self._error: BaseException | None = None
        self._over = False
        self._awaited: deque[tuple[int, anyio.Event]] = deque()
        self._committed = 0
        self._token: object = None
        self._thread: int | None = None

    # The application's side ---------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True when it takes no more events."""
        return self._ended

    @property
    def waiting(self) -> int:
        """How many events wait here for the pipeline."""
        return len(self._events)

    async def send(self, event: T) -> None:
        """Hand in an event; waits while ``capacity`` events wait, which is backpressure."""
        events = self._events
        if len(events) < self._quick:
            events.append(event)
            return
        if self._ended:
            raise self._closed()
        if len(events) >= self.capacity:
            await self._room()
        self._add(event)

    def _add(self, event: T) -> None:
        self._events.append(event)
        reader = self._reader
        if reader is not None:
            reader.wake()
            self._quick = self.capacity

    def send_nowait(self, event: T) -> None:
        """Hand in an event, or raise Full where ``capacity`` events wait."""
        if self._ended:
            raise self._closed()
        if len(self._events) >= self.capacity:
            raise Full(
                f"Inlet(capacity={self.capacity}): {len(self._events)} events wait; try later, or send()"
            )
        self._add(event)

    async def deliver(self, event: T) -> None:
        """Hand in an event, and return once all sinks have it: stored, not just accepted.

        Given up to dead letters counts as handled, once the dead letter is stored. Behind an operator that
        holds events back (a batch) it takes until that lets go of it.
        """
        if self._ended:
            raise self._closed()
        while len(self._events) >= self.capacity:
            await self._room()
        handled = anyio.Event()
        number = self._taken + len(self._events) + 1
        self._awaited.append((number, handled))
        self._add(event)
        await handled.wait()
        if self._committed < number:
            raise self._closed()

    def send_from_thread(self, event: T) -> None:
        """Hand in an event from another thread; blocks that thread as ``send`` would wait."""
        if self._ended:
            raise self._closed()
        if self._thread == threading.get_ident():
            raise ArgumentError("send_from_thread(): called on the event loop itself; await send() there")
        if self._token is None:
            raise Closed("send_from_thread(): the pipeline doesn't run yet; start it first")
        try:
            anyio.from_thread.run(self.send, event, token=self._token)  # type: ignore[arg-type]
        except anyio.RunFinishedError as error:
            raise Closed("send_from_thread(): the event loop of the pipeline has ended") from error

    def close(self) -> None:
        """Say that nothing more comes: the pipeline goes on to its end with what waits."""
        self.stop()
        if self._reader is not None:
            self._reader.wake()

    async def _room(self) -> None:
        while len(self._events) >= self.capacity:
            free = anyio.Event()
            self._senders.append(free)
            try:
                await free.wait()
            except BaseException:
                if free in self._senders:
                    self._senders.remove(free)
                else:
                    self._wake(1)  # the room was meant for this one
                raise
            if self._ended:
                raise self._closed()

    def _closed(self) -> Closed:
        closed = Closed(
            "the inlet is closed: its pipeline " + ("has ended" if self._over else "takes no more")
        )
        if self._error is not None:
            closed = Closed(
                f"the inlet is closed: its pipeline failed ({type(self._error).__name__}: {self._error})"
            )
            closed.__cause__ = self._error
        return closed

    # The pipeline's side ------------------------------------------------------------------------------------

    def attach(self, reader: object) -> None:
        if self._reader is not None or self._over:
            raise UsedTwice("Inlet: one pipeline has read it already; make a new Inlet for each run")
        super().attach(reader)  # type: ignore[arg-type]
        self._token = anyio.lowlevel.current_token()
        self._thread = threading.get_ident()

    @property
    def awaited(self) -> bool:
        return bool(self._awaited) and self._awaited[0][0] <= self._taken

    def stop(self) -> None:
        super().stop()
        self._wake(len(self._senders))

    async def commit(self, position: int) -> None:
        self._committed = position
        while self._awaited and self._awaited[0][0] <= position:
            self._awaited.popleft()[1].set()

    def fail(self, error: BaseException | None) -> None:
        self._over = True
        self._error = error
        self._reader = None  # it would hold on to the whole run
        self.stop()
        self._events = []
        while self._awaited:
            self._awaited.popleft()[1].set()
