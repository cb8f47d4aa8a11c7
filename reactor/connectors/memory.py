"""Topics in memory: the same promises as the log in a file, but for the life of the process.

Events are kept as the objects that they are, never encoded; who changes one later changes it for all readers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import anyio.lowlevel

from reactor.connectors.log import Batch, Decode, Entry, Log, Row, Start
from reactor.core import ArgumentError


class _Events:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: list[Row] = []
        self.ids: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.rings: list[Callable[[], None]] = []


_named: dict[str, _Events] = {}


def forget(name: str) -> None:
    """Drop the topic of this name with all its events; who still reads it keeps the old one."""
    _named.pop(name, None)


class MemoryLog(Log):
    """The topic of this name, shared by the whole process (several event loops included)."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.topic = name
        self.identity = f"memory:{name}"
        self._events = _named.setdefault(name, _Events())

    async def open(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        pass

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        await anyio.lowlevel.checkpoint()
        events = self._events
        positions: list[int] = []
        with events.lock:
            rows, ids = events.rows, events.ids
            for id, type, key, headers, time, data in entries:
                position = len(rows)
                if id is not None:
                    known = ids.setdefault(id, position)
                    if known != position:
                        positions.append(known)
                        continue
                rows.append((position, type, key, headers, time, data))
                positions.append(position)
            rings = tuple(events.rings)
        for ring in rings:
            ring()
        return positions

    async def fetch(self, position: int, limit: int, decode: Decode) -> Batch | None:
        await anyio.lowlevel.checkpoint()
        rows = self._events.rows[position : position + limit]
        return decode(rows) if rows else None

    async def length(self) -> int:
        await anyio.lowlevel.checkpoint()
        return len(self._events.rows)

    async def groups(self) -> dict[str, int]:
        await anyio.lowlevel.checkpoint()
        return dict(self._events.groups)

    async def join(self, group: str, start: Start) -> int:
        await anyio.lowlevel.checkpoint()
        with self._events.lock:
            end = len(self._events.rows)
            first = start if isinstance(start, int) else 0 if start == "earliest" else end
            if group not in self._events.groups and first > end:
                raise ArgumentError(
                    f"subscribe({group!r}, start={start}): {self.topic} has positions 0 to {end}"
                )
            return self._events.groups.setdefault(group, first)

    async def commit(self, group: str, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        groups = self._events.groups
        with self._events.lock:
            groups[group] = max(position, groups.get(group, 0))

    async def reset(self, group: str, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        end = len(self._events.rows)
        if not 0 <= position <= end:
            raise ArgumentError(f"reset({group!r}, {position}): {self.topic} has positions 0 to {end}")
        self._events.groups[group] = position

    async def listen(self, ring: Callable[[], None], poll: float) -> None:
        with self._events.lock:
            self._events.rings.append(ring)

    async def ignore(self, ring: Callable[[], None]) -> None:
        with self._events.lock:
            if ring in self._events.rings:
                self._events.rings.remove(ring)
