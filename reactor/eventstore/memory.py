"""Streams in memory: the topics ``memory:STORE/...``, for the life of the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio.lowlevel

from reactor.connectors.log import Entry, Start
from reactor.connectors.memory import Store, events_of, store_of
from reactor.core import ArgumentError
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import Appended, Category, Expected, Found, Page, Target, category_of, decide


def _group(target: Target, group: str) -> str:
    return f"{target.name}\0{group}" if isinstance(target, Category) else group


class MemoryBackend(Backend):
    """The store of this name, shared by the whole process (several event loops included)."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.identity = url
        self._name = name
        self._store: Store = store_of(name)

    async def open(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        pass

    async def append(self, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
        await anyio.lowlevel.checkpoint()
        events = events_of(f"{self._name}/{stream}")
        with self._store.lock:
            ids = [str(entry[0]) for entry in entries]
            known = {id: events.ids[id] for id in ids if id in events.ids}
            repeated = decide(stream, ids, known, len(events.rows) - 1, expected)
            if repeated is not None:
                return Appended(repeated, events.places[repeated], repeated=True)
            _, rings = events.add(entries)
            version = len(events.rows) - 1
            position = len(self._store.order) - 1 if entries else None
        for ring in rings:
            ring()
        return Appended(version, position)

    def _end(self, target: Target) -> int:
        if isinstance(target, str):
            events = self._store.events.get(target)
            return len(events.rows) if events else 0
        return len(self._store.order)

    async def end(self, target: Target) -> int:
        await anyio.lowlevel.checkpoint()
        return self._end(target)

    async def page(self, target: Target, start: int, limit: int, *, backwards: bool = False) -> Page:
        await anyio.lowlevel.checkpoint()
        with self._store.lock:
            end = self._end(target)
            every = range(min(start, end - 1), -1, -1) if backwards else range(start, end)
            found: list[Found] = []
            if isinstance(target, str):
                found.extend(self._found(target, version) for version in every[:limit])
            else:
                for position in every:
                    stream, version = self._store.order[position]
                    if not isinstance(target, Category) or category_of(stream) == target.name:
                        found.append(self._found(stream, version))
                        if len(found) == limit:
                            break
        if len(found) < limit:
            return Page(found, -1 if backwards else max(start, end))
        last = found[-1].at(target)
        return Page(found, last - 1 if backwards else last + 1)

    def _found(self, stream: str, version: int) -> Found:
        events = self._store.events[stream]
        _, type, key, headers, time, data = events.rows[version]
        id = events.names.get(version)
        return Found(stream, version, events.places[version], id, type, key, headers, time, data)

    async def streams(self) -> list[str]:
        await anyio.lowlevel.checkpoint()
        return sorted(name for name, events in self._store.events.items() if events.rows)

    def _groups(self, target: Target) -> dict[str, int]:
        if isinstance(target, str):
            return events_of(f"{self._name}/{target}").groups
        return self._store.groups

    async def join(self, target: Target, group: str, start: Start) -> int:
        await anyio.lowlevel.checkpoint()
        with self._store.lock:
            end = self._end(target)
            first = start if isinstance(start, int) else 0 if start == "earliest" else end
            if first > end:
                raise ArgumentError(f"subscribe(group={group!r}, start={start}): {self.url} has 0 to {end}")
            return self._groups(target).setdefault(_group(target, group), first)

    async def commit(self, target: Target, group: str, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        groups, name = self._groups(target), _group(target, group)
        with self._store.lock:
            groups[name] = max(position, groups.get(name, 0))

    async def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        with self._store.lock:
            self._store.rings.append(ring)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        with self._store.lock:
            if ring in self._store.rings:
                self._store.rings.remove(ring)

    async def save_snapshot(self, stream: str, name: str, version: int, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        with self._store.lock:
            self._store.snapshots.setdefault((stream, name), {})[version] = data

    async def snapshot(self, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
        await anyio.lowlevel.checkpoint()
        with self._store.lock:
            kept = self._store.snapshots.get((stream, name), {})
            versions = [version for version in kept if until is None or version <= until]
            return (max(versions), kept[max(versions)]) if versions else None

    async def set_metadata(self, stream: str, data: bytes) -> bool:
        await anyio.lowlevel.checkpoint()
        with self._store.lock:
            if not self._end(stream):
                return False
            self._store.metadata[stream] = data
            return True

    async def metadata(self, stream: str) -> bytes | None:
        await anyio.lowlevel.checkpoint()
        return self._store.metadata.get(stream)
