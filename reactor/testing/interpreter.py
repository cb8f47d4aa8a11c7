"""The reference interpreter: what a graph means, in plain lists, one operator after the other.

It has no chunks, no channels, no tasks and no clock, so that it can be read in one go; the engine has to come to
the same results. It is slow, holds everything in memory, and reads every source to its end.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reactor.core import Source
from reactor.graph import Graph, Node
from reactor.operators import (
    Batch,
    Buffer,
    Call,
    Concat,
    EventTime,
    Fold,
    Foreign,
    Gather,
    Limit,
    Merge,
    Origin,
    Split,
    Take,
    TakeWhile,
    Timed,
    TimedBatch,
    Zip,
    parted_by,
)
from reactor.pipeline import Pipeline
from reactor.stream import Stream
from reactor.testing.failing import Calls, Emit, Enough, Failed, Skipped
from reactor.testing.outcome import Arrived, Failure, Outcome, Undetermined
from reactor.testing.reading import finished, listed, records
from reactor.testing.rows import Row, untimed
from reactor.testing.steps import STATELESS, Step, batch, remembering, stateless
from reactor.testing.timed import event_times, timed

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

    lanes: list[list[Row]]
    failure: Failure | None = None


class _Interpreter:
    def __init__(self, graph: Graph, stands_in: Mapping[Any, Any]) -> None:
        self.graph = graph
        cut = {a for n in graph.nodes() if isinstance(n.op, _CUTTERS) for a in graph.ancestors(n) - {n}}
        self.calls = Calls(graph.labels(), cut, stands_in)
        self.labels = graph.labels()
        self.stands_in = self.calls.stands_in
        self.flows: dict[tuple[Node, int], _Flow] = {}

    def outcome(self) -> Outcome:
        for node in self.graph.nodes():
            inputs = [self.flows[port.node, port.index] for port in node.inputs]
            for index, flow in enumerate(self.node(node, inputs)):
                self.flows[node, index] = flow
        ends = [self.flows[end, 0] for end in self.graph.ends]
        return Outcome(  # what is known of times was for the operators
            tuple(
                Arrived(tuple(tuple(r.event for r in lane) for lane in flow.lanes if lane)) for flow in ends
            ),
            tuple(self.calls.letters),
            dict(self.calls.skipped),
            tuple(self.calls.failures),
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
        if len(inputs) > 1 or getattr(op, "ttl", None) is not None:
            raise Undetermined(f"{self.labels[node]}: what it gives depends on timing")
        (flow,) = inputs
        if isinstance(op, Split):
            return self.split(node, op, flow)
        if isinstance(op, Call):
            return [self.call(node, op, flow)]
        if isinstance(op, Limit):
            return [self.limit(node, op, flow)]
        if isinstance(op, Buffer) and op.overflow != "block":
            raise Undetermined(f"{self.labels[node]}: what a buffer drops depends on timing")
        if isinstance(op, Buffer | Gather | Fold):
            return [flow]
        if isinstance(op, Foreign):
            return [self.foreign(node, op, flow)]
        if isinstance(op, EventTime):
            parted = node in parted_by(self.graph)
            return [_Flow(*event_times(self.calls, node, op, flow.lanes, flow.failure, parted))]
        if isinstance(op, Timed):
            lanes, late, failure = timed(self.calls, node, op, flow.lanes, flow.failure)
            return [_Flow(lanes, failure), _Flow(late, failure)]
        if isinstance(op, STATELESS):
            return [self.lanes(flow, stateless(self.calls, node, op))]
        flow = self.determined(node, flow)
        if isinstance(op, Batch | TimedBatch):
            held: list[Any] = []
            step = batch(self.calls, node, op, held)
            after = self.lanes(flow, step, lambda emit: emit(list(held)) if held else None)
            return [_Flow(_batched(flow.lanes, after.lanes), after.failure)]
        return [self.lanes(flow, remembering(self.calls, node, op))]

    # From one lane to one lane ------------------------------------------------------------------------------

    def lanes(self, flow: _Flow, step: Step, last: Callable[[Emit], object] | None = None) -> _Flow:
        """Put every event of every lane through ``step``; ``last`` emits what is left where nothing failed."""
        after = _Flow([], flow.failure)
        for lane in flow.lanes or [[]]:
            out: list[Row] = []
            after.lanes.append(out)
            try:
                for row in lane:
                    results: list[Any] = []
                    try:
                        step(row.event, results.append)
                    except Skipped:
                        pass
                    finally:
                        out.extend(row._replace(event=result) for result in results)
                if last is not None and flow.failure is None:
                    results = []
                    last(results.append)
                    out.extend(map(Row, results))
            except Failed as failed:
                after.failure = failed.failure
            except Enough:
                after.failure = None  # what would have come later isn't asked for
        return after

    # Pools --------------------------------------------------------------------------------------------------

    def call(self, node: Node, op: Call, flow: _Flow) -> _Flow:
        """Each event's results; which lanes they make says the order that the pool keeps."""
        after = _Flow([], flow.failure)
        # A sink that is called for several events at once has taken them in any order.
        any_order = op.order == "done" or (op.emit == "none" and op.concurrency > 1)
        for lane in flow.lanes:
            kept: dict[Any, list[Any]] = {}
            stopped: set[Any] = set()
            for number, row in enumerate(lane):
                event = row.event
                key: Any = number if any_order else None
                results: list[Any] = []
                try:
                    error: Exception | None = None
                    if op.key is not None:
                        key, error = _key_of(op.key, event, number)
                    self.called(node, op, event, error, results.append)
                except Skipped:
                    pass
                except Failed as failed:
                    after.failure = failed.failure
                    stopped.add(key)
                if key not in stopped:
                    kept.setdefault(key, []).extend(row._replace(event=result) for result in results)
            after.lanes.extend(kept.values())
        return after

    def called(self, node: Node, op: Call, event: Any, error: Exception | None, emit: Emit) -> None:
        """Call it until it succeeds or is given up; ``error`` says that it can't be called at all."""
        fn = self.stands_in.get(id(op.fn), op.fn if op.emit != "none" else _none)
        attempts = 1
        result = None
        while error is None:
            try:
                result = finished(fn(*event) if op.star else fn(event))
                break
            except Exception as raised:
                if op.retry is None or op.retry.delay(attempts, raised) is None:
                    error = raised
                else:
                    attempts += 1
        if error is not None:
            result = self.calls.given_up(node, event, error, attempts)
        if op.emit == "result":
            emit(result)
        elif op.emit == "items":
            emit((event, result))
        elif op.emit != "input_if" or result:
            emit(event)

    def limit(self, node: Node, op: Limit, flow: _Flow) -> _Flow:
        """Time doesn't matter here; with a key, the order is kept within each key."""
        key_of, cost_of = op.key or _none, op.cost or _none

        def step(event: Any, emit: Emit) -> None:
            key = self.calls.guard(node, event, key_of, event)
            self.calls.guard(node, event, cost_of, event)
            emit((key, event))

        keyed = self.lanes(flow, step)
        lanes: dict[tuple[int, Any], list[Row]] = {}
        for number, lane in enumerate(keyed.lanes):
            for row in lane:
                key, event = row.event
                lanes.setdefault((number, key), []).append(row._replace(event=event))
        return _Flow(list(lanes.values()), keyed.failure)

    # Several inputs or outputs ------------------------------------------------------------------------------

    def split(self, node: Node, op: Split, flow: _Flow) -> list[_Flow]:
        chosen = self.lanes(
            flow, lambda event, emit: emit((self.calls.guard(node, event, op.choose, event), event))
        )
        return [
            _Flow(
                [
                    [row._replace(event=row.event[1]) for row in lane if row.event[0] == n]
                    for lane in chosen.lanes
                ],
                chosen.failure,
            )
            for n in range(op.outputs)
        ]

    def concat(self, inputs: list[_Flow]) -> _Flow:
        after = _Flow([])
        for number, flow in enumerate(inputs):
            # Until the last has begun, nobody knows its times.
            after.lanes.extend(flow.lanes if number == len(inputs) - 1 else map(untimed, flow.lanes))
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
        return _Flow(
            [[Row(tuple(row.event for row in each)) for each in rows]],
            None if ended else _first_failure(flows),
        )

    def foreign(self, node: Node, op: Foreign, flow: _Flow) -> _Flow:
        if id(op.pipe) not in self.stands_in:
            raise Undetermined(f"{self.labels[node]}: another library's operator needs a stand-in")
        lane = [row.event for lane in self.determined(node, flow).lanes for row in lane]
        return _Flow([[Row(event) for event in self.stands_in[id(op.pipe)](lane)]], flow.failure)

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
                flow.lanes[0].append(event if isinstance(event, Row) else Row(event))
        except Undetermined:
            raise
        except Exception as error:
            flow.failure = self.calls.fail(node, None, error)
        return flow

    def read(self, node: Node, op: Origin) -> Iterator[Any]:
        given: Any = getattr(op.given, "iterator", op.given)
        if id(given) in self.stands_in:
            given = self.stands_in[id(given)]
        elif op.kind == "callable":
            given = given()
        kinds = (Source, records), (Iterable, iter), (AsyncIterable, listed)
        for kind, reading in kinds:
            if issubclass(type(given), kind):
                return reading(given)
        raise Undetermined(f"{self.labels[node]}: an {op.kind} needs a stand-in with its events")


def _batched(lanes: list[list[Row]], batches: list[list[Row]]) -> list[list[Row]]:
    """The time of a batch is the latest in it, its watermark that before its first event."""
    rows = iter([row for lane in lanes for row in lane])
    return [[Row.together(part.event, [next(rows) for _ in part.event]) for part in lane] for lane in batches]


def _first_failure(flows: Iterable[_Flow]) -> Failure | None:
    return next((flow.failure for flow in flows if flow.failure is not None), None)


def _key_of(key: Callable[[Any], Any], event: Any, number: int) -> tuple[Any, Exception | None]:
    """The event's key; or one that no other event has, and why."""
    try:
        found = key(event)
        hash(found)
        return found, None
    except Exception as error:
        return ("without a key", number), error


def _none(event: Any) -> None:
    """What a sink does that isn't called, and the key of all events where there are no keys."""
