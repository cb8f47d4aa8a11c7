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

    transactional: bool = False
    """True for a sink that can hold back what it is given until a checkpoint is decided: the three last calls."""

    async def open(self) -> None:
        """Connect."""

    async def write(self, events: Sequence[T_contra]) -> None:
        """Take the events; at least one. They may be buffered until ``flush``."""
        raise NotImplementedError(f"{type(self).__name__}.write")

    async def flush(self) -> None:
        """Return once everything written is stored: a barrier stands behind it."""

    async def close(self) -> None:
        """Let go of everything; called exactly once. It doesn't have to flush."""

    # Of a transactional sink, where the pipeline is run with guarantee="exactly-once":

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        """Called once, after ``open`` and before the first write; from then on what is written is staged.

        Checkpoint ``decided`` was the last one (0: there was none): publish what ``owner`` has staged under that
        number or a lower one, and drop what it has staged under a higher one. ``owner`` is this sink in this
        pipeline, always the same; ``fence`` grows with each run: a lower one than was seen last is that of a run
        which another one has replaced, and raises Fenced, as does every later call of a run that was replaced.
        """
        raise NotImplementedError(f"{type(self).__name__}.recover")

    async def prepare(self, number: int) -> None:
        """Stage durably, under this number, what was written since the last call, visible to nobody yet."""
        raise NotImplementedError(f"{type(self).__name__}.prepare")

    async def publish(self, number: int) -> None:
        """The checkpoint is decided: let everybody see what is staged under its number, or a lower one.

        A second time: nothing. Of a checkpoint that was given up the number is never published; a later one is.
        """
        raise NotImplementedError(f"{type(self).__name__}.publish")
