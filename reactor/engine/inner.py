"""The stage that reads streams within a stream: what a function returns for each event, several at a time.

Each inner one is read by a worker, in one task from its opening to its closing. A worker asks for the next item
when the one before has gone on; only one whose turn it isn't (in order, concurrently) reads a little ahead.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import ArgumentError
from reactor.engine.channel import Parker
from reactor.engine.elements import Barrier, Chunk, End, Mark, Watermark
from reactor.engine.failures import stray
from reactor.engine.limits import held
from reactor.engine.rows import Meta, Rows
from reactor.engine.stage import Stage
from reactor.operators import SKIP, Abort, Inner
from reactor.windows import END_OF_TIME

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan

AHEAD = 16
"""So many items an inner stream gives before its turn has come; an iterable is read in pieces of so many."""


class _Reading:
    """One event, and the items of its inner stream that have still to go on."""

    __slots__ = ("done", "meta", "out", "over", "parker", "scope", "seq", "started", "value", "whole")

    def __init__(self, seq: int, value: Any, meta: Meta) -> None:
        self.seq = seq
        self.value = value
        self.meta = meta
        self.out: list[Any] = []
        self.started = False
        self.done = False
        self.whole = False
        """True when all of its items have been given at once."""
        self.over = False
        """True when the next event has come, and this one shall end."""
        self.scope: anyio.CancelScope | None = None
        self.parker: Parker | None = None
        """Where its worker sleeps."""

    def end(self) -> None:
        self.over = True
        if self.scope is not None:
            self.scope.cancel()


class _Worker:
    __slots__ = ("parker", "reading")

    def __init__(self, parker: Parker) -> None:
        self.parker = parker
        self.reading: _Reading | None = None


class InnerStage(Stage):
    """Emits the items of the inner streams of an Inner operator."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Inner)
        self.op = op
        self.label = run.graph.labels()[plan.head]
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self._rows = Rows(plan.given)
        self._ahead = min(AHEAD, run.graph.capacity)
        self._open: deque[_Reading] = deque()
        """In the order of their events. With ``switch``: the present one, and the one that ends it."""
        self._most = 2 if op.switch else op.concurrency
        self._given: list[_Reading] = []
        self._seq = 0
        self._marks: deque[tuple[Mark, int]] = deque()
        """Marks that wait, with the number of the event behind them."""
        self._idle: list[_Worker] = []
        self._failure: Abort | None = None
        self._waits = False
        self._drains = False
        self._again: Chunk | None = None
        """With ``switch``: what was being read when the state was saved that the run began with."""

    # The stage's own task -----------------------------------------------------------------------------------

    async def work(self) -> None:
        end = End()
        async with anyio.create_task_group() as self._group:
            end = await self._serve()
            self._group.cancel_scope.cancel()
        await self.end(end)

    async def _serve(self) -> End:
        (channel,) = self.inputs
        end: End | None = None
        if self._again is not None:
            again, self._again = self._again, None
            self._take(again)
        while True:
            values, metas = self._collect()
            acted = bool(values or self.letters)  # then others have run, and may have acted, too
            if self.letters:
                await self.write_letters()
            if self.finished or (values and not await self._give_on(values, metas)):
                channel.leave()
                return End()
            acted = self._pass_marks() or acted
            if self._failure is not None:
                raise self.failed(self._failure, self.label)
            if end is None and self._reads():
                item = channel.take_now(self._most - len(self._open))
                acted = acted or item is not None
                if type(item) is Chunk:
                    self._take(item)
                elif type(item) is End:
                    end = item
                elif self.saves and self.op.switch and type(item) is Barrier:
                    self.mark(item)  # an inner stream may be endless: its event is saved, and read again
                elif isinstance(item, Barrier | Watermark):
                    self._marks.append((item, self._seq))
            if end is not None and self.op.switch and self.run.state == "draining" and not self._drains:
                self._drains = True
                end = self._cut(end)
            if self._open and not self._open[0].started:
                self._start(self._open[0])
            if end is not None and not self._open and not acted:
                return end
            if not acted:
                await self._rest(for_input=end is None and self._reads())

    def _reads(self) -> bool:
        """True while there is room; nothing may overtake a barrier behind which it would be read again."""
        if len(self._open) >= self._most:
            return False
        return self.op.in_order or not self.saves or all(type(mark) is not Barrier for mark, _ in self._marks)

    async def _rest(self, *, for_input: bool) -> None:
        (channel,) = self.inputs
        if for_input:
            channel.reader = self.parker
        self._waits = True
        try:
            # What an inner one waits for may be anything.
            await self.wait("" if self._open else f"events from {channel.source}")
        finally:
            self._waits = False
            channel.reader = None

    def drain(self) -> None:
        """Sources stop; so does an inner stream that only the next event would end."""
        self._wake()

    def _take(self, chunk: Chunk) -> None:
        self.events_in += len(chunk.values)
        for value, meta in self._rows.of(chunk):
            reading = _Reading(self._seq, value, meta)
            self._seq += 1
            if self.op.switch:
                for before in self._open:
                    before.end()
            self._open.append(reading)
            if not self.op.switch:
                self._start(reading)

    def _start(self, reading: _Reading) -> None:
        reading.started = True
        if self._idle:
            worker = self._idle.pop()
            worker.reading = reading
            reading.parker = worker.parker
            worker.parker.wake()
        else:
            worker = _Worker(Parker(self.run.census))
            worker.reading = reading
            reading.parker = worker.parker
            self._group.start_soon(self._work, worker, name=f"{self.name}, reading")

    def _collect(self) -> tuple[list[Any], Sequence[Meta]]:
        """Take what the inner streams have given, and let go of those that are done."""
        values: list[Any] = []
        metas: list[Meta] = []
        self._given.clear()
        if self.op.in_order:
            while self._open:
                self._take_from(self._open[0], values, metas)
                if not self._open[0].done:
                    break
                self._open.popleft()
                if self._due():
                    break  # the mark comes between the items of this one and those of the next
            return values, metas
        for reading in self._open:
            self._take_from(reading, values, metas)
        self._open = deque(reading for reading in self._open if not reading.done)
        # Items may have overtaken others: those to come must not be behind a watermark of these.
        times = (self._rows.watermark(reading.meta) for reading in self._open)
        lowest = min((time for time in times if time is not None), default=END_OF_TIME)
        return values, self._rows.not_above(metas, lowest)

    def _take_from(self, reading: _Reading, values: list[Any], metas: list[Meta]) -> None:
        if reading.out:
            values += reading.out
            metas += [reading.meta] * len(reading.out)
            reading.out = []
        self._given.append(reading)

    async def _give_on(self, values: list[Any], metas: Sequence[Meta]) -> bool:
        given, self._given = self._given, []
        self.events_in -= len(values)  # emit counts what goes into the chain; events in are those read
        if not await self.emit(self._rows.chunk(values, metas)):
            return False
        for reading in given:
            if reading.parker is not None and not reading.done:
                reading.parker.wake()
        return True

    def _due(self) -> bool:
        """True when all that came before the next mark has gone on."""
        return bool(self._marks) and (not self._open or self._open[0].seq >= self._marks[0][1])

    def _pass_marks(self) -> bool:
        passed = False
        while self._due():
            mark, _ = self._marks.popleft()
            assert isinstance(mark, Barrier | Watermark)
            self.mark(mark)
            passed = True
        return passed

    def _cut(self, end: End) -> End:
        """A drain ends the present inner stream, as the next event would."""
        going = [reading for reading in self._open if not reading.done]
        for reading in going:
            reading.end()
        if end.flush or not going:
            return end
        # Its event will be read again: no barrier behind that may pass.
        self._marks.clear()
        origins = [self._rows.origin(reading.meta) for reading in going]
        return End(False, dict(end.limits or {}) | held(origins, self.sources, self.run.gave))

    def held_back(self) -> tuple[Any, Any] | None:
        if not self.op.switch:
            return None  # a barrier waits until all that came before it has been read
        going = [each for each in self._open if not each.done and (each.out or not each.whole)]
        return None, [(each.value, each.meta) for each in going]

    def take_back(self, own: Any, held: Any) -> None:
        if held:
            self._again = self._rows.chunk([value for value, _ in held], [meta for _, meta in held])

    @property
    def in_flight(self) -> int:
        return super().in_flight + len(self._open)

    # The workers --------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._waits:
            self._waits = False
            self.parker.wake()

    async def _work(self, worker: _Worker) -> None:
        while True:
            reading = worker.reading
            if reading is None:
                self._idle.append(worker)
                await worker.parker.park()
                continue
            try:
                await self._read(reading)
            except Abort as abort:
                if self._failure is None:
                    self._failure = abort
                return self._wake()
            reading.done = True
            reading.parker = worker.reading = None
            self._wake()

    async def _read(self, reading: _Reading) -> None:
        """Call the function and read what it returns; a failure is the policy's matter."""
        try:
            return await self._follow(reading, self._called(reading))
        except Exception as error:
            failure = error
        except anyio.get_cancelled_exc_class() as error:
            failure = stray(error)
        instead = self._give_up(reading.value, self._rows.origin(reading.meta), failure)
        if instead is SKIP:
            return
        try:
            await self._follow(reading, instead)
        except Exception as second:
            second.__context__ = failure
            raise Abort(len(self.nodes), reading.value, second) from None

    def _called(self, reading: _Reading) -> Any:
        result = self.op.fn(reading.value)
        if not self.op.switch and not _is_async(result):
            error = ArgumentError(
                f"{self.label}: the function returned a {type(result).__name__}, which can't be awaited; drop "
                "concurrency=, or pass threads= or processes= for a sync function"
            )
            raise Abort(len(self.nodes), reading.value, error)
        return result

    async def _follow(self, reading: _Reading, result: Any) -> None:
        """Give all items, and close what was opened."""
        if isinstance(result, Collection):
            return await self._give_all(reading, result)
        if not self.op.switch:
            return await self._read_items(reading, result)
        if reading.over or self.inputs[0].size:
            await _closed(result)  # it would be ended before it begins
            return self._cut_short(reading)
        try:
            with anyio.CancelScope() as scope:
                reading.scope = scope
                await self._read_items(reading, result)
        finally:
            reading.scope = None
        if scope.cancelled_caught:
            self._cut_short(reading)

    async def _give_all(self, reading: _Reading, items: Collection[Any]) -> None:
        """They are there already: not even the next event cuts them short."""
        if isinstance(items, str | bytes):
            kind = type(items).__name__
            raise TypeError(
                f"{self.op.verb_name}: the function returned a {kind}; wrap it in a list to emit it whole"
            )
        reading.scope = None
        reading.whole = True
        reading.out.extend(items)
        await self._given_on(reading)

    def _cut_short(self, reading: _Reading) -> None:
        if self._drains and reading.seq == self._seq - 1:
            self.counts[f"{self.label}: ended by the drain"] += 1

    async def _read_items(self, reading: _Reading, result: Any) -> None:
        if inspect.isawaitable(result):
            result = await result
            if isinstance(result, Collection):
                return await self._give_all(reading, result)
        result = self.op.opened(result)
        if isinstance(result, AbstractAsyncContextManager):
            async with result as items:
                await self._read_async(reading, items, closes=items is not result)
        elif isinstance(result, AsyncIterable):
            await self._read_async(reading, result, closes=True)
        else:
            await self._read_sync(reading, result)

    async def _read_async(self, reading: _Reading, items: AsyncIterable[Any], *, closes: bool) -> None:
        iterator = aiter(items)
        try:
            async for item in iterator:
                reading.out.append(item)
                await self._given_on(reading)
        finally:
            if closes:
                await _closed(iterator)

    async def _read_sync(self, reading: _Reading, items: Iterable[Any]) -> None:
        iterator = iter(items)
        try:
            while True:
                failure: Exception | None = None
                before = len(reading.out)
                try:
                    reading.out.extend(islice(iterator, self._ahead))
                except Exception as error:
                    failure = error  # what came before it has been added
                came = len(reading.out) - before
                await self._given_on(reading)
                if failure is not None:
                    raise failure
                if came < self._ahead:
                    return
        finally:
            await _closed(iterator)

    async def _given_on(self, reading: _Reading) -> None:
        """Sleep until the items have gone on; before its turn, only when enough of them wait."""
        while reading.out:
            first = not self.op.in_order or reading is self._open[0]
            if first:
                self._wake()
            elif len(reading.out) < self._ahead:
                return
            assert reading.parker is not None
            await reading.parker.park()


def _is_async(result: Any) -> bool:
    return inspect.isawaitable(result) or isinstance(result, AsyncIterable | AbstractAsyncContextManager)


async def _closed(thing: Any) -> None:
    """Close a generator, a coroutine, or another iterator that can be closed; nothing interrupts it."""
    close = getattr(thing, "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await close()
    elif inspect.isgenerator(thing) or inspect.iscoroutine(thing):
        thing.close()
