"""What looks at the clock: throttle, debounce, sample, delay, timeout. And what waits for others: conflate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.delivery import Fail, OnError
from reactor.graph import Column, Memory, Operator, Times, name_of
from reactor.operators.ends import NOTHING

_ORIGIN: frozenset[Column] = frozenset({"origin"})


class Holding(Operator):
    """Keeps events until the clock lets them go; in a drain they are dropped, to be read again."""

    @property
    def memory(self) -> Memory:
        return "holding"

    @property
    def needs(self) -> frozenset[Column]:
        return _ORIGIN  # from where it has to be read again


@dataclass(frozen=True, slots=True, eq=False)
class Throttle(Holding):
    """The first event of each interval; with ``trailing`` also the last, at the interval's end."""

    seconds: float
    trailing: bool = False
    verb = "throttle"

    @property
    def memory(self) -> Memory:
        return "holding" if self.trailing else "stateless"

    @property
    def needs(self) -> frozenset[Column]:
        return _ORIGIN if self.trailing else frozenset()

    def describe(self) -> str:
        return f"throttle({self.seconds:g}{', trailing' if self.trailing else ''})"


@dataclass(frozen=True, slots=True, eq=False)
class Debounce(Holding):
    """An event that none has followed for so long."""

    seconds: float
    verb = "debounce"

    def describe(self) -> str:
        return f"debounce({self.seconds:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Sample(Holding):
    """The latest event at each tick of a clock, if one has come since the last tick."""

    seconds: float
    verb = "sample"

    def describe(self) -> str:
        return f"sample({self.seconds:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Delay(Holding):
    """Each event so many seconds after it has come."""

    seconds: float
    waiting: int = 1024
    verb = "delay"

    def describe(self) -> str:
        return f"delay({self.seconds:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Timeout(Operator):
    """Fails, or emits ``fallback``, when no event has come for so long."""

    seconds: float
    fallback: Any = NOTHING
    verb = "timeout"

    @property
    def times(self) -> Times:
        return "carries" if self.fallback is NOTHING else "loses"  # what nobody has sent has no time

    def describe(self) -> str:
        return f"timeout({self.seconds:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Conflate(Operator):
    """What waits while the next stage is busy becomes one event: the latest, or all of them put together."""

    fn: Callable[[Any, Any], Any] | None = None
    on_error: OnError = Fail()
    verb = "conflate"

    @property
    def memory(self) -> Memory:
        return "holding"

    def describe(self) -> str:
        return f"conflate({name_of(self.fn)})"
