"""The reference interpreter: what a graph means, in plain lists, one operator after the other.

It has no chunks, no channels, no tasks and no clock, so that it can be read in one go; the engine has to come to
the same results. It is slow, holds everything in memory, and reads every source to its end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reactor.core import ReactorError, Source
from reactor.delivery import DeadLetters, Fail, Fallback, OnError, Skip
from reactor.graph import Graph, Node, Operator
from reactor.operators import (
    Batch,
    Buffer,
    Call,
    CallSink,
    Concat,
    Distinct,
    Enumerate,
    Filter,
    FlatMap,
    Fold,
    Foreign,
    Gather,
    Items,
    Limit,
    Map,
    Merge,
    OfType,
    Origin,
    Pairwise,
    Scan,
    SinkEnd,
    SkipWhile,
    Split,
    StarMap,
    Take,
    TakeWhile,
    Tap,
    TimedBatch,
    Zip,
)
from reactor.operators import Skip as SkipFirst
from reactor.pipeline import Pipeline
from reactor.stream import Stream
from reactor.testing.outcome import Arrived, Failure, Letter, Outcome, Undetermined
from reactor.testing.reading import finished, listed, records

__all__ = ["interpret"]

_CUTTERS = (Take, TakeWhile, Zip, Foreign)


def interpret(what: Pipeline | Stream[Any] | Graph, stands_in: Mapping[Any, Any] | None = None) -> Outcome:
    """Return what a run has to come to.

    ``stands_in`` maps what can't be used here to something that can: an Inlet, Source, iterator or async
    iterable to an iterable of its events; an async function that waits to a sync one; a sink to a function
    of one event that raises where the sink would (other sinks are not called). A batch with ``max_wait`` is
    cut as if no time passed. Raises Undetermined where the results depend on timing: an operator that minds
    the order behind one that doesn't keep it, or a buffer that drops.
    """
    if isinstance(what, Pipeline):
        graph = what._graph
    else:
        graph = what if isinstance(what, Graph) else Graph("stream", (what._only_port(),))
    return _Interpreter(graph, stands_in or {}).outcome()


@dataclass(slots=True)
class _Flow:
    """What leaves one port, and the failure behind it, if that is how it ends."""

    lanes: list[list[Any]]
    failure: Failure | None = None


class _Skipped(Exception):
    """The event goes no further."""


class _Failed(Exception):
    """The event stops the run."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Enough(Exception):
    """The operator wants no more."""


Emit = Callable[[Any], None]
Step = Callable[[Any, Emit], None]
"""Takes one event and emits what comes of it."""


