"""Topics: named logs that pipelines write to and read from, each at its own pace.

``topic("sqlite:shop.db/orders", OrderCompleted)`` is a durable log in a SQLite file,
``topic("memory:orders")`` one in memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import anyio

from reactor.connectors.codec import Codec, JsonCodec
from reactor.connectors.log import Log, Start
from reactor.connectors.memory import MemoryLog
from reactor.connectors.sink import LogSink
from reactor.connectors.source import LogSource
from reactor.connectors.sqlite import SqliteLog
from reactor.core import ArgumentError, Duration, Record, Sink, Source, duration

if TYPE_CHECKING:
    from reactor.stream import Stream

__all__ = ["Topic", "topic"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

Make = Callable[[str, str], tuple[Log, type[Codec]]]


def _sqlite(url: str, rest: str) -> tuple[Log, type[Codec]]:
    path, slash, name = rest.rpartition("/")
    if not slash or not name or not path.strip("/") or path.endswith("/") or path.startswith("//"):
        raise ArgumentError(f"topic({url!r}): write sqlite:PATH/TOPIC, for example sqlite:shop.db/orders")
    return SqliteLog(url, path, name), JsonCodec


def _memory(url: str, rest: str) -> tuple[Log, type[Codec]]:
    if not rest or rest.startswith("/"):
        raise ArgumentError(f"topic({url!r}): write memory:NAME, for example memory:orders")
    return MemoryLog(url, rest), Codec


_schemes: dict[str, Make] = {"sqlite": _sqlite, "memory": _memory}


@overload
def topic(url: str, /) -> Topic[object]: ...
@overload
def topic(url: str, a: type[A], /) -> Topic[A]: ...
@overload
def topic(url: str, a: type[A], b: type[B], /) -> Topic[A | B]: ...
@overload
def topic(url: str, a: type[A], b: type[B], c: type[C], /) -> Topic[A | B | C]: ...
@overload
def topic(url: str, a: type[A], b: type[B], c: type[C], d: type[D], /) -> Topic[A | B | C | D]: ...
@overload
def topic(url: str, /, *types: type[Any]) -> Topic[Any]: ...


def topic(url: str, /, *types: type[Any]) -> Topic[Any]:
    """Return the topic at ``url``, which carries events of these ``types``; nothing is opened yet.

    Without types, events are plain JSON values when they are read. Raises ArgumentError for a URL that
    can't be one.
    """
    known = ", ".join(f"{scheme}:" for scheme in _schemes)
    if not isinstance(url, str):
        raise ArgumentError(f"topic({url!r}): the first argument is a URL; known schemes: {known}")
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise ArgumentError(f"topic({url!r}): has no scheme; known schemes: {known}")
    if scheme not in _schemes:
        raise ArgumentError(f"topic({url!r}): unknown scheme {scheme!r}; known schemes: {known}")
    if not rest.isprintable():
        raise ArgumentError(f"topic({url!r}): the URL has characters that can't be printed; leave them out")
    log, codec = _schemes[scheme](url, rest)
    return Topic(log, codec(log.topic, types))


class Topic(Generic[T]):
    """A named log of events of type T; positions count its events from 0.

    The calls that are awaited open the topic and close it again. ``async with topic:`` keeps it open
    between them, which is much faster where they are many.
    """

    def __init__(self, log: Log, codec: Codec) -> None:
        self._log = log
        self._codec = codec

    @property
    def url(self) -> str:
        return self._log.url

    @property
    def name(self) -> str:
        return self._log.topic

    def __repr__(self) -> str:
        return f"topic({', '.join([repr(self.url), *self._codec.types])})"

    # In a pipeline ------------------------------------------------------------------------------------------

    @overload
    def subscribe(
        self, group: str, /, *, start: Start = ..., poll: Duration = ..., follow: bool = ...
    ) -> Stream[T]: ...
    @overload
    def subscribe(
        self, group: str, a: type[A], /, *, start: Start = ..., poll: Duration = ..., follow: bool = ...
    ) -> Stream[A]: ...
    @overload
    def subscribe(
        self,
        group: str,
        a: type[A],
        b: type[B],
        /,
        *,
        start: Start = ...,
        poll: Duration = ...,
        follow: bool = ...,
    ) -> Stream[A | B]: ...
    @overload
    def subscribe(
        self,
        group: str,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        start: Start = ...,
        poll: Duration = ...,
        follow: bool = ...,
    ) -> Stream[A | B | C]: ...

    def subscribe(
        self,
        group: str,
        *types: type[Any],
        start: Start = "earliest",
        poll: Duration = 1.0,
        follow: bool = True,
    ) -> Stream[Any]:
        """Return the events from the group's saved position on, and what comes; only these ``types``.

        A group is for one reader at a time. ``start`` is where one begins that is new. ``poll``: after this
        time the log is looked at even though no publisher has called. Without ``follow``, the stream ends at
        the log's end as of opening.
        """
        from reactor.stream import Stream

        return Stream(self.source(group, *types, start=start, poll=poll, follow=follow))

    def read(self, start: Start = 0, *, follow: bool = False) -> Stream[T]:
        """Return the events from ``start`` on, without a group: nothing is saved, it can be done again."""
        from reactor.stream import Stream

        return Stream(self.source(start=start, follow=follow))

    def source(
        self,
        group: str | None = None,
        /,
        *types: type[Any],
        start: Start = "earliest",
        poll: Duration = 1.0,
        follow: bool = True,
    ) -> Source[T]:
        """Return what ``subscribe`` (with a group) and ``read`` (without) make a stream of."""
        if group is not None and not (isinstance(group, str) and group and group.isprintable()):
            raise ArgumentError(f"subscribe({group!r}): a group is a name")
        if start not in ("earliest", "latest") and (type(start) is not int or start < 0):
            raise ArgumentError(f'start={start!r}: "earliest", "latest" or a position from 0 on')
        seconds = duration(poll, "subscribe(poll")
        decode = self._codec.decoding(types)
        return LogSource(self._log, decode, group=group, start=start, follow=follow, poll=seconds)

    def sink(
        self,
        *,
        key: Callable[[T], str | None] | None = None,
        headers: Callable[[T], Mapping[str, str] | None] | None = None,
        time: Callable[[T], int | datetime] | None = None,
        id: Callable[[T], str] | None = None,
    ) -> Sink[T]:
        """Return a sink that appends; each of its writes is one transaction.

        ``time`` gives aware datetimes or microseconds since the epoch (default: now); an event whose ``id``
        the topic has already is not stored again.
        """
        return LogSink(self._log, self._codec, key=key, headers=headers, time=time, id=id)

    # By hand ------------------------------------------------------------------------------------------------

    @overload
    async def publish(
        self,
        events: list[T] | tuple[T, ...] | Iterator[T],
        /,
        *,
        key: str | Callable[[T], str | None] | None = ...,
        headers: Mapping[str, str] | Callable[[T], Mapping[str, str] | None] | None = ...,
        time: int | datetime | Callable[[T], int | datetime] | None = ...,
        id: str | Callable[[T], str] | None = ...,
    ) -> list[int]: ...
    @overload
    async def publish(
        self,
        *events: T,
        key: str | Callable[[T], str | None] | None = ...,
        headers: Mapping[str, str] | Callable[[T], Mapping[str, str] | None] | None = ...,
        time: int | datetime | Callable[[T], int | datetime] | None = ...,
        id: str | Callable[[T], str] | None = ...,
    ) -> list[int]: ...

    async def publish(
        self, *events: Any, key: Any = None, headers: Any = None, time: Any = None, id: Any = None
    ) -> list[int]:
        """Append the events as one transaction, and return their positions once they are durable.

        One argument that is a list, tuple or iterator holds the events. Raises as ``sink`` does.
        """
        if len(events) == 1 and isinstance(events[0], list | tuple | Iterator):
            events = tuple(cast(Iterable[Any], events[0]))
        if isinstance(id, str) and len(events) > 1:
            raise ArgumentError(f"publish(id={id!r}): several events need a function that gives each its id")
        entries = self._codec.entries(events, key, headers, time, id)
        if not entries:
            return []
        async with self._opened():
            return await self._log.append(entries)

    async def length(self) -> int:
        """Return the number of events, which is the next one's position."""
        async with self._opened():
            return await self._log.length()

    async def groups(self) -> dict[str, int]:
        """Return each group and the position that it reads next."""
        async with self._opened():
            return await self._log.groups()

    async def position(self, group: str) -> int | None:
        """Return the position that the group reads next; None for one that has never subscribed."""
        return (await self.groups()).get(group)

    async def reset(self, group: str, position: int) -> None:
        """Let the group read on at ``position``; for a group that isn't running."""
        async with self._opened():
            await self._log.reset(group, position)

    async def records(self, start: Start = 0) -> AsyncGenerator[Record[T], None]:
        """Yield the records from ``start`` to the end as of now.

        Where the loop may be left early, put ``contextlib.aclosing`` around it, as with any such generator.
        """
        source = self.source(start=start, follow=False)
        try:
            await source.open()
            while (batch := await source.read(1000)) is not None:
                for record in batch:
                    yield record
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()

    async def __aenter__(self) -> Topic[T]:
        await self._log.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._log.close()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None, None]:
        async with self:
            yield
