"""The pipeline's side of an inlet: events that an application hands in wait here."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import anyio

from reactor.engine.channel import Parker

T = TypeVar("T")


class Feed(Generic[T]):
    """A beginning whose events are there already, or come by a call: nothing has to be awaited to look.

    Its position is the number of events that the pipeline has taken.
    """

    name = ""
    capacity: int

    def __init__(self) -> None:
        self._events: list[T] = []
        self._quick = 0
        """Fewer events than this: one more can be added without a second look."""
        self._taken = 0
        self._senders: deque[anyio.Event] = deque()
        """Where tasks wait that have an event and no room for it."""
        self.coming = False
        """True when tasks that waited for room have been woken: more is about to come."""
        self._reader: Parker | None = None
        self._ended = False

    # What the run calls:

    def attach(self, reader: Parker) -> None:
        """A run begins to read."""
        self._reader = reader

    @property
    def attached(self) -> bool:
        """True when a run reads it, or has."""
        return self._reader is not None

    def take(self, limit: int) -> list[T]:
        """Return up to ``limit`` events that wait, without waiting."""
        events = self._events
        if len(events) <= limit:
            self._events = []
        else:
            self._events = events[limit:]
            events = events[:limit]
        self._taken += len(events)
        if self._senders:
            self._wake(len(events))
            self.coming = True
        return events

    def _wake(self, n: int) -> None:
        while n > 0 and self._senders:
            self._senders.popleft().set()
            n -= 1

    def parked(self) -> None:
        """The reader is about to sleep: the next event has to wake it."""
        self._quick = 0

    @property
    def over(self) -> bool:
        """True when nothing waits and nothing will come."""
        return self._ended and not self._events

    @property
    def awaited(self) -> bool:
        """True when somebody waits for a commit of what has been taken."""
        return False

    def stop(self) -> None:
        """Take no more events from the application; those that wait still go their way."""
        self._ended = True
        self._quick = 0

    def fail(self, error: BaseException | None) -> None:
        """The run is over: nobody reads any more. Called exactly once, also after a normal end."""
        self._ended = True

    def position(self) -> int:
        """How many events the pipeline has taken."""
        return self._taken

    async def commit(self, position: int) -> None:
        """Everything before ``position`` has left every sink."""
