"""One connection to RabbitMQ with one channel, and another one when it is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import anyio.lowlevel
import anyio.to_thread
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel as _Channel
from aiormq.connection import Connection, TransportFactory
from pamqp import commands
from yarl import URL

from reactor.connectors.brokers import Address, Backoff
from reactor.connectors.rabbitmq.errors import FAILURES, ConnectionLost, Lost, is_forever, told
from reactor.connectors.rabbitmq.settings import RabbitMQ
from reactor.core import TopicError

R = TypeVar("R")

Deliver = Callable[[int, bool, Any, bytes], None]
"""Called with the tag, whether it was delivered before, the properties and the body."""

_ATTEMPT = 10.0
"""Seconds of one attempt to connect."""
_FAREWELL = 2.0
"""Seconds in which the client may take its leave."""


class Channel(_Channel):
    """A channel that hands over deliveries at once, and tells when the server has cancelled its consumer."""

    deliver: Deliver = staticmethod(lambda tag, again, properties, body: None)
    gone: Callable[[], None] = staticmethod(lambda: None)
    """Called when the server has cancelled the consumer."""
    returned: Callable[[], None] | None = None
    """Called, where set, for a message without a queue; the server confirms it afterwards, as any other."""

    async def _on_deliver_frame(self, frame: commands.Basic.Deliver) -> None:
        header: Any = await self._get_frame()
        missing = header.body_size
        parts: list[bytes] = []
        while missing > 0:
            body: Any = await self._get_frame()
            parts.append(body.value)
            missing -= len(body.value)
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        self.deliver(frame.delivery_tag or 0, bool(frame.redelivered), header.properties, whole)

    async def _on_return_frame(self, frame: commands.Basic.Return) -> None:
        if self.returned is None:
            return await super()._on_return_frame(frame)
        header: Any = await self._get_frame()
        missing = header.body_size
        while missing > 0:
            body: Any = await self._get_frame()
            missing -= len(body.value)
        self.returned()

    async def _on_cancel_frame(self, frame: commands.Basic.CancelOk | commands.Basic.Cancel) -> None:
        await super()._on_cancel_frame(frame)
        if isinstance(frame, commands.Basic.Cancel):
            self.gone()  # the queue was deleted, or its node is gone


class _Transport(TransportFactory):
    """A socket that is open already, and is kept here: it may have to be cut off."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends = reader, writer

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._ends

    def cut(self) -> None:
        self._ends[1].transport.abort()


class Server:
    """Where and as whom to connect."""

    def __init__(self, address: Address, settings: RabbitMQ, vhost: str, what: str) -> None:
        self.address = address
        self.settings = settings
        self.vhost = vhost
        self.what = what

    def context(self) -> ssl.SSLContext:
        """Read the certificates; blocking."""
        settings = self.settings
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.private_key or None)
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def url(self, host: str, port: int) -> URL:
        address = self.address
        user = "guest" if address.user is None else address.user
        password = "guest" if address.user is None else address.password or ""
        account = f"{quote(user, safe='')}:{quote(password, safe='')}"
        heartbeat = self.settings.heartbeat
        name = quote(f"reactor {self.what}", safe="")
        return URL(f"amqp://{account}@{host}:{port}/?heartbeat={heartbeat}&name={name}", encoded=True)


