"""Stages with several inputs: merge, concat, zip."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio

from reactor.engine.channel import Channel
from reactor.engine.elements import Barrier, Chunk, Element, End, Tick, Watermark
from reactor.engine.limits import Limit, combined
from reactor.engine.reading import SourceStage
from reactor.engine.stage import Stage
from reactor.windows import BEGINNING, END_OF_TIME


class JoiningStage(Stage):
    """What they share: a barrier goes on when every input that is still open has brought it.

    With checkpoints an input that has brought it is held back until then (aligned). Without, a barrier may wait
    behind a batch that isn't full, and the input that would be held back may be what fills it.
    """

    def connect(self) -> None:
        given = self.plan.given
        self._watermark = given.index("watermark") if "watermark" in given else None
        self._ends: dict[Channel, End] = {}
        self._barriers: dict[Channel, int] = dict.fromkeys(self.inputs, 0)
        self._times: dict[Channel, int] = {}
        self._idlers: set[Channel] = set()
        self._sent_barrier = 0
        self._sent_time = BEGINNING
        self._held_back: set[Channel] = set()
        """Inputs that have brought a barrier which others haven't yet."""
        self._ahead: dict[Channel, deque[Chunk | Watermark | End]] = {
            channel: deque() for channel in self.inputs
        }
        """What others have had to be read for, to come to their barrier, before it was wanted."""
        self._over_ahead: set[Channel] = set()
        self.unsent: Watermark | None = None
        """A watermark that has still to go through the loop."""

    def marked(self, channel: Channel, mark: Barrier | Watermark) -> None:
        """An input has brought a mark."""
        if type(mark) is Barrier:
            self._barriers[channel] = mark.number
            if mark.last:
                self._last = mark.number
            # concat passes a barrier in the place of an input that hadn't begun: it may still bring that one.
            if self.saves and mark.number > self._sent_barrier:
                self._held_back.add(channel)
        else:
            assert isinstance(mark, Watermark)
            self._times[channel] = mark.time
            if mark.idle:
                self._idlers.add(channel)
            else:
                self._idlers.discard(channel)
        self.align()

    def align(self) -> None:
        """Send on what all open inputs have brought."""
        going = [channel for channel in self.inputs if channel not in self._ends]
        if not going:
            return
        speak = [channel for channel in going if channel not in self._over_ahead]
        number = min((self._barriers[channel] for channel in speak), default=self._sent_barrier)
        if number > self._sent_barrier and (self.saves or self.may_pass(number)):
            self._sent_barrier = number
            # A drain doesn't wait for the barrier before its own: one input may have left that out.
            self._held_back = {channel for channel in self._held_back if self._barriers[channel] > number}
            self._saved_all = number == self._last
            self.mark(Barrier(number, self._saved_all))
        time = self._lowest(going)
        if time > self._sent_time:
            self._sent_time = time
            # All idle: those behind it needn't wait for it either.
            mark = Watermark(time, idle=all(channel in self._idlers for channel in going))
            if self._timed:
                self.unsent = mark
            else:
                self.mark(mark)

    _last = 0
    """The number of a drain's last barrier, once an input has brought it."""
    _saved_all = False
    """True behind the last barrier of a drain: what is still here is saved, and must not go on."""

    async def emit(self, chunk: Chunk | Watermark | Tick) -> bool:
        return not self.finished if self._saved_all else await super().emit(chunk)

    def read(self, channel: Channel, limit: int) -> Element | None:
        """Return what the input has now; nothing while it is held back."""
        ahead = self._ahead[channel]
        if ahead:
            first = ahead[0]
            if type(first) is Chunk and len(first) > limit:
                ahead[0] = first.part(limit, len(first))
                first = first.part(0, limit)
            else:
                if type(first) is End:
                    self._over_ahead.discard(channel)
                ahead.popleft()
            if type(first) is Chunk:
                was, self._read = self.crowded, self._read - len(first)
                if was and not self.crowded:
                    self.run.coordinator.stir()
            return first
        if channel in self._held_back:
            return None
        return channel.take_now(limit)

    def _read_ahead(self) -> bool:
        """Read the inputs that are still to bring a barrier, and keep what comes before it. True when one has."""
        for channel in self.inputs:
            if channel in self._held_back or channel in self._ends or channel in self._over_ahead:
                continue
            while (item := channel.take_now(self.limit)) is not None:
                if type(item) is Barrier:
                    self.marked(channel, item)
                    return True
                assert not isinstance(item, Barrier)
                self._ahead[channel].append(item)
                if type(item) is Chunk:
                    self._read += len(item)
                if type(item) is End:
                    self._over_ahead.add(channel)
                    self.align()
                    if not self._held_back:
                        return True
                    break  # the others may have their barriers here already: nobody would wake it for these
        return False

    def held_back(self) -> tuple[Any, Any]:
        times = {at: self._times[channel] for at, channel in enumerate(self.inputs) if channel in self._times}
        ahead = [
            [
                (list(item.values), [list(column) for column in item.columns])
                for item in self._ahead[channel]
                if type(item) is Chunk
            ]
            for channel in self.inputs
        ]
        kept = self.kept()
        held = (ahead, kept) if kept is not None or any(ahead) else None
        return (self._sent_time, times, self.own()), held

    def take_back(self, own: Any, held: Any) -> None:
        self._sent_time, times, mine = own
        for at, time in times.items():
            if at < len(self.inputs):
                self._times[self.inputs[at]] = time
        ahead: list[Any] = []
        kept: Any = None
        if held is not None:
            ahead, kept = held
        for at, chunks in enumerate(ahead):
            self._ahead[self.inputs[at]].extend(Chunk(values, tuple(columns)) for values, columns in chunks)
            self._read += sum(len(values) for values, _ in chunks)
        self.resume(mine, kept)

    _read = 0
    """How many events have been read ahead."""

    @property
    def crowded(self) -> bool:
        # Each barrier may make it read ahead all that stands before it: where one input is faster than another,
        # that would never be worked off.
        return self._read > self.run.graph.capacity

    @property
    def in_flight(self) -> int:
        return super().in_flight + self._read

    def own(self) -> Any:
        """Return what the stage remembers beside its times."""
        return None

    def kept(self) -> Any:
        """Return the events that the stage holds."""
        return None

    def resume(self, own: Any, kept: Any) -> None:
        """Take back what ``own`` and ``kept`` returned."""

    def _lowest(self, channels: Sequence[Channel]) -> int:
        """The lowest watermark of those that aren't idle; the highest of all where all are."""
        busy = [channel for channel in channels if channel not in self._idlers]
        if busy:
            return min(self._times.get(channel, BEGINNING) for channel in busy)
        return max((self._times.get(channel, BEGINNING) for channel in channels), default=BEGINNING)

    def joint(self, channel: Channel, chunk: Chunk) -> Chunk:
        """Return the chunk with watermarks that hold for all inputs together: rows of one may be behind."""
        if self._watermark is None:
            return chunk
        self._idlers.discard(channel)
        own = chunk.columns[self._watermark]
        self._times[channel] = max(own[-1], self._times.get(channel, BEGINNING))
        others = [
            c for c in self.inputs if c is not channel and c not in self._ends and c not in self._idlers
        ]
        most = self._lowest(others) if others else END_OF_TIME
        least = self._sent_time
        if own[0] >= most:
            joint: Sequence[int] = [max(most, least)] * len(own)
        elif own[-1] <= most and own[0] >= least:
            joint = own
        else:
            joint = [max(least, min(time, most)) for time in own]
        self._sent_time = max(least, joint[-1])
        columns = list(chunk.columns)
        columns[self._watermark] = joint
        return Chunk(chunk.values, tuple(columns))

    def may_pass(self, number: int) -> bool:
        """True when nothing that came before this barrier is held."""
        return True

    def ended(self, channel: Channel, end: End) -> None:
        """An input has brought its end."""
        self._ends[channel] = end
        self.align()

    def last(self) -> End:
        """The end of all inputs as one."""
        ends = [self._ends[channel] for channel in self.inputs]
        reached = [stage.sources for stage in self.run.before(self)]
        # Where a drain has saved what is held, that isn't flushed because one input had ended before.
        flush = all(end.flush for end in ends) if self.saves else any(end.flush for end in ends)
        return End(flush, combined([end.limits for end in ends], reached))

    def leave(self) -> None:
        """No more is wanted from any input."""
        for channel in self.inputs:
            channel.leave()

    async def wait_for(self, channels: Sequence[Channel]) -> None:
        """Wait until one of the channels has something."""
        if self._held_back:
            if self._read_ahead():
                return
            waiting = (c for c in self.inputs if c not in self._ends and c not in self._over_ahead)
            channels = [channel for channel in waiting if channel not in self._held_back]
        for channel in channels:
            channel.reader = self.parker
        try:
            await self.wait(f"events from {channels[0].source}")
        finally:
            for channel in channels:
                channel.reader = None


