"""Windows of a stream, and the results that come of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast, overload

from reactor.arguments import MISSING, policy, start, sync
from reactor.core import ArgumentError, Duration
from reactor.delivery import Fallback, OnError
from reactor.graph import Node, Port
from reactor.operators import Timed
from reactor.stream import Stream
from reactor.windows import (
    Aggregate,
    Assigner,
    Collect,
    Count,
    Counting,
    Counts,
    Early,
    Fold,
    Global,
    Kernel,
    Max,
    Mean,
    Min,
    Panes,
    Quantile,
    Reduce,
    Session,
    Sessions,
    Several,
    Sliding,
    States,
    Sum,
    Top,
    Tumbling,
    Windowed,
    micros,
    shift,
)

__all__ = ["Results", "Windows"]

K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")
E = TypeVar("E")


class Results(Stream[R], Generic[R, E]):
    """The stream of a window's results; ``late`` has the events that came too late for it."""

    __slots__ = ()

    @property
    def late(self) -> Stream[E]:
        """The events that came after their windows were gone. Left unused, they are only counted."""
        return Stream._at(Port(self._port.node, 1))


class Windows(Generic[K, T]):
    """What ``stream.key_by(key).window(assigner)`` returns: each aggregate makes a stream of results of it.

    A result is a ``Windowed``: key, window, value, and the event time ``window.end`` less a microsecond.
    """

    __slots__ = ("_assigner", "_early", "_key", "_lateness", "_policy", "_settings", "_stream")

    def __init__(
        self,
        stream: Stream[T],
        key: Callable[[T], K] | None,
        assigner: Assigner,
        lateness: Duration,
        accumulating: bool,
        early: Early | None,
        volatile: bool,
        on_error: OnError,
        name: str | None,
    ) -> None:
        if isinstance(assigner, Counting):
            raise ArgumentError(
                "window(aggregates.Count()): that is what counts; window() takes reactor.Count(n)"
            )
        if not isinstance(assigner, Assigner):
            raise ArgumentError(
                f"window({assigner!r}): Tumbling(size), Sliding(size, every), Session(gap), Count(n) or Global"
            )
        if early is not None and not isinstance(early, Early):
            raise ArgumentError(f"window(early={early!r}): pass Early(events=n) or Early(seconds=s)")
        if isinstance(on_error, Fallback):
            raise ArgumentError(
                "window(on_error=Fallback(...)): nothing can stand in for an event in a window; use Skip() or "
                "DeadLetters()"
            )
        if isinstance(assigner, Count) and (early is not None or lateness):
            raise ArgumentError("window(Count()): takes no lateness= and no early=, it knows no time")
        self._stream = stream
        self._key = key
        self._assigner = assigner
        self._lateness = micros(lateness, "window(lateness", zero=True)
        self._early = early
        self._policy = policy("window", on_error)
        self._settings = (accumulating, volatile, name)

    def count(self) -> Results[Windowed[K, int], T]:
        """How many events.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Counting())

    @overload
    def sum(self: Windows[K, U]) -> Results[Windowed[K, U], U]: ...
    @overload
    def sum(self, fn: Callable[[T], U]) -> Results[Windowed[K, U], T]: ...

    def sum(self, fn: Callable[[Any], Any] | None = None) -> Results[Any, Any]:
        """The sum of the events, or of ``fn(event)``.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Sum(_fn("sum", fn)))

    @overload
    def mean(self: Windows[K, U]) -> Results[Windowed[K, U], U]: ...
    @overload
    def mean(self, fn: Callable[[T], U]) -> Results[Windowed[K, U], T]: ...

    def mean(self, fn: Callable[[Any], Any] | None = None) -> Results[Any, Any]:
        """The arithmetic mean of the events, or of ``fn(event)``.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Mean(_fn("mean", fn)))

    @overload
    def min(self) -> Results[Windowed[K, T], T]: ...
    @overload
    def min(self, fn: Callable[[T], U]) -> Results[Windowed[K, U], T]: ...

    def min(self, fn: Callable[[Any], Any] | None = None) -> Results[Any, Any]:
        """The smallest event, or ``fn(event)``.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Min(_fn("min", fn)))

    @overload
    def max(self) -> Results[Windowed[K, T], T]: ...
    @overload
    def max(self, fn: Callable[[T], U]) -> Results[Windowed[K, U], T]: ...

    def max(self, fn: Callable[[Any], Any] | None = None) -> Results[Any, Any]:
        """The largest event, or ``fn(event)``.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Max(_fn("max", fn)))

    def collect(self) -> Results[Windowed[K, list[T]], T]:
        """All events, as a list. Memory grows with the events of the open windows.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Collect())

    def reduce(self, fn: Callable[[T, T], T]) -> Results[Windowed[K, T], T]:
        """The events combined two at a time; ``fn`` has to be associative where windows slide or merge.

        Events come in their order, but for sliding windows and sessions: there, what belongs to an earlier part of
        the window comes first.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Reduce(sync(fn, "reduce")))

    @overload
    def fold(
        self, fn: Callable[[U, T], U], initial: U, *, merge: Callable[[U, U], U] | None = ...
    ) -> Results[Windowed[K, U], T]: ...
    @overload
    def fold(
        self, fn: Callable[[U, T], U], *, factory: Callable[[], U], merge: Callable[[U, U], U] | None = ...
    ) -> Results[Windowed[K, U], T]: ...

    def fold(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any = MISSING,
        *,
        factory: Callable[[], Any] | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
    ) -> Results[Any, Any]:
        """What ``state = fn(state, event)`` comes to, from ``initial`` or ``factory()``.

        Sessions need ``merge(a, b)``, which returns the state of two that have become one; sliding windows use it
        to share their work, and keep a state for each window without it.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        if merge is not None:
            sync(merge, "fold(merge=)")
        return self._results(Fold(sync(fn, "fold"), start("fold", initial, factory), merge))

    def top(self, n: int, by: Callable[[T], Any] | None = None) -> Results[Windowed[K, list[T]], T]:
        """The ``n`` largest events, or those with the largest ``by(event)``; the largest first.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Top(n, _fn("top", by)))

    def quantile(self, q: float, fn: Callable[[T], float] | None = None) -> Results[Windowed[K, float], T]:
        """The ``q`` quantile of the events, or of ``fn(event)``, from a sketch: the rank is right within 1.65 %.

        Needs the extra ``sketches`` (Apache DataSketches, KLL).

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        return self._results(Quantile(q, _fn("quantile", fn)))

    @overload
    def aggregate(self, a: Aggregate[T, A], /) -> Results[Windowed[K, A], T]: ...
    @overload
    def aggregate(
        self, a: Aggregate[T, A], b: Aggregate[T, B], /
    ) -> Results[Windowed[K, tuple[A, B]], T]: ...
    @overload
    def aggregate(
        self, a: Aggregate[T, A], b: Aggregate[T, B], c: Aggregate[T, C], /
    ) -> Results[Windowed[K, tuple[A, B, C]], T]: ...
    @overload
    def aggregate(
        self, a: Aggregate[T, A], b: Aggregate[T, B], c: Aggregate[T, C], d: Aggregate[T, D], /
    ) -> Results[Windowed[K, tuple[A, B, C, D]], T]: ...
    @overload
    def aggregate(
        self,
        a: Aggregate[T, A],
        b: Aggregate[T, A],
        c: Aggregate[T, A],
        d: Aggregate[T, A],
        e: Aggregate[T, A],
        /,
        *more: Aggregate[T, A],
    ) -> Results[Windowed[K, tuple[A, ...]], T]: ...

    def aggregate(self, *aggregates: Aggregate[Any, Any]) -> Results[Any, Any]:
        """One aggregate's value, or several in one pass as a tuple: ``aggregate(Count(), Sum(fn), Max(fn))``.

        Emits when: a window fires.
        Backpressures when: the next operator does.
        Completes when: its input has and every window has fired.
        """
        if any(isinstance(each, Count) for each in aggregates):
            raise ArgumentError(
                "aggregate(reactor.Count()): that is a window; pass reactor.aggregates.Count()"
            )
        several = Several(*aggregates)
        return self._results(aggregates[0] if len(aggregates) == 1 else several)

    def _results(self, aggregate: Aggregate[Any, Any]) -> Results[Any, Any]:
        assigner, early = self._assigner, self._early
        accumulating, volatile, name = self._settings
        if isinstance(assigner, Session) and not aggregate.mergeable:
            raise ArgumentError(
                "window(Session()).fold(): sessions merge; pass merge=, what makes one state of two"
            )
        op = Timed(
            kernel=lambda: _kernel(assigner, aggregate, self._lateness, accumulating, early),
            what=f"window({assigner}).{aggregate}()",
            key=self._key,
            on_error=self._policy,
            is_volatile=volatile,
            clock=bool(getattr(assigner, "clock", False)),
            ticks=early is not None and early.seconds is not None,
            timeless=isinstance(assigner, Count | Global),
        )
        return cast("Results[Any, Any]", Results._at(Port(Node(op, (self._stream._port,), name))))


def _kernel(
    assigner: Assigner, aggregate: Aggregate[Any, Any], lateness: int, accumulating: bool, early: Early | None
) -> Kernel:
    """Make the state of one run."""
    events = early.events if early is not None else None
    seconds = None
    if early is not None and early.seconds is not None:
        seconds = micros(early.seconds, "Early(seconds")
    if isinstance(assigner, Count):
        return Counts(assigner.size, assigner.every, aggregate)
    if isinstance(assigner, Session):
        gap = micros(assigner.gap, "Session(gap")
        return Sessions(gap, lateness, aggregate, accumulating, events, seconds)
    if isinstance(assigner, Global):
        return States(None, None, 0, lateness, aggregate, accumulating, events, seconds)
    assert isinstance(assigner, Tumbling | Sliding)
    size = micros(assigner.size, "window(size")
    every = micros(assigner.every, "window(every") if isinstance(assigner, Sliding) else size
    offset = shift(assigner.offset, "window(offset")
    if early is None and (every == size or aggregate.mergeable):
        return Panes(size, every, offset, lateness, aggregate, accumulating)
    return States(size, every, offset, lateness, aggregate, accumulating, events, seconds)


def _fn(verb: str, fn: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return None if fn is None else sync(fn, verb)
