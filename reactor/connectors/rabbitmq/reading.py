"""A message of AMQP as what it says of its event."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from reactor.connectors.brokers import Wire
from reactor.core import TopicError

_OTHER = "cloudEvents_"
"""What some write, where a colon can't stand."""

_SERVERS = frozenset(("x-delivery-count", "x-acquired-count", "x-stream-offset"))
"""Headers of the delivery, not of the message."""


UNREADABLE = (ValueError, OverflowError)
"""What the client fails with, and the connection, where it can't take a message apart."""


def unreadable(url: str, queue: str, error: BaseException) -> TopicError:
    return TopicError(
        f"{url}: {queue} has a message that AMQP's client can't take apart ({error}): most likely its timestamp "
        f"isn't in seconds. Have its publisher write seconds, and take that message out with another client"
    )


class Read(NamedTuple):
    """A message taken apart; ``id`` and ``time`` (microseconds since the epoch) are None where it has none."""

    id: str | None
    type: str
    key: str | None
    headers: Mapping[str, str] | None
    time: int | None
    data: bytes


def read(wire: Wire, properties: Any, body: bytes) -> Read:
    """Take a message apart; headers that aren't texts become texts."""
    headers: dict[str, str] = {}
    for name, value in (properties.headers or {}).items():
        if name in _SERVERS:
            continue
        if name.startswith(_OTHER):
            name = f"{wire.prefix}{name[len(_OTHER) :]}"
        headers[name] = value if value.__class__ is str else _text(value)
    if properties.content_type:
        headers["content-type"] = properties.content_type
    id, type, key, own, time, data = wire.read(headers, body)
    if time is None:
        time = _time(properties.timestamp)
    return Read(id or properties.message_id or None, type, key, own, time, data)


def now() -> int:
    """Return the time of a message that has none."""
    return clock.time_ns() // 1000


def named(found: Read) -> str:
    """Return the id of a message with a digest of the rest: the same in each process, when it comes again."""
    id, type, key, headers, time, data = found
    rest = repr((type, key, sorted(headers.items()) if headers else None, time, len(data)))
    digest = blake2b(rest.encode("utf-8", "backslashreplace"), digest_size=8)
    digest.update(data)
    return f"{id}#{digest.hexdigest()}"


def _time(stamp: datetime | None) -> int | None:
    if stamp is None:
        return None
    return int((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()) * 1_000_000


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return str(value)
