"""Which events go on: take, take_while, skip, skip_while, distinct."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.core import clock
from reactor.delivery import Fail, OnError
from reactor.graph import name_of
from reactor.operators.body import Body, Fused, Remembering

Rest = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Take(Remembering, Fused):
    """The first ``count`` events; then the stream is complete and its input is stopped."""

    count: int
    is_volatile: bool = False
    verb = "take"

    @property
    def nests(self) -> bool:
        return True

    def describe(self) -> str:
        return f"take({self.count})"

    def write(self, body: Body, rest: Rest) -> None:
        left, kept = body.state(self.count), body.fresh()
        body.rebound.append(left)
        body.limits.append(left)
        body.add(f"if {left} <= 0: raise Finished({body.op})")
        body.add(f"{left} -= 1")
        # a loop of one turn, so that an operator further down that drops the event still comes back here
        with body.block(f"for {kept} in ({body.value},):"):
            body.value = kept
            with body.turn():
                rest()
        body.add(f"if not {left}: raise Finished({body.op})")


@dataclass(frozen=True, slots=True, eq=False)
class TakeWhile(Remembering, Fused):
    """Events until the first for which the function is false; that one isn't emitted."""

    fn: Callable[[Any], Any]
    is_volatile: bool = False
    on_error: OnError = Fail()
    verb = "take_while"

    def describe(self) -> str:
        return f"take_while({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        kept = body.guard(f"{body.function(self.fn, self.verb)}({body.value})")
        body.add(f"if not {kept}: raise Finished({body.op})")
        rest()


@dataclass(frozen=True, slots=True, eq=False)
class Skip(Remembering, Fused):
    """All but the first ``count`` events."""

    count: int
    is_volatile: bool = False
    verb = "skip"

    def describe(self) -> str:
        return f"skip({self.count})"

    def write(self, body: Body, rest: Rest) -> None:
        left = body.state(self.count)
        body.rebound.append(left)
        with body.block(f"if {left}:"):
            body.add(f"{left} -= 1")
            body.add(body.exit)
        rest()


@dataclass(frozen=True, slots=True, eq=False)
class SkipWhile(Remembering, Fused):
    """Drops events until the first for which the function is false; from that one on all are emitted."""

    fn: Callable[[Any], Any]
    is_volatile: bool = False
    on_error: OnError = Fail()
    verb = "skip_while"

    def describe(self) -> str:
        return f"skip_while({name_of(self.fn)})"

    def write(self, body: Body, rest: Rest) -> None:
        skipping = body.state(True)
        body.rebound.append(skipping)
        with body.block(f"if {skipping}:"):
            dropped = body.guard(f"{body.function(self.fn, self.verb)}({body.value})")
            body.add(f"if {dropped}: {body.exit}")
            body.add(f"{skipping} = False")
        rest()


class Ordered(OrderedDict[Any, Any]):
    """A table whose rows stand in the order of their values: those that changed last stand last."""


@dataclass(frozen=True, slots=True, eq=False)
class Distinct(Remembering, Fused):
    """Each event once, by ``key``; ``last`` bounds how many keys are remembered (the oldest go first).

    With ``ttl``, a key is forgotten so many seconds after the event that was emitted for it.
    """

    key: Callable[[Any], Any] | None = None
    last: int | None = None
    ttl: float | None = None
    is_volatile: bool = False
    on_error: OnError = Fail()
    verb = "distinct"

    @property
    def layout(self) -> str:
        return "ttl" if self.ttl is not None else "last" if self.last is not None else ""

    def describe(self) -> str:
        return f"distinct({name_of(self.key)})"

    def write(self, body: Body, rest: Rest) -> None:
        # The keys stand in the order in which they came. A dict would look for its first one ever longer.
        bounded = self.last is not None or self.ttl is not None
        seen = body.state(Ordered() if bounded else {})
        key, now = body.value, "None"
        if self.key is not None:
            key = body.guard(f"{body.function(self.key, self.verb)}({body.value})")
        if self.ttl is not None:
            now = body.fresh("now")
            body.add(f"{now} = {body.const(clock.now)}()")
            ttl = round(self.ttl * 1_000_000)
            with body.block(f"while {seen} and {seen}[next(iter({seen}))] + {ttl} <= {now}:"):
                self._forget(body, seen)
        elif body.saves and self.last is not None:  # which is the oldest has to come back, too
            now = f"number{body.op}"
            body.keep(now, 0)
            body.add(f"{now} += 1")
        known = body.guard(f"{key} in {seen}")  # what can't be hashed fails here, and is named
        body.add(f"if {known}: {body.exit}")
        body.add(f"{seen}[{key}] = {now}")
        body.note(key)
        if self.last is not None:
            with body.block(f"if len({seen}) > {self.last}:"):
                self._forget(body, seen)
        rest()

    def _forget(self, body: Body, seen: str) -> None:
        gone = body.fresh("gone")
        body.add(f"{gone}, _ = {seen}.popitem(False)")
        body.note(gone)
