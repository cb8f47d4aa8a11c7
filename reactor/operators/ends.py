"""Where a stream begins, parts and ends: source, split, route, sinks, folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.core import Source
from reactor.delivery import CircuitBreaker, Fail, OnError, Restart, Retry
from reactor.graph import Memory, Operator, name_of
from reactor.operators.body import Body, Fused

Rest = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Origin(Operator):
    """The beginning: an iterable, an async iterable, a callable that returns one, or a Source."""

    given: Any
    kind: str
    """``iterable``, ``iterator``, ``async``, ``callable``, ``source`` or ``inlet``."""
    restart: Restart | None = None
    """What happens when it fails."""
    verb = "source"

    @property
    def replay(self) -> bool:
        """True when what isn't committed is read again."""
        return isinstance(self.given, Source) and self.given.replay

    @property
    def committed(self) -> bool:
        """True when it is told how far its events have left every sink."""
        return self.replay or self.kind == "inlet"

    def describe(self) -> str:
        if isinstance(self.given, Source):
            return self.given.name or type(self.given).__name__
        if self.kind == "inlet":
            return "inlet"
        return name_of(self.given) if callable(self.given) else type(self.given).__name__


@dataclass(frozen=True, slots=True, eq=False)
class Split(Operator):
    """Each event to one output: the first for which ``choose`` returns its number."""

    choose: Callable[[Any], int]
    what: str
    outputs: int = 2
    on_error: OnError = Fail()
    verb = "split"

    def describe(self) -> str:
        return self.what

    def write(self, body: Body, emit: Callable[[int], None]) -> None:
        """Write the choice; ``emit(n)`` writes what hands the event to output n."""
        chosen = body.guard(f"{body.function(self.choose, self.verb)}({body.value})")
        for port in range(self.outputs):
            with body.block(f"{'if' if port == 0 else 'elif'} {chosen} == {port}:"):
                emit(port)


@dataclass(frozen=True, slots=True, eq=False)
class Fold(Fused):
    """Takes all events into one value, which is the result of the run."""

    fn: Callable[[Any, Any], Any]
    factory: Callable[[], Any]
    outputs: int = 0
    verb = "fold"

    def describe(self) -> str:
        return f"fold({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        result = f"result{body.op}"
        body.keep(result, self.factory())
        fn = body.function(self.fn, self.verb)
        body.add(f"{result} = {fn}({result}, {body.value})")


@dataclass(frozen=True, slots=True, eq=False)
class Gather(Fused):
    """Keeps something of the events as the result of the run: all, the first, the last, how many."""

    what: str
    outputs: int = 0

    def describe(self) -> str:
        return f"{self.what}()"

    def write(self, body: Body, rest: Rest) -> None:
        result = f"result{body.op}"
        if self.what == "collect":
            body.keep(result, [])
            body.add(f"{result}.append({body.value})")
        elif self.what == "count":
            body.keep(result, 0)
            body.add(f"{result} += 1")
        elif self.what == "last":
            body.keep(result, NOTHING)
            body.add(f"{result} = {body.value}")
        else:
            body.keep(result, None)
            body.add("pass")


class Nothing:
    """No event has come."""


NOTHING = Nothing()


@dataclass(frozen=True, slots=True, eq=False)
class CallSink(Fused):
    """A sync function as a sink: it gets one event at a time, inside the loop."""

    fn: Callable[[Any], Any]
    on_error: OnError = Fail()
    outputs: int = 0
    verb = "to"

    def describe(self) -> str:
        return f"to({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        body.effect(f"{body.function(self.fn, self.verb)}({body.value})")


@dataclass(frozen=True, slots=True, eq=False)
class SinkEnd(Operator):
    """An object as a sink: it gets sequences of events."""

    sink: Any
    timeout: float | None = None
    retry: Retry | None = None
    on_error: OnError = Fail()
    outputs: int = 0
    breaker: CircuitBreaker | None = None
    verb = "to"

    @property
    def memory(self) -> Memory:
        return "stateless"

    def describe(self) -> str:
        return f"to({getattr(self.sink, 'name', '') or type(self.sink).__name__})"
