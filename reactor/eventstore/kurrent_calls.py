"""What the store asks of KurrentDB's client. All of it runs on a thread of the store's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from kurrentdbclient import KurrentDBClient, NewEvent, RecordedEvent, exceptions

from reactor.core import ArgumentError
from reactor.eventstore import kurrent_words as words
from reactor.eventstore.events import ALL, Found, Target

TIMEOUT = 30.0
BYTES = 1 << 22
"""A page ends before its limit where its events are this long together."""

# What the server says of a place that no event has depends on its version.
_NO_SUCH_PLACE = (
    exceptions.InvalidCommitPositionError,
    exceptions.InvalidArgumentError,
    exceptions.UnknownError,
)


def recorded(
    client: KurrentDBClient,
    stream: str,
    start: int | None = None,
    *,
    backwards: bool,
    limit: int,
    bytes: int = BYTES,
) -> list[RecordedEvent]:
    """Return events of a stream from a version on, itself included; fewer where they are large."""
    try:
        with client.read_stream(
            stream, stream_position=start, backwards=backwards, limit=limit, timeout=TIMEOUT
        ) as events:
            return _taken(events, limit, bytes, lambda event: True)
    except exceptions.NotFoundError:
        return []


def _taken(
    events: Iterable[RecordedEvent], limit: int, bytes: int, wanted: Callable[[RecordedEvent], bool]
) -> list[RecordedEvent]:
    taken: list[RecordedEvent] = []
    size = 0
    for event in events:
        if wanted(event):
            taken.append(event)
            size += len(event.data)
            if len(taken) == limit or size > bytes:
                break
    return taken


def stream(client: KurrentDBClient, name: str, start: int | None, limit: int, backwards: bool) -> list[Found]:
    """Return a page of a stream."""
    events = recorded(client, name, start, backwards=backwards, limit=limit)
    return [words.found_event(event) for event in events]


def every(client: KurrentDBClient, target: Target, start: int, limit: int, backwards: bool) -> list[Found]:
    """Return a page of all streams or of a category, from a position on, itself included.

    The server reads on from places of events only, and leaves out the one there when it reads backwards. Where a
    page has ended, the place beside ``start`` is that of the last event that was read. Else ``start`` is one.
    """
    if start == 0 and not backwards:
        return _every(client, target, None, limit, False, start)
    try:
        return _every(client, target, start + 1 if backwards else start - 1, limit, backwards, start)
    except _NO_SUCH_PLACE:
        pass
    try:
        if not backwards:
            return _every(client, target, start, limit, False, start)
        own = [event for event in _every(client, target, start, 1, False, start) if event.position == start]
        return [*own, *_every(client, target, start, limit, True, start)][:limit]
    except _NO_SUCH_PLACE as error:
        raise ArgumentError(
            f"position {start}: no event has it; a position of KurrentDB is one that was read there"
        ) from error


def _every(
    client: KurrentDBClient, target: Target, place: int | None, limit: int, backwards: bool, start: int
) -> list[Found]:
    with client.read_all(
        commit_position=place,
        backwards=backwards,
        limit=limit + 1,  # the event at ``place`` may be one that isn't wanted
        timeout=TIMEOUT,
        **words.filters(target),
    ) as events:
        taken = _taken(
            events,
            limit,
            BYTES,
            lambda event: event.commit_position <= start if backwards else event.commit_position >= start,
        )
    return [words.found_event(event) for event in taken]


def names(client: KurrentDBClient) -> set[str]:
    """Return the names of all streams; the server has no list of them that is always there."""
    with client.read_all(**words.filters(ALL)) as events:
        return {event.stream_name for event in events}


def end_of(client: KurrentDBClient, name: str) -> int:
    """Return the next version of a stream."""
    version = client.get_current_version(name, timeout=TIMEOUT)
    return version + 1 if isinstance(version, int) else 0


def end_of_all(client: KurrentDBClient) -> int:
    """Return what comes after the position of the last event, 0 without any."""
    with client.read_all(backwards=True, limit=1, timeout=TIMEOUT, **words.filters(ALL)) as events:
        return next((event.commit_position + 1 for event in events), 0)


def position(client: KurrentDBClient, name: str) -> tuple[int | None, int]:
    """Return what a group's stream says, and its version."""
    for event in recorded(client, name, backwards=True, limit=1):
        return int(json.loads(event.data)["position"]), event.stream_position
    return None, -1


def commit(client: KurrentDBClient, name: str, position_: int) -> int:
    """Move a group on, never back; return where it is then."""
    while True:
        there, version = position(client, name)
        if there is not None and there >= position_:
            return there
        event = NewEvent(type="Position", data=json.dumps({"position": position_}).encode())
        if append(client, name, [event], version) is not None:
            return position_


def append(client: KurrentDBClient, name: str, events: list[NewEvent], version: int) -> int | None:
    """Append behind the event ``version`` and return the position of the last; None where that isn't the last."""
    try:
        return client.append_to_stream(
            name, events=events, current_version=words.current(version), timeout=TIMEOUT
        )
    except exceptions.WrongCurrentVersionError:
        return None


def snapshot(client: KurrentDBClient, name: str, until: int | None) -> tuple[int, bytes] | None:
    """Return version and data of the last snapshot in a stream of such, or of the last up to a version."""
    best: tuple[int, bytes] | None = None
    start: int | None = None
    while page := recorded(client, name, start, backwards=True, limit=100):
        for event in page:
            version = int(json.loads(event.metadata)["version"])
            # Of those of one version, the one that was saved last.
            if (until is None or version <= until) and (best is None or version > best[0]):
                best = version, event.data
        start = page[-1].stream_position - 1
        if start < 0:
            break
    return best


def set_metadata(client: KurrentDBClient, name: str, data: bytes) -> bool:
    """Replace what is ours of a stream's metadata; False where there is no stream."""
    if not end_of(client, name):
        return False
    while True:
        there, version = client.get_stream_metadata(name, timeout=TIMEOUT)
        try:
            client.set_stream_metadata(
                name, metadata=words.merged(there, data), current_version=version, timeout=TIMEOUT
            )
        except exceptions.WrongCurrentVersionError:
            continue  # somebody else was faster
        return True


def metadata(client: KurrentDBClient, name: str) -> bytes | None:
    """Return what is ours of a stream's metadata."""
    return words.own_metadata(client.get_stream_metadata(name, timeout=TIMEOUT)[0])


def limited(client: KurrentDBClient, name: str) -> None:
    """Let the server forget all but the last event of a stream."""
    client.set_stream_metadata(name, metadata={"$maxCount": 1}, timeout=TIMEOUT)
