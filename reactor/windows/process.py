"""Process: an object of the user for each key, with timers and a time to live."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from reactor.core import GONE, ArgumentError, Duration, ReactorError
from reactor.windows.kernel import NEVER, Kernel
from reactor.windows.times import BEGINNING, END_OF_TIME, micros, whole

K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")

Paired = tuple[Any, int]
"""A result and its event time."""


MOST_AT_END = 10_000
"""So many timers of one key fire behind the last event; who sets more would go on for ever."""


TIDY = 1000
"""More timers of forgotten keys than this, or than there are others, don't stay."""


class Context(Generic[K]):
    """What a Process is told with each call. It holds for this call only."""

    __slots__ = ("_handlers", "key", "now", "time", "watermark")

    key: K

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self.time: int = BEGINNING
        """The event time (microseconds since the epoch) of the event, or of the timer."""
        self.watermark: int = BEGINNING
        """No event with an earlier time is expected any more."""
        self.now: int = BEGINNING
        """The time of day by the run's clock, where the process looks at it: see ``alarm``."""

    @property
    def ended(self) -> bool:
        """True when no event will come any more: the timers that are left fire, and those that they set."""
        return self.watermark >= END_OF_TIME

    def at(self, time: int) -> None:
        """Call ``timer`` when the watermark has reached this event time; several of one time are one."""
        self._handlers.set_timer(self.key, whole(time))

    def after(self, seconds: Duration) -> None:
        """Call ``alarm`` in so many seconds by the run's clock."""
        self._handlers.set_alarm(self.key, micros(seconds, "after(", zero=True))

    def forget(self) -> None:
        """Drop the key's object and its timers after this call."""
        self._handlers.forgetting = True


class Process(Generic[K, T, U]):
    """Subclass it: one object for each key, whose attributes are the key's state.

    Each method returns what to emit, as an iterable, or None. They are called one at a time, from one task; an
    object lives from its key's first event until ``forget()``, its time to live, or the end of the run.
    """

    def event(self, event: T, context: Context[K]) -> Iterable[U] | None:
        """An event of the key has come."""
        raise NotImplementedError

    def timer(self, time: int, context: Context[K]) -> Iterable[U] | None:
        """The watermark has reached a time that was set by ``context.at``; in the order of time."""
        return None

    def alarm(self, now: int, context: Context[K]) -> Iterable[U] | None:
        """The clock has reached a moment that was set by ``context.after``."""
        return None

    def end(self, context: Context[K]) -> Iterable[U] | None:
        """The stream has ended, and all event timers have fired: the last call."""
        return None


_MANY = 1000
"""So many timers of forgotten keys are not worth the work of dropping them."""


