"""Positions: what has left every sink is committed at the sources, by barriers that flow among the events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import anyio

from reactor.engine.elements import Barrier
from reactor.engine.limits import Held, Limits

if TYPE_CHECKING:
    from reactor.engine.reading import SourceStage


class Reached(Protocol):
    """An end of the graph, and the numbers of the sources whose events reach it."""

    sources: frozenset[int]


SPACING = 0.05
"""Seconds between two barriers at least, where a source has fallen idle."""

MOMENT = 0.004
"""A source that has waited for so many seconds is idle."""


class Coordinator:
    """Sends barriers from the sources, one in flight, and commits positions when all ends have seen it."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.sources: dict[int, SourceStage] = {}
        self.ends: dict[Reached, int] = {}
        """Each end and the last barrier that has reached it."""
        self._completed: dict[Reached, Limits] = {}
        self._number = 0
        self._sending: list[int] = []
        self._withdrawn: set[int] = set()
        self._positions: dict[int, dict[int, int]] = {0: {}}
        """For the last barriers: the positions of the sources when it was sent."""
        self._committed: dict[int, int] = {}
        self._asked = anyio.Event()
        self._urgent = anyio.Event()
        self._stirred = anyio.Event()
        self._passed = anyio.Event()

    def ask(self, *, urgent: bool = False) -> None:
        """A source has fallen idle: what it has given should be committed soon, or at once."""
        self._stirred.set()
        self._asked.set()
        if urgent:
            self._urgent.set()

    def hasten(self) -> None:
        """A source may not give much more before something is committed."""
        self.ask(urgent=True)

    def stir(self) -> None:
        """Something is being read again."""
        self._stirred.set()

    async def run(self) -> None:
        """Send barriers until cancelled."""
        while True:
            if not self._moved():  # no timer runs while nothing happens
                self._stirred = anyio.Event()
                await self._stirred.wait()
            await self._pause()
            self._asked, self._urgent = anyio.Event(), anyio.Event()
            if not self._moved():
                continue
            self._passed = anyio.Event()
            self._number += 1
            # A source that is over has sent its end; where that has arrived, so has all before it.
            self._positions[self._number] = {
                n: stage.position
                for n, stage in self.sources.items()
                if stage.over and stage.position is not None and n not in self._withdrawn
            }
            # One that begins only now (behind a concat) has given nothing that this barrier is about.
            self._sending = [n for n, stage in self.sources.items() if stage.started]
            for number, stage in self.sources.items():
                stage.barrier(Barrier(self._number), number)
            await self._wait()
            await self.commit()

    async def _pause(self) -> None:
        """Wait for the interval to pass, or less where somebody waits or a source has nothing to give."""
        began = anyio.current_time()
        with anyio.move_on_after(self.interval):
            while not self._urgent.is_set():
                await self._asked.wait()
                self._asked = anyio.Event()
                # A source asks before each read. Only one that is still at it a moment later is idle.
                rest = max(began + SPACING - anyio.current_time(), MOMENT)
                with anyio.move_on_after(rest):
                    await self._urgent.wait()
                if any(self._rests(number) for number in self.sources):
                    return

    def _rests(self, number: int) -> bool:
        stage = self.sources[number]
        return stage.position != self._committed.get(number) and (stage.over or stage.rests(MOMENT / 2))

    def _moved(self) -> bool:
        return any(
            stage.position is not None and stage.position != self._committed.get(number)
            for number, stage in self.sources.items()
        )

    async def _wait(self) -> None:
        while not self._all_passed():
            passed = self._passed
            await passed.wait()
            self._passed = anyio.Event()

    def _all_passed(self) -> bool:
        number = self._number
        positions = self._positions[number]
        sent = all(n in positions or self.sources[n].over for n in self._sending)
        return sent and all(seen >= number or end in self._completed for end, seen in self.ends.items())

    # What the stages tell:

    def sent(self, barrier: Barrier, source: int, position: int | None) -> None:
        """The barrier stands behind this position in the source's output."""
        if position is not None:
            self._positions[barrier.number][source] = position
        self._passed.set()

    def acknowledge(self, end: Reached, number: int) -> None:
        """The barrier has reached this end, and all before it is stored."""
        self.ends[end] = max(self.ends[end], number)
        self._passed.set()

    def complete(self, end: Reached, limits: Limits) -> None:
        """This end will get no more events."""
        self._completed[end] = limits
        self._passed.set()

    def withdraw(self, after: int, sources: Iterable[int]) -> None:
        """A stage has ended and not handled all that these sources gave; barrier ``after`` was its last.

        A stage behind it passes later barriers on the word of its other inputs: they don't speak for these.
        """
        for source in sources:
            self._withdrawn.add(source)
            for number, positions in self._positions.items():
                if number > after:
                    positions.pop(source, None)

    # What may be committed:

    def _handled(self, source: int) -> int | None:
        """The position before which everything has left every end that this source reaches."""
        stage = self.sources[source]
        ends = [end for end in self.ends if source in end.sources]
        cuts: list[int] = []
        upto: list[int] = []
        for end in ends:
            limits = self._completed.get(end)
            limit = limits.get(source, "all") if limits is not None else None
            seen = self._positions.get(self.ends[end], {}).get(source, -1)
            if limit == "all":
                if stage.position is not None:
                    upto.append(stage.position)
            elif isinstance(limit, int):
                cuts.append(limit)
            else:
                upto.append(max(seen, limit.position) if isinstance(limit, Held) else seen)
        if upto:
            return min(upto) if min(upto) >= 0 else None
        return max(cuts) if cuts else None

    async def commit(self) -> None:
        """Commit at each source what may be."""
        for number, stage in self.sources.items():
            position = self._handled(number)
            if position is None or stage.source is None:
                continue
            if position > self._committed.get(number, -1):
                try:
                    await stage.source.commit(position)
                except Exception as error:
                    stage.noted(error)
                    raise
                self._committed[number] = position
        # A barrier that an end hasn't passed isn't looked up any more once all have passed a later one.
        oldest = min((seen for end, seen in self.ends.items() if end not in self._completed), default=None)
        if oldest is not None:
            waiting = set(self.ends.values())
            for number in [n for n in self._positions if n < oldest and n not in waiting]:
                del self._positions[number]
