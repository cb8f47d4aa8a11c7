"""The bounded queue between two stages, and how their tasks sleep and wake each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal

import anyio

from reactor.core import Overflow
from reactor.engine.elements import Barrier, Chunk, Element, Mark, Watermark, joined

Policy = Literal["block", "drop_oldest", "drop_newest", "error"]


class Census:
    """How many tasks of a run are alive, and how many of them sleep until another one of them acts.

    When all do, none ever will: ``stuck`` is called, on the task that was about to fall asleep.
    """

    def __init__(self) -> None:
        self.alive = 0
        self.asleep = 0
        self._kind: type[anyio.Event] | None = None

    def event(self) -> anyio.Event:
        """Return a new Event. anyio looks up the loop for each; the run stays on one."""
        if self._kind is None:
            event = anyio.Event()
            self._kind = type(event)
            return event
        return self._kind()

    def stuck(self) -> None:
        """Replaced by the run."""

    def leave(self) -> None:
        """One task is done."""
        self.alive -= 1
        if self.alive and self.asleep == self.alive:
            self.stuck()


class Parker:
    """Where one task sleeps until somebody wakes it.

    There is no wake-up to lose: who sleeps has looked first, and between the look and the sleep nothing else
    runs on the loop.
    """

    __slots__ = ("_census", "_counted", "event", "waits_for")

    def __init__(self, census: Census) -> None:
        self._census = census
        self.event: anyio.Event | None = None
        """Set while it sleeps."""
        self._counted = False
        self.waits_for = ""

    async def park(self, waits_for: str = "") -> None:
        """Sleep until ``wake``. With ``waits_for``, it is another stage of the run that has to wake it."""
        event = self.event = self._census.event()
        census = self._census
        if waits_for:
            self.waits_for = waits_for
            self._counted = True
            census.asleep += 1
            if census.asleep == census.alive:
                census.stuck()
        try:
            await event.wait()
        finally:
            if self.event is event:  # cancelled
                self._awake()

    def wake(self) -> None:
        """Wake the sleeper, if there is one."""
        event = self.event
        if event is not None:
            self.event = None
            if self._counted:
                self._awake()
            event.set()

    def _awake(self) -> None:
        self.event = None
        if self._counted:
            self._counted = False
            self.waits_for = ""
            self._census.asleep -= 1


def _nothing() -> None:
    return None


class Channel:
    """A queue bounded in events; one stage writes, one reads. Marks take no room."""

    __slots__ = (
        "_items",
        "blocked",
        "blocked_since",
        "capacity",
        "columns",
        "dropped",
        "external",
        "left",
        "on_leave",
        "overflow",
        "peak",
        "reader",
        "size",
        "source",
        "target",
        "writer",
    )

    def __init__(self, source: str, target: str, capacity: int, overflow: Policy = "block") -> None:
        self.source = source
        self.target = target
        self.capacity = capacity
        self.overflow: Policy = overflow
        self._items: deque[Element] = deque()
        self.columns: tuple[int, ...] | None = None
        """Which columns of a chunk the reader needs, where others that share it need more."""
        self.size = 0
        self.peak = 0
        self.dropped = 0
        self.left = False
        self.external = False
        """True where code outside of the run reads: waiting for it is no deadlock."""
        self.blocked = 0.0
        """Seconds that the writer has waited for room."""
        self.blocked_since = 0.0
        """Since when it waits now, by the clock of perf_counter; 0 when it doesn't."""
        self.reader: Parker | None = None
        self.writer: Parker | None = None
        self.on_leave: Callable[[], None] = _nothing
        """Told when the reader leaves: the writer may be waiting for something else than room."""

    # The writer's side --------------------------------------------------------------------------------------

    def push(self, item: Element) -> None:
        """Add a chunk or a mark now, whatever the room."""
        if self.left:
            return
        items = self._items
        if type(item) is Chunk:
            self.size += len(item.values)
            if self.size > self.peak:
                self.peak = self.size
        elif type(item) is Watermark and items and type(items[-1]) is Watermark:
            if item.parts is None and items[-1].parts is None:
                items.pop()  # the later one says it all
        items.append(item)
        if self.reader is not None:
            self.reader.wake()

    def offer(self, chunk: Chunk, start: int) -> int:
        """Add what there is room for, from row ``start`` on; return the row that is next."""
        n = len(chunk.values)
        if self.left:
            return n
        if self.overflow != "block":
            self._push_lossy(chunk)
            return n
        room = self.capacity - self.size
        if room >= n - start:
            self.push(chunk if start == 0 else chunk.part(start, n))
            return n
        if room > 0:
            self.push(chunk.part(start, start + room))
            return start + room
        return start

    def _push_lossy(self, chunk: Chunk) -> None:
        extra = len(chunk.values) - (self.capacity - self.size)
        if extra > 0:
            if self.overflow == "error":
                raise Overflow(
                    f"{self.target}: {self.size} of {self.capacity} events are waiting and "
                    f'{len(chunk.values)} more came; use a larger size, or overflow="drop_oldest"'
                )
            self.dropped += extra
            if self.overflow == "drop_newest":
                chunk = chunk.part(0, len(chunk.values) - extra)
            else:
                chunk = self._drop_oldest(extra, chunk)
        if len(chunk.values):
            self.push(chunk)

    def _drop_oldest(self, extra: int, chunk: Chunk) -> Chunk:
        kept: deque[Element] = deque()
        for item in self._items:
            if extra and type(item) is Chunk:
                n = len(item.values)
                gone = min(n, extra)
                extra -= gone
                self.size -= gone
                if gone < n:
                    kept.append(item.part(gone, n))
            else:
                kept.append(item)
        self._items = kept
        return chunk.part(extra, len(chunk.values)) if extra else chunk

    # The reader's side --------------------------------------------------------------------------------------

    def take_now(self, limit: int) -> Element | None:
        """Return the next mark, or the events before it, at most ``limit``; None when there is nothing."""
        items = self._items
        if not items:
            return None
        first = items.popleft()
        if type(first) is not Chunk:
            return first
        n = len(first.values)
        if n < limit and items and type(items[0]) is Chunk:
            chunks = [first]
            while n < limit and items and type(item := items[0]) is Chunk:
                n += len(item.values)
                chunks.append(item)
                items.popleft()
            first = joined(chunks)
        if n > limit:
            items.appendleft(first.part(limit, n))
            first = first.part(0, limit)
            n = limit
        self.size -= n
        if self.writer is not None:
            self.writer.wake()
        return first

    def barrier_now(self) -> Barrier | None:
        """Return the next mark if it is a barrier; None for anything else, which stays where it is."""
        items = self._items
        if items and type(first := items[0]) is Barrier:
            items.popleft()
            return first
        return None

    def leave(self) -> None:
        """The reader wants no more: what waits here is let go, and the writer is told."""
        self.left = True
        self._items.clear()
        self.size = 0
        if self.writer is not None:
            self.writer.wake()
        self.on_leave()


