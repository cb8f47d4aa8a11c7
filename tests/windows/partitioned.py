"""A small source with partitions, whose script a test writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import anyio

from reactor.core import Record, Source


class Turn:
    """What happens next, after ``wait`` seconds: some events, (partition, time) each; others come, or go."""

    def __init__(self, *events: tuple[str, float], wait: float = 0.0, **acts: Any) -> None:
        self.events = events
        self.wait = wait
        self.acts = acts
        """``come`` and ``go``: partitions; ``lag`` and ``caught_up``: those that have more to give, or no more."""


class Partitioned(Source[tuple[str, float]]):
    """Plays its turns. Its position is the number of events that it has returned."""

    partitioned = True
    seekable = True

    def __init__(self, *turns: Turn, there: Collection[str] = ("a", "b"), name: str = "partitioned") -> None:
        self.name = name
        self.turns = turns
        self.there = set(there)
        self.lagging: set[str] = set()
        self.asked: list[tuple[str, ...]] = []
        self.committed = 0
        self._turn = 0
        self._due: float | None = None
        self._given = 0
        self._skip = 0

    async def open(self) -> None:
        self._turn, self._due, self._given = 0, None, 0

    def position(self) -> int | None:
        return self._given

    async def seek(self, position: int) -> None:
        self._skip = position

    def bookmark(self, position: int) -> str | None:
        return json.dumps(position)

    async def commit(self, position: int) -> None:
        self.committed = max(position, self.committed)

    def parts(self) -> Collection[str]:
        return frozenset(self.there)

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        self.asked.append(tuple(sorted(parts)))
        return set(parts) - self.lagging

    async def read(self, limit: int) -> Sequence[Record[tuple[str, float]]] | None:
        while self._turn < len(self.turns):
            turn = self.turns[self._turn]
            if self._due is None:
                self._due = anyio.current_time() + turn.wait
            await anyio.sleep_until(self._due)  # a read that is cancelled waits on in the next one
            self._turn, self._due = self._turn + 1, None
            self.there |= set(turn.acts.get("come", ()))
            self.there -= set(turn.acts.get("go", ()))
            self.lagging |= set(turn.acts.get("lag", ()))
            self.lagging -= set(turn.acts.get("caught_up", ()))
            first, self._given = self._given, self._given + len(turn.events)
            records = [
                Record((part, time), position=first + number, topic=self.name, part=part)
                for number, (part, time) in enumerate(turn.events)
            ]
            return records[max(self._skip - first, 0) :]
        return None


class Ready(Source[tuple[str, float]]):
    """Returns events that are there at once, in batches of these sizes; its partitions stay to the end."""

    name = "ready"
    partitioned = True

    def __init__(self, events: Sequence[tuple[str, float]], sizes: Sequence[int] = (1000,)) -> None:
        self.events = events
        self.sizes = sizes
        self._given = self._reads = 0

    async def open(self) -> None:
        self._given = self._reads = 0

    def parts(self) -> Collection[str]:
        return {part for part, _ in self.events}

    async def read(self, limit: int) -> Sequence[Record[tuple[str, float]]] | None:
        if self._given >= len(self.events):
            return None
        size = min(limit, self.sizes[self._reads % len(self.sizes)])
        self._reads += 1
        found = self.events[self._given : self._given + size]
        self._given += len(found)
        return [Record(event, topic=self.name, part=event[0]) for event in found]
