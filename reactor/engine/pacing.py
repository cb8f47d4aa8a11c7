"""Stages that let some events pass, by the clock: throttle, debounce, sample.

They hold one event at most. A mark that came behind it waits until it has gone on, or until a later one has taken
its place: then nothing that came before the mark is held any more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

from reactor.engine.clocked import ClockedStage, Passing, Row, queue, reached, row
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.operators import Debounce, Sample, Throttle

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class LatestStage(ClockedStage):
    """Holds the latest event until it is due; one that another has replaced is counted."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self._kept: Row | None = None
        self._due = math.inf
        self._marks: list[Passing] = []
        """What came behind the event that is kept."""
        self.began_at = 0.0

    def due(self, now: float, *, fresh: bool) -> float:
        """When the event that is kept from now on goes on; ``fresh`` when none was before it."""
        raise NotImplementedError(type(self).__name__)

    async def serve(self) -> None:
        self.began_at = anyio.current_time()
        while True:
            if self._kept is not None and reached(self._due, anyio.current_time()):
                await self.release()
            if self.finished:
                return await self.leave()
            item = self.take(self.limit)
            if item is None:
                await self.wait_until(self._due if self._kept is not None else None, for_input=True)
            elif type(item) is Chunk:
                await self.sort(item, anyio.current_time())
                await self.breathe()
            elif type(item) is End:
                return await self._last(item)
            elif isinstance(item, Barrier | Watermark):
                if self._kept is not None:
                    queue(self._marks, item)
                else:
                    await self.pass_on(item)

    async def sort(self, chunk: Chunk, now: float) -> None:
        """Decide on new events, which all came now."""
        await self.keep(chunk, len(chunk.values), now)

    async def keep(self, chunk: Chunk, count: int, now: float) -> None:
        """Keep the last of the chunk; the others of its last ``count`` go no further."""
        fresh = self._kept is None
        self._kept = row(chunk, -1)
        self._due = self.due(now, fresh=fresh)
        self.gone(count - fresh)
        if not fresh:
            await self._pass_marks()

    async def release(self) -> bool:
        """Emit what is kept, and what waits behind it."""
        assert self._kept is not None
        value, meta = self._kept
        self._kept = None
        going = await self.give((value,), (meta,))
        await self._pass_marks()
        return going

    def gone(self, count: int) -> None:
        """Count events that go no further."""
        if count:
            self.counts[f"{self.label}: replaced"] += count

    async def _pass_marks(self) -> None:
        marks, self._marks = self._marks, []
        for mark in marks:
            await self.pass_on(mark)

    async def _last(self, end: End) -> None:
        if self._kept is not None and end.flush:
            if not await self.release():
                return await self.leave()
        elif self._kept is not None:
            return await self.drop(end, (self._kept[1],))
        await self.end(end)

    def held_back(self) -> tuple[Any, Any]:
        if self._kept is None:
            return self.own_time(), None
        return self.own_time(), (self._kept, self.from_now(self._due))

    def take_back(self, own: Any, held: Any) -> None:
        self.take_time(own)
        if held is not None:
            self._kept, due = held
            self._due = self.on_loop(due)

    def own_time(self) -> int | None:
        """A moment that outlives a restart."""
        return None

    def take_time(self, time: int | None) -> None:
        """Take it back."""

    @property
    def in_flight(self) -> int:
        return super().in_flight + (self._kept is not None)


class ThrottleStage(LatestStage):
    """Emits an event, then none for the interval; with ``trailing`` the last of it, which begins another one."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Throttle)
        self.op = op
        self._over = -math.inf
        """When the present interval is over."""

    def due(self, now: float, *, fresh: bool) -> float:
        return self._over

    def own_time(self) -> int | None:
        return None if self._over == -math.inf else self.from_now(self._over)

    def take_time(self, time: int | None) -> None:
        if time is not None:
            self._over = self.on_loop(time)

    async def sort(self, chunk: Chunk, now: float) -> None:
        n = len(chunk.values)
        # One that is kept goes on when the interval is over, before any other.
        if self._kept is None and reached(self._over, now):
            self._over = now + self.op.seconds
            value, meta = row(chunk, 0)
            if not await self.give((value,), (meta,)):
                return
            n -= 1
        if n and self.op.trailing:
            await self.keep(chunk, n, now)
        elif n:
            self.gone(n)

    async def release(self) -> bool:
        self._over = anyio.current_time() + self.op.seconds
        return await super().release()


class DebounceStage(LatestStage):
    """Emits an event when none has followed for so long."""

    def due(self, now: float, *, fresh: bool) -> float:
        op = self.plan.head.op
        assert isinstance(op, Debounce)
        return now + op.seconds


class SampleStage(LatestStage):
    """Emits the latest event at each tick, counted from where the stage began."""

    def due(self, now: float, *, fresh: bool) -> float:
        if not fresh:
            return self._due
        op = self.plan.head.op
        assert isinstance(op, Sample)
        ticks = math.floor((now - self.began_at) / op.seconds + 1e-9) + 1
        return self.began_at + ticks * op.seconds
