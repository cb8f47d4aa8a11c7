"""What moves from operator to operator in the reference interpreter: an event, and what is known of its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from reactor.windows import BEGINNING


class Row(NamedTuple):
    """An event; where it has one, its time, and the watermark before it.

    In several lanes, whose order isn't determined, ``watermark`` is what the watermark may be at most.
    """

    event: Any
    time: int = BEGINNING
    watermark: int = BEGINNING
    part: str | None = None
    """The partition that it came from, of a source that has some."""
    there: tuple[frozenset[str], ...] = ()
    """The partitions that the source had before it, and by it."""

    @classmethod
    def together(cls, event: Any, rows: Sequence[Row]) -> Row:
        """What several events have become."""
        return cls(event, max(row.time for row in rows), rows[0].watermark)


def untimed(lane: Iterable[Row]) -> list[Row]:
    """The same events before any watermark has come."""
    return [row._replace(watermark=BEGINNING) for row in lane]
