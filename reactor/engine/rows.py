"""Rows of a chunk: each value with what the chunk's columns say of it, as one thing to carry along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reactor.engine.elements import Chunk
from reactor.graph import Column

Meta = tuple[Any, ...]
"""The columns of one row, in the order of the chunk's columns; empty where the pipeline needs none."""


class Rows:
    """Takes chunks of given columns apart, and puts them together again."""

    __slots__ = ("_origin", "_time", "_watermark", "width")

    def __init__(self, given: tuple[Column, ...]) -> None:
        self.width = len(given)
        self._origin, self._time, self._watermark = (
            given.index(column) if column in given else None for column in ("origin", "time", "watermark")
        )

    def of(self, chunk: Chunk) -> Iterable[tuple[Any, Meta]]:
        """Return pairs of value and meta."""
        if chunk.columns:
            return zip(chunk.values, zip(*chunk.columns, strict=True), strict=True)
        return ((value, ()) for value in chunk.values)

    def chunk(self, values: Sequence[Any], metas: Sequence[Meta]) -> Chunk:
        """Return a chunk of these rows."""
        if self.width and values:
            return Chunk(values, tuple(zip(*metas, strict=True)))
        return Chunk(values)

    def origin(self, meta: Meta) -> Any:
        """Where the row's event came from, if that is known."""
        return meta[self._origin] if self._origin is not None else None

    def watermark(self, meta: Meta) -> int | None:
        """The watermark before the row; None where the pipeline has none here."""
        return meta[self._watermark] if self._watermark is not None else None

    def not_above(self, metas: Sequence[Meta], lowest: int) -> Sequence[Meta]:
        """Return the metas with watermarks of at most ``lowest``, and none above one behind it.

        Rows that are still held must not be late, nor those in here that others have overtaken.
        """
        at = self._watermark
        if at is None:
            return metas
        found: list[Meta] = []
        for meta in reversed(metas):
            lowest = min(lowest, meta[at])
            found.append(meta if meta[at] == lowest else (*meta[:at], lowest, *meta[at + 1 :]))
        found.reverse()
        return found

    def together(self, metas: Sequence[Meta]) -> Meta:
        """Return the meta of one event that several have become: a batch.

        Its origins are those of all, its time is the latest, its watermark the first.
        """
        if not self.width:
            return ()
        found: list[Any] = list(metas[0])
        if self._origin is not None:
            found[self._origin] = tuple(meta[self._origin] for meta in metas)
        if self._time is not None:
            found[self._time] = max(meta[self._time] for meta in metas)
        return tuple(found)
