"""From the store's words to KurrentDB's and back; none of it talks to a server."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from kurrentdbclient import NewEvent, RecordedEvent, StreamState, exceptions
from kurrentdbclient.connection_spec import URI_SCHEMES_ALL, ConnectionSpec

from reactor.connectors.codec import microseconds
from reactor.connectors.log import Entry
from reactor.core import ArgumentError, TopicError
from reactor.eventstore.events import ALL, Category, EventStoreError, Found, StoreUnreachable, Target
from reactor.eventstore.urls import redacted

SCHEMES = tuple(URI_SCHEMES_ALL)
OWN = "reactor."
"""Begins the names of the streams that keep positions of groups, and snapshots."""

# KurrentDB knows events by UUIDs; those of ours that are other text are made into one, for each stream its own.
_NAMES = uuid.UUID("6c0f3d0e-6a0b-5f0a-9d5c-0c2f1f6c3a4e")
_OURS = "reactor"


class Place:
    """One KurrentDB, as its URL says."""

    def __init__(self, url: str) -> None:
        self.shown = redacted(url)
        """The URL, without a password."""
        self.uri = url
        try:
            spec = ConnectionSpec(url)
        except ValueError as error:
            said = str(error).replace(url, self.shown)
            # What the client quotes may be a part of a password.
            said = (
                said
                if "@" not in url or "required" in said or "Unknown field" in said
                else "it isn't well formed"
            )
            raise ArgumentError(
                f"event_store({self.shown!r}): {said}; write kurrentdb://USER:PASSWORD@HOST:2113, or ?tls=false "
                "for a server without TLS"
            ) from None
        self.targets = ",".join(spec.targets)
        self.identity = f"kurrentdb://{self.targets}"
        self.token = hash(url)
        self._secret = spec.password

    def __repr__(self) -> str:
        return f"Place({self.shown!r})"

    def scrubbed(self, text: str) -> str:
        """Return what a server has said, without the password where it should stand in it."""
        return text.replace(self._secret, "***") if self._secret else text


# Streams ------------------------------------------------------------------------------------------------------


def checked(stream: str) -> str:
    """Return the name; ArgumentError for one that is KurrentDB's or ours."""
    if stream.startswith(("$", OWN)):
        raise ArgumentError(f"{stream!r}: names that begin with $ are KurrentDB's own, with {OWN} reactor's")
    return stream


def filters(target: Target) -> dict[str, Any]:
    """Return what chooses the events of all streams, or of a category, among those of the server."""
    if isinstance(target, Category):
        name = re.escape(target.name)
        return {"filter_include": (f"({name}|{name}-.*)",), "filter_by_stream_name": True}
    assert target is ALL
    return {"filter_exclude": (r"\$.*", re.escape(OWN) + ".*"), "filter_by_stream_name": True}


def group_stream(target: Target, group: str) -> str:
    """Return the stream whose last event is the position of a group."""
    if isinstance(target, str):
        return f"{OWN}group-stream/{target}/{group}"
    return f"{OWN}group-{f'category/{target.name}' if isinstance(target, Category) else 'all'}/{group}"


def snapshot_stream(stream: str, name: str) -> str:
    """Return the stream that keeps the snapshots of this name."""
    return f"{OWN}snapshot-{stream}/{name}"


# Events -------------------------------------------------------------------------------------------------------


def uuid_of(stream: str, id: str) -> uuid.UUID:
    """Return the event's id as KurrentDB wants it: itself where it is a UUID, else one made of it."""
    try:
        found = uuid.UUID(id)
    except ValueError:
        found = None
    return found if found is not None and str(found) == id else uuid.uuid5(_NAMES, f"{stream}\0{id}")


def new_event(stream: str, entry: Entry) -> NewEvent:
    """Return the event as it is appended. Its metadata is JSON: the headers, and under ``reactor`` what else."""
    id, type, key, headers, time, data = entry
    assert id is not None
    own: dict[str, Any] = {"time": time}
    number = uuid_of(stream, id)
    if str(number) != id:
        own["id"] = id
    if key is not None:
        own["key"] = key
    if headers is not None and _OURS in headers:
        raise ArgumentError(f"append({stream!r}): the metadata's name {_OURS!r} is taken; choose another")
    metadata = json.dumps({**(headers or {}), _OURS: own}).encode()
    return NewEvent(type=type, data=data, metadata=metadata, id=number)


