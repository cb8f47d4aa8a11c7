"""Pulling: one request at a time for as many messages as there is room for; what arrives is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import anyio
import anyio.lowlevel
from nats.aio.msg import Msg

from reactor.connectors.brokers import Address, Consumer, Delivery, Wire
from reactor.connectors.nats.headers import read
from reactor.connectors.nats.line import Line
from reactor.connectors.nats.link import Gone, Leave, Link
from reactor.connectors.nats.settings import Nats
from reactor.connectors.nats.streams import Stream, consumer_info, find
from reactor.core import TopicError

_SECOND = 1_000_000_000
_EXPIRES = 30
_HEARTBEAT = 5
_SILENCE = _HEARTBEAT * 2.5
"""Seconds without a heartbeat after which a connection counts as lost."""
_PAUSE = 0.5


class Arrived(NamedTuple):
    """A message as it came."""

    sequence: int
    time: int
    """When it was stored: nanoseconds since the epoch."""
    reply: str
    """What an acknowledgement is sent to."""
    message: Msg


def arrived(message: Msg) -> Arrived:
    """Take the metadata of a message apart, which is in its reply subject."""
    # $JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.CONSUMER_SEQUENCE.TIME.PENDING, or with a domain and a hash
    # before the stream, and perhaps more behind
    parts = message.reply.split(".")
    at = 5 if len(parts) == 9 else 7
    return Arrived(int(parts[at]), int(parts[at + 2]), message.reply, message)


class Pull(Consumer):
    """What reading with a group and without one have in common."""

    def __init__(self, what: str, address: Address, settings: Nats, *, follow: bool) -> None:
        self._what = what
        self._subject = address.path
        self._settings = settings
        self._follow = follow
        self._wire = Wire(address.path)
        self._line = Line(what, address, settings, self._greet)
        self._buffer: deque[Delivery] = deque()
        self._stream: Stream | None = None
        self._consumer = ""
        """Its name."""
        self._asked = 0
        """How many messages the server still owes for the last request."""
        self._requests = 0
        self._inbox = ""
        self._leave: Leave | None = None
        self._trouble = ""
        self._wake = anyio.Event()
        self._last: int | None = None
        """Of one that doesn't follow: the sequence that it ends with."""

    async def open(self) -> None:
        self._buffer.clear()
        self._stream = self._last = None
        await self._line.open()

    async def _greet(self, link: Link) -> None:
        """Find the stream and the consumer at a new connection."""
        first = self._stream is None
        stream = await find(
            link, self._subject, self._settings, self._what, create=first and self._settings.create
        )
        if first and not self._follow:
            self._last = stream.last
        self._consumer = await self._join(link, stream, first=first)
        await self._listen(link)
        self._stream = stream

    async def _join(self, link: Link, stream: Stream, *, first: bool) -> str:
        """Find or make the consumer, and return its name."""
        raise NotImplementedError

    def _take(self, message: Arrived) -> None:
        """Keep a message."""
        raise NotImplementedError

    def _room(self) -> int:
        """Return how many more messages may be kept."""
        raise NotImplementedError

    async def _left(self, link: Link) -> Literal["more", "waiting", "none"]:
        """Of one that doesn't follow: whether there is more, or what may come back from other readers."""
        raise NotImplementedError

    async def _listen(self, link: Link) -> None:
        """Receive at a subject of its own from now on: what was asked for before doesn't come any more."""
        self._inbox = inbox = link.inbox()
        self._asked, self._trouble = 0, ""

        async def each(message: Msg) -> None:
            if inbox == self._inbox:
                self._got(message)

        self._leave = await link.subscribe(f"{inbox}.*", each)

    def _got(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            self._asked -= 1
            self._take(arrived(message))
        elif message.subject == f"{self._inbox}.{self._requests}":
            headers = message.headers or {}
            status = headers.get("Status")
            if status != "100":
                self._asked = 0
                if status not in ("404", "408"):
                    self._trouble = f"{status} {headers.get('Description', '').strip()}"
        self._wake.set()

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                link = self._line.now
                if link is None and not self._buffer:
                    link = await self._line.link()
                if link is not None and await self._ask(link):
                    return None
                if self._buffer:
                    # Nothing may be awaited from here on: what is taken out has to be returned.
                    return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
                if link is not None and self._asked:
                    await self._wait(link)
                elif link is not None and self._trouble:
                    await self._mend(link)
            except Gone:
                continue

    async def _ask(self, link: Link) -> bool:
        """Ask for as many as there is room for, before they are needed. True where there won't be any more."""
        if self._asked or self._trouble:
            return False
        room = self._room()
        if self._last is None:
            if room > 0 and (not self._buffer or room * 2 >= self._settings.prefetch):
                await self._request(
                    link, batch=room, expires=_EXPIRES * _SECOND, idle_heartbeat=_HEARTBEAT * _SECOND
                )
        elif not self._buffer:
            left = await self._left(link)
            if left == "none":
                return True
            if left == "more":
                await self._request(link, batch=max(room, 1), no_wait=True)
            else:
                await self._request(link, batch=1, expires=round(_PAUSE * _SECOND))
        return False

    async def _request(self, link: Link, batch: int, **how: object) -> None:
        assert self._stream is not None
        self._requests += 1
        self._asked = batch
        consumer = f"{self._stream.name}.{self._consumer}"
        await link.ask(consumer, f"{self._inbox}.{self._requests}", batch=batch, **how)

    async def _wait(self, link: Link) -> None:
        """Wait until something arrives."""
        self._wake = anyio.Event()
        with link.alive(), anyio.move_on_after(_SILENCE) as silence:
            await self._wake.wait()
        if silence.cancelled_caught:
            link.fail(Gone(f"nothing was heard for {_SILENCE:g} s"))

    async def _mend(self, link: Link) -> None:
        """Look what is wrong with the consumer, with a new connection."""
        if "maxrequest" in self._trouble.lower():
            raise TopicError(f"{self._what}: {self._trouble}; pass a smaller prefetch=")
        await anyio.sleep(_PAUSE)
        link.fail(Gone(f"the server answered: {self._trouble}"))

    def _delivery(self, message: Arrived, token: object) -> Delivery:
        told = self._wire.read(read(message.message.headers), message.message.data)
        time = message.time // 1000 if told.time is None else told.time
        return Delivery(str(message.sequence), told.type, told.key, told.headers, time, told.data, token)

    async def _state(self, link: Link) -> dict[str, Any]:
        """Return what the server says of the consumer."""
        assert self._stream is not None
        return await consumer_info(link, self._stream.name, self._consumer, self._what)
