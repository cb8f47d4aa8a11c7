"""Functions that are awaited, or run in threads or processes, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from reactor.delivery import CircuitBreaker, Fail, OnError, Retry
from reactor.graph import Memory, Operator, name_of

Emit = Literal["result", "input_if", "input", "items", "none"]
Order = Literal["input", "done", "key"]


@dataclass(frozen=True, slots=True, eq=False)
class Call(Operator):
    """Calls a function for each event, up to ``concurrency`` at a time.

    ``emit`` says what goes on: the result (map), the input if the result is true (filter), the input (tap),
    the pair of input and result (flat_map, which Items follows), or nothing (a sink). ``order``: in the order
    of the input, as they are done, or in order within each key.
    """

    verb_name: str
    fn: Callable[..., Any]
    concurrency: int = 1
    emit: Emit = "result"
    order: Order = "input"
    key: Callable[[Any], Any] | None = None
    timeout: float | None = None
    retry: Retry | None = None
    on_error: OnError = Fail()
    star: bool = False
    where: Literal["loop", "inline", "thread", "process"] = "loop"
    outputs: int = 1
    breaker: CircuitBreaker | None = None

    @property
    def memory(self) -> Memory:
        return "holding"

    def describe(self) -> str:
        return f"{self.verb_name}({name_of(self.fn)})"


@dataclass(frozen=True, slots=True, eq=False)
class Foreign(Operator):
    """A pipe operator of another library that turns an async iterable into another one."""

    pipe: Callable[[Any], Any]
    name: str
    loops: tuple[str, ...] = ("asyncio", "trio")
    verb = "through"
    carries_time = False
    opaque = True

    @property
    def memory(self) -> Memory:
        return "holding"

    def describe(self) -> str:
        return f"through({self.name})"
