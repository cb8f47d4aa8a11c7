"""Windows of so many events of a key: they need no time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from reactor.core import GONE
from reactor.windows.aggregates import Aggregate
from reactor.windows.assigners import Window, Windowed
from reactor.windows.kernel import Kernel
from reactor.windows.times import BEGINNING, END_OF_TIME, known


class _Key:
    __slots__ = ("begun", "events", "number", "state", "time")

    def __init__(self, state: Any, size: int) -> None:
        self.state = state
        self.number = 0
        """How many of its events have come."""
        self.begun = 0
        """The number of the first event of the state."""
        self.time = BEGINNING
        self.events: deque[Any] = deque(maxlen=size)


class Counts(Kernel):
    """Fires every ``every`` events of a key with the last ``size``; what isn't full fires at the end."""

    def __init__(self, size: int, every: int | None, aggregate: Aggregate[Any, Any]) -> None:
        self.size = size
        self.every = every or size
        self.aggregate = aggregate
        self.due = END_OF_TIME
        self._keys: dict[Any, _Key] = {}
        self._latest = BEGINNING
        """The highest time seen: the event time of what is given at the end, which so is never late."""

    @property
    def layout(self) -> str:
        return f"counts of {self.size} every {self.every}, {self.aggregate}"

    def add(self, key: Any, event: Any, time: int, watermark: int) -> Iterable[Any] | None:
        aggregate = self.aggregate
        at = self._keys.get(key)
        if self.every == self.size:
            state = aggregate.add(aggregate.zero() if at is None else at.state, event)
            if at is None:
                at = self._keys[key] = _Key(state, 0)
            at.state = state
        else:
            if at is None:
                at = self._keys[key] = _Key(None, self.size)
            at.events.append(event)
        at.number += 1
        at.time = time
        self._latest = max(self._latest, time)
        if self.changed is not None:
            self.changed[key] = None
        if at.number % self.every:
            return ()
        result = self._result(key, at)
        at.begun = at.number
        if self.every == self.size:
            at.state = aggregate.zero()
        return [result]

    def _result(self, key: Any, at: _Key) -> Any:
        if self.every == self.size:
            state, start = at.state, at.begun
        else:
            state, start = self.aggregate.zero(), at.number - len(at.events)
            for event in at.events:
                state = self.aggregate.add(state, event)
        window = Window(start, at.number)
        return Windowed(key, window, self.value(self.aggregate, key, window, state), known(at.time))

    def fire(self, watermark: int) -> Iterator[Any]:
        if self.changed is not None:
            self.changed.update(dict.fromkeys(self._keys))
        for key, at in self._keys.items():
            at.time = self._latest
            if at.begun < at.number:
                yield self._result(key, at)
        self._keys.clear()

    # Saved: a row for each key

    def row(self, key: Any) -> Any:
        at = self._keys.get(key)
        return GONE if at is None else (at.state, at.number, at.begun, at.time, list(at.events))

    def own(self) -> Any:
        return self._latest

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._latest = own
        for key, (state, number, begun, time, events) in rows:
            at = self._keys[key] = _Key(state, 0 if self.every == self.size else self.size)
            at.number, at.begun, at.time = number, begun, time
            at.events.extend(events)

    def get(self, key: Any) -> Any:
        at = self._keys.get(key)
        if at is None or at.begun == at.number:
            return None
        result = self._result(key, at)
        return {result.window: result.value}

    @property
    def open(self) -> int:
        return len(self._keys)
