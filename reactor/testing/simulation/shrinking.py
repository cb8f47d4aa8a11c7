"""From a run that is wrong to a small one that is wrong, too: fewer decisions, fewer events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from reactor.testing.simulation.decisions import Decision

_RARE = 8
"""A place with more decisions is one where tasks are shuffled and input is cut: none of them does much alone."""

Wrong = Callable[[Sequence[Decision], int], "Sequence[Decision] | None"]
"""Runs it with these decisions and so many events; returns those that were taken if it is wrong, else None."""


def shrunk(
    decisions: Sequence[Decision], events: int, wrong: Wrong, *, attempts: int = 1000
) -> tuple[tuple[Decision, ...], int]:
    """Return fewer decisions and fewer events (``events``: the most that a source has) that are still wrong."""
    left = [attempts]

    def still(trial: Sequence[Decision], most: int) -> Sequence[Decision] | None:
        left[0] -= 1
        taken = wrong(trial, most) if left[0] >= 0 else None
        if taken is None:
            return None
        wanted = set(trial)
        return [one for one in taken if one in wanted]

    kept: Sequence[Decision] = list(decisions)
    kept = _alone(kept, events, still) or kept
    families = sorted({one.place for one in kept})
    for place in sorted(families, key=lambda place: -sum(one.place == place for one in kept)):
        taken = still([one for one in kept if one.place != place], events)
        if taken is not None:
            kept = taken
    while left[0] > 0:
        before = len(kept), events
        kept = _fewer(kept, events, still)
        kept, events = _shorter(kept, events, still)
        if (len(kept), events) == before:
            break
    return tuple(kept), events


Still = Callable[[Sequence[Decision], int], "Sequence[Decision] | None"]


def _alone(kept: Sequence[Decision], events: int, still: Still) -> Sequence[Decision] | None:
    """One decision may do alone, at this visit or an earlier one; the others have only put it off."""
    counts = Counter(one.place for one in kept)
    rare = [one for one in kept if counts[one.place] <= _RARE]
    tried = [one._replace(nth=nth) for one in rare for nth in (one.nth, 1, 2)]
    for one in dict.fromkeys(tried):
        taken = still([one], events)
        if taken is not None:
            return taken
    return None


def _fewer(kept: Sequence[Decision], events: int, still: Still) -> Sequence[Decision]:
    """Leave out parts, larger ones first."""
    size = max(1, len(kept) // 2)
    while True:
        at, found = 0, False
        while at < len(kept):
            taken = still([*kept[:at], *kept[at + size :]], events)
            if taken is None:
                at += size
            else:
                kept, found = taken, True
        if size == 1 and not found:
            return kept
        size = max(1, size // 2)


def _shorter(kept: Sequence[Decision], events: int, still: Still) -> tuple[Sequence[Decision], int]:
    step = events // 2
    while step:
        taken = still(kept, events - step)
        if taken is None:
            step //= 2
        else:
            kept, events = taken, events - step
            step = min(step, events // 2)
    return kept, events
