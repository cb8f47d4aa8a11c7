"""Streams: what is done with events, written down as an immutable graph. Nothing runs until it is asked to."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    Unpack,
    cast,
    overload,
)

from reactor.arguments import (
    MISSING,
    breaking,
    completed,
    gives_streams,
    policy,
    pooled,
    refusing,
    retrying,
    settings,
    shown,
    start,
    sync,
    whole,
)
from reactor.core import ArgumentError, Duration, Empty, MissingExtra, Sink, Source, UsedTwice, duration
from reactor.delivery import CircuitBreaker, Fail, Fallback, OnError, Restart, Retry
from reactor.engine import Execution, Feed, Opened, iterate
from reactor.graph import Graph, Node, Operator, Port, check, name_of
from reactor.operators import (
    NOTHING,
    Batch,
    Buffer,
    CallSink,
    CombineLatest,
    Concat,
    Conflate,
    Debounce,
    Delay,
    Distinct,
    Emit,
    Enumerate,
    EventTime,
    Filter,
    FlatMap,
    Fold,
    Foreign,
    Gather,
    Inner,
    Interleave,
    Items,
    Limit,
    Map,
    Merge,
    OfType,
    Origin,
    Pairwise,
    RateLimit,
    Sample,
    Scan,
    SinkEnd,
    Skip,
    SkipWhile,
    Split,
    StarMap,
    Take,
    TakeWhile,
    Tap,
    Throttle,
    TimedBatch,
    Timeout,
    WithLatest,
    Zip,
)
from reactor.windows import Assigner, Early, Unit, converter, micros

if TYPE_CHECKING:
    from reactor.keyed import Keyed
    from reactor.topics import Topic
    from reactor.windowed import Windows

__all__ = ["Ending", "Routes", "Stream"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
X = TypeVar("X")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
K = TypeVar("K")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
T_co = TypeVar("T_co", covariant=True)

Overflow = Literal["block", "drop_oldest", "drop_newest", "error"]


class _OneShot:
    """An iterator as a source: it can be read once."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self._used = False
        self.__name__ = type(iterator).__name__

    def use(self) -> Any:
        if self._used:
            raise UsedTwice(
                f"Stream({self.__name__}): the iterator has been read already; pass a callable that returns a "
                "new one for each run: Stream(lambda: ...)"
            )
        self._used = True
        return self.iterator


def _origin(given: Any) -> Origin:
    where = f"Stream({type(given).__name__})"
    if isinstance(given, str | bytes | bytearray):
        raise ArgumentError(f"{where}: would be read letter by letter; wrap it in a list, or in iter()")
    if isinstance(given, Stream):
        raise ArgumentError(f"{where}: this is a stream already; use it as it is")
    if isinstance(given, Feed):
        return Origin(given, "inlet")
    if isinstance(given, Source):
        return Origin(given, "source")
    if isinstance(given, Iterator) or hasattr(given, "__anext__"):
        return Origin(_OneShot(given), "iterator")
    if isinstance(given, Iterable):
        return Origin(given, "iterable")
    if isinstance(given, AsyncIterable):
        return Origin(given, "async")
    if inspect.iscoroutinefunction(given):
        raise ArgumentError(
            f"{where}: a coroutine function; write an async generator, or Stream([x]).map(fn)"
        )
    if callable(given):
        return Origin(given, "callable")
    if inspect.iscoroutine(given):
        given.close()
    raise ArgumentError(
        f"{where}: a source is an iterable, an async iterable, a callable that returns one, or a Source"
    )


def _check_restart(origin: Origin, restart: Any) -> None:
    where = f"Stream({origin.describe()}, restart="
    if not isinstance(restart, Restart):
        raise ArgumentError(f"{where}{restart!r}): must be a Restart(...)")
    if origin.kind not in ("source", "callable"):
        raise ArgumentError(
            f"{where}): only a Source, or a callable that returns an iterable, can be read again"
        )
    source = type(origin.given)
    if origin.kind == "source" and source.position is not Source.position and source.seek is Source.seek:
        raise ArgumentError(
            f"{where}): {source.__name__} has positions, but can't go to one; override its seek()"
        )


