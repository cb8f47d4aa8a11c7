"""Stages that hold events until the clock lets them go: rate_limit, and batch with a longest wait."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from reactor.engine.clocked import ClockedStage, Passing, queue, reached
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.rows import Meta
from reactor.operators import SKIP, Limit, TimedBatch

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class _Waiting(NamedTuple):
    """An event that waits for tokens."""

    value: Any
    meta: Meta
    cost: float
    epoch: int
    """How many marks had come before it."""
    number: int


class LimitStage(ClockedStage):
    """Lets events pass as their RateLimit has tokens for them."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Limit)
        self.op = op
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._queues: dict[Any, deque[_Waiting]] = {}
        """For each key whose bucket is empty: what waits for it."""
        self._due: list[tuple[float, int, Any]] = []
        self._marks: deque[tuple[Passing, int]] = deque()
        self._epoch = 0
        self._count = 0
        self._number = 0
        self._open: dict[int, int] = {}
        """How many events wait, by the number of marks that had come before them."""
        self._overtakes = op.key is not None and "watermark" in plan.given
        self._watermarks: OrderedDict[int, int] = OrderedDict()
        """Of the events that wait, in the order in which they came: the first is the lowest."""
        self._out: list[Any] = []
        self._out_metas: list[Meta] = []
        self._again: Chunk | None = None
        """What waited when the state was saved that the run began with."""

    async def serve(self) -> None:
        end: End | None = None
        forget = self.op.limit.on_change(self._changed)
        if self._again is not None:
            self.events_in += len(self._again.values)
            self._sort(self._again)
            self._again = None
        try:
            while True:
                self._release_due()
                if self.finished or (self._out and not await self._give()):
                    return await self.leave()
                if self.letters:
                    await self.write_letters()
                await self._pass_marks()
                room = (self.op.waiting if self.op.key is not None else 1) - self._count
                if end is not None and not self._count:
                    return await self.end(end)
                if end is None and room > 0:
                    item = self.take(min(room, self._most(), self.limit))
                    if type(item) is Chunk:
                        self._sort(item)
                        await self.breathe()
                        continue
                    if type(item) is End:
                        end = item
                        continue
                    if isinstance(item, Barrier | Watermark):
                        self._queue(item)
                        continue
                moment = self._due[0][0] if self._due else None
                await self.wait_until(moment, for_input=end is None and room > 0)
        finally:
            forget()

    def _queue(self, mark: Passing) -> None:
        last = self._marks[-1][0] if self._marks and self._epoch not in self._open else None
        if type(mark) is Watermark and type(last) is Watermark:
            self._marks[-1] = (mark, self._epoch - 1)  # nothing waits between them: the later one says it all
        else:
            self._marks.append((mark, self._epoch))
            self._epoch += 1

    def _most(self) -> int:
        """At most one burst is taken from the channel at once; with keys, each has a burst of its own."""
        return self.op.waiting if self.op.key is not None else max(1, int(self.op.limit.burst))

    def _sort(self, chunk: Chunk) -> None:
        """Which events may go on, and which have to wait."""
        now = anyio.current_time()
        limit, key_of, cost_of = self.op.limit, self.op.key, self.op.cost
        for value, meta in self.rows.of(chunk):
            try:
                key = key_of(value) if key_of is not None else None
                cost = cost_of(value) if cost_of is not None else 1.0
                queue = self._queues.get(key)
                wait = limit.wait(key, cost, now) if queue is None else 0.0
            except Exception as error:
                if self._give_up(value, self.rows.origin(meta), error) is SKIP:
                    continue
                raise
            if queue is None:
                if wait <= 0:
                    self._let_go(value, meta)
                    continue
                queue = self._queues[key] = deque()
                self._count_due(now + wait, key)
            self._number += 1
            queue.append(_Waiting(value, meta, cost, self._epoch, self._number))
            self._open[self._epoch] = self._open.get(self._epoch, 0) + 1
            self._count += 1
            watermark = self.rows.watermark(meta) if self._overtakes else None
            if watermark is not None:
                self._watermarks[self._number] = watermark

    def _count_due(self, moment: float, key: Any) -> None:
        self._number += 1
        heapq.heappush(self._due, (moment, self._number, key))

    def _let_go(self, value: Any, meta: Meta) -> None:
        if self._watermarks:  # it overtakes those: they must not be late behind it
            (meta,) = self.rows.not_above((meta,), next(iter(self._watermarks.values())))
        self._out.append(value)
        self._out_metas.append(meta)

    def _release_due(self) -> None:
        now = anyio.current_time()
        while self._due and reached(self._due[0][0], now):
            _, _, key = heapq.heappop(self._due)
            queue = self._queues[key]
            while queue:
                first = queue[0]
                wait = self.op.limit.wait(key, first.cost, now)
                if wait > 0:
                    self._count_due(now + wait, key)
                    break
                queue.popleft()
                self._count -= 1
                self._open[first.epoch] -= 1
                self._watermarks.pop(first.number, None)
                self._let_go(first.value, first.meta)
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
        metas, self._out_metas = self._out_metas, []
        return await self.give(out, metas)

    async def _pass_marks(self) -> None:
        while self._marks:
            mark, epoch = self._marks[0]
            if any(count for before, count in self._open.items() if before <= epoch):
                return
            for before in [before for before in self._open if before <= epoch]:
                del self._open[before]
            self._marks.popleft()
            await self.pass_on(mark)

    def held_back(self) -> tuple[Any, Any]:
        # In the order in which they came. The tokens aren't saved: after a restart the buckets are full.
        waiting = sorted((each for queue in self._queues.values() for each in queue), key=_number)
        return None, [(each.value, each.meta) for each in waiting]

    def take_back(self, own: Any, held: Any) -> None:
        if held:
            self._again = self.rows.chunk([value for value, _ in held], [meta for _, meta in held])

    @property
    def in_flight(self) -> int:
        return super().in_flight + self._count + len(self._out)


