"""Stages that wait for events no longer than the clock allows: windows by the clock, timers, idle inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from reactor.core import clock
from reactor.engine.elements import Barrier, Chunk, Element, End, Tick, Watermark
from reactor.engine.reading import SourceStage
from reactor.engine.stage import Stage
from reactor.operators import EventTime, Timed
from reactor.windows import NEVER, Kernel

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


STALL = 0.05
"""A timer that comes so many seconds late says that the event loop has stood still."""


class _Waiting(Stage):
    """Reads one channel; when nothing has come until a moment, ``overdue`` is called."""

    patient = False
    """True where what has come already goes before what the clock makes due."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self._label = run.graph.labels()[plan.head]

    async def work(self) -> None:
        (channel,) = self.inputs
        while True:
            moment = self.moment()
            due = moment is not None and moment <= anyio.current_time()
            item = None if due and not self.patient else channel.take_now(self.limit)
            if item is None and due:
                if not await self.overdue():
                    break
                continue
            if item is None and not self.finished:
                channel.reader = self.parker
                try:
                    if moment is None:
                        await self.wait(f"events from {channel.source}")
                    else:
                        with anyio.move_on_at(moment):
                            await self.wait()
                finally:
                    channel.reader = None
                continue
            if item is None or not await self.take(item):
                break
            if type(item) is End:
                return
        channel.leave()
        await self.end(End())

    async def take(self, item: Element) -> bool:
        """Handle what the channel had; False when no more is wanted."""
        if type(item) is Chunk:
            await self.breathe()
            return await self.emit(self.stamped(item))
        if type(item) is End:
            await self.end(item)
        elif type(item) is Watermark:
            return await self.advance(item)
        elif type(item) is Barrier:
            self.mark(item)
        return True

    def stamped(self, chunk: Chunk) -> Chunk:
        """Return the chunk as it goes into the loop."""
        return chunk

    def moment(self) -> float | None:
        """Until when to wait for events, by the run's clock; None: for ever."""
        raise NotImplementedError(type(self).__name__)

    async def overdue(self) -> bool:
        """The moment is there; False when no more is wanted."""
        raise NotImplementedError(type(self).__name__)


class TickingStage(_Waiting):
    """Runs a chain whose first operator looks at the clock."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Timed)
        self._op = op
        self._kernel: Kernel = self.states["k0"]

    def stamped(self, chunk: Chunk) -> Chunk:
        now = self._kernel.now = clock.now()
        if not self._op.clock:
            return chunk
        n = len(chunk.values)
        times = [now] * n
        return Chunk(chunk.values, (*chunk.columns, times, times))

    def moment(self) -> float | None:
        kernel = self._kernel
        due = min(kernel.clock_due, kernel.due) if self._op.clock else kernel.clock_due
        if due >= NEVER - 1:
            return None
        return anyio.current_time() + (due - clock.now()) / 1_000_000

    async def overdue(self) -> bool:
        now = self._kernel.now = clock.now()
        if self._op.clock and self._kernel.due <= now and not await self.emit(Watermark(now)):
            return False
        return self._kernel.clock_due > now or await self.emit(Tick(now))

    async def advance(self, mark: Watermark) -> bool:
        """Where the clock says what time it is, the events' own watermarks say nothing."""
        return True if self._op.clock else await super().advance(mark)


class IdleStage(_Waiting):
    """Gives events their time; when none has come for a while, time goes on with the clock."""

    patient = True

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, EventTime)
        assert op.idle is not None
        self._patience = op.idle
        self._since: float | None = None

    async def take(self, item: Element) -> bool:
        going = await super().take(item)
        if type(item) is Chunk:
            self._since = None  # the time in which it was held back doesn't count
        return going

    def moment(self) -> float:
        if self._since is None:
            self._since = anyio.current_time()
        return self._since + self._patience

    async def overdue(self) -> bool:
        """An idle input: nobody waits for it, and its watermark goes on with the clock.

        One whose source is down isn't idle: it is not asked, and will have something when it is up again.
        """
        now = anyio.current_time()
        stalled = now - self.moment()
        if stalled > STALL:  # the loop stood still: what came meanwhile may be on its way here
            self._since = now - self._patience + stalled
            return True
        restarts = [s.restarts for s in self.run.upstream(self) if isinstance(s, SourceStage)]
        since = max((now if r.down else r.up_at for r in restarts if r is not None), default=0.0)
        if since + self._patience > now:
            self._since = since
            return True
        passed = round(self._patience * 1_000_000) if self._quiet else 0
        self._quiet = True
        going = await self.emit(Tick(passed))
        self._since = None  # the time in which it was held back doesn't count
        return going
