"""What happens when a function or a sink fails: timeout, retry, then one of four ends."""

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
class Fail:
    """The run fails with the exception. This is the default."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The event is dropped, and counted under the operator's name in the metrics."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The event goes to the pipeline's ``dead_letters=``, with its error."""

    buries: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Fallback:
    """``fn(event)`` gives the result instead; when it raises, the run fails with that."""

    fn: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ArgumentError(f"Fallback({self.fn!r}): must be a function of the event")


OnError = Fail | Skip | DeadLetters | Fallback