class TimedBatchStage(ClockedStage):
    """Gives a list on when it is full, or ``max_wait`` seconds after its first event."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, TimedBatch)
        self.op = op
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._held: list[Any] = []
        self._metas: list[Meta] = []
        self._weight = 0.0
        self._moment = 0.0
        self._marks: list[Passing] = []
        self._full: list[list[Any]] = []
        self._full_metas: list[Meta] = []

    async def serve(self) -> None:
        while True:
            if self._held and reached(self._moment, anyio.current_time()):
                self._cut()
            if self.finished or (self._full and not await self._give()):
                return await self.leave()
            if self.letters:
                await self.write_letters()
            item = self.take(self.limit)
            if item is None:
                await self.wait_until(self._moment if self._held else None, for_input=True)
            elif type(item) is Chunk:
                self._add(item)
                await self.breathe()
            elif type(item) is End:
                return await self._last(item)
            elif self._held and isinstance(item, Barrier | Watermark):
                queue(self._marks, item)
            elif isinstance(item, Barrier | Watermark):
                await self.pass_on(item)

    def _add(self, chunk: Chunk) -> None:
        size, most, weigh = self.op.max_size, self.op.max_weight, self.op.weight
        for value, meta in self.rows.of(chunk):
            weight = 0.0
            if weigh is not None and most is not None:
                try:
                    weight = weigh(value)
                except Exception as error:
                    weight = self._give_up(value, self.rows.origin(meta), error)
                    if weight is SKIP:
                        continue
                if self._held and self._weight + weight > most:
                    self._cut()
            if not self._held:
                self._moment = anyio.current_time() + self.op.max_wait
            self._held.append(value)
            self._metas.append(meta)
            self._weight += weight
            if (size is not None and len(self._held) >= size) or (most is not None and self._weight >= most):
                self._cut()

    def _cut(self) -> None:
        self._full.append(self._held)
        self._full_metas.append(self.rows.together(self._metas))
        self._held, self._metas, self._weight = [], [], 0.0

    async def _give(self) -> bool:
        full, self._full = self._full, []
        metas, self._full_metas = self._full_metas, []
        going = await self.give(full, metas)
        # What stood before these marks was held, and is in these lists.
        marks, self._marks = self._marks, []
        for mark in marks:
            await self.pass_on(mark)
        return going

    async def _last(self, end: End) -> None:
        if self._held and end.flush:
            self._cut()
            if not await self._give():
                return await self.leave()
        elif self._held:
            return await self.drop(end, self._metas)
        await self.end(end)

    def held_back(self) -> tuple[Any, Any]:
        if not self._held:
            return None, None
        return None, (list(self._held), list(self._metas), self._weight, self.from_now(self._moment))

    def take_back(self, own: Any, held: Any) -> None:
        if held is not None:
            self._held, self._metas, self._weight, moment = held
            self._moment = self.on_loop(moment)

    @property
    def in_flight(self) -> int:
        return super().in_flight + len(self._held) + sum(len(values) for values in self._full)


def _number(waiting: _Waiting) -> int:
    return waiting.number
