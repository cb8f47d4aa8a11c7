"""What moves through a channel: chunks of events, and the marks between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reactor.engine.limits import Limits
from reactor.windows import Parts


class Chunk:
    """The events that move at once: values, and the columns that the pipeline needs, as parallel sequences.

    The sequences may be shared by several channels: nobody changes them.
    """

    __slots__ = ("columns", "values")

    def __init__(self, values: Sequence[Any], columns: tuple[Sequence[Any], ...] = ()) -> None:
        self.values = values
        self.columns = columns

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> Chunk:
        """Rows from ``start`` to before ``stop``."""
        return Chunk(self.values[start:stop], tuple(column[start:stop] for column in self.columns))

    def rows(self, at: Sequence[int]) -> Chunk:
        """These rows."""
        return Chunk([self.values[n] for n in at], tuple([column[n] for n in at] for column in self.columns))

    def picked(self, columns: tuple[int, ...] | None) -> Chunk:
        """The same rows with some of the columns; None: all."""
        return self if columns is None else Chunk(self.values, tuple(self.columns[at] for at in columns))


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """One chunk with the rows of all."""
    if len(chunks) == 1:
        return chunks[0]
    values: list[Any] = []
    columns: tuple[list[Any], ...] = tuple([] for _ in chunks[0].columns)
    for chunk in chunks:
        values.extend(chunk.values)
        for column, more in zip(columns, chunk.columns, strict=True):
            column.extend(more)
    return Chunk(values, columns)


@dataclass(frozen=True, slots=True)
class Watermark:
    """No event with an earlier event time (microseconds) is expected any more."""

    time: int
    idle: bool = False
    """True when its input is idle: others needn't wait for it."""
    parts: Parts | None = None
    """From a partitioned source to event_time: which partitions there are now; the time says nothing."""

    values: ClassVar[tuple[Any, ...]] = ()
    columns: ClassVar[tuple[tuple[Any, ...], ...]] = ((), (), ())
    """A loop takes it as a chunk without rows."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What the clock says (microseconds since the epoch), for an operator that looks at it."""

    now: int

    values: ClassVar[tuple[Any, ...]] = ()
    columns: ClassVar[tuple[tuple[Any, ...], ...]] = ((), (), ())


@dataclass(frozen=True, slots=True)
class Barrier:
    """The mark that flows among the events: what came before it belongs to commit ``number``."""

    number: int
    last: bool = False
    """True when it ends a drain: calls that are under way come to their end before it."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows.

    ``flush``: what is held is emitted; otherwise (a drain over a source that can replay) it is dropped, to be
    read again. ``limits`` names the sources of which not all that they gave has been handled.
    """

    flush: bool = True
    limits: Limits | None = None


Mark = Watermark | Barrier | End
Element = Chunk | Watermark | Barrier | End
