"""Both ends of a pipeline, watched: every call, from which task and thread, and whether two overlapped."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from reactor import Record, Sink, Source

PATIENCE = 20.0
"""Seconds after which something that has to happen counts as never happening."""


class Broken(Exception):
    """What fails here."""


class Calls:
    """What was called, in order, and by whom."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.overlaps: list[tuple[str, str]] = []
        """Each call that came while another one was under way, behind that one."""
        self.tasks: set[int] = set()
        self.threads: set[int] = set()
        self._under_way = ""

    @contextmanager
    def _called(self, call: str) -> Iterator[None]:
        self.calls.append(call)
        self.tasks.add(anyio.get_current_task().id)
        self.threads.add(threading.get_ident())
        if self._under_way:
            self.overlaps.append((self._under_way, call))
        self._under_way = call
        try:
            yield
        finally:
            self._under_way = ""

    def number(self, call: str) -> int:
        """How often it was called."""
        return self.calls.count(call)


class WatchedSource(Calls, Source[int]):
    """Gives its values as it is asked for them; then it ends, or raises ``error``, or waits for ever.

    ``fails_in`` names the call that raises instead. With ``stubborn`` a read that waits doesn't heed its
    cancellation until ``go`` is set, and then gives the values ``late`` all the same.
    """

    def __init__(
        self,
        values: Iterable[int] = (),
        *,
        error: Exception | None = None,
        waits: bool = False,
        endless: bool = False,
        fails_in: str = "",
        late: Sequence[int] | None = None,
        replay: bool = False,
        name: str = "watched",
    ) -> None:
        super().__init__()
        self.name = name
        self.replay = replay
        self.values = list(values)
        self.error = error
        self.waits = waits
        self.endless = endless
        self.fails_in = fails_in
        self.late = late
        self.go = anyio.Event()
        self.asked = anyio.Event()
        """Set when a read has begun to wait."""
        self.limits: list[int] = []
        self.at = 0
        self.committed: list[int] = []

    async def _begins(self, call: str) -> None:
        await checkpoint()
        if self.fails_in == call:
            raise Broken(f"source {call}")

    async def open(self) -> None:
        with self._called("open"):
            await self._begins("open")

    async def read(self, limit: int) -> list[Record[int]] | None:
        with self._called("read"):
            self.limits.append(limit)
            await self._begins("read")
            if self.endless:
                values = list(range(self.at, self.at + min(limit, 3)))
            else:
                values = self.values[self.at : self.at + limit]
            if not values:
                if self.error is not None:
                    raise self.error
                if self.waits:
                    await self._wait()
                    values = list(self.late or ())
                    self.late = self.error = None
                    self.waits = False
            first, self.at = self.at, self.at + len(values)
            return [Record(value, position=first + n) for n, value in enumerate(values)] or None

    async def _wait(self) -> None:
        self.asked.set()
        if self.late is None:
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await self.go.wait()

    def position(self) -> int | None:
        return self.at if self.replay else None

    async def seek(self, position: int) -> None:
        with self._called("seek"):
            self.at = position

    async def commit(self, position: int) -> None:
        # It may overlap a read that waits, and comes from another task: that is said in Source.
        self.calls.append("commit")
        self.committed.append(position)

    async def close(self) -> None:
        with self._called("close"):
            await self._begins("close")


class WatchedSink(Calls, Sink[Any]):
    """Takes what comes, slowly enough that another call could overtake; ``fails_in`` names the call that raises.

    With ``blocks`` a write never returns by itself.
    """

    def __init__(self, name: str = "watched", *, fails_in: str = "", blocks: bool = False) -> None:
        super().__init__()
        self.name = name
        self.fails_in = fails_in
        self.blocks = blocks
        self.events: list[Any] = []
        self.writing = anyio.Event()
        """Set when the first write has begun."""

    async def _takes(self, call: str) -> None:
        for _ in range(3):
            await checkpoint()
        if self.fails_in == call:
            raise Broken(f"sink {call}")

    async def open(self) -> None:
        with self._called("open"):
            await self._takes("open")

    async def write(self, events: Sequence[Any]) -> None:
        with self._called("write"):
            self.writing.set()
            await self._takes("write")
            if self.blocks:
                await anyio.sleep_forever()
            self.events.extend(events)

    async def flush(self) -> None:
        with self._called("flush"):
            await self._takes("flush")

    async def close(self) -> None:
        with self._called("close"):
            await self._takes("close")


async def turns(number: int = 50) -> None:
    """Give all others so many turns: what would still come has come by then."""
    for _ in range(number):
        await checkpoint()
