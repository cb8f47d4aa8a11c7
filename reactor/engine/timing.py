"""Stages that look at the clock: rate_limit, and batch with a longest wait."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio

from reactor.engine.elements import Barrier, Chunk, End, Mark, Watermark
from reactor.engine.limits import held
from reactor.engine.stage import Stage
from reactor.operators import SKIP, Abort, Limit, TimedBatch

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class _Clocked(Stage):
    """Waits for its channel, but not longer than until a moment."""

    async def wait_until(self, moment: float | None, *, for_input: bool) -> None:
        """Sleep until something has come (if it is wanted), ``moment`` is there, or someone wakes the stage."""
        (channel,) = self.inputs
        if for_input:
            channel.reader = self.parker
        try:
            if moment is None:
                await self.wait(f"events from {channel.source}" if for_input else "")
            else:
                with anyio.move_on_after(max(0.0, moment - anyio.current_time())):
                    await self.wait()
        finally:
            channel.reader = None

    label = ""

    async def work(self) -> None:
        abort: Abort | None = None
        try:
            await self.serve()
        except Abort as aborted:
            abort = aborted
        if abort is not None:  # raised out here, where the error keeps its own context
            raise self.failed(abort, self.label)

    async def serve(self) -> None:
        """Do the work; a function that fails ends it with an Abort."""
        raise NotImplementedError(type(self).__name__)

    async def leave(self) -> None:
        """No more is wanted."""
        self.inputs[0].leave()
        await self.end(End())

    def columns(self, origins: list[Any]) -> tuple[list[Any], ...]:
        return (origins,) if "origin" in self.plan.given else ()


def _rows(chunk: Chunk) -> Iterator[tuple[Any, Any]]:
    if chunk.columns:
        return zip(chunk.values, chunk.columns[0], strict=True)
    return ((value, None) for value in chunk.values)


class LimitStage(_Clocked):
    """Lets events pass as their RateLimit has tokens for them."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Limit)
        self.op = op
        self.label = run.graph.labels()[plan.head]
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._queues: dict[Any, deque[tuple[Any, Any, float, int]]] = {}
        """For each key whose bucket is empty: value, origin, cost, epoch."""
        self._due: list[tuple[float, int, Any]] = []
        self._marks: deque[tuple[Mark, int]] = deque()
        self._epoch = 0
        self._count = 0
        self._open: dict[int, int] = {}
        """How many events wait, by the number of marks that had come before them."""
        self._out: list[Any] = []
        self._out_origins: list[Any] = []

    async def serve(self) -> None:
        (channel,) = self.inputs
        end: End | None = None
        forget = self.op.limit.on_change(self._changed)
        try:
            while True:
                self._release_due()
                if self.finished or (self._out and not await self._give()):
                    return await self.leave()
                if self.letters:
                    await self.write_letters()
                self._pass_marks()
                room = (self.op.waiting if self.op.key is not None else 1) - self._count
                if end is not None and not self._count:
                    return await self.end(end)
                if end is None and room > 0:
                    item = channel.take_now(min(room, self._most(), self.limit))
                    if type(item) is Chunk:
                        self.events_in += len(item.values)
                        self._take(item)
                        await self.breathe()
                        continue
                    if type(item) is End:
                        end = item
                        continue
                    if isinstance(item, Barrier | Watermark):
                        self._marks.append((item, self._epoch))
                        self._epoch += 1
                        continue
                moment = self._due[0][0] if self._due else None
                await self.wait_until(moment, for_input=end is None and room > 0)
        finally:
            forget()

    def _most(self) -> int:
        """At most one burst is taken from the channel at once; with keys, each has a burst of its own."""
        return self.op.waiting if self.op.key is not None else max(1, int(self.op.limit.burst))

    def _take(self, chunk: Chunk) -> None:
        now = anyio.current_time()
        limit, key_of, cost_of = self.op.limit, self.op.key, self.op.cost
        for value, origin in _rows(chunk):
            try:
                key = key_of(value) if key_of is not None else None
                cost = cost_of(value) if cost_of is not None else 1.0
                queue = self._queues.get(key)
                wait = limit.wait(key, cost, now) if queue is None else 0.0
            except Exception as error:
                if self._give_up(value, origin, error) is SKIP:
                    continue
                raise
            if queue is None:
                if wait <= 0:
                    self._emit(value, origin)
                    continue
                queue = self._queues[key] = deque()
                self._count_due(now + wait, key)
            queue.append((value, origin, cost, self._epoch))
            self._open[self._epoch] = self._open.get(self._epoch, 0) + 1
            self._count += 1

    def _count_due(self, moment: float, key: Any) -> None:
        heapq.heappush(self._due, (moment, self._number, key))
        self._number += 1

    _number = 0

    def _emit(self, value: Any, origin: Any) -> None:
        self._out.append(value)
        self._out_origins.append(origin)

    def _release_due(self) -> None:
        now = anyio.current_time()
        while self._due and self._due[0][0] <= now + 1e-9:
            _, _, key = heapq.heappop(self._due)
            queue = self._queues[key]
            while queue:
                value, origin, cost, epoch = queue[0]
                wait = self.op.limit.wait(key, cost, now)
                if wait > 0:
                    self._count_due(now + wait, key)
                    break
                queue.popleft()
                self._count -= 1
                self._open[epoch] -= 1
                self._emit(value, origin)
            else:
                del self._queues[key]

    def _changed(self) -> None:
        """The rate is another one: look again at all that wait."""
        now = anyio.current_time()
        self._due = [(now, number, key) for _, number, key in self._due]
        heapq.heapify(self._due)
        self.parker.wake()

    async def _give(self) -> bool:
        out, self._out = self._out, []
        origins, self._out_origins = self._out_origins, []
        self.events_in -= len(out)
        return await self.emit(Chunk(out, self.columns(origins)))

    def _pass_marks(self) -> None:
        while self._marks:
            mark, epoch = self._marks[0]
            if any(count for before, count in self._open.items() if before <= epoch):
                return
            for before in [before for before in self._open if before <= epoch]:
                del self._open[before]
            self._marks.popleft()
            assert isinstance(mark, Barrier | Watermark)
            self.mark(mark)

    @property
    def in_flight(self) -> int:
        return super().in_flight + self._count + len(self._out)


