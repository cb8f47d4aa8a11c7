"""Ends for Bytewax that cost it as little as possible: batches in, batches out, no key.

Its own TestingSource looks at each item in Python and hands over one at a time; measured with that, Bytewax
would look slower than it is.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import islice
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import DynamicSource, StatelessSourcePartition
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.testing import run_main

__all__ = ["Batches", "Folded", "Range", "run"]

BATCH = 1024


class _Partition(StatelessSourcePartition[Any]):
    def __init__(self, events: Iterator[Any], size: int) -> None:
        self._events = events
        self._size = size

    def next_batch(self) -> list[Any]:
        events = list(islice(self._events, self._size))
        if not events:
            raise StopIteration
        return events


class Batches(DynamicSource[Any]):
    def __init__(self, events: Iterable[Any], size: int = BATCH) -> None:
        self._events = events
        self._size = size

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Partition:
        return _Partition(iter(self._events), self._size)


class Range(Batches):
    def __init__(self, events: int) -> None:
        super().__init__(range(events))


class _FoldedPartition(StatelessSinkPartition[Any]):
    def __init__(self, sink: "Folded") -> None:
        self._sink = sink

    def write_batch(self, items: list[Any]) -> None:
        self._sink.result = reduce(self._sink.step, items, self._sink.result)


class Folded(DynamicSink[Any]):
    def __init__(self, step: Callable[[Any, Any], Any], initial: Any) -> None:
        self.step = step
        self.result = initial

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _FoldedPartition:
        return _FoldedPartition(self)


def run(flow: Dataflow) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_main(flow)
