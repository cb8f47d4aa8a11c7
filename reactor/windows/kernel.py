"""What runs inside a loop for a timed operator: pure Python, told of rows and watermarks, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from reactor.core import Saved
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import Window
from reactor.windows.times import BEGINNING, END_OF_TIME

NEVER = END_OF_TIME + 1
"""Later than any watermark."""


class Kernel:
    """The state of one timed operator in one run.

    The loop calls ``add`` for each row, ``fire`` when the watermark has reached ``due``, ``tick`` when the clock
    has reached ``clock_due``. What they return has an attribute ``time``: its event time.
    """

    due: int = NEVER
    """Nothing is to be done before the watermark is here."""

    clock_due: int = NEVER
    """Nothing is to be done before the clock is here (microseconds since the epoch)."""

    late: int = 0
    """How many events came too late."""

    now: int = BEGINNING
    """The clock when the present chunk began, where the operator looks at it."""

    changed: dict[Any, None] | None = None
    """The rows that have changed since they were saved last; None where nobody saves."""

    lasting = False
    """True where rows are left when the stream has ended: a table."""

    failing: tuple[Any, Any] | None = None
    """The key and window whose result has failed."""

    @property
    def layout(self) -> str:
        """What its rows depend on: they mean nothing to a kernel of another layout."""
        return type(self).__name__.lower()

    def __repr__(self) -> str:
        """What stands in the note of a failure, where else the event does."""
        if self.failing is None:
            return "(what was due)"
        return f"(what was due of key {self.failing[0]!r}, {self.failing[1]})"

    def value(self, aggregate: Aggregate[Any, Any], key: Any, window: Window, state: Any) -> Any:
        """Return the aggregate's result; if it fails, the note will say for what."""
        try:
            return aggregate.result(state)
        except Exception:
            self.failing = key, window
            raise

    def add(self, key: Any, event: Any, time: int, watermark: int) -> Iterable[Any] | None:
        """Take one event; return what it leads to at once, or None if it is late."""
        raise NotImplementedError

    def fire(self, watermark: int) -> Iterator[Any]:
        """Yield what is complete by now, in the order of event time."""
        raise NotImplementedError

    def tick(self, now: int) -> Iterator[Any]:
        """Yield what is due by the clock."""
        return iter(())

    # What is saved when a barrier passes:

    def track(self) -> None:
        """From now on remember which rows change: ``saved`` will be called."""
        if self.changed is None:
            self.changed = {}

    def grown(self) -> None:
        """Called between two chunks, where it is saved."""

    @property
    def noted(self) -> int:
        """How many rows have changed."""
        return 0 if self.changed is None else len(self.changed)

    def saved(self) -> Saved:
        """Return the rows that have changed since the last call."""
        changed = self.changed
        assert changed is not None
        rows = {key: self.row(key) for key in changed}
        changed.clear()
        return Saved(rows, self.own())

    def some(self, most: int) -> dict[Any, Any]:
        """Return up to ``most`` of the rows that have changed, and count them as saved."""
        changed = self.changed
        assert changed is not None
        keys = list(islice(changed, most))
        for key in keys:
            del changed[key]
        return {key: self.row(key) for key in keys}

    def row(self, key: Any) -> Any:
        """Return what is saved for one row; GONE where it is no more."""
        raise NotImplementedError

    def own(self) -> Any:
        """Return what is saved and belongs to no row."""
        return None

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        """Take back what was saved, before the first event."""
        raise NotImplementedError

    def get(self, key: Any) -> Any:
        """Return what is remembered of a key, for who looks from outside; None for nothing."""
        raise NotImplementedError

    @property
    def open(self) -> int:
        """How many windows (keys, timers) it holds."""
        return 0
