"""The stage of conflate: what waits while the next stage is busy becomes one event."""

from __future__ import annotations

from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from reactor.core import ArgumentError
from reactor.engine.clocked import ClockedStage, Passing, queue, row
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.rows import Meta
from reactor.graph import name_of
from reactor.operators import NOTHING, SKIP, Abort, Conflate

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


_ORIGINS = 1024
"""Of so many events an event that they have become knows where they came from: the first, and the last ones."""


class ConflateStage(ClockedStage):
    """Emits when the next stage has taken what it was given; what comes meanwhile becomes one event."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Conflate)
        self.op = op
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._kept: Any = NOTHING
        self._first: Meta = ()
        self._metas: deque[Meta] = deque(maxlen=_ORIGINS - 1)
        self._marks: list[Passing] = []

    async def serve(self) -> None:
        while True:
            if self._kept is not NOTHING and self._wanted():
                await self._let_out()
            if self.finished:
                return await self.leave()
            if self.letters:
                await self.write_letters()
            item = self.take(self.limit)
            if item is None:
                await self._wait()
            elif type(item) is Chunk:
                await self._add(item)
                await self.breathe()
            elif type(item) is End:
                if self._kept is not NOTHING:
                    await self._let_out()
                return await (self.leave() if self.finished else self.end(item))
            elif isinstance(item, Barrier | Watermark):
                if self._kept is NOTHING:
                    await self.pass_on(item)
                else:
                    queue(self._marks, item)

    def _wanted(self) -> bool:
        channels = (channel for outlet in self.outlets for channel in outlet.channels)
        return all(channel.left or not channel.size for channel in channels)

    async def _wait(self) -> None:
        """Sleep until there is something to add, or it can be given on."""
        if self._kept is NOTHING:
            return await self.wait_until(None, for_input=True)
        channels = [channel for outlet in self.outlets for channel in outlet.channels]
        for channel in channels:
            channel.writer = self.parker
        try:
            await self.wait_until(None, for_input=True)
        finally:
            for channel in channels:
                channel.writer = None

    async def _add(self, chunk: Chunk) -> None:
        if self.op.fn is None:
            count = len(chunk.values)
            replaced = self._kept is not NOTHING
            self._kept, self._first = row(chunk, -1)
            self._count(count - 1 + replaced)
            if replaced:
                await self._pass_marks()
            return
        for value, meta in self.rows.of(chunk):
            if self._kept is NOTHING:
                self._kept, self._first = value, meta
                continue
            try:
                kept = self.op.fn(self._kept, value)
            except Exception as error:
                kept = self._give_up(value, self.rows.origin(meta), error)
                if kept is SKIP:
                    continue
            if type(kept) is CoroutineType:
                kept.close()
                wrong = ArgumentError(
                    f"conflate({name_of(self.op.fn)}): a sync function returned an awaitable; it has to be sync"
                )
                raise Abort(len(self.nodes), value, wrong)
            self._kept = kept
            if meta:
                self._metas.append(meta)
            self._count(1)

    def _count(self, number: int) -> None:
        if number:
            self.counts[f"{self.label}: conflated"] += number

    async def _let_out(self) -> None:
        kept, self._kept = self._kept, NOTHING
        meta = self.rows.together([self._first, *self._metas]) if self._metas else self._first
        self._metas.clear()
        await self.give((kept,), (meta,))
        await self._pass_marks()

    async def _pass_marks(self) -> None:
        marks, self._marks = self._marks, []
        for mark in marks:
            await self.pass_on(mark)

    def held_back(self) -> tuple[Any, Any]:
        return None, (self._kept, self._first, list(self._metas)) if self._kept is not NOTHING else None

    def take_back(self, own: Any, held: Any) -> None:
        if held is not None:
            self._kept, self._first, metas = held
            self._metas.extend(metas)

    @property
    def in_flight(self) -> int:
        return super().in_flight + (self._kept is not NOTHING)
