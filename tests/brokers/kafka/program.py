"""A pipeline in a process of its own, which a test kills: ``read URL FILE``, or ``copy URL URL STORE``.

``read`` appends the numbers that it has handled to a file, ``copy`` copies them to another topic exactly once.
"""

from __future__ import annotations

import sys
from typing import Any

import anyio
import msgspec

from reactor import Checkpoints, Pipeline, topic
from reactor.connectors.kafka import Kafka


class Tick(msgspec.Struct, frozen=True):
    number: int


async def read(url: str, out: str) -> None:
    with open(out, "a", buffering=1) as file:

        def handle(tick: Tick) -> None:
            file.write(f"{tick.number}\n")

        source = topic(url, Tick, config=Kafka(session_timeout=2.0))
        await Pipeline("reads", source.subscribe("g").to(handle), chunk=20, interval=0.05).run()


def copying(url: str, out: str, store: str) -> Pipeline:
    source = topic(url, Tick, config=Kafka(session_timeout=2.0)).subscribe("g")
    total: Any = source.scan(
        lambda sums, tick: (sums[0] + tick.number, tick.number), (0, 0), name="total"
    ).map(lambda sums: Tick(sums[1]))
    return Pipeline(
        "copies",
        total.to(topic(out, Tick, config=Kafka(transactions=True)), key=lambda tick: str(tick.number)),
        chunk=20,
        checkpoint=Checkpoints(store, interval=0.1, spacing=0.02),
        guarantee="exactly-once",
    )


async def copy(url: str, out: str, store: str) -> None:
    await copying(url, out, store).run()


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    anyio.run({"read": read, "copy": copy}[mode], *arguments)
