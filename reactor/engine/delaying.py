"""Stages that act when a time is over: delay, timeout."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import OperatorTimeout
from reactor.engine.clocked import ClockedStage, Passing, queue, reached
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.failures import noted
from reactor.engine.reading import SourceStage
from reactor.engine.rows import Meta
from reactor.operators import NOTHING, Delay, Timeout

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class DelayStage(ClockedStage):
    """Emits each event so long after it has come; what waits, waits in one line with the marks between."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Delay)
        self.op = op
        self._line: deque[tuple[float, Any, Meta] | Passing] = deque()
        self._count = 0

    async def serve(self) -> None:
        end: End | None = None
        while True:
            moment = await self._let_out()
            if self.finished:
                return await self.leave()
            if end is not None and not self._line:
                return await self.end(end)
            room = self.op.waiting - self._count
            asks = end is None and room > 0
            item = self.take(min(room, self.limit)) if asks else None
            if item is None:
                await self.wait_until(moment, for_input=asks)
            elif type(item) is Chunk:
                due = anyio.current_time() + self.op.seconds
                self._line.extend((due, value, meta) for value, meta in self.rows.of(item))
                self._count += len(item.values)
                await self.breathe()
            elif type(item) is End:
                if not item.flush and self._count:
                    return await self.drop(item, [each[2] for each in self._line if isinstance(each, tuple)])
                end = item
            elif isinstance(item, Barrier | Watermark):
                queue(self._line, item)

    async def _let_out(self) -> float | None:
        """Emit what is due, and return when the next is; None when nothing waits."""
        while self._line and not self.finished:
            first = self._line[0]
            if not isinstance(first, tuple):
                self._line.popleft()
                await self.pass_on(first)
                continue
            now = anyio.current_time()
            due: list[Any] = []
            metas: list[Meta] = []
            while self._line and isinstance(first := self._line[0], tuple) and reached(first[0], now):
                due.append(first[1])
                metas.append(first[2])
                self._line.popleft()
            if not due:
                return first[0] if isinstance(first, tuple) else None
            self._count -= len(due)
            await self.give(due, metas)
        return None

    def held_back(self) -> tuple[Any, Any]:
        rows = [each for each in self._line if isinstance(each, tuple)]
        return None, [(self.from_now(due), value, meta) for due, value, meta in rows]

    def take_back(self, own: Any, held: Any) -> None:
        self._line.extend((self.on_loop(due), value, meta) for due, value, meta in held)
        self._count = len(held)

    @property
    def in_flight(self) -> int:
        return super().in_flight + self._count


class TimeoutStage(ClockedStage):
    """Lets everything pass, and acts when nothing comes. Time in which it can't emit doesn't count."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Timeout)
        self.op = op

    async def serve(self) -> None:
        since: float | None = None
        while not self.finished:
            item = self.take(self.limit)
            if type(item) is Chunk:
                since = None
                self.events_in -= len(item.values)
                await self.emit(item)
                await self.breathe()
            elif type(item) is End:
                return await self.end(item)
            elif isinstance(item, Barrier | Watermark):
                await self.pass_on(item)
            else:
                now = anyio.current_time()
                since = now if since is None else self._begun(since, now)
                if not reached(since + self.op.seconds, now):
                    await self.wait_until(since + self.op.seconds, for_input=True)
                else:
                    since = None
                    await self._act()
        await self.leave()

    def _begun(self, since: float, now: float) -> float:
        """Since when an event could have come: sources behind a concat begin when it is their turn."""
        sources = [stage for stage in self.run.upstream(self) if isinstance(stage, SourceStage)]
        if not any(source.gates for source in sources):
            return since
        begun = [source.started_at for source in sources if source.started]
        return max(since, min(begun, default=now))

    async def _act(self) -> None:
        if self.op.fallback is NOTHING:
            seconds = f"{self.op.seconds:g}"
            error = OperatorTimeout(
                f"timeout({seconds}): no event for {seconds} s; see why {self.inputs[0].source} has none, "
                "or pass a longer time, or fallback="
            )
            raise noted(error, self.run.graph.name, self.label)
        self.counts[f"{self.label}: fallback"] += 1
        self.events_in -= 1
        await self.emit(self.rows.chunk((self.op.fallback,), ((None,) * self.rows.width,)))
