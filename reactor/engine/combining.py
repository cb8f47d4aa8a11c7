"""Stages that combine their inputs event by event: interleave, combine_latest, with_latest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from reactor.engine.channel import Channel
from reactor.engine.elements import Barrier, Chunk, Element, End, Watermark, joined
from reactor.engine.joining import JoiningStage
from reactor.engine.limits import Limits, combined
from reactor.engine.rows import Meta, Rows

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class CombiningStage(JoiningStage):
    """What they share."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self.rows = Rows(plan.given)

    async def enough(self) -> None:
        """Those behind want no more."""
        self.leave()
        await self.end(End())

    def noted_mark(self, channel: Channel, item: Element) -> None:
        """A mark or the end of an input has come: all that came before it has gone on, or is remembered."""
        if isinstance(item, Barrier | Watermark):
            self.marked(channel, item)
        else:
            assert isinstance(item, End)
            self.ended(channel, item)


class InterleaveStage(CombiningStage):
    """Takes one event of each input in turn.

    An input is read on only when all that was read of it has gone on: what stands before a mark is out then.
    """

    def connect(self) -> None:
        super().connect()
        self._held: dict[Channel, deque[tuple[Any, Meta]]] = {channel: deque() for channel in self.inputs}
        self._turn = 0
        """The input whose turn it is."""

    async def work(self) -> None:
        going = deque(self.inputs)
        going.rotate(-self._turn)
        while going:
            if self.finished:
                return await self.enough()
            chunk = self._next_chunk(going)
            if chunk is not None:
                self.events_in -= len(chunk.values)  # they were counted when they were read
                if not await self.emit(chunk):
                    return await self.enough()
                await self.breathe()
            elif not self._fill(going):
                # The one whose turn it is comes first: it is what a deadlock would be about.
                await self.wait_for([channel for channel in going if not self._held[channel]])
        await self.end(self.last())

    def _fill(self, going: deque[Channel]) -> bool:
        """Read on where nothing is held; False when nothing has come."""
        came = False
        for channel in tuple(going):
            while not self._held[channel] and (item := self.read(channel, self.limit)) is not None:
                came = True
                if type(item) is Chunk:
                    self.events_in += len(item.values)
                    self._held[channel].extend(self.rows.of(item))
                    continue
                if type(item) is End:
                    going.remove(channel)
                self.noted_mark(channel, item)
                if type(item) is End:
                    break
        return came

    def _next_chunk(self, going: deque[Channel]) -> Chunk | None:
        rows: list[tuple[Channel, tuple[Any, Meta]]] = []
        while len(rows) < self.limit and (held := self._held[going[0]]):
            rows.append((going[0], held.popleft()))
            going.rotate(-1)
        self._turn = self.inputs.index(going[0])
        if not rows:
            return None
        if "watermark" not in self.plan.given:
            return self.rows.chunk([value for _, (value, _) in rows], [meta for _, (_, meta) in rows])
        return joined([self.joint(channel, self.rows.chunk([v], [meta])) for channel, (v, meta) in rows])

    def own(self) -> Any:
        return self._turn

    def kept(self) -> Any:
        return [list(self._held[c]) for c in self.inputs] if any(self._held.values()) else None

    def resume(self, own: Any, kept: Any) -> None:
        self._turn = own
        for channel, rows in zip(self.inputs, kept or (), strict=False):
            self._held[channel].extend(rows)

    @property
    def in_flight(self) -> int:
        return super().in_flight + sum(map(len, self._held.values()))


