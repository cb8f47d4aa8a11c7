"""What a seed decides, one decision after the other; written down, so that it can be repeated and shrunk."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Decision(NamedTuple):
    """At the nth visit of a place not the usual happened, but the choice-th thing that can happen there."""

    place: str
    nth: int
    choice: int


class Decisions:
    """Decides by a seed, or as was decided before (``given``). 0 is what usually happens: no fault, no delay.

    Places are counted one by one: a decision that is left out doesn't shift those of other places.
    """

    def __init__(self, seed: int, given: Iterable[tuple[str, int, int]] | None = None) -> None:
        self.seed = seed
        self.taken: list[Decision] = []
        """All that differ from 0."""
        self._dice = random.Random(f"reactor {seed}")
        self._given = None if given is None else {(place, nth): choice for place, nth, choice in given}
        self._visits: Counter[str] = Counter()

    def choose(self, place: str, weights: Sequence[float]) -> int:
        """Return n with the probability ``weights[n - 1]``, else 0."""
        self._visits[place] += 1
        nth = self._visits[place]
        choice = self._rolled(weights) if self._given is None else self._given.get((place, nth), 0)
        if not 0 < choice <= len(weights):
            return 0
        self.taken.append(Decision(place, nth, choice))
        return choice

    def evenly(self, place: str, count: int, chance: float) -> int:
        """Return a number from 1 to ``count - 1``, all of them together with this probability, else 0."""
        if count < 2:
            return 0
        return self.choose(place, [chance / (count - 1)] * (count - 1))

    def rate(self, *rates: float) -> float:
        """Return one of the rates, as the seed wants: what is given needs none."""
        return self._dice.choice(rates)

    def _rolled(self, weights: Sequence[float]) -> int:
        roll = self._dice.random()
        for number, weight in enumerate(weights, 1):
            roll -= weight
            if roll < 0:
                return number
        return 0


CALM: tuple[Decision, ...] = ()
"""Nothing happens but the usual."""
