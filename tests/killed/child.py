"""A process that runs pipelines, is killed, and is started again: ``python -m tests.killed.child --help``."""

from __future__ import annotations

import argparse
import logging
import os
import random
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec

import reactor
from reactor import Checkpoints, Ending, Pipeline, Sink, Stream, table
from reactor.connectors.states import state_store
from reactor.delivery import Guarantee
from tests.killed.branches import branches, checked
from tests.killed.events import Order, Row, order_topic, payment_topic, result_topic
from tests.killed.trace import Trace

BY_FUNCTION = ("steps", "as done")
BY_TABLE = ("totals", "sessions", "joined")
"""Where the rows go that may be there twice; those of the others go to files."""


class Lines(Sink[Row]):
    """A file of one JSON line for each row. A line that a kill has torn is cut off when it is opened again."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._file = -1

    async def open(self) -> None:
        before = self._path.read_bytes() if self._path.exists() else b""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        end = before.rfind(b"\n") + 1
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)

    async def write(self, events: Sequence[Row]) -> None:
        os.write(self._file, b"".join(msgspec.json.encode(row) + b"\n" for row in events))

    async def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def appending(path: Path) -> Callable[[Row], None]:
    """Return a function that writes a line; a line is too short to be torn."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(row: Row) -> None:
        os.write(file, msgspec.json.encode(row) + b"\n")

    return write


class Shop:
    """The pipelines over one folder."""

    def __init__(self, arguments: argparse.Namespace, trace: Trace) -> None:
        self.folder: Path = arguments.folder
        self.postgres: str | None = arguments.postgres
        self.follow: bool = arguments.follow
        self.trace = trace
        dice = random.Random(arguments.seed)
        self.settings: dict[str, Any] = {
            "chunk": dice.choice([64, 256, 4096]),
            "capacity": dice.choice([8, 256, 1024]),
            "interval": dice.choice([0.02, 0.05, 0.2]),
        }
        self.lease: float = arguments.lease

    def exact(self) -> Pipeline:
        """All results into topics and tables, each once."""
        endings = [
            self.sunk(stream, self.place(name)) for name, stream in branches(*self.streams("exact")).items()
        ]
        return self.pipeline("exact", *endings, guarantee="exactly-once")

    def least(self) -> list[Pipeline]:
        """All results to ends that can't hold back anything; and a pipeline that remembers nothing."""
        streams = branches(*self.streams("least"))
        endings: list[Ending] = []
        for name, stream in streams.items():
            if name in BY_FUNCTION:
                endings.append(stream.to(appending(self.folder / f"{name}.jsonl")))
            elif name in BY_TABLE:
                endings.append(self.sunk(stream, self.place(name)))
            else:
                endings.append(self.sunk(stream, Lines(self.folder / f"{name}.jsonl")))
        plain = order_topic(self.folder).subscribe("plain", follow=self.follow)
        through = plain.filter(_is_first_of_four).map(checked, concurrency=6, ordered=False, name="plain")
        return [
            self.pipeline("least", *endings, guarantee="at-least-once"),
            Pipeline("plain", self.sunk(through, Lines(self.folder / "plain.jsonl")), **self.settings),
        ]

    def streams(self, group: str) -> tuple[Stream[Order], Stream[Any]]:
        orders = order_topic(self.folder).source(group, follow=self.follow)
        payments = payment_topic(self.folder).source(group, follow=self.follow)
        for source in (orders, payments):
            source.commit = self.trace.traced("commit", source.commit)  # type: ignore[method-assign]
        return Stream(orders), Stream(payments)

    def place(self, name: str) -> Sink[Row]:
        if name == "checked":
            return result_topic(self.folder).sink()
        key = "k" if name == "totals" else ()
        if self.postgres is not None and name in ("tumbling", "totals", "as done"):
            return table(f"{self.postgres}&table={name.replace(' ', '_')}", Row, key=key, create=True)
        file = "more.db" if name in ("joined", "minutes") else "tables.db"
        return table(f"sqlite:{self.folder}/{file}/{name.replace(' ', '_')}", Row, key=key, create=True)

    def sunk(self, stream: Stream[Row], sink: Sink[Row]) -> Ending:
        for phase in ("recover", "prepare", "publish", "write"):
            setattr(sink, phase, self.trace.traced(phase, getattr(sink, phase)))
        write = sink.write

        def going(events: Sequence[Row]) -> Coroutine[Any, Any, None]:
            self.trace.reach("going")
            return write(events)

        sink.write = going  # type: ignore[method-assign]
        return stream.to(sink)

    def pipeline(self, name: str, *endings: Ending, guarantee: Guarantee) -> Pipeline:
        trace = self.trace
        store: Any = state_store(f"sqlite:{self.folder}/state.db")
        claim = store.claim

        async def claimed(*args: Any) -> int | None:
            fence: int | None = await claim(*args)
            trace.reach("standby" if fence is None else "claimed")
            return fence

        store.claim = trace.traced("claim", claimed)
        store.last = trace.traced("restore", store.last)
        store.rows = trace.traced("restore", store.rows)
        store.save = trace.traced("save", store.save)
        checkpoints = Checkpoints(store, spacing=0.01, lease=self.lease)
        return Pipeline(name, *endings, checkpoint=checkpoints, guarantee=guarantee, **self.settings)


def _is_first_of_four(order: Order) -> bool:
    return order.number % 4 == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("exact", "least"))
    parser.add_argument("trace", type=Path)
    parser.add_argument("--follow", action="store_true", help="wait for more at the end of the topics")
    parser.add_argument("--die", nargs=3, metavar=("PHASE", "COUNT", "DELAY"))
    parser.add_argument("--lease", type=float, default=600.0)
    parser.add_argument("--postgres", help="URL of the database, with its schema")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loop", default="asyncio")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    trace = Trace(arguments.trace)
    if arguments.die:
        phase, count, delay = arguments.die
        trace.dies(phase, int(count), float(delay))
    trace.reach("imported")
    shop = Shop(arguments, trace)
    pipelines = [shop.exact()] if arguments.what == "exact" else shop.least()
    anyio.run(reactor.run, *pipelines, backend=arguments.loop)


if __name__ == "__main__":
    main()
