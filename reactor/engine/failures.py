"""What a failure means in a stage: skipped, replaced, a dead letter, or the end of the run with a note."""

from __future__ import annotations

import math
import reprlib
from collections import Counter, deque
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import ArgumentError, Record, StrayCancellation, TooManyDeadLetters, clock, duration
from reactor.delivery import DeadLetter, DeadLetters, Fail, Fallback, Limit, OnError, Replayed, Skip
from reactor.engine.fuse import Handler
from reactor.operators import SKIP, Abort

if TYPE_CHECKING:
    from reactor.engine.circuits import Circuit
    from reactor.engine.execution import Execution


class Failing:
    """The part of a stage that handles failures, and keeps its dead letters until they are written."""

    def __init__(self, run: Execution) -> None:
        self.run = run
        self.letters: list[DeadLetter] = []
        self.circuit: Circuit | None = None
        """Where what it calls has a CircuitBreaker."""
        self.counts: Counter[str] = Counter()
        """Events that went another way, by operator and reason."""
        self.now = 0
        """When the first event of the present chunk failed: microseconds since the epoch; 0: none has."""
        self._clock: Callable[[], int] = self._first_time
        """The time of day: how the first dead letter asks for it, then how the others do, which is faster."""
        self.buries = False
        """True where the loop makes dead letters: each chunk begins with ``now`` at 0."""
        self.buried: list[tuple[str, Callable[[], int]]] = []
        """The number of dead letters, by operator."""
        run.letterbox.waiting.append(self.letters)

    def handler_of(self, label: str, op: Any, index: int, in_loop: bool = False) -> Handler:
        """Return ``handler(value, origin, error)``: it returns SKIP or a result instead, or raises Abort."""
        policy: OnError = getattr(op, "on_error", Fail())
        counts = self.counts
        if isinstance(policy, Skip):

            def skip(value: Any, origin: Any, error: Exception, attempts: int = 1) -> Any:
                counts[f"{label}: skipped"] += 1
                return SKIP

            return skip
        if isinstance(policy, Fallback):

            def fallback(value: Any, origin: Any, error: Exception, attempts: int = 1) -> Any:
                counts[f"{label}: fallback"] += 1
                try:
                    return policy.fn(value)
                except Exception as second:
                    second.__context__ = error
                    raise Abort(index, value, second) from None

            return fallback
        if isinstance(policy, DeadLetters):
            self.buries = self.buries or in_loop
            limit = policy.budget()
            bury = self.bury(label, index, in_loop)
            return bury if limit is None else self._limited(bury, limit, label, index)

        def fail(value: Any, origin: Any, error: Exception, attempts: int = 1) -> Any:
            raise Abort(index, value, error) from None

        return fail

    def bury(self, label: str, index: int = 0, in_loop: bool = False) -> Handler:
        """Return the handler that makes dead letters."""
        pipeline, number = self.run.graph.name, 0
        take, keep = self.run.letterbox.now, self.letters.append
        self.buried.append((f"{label}: dead letters", lambda: number))
        within = _Within()

        def to_letters(value: Any, origin: Any, error: Exception, attempts: int = 1) -> Any:
            nonlocal number
            number += 1
            at = within(origin) if _told(origin) else number
            now = self.now if in_loop else 0
            if not now:
                now = self.now = self._clock()
            letter = DeadLetter(pipeline, label, value, error, origin, attempts, now, at)
            if take is None:
                keep(letter)
                return SKIP
            try:
                result = take(letter)
            except Exception as second:
                raise Abort(index, value, second) from None
            if result is not None and type(result) is CoroutineType:
                result.close()
                raise Abort(index, value, ArgumentError(_NOT_AWAITED))
            return SKIP

        return to_letters

    def _first_time(self) -> int:
        self._clock = (
            clock.here()
        )  # the loop that runs it isn't known earlier, nor where its clock was set to
        return self._clock()

    def _limited(self, bury: Handler, limit: Limit, label: str, index: int) -> Handler:
        """Return the handler that fails the run, once it has made more dead letters than ``limit`` allows."""
        run, budget = self.run, _Budget(self.run, limit)

        def to_letters(value: Any, origin: Any, error: Exception, attempts: int = 1) -> Any:
            result = bury(value, origin, error, attempts)
            over = budget.over()
            if over is not None:
                run.letterbox.exceeded = True
                failure = TooManyDeadLetters(
                    f"{over}; DeadLetters(limit={limit}) doesn't allow that. What has failed is in the dead "
                    f"letters: mend the cause, start again, then replay them. The last: "
                    f"{type(error).__name__}: {error}"
                )
                failure.__cause__ = error
                raise Abort(index, value, failure) from None
            return result

        return to_letters

    async def write_letters(self) -> None:
        """Store the dead letters of this stage that aren't yet."""
        letters = self.letters.copy()
        try:
            await self.run.letterbox.write(letters)
        except Exception as error:
            noted(error, self.run.graph.name, "dead_letters")
            raise
        del self.letters[: len(letters)]

    def failed(self, abort: Abort, label: str) -> Exception:
        """Return what was raised, with a note that says where and at which event."""
        error = abort.error
        if isinstance(error, StopIteration | StopAsyncIteration):  # can't come out of a coroutine
            error = RuntimeError(f"the function raised {type(error).__name__}")
            error.__cause__ = abort.error
        return noted(error, self.run.graph.name, label, abort.value)


