"""What can happen to a call that a simulated process makes."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "late", "slow", "refused", "unheard", "killed", "killed after", "in flight", "paused", "paused after"
]


class Fault(ConnectionError):
    """What the simulated world fails with: something is down, or didn't answer."""


class Killed(Exception):
    """The process is no more; whatever it still calls raises this, and has no effect."""


class Mishap(NamedTuple):
    """What happens to one call.

    ``late``: it takes so long until it takes effect; ``slow``: so long from there to its return. ``refused``: it
    fails, without effect; ``unheard``: it takes effect, and then fails. The process is ``killed`` before or after
    the effect, or the effect comes when it has been dead for so long (``in flight``). The process stands still for
    so long, before the effect or after it (``paused``): its lease runs out meanwhile.
    """

    kind: Kind
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.seconds:g} s" if self.seconds else self.kind


_MOMENTS = (0.001, 0.02, 0.5, 4.0)
_PAUSES = (1.0, 14.0, 60.0)
MISHAPS: tuple[Mishap, ...] = (
    *(Mishap("late", seconds) for seconds in _MOMENTS),
    *(Mishap("slow", seconds) for seconds in _MOMENTS),
    Mishap("refused"),
    Mishap("unheard"),
    Mishap("killed"),
    Mishap("killed after"),
    *(Mishap("in flight", seconds) for seconds in (0.01, 3.0)),
    *(Mishap("paused", seconds) for seconds in _PAUSES),
    *(Mishap("paused after", seconds) for seconds in _PAUSES),
)
"""A decision names one of them by its number, from 1."""

ANY: frozenset[Kind] = frozenset(mishap.kind for mishap in MISHAPS)
WHOLE: frozenset[Kind] = frozenset({"late", "refused", "killed", "killed after", "paused"})
"""Of a call that may be made again when it has failed or was cancelled: its effect is its last step."""
READING: frozenset[Kind] = frozenset({"late", "refused", "killed", "paused"})
ENDING: frozenset[Kind] = frozenset({"late", "slow", "killed", "paused"})

FAMILY: dict[Kind, str] = {
    "late": "slow",
    "slow": "slow",
    "refused": "failed",
    "unheard": "failed",
    "killed": "killed",
    "killed after": "killed",
    "in flight": "killed",
    "paused": "paused",
    "paused after": "paused",
}
"""Faults of one family are as frequent as each other in one simulation, and are limited together."""

LIMITS = {"slow": 400, "failed": 8, "killed": 7, "paused": 3}
"""So many, and then no more: it ends at last."""
