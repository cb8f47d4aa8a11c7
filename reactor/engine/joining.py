"""Stages with several inputs: merge, concat, zip."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio

from reactor.engine.channel import Channel
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.limits import Limit, combined
from reactor.engine.reading import SourceStage
from reactor.engine.stage import Stage


class JoiningStage(Stage):
    """What they share: a barrier goes on when every input that is still open has brought it.

    Inputs aren't held back meanwhile. Without checkpoints a barrier may wait behind a batch that isn't full,
    and the input that would be held back may be what fills it.
    """

    def connect(self) -> None:
        self._ends: dict[Channel, End] = {}
        self._barriers: dict[Channel, int] = dict.fromkeys(self.inputs, 0)
        self._times: dict[Channel, int] = {}
        self._sent_barrier = 0
        self._sent_time: int | None = None

    def marked(self, channel: Channel, mark: Barrier | Watermark) -> None:
        """An input has brought a mark."""
        if type(mark) is Barrier:
            self._barriers[channel] = mark.number
        else:
            assert isinstance(mark, Watermark)
            self._times[channel] = mark.time
        self.align()

    def align(self) -> None:
        """Send on what all open inputs have brought."""
        going = [channel for channel in self.inputs if channel not in self._ends]
        if not going:
            return
        number = min(self._barriers[channel] for channel in going)
        if number > self._sent_barrier and self.may_pass(number):
            self._sent_barrier = number
            self.mark(Barrier(number))
        if all(channel in self._times for channel in going):
            time = min(self._times[channel] for channel in going)
            if self._sent_time is None or time > self._sent_time:
                self._sent_time = time
                self.mark(Watermark(time))

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
        return End(any(end.flush for end in ends), combined([end.limits for end in ends], reached))

    def leave(self) -> None:
        """No more is wanted from any input."""
        for channel in self.inputs:
            channel.leave()

    async def wait_for(self, channels: Sequence[Channel]) -> None:
        """Wait until one of the channels has something."""
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
                item = channel.take_now(self.limit)
                if item is None:
                    missed += 1
                    going.rotate(-1)
                    continue
                missed = 0
                if type(item) is Chunk:
                    going.rotate(-1)
                    if not await self.emit(item):
                        self.leave()
                        return await self.end(End())
                    await self.breathe()
                elif type(item) is End:
                    going.popleft()
                    self.ended(channel, item)
                else:
                    assert isinstance(item, Barrier | Watermark)
                    self.marked(channel, item)
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
        super().align()

    async def work(self) -> None:
        for channel in self.inputs:
            self._now = channel
            if channel in self._gates:
                self._gates[channel][0].set()
            while True:
                item = await self.next_item(channel, self.limit)
                if item is None or (type(item) is Chunk and not await self.emit(item)):
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
                item = channel.take_now(self.limit)
                if item is not None:
                    self._take(channel, item)
                    break
            else:
                await self.wait_for(empty)

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