class Link:
    """Is made again by ``again`` when it was lost; ``prepare`` is called on each new channel before it counts."""

    def __init__(
        self, server: Server, prepare: Callable[[Channel], Awaitable[None]], woken: Callable[[], None]
    ) -> None:
        self._server = server
        self._prepare = prepare
        self._woken = woken
        """Called when it is lost."""
        self._context: ssl.SSLContext | None = None
        self._connection: Connection | None = None
        self._transport: _Transport | None = None
        self._channel: Channel | None = None
        self._backoff = Backoff(server.what)
        self._lock = anyio.Lock()
        self._calls: set[asyncio.Future[Any]] = set()
        self.up = False
        self.generation = 0
        self.reason: BaseException | None = None
        """Why it was lost."""

    @property
    def channel(self) -> Channel:
        if self._channel is None or not self.up:
            raise Lost
        return self._channel

    @property
    def frame_max(self) -> int:
        """The largest frame, in bytes."""
        assert self._connection is not None
        return self._connection.connection_tune.frame_max or 1 << 31

    async def open(self) -> None:
        """Connect; TopicError when that isn't possible within the patience, or never will be."""
        what, patience = self._server.what, self._server.settings.patience
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise TopicError(f"{what}: its client needs asyncio; run it there") from None
        if self._server.address.scheme == "amqps":
            try:
                self._context = await anyio.to_thread.run_sync(self._server.context)
            except OSError as error:
                raise TopicError(
                    f"{what}: certificates can't be read: {error}; see ca=, certificate="
                ) from error
        backoff = Backoff(what, patience=patience)
        while True:
            try:
                await self._attempt(min(max(patience, 1.0), _ATTEMPT))
            except FAILURES as error:
                if is_forever(error):
                    raise TopicError(f"{what}: {told(error)}") from error
                await backoff.failed(ConnectionLost(told(error)))
            else:
                return backoff.reached()

    async def again(self) -> bool:
        """Connect again, however long it takes; False where it was done already, by another task."""
        async with self._lock:
            if self.up:
                return False
            while True:
                try:
                    await self._attempt(_ATTEMPT)
                except FAILURES as error:
                    await self._backoff.failed(ConnectionLost(told(error)))
                else:
                    self._backoff.reached()
                    return True

    async def _attempt(self, seconds: float) -> None:
        await self.drop()
        error: Exception | None = None
        for host, port in self._server.address.hosts:
            try:
                with anyio.fail_after(seconds):
                    return await self._connect(host, port)
            except FAILURES as failed:
                error = failed
            except BaseException:
                await self.drop()
                raise
            await self.drop()
            if is_forever(error):
                break
        assert error is not None
        raise error

    async def _connect(self, host: str, port: int) -> None:
        name = host.strip("[]")
        self._transport = _Transport(*await asyncio.open_connection(name, port, ssl=self._context))
        self._connection = connection = Connection(
            self._server.url(host, port), transport_factory=self._transport
        )
        connection.vhost = self._server.vhost
        await connection.connect()
        channel = Channel(connection, 1, publisher_confirms=True, on_return_raises=False)
        connection.channels[1] = channel
        await channel.open()
        self._channel, self.reason = channel, None
        for closing in (connection.closing, channel.closing):
            closing.add_done_callback(partial(self._closed, channel))
        channel.gone = partial(self._lose, channel, Lost())
        self.generation += 1
        await self._prepare(channel)
        if self.reason is not None:
            raise Lost
        # Who looks at this finds all of the new connection, or nothing of it.
        self.up = True

    def _closed(self, channel: Channel, closing: asyncio.Future[Any]) -> None:
        self._lose(channel, Lost() if closing.cancelled() else closing.exception() or Lost())

    def _lose(self, channel: Channel, reason: BaseException) -> None:
        if self._channel is channel and self.reason is None:
            self.up = False
            self.reason = reason
            self._woken()

    def lose(self, reason: BaseException) -> None:
        """Let this connection count as lost."""
        if self._channel is not None:
            self._lose(self._channel, reason)

    async def call(self, request: Coroutine[Any, Any, R]) -> R:
        """Return what the server answers. A cancellation doesn't reach the client: it would close the channel."""
        call = asyncio.ensure_future(request)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(_looked_at)
        await asyncio.wait({call})
        return call.result()

    async def room(self) -> Channel:
        """Return once ``put`` can be called; raises Lost."""
        while (channel := self.channel).write_queue.full():
            await anyio.lowlevel.checkpoint()
        return channel

    @property
    def idle(self) -> bool:
        """Whether ``put`` can be called right now."""
        return self.up and self._channel is not None and not self._channel.write_queue.full()

    def put(self, frames: bytes) -> None:
        """Send whole frames, directly after ``room``."""
        self.channel.write_queue.put_nowait(ChannelFrame(frames, should_close=False))

    async def drop(self) -> None:
        """Disconnect, within seconds, whatever the server does. Not to be cancelled."""
        connection, self._connection = self._connection, None
        transport, self._transport = self._transport, None
        if self._channel is not None:
            self._channel.deliver = Channel.deliver  # its tags are none of the next one's
        if self.up:
            self.up = False
            self._woken()
        self._channel = None
        if transport is None or connection is None:
            return
        with anyio.CancelScope(shield=True):
            # A task of its own: what the client makes of a cancellation isn't one any more.
            closing = asyncio.ensure_future(connection.close())
            closing.add_done_callback(_looked_at)
            await asyncio.wait({closing}, timeout=_FAREWELL)
            transport.cut()
            await asyncio.wait({closing, *self._calls}, timeout=_FAREWELL)
            # Its own tasks see that it is closed.
            for _ in range(5):
                await anyio.lowlevel.checkpoint()


def _looked_at(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
