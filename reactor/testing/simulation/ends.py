"""The sources and sinks of a simulated world. What they keep outlives the processes that use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from reactor.core import Fenced, Record, Sink, Source
from reactor.delivery import DeadLetter
from reactor.testing.simulation.faults import ANY, ENDING, READING, WHOLE
from reactor.testing.simulation.realm import AT_BARRIERS, AT_STARTS, Process
from reactor.testing.simulation.states import StoreKept

T = TypeVar("T")


class SourceKept:
    """What a log outside of the processes knows of its reader."""

    def __init__(self) -> None:
        self.committed = 0


class SimulatedSource(Source[T], Generic[T]):
    """A log: it gives the events one after the other, and again from the last position that was committed."""

    replay = True

    def __init__(self, process: Process, name: str, events: Sequence[T], every: float) -> None:
        self.name = name
        self.process = process
        self._kept = process.realm.keep(SourceKept, name, SourceKept)
        most = process.realm.most_events
        self._events = events if most is None else events[:most]
        process.realm.longest = max(process.realm.longest, len(self._events))
        self._every = every
        self._at = 0

    async def open(self) -> None:
        def opened() -> None:
            self._at = self._kept.committed

        await self.process.call(f"{self.name}.open", opened, READING, often=AT_STARTS)

    async def read(self, limit: int) -> Sequence[Record[T]] | None:
        choose = self.process.realm.choose
        most = min(limit, (limit, 1, 2, 5, 20)[choose(f"{self.name}.piece", 5, 0.8)])
        wait = self._every * (1.0, 0.0, 0.1, 10.0)[choose(f"{self.name}.wait", 4, 0.5)]
        return await self.process.call(f"{self.name}.read", lambda: self._read(most), READING, wait=wait)

    def _read(self, most: int) -> list[Record[T]] | None:
        first = self._at
        if first >= len(self._events):
            return None
        values = self._events[first : first + most]
        self._at += len(values)
        return [
            Record(value, position=first + number, topic=self.name) for number, value in enumerate(values)
        ]

    def position(self) -> int:
        return self._at

    async def seek(self, position: int) -> None:
        def sought() -> None:
            self._at = position

        await self.process.call(f"{self.name}.seek", sought, READING, often=AT_STARTS)

    async def commit(self, position: int) -> None:
        await self.process.call(f"{self.name}.commit", lambda: self._commit(position), ANY, often=AT_BARRIERS)

    def _commit(self, position: int) -> None:
        realm = self.process.realm
        saved = [
            kept.positions(self.name)
            for (kind, _), kept in realm.kept.items()
            if kind is StoreKept and kept.used
        ]
        if saved and max(saved) < position:
            realm.wrong.append(
                f"{self.name}: {position} was committed, and the checkpoint covers {max(saved)} only"
            )
        self._kept.committed = max(self._kept.committed, position)

    async def close(self) -> None:
        if not self.process.dead:
            await self.process.call(f"{self.name}.close", lambda: None, ENDING)


class TableKept:
    """Rows that everybody sees, and those that are staged, by number."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.staged: dict[int, list[Any]] = {}
        self.fence = 0
        self.key: Callable[[Any], Any] | None = None
        self.exact = False
        """True once it has been used by a pipeline that promises exactly once."""


class SimulatedTable(Sink[T], Generic[T]):
    """A transactional sink: with ``guarantee="exactly-once"`` it has each result once, whatever happens."""

    transactional = True

    def __init__(self, process: Process, name: str, key: Callable[[Any], Any] | None) -> None:
        self.name = name
        self.process = process
        self.kept = process.realm.keep(TableKept, name, TableKept)
        self.kept.key = key
        self._fresh: list[T] = []
        self._fence: int | None = None

    async def open(self) -> None:
        await self.process.call(f"{self.name}.open", lambda: None, READING, often=AT_STARTS)

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        def recovered() -> None:
            self._fence = fence
            self._fresh = []
            self.check()
            self.kept.fence = fence
            self.kept.exact = True
            self._show(decided)
            self.kept.staged.clear()

        await self.process.call(f"{self.name}.recover", recovered, ANY, often=AT_STARTS)

    async def write(self, events: Sequence[T]) -> None:
        def written() -> None:
            self.check()
            if self._fence is None:
                self.kept.rows += events
            else:
                self._fresh += events

        await self.process.call(f"{self.name}.write", written, WHOLE)

    async def flush(self) -> None:
        await self.process.call(f"{self.name}.flush", lambda: None, ANY, often=AT_BARRIERS)

    async def prepare(self, number: int) -> None:
        def prepared() -> None:
            self.check()
            self.kept.staged.setdefault(number, []).extend(self._fresh)
            self._fresh.clear()

        await self.process.call(f"{self.name}.prepare", prepared, ANY, often=AT_BARRIERS)

    async def publish(self, number: int) -> None:
        def published() -> None:
            self.check()
            self._show(number)

        await self.process.call(f"{self.name}.publish", published, ANY, often=AT_BARRIERS)

    def _show(self, number: int) -> None:
        for each in sorted(self.kept.staged):
            if each <= number:
                self.kept.rows += self.kept.staged.pop(each)

    def check(self) -> None:
        """Raise Fenced where another run has taken over."""
        if self._fence is not None and self._fence < self.kept.fence:
            self.process.fenced = True
            raise Fenced(f"{self.name}: another run has taken over, {self.kept.fence} after {self._fence}")

    async def close(self) -> None:
        if not self.process.dead:
            await self.process.call(f"{self.name}.close", lambda: None, ENDING)


class SinkKept:
    """What a plain sink has got."""

    def __init__(self) -> None:
        self.rows: list[Any] = []


class SimulatedSink(Sink[T], Generic[T]):
    """A sink that isn't transactional: what a process wrote and didn't flush may be there when it dies, or not."""

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self.process = process
        self.kept = process.realm.keep(SinkKept, name, SinkKept)
        self._buffered: list[T] = []

    async def open(self) -> None:
        def opened() -> None:
            self._buffered = []

        await self.process.call(f"{self.name}.open", opened, READING, often=AT_STARTS)

    async def write(self, events: Sequence[T]) -> None:
        def written() -> None:
            self._buffered += events
            held = len(self._buffered)
            kept = (0, held, held // 2)[self.process.realm.choose(f"{self.name}.buffer", 3, 0.5)]
            self._store(held - kept)

        await self.process.call(f"{self.name}.write", written, ANY)

    async def flush(self) -> None:
        await self.process.call(
            f"{self.name}.flush", lambda: self._store(len(self._buffered)), ANY, often=AT_BARRIERS
        )

    def _store(self, count: int) -> None:
        self.kept.rows += self._buffered[:count]
        del self._buffered[:count]

    async def close(self) -> None:
        if not self.process.dead:
            await self.process.call(f"{self.name}.close", lambda: None, ENDING)


class LettersKept:
    """Dead letters by their ids."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}


class SimulatedLetters(Sink[DeadLetter]):
    """Where dead letters go: stored once by their ids."""

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self.process = process
        self.kept = process.realm.keep(LettersKept, name, LettersKept)

    async def write(self, events: Sequence[DeadLetter]) -> None:
        def written() -> None:
            for letter in events:
                self.kept.letters.setdefault(letter.id, letter)

        await self.process.call(f"{self.name}.write", written, ANY)

    async def flush(self) -> None:
        await self.process.call(f"{self.name}.flush", lambda: None, ANY)
