"""Topics: named logs that pipelines write to and read from, each at its own pace.

``topic("sqlite:shop.db/orders", OrderCompleted)`` is a durable log in a SQLite file,
``topic("memory:orders")`` one in memory,
``topic("kafka://localhost:9092/orders", OrderCompleted)`` one at a broker.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import entry_points
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import anyio

from reactor.connectors.brokers import Broker, Settings, without_password
from reactor.connectors.codec import Codec, JsonCodec, microseconds
from reactor.connectors.log import From, Log
from reactor.connectors.memory import MemoryLog
from reactor.connectors.registered import RegisteredTopicCodec
from reactor.connectors.sink import LogSink
from reactor.connectors.source import LogSource
from reactor.connectors.sqlite import SqliteLog
from reactor.core import ArgumentError, Duration, Record, Sink, Source, duration
from reactor.registry import Registered

if TYPE_CHECKING:
    from reactor.stream import Stream

__all__ = ["Topic", "topic"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

Make = Callable[[str, str, Any], tuple[Log, type[Codec]]]


def _sqlite(url: str, rest: str, config: Any) -> tuple[Log, type[Codec]]:
    _no_config(url, config)
    path, slash, name = rest.rpartition("/")
    if not slash or not name or not path.strip("/") or path.endswith("/") or path.startswith("//"):
        raise ArgumentError(f"topic({url!r}): write sqlite:PATH/TOPIC, for example sqlite:shop.db/orders")
    return SqliteLog(url, path, name), JsonCodec


def _memory(url: str, rest: str, config: Any) -> tuple[Log, type[Codec]]:
    _no_config(url, config)
    if not rest or rest.startswith("/"):
        raise ArgumentError(f"topic({url!r}): write memory:NAME, for example memory:orders")
    return MemoryLog(url, rest), Codec


def _no_config(url: str, config: Any) -> None:
    if config is not None:
        raise ArgumentError(f"topic({url!r}, config={config!r}): a topic of this machine has no settings")


def _found(scheme: str) -> Make | None:
    """A connector of somebody else: an entry point of that name in the group ``reactor.brokers``."""
    point = next(iter(entry_points(group="reactor.brokers", name=scheme)), None)
    if point is None:
        return None
    kind: type[Broker] = point.load()
    return _of(lambda: kind)


def _at(module: str, name: str) -> Make:
    """A broker's topics; its module is loaded when there is one."""

    return _of(lambda: getattr(importlib.import_module(f"reactor.connectors.{module}"), name))


def _of(found: Callable[[], type[Broker]]) -> Make:
    def make(url: str, rest: str, config: Any) -> tuple[Log, type[Codec]]:
        broker = found().at(url, config)
        broker.config = config
        return broker, JsonCodec

    return make


_schemes: dict[str, Make] = {
    "sqlite": _sqlite,
    "memory": _memory,
    "kafka": _at("kafka", "KafkaBroker"),
    "amqp": _at("rabbitmq", "RabbitMQBroker"),
    "amqps": _at("rabbitmq", "RabbitMQBroker"),
    "nats": _at("nats", "NatsBroker"),
    "redis": _at("redis", "RedisBroker"),
    "rediss": _at("redis", "RedisBroker"),
    "sqs": _at("sqs", "SqsBroker"),
    "pubsub": _at("pubsub", "PubSubBroker"),
}


@overload
def topic(url: str, /, *, config: Settings | None = ..., codec: Registered | None = ...) -> Topic[object]: ...
@overload
def topic(
    url: str, a: type[A], /, *, config: Settings | None = ..., codec: Registered | None = ...
) -> Topic[A]: ...
@overload
def topic(
    url: str, a: type[A], b: type[B], /, *, config: Settings | None = ..., codec: Registered | None = ...
) -> Topic[A | B]: ...
@overload
def topic(
    url: str,
    a: type[A],
    b: type[B],
    c: type[C],
    /,
    *,
    config: Settings | None = ...,
    codec: Registered | None = ...,
) -> Topic[A | B | C]: ...
@overload
def topic(
    url: str,
    a: type[A],
    b: type[B],
    c: type[C],
    d: type[D],
    /,
    *,
    config: Settings | None = ...,
    codec: Registered | None = ...,
) -> Topic[A | B | C | D]: ...
@overload
def topic(
    url: str, /, *types: type[Any], config: Settings | None = ..., codec: Registered | None = ...
) -> Topic[Any]: ...


