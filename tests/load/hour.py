"""Measurements that come for an hour, and what is made of them: windows, timers, batches, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from reactor import Checkpoints, Pipeline, Process, Record, Source, Stream, Tumbling, Windowed
from reactor.core import clock

SENSORS = 500
PIECE = 25
PIECES = 4
"""In a second: 100 measurements."""
RATE = PIECE * PIECES


class Measurements(Source[int]):
    """Numbers, some each quarter of a second."""

    name = "measurements"
    seekable = True

    def __init__(self, count: int) -> None:
        self._count = count
        self._at = 0
        self._began: float | None = None

    async def read(self, limit: int) -> Sequence[Record[int]] | None:
        if self._at >= self._count:
            return None
        if self._began is None:
            self._began = anyio.current_time()
        await anyio.sleep(self._began + self._at / RATE - anyio.current_time())
        n = min(limit, PIECE - self._at % PIECE)
        records = [Record(at, position=at, topic=self.name) for at in range(self._at, self._at + n)]
        self._at += n
        return records

    def position(self) -> int:
        return self._at

    async def seek(self, position: int) -> None:
        self._at = position


class Silence(Process[int, int, int]):
    """Tells how many measurements of a sensor came when no more has come for a minute, and forgets them."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0

    def event(self, event: int, context: Any) -> list[int]:
        self.count += 1
        if not self.last or self.count == 1:
            context.at(context.time + 60_000_000)
        self.last = context.time
        return []

    def timer(self, time: int, context: Any) -> list[int]:
        if self.last + 60_000_000 > time:
            context.at(self.last + 60_000_000)
            return []
        found, self.count = self.count, 0
        return [found]

    def end(self, context: Any) -> list[int]:
        return [self.count] if self.count else []


class Hour:
    """What has come out, in a few numbers: a list of all would grow."""

    def __init__(self, seconds: int) -> None:
        self.count = seconds * RATE
        self.windows = self.sum = self.silences = self.counted = self.batched = self.ticks = self.ticked = 0

    def pipeline(self, store: str) -> Pipeline:
        measured = Stream(Measurements(self.count))
        timed = measured.event_time(lambda n: n / RATE, unit="s", out_of_order=2)
        keyed = timed.key_by(sensor)
        return Pipeline(
            "hour",
            keyed.window(Tumbling(60), name="windows").sum().to(self.window),
            keyed.process(Silence, name="silences").to(self.silence),
            measured.batch(1000, max_wait=0.7).to(self.batch),
            measured.window(Tumbling(10, clock=True), name="clock").count().to(self.tick),
            checkpoint=Checkpoints(store, interval=1, when_idle=False),
        )

    def window(self, found: Windowed[int, int]) -> None:
        self.windows += 1
        self.sum += found.value

    def silence(self, count: int) -> None:
        self.silences += 1
        self.counted += count

    def batch(self, events: Sequence[int]) -> None:
        self.batched += len(events)

    def tick(self, found: Windowed[None, int]) -> None:
        self.ticks += 1
        self.ticked += found.value
        assert found.window.end <= clock.now() + 10_000_000


def sensor(n: int) -> int:
    """In one minute half of them are silent, in the next one the other half."""
    return n % (SENSORS // 2) + n // (RATE * 90) % 2 * (SENSORS // 2)
