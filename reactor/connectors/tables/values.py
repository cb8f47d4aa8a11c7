"""What a value of Python is in a column: numbers, text and bytes, and JSON for what has parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import msgspec

Convert = Callable[[Any], Any]


class Values:
    """Converts by the class of a value; ``known`` says how, also for what derives from its classes.

    An Enum is its value. What no class is known for is JSON text.
    """

    def __init__(self, known: Mapping[type, Convert]) -> None:
        self._known = dict(known)
        self._none = type(None)

    def of(self, kind: type) -> Convert:
        """Return what converts values of this class."""
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._find(kind)
        return found

    def _find(self, kind: type) -> Convert:
        if issubclass(kind, Enum):
            return lambda value: self.of(type(value.value))(value.value)
        return next((self._known[base] for base in kind.__mro__ if base in self._known), _json)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _same(value: Any) -> Any:
    return value


def _int64(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} doesn't fit into 64 bits")
    return int(value)


def _number(value: float) -> float:
    if value != value:
        raise ValueError("SQLite has no NaN; use None")
    return float(value)


def _moment(value: datetime) -> str:
    # All in UTC, so that the order of the texts is that of the times.
    return (value if value.utcoffset() is None else value.astimezone(UTC)).isoformat()


SQLITE: Mapping[type, Convert] = {
    type(None): _same,
    bool: int,
    int: _int64,
    float: _number,
    str: str,
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
    Decimal: str,
    datetime: _moment,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: cast(str, msgspec.to_builtins(value)),
    UUID: str,
}
"""Times are text as ISO 8601 has it, those with a time zone in UTC."""

POSTGRES: Mapping[type, Convert] = {
    type(None): _same,
    bool: bool,
    int: int,
    float: float,
    str: str,
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
    **dict.fromkeys((Decimal, datetime, date, time, timedelta, UUID), _same),
}
