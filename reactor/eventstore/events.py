"""The words of the store: what is appended, what is read, which stream, which version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from reactor.core import ReactorError, TopicError

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")

Direction = Literal["forwards", "backwards"]

_NONE: Mapping[str, str] = {}


class Expected(Enum):
    """What an append may expect of the stream, where that isn't the version of its last event."""

    ANY = "any version"
    NO_STREAM = "no stream"
    EXISTS = "an existing stream"


ANY: Final = Expected.ANY
NO_STREAM: Final = Expected.NO_STREAM
EXISTS: Final = Expected.EXISTS


class All(Enum):
    """All streams of the store, in the order in which they were written."""

    ALL = "all streams"


ALL: Final = All.ALL


class Category(NamedTuple):
    """The streams whose name begins so: ``Category("order")`` is ``order-123``, ``order-124`` and ``order``."""

    name: str


Target = str | Category | All
"""A stream by its name, a category, or all."""


class Position(NamedTuple):
    """A place in the order of the whole store, for ``fold(until=...)``: this event is the last that counts."""

    value: int


def category_of(stream: str) -> str:
    """Return what stands before the first dash: ``order`` for ``order-123``."""
    return stream.partition("-")[0]


class NewEvent(msgspec.Struct, Generic[T_co], frozen=True):
    """An event to append, with more than its value.

    Without an ``id`` it gets a new one. ``time`` is an aware datetime, or microseconds since the epoch; now
    where there is none.
    """

    value: T_co
    id: str | None = None
    metadata: Mapping[str, str] = _NONE
    key: str | None = None
    time: int | datetime | None = None


class StoredEvent(msgspec.Struct, Generic[T_co], frozen=True):
    """An event as the store gives it back.

    ``version`` counts the events of its stream from 0, ``position`` those of the whole store. ``time`` is
    integer microseconds since the epoch. ``id`` is None for what was published to a topic without one.
    """

    value: T_co
    stream: str
    version: int
    position: int
    type: str
    id: str | None
    key: str | None
    metadata: Mapping[str, str]
    time: int


class Appended(NamedTuple):
    """The version and the position of the last event of an append; ``repeated`` where it was there already.

    ``position`` is None where no events were given.
    """

    version: int
    position: int | None
    repeated: bool = False


class Snapshot(NamedTuple, Generic[S]):
    """A state that was saved, and the version of the last event that is in it."""

    state: S
    version: int


class EventStoreError(ReactorError):
    """The event store refused; nothing was stored."""


class VersionClash(EventStoreError):
    """Somebody else has appended since: ``expected`` isn't ``actual``, the version of the stream's last event.

    ``actual`` is None where there is no stream.
    """

    def __init__(self, stream: str, expected: int | Expected, actual: int | None) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        wanted = expected.value if isinstance(expected, Expected) else f"version {expected}"
        found = "there is no such stream" if actual is None else f"the stream is at version {actual}"
        super().__init__(
            f"append({stream!r}): expected {wanted}, but {found}; nothing was stored: "
            "read the stream again, decide anew, and append with the version that you read"
        )


class RepeatedIds(EventStoreError):
    """Some of the ids of an append are in the stream already, others aren't: it is no repetition."""

    def __init__(self, stream: str, known: Mapping[str, int], new: str | None) -> None:
        self.stream = stream
        self.known = known
        first, version = next(iter(known.items()))
        what = "in another order" if new is None else f"but not {new!r}"
        super().__init__(
            f"append({stream!r}): the stream has the event {first!r} at version {version} already, {what}; "
            "nothing was stored: repeat an append with the same events, and give new events ids of their own"
        )


class StoreUnreachable(TopicError):
    """The store's server can't be reached now. A subscription waits for it; an append may have been stored.

    The same append again, with the ids that its events had, changes nothing where it was.
    """


class ProjectionError(EventStoreError):
    """A projection can't go on as it is; its rows and its position are as they were."""


class Found(NamedTuple):
    """An event as a backend gives it."""

    stream: str
    version: int
    position: int
    id: str | None
    type: str
    key: str | None
    headers: Mapping[str, str] | None
    time: int
    data: Any

    def at(self, target: Target) -> int:
        """Return its place in what is read: its version where that is one stream, else its position."""
        return self.version if isinstance(target, str) else self.position


class Page(NamedTuple):
    """Some events in order, and where to read on; ``next`` moves on where nothing that was seen is wanted."""

    found: list[Found]
    next: int


def decide(
    stream: str, ids: list[str], known: Mapping[str, int], actual: int, expected: int | Expected
) -> int | None:
    """Return the version of the last event where this repeats an earlier append, None where it is to be stored.

    ``actual`` is the version of the stream's last event, -1 without any. Raises VersionClash and RepeatedIds.
    """
    if known:
        versions = [known[id] for id in ids if id in known]
        if len(versions) < len(ids):
            raise RepeatedIds(stream, known, next(id for id in ids if id not in known))
        if versions != list(range(versions[0], versions[0] + len(versions))):
            raise RepeatedIds(stream, known, None)
        before = -1 if expected is NO_STREAM else expected
        if isinstance(before, Expected) or before == versions[0] - 1:
            return versions[-1]
    fits = (
        expected is ANY
        or (expected is NO_STREAM and actual < 0)
        or (expected is EXISTS and actual >= 0)
        or expected == actual
    )
    if known or not fits:
        raise VersionClash(stream, expected, actual if actual >= 0 else None)
    return None
