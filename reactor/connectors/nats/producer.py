"""Writing: sent ahead, confirmed one by one, sent again over a new connection with the same ids."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import msgspec
from nats.aio.msg import Msg

from reactor.connectors.brokers import Address, Producer, Wire
from reactor.connectors.log import Entry
from reactor.connectors.nats.headers import written
from reactor.connectors.nats.line import Line
from reactor.connectors.nats.link import ApiError, Gone, Link
from reactor.connectors.nats.settings import Nats
from reactor.connectors.nats.streams import Stream, find
from reactor.core import ArgumentError, Refused, TopicError, TopicFull

_CHUNK = 256 * 1024
"""Bytes that are written at once."""
_STALLED = 10.0
"""Seconds without a confirmation after which a connection counts as lost."""
_PAUSE = 0.2
_STORE_FAILED = 10077
_FULL = (10023, 10028, 10047, 10110)
"""Codes of the server for: no room in the account, in memory, on the disk, in the stream."""
_LATER = (429, 503)


class NatsProducer(Producer):
    """Publishes to a topic; ``in_flight`` and ``in_flight_bytes`` bound what isn't confirmed."""

    def __init__(self, what: str, address: Address, settings: Nats) -> None:
        self._what = what
        self._subject = address.path
        self._settings = settings
        self._wire = Wire(address.path)
        self._line = Line(what, address, settings, self._greet)
        self._stream: Stream | None = None
        self._largest = 0
        self._inbox = ""
        self._flying: dict[int, bytes] = {}
        """What isn't confirmed, in order, by number: the commands as they were sent."""
        self._refused: dict[int, bytes] = {}
        """What the server has refused: the next call sends it again, and raises until it is stored."""
        self._bytes = 0
        self._number = 0
        self._moved = anyio.Event()
        self._error: Exception | None = None
        self._trouble = ""

    async def open(self) -> None:
        self._forget()
        self._stream = self._error = None
        self._inbox = self._trouble = ""
        await self._line.open()

    async def _greet(self, link: Link) -> None:
        """Find the stream, and send again what isn't confirmed: the server knows it by its ids."""
        first = self._stream is None
        self._stream = await find(
            link, self._subject, self._settings, self._what, create=first and self._settings.create
        )
        sizes = [link.largest, *([self._stream.largest] if self._stream.largest > 0 else [])]
        self._largest = min(sizes)
        self._inbox = self._inbox or link.inbox()
        self._trouble = ""
        await link.subscribe(f"{self._inbox}.*", self._answered)
        if self._flying:
            await link.write(list(self._flying.values()))

    async def send(self, entries: Sequence[Entry]) -> None:
        await anyio.lowlevel.checkpoint()
        messages = self._messages(entries)
        if self._refused:
            await self.flush()
        at = 0
        while at < len(messages):
            link = await self._line.link()  # sends what is in flight, where it is a new one
            commands: list[bytes] = []
            size = 0
            while at < len(messages) and size < _CHUNK and self._room():
                block, data = messages[at]
                self._number += 1
                command = b"HPUB %b %b.%d %d %d\r\n%b%b\r\n" % (
                    *(self._subject.encode(), self._inbox.encode(), self._number),
                    *(len(block), len(block) + len(data), block, data),
                )
                self._flying[self._number] = command
                self._bytes += len(command)
                size += len(command)
                commands.append(command)
                at += 1
            if not commands:
                await self._wait()
                continue
            try:
                await link.write(commands)
            except Gone:
                continue  # the next connection sends all that is in flight

    def _messages(self, entries: Sequence[Entry]) -> list[tuple[bytes, bytes]]:
        """Return headers and data of each; raise Refused with those that the server wouldn't take."""
        found: list[tuple[bytes, bytes]] = []
        refused: dict[int, Exception] = {}
        for at, entry in enumerate(entries):
            id = self._wire.id_of(entry)
            try:
                # A stream may have other topics, too, with the same ids.
                block = written(self._wire.headers(entry, id=id), f"{self._subject}/{id}")
            except (ArgumentError, ValueError) as error:
                refused[at] = error
                continue
            size = len(block) + len(entry[5])
            if size > self._largest:
                refused[at] = TopicError(
                    f"{self._what}: a message of {size} bytes, headers included; the server takes "
                    f"{self._largest} at most (max_payload, or the stream's max_msg_size)"
                )
            found.append((block, entry[5]))
        if refused:
            raise Refused(refused)
        return found

    def _room(self) -> bool:
        settings = self._settings
        return len(self._flying) < settings.in_flight and (
            self._bytes < settings.in_flight_bytes or not self._flying
        )

    async def _answered(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        data = message.data
        if not data:
            headers = message.headers or {}
            self._later(f"{headers.get('Status')}: no stream answers")
        elif b'"error"' in data and "error" in (answer := msgspec.json.decode(data)):
            error = ApiError.of(answer["error"])
            full = error.err_code in _FULL or (
                error.err_code == _STORE_FAILED and "maximum" in error.description
            )
            if error.code in _LATER and not full:
                self._later(str(error))
            else:
                self._refuse(number, (TopicFull if full else TopicError)(f"{self._what}: {error}"))
        else:
            self._landed(number)
        self._moved.set()

    def _landed(self, number: int) -> None:
        command = self._flying.pop(number, None)
        if command is not None:
            self._bytes -= len(command)
        else:
            self._refused.pop(number, None)  # it was sent twice

    def _refuse(self, number: int, error: Exception) -> None:
        command = self._flying.pop(number, None)
        if command is not None:
            self._bytes -= len(command)
            self._refused[number] = command
            self._error = self._error or error

    def _later(self, trouble: str) -> None:
        self._trouble = self._trouble or trouble

    async def _wait(self) -> None:
        """Wait for a confirmation; return also where the connection was replaced."""
        try:
            link = await self._line.link()
            if self._trouble:
                await anyio.sleep(_PAUSE)
                link.fail(Gone(self._trouble))
                return
            if not self._flying:
                return
            self._moved = anyio.Event()
            with link.alive(), anyio.move_on_after(_STALLED) as stalled:
                await self._moved.wait()
            if stalled.cancelled_caught:
                link.fail(Gone(f"nothing was confirmed for {_STALLED:g} s"))
        except Gone:
            return

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self._refused:
            await self._send_refused()
        while self._flying:
            await self._wait()
        if self._refused and self._error is not None:
            raise self._error

    async def _send_refused(self) -> None:
        """Send it once more, with the same ids: first one alone, as all may well be refused again."""
        self._error = None
        first, *rest = sorted(self._refused)
        for numbers in ([first], rest):
            link = await self._line.link()
            again = {number: self._refused.pop(number) for number in numbers if number in self._refused}
            self._flying |= again
            self._bytes += sum(map(len, again.values()))
            with suppress(Gone):  # the next connection sends all that is in flight
                await link.write(list(again.values()))
            while self._flying:
                await self._wait()
            if self._error is not None:
                return

    async def close(self) -> None:
        await self._line.close()
        self._forget()

    def _forget(self) -> None:
        self._flying.clear()
        self._refused.clear()
        self._bytes = 0
