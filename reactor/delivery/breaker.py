"""When to stop calling what is down: a circuit breaker, closed, open or half-open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from reactor.core import ArgumentError, duration

BreakOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


@dataclass(frozen=True, slots=True, eq=False)
class CircuitBreaker:
    """Stop calling a function or sink that is down, and let the events wait until it works again.

    *Closed*, all calls are made; ``failures`` that fail in a row, within ``within`` seconds, open it. *Open*, none
    is made for ``wait`` seconds. Then, *half-open*, ``probes`` calls are let through: if all of them succeed it is
    closed, the first that fails opens it again. ``on`` says which failures count: exception types, or a function
    of the exception; any other shows that there is an answer, like a success. Each retry is a call.

    ``when_open="wait"`` holds the events back, and with them all that comes before, up to the source. Those that
    were in flight when it opened wait, too: they are called again, which uses up none of their retries. A probe
    that fails does. ``when_open="fail"`` sends each event the way of ``on_error=`` at once, with CircuitOpen.

    One object is one circuit in each run: operators that share it stop, and begin again, together.
    """

    failures: int = 5
    within: float | timedelta = 60.0
    wait: float | timedelta = 30.0
    probes: int = 1
    on: BreakOn = Exception
    when_open: Literal["wait", "fail"] = "wait"

    def __post_init__(self) -> None:
        for name, value in (("failures", self.failures), ("probes", self.probes)):
            number: Any = value
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ArgumentError(f"CircuitBreaker({name}={number!r}): must be a whole number >= 1")
        duration(self.within, "CircuitBreaker(within")
        duration(self.wait, "CircuitBreaker(wait")
        kinds: Any = self.on if isinstance(self.on, tuple) else (self.on,)
        types = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]
        if len(types) < len(kinds) and (isinstance(self.on, (tuple, type)) or not callable(self.on)):
            raise ArgumentError(
                f"CircuitBreaker(on={self.on!r}): must be an exception type, a tuple of them, "
                "or a function of the exception"
            )
        if self.when_open not in ("wait", "fail"):
            raise ArgumentError(f'CircuitBreaker(when_open={self.when_open!r}): must be "wait" or "fail"')

    def counts(self, error: Exception) -> bool:
        """True for a failure that says that what was called is down."""
        on: Any = self.on
        return isinstance(error, on) if isinstance(on, (tuple, type)) else bool(on(error))

    def __str__(self) -> str:
        wait = duration(self.wait, "CircuitBreaker(wait")
        return f"circuit breaker: {self.failures} failure{'s'[: self.failures != 1]}, {wait:g} s"
