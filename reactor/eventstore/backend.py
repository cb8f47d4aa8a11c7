"""What keeps the events: the store, its subscriptions and projections build on this only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reactor.connectors.log import Entry, Start
from reactor.eventstore.events import Appended, Expected, Page, Target


class Backend:
    """Streams in one place, in one order: append, read by stream, category or all, positions of groups.

    Of a stream, positions are its versions. Positions of all have no holes, and none is seen before all that are
    lower. Calls may come from several tasks at the same time, between ``open`` and ``close``; ``ring`` callbacks
    come from any thread and must return at once.
    """

    url: str
    identity: str

    async def open(self) -> None:
        """Count one more user; the first one opens files and starts threads."""
        raise NotImplementedError

    async def close(self) -> None:
        """Count one user less; the last one closes everything. Not to be cancelled in between."""
        raise NotImplementedError

    async def append(self, stream: str, entries: Sequence[Entry], expected: int | Expected) -> Appended:
        """Store all or none, durably; raise as ``events.decide`` says."""
        raise NotImplementedError

    async def end(self, target: Target) -> int:
        """Return the next version of a stream, or the next position of all."""
        raise NotImplementedError

    async def page(self, target: Target, start: int, limit: int, *, backwards: bool = False) -> Page:
        """Return up to ``limit`` events from ``start`` on, itself included.

        Without events, ``next`` is past what has been looked through: the end, or -1 backwards.
        """
        raise NotImplementedError

    async def streams(self) -> list[str]:
        """Return the names of the streams that have events, sorted."""
        raise NotImplementedError

    async def join(self, target: Target, group: str, start: Start) -> int:
        """Return the group's position; a new group is saved with its start."""
        raise NotImplementedError

    async def commit(self, target: Target, group: str, position: int) -> None:
        """Save durably that the group reads on at ``position``; it never goes back."""
        raise NotImplementedError

    async def listen(self, target: Target, ring: Callable[[], None], poll: float) -> None:
        """Call ``ring`` after each append by anybody; after ``poll`` seconds where a call was lost."""
        raise NotImplementedError

    async def ignore(self, target: Target, ring: Callable[[], None]) -> None:
        """Stop calling ``ring``."""
        raise NotImplementedError

    async def save_snapshot(self, stream: str, name: str, version: int, data: bytes) -> None:
        """Keep it, in place of an earlier one of the same stream, name and version."""
        raise NotImplementedError

    async def snapshot(self, stream: str, name: str, until: int | None) -> tuple[int, bytes] | None:
        """Return version and data of the last one, or of the last at a version <= ``until``."""
        raise NotImplementedError

    async def set_metadata(self, stream: str, data: bytes) -> bool:
        """Replace the stream's metadata; False where there is no stream."""
        raise NotImplementedError

    async def metadata(self, stream: str) -> bytes | None:
        """Return the stream's metadata, None where none was set."""
        raise NotImplementedError
