"""A record: an event as it came from a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

T_co = TypeVar("T_co", covariant=True)

NO_HEADERS: Mapping[str, str] = {}


class Record(msgspec.Struct, Generic[T_co], frozen=True):
    """An event as it came from a source.

    ``time`` is integer microseconds since the epoch, ``position`` whatever the source's
    ``seek`` takes to read this record again (for logs: an offset). ``raw`` holds the bytes
    before decoding where the source had any, so that a dead letter can keep them. ``place`` is where the broker
    keeps it (``"3@4711"``: offset 4711 of partition 3), where the position is only this source's own count.
    ``part`` is the partition that it came from, of a source that is ``partitioned``.
    """

    value: T_co
    key: str | None = None
    headers: Mapping[str, str] = NO_HEADERS
    time: int | None = None
    position: int | None = None
    topic: str | None = None
    raw: bytes | None = None
    place: str | None = None
    part: str | None = None