def _told(origin: Any) -> bool:
    """Whether it says where the event came from: a record, or several and nothing else."""
    kind = type(origin)
    if kind is tuple:
        return bool(origin) and all(map(_told, origin))
    return kind is Record or kind is Replayed


class _Budget:
    """Counts the dead letters of one operator that has a limit."""

    def __init__(self, run: Execution, limit: Limit) -> None:
        self._run = run
        self._limit = limit
        self._number = 0
        self._within = None if limit.within is None else duration(limit.within, "Limit(within")
        self._times: deque[float] = deque(maxlen=None if limit.count is None else limit.count + 1)

    def over(self) -> str | None:
        """Count one more; say what is too much, if it is."""
        self._number += 1
        share, count, within = self._limit.share, self._limit.count, self._within
        if share is not None:
            read = sum(stage.events_in for stage in self._run.stages if not stage.inputs)
            if self._number <= share * max(read, self._limit.least):
                return None
            return f"{self._number} of {_events(read)} failed"
        assert count is not None
        if within is None:
            return f"{_events(self._number)} failed" if self._number > count else None
        self._times.append(anyio.current_time())
        if len(self._times) <= count or self._times[-1] - self._times[0] > within:
            return None
        return f"{_events(count + 1)} failed within {within:g} s"


def _events(number: int) -> str:
    return "1 event has" if number == 1 else f"{number} events have"


class _Within:
    """Numbers the dead letters that come from one record: most have one, a flat_map may make several of it."""

    _KEPT = 1024

    def __init__(self) -> None:
        self._counts: dict[int, tuple[Any, int]] = {}

    def __call__(self, origin: Any) -> int:
        _, number = self._counts.pop(id(origin), (None, -1))
        self._counts[id(origin)] = (origin, number + 1)
        if len(self._counts) > self._KEPT:
            del self._counts[next(iter(self._counts))]
        return number + 1


_NOT_AWAITED = (
    "dead_letters=: the function returned an awaitable; pass an async function, so that it is awaited"
)


def noted(error: Exception, pipeline: str, label: str, *event: Any) -> Exception:
    """Say where it was raised, once, and return it."""
    note = f"in pipeline {pipeline!r}, operator {label}"
    if event:
        note += f", event {short(event[0])}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120


def short(event: Any) -> str:
    """The event in one short line; events whose repr fails can be shown too."""
    try:
        text = _short.repr(event)
    except Exception as error:
        text = f"<{type(event).__name__}, whose repr raises {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def stray(error: BaseException) -> Exception:
    """Return the failure that a cancellation is which nobody has asked this task for; raise on one that is meant.

    asyncio takes a CancelledError that comes out of a task for the end that somebody wanted: without this, a
    function that awaits what somebody else has cancelled would end the run as if it were complete.
    """
    if anyio.current_effective_deadline() == -math.inf:
        raise error
    failure = StrayCancellation(f"{type(error).__name__} came out of it, but nobody has cancelled the run")
    failure.__cause__ = error
    return failure