def topic(
    url: str, /, *types: type[Any], config: Settings | None = None, codec: Registered | None = None
) -> Topic[Any]:
    """Return the topic at ``url``, which carries events of these ``types``; nothing is opened yet.

    Without types, events are plain JSON values when they are read. A broker's options stand in the URL's query, or
    in ``config`` (``reactor.connectors.kafka.Kafka``, ...). ``codec`` is for payloads whose schemas stand in a
    registry (``reactor.registry.Registered``); the default is JSON. Raises ArgumentError for a URL that can't be
    one, and MissingExtra where the broker's client isn't installed.
    """
    known = ", ".join(f"{scheme}:" for scheme in _schemes)
    if not isinstance(url, str):
        raise ArgumentError(f"topic({url!r}): the first argument is a URL; known schemes: {known}")
    scheme, colon, rest = url.partition(":")
    shown = without_password(url)
    if not colon:
        raise ArgumentError(f"topic({shown!r}): has no scheme; known schemes: {known}")
    make = _schemes.get(scheme) or _found(scheme)
    if make is None:
        raise ArgumentError(f"topic({shown!r}): unknown scheme {scheme!r}; known schemes: {known}")
    if not rest.isprintable():
        raise ArgumentError(f"topic({shown!r}): the URL has characters that can't be printed; leave them out")
    log, own = make(url, rest, config)
    return Topic(
        log, own(log.topic, types) if codec is None else RegisteredTopicCodec(log.topic, types, codec)
    )


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
        """Its URL; without password, where there is one."""
        return self._log.url

    @property
    def name(self) -> str:
        return self._log.topic

    @property
    def types(self) -> tuple[type[Any], ...]:
        """The types of its events; empty where it takes any."""
        return tuple(self._codec.types.values())

    def __repr__(self) -> str:
        return f"topic({', '.join([repr(self.url), *self._codec.types])})"

    # In a pipeline ------------------------------------------------------------------------------------------

    @overload
    def subscribe(
        self, group: str, /, *, start: From = ..., poll: Duration = ..., follow: bool = ...
    ) -> Stream[T]: ...
    @overload
    def subscribe(
        self, group: str, a: type[A], /, *, start: From = ..., poll: Duration = ..., follow: bool = ...
    ) -> Stream[A]: ...
    @overload
    def subscribe(
        self,
        group: str,
        a: type[A],
        b: type[B],
        /,
        *,
        start: From = ...,
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
        start: From = ...,
        poll: Duration = ...,
        follow: bool = ...,
    ) -> Stream[A | B | C]: ...

    def subscribe(
        self,
        group: str,
        *types: type[Any],
        start: From = "earliest",
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

    def read(self, start: From = "earliest", *, follow: bool = False) -> Stream[T]:
        """Return the events from ``start`` on, without a group: nothing is saved, it can be done again."""
        from reactor.stream import Stream

        return Stream(self.source(start=start, follow=follow))

    def source(
        self,
        group: str | None = None,
        /,
        *types: type[Any],
        start: From = "earliest",
        poll: Duration = 1.0,
        follow: bool = True,
    ) -> Source[T]:
        """Return what ``subscribe`` (with a group) and ``read`` (without) make a stream of."""
        if group is not None and not (isinstance(group, str) and group and group.isprintable()):
            raise ArgumentError(f"subscribe({group!r}): a group is a name")
        log = self._log
        at_broker = isinstance(log, Broker)
        if isinstance(start, datetime):
            microseconds(start, "start")  # it has to have a time zone
            if not isinstance(log, Broker) or not log.capabilities.replay:
                raise ArgumentError(f"start={start!r}: {log.url} can't begin at a time")
        elif start not in ("earliest", "latest") and (type(start) is not int or start < 0 or at_broker):
            positions = "a time" if at_broker else "a position from 0 on"
            raise ArgumentError(f'start={start!r}: "earliest", "latest" or {positions}')
        seconds = duration(poll, "subscribe(poll")
        decode = self._codec.decoding(types)
        if isinstance(log, Broker):
            if not follow and not log.capabilities.ends:
                raise ArgumentError(f"follow=False: {log.url} can't tell where it ends; leave it out")
            kind = next(iter(self._codec.types)) if len(self._codec.types) == 1 else ""
            return log.source(decode, group=group, start=start, follow=follow, kind=kind)
        assert not isinstance(start, datetime)
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
        if isinstance(self._log, Broker):
            return self._log.sink(self._codec, key=key, headers=headers, time=time, id=id)
        return LogSink(self._log, self._codec, key=key, headers=headers, time=time, id=id)

    def beside(self, name: str, *types: type[Any]) -> Topic[Any]:
        """Return the topic of this name at the same place: the same file, or broker."""
        log = self._log
        if isinstance(log, Broker):
            other = log.beside(name)
            return Topic(other, JsonCodec(other.topic, types))
        scheme, _, rest = log.url.partition(":")
        place, slash, _ = rest.rpartition("/") if scheme != "memory" else ("", "", "")
        if slash and "/" in name:
            raise ArgumentError(f"beside({name!r}): no topic of a file has such a name")
        return topic(f"{scheme}:{place}{slash}{name}", *types)

    def _keeping(self) -> Topic[T]:
        """The same topic as one that keeps events until somebody looks at them: for dead letters."""
        log = self._log
        return Topic(log.keeping(), self._codec) if isinstance(log, Broker) else self

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

        A broker tells no positions (none are returned), and may have taken some of the events when this raises.

        One argument that is a list, tuple or iterator holds the events. Raises as ``sink`` does.
        """
        if len(events) == 1 and isinstance(events[0], list | tuple | Iterator):
            events = tuple(cast(Iterable[Any], events[0]))
        if isinstance(id, str) and len(events) > 1:
            raise ArgumentError(f"publish(id={id!r}): several events need a function that gives each its id")
        if events:
            await self._codec.open()
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

    async def records(self, start: From = "earliest") -> AsyncGenerator[Record[T], None]:
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
