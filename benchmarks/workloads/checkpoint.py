"""What checkpoints cost: two pipelines with one each second into a SQLite file, beside the same without.

The windows have 10,000 keys, all of which change between two checkpoints. Events are made of their numbers as
they are needed, so that a run can be long enough for several checkpoints.
"""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Workload
from reactor import Pipeline, Sink, Stream, Tumbling

from .functions import double, increment, third

KEYS = 10_000
LAP = 1 << 16
APART = 1_000
BOUND = 1_000_000
SIZE = 500
"""A window's size in seconds: with ``APART`` microseconds between two events, half a million of them."""

_dice = random.Random(7)
_keys = [f"shop-{int(_dice.random() * KEYS)}" for _ in range(LAP)]
_early = [int(_dice.random() * BOUND) for _ in range(LAP)]

FUSED = Workload(
    "checkpoint-fused",
    "map, filter, map, sum: with a checkpoint each second",
    events=20_000_000,
    baseline="without",
)
WINDOW = Workload(
    "checkpoint-window",
    "tumbling windows of 10,000 keys: with a checkpoint each second",
    events=6_000_000,
    baseline="without",
)


def time_of(number: int) -> int:
    return number * APART - _early[number % LAP]


def key_of(number: int) -> str:
    return _keys[number % LAP]


class Total(Sink[Any]):
    """How many events came, and what they sum up to."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0

    async def write(self, events: Sequence[Any]) -> None:
        self.count += len(events)
        self.total += sum(event if isinstance(event, int) else event.value for event in events)


async def run(stream: Stream[Any], folder: str | None) -> tuple[int, int]:
    total = Total()
    checkpoint = None if folder is None else f"sqlite:{Path(folder) / 'state.db'}"
    await Pipeline("checkpoint", stream.to(total), checkpoint=checkpoint).run()
    return total.count, total.total


def fused(events: int) -> Stream[int]:
    return Stream(range(events)).map(double).filter(third).map(increment)


def windows(events: int) -> Stream[Any]:
    timed = Stream(range(events)).event_time(time_of, out_of_order=BOUND / 1e6, unit="us")
    return timed.key_by(key_of).window(Tumbling(SIZE), name="window").sum(increment)


@FUSED.system("reactor")
async def fused_with(events: int) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        return await run(fused(events), folder)


@FUSED.system("without")
async def fused_without(events: int) -> tuple[int, int]:
    return await run(fused(events), None)


@WINDOW.system("reactor")
async def windows_with(events: int) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        return await run(windows(events), folder)


@WINDOW.system("without")
async def windows_without(events: int) -> tuple[int, int]:
    return await run(windows(events), None)
