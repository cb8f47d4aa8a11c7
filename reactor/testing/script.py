"""Scripted input: a source that does what a list says, crashes and resumptions included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

import anyio

from reactor.core import ArgumentError, Record, Source
from reactor.stream import Stream

T = TypeVar("T")


class Crash(Exception):
    """What a script fails with at ABORT."""


class At(NamedTuple):
    """The script waits until so many seconds have passed since it was opened, by the loop's clock."""

    seconds: float


class Timed(NamedTuple, Generic[T]):
    """An event with its event time, in seconds since the epoch."""

    value: T
    time: float


class Watermark(NamedTuple):
    """No event before this time is expected any more (seconds since the epoch); only in :meth:`Script.timed`."""

    time: float


class _Cue(Enum):
    ABORT = "ABORT"
    EOF = "EOF"
    PAUSE = "PAUSE"


ABORT: Final[Literal[_Cue.ABORT]] = _Cue.ABORT
"""The run fails here, with Crash. The next run begins at the committed position, and passes this by."""
EOF: Final[Literal[_Cue.EOF]] = _Cue.EOF
"""The source ends here. The next run goes on behind it."""
PAUSE: Final[Literal[_Cue.PAUSE]] = _Cue.PAUSE
"""The script waits here until the test calls ``go()``."""


class Script(Source[T], Generic[T]):
    """A source that plays items: events, and among them :class:`At`, ABORT, EOF, PAUSE, and errors to raise.

    It has positions, numbers of items: each run goes on from the one that the last run has committed. An
    instance of Exception is raised, by each run that comes to it. ``most`` is how many events it gives at
    once at most. Without ``replay`` it has no positions: the next run goes on where the last one stopped.
    """

    def __init__(
        self,
        items: Iterable[T | Timed[T] | Watermark | At | Exception | _Cue],
        *,
        name: str = "script",
        replay: bool = True,
        most: int = 1_000_000,
    ) -> None:
        if most < 1:
            raise ArgumentError(f"Script(most={most}): must be >= 1")
        self.items = list(items)
        self.name = name
        self.replay = replay
        self.most = most
        self.committed = 0
        """The position that the next run begins at."""
        self.opened = 0
        """How often a run has opened it, and how often closed."""
        self.closed = 0
        self._at = 0
        self._began = 0.0
        self._passed: set[int] = set()
        self._goes = 0
        self._gone = anyio.Event()
        self._timed = False

    def go(self) -> None:
        """Let the script go on from the PAUSE at which it waits, or from the next one that it comes to."""
        self._goes += 1
        self._gone.set()

    def timed(self, out_of_order: float = 0) -> Stream[T]:
        """The script as a stream with event times: those of its Timed items; Watermark items move the time on.

        Each event that it gives has to be Timed. The watermark stays ``out_of_order`` seconds behind.
        """
        for number, item in enumerate(self.items):
            if not isinstance(item, Timed | Watermark | At | Exception | _Cue):
                raise ArgumentError(
                    f"script item {number}, {item!r}: has no event time; write Timed({item!r}, seconds)"
                )
        self._timed = True
        stream = cast("Stream[Timed[T] | Watermark]", Stream(self))
        if out_of_order:
            # A Watermark item says where the watermark is to be: what is held back has to be added.
            stream = stream.map(
                lambda item: Watermark(item.time + out_of_order) if isinstance(item, Watermark) else item,
                name="watermarks",
            )
        moved = stream.event_time(lambda item: item.time, out_of_order, unit="s")
        return moved.of_type(Timed).map(_value, name="value")

    async def open(self) -> None:
        if not self._timed and any(isinstance(item, Watermark) for item in self.items):
            raise ArgumentError(
                "Script: Watermark items need event times; use Script(...).timed() as the stream"
            )
        self.opened += 1
        if self.replay:
            self._at = self.committed
        self._began = anyio.current_time()

    async def read(self, limit: int) -> Sequence[Record[T]] | None:
        while True:
            records = self._events(min(limit, self.most))
            if records:
                return records
            if self._at == len(self.items):
                return None
            item = self.items[self._at]
            if isinstance(item, At):
                await anyio.sleep_until(self._began + item.seconds)
            elif isinstance(item, Exception):
                raise item
            elif item is PAUSE:
                await self._pause()
            elif item is EOF:
                if self._at not in self._passed:
                    self._passed.add(self._at)
                    self._at += 1
                    return None
            elif self._at not in self._passed:
                self._passed.add(self._at)
                raise Crash(f"{self.name}: ABORT at item {self._at}")
            self._at += 1

    def _events(self, limit: int) -> list[Record[T]]:
        records: list[Record[Any]] = []
        while self._at < len(self.items) and len(records) < limit:
            item = self.items[self._at]
            if isinstance(item, At | Exception | _Cue):
                break
            time = round(item.time * 1_000_000) if isinstance(item, Timed) else None
            value = item.value if isinstance(item, Timed) and not self._timed else item
            records.append(Record(value, time=time, position=self._at, topic=self.name))
            self._at += 1
        return records

    async def _pause(self) -> None:
        while not self._goes:
            self._gone = anyio.Event()
            await self._gone.wait()
        self._goes -= 1

    def position(self) -> int | None:
        return self._at if self.replay else None

    async def seek(self, position: int) -> None:
        self._at = position

    async def commit(self, position: int) -> None:
        self.committed = position

    async def close(self) -> None:
        self.closed += 1


def _value(item: Timed[T]) -> T:
    return item.value
