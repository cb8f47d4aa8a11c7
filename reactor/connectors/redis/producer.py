"""Writing to a stream: each batch is one transaction and one round trip."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from reactor.connectors.brokers import Producer
from reactor.connectors.log import Entry
from reactor.connectors.redis.entries import Entries, Id, parsed
from reactor.connectors.redis.place import Link, Place, errors
from reactor.connectors.redis.reader import last_id
from reactor.core import ArgumentError, Refused, TopicError, TopicFull

log = logging.getLogger("reactor")

_COUNT = 1000
_BYTES = 8 * 1024 * 1024
_WAIT = 1.0
"""Seconds for which the server is asked at once to wait for its replicas."""

_SURE = 1024 * 1024
"""A value that every server takes: proto-max-bulk-len can't be less."""

_MULTI = b"*1\r\n$5\r\nMULTI\r\n"
_EXEC = b"*1\r\n$4\r\nEXEC\r\n"


class _Batch:
    """Events that are stored together or not at all."""

    def __init__(self) -> None:
        self.packed: list[bytes] = [_MULTI]
        self.count = 0
        self.size = 0
        self.first = b""
        """The id of its first event."""
        self.sent = False
        """Its replies are due on the connection."""
        self.doubtful = False
        """It was sent, and the connection was lost before it was confirmed."""
        self.stored = False
        self.lost = 0
        """How often a connection was lost while it was on its way."""