def found_event(event: RecordedEvent) -> Found:
    """Return the event as it is read, also one that another program has written."""
    headers, own = _metadata(event.metadata)
    time = own.get("time")
    if not isinstance(time, int):
        time = 0 if event.recorded_at is None else microseconds(event.recorded_at, "recorded_at")
    key, id = own.get("key"), own.get("id")
    return Found(
        event.stream_name,
        event.stream_position,
        event.commit_position,
        id if isinstance(id, str) else str(event.id),
        event.type,
        key if isinstance(key, str) else None,
        headers or None,
        time,
        event.data,
    )


def _metadata(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        found: object = json.loads(data) if data else {}
    except ValueError:
        found = {"metadata": data.decode("utf-8", "replace")}
    if not isinstance(found, dict):
        found = {"metadata": found}
    values = cast("dict[str, Any]", found)
    own = values.pop(_OURS, {})
    headers = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return headers, cast("dict[str, Any]", own) if isinstance(own, dict) else {}


def known_ids(events: Sequence[Found], ids: Sequence[str]) -> dict[str, int]:
    """Return the versions of the ids that are among these events."""
    wanted = set(ids)
    return {event.id: event.version for event in events if event.id is not None and event.id in wanted}


def current(version: int) -> int | StreamState:
    """Return the version of the last event as an append names it; -1 is no stream."""
    return version if version >= 0 else StreamState.NO_STREAM


# Metadata of streams ------------------------------------------------------------------------------------------


def merged(there: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    """Return a stream's metadata with ``data`` in place of what was ours; what is KurrentDB's ($...) stays."""
    return {
        **{name: value for name, value in there.items() if name.startswith("$")},
        **_own(json.loads(data)),
    }


def own_metadata(there: Mapping[str, Any]) -> bytes | None:
    """Return what is ours of a stream's metadata."""
    own = _own(there)
    return json.dumps(own).encode() if own else None


def _own(there: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in there.items() if not name.startswith("$")}


# Errors -------------------------------------------------------------------------------------------------------


def explain(error: Exception, place: Place) -> Exception:
    """Return what happened in our words, and what to do about it."""
    said = place.scrubbed(" ".join(str(error).split())) or type(error).__name__
    shown = place.shown
    match error:
        case exceptions.SSLError():
            return TopicError(
                f"{shown}: TLS failed: {said}; ?tlsCaFile=PATH, or ?tls=false for a server without TLS"
            )
        case exceptions.UnauthenticatedError() | exceptions.AccessDeniedError():
            return TopicError(
                f"{shown}: {said}; correct user and password in the URL, or the stream's rights"
            )
        case (
            exceptions.ServiceUnavailableError()
            | exceptions.DiscoveryFailedError()
            | exceptions.DeadlineExceededError()
            | exceptions.NodeIsNotLeaderError()
            | exceptions.CancelledError()
            | exceptions.ExceptionThrownByHandlerError()
            | exceptions.ConsumerTooSlowError()
        ):
            return StoreUnreachable(
                f"{shown}: no answer from KurrentDB at {place.targets}: {said}; "
                "start the server, or correct host and port"
            )
        case exceptions.StreamIsDeletedError() | exceptions.StreamTombstonedError():
            return EventStoreError(f"{shown}: {said}: its name can't be used again")
        case (
            exceptions.MaximumAppendSizeExceededError()
            | exceptions.InvalidArgumentError()
            | exceptions.TransactionMaxSizeExceededError()
        ):
            return ArgumentError(f"{shown}: {said}; append less at once")
        case exceptions.KurrentDBClientError():
            return TopicError(f"{shown}: {said} ({type(error).__name__})")
        case ValueError() if "closed" in said and "channel" in said.lower():
            # Grpc's words, while another thread of the client connects anew.
            return StoreUnreachable(f"{shown}: the connection was closed meanwhile: {said}; try again")
        case _:
            return error
