"""Durations are seconds or a timedelta."""

from __future__ import annotations

import math
from datetime import timedelta

from reactor.core.errors import ArgumentError

Duration = float | timedelta


def duration(value: Duration, where: str, *, zero: bool = False) -> float:
    """Return seconds as a float. ``where`` names call and argument, as in ``"batch(max_wait"``.

    Raises ArgumentError for what is negative, not a number, or zero where that makes no sense.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds):
        raise ArgumentError(f"{where}={value!r}): a duration is seconds or a timedelta")
    if seconds < 0 or (seconds == 0 and not zero):
        raise ArgumentError(f"{where}={value!r}): must be {'>= 0' if zero else '> 0'} seconds")
    return float(seconds)
