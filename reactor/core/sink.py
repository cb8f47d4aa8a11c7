"""What a sink has to do, and when it is asked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)


class Sink(Generic[T_contra]):
    """Where events go. Subclass it and override what applies; the defaults do nothing.

    All calls come from one task at a time and never overlap: ``open`` once, then ``write``
    again and again with ``flush`` between, ``close`` exactly once, shielded from cancellation,
    also when ``open`` failed.
    """

    name: str = ""
    """How errors, metrics and ``explain()`` call it."""

    async def open(self) -> None:
        """Connect."""

    async def write(self, events: Sequence[T_contra]) -> None:
        """Take the events; at least one. They may be buffered until ``flush``."""
        raise NotImplementedError(f"{type(self).__name__}.write")

    async def flush(self) -> None:
        """Return once everything written is stored: a barrier stands behind it."""

    async def close(self) -> None:
        """Let go of everything; called exactly once. It doesn't have to flush."""
