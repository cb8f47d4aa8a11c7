"""Reading without a group: in order, from a position that only the reader remembers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import anyio
import anyio.lowlevel

from reactor.connectors.brokers import Address
from reactor.connectors.log import From
from reactor.connectors.nats.link import ApiError, Gone, Link
from reactor.connectors.nats.pull import Arrived, Pull
from reactor.connectors.nats.settings import Nats
from reactor.connectors.nats.streams import Stream, find, read_from
from reactor.core import TopicError

_ONLY = "stream"
"""The name of the only partition."""
_GOODBYE = 2.0


class StreamReader(Pull):
    """Reads for nobody's group. A token is (its only partition, the sequence behind the message)."""

    positional = True

    def __init__(self, what: str, address: Address, settings: Nats, *, start: From, follow: bool) -> None:
        super().__init__(what, address, settings, follow=follow)
        self._start: From = start
        self._settled: int | None = None
        self._next: int | None = None
        """The sequence to go on with; None: where it starts."""
        self._begun: dict[str, int] = {}
        """The end at which it began first."""
        self._created = ""
        """When the stream was made that it has read from."""

    async def open(self) -> None:
        self._next = self._settled
        await super().open()

    async def _join(self, link: Link, stream: Stream, *, first: bool) -> str:
        self._check(stream)
        if self._next is None and self._start == "latest":
            self._next = stream.last + 1
            self._begun.setdefault(_ONLY, self._next)
        name = f"reactor-{secrets.token_hex(8)}"
        start = self._start if self._next is None else self._next
        try:
            await read_from(link, stream.name, name, self._subject, start)
        except ApiError as error:
            raise TopicError(f"{self._what}: {error}") from error
        return name

    def _check(self, stream: Stream) -> None:
        """Raise TopicError where the sequence to go on with is of another stream than this one."""
        another = self._created not in ("", stream.created)
        if self._next is not None and (another or self._next > stream.end + 1):
            raise TopicError(
                f"{self._what}: stream {stream.name} was made again, or has lost messages: it was made "
                f"{stream.created} and ends with {stream.end}, and this reader goes on at {self._next}; "
                "delete its checkpoint, and start it again"
            )
        self._created = stream.created

    def _take(self, message: Arrived) -> None:
        if self._next is not None and message.sequence < self._next:
            return
        self._next = message.sequence + 1
        if self._last is None or message.sequence <= self._last:
            self._buffer.append(self._delivery(message, (_ONLY, self._next)))

    def _room(self) -> int:
        return self._settings.prefetch - len(self._buffer)

    async def _left(self, link: Link) -> Literal["more", "waiting", "none"]:
        assert self._last is not None
        if self._last == 0 or (self._next is not None and self._next > self._last):
            return "none"
        return "more" if (await self._state(link))["num_pending"] > 0 else "none"

    async def seek(self, positions: Mapping[str, int]) -> None:
        position = {**self._begun, **positions}.get(_ONLY)
        if position is None or (position == self._next and not self._buffer):
            return
        self._buffer.clear()
        self._next = position
        while True:
            link = await self._line.link()
            try:
                self._stream = await find(link, self._subject, self._settings, self._what, create=False)
                self._consumer = await self._join(link, self._stream, first=False)
                await self._listen(link)
                return
            except Gone:
                continue

    def begun(self) -> Mapping[str, int]:
        return dict(self._begun)

    async def settle(self, tokens: Sequence[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        if tokens:
            self._settled = tokens[-1][1]

    async def close(self) -> None:
        link = self._line.now
        if link is not None and self._stream is not None:
            with anyio.move_on_after(_GOODBYE), suppress(Gone, ApiError, TopicError):
                await link.api(f"CONSUMER.DELETE.{self._stream.name}.{self._consumer}")
        self._buffer.clear()
        await self._line.close()
