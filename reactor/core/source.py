"""What a source has to do, and when it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, TypeVar

from reactor.core.record import Record

T_co = TypeVar("T_co", covariant=True)


class Source(Generic[T_co]):
    """Where events come from. Subclass it and override what applies; the defaults do nothing.

    All calls but ``commit`` come from one task, the source's stage: ``open`` once, before
    anything else; then ``read`` again and again; ``close`` exactly once, shielded from
    cancellation, also when ``open`` failed. With ``restart=`` all of that happens once for each attempt, with a
    ``seek`` behind the last record that was emitted. ``commit`` comes from the run's coordinator and may
    overlap a ``read`` that waits.
    """

    replay: bool = False
    """True for a source with positions: what wasn't committed is read again by the next run."""

    seekable: bool = False
    """True for a source that can ``seek`` though nobody saves its position: a checkpoint makes that good."""

    name: str = ""
    """How errors, metrics and ``explain()`` call it."""

    identity: str | None = None
    """Two sources of one pipeline with the same identity are refused (the same group, twice)."""

    partitioned: bool = False
    """True for a source of several partitions, whose event times advance apart: event_time waits for the one that
    is furthest behind. Each record has its ``part``; ``parts`` and ``quiet`` are asked."""

    reject: Callable[[Record[Any], Exception], None] | None = None
    """Set before ``open`` where the pipeline has ``dead_letters=``: takes a record that can't be read."""

    commit_soon: Callable[[], None] = staticmethod(lambda: None)
    """Set before ``open``: to be called where what was returned should be committed before long, by a source that
    can't return more than so much that isn't."""

    async def open(self) -> None:
        """Connect, and go to the last committed position."""

    async def read(self, limit: int) -> Sequence[Record[T_co]] | None:
        """Return up to ``limit`` records, waiting until there is something; None at the end.

        None of what it saw may be wanted: then it returns no records, and its position has moved.
        Where a value is there before its record is, return ``Records``, which makes one when it is needed.

        It may be cancelled while it waits (a drain does that), and must then have consumed nothing.
        """
        raise NotImplementedError(f"{type(self).__name__}.read")

    def position(self) -> int | None:
        """The position after the last record that ``read`` returned; no I/O."""
        return None

    async def seek(self, position: int) -> None:
        """Make the next ``read`` begin at ``position``; called after ``open`` and before a read."""

    def bookmark(self, position: int) -> str | None:
        """Return what a checkpoint keeps of ``position`` beside the number; no I/O.

        None where the number says all. Others (partitions, or messages that come again until they are
        acknowledged) number what they return themselves, and tell here what another process needs.
        """
        return None

    async def restore(self, position: int, bookmark: str | None) -> None:
        """As ``seek``, to a position of an earlier run, whose ``bookmark`` this is."""
        await self.seek(position)

    def gave(self, record: Record[Any]) -> bool:
        """Return whether the record came from here, of the sources of one pipeline: its topic is this name."""
        return record.topic == (self.name or type(self).__name__)

    def parts(self) -> Collection[str]:
        """Of one that is partitioned: those of which another ``read`` may return something; no I/O.

        Called before the first ``read``, and after each. Partitions that were taken away, or are read to their
        end, are left out. When these change while a ``read`` waits, it returns no records.
        """
        raise NotImplementedError(f"{type(self).__name__}.parts")

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        """Return which of these partitions have nothing to give: all that there is of them was returned; no I/O.

        Called between reads, with some seconds in between (``idle=`` of event_time), while there are several. Who
        has to ask a server asks by this call, and says at the next one of whom all was returned that was there
        then. For one that is quiet, and of which nothing came meanwhile, event_time doesn't wait until it gives
        something.
        """
        return parts

    async def commit(self, position: int) -> None:
        """Everything before ``position`` has left every sink: save that durably."""

    async def close(self) -> None:
        """Let go of everything; called exactly once."""
