"""What every log of ours can do, whatever it is made of: the topic, source and sink build on this only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from reactor.connectors.staging import Staging
from reactor.core import Record

Start = Literal["earliest", "latest"] | int
"""Where a group begins that has no saved position: the log's start, its end, or a position."""

From = Start | datetime
"""Brokers can begin at a time, too."""


Entry = tuple[str | None, str, str | None, "Mapping[str, str] | None", int, Any]
"""An event on its way into a log: id, type, key, headers, time, data.

The same id a second time changes nothing; None for an event that is always new. Data is bytes, or the object
itself where the log keeps objects. A tuple, as is ``Row``: one of each is made per event.
"""

Row = tuple[int, str, str | None, "Mapping[str, str] | None", int, Any]
"""An event as a log gives it back: position, type, key, headers, time, data."""


class Bad(msgspec.Struct, frozen=True):
    """A record that could not be decoded, and what came before it in its batch."""

    record: Record[Any]
    error: Exception
    before: int
    """how many good records stand before it"""
    skipped: int
    """how many records nobody asked for stand before it"""


class Batch(msgspec.Struct):
    """Consecutive records of a topic, decoded."""

    records: list[Record[Any]]
    bad: list[Bad]
    skipped: int
    next: int
    """the position after the last row"""


Decode = Callable[[Sequence[Row]], Batch]


class DecodePlaced(Protocol):
    """A Decode that may be told the rows' ``places``, at a broker whose rows are counted by who reads them.

    ``parts`` are the partitions that they come from, ``topics`` theirs, where one reader has several.
    """

    def __call__(
        self,
        rows: Sequence[Row],
        places: Iterable[str | None] = ...,
        parts: Iterable[str | None] = ...,
        topics: Iterable[str] = ...,
        /,
    ) -> Batch: ...

    def values(
        self, names: Sequence[str], versions: Sequence[str | None], datas: Sequence[Any], /
    ) -> tuple[list[Any], Sequence[int]] | None:
        """Return the values of the rows, and which rows they are: those of a known type that nobody asked for
        are left out. None where one is anything else than a value of these types: call it with the rows."""
        ...


class Log:
    """One topic of a broker that keeps its events: append, read at any position, positions of groups.

    Calls may come from several tasks at the same time, between ``open`` and ``close``; ``ring``
    callbacks come from any thread and must return at once.
    """

    url: str
    topic: str
    identity: str
    """The same for all logs that are the same topic, however it was written."""
    transactional: bool = False
    """Whether it can ``recover``."""

    async def open(self) -> None:
        """Count one more user; the first one opens files and starts threads."""
        raise NotImplementedError

    async def close(self) -> None:
        """Count one user less; the last one closes everything. Not to be cancelled in between."""
        raise NotImplementedError

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store all of them or none, and return their positions once they are durable."""
        raise NotImplementedError

    async def recover(self, owner: str, decided: int, fence: int) -> Staging[Entry]:
        """Return where ``owner`` stages from now on; raise Fenced if it had a greater ``fence`` already.

        First what it has staged under the number ``decided`` is appended, and the rest dropped, at once.
        """
        raise NotImplementedError

    async def fetch(self, position: int, limit: int, decode: Decode) -> Batch | None:
        """Return up to ``limit`` records from ``position`` on, None where there are none (yet)."""
        raise NotImplementedError

    async def length(self) -> int:
        """Return the number of events, which is also the next position."""
        raise NotImplementedError

    async def groups(self) -> dict[str, int]:
        """Return each group and the position that it reads next."""
        raise NotImplementedError

    async def join(self, group: str, start: Start) -> int:
        """Return the group's position; a new group is saved with its start."""
        raise NotImplementedError

    async def commit(self, group: str, position: int) -> None:
        """Save durably that the group reads on at ``position``; it never goes back."""
        raise NotImplementedError

    async def reset(self, group: str, position: int) -> None:
        """Let the group read on at ``position``, also when that is back."""
        raise NotImplementedError

    async def listen(self, ring: Callable[[], None], poll: float) -> None:
        """Call ``ring`` after each append by anybody; after ``poll`` seconds where a call was lost."""
        raise NotImplementedError

    async def ignore(self, ring: Callable[[], None]) -> None:
        """Stop calling ``ring``."""
        raise NotImplementedError
