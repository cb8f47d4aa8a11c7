"""The event times of a source's partitions: the watermark follows the one that is furthest behind."""

from __future__ import annotations

from typing import NamedTuple

from reactor.windows.times import BEGINNING

Tops = dict[str | None, int]
"""The highest event time of each partition, in microseconds."""


class Parts(NamedTuple):
    """What a source tells of its partitions, among their events."""

    there: frozenset[str]
    """Those that it reads."""
    quiet: frozenset[str] | None = None
    """Those that have nothing to give now; None where they weren't asked. Asking has some seconds in between."""


class PartTimes:
    """How far each partition has come, and which of them count. Those that are idle don't.

    Idle is who was quiet when it was asked, and hasn't given anything here since the others were asked before. The
    highest times stand apart, as they are saved: the calls are given them.
    """

    def __init__(self) -> None:
        self._there: frozenset[str] = frozenset()
        self._idle: frozenset[str] = frozenset()
        self._heard: set[str | None] = set()
        """Who has come, or given something, since they were asked."""
        self._lowest: int | None = None
        """The lowest of the highest times of those that count; None where it isn't known."""

    def are(self, tops: Tops, parts: Parts, reached: int) -> int:
        """Take what the source tells; return how far time has come, which was ``reached``."""
        self._heard |= parts.there - self._there
        self._there, idle = parts.there, self._idle
        if parts.quiet is not None:
            idle |= parts.quiet - self._heard
            self._heard.clear()
        self._idle = idle & parts.there
        return self._look(tops, reached)

    def gives(self, part: str | None) -> None:
        """An event of this partition has come."""
        self._heard.add(part)
        if part in self._idle:
            self._idle -= {part}
            self._lowest = None

    def saw(self, tops: Tops, part: str | None, time: int, reached: int) -> int:
        """An event of ``part`` has a ``time`` beyond ``reached``; return how far time has come.

        One of a partition that isn't there any more moves nothing.
        """
        before = tops.get(part, BEGINNING)
        if time <= before:
            return reached
        tops[part] = time
        if self._lowest is not None and before > self._lowest:
            return reached  # others wait for another one
        return self._look(tops, reached)

    def _look(self, tops: Tops, reached: int) -> int:
        counting = self._there - self._idle
        if counting:
            self._lowest = min([tops.get(part, BEGINNING) for part in counting])
            return max(reached, self._lowest)
        # All are idle: time is where the furthest of them is.
        self._lowest = None
        return max([reached, *(tops.get(part, BEGINNING) for part in self._there)])
