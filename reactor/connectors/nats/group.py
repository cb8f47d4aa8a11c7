"""Reading for a group: a durable consumer that several readers share, each message acknowledged by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import anyio
import anyio.lowlevel

from reactor.connectors.brokers import Address
from reactor.connectors.log import From
from reactor.connectors.nats.link import Gone, Link, publishing
from reactor.connectors.nats.pull import Arrived, Pull
from reactor.connectors.nats.settings import Nats
from reactor.connectors.nats.streams import Stream, consumer_of, join
from reactor.core import TopicError

_SECOND = 1_000_000_000
_GOODBYE = 3.0
_PAUSE = 0.5
"""Seconds between two newer messages that one that doesn't follow takes, while it waits for those of others."""
_REMEMBERED = 10_000
"""So many acknowledgements are said again after a reconnect, and their messages known if they come again: a server
writes its record of acknowledgements a moment later than it answers, and a kill takes that moment from it."""


class _Held:
    """A message that isn't settled."""

    __slots__ = ("connection", "reply", "since", "time")

    def __init__(self, reply: str, time: int, connection: int, since: float) -> None:
        self.reply = reply
        self.time = time
        self.connection = connection
        """The number of the connection that it came by."""
        self.since = since
        """When its lease began, on the loop's clock."""


class GroupConsumer(Pull):
    """Reads for a group. A token is (number of the opening, sequence)."""

    positional = False

    def __init__(
        self, what: str, address: Address, settings: Nats, group: str, *, start: From, follow: bool
    ) -> None:
        super().__init__(what, address, settings, follow=follow)
        self.prefetch = settings.prefetch
        self._group = group
        self._start: From = start
        self._held: dict[int, _Held] = {}
        self._newer: set[int] = set()
        """What is held of what came after the end, of one that doesn't follow: given back, it would come again."""
        self._pause = False
        self._opening = 0
        self._connection = 0
        self._ack_wait = settings.ack_wait
        self._recent: deque[tuple[int, _Held]] = deque(maxlen=_REMEMBERED)
        self._again: set[tuple[int, int]] = set()
        """(sequence, time) of what was acknowledged before the connection was lost."""
        self._unwanted: list[bytes] = []
        """Acknowledgements of those that came again."""
        self._keeping: asyncio.Task[None] | None = None
        self._keeping_on = anyio.CancelScope()

    async def open(self) -> None:
        self._opening += 1
        self._held.clear()
        self._newer.clear()
        await super().open()
        self._keeping_on = anyio.CancelScope()
        self._keeping = asyncio.create_task(self._keep(), name=f"leases of {self._what}")

    async def _join(self, link: Link, stream: Stream, *, first: bool) -> str:
        info = await join(
            *(link, stream.name, self._group, self._subject, self._settings, self._start, self._what),
            create=first,
        )
        self._connection += 1
        self._ack_wait = info["config"].get("ack_wait", 30 * _SECOND) / _SECOND
        if self._recent:
            self._again = {(sequence, held.time) for sequence, held in self._recent}
            await link.write([publishing(held.reply, b"+ACK") for _, held in self._recent])
        return consumer_of(self._group)

    def _take(self, message: Arrived) -> None:
        sequence = message.sequence
        now = asyncio.get_running_loop().time()
        held = self._held.get(sequence)
        if held is not None and held.time == message.time:
            # Its lease had run out, or the server forgot that; it is here already.
            held.reply, held.connection, held.since = message.reply, self._connection, now
            return
        if self._again and (sequence, message.time) in self._again:
            self._again.discard((sequence, message.time))
            self._unwanted.append(publishing(message.reply, b"+ACK"))
            return
        self._held[sequence] = _Held(message.reply, message.time, self._connection, now)
        if self._last is None or sequence <= self._last:
            self._buffer.append(self._delivery(message, (self._opening, sequence)))
        else:
            self._newer.add(sequence)
            self._pause = True

    def _room(self) -> int:
        return self._settings.prefetch - len(self._held) + len(self._newer)

    async def _left(self, link: Link) -> Literal["more", "waiting", "none"]:
        assert self._last is not None
        await self._acknowledge_unwanted(link)
        state = await self._state(link)
        if state["num_pending"] > 0 and state["delivered"]["stream_seq"] < self._last:
            return "more"
        elsewhere = state["num_ack_pending"] - len(self._held)
        if elsewhere > 0 and state["ack_floor"]["stream_seq"] < self._last:
            if self._pause:
                await anyio.sleep(_PAUSE)
                self._pause = False
            return "waiting"
        return "none"

    async def settle(self, tokens: Sequence[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        while True:
            mine = [
                (sequence, held)
                for opening, sequence in tokens
                if opening == self._opening and (held := self._held.get(sequence)) is not None
            ]
            if not mine:
                return
            try:
                link = await self._line.link()
                await self._acknowledge_unwanted(link)
                now = self._connection
                answering = [held.reply for _, held in mine if held.connection == now]
                others = {sequence: held.reply for sequence, held in mine if held.connection != now}
                await link.write(
                    [publishing(reply, b"+ACK") for reply in [*others.values(), *answering[:-1]]]
                )
                if answering:
                    # The server handles them in order: once it has answered to the last one, all are done.
                    await link.request(answering[-1], b"+ACK")
            except Gone:
                continue
            for sequence, held in mine:
                self._held.pop(sequence, None)
                self._recent.append((sequence, held))
                if sequence in others:
                    # A server that was killed may not know that it has delivered it: then it gives no answer, and
                    # delivers it again, or has done so meanwhile.
                    self._again.add((sequence, held.time))
                    if held.reply != others[sequence]:
                        self._unwanted.append(publishing(held.reply, b"+ACK"))
            return

    async def _acknowledge_unwanted(self, link: Link) -> None:
        if self._unwanted:
            unwanted, self._unwanted = self._unwanted, []
            await link.write(unwanted)

    async def _keep(self) -> None:
        """Tell the server in time that what is held here is being worked on."""
        with self._keeping_on:
            await self._extend()

    async def _extend(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ack_wait / 4)
            due = [each for each in self._held.values() if each.since + self._ack_wait / 3 <= loop.time()]
            if not due and not self._unwanted:
                continue
            try:
                link = await self._line.link()
                await self._acknowledge_unwanted(link)
                now = loop.time()
                await link.write([publishing(each.reply, b"+WPI") for each in due])
            except Gone:
                continue
            except TopicError:
                return  # receive and settle come upon it, too
            for each in due:
                each.since = now

    async def close(self) -> None:
        if self._keeping is not None:
            # A scope, as the client swallows a cancellation at times: a scope repeats it.
            self._keeping_on.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        link = self._line.now
        if link is not None and self._leave is not None:
            with anyio.move_on_after(_GOODBYE), suppress(Gone, TopicError):
                with link.alive():
                    await self._leave()  # what is under way comes first
                await self._acknowledge_unwanted(link)
                # Asked, the server drops our request, which the first message would go to, and then to the end.
                await self._state(link)
                await link.write([publishing(held.reply, b"-NAK") for _, held in sorted(self._held.items())])
                await link.settled()
        self._held.clear()
        self._buffer.clear()
        await self._line.close()
