"""A process that writes numbers to a sink, a transaction after the other, and dies when it is told to.

The decider is a file of its own, as the checkpoint store is one of the engine's.
"""

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import anyio

from reactor.core import Sink
from reactor.tables import table
from reactor.testing.transactions import Entry
from reactor.topics import topic

TOTAL = 4000
STAGES = ("write", "prepare", "decide", "publish", "recover")


def sink_of(url: str) -> Sink[Entry]:
    """``topic URL``, ``table URL`` or ``upsert URL``."""
    kind, _, url = url.partition(" ")
    if kind == "topic":
        return topic(url, Entry).sink(id=lambda entry: str(entry.number))
    return table(url, Entry, key="number" if kind == "upsert" else (), create=True)


def decided(path: Path) -> tuple[int, int, int]:
    """Return the last number, the position that it stands for, and the position before it."""
    number, position, before = json.loads(path.read_text()) if path.exists() else (0, 0, 0)
    return number, position, before


def decide(path: Path, number: int, position: int, before: int) -> None:
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(json.dumps((number, position, before)))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class Death:
    """Kills the process by a thread, some time after the stage has begun for the last time that is allowed."""

    def __init__(self, stage: str, times: int, delay: float) -> None:
        self._stage = stage
        self._times = times
        self._delay = delay

    def at(self, stage: str) -> None:
        if stage == self._stage:
            self._times -= 1
            if self._times == 0:
                timer = threading.Timer(self._delay, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()


async def main(url: str, decider: Path, death: Death) -> None:
    sink = sink_of(url)
    await sink.open()
    number, position, _ = decided(decider)
    death.at("recover")
    await sink.recover("numbers/sink", number, number)
    while position < TOTAL:
        number, before = number + 1, position
        for _ in range(random.randint(1, 4)):
            size = random.choice((1, 3, 50, 200))
            end = min(TOTAL, position + size)
            death.at("write")
            await sink.write([Entry(n, f"text {n}") for n in range(position, end)])
            position = end
        death.at("prepare")
        await sink.prepare(number)
        death.at("decide")
        decide(decider, number, position, before)
        death.at("publish")
        await sink.publish(number)
    await sink.close()


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    anyio.run(
        main,
        arguments[0],
        Path(arguments[1]),
        Death(arguments[2], int(arguments[3]), float(arguments[4])),
        backend=arguments[5],
    )