class Ending:
    """A branch that has come to its end: what a Pipeline is made of."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __repr__(self) -> str:
        return f"<{self.node.label}>"


class Stream(Generic[T_co]):
    """An immutable description: a source, and what is done with its events.

    ``Stream(x)`` takes an iterable, an async iterable, a callable that returns one of these, a Source or an
    Inlet. Each method returns a new stream, which begins with this one. Two branches that go out from the
    same stream object share its work: it runs once, and both get every event.

    With ``restart=Restart(...)`` a source that fails is read again after a while: a Source is closed, opened
    again and goes on behind the last event that it gave; a callable is called again, and what it returns then
    is read from its beginning. How often is in the metrics, and logged.

    Functions may be sync or async. ``concurrency=n`` awaits up to n results at a time (``ordered=False``: as
    they come; ``key=``: in order within each key); ``threads=n`` and ``processes=n`` are for functions that
    block or compute. ``timeout=`` (seconds, of each attempt), then ``retry=Retry(...)``, then ``on_error=``
    (Fail, Skip, DeadLetters or Fallback) say what a failure means; ``breaker=CircuitBreaker(...)`` stops calling
    what is down. ``name=`` is how errors, metrics and
    ``explain()`` call the operator. ``volatile=True`` accepts that what an operator remembers is lost when
    the process ends, over sources that are read on from a saved position.

    Raises ArgumentError, at once, for arguments that can't work.
    """

    __slots__ = ("_port",)

    @overload
    def __init__(self: Stream[T], source: Source[T], *, restart: Restart | None = ...) -> None: ...
    @overload
    def __init__(self: Stream[T], source: Feed[T]) -> None: ...
    @overload
    def __init__(self: Stream[T], source: Iterable[T]) -> None: ...
    @overload
    def __init__(self: Stream[T], source: AsyncIterable[T]) -> None: ...
    @overload
    def __init__(
        self: Stream[T], source: Callable[[], Iterable[T]], *, restart: Restart | None = ...
    ) -> None: ...
    @overload
    def __init__(
        self: Stream[T], source: Callable[[], AsyncIterable[T]], *, restart: Restart | None = ...
    ) -> None: ...

    def __init__(self, source: Any, *, restart: Restart | None = None) -> None:
        origin = _origin(source)
        if restart is not None:
            _check_restart(origin, restart)
            origin = replace(origin, restart=restart)
        self._port = Port(Node(origin))

    def __repr__(self) -> str:
        labels: list[str] = []
        node: Node | None = self._port.node
        while node is not None:
            labels.append(node.label)
            node = node.inputs[0].node if node.inputs else None
        return f"<Stream {' | '.join(reversed(labels))}>"

    @classmethod
    def _at(cls, port: Port) -> Stream[Any]:
        stream = cls.__new__(cls)
        stream._port = port
        return cast("Stream[Any]", stream)

    def _then(self, op: Operator, name: str | None = None, *others: Stream[Any]) -> Stream[Any]:
        return Stream._at(Port(Node(op, (self._port, *(other._port for other in others)), name)))

    # One event in, one or none or several out ---------------------------------------------------------------

    @overload
    def map(
        self,
        fn: Callable[[T_co], Awaitable[U]],
        *,
        concurrency: int | None = ...,
        ordered: bool = ...,
        key: Callable[[T_co], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...
    @overload
    def map(
        self,
        fn: Callable[[T_co], U],
        *,
        ordered: bool = ...,
        threads: int | None = ...,
        processes: int | None = ...,
        key: Callable[[T_co], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...

    def map(self, fn: Callable[[Any], Any], **how: Any) -> Stream[Any]:
        """Emit the function's result for each event.

        Emits when: the function has returned.
        Backpressures when: the next operator does, or ``concurrency`` events are in flight or wait their turn.
        Completes when: its input has and every result is out.
        """
        return self._apply("map", fn, Map, "result", how)

    @overload
    def starmap(
        self: Stream[tuple[*Ts]],
        fn: Callable[[Unpack[Ts]], Awaitable[U]],
        *,
        concurrency: int | None = ...,
        ordered: bool = ...,
        key: Callable[[tuple[*Ts]], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...
    @overload
    def starmap(
        self: Stream[tuple[*Ts]],
        fn: Callable[[Unpack[Ts]], U],
        *,
        ordered: bool = ...,
        threads: int | None = ...,
        processes: int | None = ...,
        key: Callable[[tuple[*Ts]], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...

    def starmap(self, fn: Callable[..., Any], **how: Any) -> Stream[Any]:
        """Emit ``fn(*event)`` for each event; takes what ``map`` takes.

        Emits when: the function has returned.
        Backpressures when: the next operator does, or ``concurrency`` events are in flight or wait their turn.
        Completes when: its input has and every result is out.
        """
        return self._apply("starmap", fn, StarMap, "result", how, star=True)

    def filter(
        self,
        predicate: Callable[[T_co], object],
        *,
        concurrency: int | None = None,
        ordered: bool = True,
        threads: int | None = None,
        processes: int | None = None,
        key: Callable[[T_co], object] | None = None,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Emit the events for which the function, or what it awaits, is true.

        Emits when: the function has returned something true.
        Backpressures when: the next operator does, or ``concurrency`` events are in flight or wait their turn.
        Completes when: its input has.
        """
        how = settings(concurrency, ordered, threads, processes, key, timeout, retry, breaker, on_error, name)
        return self._apply("filter", predicate, Filter, "input_if", how)

    def tap(
        self,
        fn: Callable[[T_co], object],
        *,
        concurrency: int | None = None,
        ordered: bool = True,
        threads: int | None = None,
        processes: int | None = None,
        key: Callable[[T_co], object] | None = None,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Call the function with each event for what it does, and emit the event.

        Emits when: the function has returned.
        Backpressures when: the next operator does, or ``concurrency`` events are in flight or wait their turn.
        Completes when: its input has.
        """
        how = settings(concurrency, ordered, threads, processes, key, timeout, retry, breaker, on_error, name)
        return self._apply("tap", fn, Tap, "input", how)

    @overload
    def flat_map(
        self,
        fn: Callable[[T_co], AsyncIterable[U]],
        *,
        concurrency: int | None = ...,
        ordered: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...
    @overload
    def flat_map(
        self,
        fn: Callable[[T_co], Awaitable[Iterable[U]]],
        *,
        concurrency: int | None = ...,
        ordered: bool = ...,
        key: Callable[[T_co], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...
    @overload
    def flat_map(
        self,
        fn: Callable[[T_co], Iterable[U]],
        *,
        ordered: bool = ...,
        threads: int | None = ...,
        processes: int | None = ...,
        key: Callable[[T_co], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...

    def flat_map(self, fn: Callable[[Any], Any], **how: Any) -> Stream[Any]:
        """Emit every item of the iterable that the function returns; a lazy one is read bit by bit.

        The function may be an async generator function; with ``concurrency=`` also one that returns an async
        iterable or a Stream. Up to ``concurrency`` of these are read at a time, each is asked for its next
        item when the one before has gone on, and closed once. ``ordered=False``: their items as they come.
        Else the items of one event come after those of the event before, and up to 16 of each wait for that.
        A drain waits for those that are open.

        Emits when: the iterable gives an item.
        Backpressures when: the next operator does, also in the middle of an iterable, or ``concurrency`` are open.
        Completes when: its input has and the last iterable is read.
        """
        how = completed("flat_map", how)
        if not gives_streams("flat_map", fn, how):
            return self._apply("flat_map", fn, FlatMap, "items", how)
        op = Inner("flat_map", fn, _opened, how["concurrency"] or 1, how["ordered"], on_error=how["on_error"])
        return self._then(op, how["name"])

    @overload
    def switch_map(
        self, fn: Callable[[T_co], AsyncIterable[U]], *, on_error: OnError = ..., name: str | None = ...
    ) -> Stream[U]: ...
    @overload
    def switch_map(
        self, fn: Callable[[T_co], Awaitable[Iterable[U]]], *, on_error: OnError = ..., name: str | None = ...
    ) -> Stream[U]: ...
    @overload
    def switch_map(
        self, fn: Callable[[T_co], Iterable[U]], *, on_error: OnError = ..., name: str | None = ...
    ) -> Stream[U]: ...

    def switch_map(
        self, fn: Callable[[Any], Any], *, on_error: OnError = Fail(), name: str | None = None
    ) -> Stream[Any]:
        """Emit the items of what the function returns, until the next event comes: it ends the one before.

        The function returns an async iterable, a Stream or an iterable, or awaits one. What is ended is closed
        before the next one is opened; one that would be ended before it begins isn't opened. A collection
        (list, tuple, set, ...) is there already, and is emitted whole. A drain ends the one that is open, too:
        over a group its event is read again.

        Emits when: the iterable of the latest event gives an item.
        Backpressures when: the next operator does; the next event is taken nevertheless.
        Completes when: its input has and the last iterable is read.
        """
        gives_streams("switch_map", fn, completed("switch_map", {"on_error": on_error, "concurrency": 1}))
        return self._then(Inner("switch_map", fn, _opened, switch=True, on_error=on_error), name)

    @overload
    def of_type(self, a: type[A], /) -> Stream[A]: ...
    @overload
    def of_type(self, a: type[A], b: type[B], /) -> Stream[A | B]: ...
    @overload
    def of_type(self, a: type[A], b: type[B], c: type[C], /) -> Stream[A | B | C]: ...

    def of_type(self, *types: type[Any]) -> Stream[Any]:
        """Emit the events that are instances of one of the types.

        Emits when: an event is an instance.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        if not types or not all(isinstance(kind, type) for kind in types):
            raise ArgumentError(f"of_type({', '.join(map(repr, types))}): pass one class or more")
        return self._then(OfType(types))

    # What remembers -----------------------------------------------------------------------------------------

    @overload
    def scan(
        self,
        fn: Callable[[U, T_co], U],
        initial: U,
        *,
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...
    @overload
    def scan(
        self,
        fn: Callable[[U, T_co], U],
        *,
        factory: Callable[[], U],
        volatile: bool = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Stream[U]: ...

    def scan(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any = MISSING,
        *,
        factory: Callable[[], Any] | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[Any]:
        """Fold as the events come, and emit each state.

        The state starts as ``initial``, which must be immutable, or as what ``factory()`` returns.

        Emits when: the function has returned the new state.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        sync(fn, "scan")
        return self._then(
            Scan(fn, start("scan", initial, factory), None, volatile, policy("scan", on_error)), name
        )

    def take(self, count: int, *, volatile: bool = False, name: str | None = None) -> Stream[T_co]:
        """Emit the first ``count`` events, and stop the input.

        Emits when: an event comes and fewer than ``count`` have.
        Backpressures when: the next operator does.
        Completes when: ``count`` events have come, or its input has completed.
        """
        return self._then(Take(whole("take(count", count, 0), volatile), name)

    def take_while(
        self,
        predicate: Callable[[T_co], object],
        *,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Emit events until the first for which the function is false; that one is not emitted.

        Emits when: the function has returned something true.
        Backpressures when: the next operator does.
        Completes when: the function has returned something false, or its input has completed.
        """
        return self._then(
            TakeWhile(sync(predicate, "take_while"), volatile, policy("take_while", on_error)), name
        )

    def skip(self, count: int, *, volatile: bool = False, name: str | None = None) -> Stream[T_co]:
        """Emit all but the first ``count`` events.

        Emits when: an event comes and ``count`` have been dropped.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        return self._then(Skip(whole("skip(count", count, 0), volatile), name)

    def skip_while(
        self,
        predicate: Callable[[T_co], object],
        *,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Drop events until the first for which the function is false; emit that one and all after it.

        Emits when: an event comes and the function has returned something false once.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        return self._then(
            SkipWhile(sync(predicate, "skip_while"), volatile, policy("skip_while", on_error)), name
        )

    def distinct(
        self,
        key: Callable[[T_co], object] | None = None,
        *,
        last: int | None = None,
        ttl: Duration | None = None,
        volatile: bool = False,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Emit each event once; which are the same says ``key``.

        ``last`` bounds how many keys are remembered, the oldest go first. With ``ttl``, a key is forgotten so
        many seconds after the event that was emitted for it, and the next one with it is emitted again.
        Without either, memory grows with the number of different keys.

        Emits when: an event's key isn't among those remembered.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        if key is not None:
            sync(key, "distinct")
        if last is not None:
            whole("distinct(last", last, 1)
        seconds = None if ttl is None else duration(ttl, "distinct(ttl")
        return self._then(Distinct(key, last, seconds, volatile, policy("distinct", on_error)), name)

    def enumerate(
        self, start: int = 0, *, volatile: bool = False, name: str | None = None
    ) -> Stream[tuple[int, T_co]]:
        """Emit pairs of a number, counted up from ``start``, and the event.

        Emits when: an event comes.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        if not isinstance(start, int) or isinstance(start, bool):
            raise ArgumentError(f"enumerate(start={start!r}): must be a whole number")
        return self._then(Enumerate(start, volatile), name)

    def pairwise(self, *, volatile: bool = False, name: str | None = None) -> Stream[tuple[T_co, T_co]]:
        """Emit pairs of the event before and the event.

        Emits when: an event comes that isn't the first.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        return self._then(Pairwise(volatile), name)

    def event_time(
        self,
        fn: Callable[[T_co], datetime] | Callable[[T_co], float],
        out_of_order: Duration = 0,
        *,
        unit: Unit | None = None,
        idle: Duration | None = None,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Say when each event happened: ``fn(event)`` is an aware datetime, or a number counted in ``unit``.

        The watermark is the highest time seen less ``out_of_order`` (seconds): windows wait so long for events
        that come behind later ones. ``unit`` is ``"s"``, ``"ms"`` or ``"us"`` since the epoch; with ``"us"`` the
        numbers have to be whole, and are taken as they are. With ``idle`` (seconds), an input that has nothing to
        give for so long holds up nobody, and its time goes on with the clock. Directly over a source with
        partitions (Kafka), or behind operators that take its events one by one, the partition that is furthest
        behind counts, unless it has nothing to give for ``idle`` (3) seconds.

        Emits when: the function has returned.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        sync(fn, "event_time")
        if unit not in (None, "s", "ms", "us"):
            raise ArgumentError(f'event_time(unit={unit!r}): must be "s", "ms" or "us"; datetimes have none')
        bound = micros(out_of_order, "event_time(out_of_order", zero=True)
        patience = None if idle is None else duration(idle, "event_time(idle")
        convert = converter(unit)
        if isinstance(on_error, Fallback) and convert is not None:
            instead, in_micros = on_error.fn, convert
            on_error = Fallback(lambda event: in_micros(instead(event)))  # it gives what fn would have given
        op = EventTime(fn, convert, bound, patience, policy("event_time", on_error))
        return self._then(op, name)

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
    ) -> Windows[None, T_co]:
        """Group the events into windows; takes what ``key_by(...).window`` takes."""
        from reactor.windowed import Windows

        return Windows(self, None, assigner, lateness, accumulating, early, volatile, on_error, name)

    def key_by(self, key: Callable[[T_co], K]) -> Keyed[K, T_co]:
        """Group by key: what follows keeps a state of its own for each."""
        from reactor.keyed import Keyed

        return Keyed(self, cast("Callable[[Any], K]", sync(key, "key_by")))

    # What groups, waits, and holds back ---------------------------------------------------------------------

    def batch(
        self,
        max_size: int | None = None,
        *,
        max_wait: Duration | None = None,
        max_weight: float | None = None,
        weight: Callable[[T_co], float] | None = None,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[list[T_co]]:
        """Emit lists of up to ``max_size`` events, or of up to ``max_weight`` by ``weight(event)``.

        With ``max_wait`` (seconds) a list goes on that long after its first event, full or not. One event that
        is heavier than ``max_weight`` is a list of its own.

        Emits when: a list is full, its time is over, or the input has completed.
        Backpressures when: the next operator does.
        Completes when: its input has and the last list is out.
        """
        if max_size is None and max_weight is None:
            raise ArgumentError("batch(): pass max_size=, or max_weight= with weight=")
        if max_size is not None:
            whole("batch(max_size", max_size, 1)
        if (max_weight is None) is not (weight is None):
            raise ArgumentError("batch(): max_weight= and weight= go together")
        if max_weight is not None and not max_weight > 0:
            raise ArgumentError(f"batch(max_weight={max_weight!r}): must be > 0")
        if weight is not None:
            weight = refusing(weight, "batch(weight=")
        on_error = policy("batch", on_error)
        if weight is None and not isinstance(on_error, Fail):
            raise ArgumentError("batch(on_error=): only weight= could fail; pass it, or drop on_error=")
        if max_wait is None:
            return self._then(Batch(max_size, max_weight, weight, on_error), name)
        seconds = duration(max_wait, "batch(max_wait")
        return self._then(TimedBatch(seconds, max_size, max_weight, weight, on_error), name)

    def rate_limit(
        self,
        limit: RateLimit,
        *,
        key: Callable[[T_co], object] | None = None,
        cost: Callable[[T_co], float] | None = None,
        waiting: int = 1024,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T_co]:
        """Let events pass as ``limit`` has tokens for them: one each, or ``cost(event)``.

        With ``key``, each key has tokens of its own, and an event that waits for its key's tokens doesn't hold
        up those of other keys; up to ``waiting`` events wait.

        Emits when: there are tokens for the next event.
        Backpressures when: there are none, and with ``key`` when ``waiting`` events wait.
        Completes when: its input has and no event waits.
        """
        if not isinstance(limit, RateLimit):
            raise ArgumentError(f"rate_limit({limit!r}): pass a RateLimit(rate, per=1, burst=1)")
        if key is None and callable(limit.rate):
            raise ArgumentError("rate_limit(): the limit's rate is a function of the key; pass key=")
        key = None if key is None else refusing(key, "rate_limit(key=")
        cost = None if cost is None else refusing(cost, "rate_limit(cost=")
        on_error = policy("rate_limit", on_error)
        if isinstance(on_error, Fallback):
            raise ArgumentError(
                "rate_limit(on_error=Fallback(...)): nothing can stand in for a key and a cost"
            )
        if key is None and cost is None and not isinstance(on_error, Fail):
            raise ArgumentError("rate_limit(on_error=): only key= and cost= could fail; pass one, or drop it")
        return self._then(Limit(limit, key, cost, whole("rate_limit(waiting", waiting, 1), on_error), name)

    def buffer(self, size: int, overflow: Overflow = "block", *, name: str | None = None) -> Stream[T_co]:
        """Let up to ``size`` events wait here, so that what comes before and after run side by side.

        ``overflow`` says what a full buffer does: ``block`` (backpressure), ``drop_oldest``, ``drop_newest``
        (both counted in the metrics), or ``error`` (the run fails with Overflow).

        Emits when: the next operator is ready for an event.
        Backpressures when: it is full and ``overflow="block"``; with another policy never.
        Completes when: its input has and it is empty.
        """
        if overflow not in ("block", "drop_oldest", "drop_newest", "error"):
            raise ArgumentError(
                f'buffer(overflow={overflow!r}): must be "block", "drop_oldest", "drop_newest" or "error"'
            )
        return self._then(Buffer(whole("buffer(size", size, 1), overflow), name)

    def conflate(
        self: Stream[T],
        fn: Callable[[T, T], T] | None = None,
        *,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Stream[T]:
        """While the next operator is busy, make one event of those that come: the latest, or ``fn(so far, next)``.

        So a slow reader holds nothing up, and doesn't fall behind. How many have gone into others is counted in
        the metrics. An event knows of at most 1024 of those that it was made of where they came from.

        Emits when: an event has come, and the next operator has taken the one before.
        Backpressures when: never.
        Completes when: its input has and the last event is out.
        """
        fn = None if fn is None else sync(fn, "conflate")
        return self._then(Conflate(fn, policy("conflate", on_error)), name)

    # What looks at the clock --------------------------------------------------------------------------------

    def throttle(self, seconds: Duration, *, trailing: bool = False, name: str | None = None) -> Stream[T_co]:
        """Emit an event, and then none for so many seconds: those that come meanwhile are dropped, and counted.

        With ``trailing``, the last of them is emitted when the time is over (or the input completes), and
        begins such a time itself.

        Emits when: an event comes and the time since the last one emitted is over; with ``trailing``, also at its
            end.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        return self._then(Throttle(duration(seconds, "throttle(seconds"), trailing), name)

    def debounce(self, seconds: Duration, *, name: str | None = None) -> Stream[T_co]:
        """Emit an event when no other has followed it for so many seconds; the others are dropped, and counted.

        Emits when: the time since the last event is over, or the input has completed.
        Backpressures when: the next operator does.
        Completes when: its input has and the last event is out.
        """
        return self._then(Debounce(duration(seconds, "debounce(seconds")), name)

    def sample(self, seconds: Duration, *, name: str | None = None) -> Stream[T_co]:
        """Emit the latest event every so many seconds, if a new one has come; the others are dropped, and counted.

        Emits when: the time is over and an event has come in it, or the input has completed.
        Backpressures when: the next operator does.
        Completes when: its input has and the last event is out.
        """
        return self._then(Sample(duration(seconds, "sample(seconds")), name)

    def delay(self, seconds: Duration, *, waiting: int = 1024, name: str | None = None) -> Stream[T_co]:
        """Emit each event so many seconds after it has come; up to ``waiting`` events wait.

        An event comes when it is taken from the operator before: where ``waiting`` events wait already, later.

        Emits when: the time since an event has come is over.
        Backpressures when: the next operator does, or ``waiting`` events wait.
        Completes when: its input has and no event waits.
        """
        return self._then(Delay(duration(seconds, "delay(seconds"), whole("delay(waiting", waiting, 1)), name)

    @overload
    def timeout(self, seconds: Duration, *, name: str | None = ...) -> Stream[T_co]: ...
    @overload
    def timeout(self, seconds: Duration, *, fallback: U, name: str | None = ...) -> Stream[T_co | U]: ...

    def timeout(self, seconds: Duration, *, fallback: Any = MISSING, name: str | None = None) -> Stream[Any]:
        """Fail with OperatorTimeout when no event has come for so many seconds; or emit ``fallback``, each time.

        Only time in which it waits for its input counts: not while the next operator holds it back, nor before
        it is its source's turn in a ``concat``.

        Emits when: an event comes; with ``fallback``, also when none has for so long.
        Backpressures when: the next operator does.
        Completes when: its input has.
        """
        return self._then(Timeout(duration(seconds, "timeout(seconds"), fallback), name)

    # Several streams become one -----------------------------------------------------------------------------

    @overload
    def merge(self, a: Stream[A], /, *, name: str | None = ...) -> Stream[T_co | A]: ...
    @overload
    def merge(self, a: Stream[A], b: Stream[B], /, *, name: str | None = ...) -> Stream[T_co | A | B]: ...
    @overload
    def merge(
        self, a: Stream[A], b: Stream[B], c: Stream[C], /, *, name: str | None = ...
    ) -> Stream[T_co | A | B | C]: ...
    @overload
    def merge(self, *others: Stream[A], name: str | None = ...) -> Stream[T_co | A]: ...

    def merge(self, *others: Stream[Any], name: str | None = None) -> Stream[Any]:
        """Emit all events of all streams as they come; no input starves another.

        Emits when: one of the inputs has an event.
        Backpressures when: the next operator does.
        Completes when: all inputs have.
        """
        return self._then(Merge(), name, *_streams("merge", others))

    @overload
    def concat(self, a: Stream[A], /, *, name: str | None = ...) -> Stream[T_co | A]: ...
    @overload
    def concat(self, a: Stream[A], b: Stream[B], /, *, name: str | None = ...) -> Stream[T_co | A | B]: ...
    @overload
    def concat(self, *others: Stream[A], name: str | None = ...) -> Stream[T_co | A]: ...

    def concat(self, *others: Stream[Any], name: str | None = None) -> Stream[Any]:
        """Emit all events of this stream, then all of the next, whose source is opened only then.

        Event time is the lowest of all inputs: windows behind it wait for the last one.

        Emits when: the input whose turn it is has an event.
        Backpressures when: the next operator does.
        Completes when: the last input has.
        """
        return self._then(Concat(), name, *_streams("concat", others))

    @overload
    def zip(
        self, a: Stream[A], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A]]: ...
    @overload
    def zip(
        self, a: Stream[A], b: Stream[B], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A, B]]: ...
    @overload
    def zip(
        self,
        a: Stream[A],
        b: Stream[B],
        c: Stream[C],
        /,
        *,
        volatile: bool = ...,
        name: str | None = ...,
    ) -> Stream[tuple[T_co, A, B, C]]: ...

    def zip(self, *others: Stream[Any], volatile: bool = False, name: str | None = None) -> Stream[Any]:
        """Emit tuples of one event of each stream: the first of all, then the second of all, ...

        Emits when: every input has an event.
        Backpressures when: the next operator does, or the other inputs are behind.
        Completes when: one of the inputs has and its events are used up.
        """
        return self._then(Zip(volatile), name, *_streams("zip", others))

    @overload
    def interleave(self, a: Stream[A], /, *, name: str | None = ...) -> Stream[T_co | A]: ...
    @overload
    def interleave(
        self, a: Stream[A], b: Stream[B], /, *, name: str | None = ...
    ) -> Stream[T_co | A | B]: ...
    @overload
    def interleave(
        self, a: Stream[A], b: Stream[B], c: Stream[C], /, *, name: str | None = ...
    ) -> Stream[T_co | A | B | C]: ...
    @overload
    def interleave(self, *others: Stream[A], name: str | None = ...) -> Stream[T_co | A]: ...

    def interleave(self, *others: Stream[Any], name: str | None = None) -> Stream[Any]:
        """Emit one event of each stream in turn; one that has ended is passed over, the others go on.

        Emits when: the input whose turn it is has an event.
        Backpressures when: the next operator does, or another input's turn it is.
        Completes when: all inputs have.
        """
        return self._then(Interleave(), name, *_streams("interleave", others))

    @overload
    def combine_latest(
        self, a: Stream[A], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A]]: ...
    @overload
    def combine_latest(
        self, a: Stream[A], b: Stream[B], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A, B]]: ...
    @overload
    def combine_latest(
        self,
        a: Stream[A],
        b: Stream[B],
        c: Stream[C],
        /,
        *,
        volatile: bool = ...,
        name: str | None = ...,
    ) -> Stream[tuple[T_co, A, B, C]]: ...

    def combine_latest(
        self, *others: Stream[Any], volatile: bool = False, name: str | None = None
    ) -> Stream[Any]:
        """Emit a tuple of the latest event of each stream whenever one of them has a new one.

        Until each has had one, those that have had theirs wait: so every event is in a tuple. What shall not
        wait goes through ``conflate()`` before.

        Emits when: an input has an event, and each has had one.
        Backpressures when: the next operator does, or another input has had no event yet.
        Completes when: all inputs have, or one has without an event.
        """
        return self._then(CombineLatest(volatile), name, *_streams("combine_latest", others))

    @overload
    def with_latest(
        self, a: Stream[A], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A]]: ...
    @overload
    def with_latest(
        self, a: Stream[A], b: Stream[B], /, *, volatile: bool = ..., name: str | None = ...
    ) -> Stream[tuple[T_co, A, B]]: ...
    @overload
    def with_latest(
        self,
        a: Stream[A],
        b: Stream[B],
        c: Stream[C],
        /,
        *,
        volatile: bool = ...,
        name: str | None = ...,
    ) -> Stream[tuple[T_co, A, B, C]]: ...

    def with_latest(
        self, *others: Stream[Any], volatile: bool = False, name: str | None = None
    ) -> Stream[Any]:
        """Emit a tuple of each event of this stream and the latest event of each of the others.

        Until each of the others has had an event, this stream waits: so each of its events is in a tuple.

        Emits when: this stream has an event, and each of the others has had one.
        Backpressures when: the next operator does, and this stream also while another has had no event yet.
        Completes when: this stream has, or one of the others has without an event.
        """
        return self._then(WithLatest(volatile), name, *_streams("with_latest", others))

    # One stream becomes several -----------------------------------------------------------------------------

    def split(
        self,
        predicate: Callable[[T_co], object],
        *,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> tuple[Stream[T_co], Stream[T_co]]:
        """Return two streams: the events for which the function is true, and the others. Both must be used.

        Emits when: the function has returned.
        Backpressures when: the branch that the next event goes to does.
        Completes when: its input has.
        """
        predicate = refusing(predicate, "split")

        def choose(event: Any) -> int:
            return 0 if predicate(event) else 1

        on_error = _translated(on_error, lambda answer: 0 if answer else 1)
        node = self._split(choose, 2, f"split({name_of(predicate)})", on_error, name)
        return Stream._at(Port(node, 0)), Stream._at(Port(node, 1))

    @overload
    def split_by_type(
        self, a: type[A], b: type[B], /, *, on_error: OnError = ..., name: str | None = ...
    ) -> tuple[Stream[A], Stream[B]]: ...
    @overload
    def split_by_type(
        self, a: type[A], b: type[B], c: type[C], /, *, on_error: OnError = ..., name: str | None = ...
    ) -> tuple[Stream[A], Stream[B], Stream[C]]: ...
    @overload
    def split_by_type(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> tuple[Stream[A], Stream[B], Stream[C], Stream[D]]: ...

    def split_by_type(
        self, *types: type[Any], on_error: OnError = Fail(), name: str | None = None
    ) -> tuple[Stream[Any], ...]:
        """Return a stream for each type; an event goes to the first that it is an instance of.

        An event of none of the types is a failure; pass ``object`` as the last type for the rest.

        Emits when: an event comes.
        Backpressures when: the branch that the next event goes to does.
        Completes when: its input has.
        """
        if len(types) < 2 or not all(isinstance(kind, type) for kind in types):
            raise ArgumentError("split_by_type(): pass two classes or more")
        names = ", ".join(kind.__name__ for kind in types)
        if isinstance(on_error, Fallback):
            raise ArgumentError(
                f"split_by_type({names}, on_error=Fallback): pass object as the last type instead"
            )

        def choose(event: Any) -> int:
            for number, kind in enumerate(types):
                if isinstance(event, kind):
                    return number
            raise TypeError(
                f"split_by_type({names}): a {type(event).__name__} is none of these; add it, or object last"
            )

        node = self._split(choose, len(types), f"split_by_type({names})", on_error, name)
        return tuple(Stream._at(Port(node, number)) for number in range(len(types)))

    def route(
        self,
        choose: Callable[[T_co], object],
        *names: str,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Routes[T_co]:
        """Return a stream for each name: ``routes["UK"]`` has the events for which ``choose`` returns it.

        ``routes.other`` has the rest. All of them must be used.

        Emits when: the function has returned.
        Backpressures when: the branch that the next event goes to does.
        Completes when: its input has.
        """
        choose = refusing(choose, "route")
        if not names or len(set(names)) < len(names):
            raise ArgumentError(f"route({', '.join(names)}): pass one name or more, each once")
        numbers = {each: number for number, each in enumerate(names)}
        other = len(names)

        def number_of(event: Any) -> int:
            return numbers.get(cast(Any, choose(event)), other)

        on_error = _translated(on_error, lambda answer: numbers.get(answer, other))
        node = self._split(number_of, other + 1, f"route({', '.join(names)})", on_error, name)
        return Routes(
            {each: Stream._at(Port(node, n)) for each, n in numbers.items()}, Stream._at(Port(node, other))
        )

    def _split(
        self, choose: Callable[[Any], int], outputs: int, what: str, on_error: OnError, name: str | None
    ) -> Node:
        on_error = policy(what.partition("(")[0], on_error)
        return Node(Split(choose, what, outputs, on_error), (self._port,), name)

    # Composition --------------------------------------------------------------------------------------------

    @overload
    def through(self, flow: Callable[[AsyncIterable[T_co]], AsyncIterable[U]]) -> Stream[U]: ...
    @overload
    def through(
        self, flow: Callable[Concatenate[Stream[T_co], P], U], *args: P.args, **kwargs: P.kwargs
    ) -> U: ...

    def through(self, flow: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``flow(stream, ...)``: a part of a pipeline that has a name and can be used again.

        A pipe operator of aiostream, or any function from an async iterable to an async iterable, runs as a
        stage of its own; it needs ``reactor-streams[aiostream]`` where it is aiostream's, and asyncio.
        """
        if _is_of_aiostream(flow):
            return self._through_aiostream(flow, args, kwargs)
        if inspect.isasyncgenfunction(flow):
            return self._then(Foreign(_bound(flow, args, kwargs), name_of(flow)))
        result = flow(self, *args, **kwargs)
        if _is_of_aiostream(type(result)):
            return self._through_aiostream(flow, args, kwargs)
        return result

    def _through_aiostream(self, flow: Callable[..., Any], args: Any, kwargs: Any) -> Stream[Any]:
        if importlib.util.find_spec("aiostream") is None:
            raise MissingExtra("through() with an operator of aiostream", "aiostream")
        name = f"aiostream's {name_of(flow)}".replace("lambda", "operator")
        return self._then(Foreign(_bound(flow, args, kwargs), name, ("asyncio",)))

    # Ends ---------------------------------------------------------------------------------------------------

    @overload
    def to(
        self,
        target: Topic[Any],
        *,
        key: Callable[[T_co], str | None] | None = ...,
        headers: Callable[[T_co], Mapping[str, str] | None] | None = ...,
        time: Callable[[T_co], int | datetime] | None = ...,
        id: Callable[[T_co], str] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Ending: ...
    @overload
    def to(
        self,
        target: Sink[T_co] | Callable[[T_co], object],
        *,
        concurrency: int | None = ...,
        ordered: bool = ...,
        key: Callable[[T_co], object] | None = ...,
        timeout: Duration | None = ...,
        retry: Retry | None = ...,
        breaker: CircuitBreaker | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Ending: ...

    def to(
        self,
        target: Any,
        *,
        concurrency: int | None = None,
        ordered: bool = True,
        key: Any = None,
        headers: Any = None,
        time: Any = None,
        id: Any = None,
        timeout: Duration | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        on_error: OnError = Fail(),
        name: str | None = None,
    ) -> Ending:
        """End the branch in a sink: a Topic, a Sink, or a function that is called with each event.

        For a topic, ``key``, ``headers``, ``time`` (aware datetime, or microseconds since the epoch) and
        ``id`` are functions of the event; an event whose id the topic has already isn't stored again. A
        function may be async, and then takes ``concurrency``, ``ordered`` and ``key`` as ``map`` does.
        """
        making = getattr(target, "sink", None)
        if not isinstance(target, Sink) and callable(making):
            target = making(key=key, headers=headers, time=time, id=id)
            key = headers = time = id = None
            if name is None:
                name = f"to({target.name})" if target.name else None
        for what, value in (("headers", headers), ("time", time), ("id", id)):
            if value is not None:
                raise ArgumentError(f"to({shown(target)}, {what}=): only a topic takes {what}=")
        if isinstance(target, Sink):
            for what, value in (("concurrency", concurrency), ("key", key)):
                if value is not None:
                    raise ArgumentError(
                        f"to({shown(target)}, {what}=): a Sink has one write in flight at a time"
                    )
            seconds = None if timeout is None else duration(timeout, "to(timeout")
            again, on_error = retrying("to", retry), policy("to", on_error)
            breaker = breaking("to", breaker, again, on_error)
            op: Operator = SinkEnd(target, seconds, again, on_error, breaker=breaker)
            return Ending(Node(op, (self._port,), name))
        if isinstance(target, type) and issubclass(target, Sink):
            raise ArgumentError(f"to({target.__name__}): is a class; pass an object: {target.__name__}()")
        if not callable(target):
            raise ArgumentError(
                f"to({shown(target)}): a sink is a Topic, an object of a class derived from Sink, or a function "
                "of one event"
            )
        how = settings(concurrency, ordered, None, None, key, timeout, retry, breaker, on_error, name)
        call = pooled("to", target, "none", how)
        if call is not None:
            return Ending(Node(call, (self._port,), name))
        return Ending(Node(CallSink(target, on_error), (self._port,), name))

    def discard(self) -> Ending:
        """End the branch; its events have no further use."""
        return Ending(Node(Gather("discard"), (self._port,)))

    # In place -----------------------------------------------------------------------------------------------

    async def collect(self) -> list[T_co]:
        """Run it, and return all events as a list."""
        return cast("list[T_co]", await self._run(Gather("collect")))

    async def count(self) -> int:
        """Run it, and return how many events there were."""
        return cast(int, await self._run(Gather("count")))

    @overload
    async def first(self) -> T_co: ...
    @overload
    async def first(self, default: U) -> T_co | U: ...

    async def first(self, default: Any = MISSING) -> Any:
        """Run it until the first event, and return that; without one the default, or Empty is raised."""
        return _or_default("first", await self._then(Take(1, True))._run(Gather("last")), default)

    @overload
    async def last(self) -> T_co: ...
    @overload
    async def last(self, default: U) -> T_co | U: ...

    async def last(self, default: Any = MISSING) -> Any:
        """Run it, and return the last event; without one the default, or Empty is raised."""
        return _or_default("last", await self._run(Gather("last")), default)

    @overload
    async def fold(self, fn: Callable[[U, T_co], U], initial: U) -> U: ...
    @overload
    async def fold(self, fn: Callable[[U, T_co], U], *, factory: Callable[[], U]) -> U: ...

    async def fold(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any = MISSING,
        *,
        factory: Callable[[], Any] | None = None,
    ) -> Any:
        """Run it, and return what ``state = fn(state, event)`` has come to."""
        return await self._run(Fold(sync(fn, "fold"), start("fold", initial, factory)))

    async def _run(self, end: Operator) -> Any:
        node = Node(end, (self._port,))
        graph = Graph("stream", (node,))
        check(graph)
        execution = Execution(graph)
        await execution.execute()
        return execution.result(node)

    def open(self, *, capacity: int = 1024) -> Opened[T_co]:
        """Return a block in which the stream runs: ``async with stream.open() as events: async for ...``."""
        return Opened(Graph("stream", (self._only_port(),), capacity=whole("open(capacity", capacity, 1)))

    def __aiter__(self) -> AsyncGenerator[T_co, None]:
        """Iterate in place, where that needs no task of its own; otherwise the error names ``open()``."""
        return iterate(Graph("stream", (self._only_port(),)))

    def _only_port(self) -> Node:
        if self._port.node.op.outputs == 1:
            return self._port.node
        # One branch of a split: the others are missed by the check, which says so.
        return Node(Map(_itself), (self._port,), "read")

    # Shared by several --------------------------------------------------------------------------------------

    def _apply(
        self,
        verb: str,
        fn: Callable[..., Any],
        fused: type[Map] | type[StarMap] | type[Filter] | type[Tap] | type[FlatMap],
        emit: Emit,
        how: dict[str, Any],
        star: bool = False,
    ) -> Stream[Any]:
        how = completed(verb, how)
        call = pooled(verb, fn, emit, how, star)
        stream = self._then(call or fused(fn, how["on_error"]), how["name"])
        return stream._then(Items(fn, how["on_error"])) if call is not None and emit == "items" else stream


class Routes(Mapping[str, Stream[T_co]]):
    """The streams of ``route``: by name, and ``other`` for the rest."""

    def __init__(self, streams: Mapping[str, Stream[T_co]], other: Stream[T_co]) -> None:
        self._streams = dict(streams)
        self.other = other

    def __getitem__(self, name: str) -> Stream[T_co]:
        return self._streams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)


def _is_of_aiostream(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "aiostream"


def _bound(flow: Callable[..., Any], args: Any, kwargs: Any) -> Callable[[Any], Any]:
    return lambda events: flow(events, *args, **kwargs)


def _or_default(verb: str, found: Any, default: Any) -> Any:
    if found is not NOTHING:
        return found
    if default is not MISSING:
        return default
    raise Empty(f"{verb}(): the stream ended without an event; pass a default")


def _translated(on_error: OnError, number_of: Callable[[Any], int]) -> OnError:
    """A fallback gives what the user's function would have given: an answer, not the number of a branch."""
    if not isinstance(on_error, Fallback):
        return on_error
    fn = on_error.fn
    return Fallback(lambda event: number_of(fn(event)))


def _opened(given: Any) -> Any:
    """What a function has returned, as something to read: a stream runs, as long as it is read."""
    if isinstance(given, Stream):
        stream: Stream[Any] = given
        ancestors = Graph("stream", (stream._port.node,)).nodes()
        committed = [node for node in ancestors if isinstance(node.op, Origin) and node.op.committed]
        if committed:
            raise ArgumentError(
                f"an inner stream over {committed[0].label}: its position would be committed before the events "
                "have reached a sink; read it in the pipeline itself, or without a group"
            )
        return stream.open(capacity=16)
    return given.stream() if _is_of_aiostream(type(given)) else given


def _itself(event: Any) -> Any:
    return event


def _streams(verb: str, others: Sequence[Stream[Any]]) -> Sequence[Stream[Any]]:
    if not others:
        raise ArgumentError(f"{verb}(): pass one stream or more")
    for other in others:
        if not isinstance(other, Stream):
            raise ArgumentError(f"{verb}({shown(other)}): is no Stream; write Stream(...)")
    return others
