"""RateLimit: a token bucket, or one for each key, whose rate can be changed while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from reactor.core import ArgumentError, duration

Rate = float | Callable[[Any], float]


class RateLimit:
    """A token bucket of ``rate`` tokens per ``per`` seconds, which holds at most ``burst`` tokens.

    ``rate`` may be a function of the key, for ``rate_limit(limit, key=...)``. Assign to ``rate`` to
    change it while it runs. The bucket starts full. Times come from the run's clock.
    """

    def __init__(self, rate: Rate, per: float | timedelta = 1.0, burst: float = 1) -> None:
        self.per = duration(per, "RateLimit(per")
        self._rate: Rate = rate
        self._check(rate)
        if not isinstance(burst, int | float) or isinstance(burst, bool) or not burst >= 1:
            raise ArgumentError(f"RateLimit(burst={burst!r}): burst must be a number >= 1")
        self.burst = float(burst)
        self._buckets: dict[Any, tuple[float, float]] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def rate(self) -> Rate:
        """Tokens per ``per`` seconds; assigning takes effect at once, also for events that wait."""
        return self._rate

    @rate.setter
    def rate(self, rate: Rate) -> None:
        self._check(rate)
        self._rate = rate
        for call in tuple(self._listeners):
            call()

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call it whenever the rate changes; return what stops that."""
        self._listeners.append(call)
        return lambda: self._listeners.remove(call)

    def wait(self, key: Any, cost: float, now: float) -> float:
        """Take ``cost`` tokens and return 0, or take none and return the seconds until they are there.

        A cost above the burst is allowed through a full bucket, which then owes the rest.
        """
        if not isinstance(cost, int | float) or not 0 <= cost < math.inf:
            raise ArgumentError(f"rate_limit(cost=): the function returned {cost!r}; must be a number >= 0")
        rate = (self._rate(key) if callable(self._rate) else self._rate) / self.per
        if not rate > 0:
            raise ArgumentError(f"RateLimit(rate=): the function returned a rate for {key!r} that isn't > 0")
        tokens, then = self._buckets.get(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) * rate)
        wanted = min(cost, self.burst)
        if tokens >= wanted - 1e-9:
            self._buckets[key] = (tokens - cost, now)
            if len(self._buckets) > 4096:
                self._forget_full(now, rate)
            return 0.0
        self._buckets[key] = (tokens, now)
        return (wanted - tokens) / rate

    def _forget_full(self, now: float, rate: float) -> None:
        # a full bucket is the same as one that was never used: what is kept stays bounded by what is busy
        full = [
            k for k, (tokens, then) in self._buckets.items() if tokens + (now - then) * rate >= self.burst
        ]
        for key in full:
            del self._buckets[key]

    @staticmethod
    def _check(rate: Rate) -> None:
        if not callable(rate) and (
            not isinstance(rate, int | float) or isinstance(rate, bool) or not rate > 0
        ):
            raise ArgumentError(f"RateLimit(rate={rate!r}): rate must be a number > 0")