class RedisProducer(Producer):
    """Sends one batch while the next one is made; ``flush`` returns when the last one is confirmed.

    After a connection was lost it looks whether the batch is in the stream, before it sends it again.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._entries = Entries(place)
        self._link: Link | None = None
        self._batch: _Batch | None = None
        self._last: Id = (0, 0)

    async def open(self) -> None:
        self._place.need_asyncio()
        self._batch = None
        self._link = link = self._place.link()
        await link.insist(self._look, self._place.settings.patience)

    async def _look(self) -> None:
        """Note where the stream ends now: what is sent from now on stands behind it."""
        assert self._link is not None
        try:
            self._last = await last_id(self._link, self._place)
        except errors.NoPermissionError:  # one that may only write; it can't look after a loss either
            self._last = (0, 0)
        try:
            (told,) = await self._link.ask((b"CONFIG", b"GET", b"proto-max-bulk-len"))
        except errors.ResponseError:  # not permitted, or not there
            told = ()
        self._entries.server_takes = int(told[1]) if told else None

    async def send(self, entries: Sequence[Entry]) -> None:
        batches = self._batches(entries)
        for batch in batches:
            await self.flush()
            await self._send(batch)

    def _batches(self, entries: Sequence[Entry]) -> list[_Batch]:
        batches: list[_Batch] = []
        refused: dict[int, Exception] = {}
        batch = _Batch()
        for index, entry in enumerate(entries):
            id = self._entries.new_id(entry)
            try:
                pieces = self._entries.pack(entry, id)
            except ArgumentError as error:
                refused[index] = ArgumentError(f"{self._place.url}: {error}")
                continue
            size = sum(map(len, pieces))
            if batch.count and (batch.count == _COUNT or batch.size + size > _BYTES):
                batches.append(batch)
                batch = _Batch()
            if not batch.count:
                batch.first = id.encode()
            batch.packed += pieces
            batch.count += 1
            batch.size += size
        if refused:
            raise Refused(refused)
        if batch.count:
            batches.append(batch)
        for each in batches:
            each.packed.append(_EXEC)
        return batches

    async def _send(self, batch: _Batch) -> None:
        """Put a batch on its way; where it can't be sent now, ``flush`` does."""
        link = self._link
        assert link is not None
        self._batch = batch
        if not link.connected:
            return
        try:
            batch.sent = batch.doubtful = True
            await link.write(batch.packed)
        except Exception as error:
            batch.sent = False
            if isinstance(self._place.judge(error), TopicError):
                raise
        except BaseException:
            self._batch = None  # its caller gives it up
            raise

    async def flush(self) -> None:
        if self._batch is None:
            return
        link = self._link
        assert link is not None
        full: TopicFull | None = None
        began = asyncio.get_running_loop().time()
        pause = 0.05
        while full := await link.insist(self._confirmed):
            waited = asyncio.get_running_loop().time() - began
            if waited >= self._place.settings.full_wait:
                raise full
            if pause == 0.05:
                log.warning("%s; trying again", full)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
        self._batch = None

    async def _confirmed(self) -> TopicFull | None:
        """Return when the batch is stored; what is full, where it isn't."""
        batch, link = self._batch, self._link
        assert batch is not None
        assert link is not None
        try:
            if not batch.sent:
                await link.connect()
                batch.stored = batch.stored or (batch.doubtful and await self._is_there(batch))
                if batch.stored:
                    await self._spread()
                    return None
                if batch.doubtful:
                    batch.lost += 1
                if batch.lost >= 2:
                    await self._fits(batch)
                batch.sent = batch.doubtful = True
                await link.write(batch.packed)
            replies = await link.replies(batch.count + 2)
        finally:
            batch.sent = False
        done = replies[-1]
        if isinstance(done, Exception):
            batch.doubtful = False  # none of it was stored
            cause = next((reply for reply in replies if isinstance(reply, Exception)), done)
            if isinstance(cause, errors.ReadOnlyError):
                await link.close()
            if isinstance(cause, errors.OutOfMemoryError) or str(cause).startswith("MISCONF"):
                return TopicFull(
                    f"{self._place.url}: the server is full: {cause}; trim streams (maxlen=), or give it room"
                )
            raise cause
        for reply in done:
            if isinstance(reply, Exception):
                raise reply
        batch.stored = True
        self._last = parsed(done[-1])
        await self._replicated()
        return None

    async def _fits(self, batch: _Batch) -> None:
        """Raise TopicError where it has a value too large for the server, which resets the connection midway.

        The server is told how large a value will be: it refuses that before it has come. If not, all is well.
        """
        link = self._link
        assert link is not None
        size = max(map(len, batch.packed))
        if size <= _SURE:
            return
        replies: list[Any] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT):
                await link.write([b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % size])
                replies = await link.replies(1)
        await link.close()
        if replies and "invalid bulk length" in str(replies[0]):
            raise TopicError(
                f"{self._place.url}: an event has {size} bytes, and the server's proto-max-bulk-len is less: "
                "raise it there, or pass the same as max_bytes=: then such an event is refused before it is sent"
            )
        await link.connect()

    async def _is_there(self, batch: _Batch) -> bool:
        """Look for the batch behind what was in the stream before it."""
        link = self._link
        assert link is not None
        at = f"({self._last[0]}-{self._last[1]}"
        name = self._entries.id_field
        while True:
            try:
                (rows,) = await link.ask((b"XRANGE", self._place.key, at, b"+", b"COUNT", 200))
            except errors.NoPermissionError:
                log.warning(
                    "%s: may not read: events may be stored twice after a lost connection", self._place.url
                )
                return False
            for id, fields in rows:
                for place in range(0, len(fields), 2):
                    if fields[place] == name and fields[place + 1] == batch.first:
                        self._last = parsed(id)
                        return True
            if not rows:
                return False
            at = f"({rows[-1][0].decode()}"

    async def _replicated(self) -> None:
        """Return when enough replicas have what this connection wrote."""
        wanted = self._place.settings.wait_replicas
        link = self._link
        assert link is not None
        while wanted:
            (count,) = await link.ask((b"WAIT", wanted, int(_WAIT * 1000)), blocking=_WAIT)
            if count >= wanted:
                return

    async def _spread(self) -> None:
        """The same where another connection wrote it: WAIT knows its own only."""
        wanted = self._place.settings.wait_replicas
        link = self._link
        assert link is not None
        until: int | None = None
        while wanted:
            (text,) = await link.ask((b"INFO", b"replication"))
            told = dict(line.partition(":")[::2] for line in text.decode().splitlines())
            # Nothing is counted before there is a replica, and one at 0 may still be loading.
            until = max(int(told["master_repl_offset"]), 1) if until is None else until
            replicas = [told[name] for name in told if name.startswith("slave") and "offset=" in told[name]]
            offsets = [int(each.partition("offset=")[2].partition(",")[0]) for each in replicas]
            if sum(offset >= until for offset in offsets) >= wanted:
                return
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        link, self._link, self._batch = self._link, None, None
        if link is not None:
            await link.close()
