"""The event store: streams of events with versions, read back to rebuild state."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, overload

import anyio
import msgspec

from reactor.connectors.codec import Codec, JsonCodec, microseconds
from reactor.connectors.log import Entry, Start
from reactor.contracts import contract_of, tag
from reactor.core import ArgumentError, Duration, duration
from reactor.eventstore.backend import Backend
from reactor.eventstore.events import (
    ALL,
    ANY,
    All,
    Appended,
    Category,
    Direction,
    EventStoreError,
    Expected,
    NewEvent,
    Position,
    Snapshot,
    StoredEvent,
    Target,
    category_of,
)
from reactor.eventstore.memory import MemoryBackend
from reactor.eventstore.reading import Events
from reactor.eventstore.sqlite import SqliteBackend
from reactor.eventstore.subscription import Subscription
from reactor.stream import Stream

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@overload
def event_store(url: str, /) -> EventStore[object]: ...
@overload
def event_store(url: str, a: type[A], /) -> EventStore[A]: ...
@overload
def event_store(url: str, a: type[A], b: type[B], /) -> EventStore[A | B]: ...
@overload
def event_store(url: str, a: type[A], b: type[B], c: type[C], /) -> EventStore[A | B | C]: ...
@overload
def event_store(url: str, a: type[A], b: type[B], c: type[C], d: type[D], /) -> EventStore[A | B | C | D]: ...
@overload
def event_store(url: str, /, *types: type[Any]) -> EventStore[Any]: ...


def event_store(url: str, /, *types: type[Any]) -> EventStore[Any]:
    """Return the store at ``url``, whose streams carry events of these ``types``; nothing is opened yet.

    ``sqlite:PATH`` is a file, and its streams the topics ``sqlite:PATH/NAME``; ``memory:NAME`` lives as long as
    the process. ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE`` keeps them in the schema ``reactor``, or
    ``?schema=NAME``; it is made at the first use. ``kurrentdb://USER:PASSWORD@HOST:2113`` are the streams of a
    KurrentDB, whose positions rise but have holes. Without types, events are plain JSON values when they are read.
    Raises ArgumentError for a URL that can't be one, MissingExtra where the store's client isn't installed.
    """
    scheme, colon, rest = url.partition(":") if isinstance(url, str) else ("", "", "")
    if scheme in ("postgresql", "postgres"):
        from reactor.eventstore.postgres import PostgresBackend

        backend = PostgresBackend(url)
        return EventStore(backend, JsonCodec(backend.url, types))
    if scheme.partition("+")[0] in ("kurrentdb", "kdb", "esdb"):
        from reactor.eventstore.kurrent import KurrentBackend

        server = KurrentBackend(url)
        return EventStore(server, JsonCodec(server.url, types))
    if not colon or scheme not in ("sqlite", "memory") or not rest.strip("/") or not rest.isprintable():
        raise ArgumentError(
            f"event_store({url!r}): write sqlite:PATH, memory:NAME or postgresql://..., for example sqlite:shop.db"
        )
    if rest.endswith("/") or (scheme == "memory" and rest.startswith("/")):
        raise ArgumentError(f"event_store({url!r}): a store is a file or a name, without a slash at its end")
    if scheme == "sqlite":
        return EventStore(SqliteBackend(url, rest), JsonCodec(url, types))
    return EventStore(MemoryBackend(url, rest), Codec(url, types))


class EventStore(Generic[T]):
    """Append-only streams of events of type T. Versions count a stream's events from 0, positions all of them.

    The calls that are awaited open the store and close it again. ``async with store:`` keeps it open between
    them, which is much faster where they are many.
    """

    def __init__(self, backend: Backend, codec: Codec) -> None:
        self._backend = backend
        self._codec = codec

    @property
    def url(self) -> str:
        return self._backend.url

    def __repr__(self) -> str:
        return f"event_store({', '.join([repr(self.url), *self._codec.types])})"

    # Writing ------------------------------------------------------------------------------------------------

    async def append(
        self,
        stream: str,
        events: Iterable[T | NewEvent[T]],
        *,
        expected_version: int | Expected = ANY,
    ) -> Appended:
        """Append the events as one transaction; return once they are durable.

        ``expected_version`` is the version of the stream's last event, or ``NO_STREAM``, ``EXISTS``, ``ANY``:
        raises VersionClash where it isn't so. An append whose ids are there already is a repetition: it changes
        nothing and returns what the first one did; RepeatedIds where only some of them are. Raises ArgumentError
        for events that the store doesn't take, TopicFull, TopicLocked, TopicCorrupt, TopicError.
        """
        _name(stream, "append")
        if not isinstance(expected_version, Expected) and (
            type(expected_version) is not int or expected_version < 0
        ):
            raise ArgumentError(
                f"append({stream!r}, expected_version={expected_version!r}): a version from 0 on, or NO_STREAM, "
                "EXISTS, ANY"
            )
        if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
            raise ArgumentError(f"append({stream!r}, {events!r}): pass a list of events")
        entries: list[Entry] = []
        for event in events:
            entries += self._entry(event)
        ids = [entry[0] for entry in entries]
        if len(set(ids)) < len(ids):
            twice = next(id for n, id in enumerate(ids) if id in ids[:n])
            raise ArgumentError(
                f"append({stream!r}): the id {twice!r} is given twice; each event has its own"
            )
        async with self._opened():
            return await self._backend.append(stream, entries, expected_version)

    def _entry(self, event: T | NewEvent[T]) -> list[Entry]:
        if isinstance(event, NewEvent):
            new = cast("NewEvent[T]", event)
            id = new.id if new.id is not None else str(uuid.uuid4())
            return self._codec.entries([new.value], new.key, new.metadata or None, new.time, id)
        return self._codec.entries([event], None, None, None, str(uuid.uuid4()))

    # Reading ------------------------------------------------------------------------------------------------

    def read(
        self,
        stream: str,
        from_version: int | None = None,
        direction: Direction = "forwards",
        limit: int | None = None,
    ) -> Events[T]:
        """Read a stream from a version on, itself included; by default from its start, or backwards from its end.

        Iterate the result with ``async for``, or await its ``collect()``. A stream that isn't there has no events.
        """
        _name(stream, "read")
        return self._read("read(from_version", stream, from_version, direction, limit)

    def read_all(
        self,
        position: int | None = None,
        direction: Direction = "forwards",
        limit: int | None = None,
        *,
        category: str | None = None,
    ) -> Events[T]:
        """Read all streams, or those of a category, in the order in which they were written; else as ``read``."""
        target = ALL if category is None else _target(Category(category), "read_all")
        return self._read("read_all(position", target, position, direction, limit)

    def _read(
        self, what: str, target: Target, start: int | None, direction: Direction, limit: int | None
    ) -> Events[T]:
        if start is not None and (type(start) is not int or start < 0):
            raise ArgumentError(f"{what}={start!r}): an int from 0 on")
        if direction not in ("forwards", "backwards"):
            raise ArgumentError(
                f'{what.partition("(")[0]}(direction={direction!r}): "forwards" or "backwards"'
            )
        if limit is not None and (type(limit) is not int or limit < 0):
            raise ArgumentError(f"{what.partition('(')[0]}(limit={limit!r}): an int from 0 on")
        decode = self._codec.decoding(())
        return Events(self._backend, self._opened, target, decode, start, direction, limit)

    async def version(self, stream: str) -> int | None:
        """Return the version of the stream's last event; None where there is no such stream."""
        _name(stream, "version")
        async with self._opened():
            end = await self._backend.end(stream)
        return end - 1 if end else None

    async def position(self) -> int | None:
        """Return the position of the last event of all; None where there are none."""
        async with self._opened():
            end = await self._backend.end(ALL)
        return end - 1 if end else None

    async def streams(self, category: str | None = None) -> list[str]:
        """Return the names of the streams, or of those of a category, sorted."""
        async with self._opened():
            names = await self._backend.streams()
        return [name for name in names if category is None or category_of(name) == category]

    # In a pipeline ------------------------------------------------------------------------------------------

    def subscribe(
        self,
        target: Target = ALL,
        from_: Start = "earliest",
        *,
        group: str | None = None,
        types: Iterable[type[Any]] = (),
        follow: bool = True,
        poll: Duration = 1.0,
    ) -> Stream[StoredEvent[T]]:
        """Return the events of a stream, a ``Category`` or ``ALL`` as a stream: what is there, then what comes.

        ``from_`` is ``"earliest"``, ``"latest"``, or the first version (of one stream) or position wanted. With
        a ``group`` its position is saved and the next run goes on there; ``from_`` is where a new one begins.
        Events of other than these ``types`` are passed over. ``poll``: after this time the store is looked at
        even though no writer has called. Without ``follow``, it ends at the end as of opening.
        """
        return Stream(self.source(target, from_, group=group, types=types, follow=follow, poll=poll))

    def source(
        self,
        target: Target = ALL,
        from_: Start = "earliest",
        *,
        group: str | None = None,
        types: Iterable[type[Any]] = (),
        follow: bool = True,
        poll: Duration = 1.0,
    ) -> Subscription[T]:
        """Return what ``subscribe`` makes a stream of."""
        if from_ not in ("earliest", "latest") and (type(from_) is not int or from_ < 0):
            raise ArgumentError(
                f'subscribe(from_={from_!r}): "earliest", "latest", or a version or position from 0'
            )
        if group is not None and not (isinstance(group, str) and group and group.isprintable()):
            raise ArgumentError(f"subscribe(group={group!r}): a group is a name")
        seconds = duration(poll, "subscribe(poll")
        decode = self._codec.decoding(tuple(types))
        return Subscription(
            self._backend,
            _target(target, "subscribe"),
            decode,
            group=group,
            start=from_,
            follow=follow,
            poll=seconds,
        )

    # State --------------------------------------------------------------------------------------------------

    async def fold(
        self,
        target: Target,
        initial: S | Callable[[], S],
        apply: Callable[[S, StoredEvent[T]], S],
        *,
        until: int | datetime | Position | None = None,
        snapshot: type[S] | None = None,
        every: int = 100,
        name: str | None = None,
    ) -> S:
        """Return the state that the events of a stream, a ``Category`` or ``ALL`` add up to.

        ``initial`` is a value that nobody can change, or a function that makes one. ``until`` is the last that
        counts: a version (of one stream), a ``Position`` of the store, or an aware datetime (events of that time
        or before). With ``snapshot=`` (the type of the state; of one stream) it begins with the last snapshot, and
        saves one where ``every`` events or more came after it; another ``name`` begins anew, for another state.
        """
        checked = _target(target, "fold")
        if isinstance(initial, list | dict | set | bytearray):
            raise ArgumentError(
                f"fold(initial={initial!r}): could be changed by apply; pass a function that makes one, as list"
            )
        before: int | None = None
        if isinstance(until, datetime):
            before = microseconds(until, "fold(until")
        elif until is not None and not isinstance(until, Position):
            if type(until) is not int or until < 0 or not isinstance(checked, str):
                raise ArgumentError(
                    f"fold(until={until!r}): a version from 0 on of one stream, an aware datetime, or Position(n)"
                )
        if snapshot is not None and not isinstance(checked, str):
            raise ArgumentError("fold(snapshot=...): snapshots are of one stream")
        if type(every) is not int or every < 1:
            raise ArgumentError(f"fold(every={every!r}): must be >= 1")
        start = 0
        async with self._opened():
            made: object = initial() if callable(initial) else initial
            state = cast("S", made)
            # A snapshot says nothing of times and positions: it may be past those that are asked for.
            if (
                snapshot is not None
                and isinstance(checked, str)
                and (until is None or isinstance(until, int))
            ):
                kept = await self.snapshot(checked, snapshot, name=name, until=until)
                if kept is not None:
                    state, start = kept.state, kept.version + 1
            version = start - 1
            async for event in self._read("fold(", checked, start, "forwards", None):
                if type(until) is int and event.version > until:
                    break
                if isinstance(until, Position) and event.position > until.value:
                    break
                if before is None or event.time <= before:
                    state = apply(state, event)
                version = event.version
            if snapshot is not None and until is None and version - start + 1 >= every:
                await self.save_snapshot(cast(str, checked), state, version, name=name, kind=snapshot)
        return state

    async def save_snapshot(
        self,
        stream: str,
        state: S,
        version: int,
        *,
        name: str | None = None,
        kind: type[S] | None = None,
    ) -> None:
        """Keep the state after the event ``version``; it is JSON, so later changes of the object don't matter.

        Its ``name`` is that of its class (``kind`` where it is another). Raises ArgumentError for what JSON can't
        say, or a version that the stream hasn't reached.
        """
        _name(stream, "save_snapshot")
        try:
            data = msgspec.json.encode(state)
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"save_snapshot({stream!r}): the state isn't JSON: {error}") from error
        async with self._opened():
            end = await self._backend.end(stream)
            if type(version) is not int or not 0 <= version < end:
                raise ArgumentError(
                    f"save_snapshot({stream!r}, version={version!r}): the stream has versions up to {end - 1}"
                )
            label = _label(kind or type(state), name, tag(kind or type(state))[1])
            await self._backend.save_snapshot(stream, label, version, data)

    async def snapshot(
        self, stream: str, kind: type[S], *, name: str | None = None, until: int | None = None
    ) -> Snapshot[S] | None:
        """Return the last snapshot (at a version up to ``until``); None without one.

        One of an older version of the state's contract is brought on by its upcasters. Raises EventStoreError
        where what was saved doesn't fit ``kind`` any more.
        """
        _name(stream, "snapshot")
        contract, found = contract_of(kind), None
        written = contract.version
        async with self._opened():
            for written in range(contract.version, 0, -1):
                found = await self._backend.snapshot(stream, _label(kind, name, written), until)
                if found is not None:
                    break
        if found is None:
            return None
        version, data = found
        try:
            if written != contract.version:
                return Snapshot(contract.load(msgspec.json.decode(data), written), version)
            return Snapshot(msgspec.json.decode(data, type=kind), version)
        except (msgspec.MsgspecError, ValueError) as error:
            raise EventStoreError(
                f"snapshot({stream!r}): what was saved at version {version} is no {_kind(kind)}: {error}; "
                "give the changed state another name="
            ) from error

    # Metadata of streams ------------------------------------------------------------------------------------

    async def set_metadata(self, stream: str, metadata: Mapping[str, object]) -> None:
        """Replace what is kept beside the stream: JSON values by name. Raises EventStoreError without a stream."""
        _name(stream, "set_metadata")
        try:
            data = msgspec.json.encode(dict(metadata))
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"set_metadata({stream!r}): isn't JSON: {error}") from error
        async with self._opened():
            if not await self._backend.set_metadata(stream, data):
                raise EventStoreError(
                    f"set_metadata({stream!r}): there is no such stream; append to it first"
                )

    async def metadata(self, stream: str) -> dict[str, object]:
        """Return what is kept beside the stream; empty where nothing is."""
        _name(stream, "metadata")
        async with self._opened():
            data = await self._backend.metadata(stream)
        return {} if data is None else msgspec.json.decode(data, type=dict[str, object])

    # Open and closed ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> EventStore[T]:
        await self._backend.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._backend.close()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None, None]:
        async with self:
            yield


def _kind(kind: Any) -> str:
    return str(getattr(kind, "__qualname__", kind))


def _label(kind: Any, name: str | None, version: int) -> str:
    """The name of a snapshot: each version of the state's contract has its own."""
    return (name or _kind(kind)) + ("" if version == 1 else f"@{version}")


def _name(stream: Any, call: str) -> str:
    if not isinstance(stream, str) or not stream or "/" in stream or not stream.isprintable():
        raise ArgumentError(f"{call}({stream!r}): a stream is a name without a slash, for example order-123")
    return stream


def _target(target: Any, call: str) -> Target:
    if isinstance(target, All):
        return target
    if isinstance(target, Category):
        _name(target.name, f"{call}(Category")
        if "-" in target.name:
            raise ArgumentError(
                f"{call}({target!r}): a category is what stands before the first dash: "
                f"{category_of(target.name)!r}"
            )
        return target
    return _name(target, call)