class LatestStage(CombiningStage):
    """Remembers the latest event of its inputs."""

    def connect(self) -> None:
        super().connect()
        self._latest: dict[Channel, tuple[Any, Meta]] = {}

    def kept(self) -> Any:
        return [self._latest.get(channel) for channel in self.inputs] if self._latest else None

    def resume(self, own: Any, kept: Any) -> None:
        for channel, row in zip(self.inputs, kept or (), strict=False):
            if row is not None:
                self._latest[channel] = row

    def remember(self, channel: Channel, chunk: Chunk) -> None:
        """The last event of the chunk is the latest of this input."""
        (row,) = self.rows.of(chunk.part(len(chunk.values) - 1, len(chunk.values)))
        self._latest[channel] = row

    def tuples(self, channel: Channel, chunk: Chunk) -> Chunk:
        """Return a tuple for each event of this input, with the latest of the others."""
        at = self.inputs.index(channel)
        others = [self._latest.get(each, (None, ())) for each in self.inputs]
        before, after = [v for v, _ in others[:at]], [v for v, _ in others[at + 1 :]]
        values = [(*before, value, *after) for value in chunk.values]
        if not self.rows.width:
            return Chunk(values)
        first, rest = [m for _, m in others[:at]], [m for _, m in others[at + 1 :]]
        metas = [self.rows.together([*first, meta, *rest]) for _, meta in self.rows.of(chunk)]
        return self.rows.chunk(values, metas)

    async def without(self, channel: Channel) -> None:
        """This input has ended without an event: there will never be a tuple."""
        self.leave()
        end = self._ends[channel]
        await self.end(End(end.flush, self.limits_of(self.inputs)))

    def limits_of(self, channels: Iterable[Channel], but: frozenset[int] = frozenset()) -> Limits:
        """Limits of these inputs, ended or not; the sources ``but`` are somebody else's matter."""
        stages = {
            channel: stage.sources for channel, stage in zip(self.inputs, self.run.before(self), strict=True)
        }
        reached: list[frozenset[int]] = []
        limits: list[Limits | None] = []
        for channel in channels:
            reached.append(stages[channel] - but)
            end = self._ends.get(channel)
            # What of it has been read is remembered, but nobody knows how far that is.
            limits.append(end.limits if end is not None else dict.fromkeys(stages[channel], None))
        return combined(limits, reached)


class CombineLatestStage(LatestStage):
    """Gives a tuple for each event of any input, once each has had one.

    Until then those that have had one wait: so every event is in a tuple, however the inputs hurry.
    """

    async def work(self) -> None:
        going = deque(self.inputs)
        while going:
            if self.finished:
                return await self.enough()
            lacking = [channel for channel in self.inputs if channel not in self._latest]
            ended = next((channel for channel in lacking if channel in self._ends), None)
            if ended is not None:
                return await self.without(ended)
            reading = [channel for channel in going if not lacking or channel in lacking]
            for channel in reading:
                item = self.read(channel, 1 if lacking else self.limit)
                if item is None:
                    continue
                going.remove(channel)
                if type(item) is not End:
                    going.append(channel)  # the others come first now
                if type(item) is not Chunk:
                    self.noted_mark(channel, item)
                elif not await self._add(channel, item, lacking):
                    return await self.enough()
                break
            else:
                await self.wait_for(reading)
        await self.end(self.last())

    async def _add(self, channel: Channel, chunk: Chunk, lacking: Sequence[Channel]) -> bool:
        if any(each is not channel for each in lacking):
            self.events_in += len(chunk.values)
            self.remember(channel, chunk)
            return True
        going = await self.emit(self.tuples(channel, chunk))
        self.remember(channel, chunk)
        await self.breathe()
        return going


class WithLatestStage(LatestStage):
    """Gives a tuple for each event of the first input, which waits until each of the others has had one."""

    async def work(self) -> None:
        first, *others = self.inputs
        while True:
            if self.finished:
                return await self.enough()
            came = False
            for channel in others:
                # Before each chunk of the first one, what the others have by then.
                item = self.read(channel, self.limit) if channel not in self._ends else None
                if type(item) is Chunk:
                    self.events_in += len(item.values)
                    self.remember(channel, item)
                elif item is not None:
                    self.noted_mark(channel, item)
                came = came or item is not None
            lacking = [channel for channel in others if channel not in self._latest]
            ended = next((channel for channel in lacking if channel in self._ends), None)
            if ended is not None:
                return await self.without(ended)
            item = self.read(first, self.limit) if not lacking else None
            if type(item) is Chunk:
                if not await self.emit(self.tuples(first, item)):
                    return await self.enough()
                await self.breathe()
            elif type(item) is End:
                return await self._over(first, item, others)
            elif item is not None:
                self.noted_mark(first, item)
            elif not came:
                going = [channel for channel in others if channel not in self._ends]
                await self.wait_for(
                    [*lacking, *(c for c in going if c not in lacking)] if lacking else [first, *going]
                )

    async def _over(self, first: Channel, end: End, others: Sequence[Channel]) -> None:
        """The first input has ended: no more of the others is wanted."""
        self.ended(first, end)
        mine = self.run.before(self)[0].sources
        limits = {**self.limits_of([first]), **self.limits_of(others, but=mine)}
        self.leave()
        await self.end(End(end.flush, limits))
