"""Sources and sinks that do what a test says, and note what was done to them."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import anyio

from reactor import Record, Sink, Source
from reactor.core import Records
from reactor.testing import settle as settle

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which something that has to happen counts as never happening."""


class Probe(Sink[T], Generic[T]):
    """A sink that keeps what it is given."""

    def __init__(
        self,
        name: str = "probe",
        *,
        on_open: Callable[[], Awaitable[None]] | None = None,
        on_write: Callable[[Sequence[T]], Awaitable[None]] | None = None,
        on_flush: Callable[[], Awaitable[None]] | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.events: list[T] = []
        self.stored: list[T] = []
        """The events that a flush has followed."""
        self.calls: list[str] = []
        self._on_open, self._on_write, self._on_flush, self._on_close = on_open, on_write, on_flush, on_close
        self._came = anyio.Event()

    async def open(self) -> None:
        self.calls.append("open")
        if self._on_open is not None:
            await self._on_open()

    async def write(self, events: Sequence[T]) -> None:
        self.calls.append("write")
        if self._on_write is not None:
            await self._on_write(events)
        self.events.extend(events)
        self._came.set()

    async def flush(self) -> None:
        self.calls.append("flush")
        if self._on_flush is not None:
            await self._on_flush()
        self.stored = list(self.events)

    async def close(self) -> None:
        self.calls.append("close")
        if self._on_close is not None:
            await self._on_close()

    async def until(self, count: int) -> list[T]:
        """Wait until so many events have come."""
        with anyio.fail_after(PATIENCE):
            while len(self.events) < count:
                self._came = anyio.Event()
                await self._came.wait()
        return self.events


class Log(Source[T], Generic[T]):
    """A source with positions: reads on from the last commit; with ``follow`` it waits for more at its end.

    Every other read it returns a list of records, and those between Records, which are made when they are needed.
    """

    replay = True

    def __init__(
        self,
        values: Sequence[T] = (),
        *,
        name: str = "log",
        follow: bool = False,
        most: int = 1_000_000,
        at: int = 0,
        identity: str | None = None,
    ) -> None:
        self.values = list(values)
        self.name = name
        self.identity = identity
        self.follow = follow
        self.most = most
        self.commits: list[int] = []
        self.calls: list[str] = []
        self._at = at
        self._reads = 0
        self._changed = anyio.Event()
        self._committed = anyio.Event()

    async def open(self) -> None:
        self.calls.append("open")

    async def read(self, limit: int) -> Sequence[Record[T]] | None:
        while self._at >= len(self.values):
            if not self.follow:
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        values = self.values[self._at : self._at + min(limit, self.most)]
        first = self._at

        def make(n: int) -> Record[T]:
            return Record(values[n], position=first + n, topic=self.name, raw=repr(values[n]).encode())

        self._at += len(values)
        self._reads += 1
        return Records(values, make) if self._reads % 2 else [make(n) for n in range(len(values))]

    def position(self) -> int:
        return self._at

    async def commit(self, position: int) -> None:
        self.calls.append("commit")
        self.commits.append(position)
        self._committed.set()

    async def close(self) -> None:
        self.calls.append("close")

    # The test's side:

    def append(self, *values: T) -> None:
        self.values.extend(values)
        self._changed.set()

    def end(self) -> None:
        self.follow = False
        self._changed.set()

    @property
    def committed(self) -> int:
        return self.commits[-1] if self.commits else 0

    async def until_committed(self, position: int) -> None:
        """Wait until everything before ``position`` is committed."""
        with anyio.fail_after(PATIENCE):
            while self.committed < position:
                self._committed = anyio.Event()
                await self._committed.wait()


class Gate:
    """Calls that wait until they are let through; says how many are inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._event = anyio.Event()
        self._entered = anyio.Event()

    async def __call__(self, event: Any = None) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self._entered.set()
        try:
            await self._event.wait()
        finally:
            self.inside -= 1
        return event

    def open(self) -> None:
        self._event.set()

    async def entered(self, count: int = 1) -> None:
        """Wait until so many are inside."""
        with anyio.fail_after(PATIENCE):
            while self.inside < count:
                self._entered = anyio.Event()
                await self._entered.wait()


class Endless:
    """1, 2, 3, ... and how many have been read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.read += 1
            yield self.read