class _Interpreter:
    def __init__(self, graph: Graph, stands_in: Mapping[Any, Any]) -> None:
        self.graph = graph
        self.stands_in = {id(given): instead for given, instead in stands_in.items()}
        self.labels = graph.labels()
        self.flows: dict[tuple[Node, int], _Flow] = {}
        self.letters: list[Letter] = []
        self.skipped: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.cut = {a for n in graph.nodes() if isinstance(n.op, _CUTTERS) for a in graph.ancestors(n) - {n}}
        """The nodes with an operator behind them that may stop early."""

    def outcome(self) -> Outcome:
        for node in self.graph.nodes():
            inputs = [self.flows[port.node, port.index] for port in node.inputs]
            for index, flow in enumerate(self.node(node, inputs)):
                self.flows[node, index] = flow
        ends = [self.flows[end, 0] for end in self.graph.ends]
        return Outcome(
            tuple(Arrived(tuple(tuple(lane) for lane in flow.lanes if lane)) for flow in ends),
            tuple(self.letters),
            dict(self.skipped),
            tuple(self.failures),
            any(flow.failure is not None for flow in ends),
        )

    def node(self, node: Node, inputs: list[_Flow]) -> list[_Flow]:
        """What leaves each port of the node; an end has one, for what has arrived."""
        op = node.op
        if isinstance(op, Origin):
            return [self.origin(node, op)]
        if isinstance(op, Merge):
            return [_Flow([lane for flow in inputs for lane in flow.lanes], _first_failure(inputs))]
        if isinstance(op, Concat):
            return [self.concat(inputs)]
        if isinstance(op, Zip):
            return [self.zip(node, inputs)]
        (flow,) = inputs
        if isinstance(op, Split):
            return self.split(node, op, flow)
        if isinstance(op, Call):
            return [self.call(node, op, flow)]
        if isinstance(op, Limit) and op.key is not None:
            return [_by_key(flow, op.key)]
        if isinstance(op, Buffer) and op.overflow != "block":
            raise Undetermined(f"{self.labels[node]}: what a buffer drops depends on timing")
        if isinstance(op, Buffer | Limit | Gather | Fold):
            return [flow]
        if isinstance(op, Foreign):
            return [self.foreign(node, op, flow)]
        if isinstance(op, Map | StarMap | Filter | Tap | FlatMap | OfType | CallSink | SinkEnd):
            return [self.lanes(flow, self.stateless(node, op))]
        flow = self.determined(node, flow)
        if isinstance(op, Batch | TimedBatch):
            held: list[Any] = []
            return [
                self.lanes(flow, self.batch(node, op, held), lambda emit: emit(list(held)) if held else None)
            ]
        return [self.lanes(flow, self.remembering(node, op))]

    # From one lane to one lane ------------------------------------------------------------------------------

    def lanes(self, flow: _Flow, step: Step, last: Callable[[Emit], object] | None = None) -> _Flow:
        """Put every event of every lane through ``step``; ``last`` emits what is left where nothing failed."""
        after = _Flow([], flow.failure)
        for lane in flow.lanes or [[]]:
            out: list[Any] = []
            after.lanes.append(out)
            try:
                for event in lane:
                    try:
                        step(event, out.append)
                    except _Skipped:
                        pass
                if last is not None and flow.failure is None:
                    last(out.append)
            except _Failed as failed:
                after.failure = failed.failure
            except _Enough:
                after.failure = None  # what would have come later isn't asked for
        return after

    def stateless(self, node: Node, op: Operator) -> Step:
        def step(event: Any, emit: Emit) -> None:
            if isinstance(op, Map):
                emit(self.guard(node, event, op.fn, event))
            elif isinstance(op, StarMap):
                emit(self.guard(node, event, lambda: op.fn(*event)))
            elif isinstance(op, Filter):
                if self.guard(node, event, op.fn, event):
                    emit(event)
            elif isinstance(op, Tap):
                self.guard(node, event, op.fn, event)
                emit(event)
            elif isinstance(op, Items):  # of the pair that emit_call has made
                self.items(node, event[0], emit, lambda: event[1])
            elif isinstance(op, FlatMap):
                self.items(node, event, emit, lambda: op.fn(event))
            elif isinstance(op, OfType):
                if isinstance(event, op.types):
                    emit(event)
            else:
                sink = op.fn if isinstance(op, CallSink) else getattr(op, "sink", None)
                if id(sink) in self.stands_in:
                    self.guard(node, event, self.stands_in[id(sink)], event)
                emit(event)

        return step

    def items(self, node: Node, event: Any, emit: Emit, make: Callable[[], Any]) -> None:
        """Emit what an iterable gives until it ends or raises; after that, what there is instead."""
        try:
            made = make()
            if isinstance(made, str | bytes):
                raise TypeError(f"{self.labels[node]}: returned a {type(made).__name__}")
            for item in made:
                emit(item)
        except Exception as error:
            for item in self.given_up(node, event, error):
                emit(item)

    def batch(self, node: Node, op: Batch | TimedBatch, held: list[Any]) -> Step:
        most = op.max_weight

        def step(event: Any, emit: Emit) -> None:
            weigh = op.weight or (lambda event: 1)
            weight = self.guard(node, event, weigh, event)
            if most is not None and held and sum(map(weigh, held)) + weight > most:
                emit(list(held))
                held.clear()
            held.append(event)
            if len(held) == op.max_size or (most is not None and sum(map(weigh, held)) >= most):
                emit(list(held))
                held.clear()

        return step

    def remembering(self, node: Node, op: Operator) -> Step:
        seen: list[Any] = []
        """All events that have come so far."""
        keys: deque[Any] = deque(maxlen=getattr(op, "last", None))
        states: dict[Any, Any] = {}
        dropping = [True]

        def step(event: Any, emit: Emit) -> None:
            if isinstance(op, Take):
                if len(seen) < op.count:
                    emit(event)
                if len(seen) + 1 >= op.count:
                    raise _Enough
            elif isinstance(op, TakeWhile):
                if not self.guard(node, event, op.fn, event):
                    raise _Enough
                emit(event)
            elif isinstance(op, SkipFirst):
                if len(seen) >= op.count:
                    emit(event)
            elif isinstance(op, SkipWhile):
                dropping[0] = dropping[0] and bool(self.guard(node, event, op.fn, event))
                if not dropping[0]:
                    emit(event)
            elif isinstance(op, Distinct):
                key = self.guard(node, event, op.key, event) if op.key else event
                self.guard(node, event, hash, key)
                if key not in keys:
                    keys.append(key)
                    emit(event)
            elif isinstance(op, Enumerate):
                emit((op.start + len(seen), event))
            elif isinstance(op, Pairwise):
                if seen:
                    emit((seen[-1], event))
            elif isinstance(op, Scan):
                key = self.guard(node, event, op.key, event) if op.key else None
                if op.emits_first and key not in states:
                    states[key] = event
                else:
                    before = states[key] if key in states else op.factory()
                    states[key] = self.guard(node, event, op.fn, before, event)
                emit((key, states[key]) if op.key else states[key])
            else:
                raise ReactorError(f"the reference interpreter doesn't know {self.labels[node]}")
            seen.append(event)

        return step

    # Pools --------------------------------------------------------------------------------------------------

    def call(self, node: Node, op: Call, flow: _Flow) -> _Flow:
        """Each event's results; which lanes they make says the order that the pool keeps."""
        after = _Flow([], flow.failure)
        # A sink that is called for several events at once has taken them in any order.
        any_order = op.order == "done" or (op.emit == "none" and op.concurrency > 1)
        for lane in flow.lanes:
            kept: dict[Any, list[Any]] = {}
            stopped: set[Any] = set()
            for number, event in enumerate(lane):
                key: Any = number if any_order else None
                results: list[Any] = []
                try:
                    if op.key is not None:
                        try:
                            key = op.key(event)
                            hash(key)
                        except Exception as error:
                            key = (number, "without a key")
                            self.emit_call(node, op, event, self.given_up(node, event, error), results.append)
                            kept[key] = results
                            continue
                    self.called(node, op, event, results.append)
                except _Skipped:
                    pass
                except _Failed as failed:
                    after.failure = failed.failure
                    stopped.add(key)
                    kept.setdefault(key, []).extend(results)
                if key not in stopped:
                    kept.setdefault(key, []).extend(results)
            after.lanes.extend(kept.values())
        return after

    def called(self, node: Node, op: Call, event: Any, emit: Emit) -> None:
        fn = self.stands_in.get(id(op.fn))
        if op.emit == "none" and fn is None:
            return emit(event)
        fn = fn or op.fn
        attempts = 0
        while True:
            attempts += 1
            try:
                result = finished(fn(*event) if op.star else fn(event))
                break
            except Exception as error:
                if op.retry is None or op.retry.delay(attempts, error) is None:
                    result = self.given_up(node, event, error, attempts)
                    break
        self.emit_call(node, op, event, result, emit)

    def emit_call(self, node: Node, op: Call, event: Any, result: Any, emit: Emit) -> None:
        if op.emit == "result":
            emit(result)
        elif op.emit == "items":
            emit((event, result))
        elif op.emit != "input_if" or result:
            emit(event)

    # Several inputs or outputs ------------------------------------------------------------------------------

    def split(self, node: Node, op: Split, flow: _Flow) -> list[_Flow]:
        chosen = self.lanes(
            flow, lambda event, emit: emit((self.guard(node, event, op.choose, event), event))
        )
        return [
            _Flow([[event for port, event in lane if port == n] for lane in chosen.lanes], chosen.failure)
            for n in range(op.outputs)
        ]

    def concat(self, inputs: list[_Flow]) -> _Flow:
        after = _Flow([])
        for flow in inputs:
            after.lanes.extend(flow.lanes)
            if flow.failure is not None:
                after.failure = flow.failure
                break
        if all(len(flow.lanes) <= 1 for flow in inputs):
            after.lanes = [[event for lane in after.lanes for event in lane]]
        return after

    def zip(self, node: Node, inputs: list[_Flow]) -> _Flow:
        flows = [self.determined(node, flow) for flow in inputs]
        lanes = [flow.lanes[0] if flow.lanes else [] for flow in flows]
        rows = list(zip(*lanes, strict=False))
        ended = any(
            len(lane) == len(rows) and flow.failure is None for lane, flow in zip(lanes, flows, strict=True)
        )
        return _Flow([list(rows)], None if ended else _first_failure(flows))

    def foreign(self, node: Node, op: Foreign, flow: _Flow) -> _Flow:
        if id(op.pipe) not in self.stands_in:
            raise Undetermined(f"{self.labels[node]}: another library's operator needs a stand-in")
        return _Flow([list(self.stands_in[id(op.pipe)](self.determined(node, flow).lanes[0]))], flow.failure)

    def determined(self, node: Node, flow: _Flow) -> _Flow:
        lanes = [lane for lane in flow.lanes if lane]
        if len(lanes) > 1:
            raise Undetermined(f"{self.labels[node]}: its input comes in an order that isn't determined")
        return _Flow(lanes, flow.failure)

    # Sources ------------------------------------------------------------------------------------------------

    def origin(self, node: Node, op: Origin) -> _Flow:
        flow = _Flow([[]])
        try:
            for event in self.read(node, op):
                flow.lanes[0].append(event)
        except Undetermined:
            raise
        except Exception as error:
            flow.failure = self.fail(node, None, error)
        return flow

    def read(self, node: Node, op: Origin) -> Iterator[Any]:
        given = op.given
        given = self.stands_in.get(id(getattr(given, "_iterator", given)), given)
        if op.kind == "callable" and given is op.given:
            given = given()
        if isinstance(given, Source):
            return records(given)
        if isinstance(given, Iterable):
            return iter(given)
        if isinstance(given, AsyncIterable):
            return listed(given)
        raise Undetermined(f"{self.labels[node]}: an {op.kind} needs a stand-in with its events")

    # Failures -----------------------------------------------------------------------------------------------

    def guard(self, node: Node, event: Any, fn: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user; what it raises goes to the operator's policy."""
        try:
            return self.stands_in.get(id(fn), fn)(*args)
        except Exception as error:
            return self.given_up(node, event, error)

    def given_up(self, node: Node, event: Any, error: Exception, attempts: int = 1) -> Any:
        policy: OnError = getattr(node.op, "on_error", Fail())
        label = self.labels[node]
        if isinstance(policy, Fallback):
            try:
                return self.stands_in.get(id(policy.fn), policy.fn)(event)
            except Exception as second:
                raise _Failed(self.fail(node, event, second)) from error
        if isinstance(policy, Skip):
            self.skipped[label] += 1
            raise _Skipped
        if isinstance(policy, DeadLetters):
            self.letters.append(Letter(label, event, error, attempts, node not in self.cut))
            raise _Skipped
        raise _Failed(self.fail(node, event, error))

    def fail(self, node: Node, event: Any, error: Exception) -> Failure:
        failure = Failure(self.labels[node], event, error)
        self.failures.append(failure)
        return failure


def _first_failure(flows: Iterable[_Flow]) -> Failure | None:
    return next((flow.failure for flow in flows if flow.failure is not None), None)


def _by_key(flow: _Flow, key: Callable[[Any], Any]) -> _Flow:
    lanes: dict[tuple[int, Any], list[Any]] = {}
    for number, lane in enumerate(flow.lanes):
        for event in lane:
            lanes.setdefault((number, key(event)), []).append(event)
    return _Flow(list(lanes.values()), flow.failure)
