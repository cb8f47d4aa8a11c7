"""Topics in memory: the same promises as the log in a file, but for the life of the process.

Events are kept as the objects that they are, never encoded; who changes one later changes it for all readers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import anyio.lowlevel

from reactor.connectors.log import Batch, Decode, Entry, Log, Row, Start
from reactor.connectors.staging import Staging
from reactor.core import ArgumentError, Fenced


class Store:
    """The topics ``STORE/...`` in memory, and the order of their events among all of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: dict[str, _Events] = {}
        self.order: list[tuple[str, int]] = []
        self.rings: list[Callable[[], None]] = []
        self.groups: dict[str, int] = {}
        self.snapshots: dict[tuple[str, str], dict[int, bytes]] = {}
        self.metadata: dict[str, bytes] = {}


class _Events:
    def __init__(self, name: str) -> None:
        place, _, self.name = name.rpartition("/")
        self.store = store_of(place) if place else None
        """The order of what stands in a store; a name without a slash stands in none."""
        self.lock = self.store.lock if self.store else threading.Lock()
        self.rows: list[Row] = []
        self.names: dict[int, str] = {}
        self.places: list[int] = []
        """Of each row, its place in the store's order."""
        self.ids: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.rings: list[Callable[[], None]] = []
        self.staged: dict[str, _Staged] = {}
        """By owner: who stages for it now."""

    def add(self, entries: Sequence[Entry]) -> tuple[list[int], tuple[Callable[[], None], ...]]:
        """Append, while the lock is held; return the positions, and whom to wake after it is released."""
        positions: list[int] = []
        rows, ids, store = self.rows, self.ids, self.store
        for id, type, key, headers, time, data in entries:
            position = len(rows)
            if id is not None:
                known = ids.setdefault(id, position)
                if known != position:
                    positions.append(known)
                    continue
                self.names[position] = id
            rows.append((position, type, key, headers, time, data))
            positions.append(position)
            if store is not None:
                self.places.append(len(store.order))
                store.order.append((self.name, position))
        return positions, (*self.rings, *(store.rings if store is not None else ()))


class _Staged:
    """What one owner has staged for a topic, since it has recovered."""

    def __init__(self, events: _Events, owner: str, fence: int) -> None:
        self.fence = fence
        self._events = events
        self._owner = owner
        self._rows: list[Entry] = []
        self._first = 0
        """The number of the first row: those before it are published."""
        self._prepared: dict[int, int] = {}

    def _check(self) -> None:
        if self._events.staged.get(self._owner) is not self:
            raise Fenced(f"{self._owner}: another one has taken over; what this one did since then is void")

    async def stage(self, at: int, rows: Sequence[Entry]) -> None:
        await anyio.lowlevel.checkpoint()
        with self._events.lock:
            self._check()
            self._rows[at - self._first :] = rows

    async def prepare(self, number: int, at: int, rows: Sequence[Entry]) -> None:
        await self.stage(at, rows)
        self._prepared[number] = at + len(rows)

    async def publish(self, number: int) -> None:
        await anyio.lowlevel.checkpoint()
        with self._events.lock:
            self._check()
            rings = self.move(number)
        for ring in rings:
            ring()

    def move(self, number: int) -> tuple[Callable[[], None], ...]:
        """Append what is prepared up to the number, while the lock is held; return whom to wake."""
        end = max((end for n, end in self._prepared.items() if n <= number), default=0)
        if end <= self._first:
            return ()
        published = self._rows[: end - self._first]
        del self._rows[: end - self._first]
        self._first = end
        self._prepared = {n: other for n, other in self._prepared.items() if n > number}
        return self._events.add(published)[1]


_named: dict[str, _Events] = {}
_stores: dict[str, Store] = {}
_naming = threading.Lock()


def store_of(name: str) -> Store:
    """Return the store of this name, shared by the whole process."""
    return _stores.setdefault(name, Store())


def events_of(name: str) -> _Events:
    """Return the topic of this name, shared by the whole process."""
    with _naming:
        found = _named.get(name)
        if found is None:
            found = _named[name] = _Events(name)
            if found.store is not None:
                found.store.events[found.name] = found
        return found


def forget(name: str) -> None:
    """Drop the topic of this name with all its events, or the store; who still reads it keeps the old one."""
    _named.pop(name, None)
    if _stores.pop(name, None) is not None:
        for topic in [topic for topic in _named if topic.rpartition("/")[0] == name]:
            _named.pop(topic)


class MemoryLog(Log):
    """The topic of this name, shared by the whole process (several event loops included)."""

    transactional = True

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.topic = name
        self.identity = f"memory:{name}"
        self._events = events_of(name)

    async def open(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        pass

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        await anyio.lowlevel.checkpoint()
        with self._events.lock:
            positions, rings = self._events.add(entries)
        for ring in rings:
            ring()
        return positions

    async def recover(self, owner: str, decided: int, fence: int) -> Staging[Entry]:
        await anyio.lowlevel.checkpoint()
        events = self._events
        with events.lock:
            old = events.staged.get(owner)
            if old is not None and fence < old.fence:
                raise Fenced(f"{owner}: another one has taken over, with the number {old.fence}")
            rings = old.move(decided) if old is not None else ()
            staged = events.staged[owner] = _Staged(events, owner, fence)
        for ring in rings:
            ring()
        return staged

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