class Handlers(Kernel):
    """The objects of all keys, their timers, and which of them haven't been touched for long."""

    def __init__(self, factory: Callable[[], Process[Any, Any, Any]], ttl: int | None, timed: bool) -> None:
        self.factory = factory
        self.ttl = ttl
        self.timed = timed
        self.forgetting = False
        self._handlers: dict[Any, Process[Any, Any, Any]] = {}
        self._touched: dict[Any, int] = {}
        """When each key was last touched; the longest ago first."""
        self._timers: list[tuple[int, int, Any]] = []
        self._alarms: list[tuple[int, int, Any, Process[Any, Any, Any]]] = []
        self._set: dict[Any, set[int]] = {}
        """The times of each key's timers."""
        self._tidy_at = self._alarms_tidy_at = TIDY
        """When there are so many timers, those of forgotten keys are taken out."""
        self._count = 0
        self._dead = 0
        """How many timers of forgotten keys are still here."""
        self._live = 0
        """How many alarms there were when those of forgotten keys were last dropped."""
        self._latest = self._watermark = BEGINNING
        """The highest time seen, and the watermark before the last event."""
        self._context: Context[Any] = Context(self)
        self._alarms_of: dict[Any, list[int]] = {}
        """The moments of each key's alarms; only where somebody saves."""
        self.due = END_OF_TIME  # the end is told to every key

    def add(self, key: Any, event: Any, time: int, watermark: int) -> list[Paired]:
        self._latest, self._watermark = max(self._latest, time), watermark
        if self.ttl is not None:
            now = watermark if self.timed else self.now
            self._expire(now)
            if self._is_dead(key, now):
                self._forget(key)
        handler = self._handlers.get(key)
        if handler is None:
            handler = self._handlers[key] = self.factory()
        if self.ttl is not None:
            moment = max(time, watermark) if self.timed else self.now
            self._touched[key] = max(self._touched.pop(key, BEGINNING), moment)
        return self._called(key, time, watermark, handler.event, event)

    def _called(
        self, key: Any, time: int, watermark: int, call: Callable[..., Iterable[Any] | None], *args: Any
    ) -> list[Paired]:
        if self.changed is not None:
            self.changed[key] = None
        context = self._context
        context.key, context.time, context.watermark, context.now = key, time, watermark, self.now
        self.forgetting = False
        try:
            found = call(*args, context)
        except Exception:
            self.failing = key, f"at {time}"
            raise
        if found is None:
            out: list[Paired] = []
        else:
            try:
                results = iter(found)
            except TypeError:
                raise TypeError(
                    f"process({type(call.__self__).__name__}): {call.__name__}() returned a "  # type: ignore[attr-defined]
                    f"{type(found).__name__}; return an iterable of what to emit, or None"
                ) from None
            out = [(result, time) for result in results]
        if self.forgetting:
            self._forget(key)
        return out

    def _forget(self, key: Any) -> None:
        if self.changed is not None:
            self.changed[key] = None
        self._handlers.pop(key, None)
        self._touched.pop(key, None)
        self._alarms_of.pop(key, None)
        self._dead += len(self._set.pop(key, ()))
        if self._dead > _MANY and self._dead * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if entry[0] in self._set.get(entry[2], ())]
            heapq.heapify(self._timers)
            self._dead = 0
        if len(self._alarms) > 2 * max(self._live, _MANY):
            self._alarms[:] = [entry for entry in self._alarms if self._handlers.get(entry[2]) is entry[3]]
            heapq.heapify(self._alarms)
            self._live = len(self._alarms)

    def _expire(self, now: int) -> None:
        assert self.ttl is not None
        while self._touched:
            key, moment = next(iter(self._touched.items()))
            if moment + self.ttl > now:
                return
            self._forget(key)

    def _is_dead(self, key: Any, now: int) -> bool:
        """True where the key's time to live had run out by then, though it may still be here."""
        return self.ttl is not None and key in self._touched and self._touched[key] + self.ttl <= now

    # Timers -------------------------------------------------------------------------------------------------

    def set_timer(self, key: Any, time: int) -> None:
        if not self.timed:
            raise ArgumentError(
                "process(): context.at() needs event times: put event_time(fn) before it, or use context.after()"
            )
        times = self._set.setdefault(key, set())
        if time not in times:
            times.add(time)
            heapq.heappush(self._timers, (time, self._count, key))
            self._count += 1
            if len(self._timers) > self._tidy_at:
                self._tidy()
            self.due = min(self.due, time)

    def set_alarm(self, key: Any, after: int) -> None:
        if self.now == BEGINNING:
            raise ArgumentError("process(): context.after() needs a Process with a method alarm()")
        heapq.heappush(self._alarms, (self.now + after, self._count, key, self._handlers[key]))
        if self.changed is not None:
            self._alarms_of.setdefault(key, []).append(self.now + after)
        self._count += 1
        if len(self._alarms) > self._alarms_tidy_at:
            self._alarms[:] = [alarm for alarm in self._alarms if self._handlers.get(alarm[2]) is alarm[3]]
            heapq.heapify(self._alarms)
            self._alarms_tidy_at = 2 * len(self._alarms) + TIDY
        self.clock_due = self._alarms[0][0]

    def _tidy(self) -> None:
        """Take out the timers of forgotten keys. In place: ``fire`` may be in the middle of it."""
        live = {
            (time, key): (time, n, key) for time, n, key in self._timers if time in self._set.get(key, ())
        }
        self._timers[:] = live.values()
        heapq.heapify(self._timers)
        self._tidy_at = 2 * len(self._timers) + TIDY

    def fire(self, watermark: int) -> Iterator[Paired]:
        timers = self._timers
        ends = watermark >= END_OF_TIME
        fired: dict[Any, int] = {}
        while timers and timers[0][0] <= watermark:
            time, _, key = heapq.heappop(timers)
            times = self._set.get(key, set())
            if time not in times:
                self._dead -= 1
                continue  # the key has been forgotten
            times.discard(time)
            if not times:
                del self._set[key]
            if self._is_dead(
                key, time
            ):  # by the timer's time: how far the watermark has jumped doesn't matter
                self._forget(key)
            handler = self._handlers.get(key)
            if handler is None:
                continue
            if ends:
                fired[key] = fired.get(key, 0) + 1
                if fired[key] > MOST_AT_END:
                    raise ReactorError(
                        f"process(): key {key!r} goes on setting timers though the stream has ended, this one for "
                        f"{time}; set none when context.ended"
                    )
            self._latest = max(self._latest, time)
            yield from self._called(key, time, watermark, handler.timer, time)
        if ends:
            for key, handler in list(self._handlers.items()):
                if not self._is_dead(key, self._watermark if self.timed else self.now):
                    yield from self._called(key, self._latest, watermark, handler.end)
            if self.changed is not None:
                self.changed.update(dict.fromkeys(self._handlers))
            self._handlers.clear()
            self._alarms_of.clear()
        self.due = timers[0][0] if timers else END_OF_TIME

    def tick(self, now: int) -> Iterator[Paired]:
        alarms = self._alarms
        while alarms and alarms[0][0] <= now:
            moment, _, key, handler = heapq.heappop(alarms)
            if self._handlers.get(key) is not handler:
                continue  # the key has been forgotten since
            if self.changed is not None:
                self._rang(key, moment)
            if not self.timed and self._is_dead(key, moment):
                continue
            yield from self._called(key, self._latest, self._watermark, handler.alarm, now)
        self.clock_due = alarms[0][0] if alarms else NEVER

    # Saved: a row for each key, with its timers ------------------------------------------------------------------

    def row(self, key: Any) -> Any:
        handler = self._handlers.get(key)
        if handler is None:
            return GONE
        alarms = self._alarms_of.get(key, ())
        return handler.__getstate__(), self._touched.get(key), sorted(self._set.get(key, ())), list(alarms)

    def _rang(self, key: Any, moment: int) -> None:
        assert self.changed is not None
        self.changed[key] = None
        moments = self._alarms_of[key]
        moments.remove(moment)
        if not moments:
            del self._alarms_of[key]

    def own(self) -> Any:
        return self._latest, self._watermark

    def restore(self, rows: Iterable[tuple[Any, Any]], own: Any) -> None:
        self._latest, self._watermark = own
        touched: list[tuple[int, Any]] = []
        for key, (state, moment, timers, alarms) in rows:
            handler = self._handlers[key] = self.factory()
            _set_state(handler, state)
            if moment is not None:
                touched.append((moment, key))
            for time in timers:
                self.set_timer(key, time)
            for moment in alarms:
                heapq.heappush(self._alarms, (moment, self._count, key, handler))
                self._count += 1
            if alarms and self.changed is not None:
                self._alarms_of[key] = list(alarms)
        touched.sort(key=_moment)
        self._touched = {key: moment for moment, key in touched}
        self.clock_due = self._alarms[0][0] if self._alarms else NEVER

    def get(self, key: Any) -> Any:
        return self._handlers.get(key)

    @property
    def open(self) -> int:
        return len(self._handlers)


def _moment(touched: tuple[int, Any]) -> int:
    return touched[0]


def _set_state(handler: Process[Any, Any, Any], state: Any) -> None:
    """As copy and pickle do it: __setstate__ where there is one, else the attributes and slots."""
    setter = getattr(handler, "__setstate__", None)
    if setter is not None:
        setter(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for values in (attributes, slots):
        for name, value in (values or {}).items():
            object.__setattr__(handler, name, value)
