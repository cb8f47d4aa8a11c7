"""What each operator does with one event, for the reference interpreter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from reactor.graph import Node, Operator
from reactor.operators import (
    Batch,
    CallSink,
    Distinct,
    Enumerate,
    Filter,
    FlatMap,
    Items,
    Map,
    OfType,
    Pairwise,
    Scan,
    SinkEnd,
    Skip,
    SkipWhile,
    StarMap,
    Tag,
    Take,
    TakeWhile,
    Tap,
    TimedBatch,
)
from reactor.testing.failing import Calls, Emit, Enough
from reactor.testing.outcome import Undetermined

Step = Callable[[Any, Emit], None]
"""Takes one event and emits what comes of it."""

STATELESS = (Map, StarMap, Filter, Tap, FlatMap, OfType, Tag, CallSink, SinkEnd)


def stateless(calls: Calls, node: Node, op: Operator) -> Step:
    def step(event: Any, emit: Emit) -> None:
        if isinstance(op, Map):
            emit(calls.guard(node, event, op.fn, event))
        elif isinstance(op, StarMap):
            emit(calls.guard(node, event, calls.starred(op.fn), event))
        elif isinstance(op, Filter):
            if calls.guard(node, event, op.fn, event):
                emit(event)
        elif isinstance(op, Tap):
            calls.guard(node, event, op.fn, event)
            emit(event)
        elif isinstance(op, Items):  # what a pool has called for: the event and its iterable
            calls.items(node, event[0], emit, _itself, event[1])
        elif isinstance(op, FlatMap):
            calls.items(node, event, emit, op.fn, event)
        elif isinstance(op, Tag):
            emit((op.side, calls.guard(node, event, op.key, event), event))
        elif isinstance(op, OfType):
            if isinstance(event, op.types):
                emit(event)
        else:
            sink = op.fn if isinstance(op, CallSink) else getattr(op, "sink", None)
            if id(sink) in calls.stands_in:
                calls.guard(node, event, calls.stands_in[id(sink)], event)
            emit(event)

    return step


def batch(calls: Calls, node: Node, op: Batch | TimedBatch, held: list[Any]) -> Step:
    most = op.max_weight
    weigh: Callable[[Any], float] = op.weight or _one

    def step(event: Any, emit: Emit) -> None:
        weight = calls.guard(node, event, weigh, event)
        if most is not None and held and sum(map(weigh, held)) + weight > most:
            emit(list(held))
            held.clear()
        held.append(event)
        if len(held) == op.max_size or (most is not None and sum(map(weigh, held)) >= most):
            emit(list(held))
            held.clear()

    return step


def remembering(calls: Calls, node: Node, op: Operator) -> Step:
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
                raise Enough
        elif isinstance(op, TakeWhile):
            if not calls.guard(node, event, op.fn, event):
                raise Enough
            emit(event)
        elif isinstance(op, Skip):
            if len(seen) >= op.count:
                emit(event)
        elif isinstance(op, SkipWhile):
            dropping[0] = dropping[0] and bool(calls.guard(node, event, op.fn, event))
            if not dropping[0]:
                emit(event)
        elif isinstance(op, Distinct):
            key = calls.guard(node, event, op.key, event) if op.key else event
            calls.guard(node, event, hash, key)
            if key not in keys:
                keys.append(key)
                emit(event)
        elif isinstance(op, Enumerate):
            emit((op.start + len(seen), event))
        elif isinstance(op, Pairwise):
            if seen:
                emit((seen[-1], event))
        elif isinstance(op, Scan):
            key = calls.guard(node, event, op.key, event) if op.key else None
            if op.emits_first and key not in states:
                states[key] = event
            else:
                before = states[key] if key in states else op.factory()
                states[key] = calls.guard(node, event, op.fn, before, event)
            emit((key, states[key]) if op.key else states[key])
        else:
            raise Undetermined(
                f"{calls.labels[node]}: what it gives depends on timing, or on its inner streams"
            )
        seen.append(event)

    return step


def _one(event: Any) -> float:
    return 1


def _itself(items: Any) -> Any:
    return items
