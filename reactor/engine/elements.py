"""What moves through a channel: chunks of events, and the marks between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reactor.engine.limits import Limits


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


@dataclass(frozen=True, slots=True)
class Barrier:
    """The mark that flows among the events: what came before it belongs to commit ``number``."""

    number: int


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
