"""The world that a simulated process sees: what a pipeline is built from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from reactor.core import Sink, Source
from reactor.delivery import Checkpoints, DeadLetter
from reactor.testing.simulation.ends import (
    SimulatedLetters,
    SimulatedSink,
    SimulatedSource,
    SimulatedTable,
    TableKept,
)
from reactor.testing.simulation.faults import ANY
from reactor.testing.simulation.realm import Process
from reactor.testing.simulation.states import SimulatedStore

T = TypeVar("T")


class World:
    """Sources, sinks and stores of one simulation, as one of its processes sees them.

    What they keep outlives the process. Each call to them may fail, be slow, or be the moment at which the process
    is killed, as the seed wants.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        """The process that sees it."""
        self._realm = process.realm

    @property
    def seed(self) -> int:
        """The seed of the simulation."""
        return self._realm.decisions.seed

    @property
    def dice(self) -> random.Random:
        """New dice, the same for each process of this seed: for pipelines that differ from seed to seed."""
        return random.Random(f"world {self.seed}")

    def source(self, name: str, events: Iterable[T], *, every: float = 0.003) -> Source[T]:
        """Return a log of these events with positions, which gives some of them every few milliseconds."""
        return SimulatedSource(self.process, name, list(events), every)

    def table(self, name: str, *, key: Callable[[Any], Any] | None = None) -> Sink[Any]:
        """Return a transactional sink; with ``key``, rows with the same key have to come in the same order."""
        return SimulatedTable(self.process, name, key)

    def sink(self, name: str) -> Sink[Any]:
        """Return a sink that can't be transactional."""
        return SimulatedSink(self.process, name)

    def dead_letters(self, name: str = "dead letters") -> Sink[DeadLetter]:
        """Return a place for dead letters, which keeps each id once."""
        return SimulatedLetters(self.process, name)

    def store(self, name: str = "checkpoints") -> SimulatedStore:
        """Return the store of checkpoints of one pipeline."""
        return SimulatedStore(self.process, name)

    def checkpoints(self, store: Any = None, **settings: Any) -> Checkpoints:
        """Return ``Checkpoints`` with this store, with an interval that differs from process to process."""
        settings.setdefault("interval", self.vary("interval", (0.05, 0.004, 1.0)))
        settings.setdefault("spacing", self.vary("spacing", (0.01, 0.001)))
        return Checkpoints(self.store() if store is None else store, **settings)

    async def call(self, name: str, effect: Callable[[], T] | None = None) -> T | None:
        """Something outside is called: that may be slow, fail, or be the last thing that the process does.

        ``effect`` is what happens there, at once or not at all; also where the process doesn't live to see it.
        Sources and sinks of your own make their calls with it.
        """
        if effect is None:
            return await self.process.call(name, lambda: None, ANY)
        return await self.process.call(name, effect, ANY)

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """Return what outlives the processes under this name; ``make`` makes it once."""
        return self._realm.keep(World, name, make)

    def rows(self, name: str, *, key: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return a list that outlives the processes, and has to come to what it comes to undisturbed.

        What a sink of your own stores, or what your pipeline has told others.
        """
        kept = self._realm.keep(TableKept, name, TableKept)
        kept.exact, kept.key = True, key
        return kept.rows

    def vary(self, name: str, options: Sequence[T]) -> T:
        """Return one of the options, another one in each process: what results don't depend on."""
        return options[self._realm.choose(name, len(options), 0.7)]
