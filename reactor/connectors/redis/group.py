"""Reading a stream with others: a consumer group hands out entries, and each is settled by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from reactor.connectors.brokers import Consumer, Delivery
from reactor.connectors.log import From
from reactor.connectors.redis.entries import Entries, Id, Portion, before, just_before, parsed, written
from reactor.connectors.redis.lease import RELEASED, Lease, new_name
from reactor.connectors.redis.place import Link, Place
from reactor.connectors.redis.reader import last_id

log = logging.getLogger("reactor")

_BLOCK = 0.5
"""Seconds that a read waits at the server; between two, what other readers left behind is looked for."""

_CLOSING = 3.0

_PAGE = 1000
"""Ids that are asked for at once."""


class GroupConsumer(Consumer):
    """One reader of a group. One task reads ahead, up to ``prefetch``, and one renews what is in flight.

    What the server has handed out to this reader and the reader hasn't received (a connection was lost) is asked
    for again by ``_own``; what it had received is known by its ids, and is left out there. What is beyond the end
    of one that doesn't follow is given back as it comes.
    """

    positional = False

    def __init__(self, place: Place, group: str, *, start: From, follow: bool) -> None:
        self._place = place
        self._group = group
        self._start = start
        self._follow = follow
        self._entries = Entries(place)
        self.prefetch = self._most = place.settings.prefetch
        self._min_idle = int(place.settings.claim_idle * 1000)
        self.trimmed = 0
        """How many entries were removed from the stream after they were handed out and before they were read."""
        self._lease: Lease | None = None
        self._link: Link | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        place = self._place
        place.need_asyncio()
        self._portion = Portion()
        self._buffer: deque[Delivery] = deque()
        self._known: set[str] = set()
        """Ids of what this reader has been given, and that isn't settled."""
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        self._ended = False
        self._swept = 0.0
        self._doubtful: float | None = None
        """When it connected, until all that was handed out before is known."""
        self._name = new_name()
        self._lease = Lease(place, self._group, self._name)
        self._link = link = place.link()
        start = "0-0"
        if self._start == "latest":
            start = "$"
        elif isinstance(self._start, datetime):
            start = before(self._start)
        await self._lease.join(start)
        self._end: Id | None = None
        if not self._follow:
            self._end = await link.insist(lambda: last_id(link, place), place.settings.patience)
        self._tasks = [
            asyncio.create_task(self._watched(self._work, link), name=f"redis {place.topic} read"),
            asyncio.create_task(
                self._watched(self._lease.keep, self._known), name=f"redis {place.topic} keep"
            ),
        ]

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await asyncio.sleep(0)
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        found = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._portion.gone(found)
        self._room.set()
        return found

    async def settle(self, tokens: Sequence[Any]) -> None:
        assert self._lease is not None
        if tokens:
            await self._lease.settle([token.encode() for token in tokens])
            self._known.difference_update(tokens)
            self._room.set()

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                # Where that can't be done, the others take it after claim_idle.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSING):
                        await lease.leave()
            except Exception as error:
                judged = self._place.judge(error)
                log.warning("%s: not handed over: %s: %s", self._place.url, type(judged).__name__, judged)
            finally:
                await lease.close()

    # In tasks of its own -------------------------------------------------------------------------------------

    async def _watched(self, work: Any, *args: Any) -> None:
        try:
            await work(*args)
        except Exception as error:
            self._error = error
            self._arrived.set()

    async def _work(self, link: Link) -> None:
        while not self._ended:
            await link.insist(lambda: self._step(link))

    async def _step(self, link: Link) -> None:
        """Get the next entries, or find that there is no room, or no end."""
        now = asyncio.get_running_loop().time()
        if not link.connected:
            await link.connect()
            self._doubtful, self._swept = now, 0.0
        if now - self._swept >= _BLOCK:
            if self._doubtful is not None:
                await self._own(link)
                if now - self._doubtful > 2 * _BLOCK:  # a read that waited under the old connection has ended
                    self._doubtful = None
            await self._read(link, 1, _NOTHING_BEHIND)  # a sign of life: one that waits gives none
            await self._claim(link)
            self._swept = now
        count = self._free()
        if count < 1:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BLOCK):
                    await self._room.wait()
            return
        found = await self._read(link, count, b">", block=self._follow)
        await self._take(found)
        if self._end is not None and (not found or parsed(found[-1][0]) >= self._end):
            if await self._nothing_comes(link):
                self._ended = True
                self._arrived.set()

    def _free(self) -> int:
        return self._portion.next(self._most - len(self._known))

    async def _read(self, link: Link, count: int, at: bytes, block: bool = False) -> list[Any]:
        blocking = (b"BLOCK", int(_BLOCK * 1000)) if block else ()
        reply = await self._ask(
            link,
            *(b"XREADGROUP", b"GROUP", self._group.encode(), self._name, b"COUNT", count, *blocking),
            *(b"STREAMS", self._place.key, at),
            blocking=_BLOCK,
        )
        return list(reply[0][1]) if reply else []

    async def _ask(self, link: Link, *command: Any, blocking: float = 0.0) -> Any:
        """Run one command; where its reply takes too long, less is asked for next time."""
        try:
            (reply,) = await link.ask(command, blocking=blocking)
        except TimeoutError:
            self._portion.slow()
            raise
        return reply

    async def _own(self, link: Link) -> None:
        """Take what was handed out to this reader and never arrived. Of what it has, only ids are sent."""
        pending = (b"XPENDING", self._place.key, self._group.encode())
        at = b"-"
        while rows := await self._ask(link, *pending, at, b"+", _PAGE, self._name):
            at = b"(" + rows[-1][0]
            missing = [row[0] for row in rows if row[0].decode() not in self._known]
            while missing:
                count = self._portion.page(len(missing))
                found = await self._read(link, count, just_before(missing[0]))
                if not found:
                    break
                await self._take(found)
                last = parsed(found[-1][0])
                missing = [id for id in missing if parsed(id) > last]

    async def _claim(self, link: Link) -> None:
        """Take what others gave back, or left behind."""
        at = b"0-0"
        while (count := self._free()) > 0:
            if self._end is not None:
                ids = await self._left_behind(link, at, self._end, count)
                if not ids:
                    return
                at, count = ids[0], len(ids)
            reply = await self._ask(
                link,
                *(b"XAUTOCLAIM", self._place.key, self._group.encode(), self._name, self._min_idle, at),
                *(b"COUNT", count),
            )
            self._gone(len(reply[2]) if len(reply) > 2 else 0)
            await self._take([row for row in reply[1] if row is not None])
            at = reply[0]
            if at == b"0-0":
                return

    async def _left_behind(self, link: Link, at: bytes, end: Id, count: int) -> list[bytes]:
        """Return ids of what may be taken: XAUTOCLAIM itself knows no end."""
        rows = await self._ask(
            link,
            *(b"XPENDING", self._place.key, self._group.encode(), b"IDLE", self._min_idle),
            *(at, written(end), count),
        )
        return [row[0] for row in rows]

    async def _take(self, found: Sequence[Any]) -> None:
        removed: list[bytes] = []
        beyond: list[bytes] = []
        end = self._end
        taken: list[Delivery] = []
        for name, fields in found:
            id = name.decode()
            if id in self._known:
                continue
            if fields is None:
                removed.append(name)
                continue
            if end is not None and parsed(id) > end:
                beyond.append(name)
                continue
            self._known.add(id)
            taken.append(self._entries.read(name, fields, id))
        if taken:
            self._portion.came(taken)
            self._buffer.extend(taken)
            self._arrived.set()
        if removed:
            assert self._lease is not None
            await self._lease.settle(removed)
            self._gone(len(removed))
        if beyond:
            assert self._lease is not None
            await self._lease.give_back(beyond)

    def _gone(self, count: int) -> None:
        if count:
            self.trimmed += count
            log.warning(
                "%s: %d entries were removed from the stream before group %s had handled them (%d by now): "
                "trim less (maxlen=), or let the group catch up",
                *(self._place.url, count, self._group, self.trimmed),
            )

    async def _nothing_comes(self, link: Link) -> bool:
        """Whether nothing up to the end is left that this reader might still get; waits until that is known.

        What a reader has that died comes here after ``claim_idle``; what one has that is alive is its own.
        """
        assert self._lease is not None
        assert self._end is not None
        until = written(self._end)
        seen: dict[bytes, int] = {}
        alive: set[bytes] = set()
        while True:
            await self._claim(link)
            waits = False
            for name, _, idle in await self._lease.others():
                if name not in alive and await self._lease.has(name, until):
                    if name != RELEASED and idle < seen.get(name, idle):
                        alive.add(name)
                    else:
                        waits = True
                    seen[name] = idle
            if not waits:
                return True
            await asyncio.sleep(_BLOCK / 10)


_NOTHING_BEHIND = b"18446744073709551615-18446744073709551614"  # the last id itself stands for ">"
