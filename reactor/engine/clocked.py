"""What stages share that read one channel and look at the clock."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import clock
from reactor.engine.elements import Barrier, Chunk, Element, End, Watermark
from reactor.engine.limits import held
from reactor.engine.rows import Meta, Rows
from reactor.engine.stage import Stage
from reactor.operators import Abort

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan

_EARLY = 1e-9
"""A loop may wake a sleeper so many seconds before its time."""

Row = tuple[Any, Meta]
Passing = Barrier | Watermark
"""The marks between events; an End isn't passed on but made anew."""


def reached(moment: float, now: float) -> bool:
    """True when it is ``moment``, as far as the loop's clock can tell."""
    return moment <= now + _EARLY


def row(chunk: Chunk, at: int) -> Row:
    """One row of a chunk."""
    return chunk.values[at], tuple(column[at] for column in chunk.columns)


def queue(line: MutableSequence[Any], mark: Passing) -> None:
    """Add a mark behind what waits; of watermarks that follow each other the last one says it all."""
    if type(mark) is Watermark and line and type(line[-1]) is Watermark:
        line.pop()
    line.append(mark)


class ClockedStage(Stage):
    """Waits for its channel, but not longer than until a moment."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self.label = run.graph.labels()[plan.head]
        self.rows = Rows(plan.given)

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

    def take(self, limit: int) -> Element | None:
        """Return what its channel has now; where what is held is saved, a barrier goes on at once."""
        item = self.inputs[0].take_now(limit)
        while self.saves and type(item) is Barrier:
            self.mark(item)
            item = self.inputs[0].take_now(limit)
        if type(item) is Chunk:
            self.events_in += len(item.values)
        return item

    def from_now(self, moment: float) -> int:
        """A moment of the loop's clock as time of day, which means something in another process, too."""
        return clock.now() + round((moment - anyio.current_time()) * 1_000_000)

    def on_loop(self, time: int) -> float:
        """The moment of the loop's clock for a time of day."""
        return anyio.current_time() + (time - clock.now()) / 1_000_000

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

    async def give(self, values: Sequence[Any], metas: Sequence[Meta]) -> bool:
        """Emit rows that ``take`` has counted; False when no more are wanted."""
        self.events_in -= len(values)
        return await self.emit(self.rows.chunk(values, metas))

    async def pass_on(self, mark: Passing) -> None:
        """Send a mark on: nothing that came before it is held any more."""
        if type(mark) is Watermark:
            await self.advance(mark)
        else:
            self.mark(mark)

    async def leave(self) -> None:
        """No more is wanted."""
        self.inputs[0].leave()
        await self.end(End())

    async def drop(self, end: End, metas: Sequence[Meta]) -> None:
        """End at a drain without these rows: they will be read again."""
        origins = [self.rows.origin(meta) for meta in metas]
        dropped = held(origins, self.sources, self.run.gave)
        await self.end(End(False, dict(end.limits or {}) | dropped))
