"""What happens when a function or a sink fails: timeout, retry, then one of four ends. And when a source does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from reactor.core import ArgumentError, duration

RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | float]


@dataclass(frozen=True, slots=True)
class Retry:
    """Call again after a failure, at most ``calls`` calls in all.

    The waits grow from ``initial`` seconds by a factor of two up to ``max`` seconds, each shortened
    by a random part of up to ``jitter`` (0 to 1), so that many callers don't come back together.
    ``on`` says what is worth another call: exception types, or a function of the exception that
    returns a bool, or the seconds to wait (a server's Retry-After).
    """

    calls: int = 3
    initial: float | timedelta = 0.1
    max: float | timedelta = 30.0
    jitter: float = 0.5
    on: RetryOn = Exception

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ArgumentError(f"Retry(calls={self.calls}): calls must be >= 1")
        if not 0 <= self.jitter <= 1:
            raise ArgumentError(f"Retry(jitter={self.jitter}): jitter must be from 0 to 1")
        duration(self.initial, "Retry(initial", zero=True)
        duration(self.max, "Retry(max", zero=True)
        kinds: Any = self.on if isinstance(self.on, tuple) else (self.on,)
        types = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseException)]
        if len(types) < len(kinds) and (isinstance(self.on, (tuple, type)) or not callable(self.on)):
            raise ArgumentError(
                f"Retry(on={self.on!r}): must be an exception type, a tuple of them, "
                "or a function of the exception"
            )

    def delay(self, calls: int, error: Exception) -> float | None:
        """Seconds until the next call after ``calls`` calls, the last of which raised ``error``.

        None means: no further call.
        """
        if calls >= self.calls:
            return None
        wait = duration(self.initial, "Retry(initial", zero=True) * 2.0 ** min(calls - 1, 64)
        wait = min(wait, duration(self.max, "Retry(max", zero=True))
        wait *= 1 - self.jitter * random.random()
        on: Any = self.on
        if isinstance(on, (tuple, type)):
            return wait if isinstance(error, on) else None
        answer = on(error)
        if answer is True:
            return wait
        if answer is False or answer is None:
            return None
        return duration(answer, "Retry(on=...) returned (delay", zero=True)


@dataclass(frozen=True, slots=True)
class Restart:
    """Read a source that has failed again, at most ``max`` times within ``within`` seconds.

    The waits grow from ``initial`` seconds by a factor of two up to ``max_delay`` seconds, each shortened
    by a random part of up to ``jitter`` (0 to 1); they begin anew when the source has given something.
    ``within=None`` counts all failures of the run. ``on`` names the exceptions that are worth it. When it
    gives up, the run fails with the last exception.
    """

    max: int = 5
    initial: float | timedelta = 0.1
    max_delay: float | timedelta = 30.0
    jitter: float = 0.5
    within: float | timedelta | None = 60.0
    on: type[Exception] | tuple[type[Exception], ...] = Exception

    def __post_init__(self) -> None:
        whole: Any = self.max
        if not isinstance(whole, int) or isinstance(whole, bool) or whole < 1:
            raise ArgumentError(f"Restart(max={self.max!r}): must be a whole number >= 1")
        if not 0 <= self.jitter <= 1:
            raise ArgumentError(f"Restart(jitter={self.jitter}): jitter must be from 0 to 1")
        duration(self.initial, "Restart(initial", zero=True)
        duration(self.max_delay, "Restart(max_delay", zero=True)
        if self.within is not None:
            duration(self.within, "Restart(within")
        kinds: Any = self.on if isinstance(self.on, tuple) else (self.on,)
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise ArgumentError(f"Restart(on={self.on!r}): must be an exception type, or a tuple of them")

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        wait = duration(self.initial, "Restart(initial", zero=True) * 2.0 ** min(failures - 1, 64)
        wait = min(wait, duration(self.max_delay, "Restart(max_delay", zero=True))
        return wait * (1 - self.jitter * random.random())


@dataclass(frozen=True, slots=True)
class Fail:
    """The run fails with the exception. This is the default."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The event is dropped, and counted under the operator's name in the metrics."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may fail at one operator, in one run: so many events, or such a share of them.

    ``count`` events in the whole run; with ``within``, in any so many seconds. ``share`` (between 0 and 1) is
    that of the events which the sources have read, and which count as ``least`` while they are fewer: the
    first failure isn't 100 %. What the sources have read may be ahead of the operator by what lies between.
    """

    count: int | None = None
    within: float | timedelta | None = None
    share: float | None = None
    least: int = 100

    def __post_init__(self) -> None:
        if (self.count is None) == (self.share is None):
            raise ArgumentError(f"{self}: give count, or share")
        if self.count is not None:
            _whole(self.count, f"Limit(count={self.count!r}", 0)
        if self.within is not None:
            duration(self.within, "Limit(within")
            if self.count is None:
                raise ArgumentError(f"{self}: within goes with count; a share is that of the whole run")
        share: Any = self.share
        if share is not None and (not isinstance(share, float) or not 0 < share < 1):
            raise ArgumentError(f"Limit(share={share!r}): must be between 0 and 1")
        _whole(self.least, f"Limit(least={self.least!r}", 1)

    def __str__(self) -> str:
        given = {"count": self.count, "within": self.within, "share": self.share}
        return f"Limit({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The event goes to the pipeline's ``dead_letters=``, with its error.

    With ``limit`` the run fails with TooManyDeadLetters when more fails at this operator than that: a number
    of events, a share of them (``0.05``), or a Limit. What has failed is stored first, in any case.
    """

    limit: int | float | Limit | None = None

    buries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.budget()

    def budget(self) -> Limit | None:
        """The limit in its long form."""
        limit: Any = self.limit
        if limit is None or isinstance(limit, Limit):
            return limit
        if isinstance(limit, float):
            return Limit(share=limit)
        if isinstance(limit, int) and not isinstance(limit, bool):
            return Limit(limit)
        raise ArgumentError(
            f"DeadLetters(limit={limit!r}): a number of events, a share of them (0.05), or a Limit"
        )


def _whole(value: Any, what: str, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{what}): must be a whole number >= {least}")


@dataclass(frozen=True, slots=True)
class Fallback:
    """``fn(event)`` gives the result instead; when it raises, the run fails with that."""

    fn: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ArgumentError(f"Fallback({self.fn!r}): must be a function of the event")


OnError = Fail | Skip | DeadLetters | Fallback
