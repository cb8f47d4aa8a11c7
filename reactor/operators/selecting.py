"""Which events go on: take, take_while, skip, skip_while, distinct."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

    def describe(self) -> str:
        return f"take({self.count})"

    def write(self, body: Body, rest: Rest) -> None:
        left, kept = body.state(self.count), body.fresh()
        body.rebound.append(left)
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


@dataclass(frozen=True, slots=True, eq=False)
class Distinct(Remembering, Fused):
    """Each event once, by ``key``; ``last`` bounds how many keys are remembered (the oldest go first)."""

    key: Callable[[Any], Any] | None = None
    last: int | None = None
    is_volatile: bool = False
    on_error: OnError = Fail()
    verb = "distinct"

    def describe(self) -> str:
        return f"distinct({name_of(self.key)})"

    def write(self, body: Body, rest: Rest) -> None:
        seen = body.state({})
        key = body.value
        if self.key is not None:
            key = body.guard(f"{body.function(self.key, self.verb)}({body.value})")
        known = body.guard(f"{key} in {seen}")  # what can't be hashed fails here, and is named
        body.add(f"if {known}: {body.exit}")
        body.add(f"{seen}[{key}] = None")
        if self.last is not None:
            body.add(f"if len({seen}) > {self.last}: del {seen}[next(iter({seen}))]")
        rest()
