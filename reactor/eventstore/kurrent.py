"""Streams in KurrentDB, by its own client. It has been written by the client's documentation and code.

What differs from the other stores: positions rise, but have holes (they are places in the server's log); an id is
looked for among the last events of its stream; names of all streams are read from all events. Positions of groups
and snapshots are kept in streams that begin with ``reactor.``, and aren't among ``ALL``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import anyio

from reactor.connectors.log import Entry, Start
from reactor.connectors.loops import OwnThread
from reactor.core import ArgumentError, MissingExtra, TopicCorrupt
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import (
    ALL,
    Appended,
    Category,
    Expected,
    Page,
    StoreUnreachable,
    Target,
    category_of,
    decide,
)

try:
    from kurrentdbclient import KurrentDBClient, NewEvent, StreamState, exceptions

    from reactor.eventstore import kurrent_calls as calls
    from reactor.eventstore import kurrent_words as words
    from reactor.eventstore.kurrent_bell import Bell
except ImportError as error:
    if (error.name or "kurrentdbclient").partition(".")[0] not in ("kurrentdbclient", "grpc"):
        raise
    raise MissingExtra("event_store('kurrentdb://...')", "kurrentdb") from error

R = TypeVar("R")

LOOK = 500
"""How many of a stream's last events an append looks through for its ids."""

PATIENCE = 15.0
"""Seconds in which calls are made again where the server was there and is gone: all of them may be."""

_FIRST, _LAST = 0.05, 2.0

_lock = threading.Lock()
_open: dict[tuple[int, int], _Store] = {}


class _Store:
    """A server that this process talks to: one client, a thread that writes, one that reads."""

    def __init__(self, place: words.Place) -> None:
        self.users = 0
        self.place = place
        self.writer = OwnThread(f"reactor writer {place.identity}")
        self.reader = OwnThread(f"reactor reader {place.identity}")
        self._client: KurrentDBClient | None = None
        self._making = threading.Lock()
        self._closing = threading.Event()
        self._reached = False
        self._rings: list[tuple[Target, Callable[[], None]]] = []
        self._bell: Bell | None = None

    def client(self) -> KurrentDBClient:
        """Return the client, on any thread but the loop's: with several servers it asks for the leader first."""
        with self._making:
            if self._client is None:
                self._client = KurrentDBClient(self.place.uri)
            return self._client

    async def call(self, thread: OwnThread, work: Callable[[KurrentDBClient], R]) -> R:
        def patiently() -> R:
            until = time.monotonic() + PATIENCE
            delay = _FIRST
            while True:
                try:
                    result = work(self.client())
                except (exceptions.KurrentDBClientError, ValueError) as error:
                    meaning = words.explain(error, self.place)
                    gone = isinstance(meaning, StoreUnreachable)
                    if not (gone and self._reached and time.monotonic() + delay < until):
                        if meaning is error:
                            raise
                        raise meaning from error
                    if self._closing.wait(delay):
                        raise meaning from error
                    delay = min(2 * delay, _LAST)
                else:
                    self._reached = True
                    return result

        return await thread.ask(patiently).wait()

    def heard(self, streams: Collection[str] | None) -> None:
        """Wake who waits for one of these streams, or for all; from any thread."""
        for target, ring in tuple(self._rings):
            if streams is None or any(_wants(target, stream) for stream in streams):
                ring()

    def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        with _lock:
            self._rings.append((target, ring))
            if self._bell is None:
                self._bell = Bell(self.place.identity, self.client, poll, self.heard)
            self._bell.hurry(poll)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        with _lock:
            if (target, ring) in self._rings:
                self._rings.remove((target, ring))
            bell = None
            if not self._rings:
                bell, self._bell = self._bell, None
        if bell is not None:
            await bell.close()

    async def close(self) -> None:
        self._closing.set()
        await self.reader.end(lambda: None)
        await self.writer.end(self._close_client)

    def _close_client(self) -> None:
        if self._client is not None:
            self._client.close()


def _wants(target: Target, stream: str) -> bool:
    if isinstance(target, str):
        return target == stream
    return target is ALL or (isinstance(target, Category) and target.name == category_of(stream))


