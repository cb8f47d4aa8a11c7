"""Reading a stream without a group: nothing is remembered at the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reactor.connectors.brokers import Consumer, Delivery
from reactor.connectors.log import From
from reactor.connectors.redis.entries import LAST, Entries, Id, Portion, before, parsed, written
from reactor.connectors.redis.place import Link, Place

_BLOCK = 1.0


async def last_id(link: Link, place: Place) -> Id:
    """Return the id of the stream's last entry; (0, 0) where it has none."""
    (found,) = await link.ask((b"XREVRANGE", place.key, b"+", b"-", b"COUNT", 1))
    return parsed(found[0][0]) if found else (0, 0)


def _position(id: Id) -> int:
    return id[0] << 64 | id[1]


class LogConsumer(Consumer):
    """Reads from an id on. A position is the last id read, as one number."""

    positional = True

    def __init__(self, place: Place, *, start: From, follow: bool) -> None:
        self._place = place
        self._start = start
        self._follow = follow
        self._entries = Entries(place)
        self._portion = Portion()
        self._link: Link | None = None
        self._at: Id = (0, 0)
        self._begun: dict[str, int] = {}
        """The end at which it began first."""
        self._end: Id | None = None

    async def open(self) -> None:
        self._place.need_asyncio()
        self._link = link = self._place.link()
        last = await link.insist(lambda: last_id(link, self._place), self._place.settings.patience)
        if self._start == "latest":
            self._at = last
            self._begun.setdefault(self._place.topic, _position(last))
        elif isinstance(self._start, datetime):
            self._at = parsed(before(self._start))
        else:
            self._at = (0, 0)
        self._end = None if self._follow else last

    async def seek(self, positions: Mapping[str, int]) -> None:
        for position in {**self._begun, **positions}.values():
            self._at = (position >> 64, position & LAST)

    def begun(self) -> Mapping[str, int]:
        return dict(self._begun)

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        link = self._link
        assert link is not None
        found: list[Any] = []
        while not found:
            if self._end is not None and self._at >= self._end:
                return None
            found = await link.insist(lambda: self._more(link, self._portion.next(limit)))
            if not found and self._end is not None:  # what was left has been trimmed
                return None
        deliveries: list[Delivery] = []
        partition = self._place.topic
        for name, fields in found:
            id = parsed(name)
            if self._end is not None and id > self._end:
                self._at = self._end
                break
            self._at = id
            deliveries.append(self._entries.read(name, fields, (partition, _position(id))))
        self._portion.came(deliveries)
        self._portion.gone(deliveries)
        return deliveries or None

    async def _more(self, link: Link, count: int) -> list[Any]:
        block: tuple[Any, ...] = (b"BLOCK", int(_BLOCK * 1000)) if self._follow else ()
        at = written(self._at)
        try:
            (reply,) = await link.ask(
                (b"XREAD", b"COUNT", count, *block, b"STREAMS", self._place.key, at), blocking=_BLOCK
            )
        except TimeoutError:
            self._portion.slow()
            raise
        return list(reply[0][1]) if reply else []

    async def settle(self, tokens: Sequence[Any]) -> None:
        """Nobody remembers."""

    async def close(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()
