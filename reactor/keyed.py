"""Streams grouped by key: a state of its own for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from reactor.arguments import MISSING, is_async, policy, shown, start, sync
from reactor.core import ArgumentError, Duration
from reactor.delivery import Fail, Fallback, OnError
from reactor.graph import Graph, Node, name_of
from reactor.operators import Gather, Merge, Scan, Tag, Timed
from reactor.stream import Stream
from reactor.windows import (
    Assigner,
    Count,
    Early,
    Global,
    Handlers,
    How,
    Interval,
    Intervals,
    Joined,
    Process,
    Sides,
    Table,
    Windowed,
    micros,
    pairs,
)

if TYPE_CHECKING:
    from reactor.windowed import Windows

__all__ = ["Keyed"]

K = TypeVar("K")
U = TypeVar("U")
T = TypeVar("T")
V = TypeVar("V")


class Keyed(Generic[K, T]):
    """What ``stream.key_by(key)`` returns. States live as long as the run: memory grows with the keys."""

    __slots__ = ("_key", "_stream")

    def __init__(self, stream: Stream[T], key: Callable[[T], K]) -> None:
        self._stream = stream
        self._key = key

    def window(
        self,
        assigner: Assigner,
        *,
        lateness: Duration = 0,
        accumulating: bool = True,
        early: Early | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Windows[K, T]:
        """Group the events of each key into windows: Tumbling, Sliding, Session, Count or Global.

        A window fires when the watermark has reached its end, and at the end of a bounded stream. It is kept for
        ``lateness`` seconds longer: an event that comes in that time fires it again, with all of its events
        (``accumulating``) or only with the new one. What comes after that is late: see ``.late`` of the result.
        ``early`` gives results before the end: every so many events of a key, or so many seconds after the first
        that no result has told of.
        """
        from reactor.windowed import Windows

        return Windows(
            self._stream, self._key, assigner, lateness, accumulating, early, volatile, on_error, name
        )

    def process(
        self,
        factory: Callable[[], Process[K, T, U]],
        *,
        ttl: Duration | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[U]:
        """Hand each key's events to an object of its own, which may set timers: what other operators can't say.

        ``factory`` makes the object when the key's first event comes; it is a ``Process``, usually the class
        itself; it is called once more when the pipeline is built, to look at what it makes. With ``ttl`` (seconds,
        by event time where there is one, else by the clock) an object that has had no event for so long is
        dropped, and its timers. ``on_error`` is for events on which ``event`` or the
        key function fails; what the object has changed by then stays. A timer that fails ends the run.

        Emits when: the object's methods return something.
        Backpressures when: the next operator does.
        Completes when: its input has, the event timers have fired, and each object's ``end`` was called.
        """
        probe = factory() if callable(factory) else None
        if not isinstance(probe, Process):
            raise ArgumentError(f"process({factory!r}): pass a class derived from Process, or what makes one")
        for method in ("event", "timer", "alarm", "end"):
            if is_async(getattr(probe, method)):
                raise ArgumentError(
                    f"process({name_of(factory)}): {method}() is async; a Process's methods are sync"
                )
        life = None if ttl is None else micros(ttl, "process(ttl")
        timed = _has_time(self._stream)
        op = Timed(
            kernel=lambda: Handlers(factory, life, timed),
            what=f"process({name_of(factory)})",
            key=self._key,
            on_error=_no_fallback("process", on_error),
            is_volatile=volatile,
            ticks=type(probe).alarm is not Process.alarm or (life is not None and not timed),
            paired=True,
            timeless=not timed,
        )
        return cast("Stream[U]", self._stream._then(op, name))

    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Assigner,
        *,
        how: Literal["inner"] = ...,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Windowed[K, tuple[T, V]]]: ...
    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Assigner,
        *,
        how: Literal["left"],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Windowed[K, tuple[T, V | None]]]: ...
    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Assigner,
        *,
        how: Literal["outer"],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Windowed[K, tuple[T | None, V | None]]]: ...
    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Interval,
        *,
        how: Literal["inner"] = ...,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Joined[K, T, V]]: ...
    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Interval,
        *,
        how: Literal["left"],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Joined[K, T, V | None]]: ...
    @overload
    def join(
        self,
        other: Keyed[K, V],
        within: Interval,
        *,
        how: Literal["outer"],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Joined[K, T | None, V | None]]: ...

    def join(
        self,
        other: Keyed[Any, Any],
        within: Assigner | Interval,
        *,
        how: How = "inner",
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[Any]:
        """Pair the events of one key from two streams that both have event times.

        Within a window (Tumbling, Sliding or Session): a ``Windowed`` with a pair as value for each two events of
        it. Within an Interval: a ``Joined`` for each two whose times are so near, as soon as both are there.
        ``how="left"`` also gives the events of this side that found nothing, with None, once the watermark says
        that nothing can come; ``"outer"`` those of both sides. What comes behind the watermark is late: it is
        counted. Memory is bounded by what the watermark still allows to match. ``on_error`` is for events without
        a key.

        Emits when: two events have met, or the watermark has passed.
        Backpressures when: the next operator does.
        Completes when: both inputs have.
        """
        if how not in ("inner", "left", "outer"):
            raise ArgumentError(f'join(how={how!r}): must be "inner", "left" or "outer"')
        both = self._tagged("join", other, on_error)
        if isinstance(within, Interval):
            before = micros(within.before, "Interval(before", zero=True)
            after = micros(within.after, "Interval(after", zero=True)
            op = Timed(
                kernel=lambda: Intervals(before, after, how),
                what=f"join({within}, {how})",
                key=_key_of_tagged,
                on_error=on_error,
                is_volatile=volatile,
            )
            return both._then(op, name)
        if not isinstance(within, Assigner) or isinstance(within, Count | Global):
            raise ArgumentError(
                f"join({within!r}): pass Tumbling(size), Sliding(size, every), Session(gap) or Interval(...)"
            )
        windows = Keyed(both, _key_of_tagged).window(within, volatile=volatile, on_error=on_error, name=name)
        node = windows.aggregate(Sides())._port.node
        op = replace(cast(Timed, node.op), what=f"join({within}, {how})")
        return both._then(op, name).flat_map(partial(pairs, how=how))

    @overload
    def join_table(
        self,
        table: Keyed[K, V],
        *,
        how: Literal["inner"] = ...,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Joined[K, T, V]]: ...
    @overload
    def join_table(
        self,
        table: Keyed[K, V],
        *,
        how: Literal["left"],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[Joined[K, T, V | None]]: ...

    def join_table(
        self,
        table: Keyed[Any, Any],
        *,
        how: Literal["inner", "left"] = "inner",
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[Any]:
        """Pair each event with the newest event of its key in another stream, whose events are a table's changes.

        Where both have event times, the newest as of the event's own time: it waits until the watermark says that
        no older change can come. Otherwise the newest that has come so far. ``how="left"`` gives events
        whose key the table doesn't have with None. Memory grows with the table's keys.

        Emits when: an event has come, and with event times the watermark has passed it.
        Backpressures when: the next operator does.
        Completes when: both inputs have.
        """
        if how not in ("inner", "left"):
            raise ArgumentError(f'join_table(how={how!r}): must be "inner" or "left"')
        both = self._tagged("join_table", table, on_error)
        timed = _has_time(both)
        op = Timed(
            kernel=lambda: Table(how, timed),
            what=f"join_table({how})",
            key=_key_of_tagged,
            on_error=on_error,
            is_volatile=volatile,
            timeless=not timed,
        )
        return both._then(op, name)

    def _tagged(self, verb: str, other: Any, on_error: OnError) -> Stream[Any]:
        """Both streams as one of (side, key, event)."""
        if not isinstance(other, Keyed):
            raise ArgumentError(f"{verb}({shown(other)}): the other side is a stream with a key: key_by(fn)")
        on_error = _no_fallback(verb, on_error)
        left = self._stream._then(Tag(0, self._key, on_error))
        right = other._stream._then(Tag(1, other._key, on_error))
        return left._then(Merge(), None, right)

    def reduce(
        self,
        fn: Callable[[T, T], T],
        *,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[tuple[K, T]]:
        """Combine the events of each key, and emit ``(key, what they have come to)`` after each.

        Emits when: an event has come; the first of a key as it is.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        op = Scan(
            sync(fn, "reduce"), _nothing, self._key, volatile, policy("reduce", on_error), emits_first=True
        )
        return cast("Stream[tuple[K, T]]", self._stream._then(op, name))

    @overload
    def scan(
        self,
        fn: Callable[[U, T], U],
        initial: U,
        *,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[tuple[K, U]]: ...
    @overload
    def scan(
        self,
        fn: Callable[[U, T], U],
        *,
        factory: Callable[[], U],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[tuple[K, U]]: ...

    def scan(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any = MISSING,
        *,
        factory: Callable[[], Any] | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[tuple[K, Any]]:
        """Fold the events of each key, and emit ``(key, state)`` after each.

        Emits when: the function has returned the new state.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        op = Scan(
            sync(fn, "scan"), start("scan", initial, factory), self._key, volatile, policy("scan", on_error)
        )
        return self._stream._then(op, name)


_key_of_tagged = itemgetter(1)


def _no_fallback(verb: str, on_error: OnError) -> OnError:
    if isinstance(on_error, Fallback):
        raise ArgumentError(
            f"{verb}(on_error=Fallback(...)): nothing can stand in here; use Skip() or DeadLetters()"
        )
    return policy(verb, on_error)


def _has_time(stream: Stream[Any]) -> bool:
    """True where the stream's events have event times."""
    end = Node(Gather("discard"), (stream._port,))
    return end in Graph("", (end,)).timed()


def _nothing() -> None:
    return None
