"""Events as entries of a stream, and back: headers are fields, and one field is the event itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from reactor.connectors.brokers import Delivery, Wire
from reactor.connectors.brokers.pairs import Pairs
from reactor.connectors.codec import microseconds
from reactor.connectors.log import Entry
from reactor.connectors.redis.place import Place
from reactor.core import ArgumentError

LAST = (1 << 64) - 1
"""The highest number of an entry within its millisecond."""

Id = tuple[int, int]
"""Milliseconds, and the number among the entries of that millisecond."""


def parsed(id: bytes | str) -> Id:
    text = id if isinstance(id, str) else id.decode()
    before, _, after = text.partition("-")
    return int(before), int(after or 0)


def written(id: Id) -> str:
    return f"{id[0]}-{id[1]}"


def just_before(id: bytes) -> bytes:
    """Return the highest id below one; reading begins behind it."""
    millisecond, number = parsed(id)
    return written((millisecond, number - 1) if number else (millisecond - 1, LAST)).encode()


def before(moment: datetime) -> str:
    """Return the last id that an entry can have that was stored earlier."""
    millisecond = max(microseconds(moment, "start") // 1000, 1)
    return f"{millisecond - 1}-{LAST}"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


@lru_cache(1024)
def _name(text: str) -> bytes:
    return bulk(text.encode())


class Entries:
    """Packs and reads the entries of one stream."""

    def __init__(self, place: Place) -> None:
        self._wire = Wire(place.topic, "http")
        self._pairs = Pairs(self._wire)
        self._settings = settings = place.settings
        self._field = settings.field.encode()
        self._data = bulk(self._field)
        self._names = _Names()
        args = [b"XADD", place.key]
        if settings.maxlen is not None:
            args += [b"MAXLEN", b"~", str(settings.maxlen).encode()]
        args.append(b"*")
        self._args = len(args) + 2
        self._head = b"".join(map(bulk, args))
        self.server_takes: int | None = None
        """The server's proto-max-bulk-len, where it could be asked."""
        self.id_field = f"{self._wire.prefix}id".encode()

    def pack(self, entry: Entry, id: str) -> list[bytes]:
        """Return the command that stores it; ArgumentError for what an entry can't be."""
        data = entry[5]
        if len(data) > self._settings.max_bytes:
            raise ArgumentError(
                f"the event has {len(data)} bytes, and max_bytes={self._settings.max_bytes}: "
                "store it elsewhere and send where it is"
            )
        if self.server_takes is not None and len(data) > self.server_takes:
            raise ArgumentError(
                f"the event has {len(data)} bytes, and the server's proto-max-bulk-len was {self.server_takes} "
                "when this was opened: store it elsewhere and send where it is, or raise that"
            )
        headers = self._wire.headers(entry, id=id)
        if self._settings.field in headers:
            raise ArgumentError(
                f"headers=: {self._settings.field!r} is the field of the event; name it otherwise, or pass field="
            )
        head = [b"*%d\r\n" % (self._args + 2 * len(headers)), self._head]
        for name, text in headers.items():
            value = text.encode()
            head.append(b"%b$%d\r\n%b\r\n" % (_name(name), len(value), value))
        head.append(self._data)
        if len(data) < 4096:
            head.append(bulk(data))
            return [b"".join(head)]
        head.append(b"$%d\r\n" % len(data))
        return [b"".join(head), data, b"\r\n"]

    def new_id(self, entry: Entry) -> str:
        return self._wire.id_of(entry)

    def read(self, id: bytes, fields: Sequence[bytes], token: Any) -> Delivery:
        """Return an entry as it is delivered; one without the field is read as an object of its fields."""
        names = self._names
        data: bytes | None = None
        try:
            if fields[-2] == self._field:  # where it stands in ours
                data = fields[-1]
                ours = self._pairs.read(tuple(fields[:-2:2]), fields[1:-2:2])
                if ours is not None:
                    return Delivery(id.decode(), *ours, data, token)
                pairs = iter(fields[:-2])
                headers = {names[name]: value.decode() for name, value in zip(pairs, pairs, strict=True)}
            else:
                data, headers = self._other(fields)
        except UnicodeDecodeError:
            data, headers = self._other(fields)
        if data is None:
            data, headers = msgspec.json.encode(headers), {}
        told = self._wire.read(headers, data)
        time = told.time if told.time is not None else parsed(id)[0] * 1000
        return Delivery(id.decode(), told.type, told.key, told.headers, time, told.data, token)

    def _other(self, fields: Sequence[bytes]) -> tuple[bytes | None, dict[str, str]]:
        """Take an entry apart that somebody else has made."""
        pairs = iter(fields)
        data: bytes | None = None
        headers: dict[str, str] = {}
        for name, value in zip(pairs, pairs, strict=True):
            if name == self._field:
                data = value
            else:
                headers[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        return data, headers


class _Names(dict[bytes, str]):
    """Names of headers as text: the same few in most entries."""

    def __missing__(self, name: bytes) -> str:
        text = name.decode()
        if len(self) < 1000:
            self[name] = text
        return text


class Portion:
    """How many entries are asked for at once: few where they are large. Redis counts entries, not bytes."""

    most = 500
    _bytes = 8 * 1024 * 1024
    """of one reply, and of what waits to be received"""

    def __init__(self) -> None:
        self._typical = self._bytes // 16
        self._waiting = 0
        self._asked = self.most
        self._bound = float(self.most)

    def next(self, room: int) -> int:
        """Return how many, at most ``room``; 0 where enough waits already."""
        if self._waiting >= self._bytes:
            return 0
        return self.page(room)

    def page(self, room: int) -> int:
        """Return how many, at most ``room``, make a reply of a good size."""
        count = min(room, int(self._bound), max(self._bytes // self._typical, 1))
        self._asked = max(count, 1)
        return count

    def slow(self) -> None:
        """A reply took too long: ask for half as many, and for slowly more with each reply that comes."""
        self._bound = max(self._asked / 2, 1.0)

    def came(self, deliveries: Sequence[Delivery]) -> None:
        size = sum(len(each.data) + 256 for each in deliveries)
        self._typical = max(size // max(len(deliveries), 1), 1)
        self._waiting += size
        self._bound = min(self._bound * 17 / 16, self.most)

    def gone(self, deliveries: Sequence[Delivery]) -> None:
        self._waiting -= sum(len(each.data) + 256 for each in deliveries)
