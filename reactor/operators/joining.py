"""Several streams become one: merge, concat, zip. And what waits: buffer, rate_limit, timed batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from reactor.delivery import Fail, OnError
from reactor.graph import Memory, Operator, name_of
from reactor.operators.body import Remembering


@dataclass(frozen=True, slots=True, eq=False)
class Merge(Operator):
    """All events of all inputs as they come; no input starves another."""

    verb = "merge"


@dataclass(frozen=True, slots=True, eq=False)
class Concat(Operator):
    """The inputs one after the other; a later one's source is opened when its turn comes."""

    verb = "concat"


@dataclass(frozen=True, slots=True, eq=False)
class Zip(Remembering):
    """Tuples of one event of each input; ends with the first input that ends.

    How far one input is ahead of the others is something to remember: positions alone would pair anew.
    """

    is_volatile: bool = False
    verb = "zip"
    carries_time = False


Policy = Literal["block", "drop_oldest", "drop_newest", "error"]


@dataclass(frozen=True, slots=True, eq=False)
class Buffer(Operator):
    """A channel of its own between its neighbours, with what to do when it is full."""

    size: int
    overflow: Policy = "block"
    verb = "buffer"

    def describe(self) -> str:
        return f"buffer({self.size}{'' if self.overflow == 'block' else ', ' + self.overflow})"


@dataclass(frozen=True, slots=True, eq=False)
class Limit(Operator):
    """Lets events pass at the rate of a RateLimit."""

    limit: Any
    key: Callable[[Any], Any] | None = None
    cost: Callable[[Any], float] | None = None
    waiting: int = 1024
    on_error: OnError = Fail()
    verb = "rate_limit"

    @property
    def memory(self) -> Memory:
        return "holding" if self.key is not None else "stateless"

    def describe(self) -> str:
        return f"rate_limit({name_of(self.key)})" if self.key else "rate_limit()"


@dataclass(frozen=True, slots=True, eq=False)
class TimedBatch(Operator):
    """Lists of events; a list goes on when it is full, or ``max_wait`` seconds after its first event."""

    max_wait: float
    max_size: int | None = None
    max_weight: float | None = None
    weight: Callable[[Any], float] | None = None
    on_error: OnError = Fail()
    verb = "batch"

    @property
    def memory(self) -> Memory:
        return "holding"

    def describe(self) -> str:
        return f"batch({self.max_size}, max_wait={self.max_wait:g})"