class KurrentBackend(Backend):
    """The streams of the server, or cluster, at ``url``."""

    def __init__(self, url: str) -> None:
        self._place = words.Place(url)
        self.url = self._place.shown
        self.identity = self._place.identity
        self._store: _Store | None = None
        self._users = 0

    async def open(self) -> None:
        with _lock:
            if self._store is None:
                store = _open.get(self._name)
                if store is None:
                    store = _open[self._name] = _Store(self._place)
                store.users += 1
                self._store = store
            self._users += 1
            if self._users > 1:
                return  # somebody else of this object has asked, or is about to
        try:
            await self._read(calls.end_of_all)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        with _lock:
            store = self._store
            assert store is not None
            self._users -= 1
            if self._users:
                return
            self._store = None
            store.users -= 1
            last = store.users == 0
            if last:
                _open.pop(self._name, None)
        if last:
            await store.close()

    @property
    def _name(self) -> tuple[int, int]:
        # The process's number is part of the name: threads don't survive a fork.
        return os.getpid(), self._place.token

    @property
    def _running(self) -> _Store:
        if self._store is None:
            raise RuntimeError(f"{self.url}: used before open()")
        return self._store

    async def _read(self, work: Callable[[KurrentDBClient], R]) -> R:
        return await self._running.call(self._running.reader, work)

    async def _write(self, work: Callable[[KurrentDBClient], R]) -> R:
        return await self._running.call(self._running.writer, work)

    async def append(self, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
        words.checked(stream)
        events = [words.new_event(stream, entry) for entry in entries]
        ids = [str(entry[0]) for entry in entries]

        def work(client: KurrentDBClient) -> Appended:
            while True:
                last = calls.stream(client, stream, None, max(LOOK, 2 * len(ids)), True)
                actual = last[0].version if last else -1
                repeated = decide(stream, ids, words.known_ids(last, ids), actual, expected)
                if repeated is not None:
                    [again] = [event.position for event in last if event.version == repeated]
                    return Appended(repeated, again, repeated=True)
                if not events:
                    return Appended(actual, None)
                # Always with the version that was looked at: what was decided holds for that one only.
                position = calls.append(client, stream, events, actual)
                if position is not None:
                    return Appended(actual + len(events), position)

        return await self._write(work)

    async def end(self, target: Target) -> int:
        if isinstance(target, str):
            return await self._read(lambda client: calls.end_of(client, target))
        return await self._read(calls.end_of_all)

    async def page(self, target: Target, start: int, limit: int, *, backwards: bool = False) -> Page:
        def work(client: KurrentDBClient) -> Page:
            # Looked at first: what is appended after this look is read the next time.
            end = calls.end_of(client, target) if isinstance(target, str) else calls.end_of_all(client)
            start_ = min(start, end - 1) if backwards else start
            if start_ < 0 or start_ >= end or limit < 1:
                return Page([], -1 if backwards else max(start, end))
            if isinstance(target, str):
                found = calls.stream(client, target, start_, limit, backwards)
            else:
                found = calls.every(client, target, start_, limit, backwards)
            if not found:
                return Page([], -1 if backwards else end)
            last = found[-1].at(target)
            return Page(found, last - 1 if backwards else last + 1)

        return await self._read(work)

    async def streams(self) -> list[str]:
        def work(client: KurrentDBClient) -> list[str]:
            return sorted(calls.names(client))

        return await self._read(work)

    async def join(self, target: Target, group: str, start: Start) -> int:
        name = words.group_stream(target, group)

        def work(client: KurrentDBClient) -> int:
            position, _ = calls.position(client, name)
            end = calls.end_of(client, target) if isinstance(target, str) else calls.end_of_all(client)
            if position is not None:
                if position > end:
                    raise TopicCorrupt(
                        f"{self.url}: ends at {end}, but group {group} has read up to {position}: "
                        "events are lost; restore the database from a backup"
                    )
                return position
            first = start if isinstance(start, int) else 0 if start == "earliest" else end
            if first > end:
                raise ArgumentError(
                    f"subscribe(group={group!r}, start={start}): {self.url} has positions 0 to {end}"
                )
            # All but the last are of no use any more.
            calls.limited(client, name)
            return calls.commit(client, name, first)

        return await self._write(work)

    async def commit(self, target: Target, group: str, position: int) -> None:
        name = words.group_stream(target, group)
        await self._write(lambda client: calls.commit(client, name, position))

    async def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        self._running.listen(target, ring, poll)

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        await self._running.ignore(target, ring)

    async def save_snapshot(self, stream: str, name: str, version: int, data: bytes) -> None:
        event = NewEvent(type="Snapshot", data=data, metadata=json.dumps({"version": version}).encode())
        await self._write(
            lambda client: client.append_to_stream(
                words.snapshot_stream(stream, name),
                events=[event],
                current_version=StreamState.ANY,
                timeout=calls.TIMEOUT,
            )
        )

    async def snapshot(self, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
        kept = words.snapshot_stream(stream, name)
        return await self._read(lambda client: calls.snapshot(client, kept, until))

    async def set_metadata(self, stream: str, data: bytes) -> bool:
        return await self._write(lambda client: calls.set_metadata(client, stream, data))

    async def metadata(self, stream: str) -> bytes | None:
        return await self._read(lambda client: calls.metadata(client, stream))