class MergeStage(JoiningStage):
    """Takes in turn from each input that has something."""

    async def work(self) -> None:
        going = deque(self.inputs)
        while going:
            missed = 0
            while going and missed < len(going):
                channel = going[0]
                item = self.read(channel, self.limit)
                if item is None:
                    missed += 1
                    going.rotate(-1)
                    continue
                missed = 0
                if type(item) is Chunk:
                    going.rotate(-1)
                    if not await self.emit(self.joint(channel, item)):
                        self.leave()
                        return await self.end(End())
                    await self.breathe()
                elif type(item) is End:
                    going.popleft()
                    self.ended(channel, item)
                else:
                    assert isinstance(item, Barrier | Watermark)
                    self.marked(channel, item)
                if self.unsent is not None:
                    mark, self.unsent = self.unsent, None
                    await self.emit(mark)
            if self.finished:
                self.leave()
                return await self.end(End())
            if going:
                await self.wait_for(tuple(going))
        await self.end(self.last())


class ConcatStage(JoiningStage):
    """Takes all of the first input, then all of the second, ..."""

    def connect(self) -> None:
        super().connect()
        self._gates: dict[Channel, tuple[anyio.Event, list[SourceStage]]] = {}
        for channel, stage in zip(self.inputs[1:], self.run.before(self)[1:], strict=True):
            gated = [
                source
                for source in self.run.upstream(stage)
                if isinstance(source, SourceStage) and self.run.only_reaches(source, self)
            ]
            gate = anyio.Event()
            for source in gated:
                source.gates.append(gate)
            self._gates[channel] = (gate, gated)

    def align(self) -> None:
        # Sources behind a closed gate have given nothing, so there is nothing of theirs to wait for.
        for channel, (_, sources) in self._gates.items():
            if sources and not any(source.started for source in sources):
                self._barriers[channel] = self._barriers[self._now]
                for source in sources:
                    source.excuse(self._barriers[self._now])
                # What ends there now belongs to what comes behind this barrier, too.
                before = self.run.before(self)[self.inputs.index(channel)]
                for stage in self.run.upstream(before):
                    stage.passed(self._barriers[self._now])
        super().align()

    async def work(self) -> None:
        for channel in self.inputs:
            self._now = channel
            if channel in self._gates:
                self._gates[channel][0].set()
            while True:
                item = await self._next(channel)
                if item is None or (type(item) is Chunk and not await self.emit(self.joint(channel, item))):
                    self.leave()
                    return await self.end(End())
                if type(item) is Chunk:
                    await self.breathe()
                elif type(item) is End:
                    self.ended(channel, item)
                    break
                else:
                    assert isinstance(item, Barrier | Watermark)
                    self.marked(channel, item)
        await self.end(self.last())

    async def _next(self, channel: Channel) -> Element | None:
        """Return the next of the input whose turn it is; None when nobody wants any more."""
        while not self.finished:
            item = self.read(channel, self.limit)
            if item is not None:
                return item
            await self.wait_for((channel,))
        return None


