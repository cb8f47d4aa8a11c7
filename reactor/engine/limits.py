"""How far a source counts as handled, where not all that it gave has been.

At its end each branch says so with the End: a branch that had enough (take) names the position behind the last
event that it wanted; one that dropped what it held, in a drain, the position of the first event that it held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reactor.core import Record


@dataclass(frozen=True, slots=True)
class Held:
    """All before this position is handled; from here on it will be read again."""

    position: int


Limit = int | Held | None
"""Behind an int nothing more is wanted. None: only the barriers that have passed say what is handled."""

Gave = Callable[[int, Record[Any]], bool]
"""Whether a record came from the source with this number."""

Limits = Mapping[int, Limit]
"""By the number of the source. One that isn't named has been handled to its end."""


def records_of(origin: Any) -> Iterable[Record[Any]]:
    """The records that an event came from; a batch comes from several."""
    if isinstance(origin, Record):
        yield origin
    elif isinstance(origin, tuple | list):
        for one in origin:
            yield from records_of(one)


def _positions(origin: Any, sources: frozenset[int], gave: Gave) -> Iterable[tuple[Sequence[int], int]]:
    """Each record's position, and the sources that it may have come from: two groups may read one topic."""
    for record in records_of(origin):
        if record.position is None:
            continue
        numbers = [number for number in sources if len(sources) == 1 or gave(number, record)]
        yield numbers, record.position


def cut(origin: Any, sources: frozenset[int], gave: Gave) -> dict[int, Limit]:
    """The limits of a stage that has had enough with an event of this origin."""
    found: dict[int, Limit] = dict.fromkeys(sources, None)
    for numbers, position in _positions(origin, sources, gave):
        if len(numbers) == 1:
            (number,) = numbers
            before = found[number]
            found[number] = position + 1 if not isinstance(before, int) else max(before, position + 1)
    return found


def held(origins: Any, sources: frozenset[int], gave: Gave) -> dict[int, Limit]:
    """The limits of a stage that drops events of these origins, to be read again."""
    found: dict[int, Limit] = {}
    for numbers, position in _positions(origins, sources, gave):
        if len(numbers) > 1:
            found |= dict.fromkeys(numbers, None)
        for number in numbers:
            before = found.get(number, Held(position))
            if isinstance(before, Held):
                found[number] = Held(min(before.position, position))
    # With several sources, one whose events aren't among those held has been handled as far as it came.
    return found or dict.fromkeys(sources, None)


def combined(limits: Sequence[Limits | None], reached: Sequence[frozenset[int]]) -> dict[int, Limit]:
    """Limits of several inputs, as one. ``reached`` names the sources of each input.

    What one input dropped was handled nowhere else, so the strictest counts; that an input had enough counts
    only where all have.
    """
    found: dict[int, Limit] = {}
    everything: frozenset[int] = frozenset()
    for number in everything.union(*reached):
        given = [
            (limit or {}).get(number, "all")
            for limit, sources in zip(limits, reached, strict=True)
            if number in sources
        ]
        dropped = [limit.position for limit in given if isinstance(limit, Held)]
        if None in given:
            found[number] = None
        elif dropped:
            found[number] = Held(min(dropped))
        elif "all" not in given:
            found[number] = max(position for position in given if isinstance(position, int))
    return found
