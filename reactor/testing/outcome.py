"""What the reference interpreter has found: which events arrive, in which order as far as that is determined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reactor.core import ReactorError


class Undetermined(ReactorError):
    """What a graph emits depends on timing, so that there is nothing to compare a run with."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What arrives at one end: lanes, whose events keep their order while nothing is said between lanes.

    One lane means that the order is determined. A merge has a lane for each input, a pool with
    ``ordered=False`` one for each event, a pool with ``key=`` one for each key.
    """

    lanes: tuple[tuple[Any, ...], ...]

    @property
    def events(self) -> list[Any]:
        """All events, lane after lane: the events in their order where that is determined."""
        return [event for lane in self.lanes for event in lane]

    def matches(self, seen: Sequence[Any]) -> bool:
        """True when ``seen`` is all of it, in an order that is allowed."""
        return len(seen) == sum(map(len, self.lanes)) and self.begins(seen)

    def begins(self, seen: Sequence[Any]) -> bool:
        """True when a run that has stopped early, in any place, may have seen this."""
        # Lanes with equal events are interchangeable: where we are is how many of each kind are how far.
        kinds: list[tuple[Any, ...]] = []
        start: list[tuple[int, int]] = []
        for lane in self.lanes:
            if lane not in kinds:
                kinds.append(lane)
            start.append((kinds.index(lane), 0))
        places = {tuple(sorted(start))}
        for event in seen:
            after: set[tuple[tuple[int, int], ...]] = set()
            for place in places:
                for at in set(place):
                    kind, row = at
                    if row < len(kinds[kind]) and kinds[kind][row] == event:
                        rest = list(place)
                        rest[rest.index(at)] = (kind, row + 1)
                        after.add(tuple(sorted(rest)))
            if not after:
                return False
            places = after
        return True


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that stops the run where it gets so far: the operator's label, what it was given, the error."""

    operator: str
    event: Any
    exception: Exception


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. ``certain`` is False where an operator further down may stop the stream before it."""

    operator: str
    event: Any
    exception: Exception
    attempts: int
    certain: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a graph comes to.

    With ``fails``, the run raises one of ``failures`` (or several at once), and what the ends and the dead
    letters have got is any beginning of what stands here. Without it there may still be failures: those
    beyond the point where a take has had enough, which a run may meet or not.
    """

    ends: tuple[Arrived, ...]
    """For each end of the pipeline, in the order they were passed, what arrives there."""
    letters: tuple[Letter, ...]
    skipped: Mapping[str, int]
    """By operator, how many events are skipped at most."""
    failures: tuple[Failure, ...]
    fails: bool

    @property
    def events(self) -> list[Any]:
        """What arrives at the only end."""
        (end,) = self.ends
        return end.events