class ZipStage(JoiningStage):
    """Pairs the first events of all inputs, then the second ones, ..."""

    def connect(self) -> None:
        super().connect()
        self._held: tuple[deque[Any], ...] = tuple(deque() for _ in self.inputs)
        self._came = dict.fromkeys(self.inputs, 0)
        self._due: dict[int, int] = {}
        self._given = 0

    def marked(self, channel: Channel, mark: Barrier | Watermark) -> None:
        if type(mark) is Barrier:
            # All that came before it has gone on once so many tuples have.
            self._due[mark.number] = max(self._due.get(mark.number, 0), self._came[channel])
        super().marked(channel, mark)

    def may_pass(self, number: int) -> bool:
        return self._given >= max((due for n, due in self._due.items() if n <= number), default=0)

    async def work(self) -> None:
        origins = "origin" in self.plan.given
        while True:
            if self.finished:
                self.leave()
                return await self.end(End())
            n = min(len(held) for held in self._held)
            if n:
                n = min(n, self.limit)
                rows = [[held.popleft() for _ in range(n)] for held in self._held]
                values = list(zip(*([value for value, _ in row] for row in rows), strict=True))
                columns = (list(zip(*([o for _, o in row] for row in rows), strict=True)),) if origins else ()
                self._given += n
                if not await self.emit(Chunk(values, columns)):
                    self.leave()
                    return await self.end(End())
                self.align()
                self._due = {number: due for number, due in self._due.items() if due > self._given}
                await self.breathe()
                continue
            empty = [channel for channel, held in zip(self.inputs, self._held, strict=True) if not held]
            if any(channel in self._ends for channel in empty):
                return await self._finish_early()
            for channel in empty:
                item = self.read(channel, self.limit)
                if item is not None:
                    self._take(channel, item)
                    break
            else:
                await self.wait_for(empty)

    def kept(self) -> Any:
        return [list(held) for held in self._held] if any(self._held) else None

    def resume(self, own: Any, kept: Any) -> None:
        for held, rows in zip(self._held, kept or (), strict=False):
            held.extend(rows)

    def _take(self, channel: Channel, item: Any) -> None:
        if type(item) is Chunk:
            n = len(item.values)
            self._came[channel] += n
            origins = item.columns[0] if item.columns else [None] * n
            self._held[self.inputs.index(channel)].extend(zip(item.values, origins, strict=True))
        elif type(item) is End:
            self.ended(channel, item)
        else:
            self.marked(channel, item)

    async def _finish_early(self) -> None:
        """One input has ended: what the others still have is not handled."""
        limits: dict[int, Limit] = {}
        flush = False
        for channel, stage, held in zip(self.inputs, self.run.before(self), self._held, strict=True):
            end = self._ends.get(channel)
            if end is not None and not held:
                flush = flush or end.flush
                limits |= end.limits or {}
            else:
                limits |= dict.fromkeys(stage.sources, None)
        self.leave()
        await self.end(End(flush or not self._replays(), limits))

    def _replays(self) -> bool:
        return any(not end.flush for end in self._ends.values())

    @property
    def in_flight(self) -> int:
        return super().in_flight + sum(map(len, self._held))