class TimedBatchStage(_Clocked):
    """Gives a list on when it is full, or ``max_wait`` seconds after its first event."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, TimedBatch)
        self.op = op
        self.label = run.graph.labels()[plan.head]
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._held: list[Any] = []
        self._held_origins: list[Any] = []
        self._weight = 0.0
        self._moment = 0.0
        self._marks: list[Mark] = []
        self._full: list[tuple[list[Any], tuple[Any, ...]]] = []

    async def serve(self) -> None:
        (channel,) = self.inputs
        while True:
            if self._held and anyio.current_time() >= self._moment:
                self._cut()
            if self.finished or (self._full and not await self._give()):
                return await self.leave()
            if self.letters:
                await self.write_letters()
            item = channel.take_now(self.limit)
            if item is None:
                await self.wait_until(self._moment if self._held else None, for_input=True)
            elif type(item) is Chunk:
                self.events_in += len(item.values)
                self._take(item)
                await self.breathe()
            elif type(item) is End:
                return await self._last(item)
            elif self._held and isinstance(item, Barrier | Watermark):
                self._marks.append(item)
            elif isinstance(item, Barrier | Watermark):
                self.mark(item)

    def _take(self, chunk: Chunk) -> None:
        size, most, weigh = self.op.max_size, self.op.max_weight, self.op.weight
        for value, origin in _rows(chunk):
            weight = 0.0
            if weigh is not None and most is not None:
                try:
                    weight = weigh(value)
                except Exception as error:
                    if self._give_up(value, origin, error) is SKIP:
                        continue
                    raise
                if self._held and self._weight + weight > most:
                    self._cut()
            if not self._held:
                self._moment = anyio.current_time() + self.op.max_wait
            self._held.append(value)
            self._held_origins.append(origin)
            self._weight += weight
            if (size is not None and len(self._held) >= size) or (most is not None and self._weight >= most):
                self._cut()

    def _cut(self) -> None:
        self._full.append((self._held, tuple(self._held_origins)))
        self._held, self._held_origins, self._weight = [], [], 0.0

    async def _give(self) -> bool:
        full, self._full = self._full, []
        self.events_in -= len(full)
        going = await self.emit(
            Chunk([values for values, _ in full], self.columns([origins for _, origins in full]))
        )
        # What stood before these marks was held, and is in these lists.
        for mark in self._marks:
            self.mark(mark)
        self._marks.clear()
        return going

    async def _last(self, end: End) -> None:
        if self._held and end.flush:
            self._cut()
            if not await self._give():
                return await self.leave()
        elif self._held:  # a drain: they will be read again
            dropped = held(self._held_origins, self.sources, self.run.source_name)
            end = End(False, dict(end.limits or {}) | dropped)
        await self.end(end)

    @property
    def in_flight(self) -> int:
        return super().in_flight + len(self._held) + sum(len(values) for values, _ in self._full)
