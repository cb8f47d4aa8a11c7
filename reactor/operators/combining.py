"""Streams combined event by event, and streams within a stream: interleave, combine_latest, switch_map, ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactor.delivery import Fail, OnError
from reactor.graph import Memory, Operator, name_of
from reactor.operators.body import Remembering


@dataclass(frozen=True, slots=True, eq=False)
class Interleave(Operator):
    """One event of each input in turn; an input that has ended is passed over."""

    verb = "interleave"

    @property
    def memory(self) -> Memory:
        return "holding"


@dataclass(frozen=True, slots=True, eq=False)
class CombineLatest(Remembering):
    """Tuples of the latest event of each input, one for each event of any of them."""

    is_volatile: bool = False
    verb = "combine_latest"
    carries_time = False


@dataclass(frozen=True, slots=True, eq=False)
class WithLatest(Remembering):
    """Tuples of each event of the first input and the latest of the others."""

    is_volatile: bool = False
    verb = "with_latest"
    carries_time = False


@dataclass(frozen=True, slots=True, eq=False)
class Inner(Operator):
    """Emits the items of what a function returns for each event: an async iterable, or another.

    ``concurrency`` are open at a time; ``ordered``: the items of one come after those of the one before. With
    ``switch`` one is open, and the next event ends it. ``opened`` makes of what the function has returned what
    is to be read: of a stream, its run.
    """

    verb_name: str
    fn: Callable[[Any], Any]
    opened: Callable[[Any], Any]
    concurrency: int = 1
    ordered: bool = True
    switch: bool = False
    on_error: OnError = Fail()

    @property
    def memory(self) -> Memory:
        return "holding"

    @property
    def in_order(self) -> bool:
        """True when the items of one event are out before those of the next."""
        return self.ordered or self.switch or self.concurrency == 1

    def describe(self) -> str:
        return f"{self.verb_name}({name_of(self.fn)})"
