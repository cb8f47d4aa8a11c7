"""Which windows there are: tumbling, sliding, session, count, global."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import msgspec

from reactor.core import ArgumentError, Duration
from reactor.windows.times import BEGINNING, END_OF_TIME, micros, shift, to_datetime

K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class Window(NamedTuple):
    """From ``start`` to before ``end``: microseconds since the epoch; for count windows numbers of events."""

    start: int
    end: int

    @property
    def starts_at(self) -> datetime:
        """The start as an aware datetime."""
        return to_datetime(self.start)

    @property
    def ends_at(self) -> datetime:
        """The end as an aware datetime."""
        return to_datetime(self.end)


class Windowed(msgspec.Struct, Generic[K, U], frozen=True):
    """A result: of which key and window, its value, and its event time.

    That is the window's end less a microsecond; the end of a session; for count and global windows the time of the
    last event.
    """

    key: K
    window: Window
    value: U
    time: int


class Joined(msgspec.Struct, Generic[K, T, V], frozen=True):
    """Two events that belong together; the side that found nothing is None in a left or outer join."""

    key: K
    left: T
    right: V
    time: int


class Assigner:
    """What ``window()`` takes."""


@dataclass(frozen=True, slots=True)
class Tumbling(Assigner):
    """Windows of ``size`` seconds, one after the other, aligned to the epoch plus ``offset``.

    With ``clock=True`` events belong to the time at which they are handled, by the run's clock.
    """

    size: Duration
    offset: Duration = 0
    clock: bool = False

    def __post_init__(self) -> None:
        micros(self.size, "Tumbling(size")
        shift(self.offset, "Tumbling(offset")

    def __str__(self) -> str:
        return f"Tumbling({micros(self.size, 'size') / 1e6:g})"


@dataclass(frozen=True, slots=True)
class Sliding(Assigner):
    """Windows of ``size`` seconds, one begins every ``every`` seconds; they overlap.

    With ``clock=True`` events belong to the time at which they are handled, by the run's clock.
    """

    size: Duration
    every: Duration
    offset: Duration = 0
    clock: bool = False

    def __post_init__(self) -> None:
        size, every = micros(self.size, "Sliding(size"), micros(self.every, "Sliding(every")
        shift(self.offset, "Sliding(offset")
        if every > size:
            raise ArgumentError(
                f"Sliding(size={self.size!r}, every={self.every!r}): every must be <= size, or events between "
                "two windows would be in none"
            )

    def __str__(self) -> str:
        return f"Sliding({micros(self.size, 'size') / 1e6:g}, every={micros(self.every, 'every') / 1e6:g})"


@dataclass(frozen=True, slots=True)
class Session(Assigner):
    """Windows of activity: one ends when ``gap`` seconds have passed without an event. Those that touch merge."""

    gap: Duration
    clock: bool = False

    def __post_init__(self) -> None:
        micros(self.gap, "Session(gap")

    def __str__(self) -> str:
        return f"Session({micros(self.gap, 'gap') / 1e6:g})"


@dataclass(frozen=True, slots=True)
class Count(Assigner):
    """Windows of ``size`` events; with ``every``, the last ``size`` events each time so many more have come.

    They need no event time. With ``every`` each result adds up its ``size`` events anew. ``Window(start, end)``
    counts the key's events, from 0.
    """

    size: int
    every: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("every", self.every)):
            if value is None and name == "every":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"Count({name}={value!r}): must be a whole number >= 1")
        if self.every is not None and self.every > self.size:
            raise ArgumentError(f"Count(size={self.size}, every={self.every}): every must be <= size")

    def __str__(self) -> str:
        return f"Count({self.size})"


@dataclass(frozen=True, slots=True)
class Global(Assigner):
    """One window of all events: it fires at the end of a bounded stream, and early with ``early=``."""

    def __str__(self) -> str:
        return "Global()"


EVERYTHING = Window(BEGINNING, END_OF_TIME)


@dataclass(frozen=True, slots=True)
class Early:
    """Results before a window is complete: every ``events`` of a key, or ``seconds`` after the first new one."""

    events: int | None = None
    seconds: Duration | None = None

    def __post_init__(self) -> None:
        if (self.events is None) is (self.seconds is None):
            raise ArgumentError("Early(): pass either events= or seconds=")
        if self.events is not None and (
            not isinstance(self.events, int) or isinstance(self.events, bool) or self.events < 1
        ):
            raise ArgumentError(f"Early(events={self.events!r}): must be a whole number >= 1")
        if self.seconds is not None:
            micros(self.seconds, "Early(seconds")


@dataclass(frozen=True, slots=True)
class Interval:
    """For ``join``: the right event's time is at least left's - ``before`` and at most left's + ``after``."""

    before: Duration = 0
    after: Duration = 0

    def __post_init__(self) -> None:
        micros(self.before, "Interval(before", zero=True)
        micros(self.after, "Interval(after", zero=True)

    def __str__(self) -> str:
        before, after = (micros(each, "", zero=True) / 1e6 for each in (self.before, self.after))
        return f"Interval({before:g}, {after:g})"
