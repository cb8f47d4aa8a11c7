"""Reading in place: the events from a position to the end as of now, either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from reactor.connectors.log import Decode
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import Direction, StoredEvent, Target
from reactor.eventstore.subscription import decoded

T = TypeVar("T")

_PAGE = 1000

Opened = Callable[[], AbstractAsyncContextManager[None]]


class Events(Generic[T]):
    """Iterate it with ``async for``, or ``await`` it ``.collect()``; nothing is open while one is looked at.

    Raises DecodeError where it comes to an event that doesn't fit the store's types.
    """

    # No async generator, which trio wants closed: a loop over it may be left at any time.

    def __init__(
        self,
        backend: Backend,
        opened: Opened,
        target: Target,
        decode: Decode,
        start: int | None,
        direction: Direction,
        limit: int | None,
    ) -> None:
        self._backend = backend
        self._opened = opened
        self._target = target
        self._decode = decode
        self._next = start
        self._backwards = direction == "backwards"
        self._left = limit
        self._end: int | None = None
        self._page: Iterator[StoredEvent[T]] = iter(())
        self._error: Exception | None = None

    def __aiter__(self) -> Events[T]:
        return self

    async def collect(self) -> list[StoredEvent[T]]:
        """Return what is left of them as a list."""
        return [event async for event in self]

    async def __anext__(self) -> StoredEvent[T]:
        while True:
            for event in self._page:
                return event
            if self._error is not None:
                raise self._error
            await self._turn()

    async def _turn(self) -> None:
        async with self._opened():
            if self._end is None:
                self._end = await self._backend.end(self._target)
                if self._next is None:
                    self._next = self._end - 1 if self._backwards else 0
            start = self._next or 0
            done = start < 0 if self._backwards else start >= self._end
            if done or self._left == 0:
                raise StopAsyncIteration
            limit = _PAGE if self._left is None else min(_PAGE, self._left)
            page = await self._backend.page(self._target, start, limit, backwards=self._backwards)
        found = [event for event in page.found if event.at(self._target) < self._end]
        self._next = page.next
        if self._left is not None:
            self._left -= len(found)
        records, bad = decoded(found, self._target, self._decode)
        if bad:
            before, _, self._error = bad[0]
            records = records[:before]
        self._page = iter([record.value for record in records])