class Outlet:
    """One output of a stage: every event goes to all of its channels, at the pace of the slowest."""

    __slots__ = ("channels",)

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = tuple(channels)

    @property
    def left(self) -> bool:
        """True when no reader wants more."""
        return all(channel.left for channel in self.channels)

    async def put(self, chunk: Chunk, parker: Parker) -> None:
        """Add the events, waiting for room as they need it."""
        n = len(chunk.values)
        if len(self.channels) == 1:
            channel = self.channels[0]
            row = channel.offer(chunk, 0)
            while row < n:
                await self._wait((channel,), parker)
                row = channel.offer(chunk, row)
            return
        # Each channel gets what it has room for: a reader may need the events before it lets others go on.
        chunks = [chunk.picked(channel.columns) for channel in self.channels]
        rows = [channel.offer(each, 0) for channel, each in zip(self.channels, chunks, strict=True)]
        while waiting := tuple(c for c, row in zip(self.channels, rows, strict=True) if row < n):
            await self._wait(waiting, parker)
            for at, channel in enumerate(self.channels):
                if rows[at] < n:
                    rows[at] = channel.offer(chunks[at], rows[at])

    async def _wait(self, waiting: tuple[Channel, ...], parker: Parker) -> None:
        external = any(channel.external for channel in waiting)
        began = perf_counter()
        for channel in waiting:
            channel.writer = parker
            channel.blocked_since = began
        try:
            await parker.park("" if external else f"room on the way to {waiting[0].target}")
        finally:
            for channel in waiting:
                channel.writer = None
                channel.blocked_since = 0.0
                channel.blocked += perf_counter() - began

    def push(self, mark: Mark) -> None:
        """Add a mark; never waits."""
        for channel in self.channels:
            channel.push(mark)
