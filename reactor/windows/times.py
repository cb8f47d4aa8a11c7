"""Event times: integer microseconds since the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from reactor.core import ArgumentError, Duration, duration

Unit = Literal["s", "ms", "us"]

BEGINNING = -(2**62)
"""The watermark before anything has come."""

END_OF_TIME = 2**62
"""The watermark behind the last event of a bounded stream."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_FACTORS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def micros(value: Duration, where: str, *, zero: bool = False) -> int:
    """Return a duration (seconds or timedelta) in microseconds."""
    seconds = duration(value, where, zero=zero)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if math.isinf(seconds):
        raise ArgumentError(f"{where}={value!r}): must be finite")
    found = round(seconds * 1_000_000)
    if not found and not zero:
        raise ArgumentError(f"{where}={value!r}): must be at least a microsecond")
    return found


def shift(value: Duration, where: str) -> int:
    """Return an offset in microseconds; it may be negative."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, int | float) and seconds < 0:
        return -micros(-value, where)
    return micros(value, where, zero=True)


def of_datetime(moment: datetime) -> int:
    """Return the microseconds since the epoch of an aware datetime."""
    try:
        since = moment - _EPOCH
    except TypeError:
        if isinstance(moment, datetime):
            raise ArgumentError(f"{moment!r} has no time zone; event times are aware datetimes") from None
        raise ArgumentError(
            f"{moment!r} is no datetime; for numbers say what they count: event_time(fn, unit='s')"
        ) from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_datetime(time: int) -> datetime:
    """Return the aware datetime (UTC) of microseconds since the epoch."""
    try:
        return _EPOCH + timedelta(microseconds=time)
    except OverflowError:  # the global window's bounds
        return _FIRST if time < 0 else _LAST


def known(time: int) -> int:
    """Return the time of a result; 0 where the stream has no event times."""
    return time if time != BEGINNING else 0


def converter(unit: Unit | None) -> Callable[[Any], int] | None:
    """Return what makes microseconds of what the user's function returns; None when it is that already."""
    if unit is None:
        return of_datetime
    if unit == "us":
        return None
    factor = _FACTORS[unit]

    def scaled(number: float) -> int:
        try:
            found = number * factor
            if type(found) is not int:
                found = round(found)
            if not BEGINNING < found < END_OF_TIME:
                raise ValueError
            return found
        except (TypeError, ValueError, OverflowError):
            raise ArgumentError(
                f"{number!r} is no time: event_time(unit={unit!r}) takes finite numbers"
            ) from None

    return scaled


def whole(time: Any) -> int:
    """Return the time if it is whole microseconds within the calendar; say so otherwise."""
    if type(time) is not int or not BEGINNING < time < END_OF_TIME:
        raise ArgumentError(
            f"{time!r} is no event time: whole microseconds since the epoch; say what the numbers count (unit=)"
        )
    return time
