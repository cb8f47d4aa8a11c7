"""A dead letter: an event given up on, kept with its error, its attempts and where it failed."""

from __future__ import annotations

import traceback
import uuid
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from reactor.core import Record, name_of
from reactor.delivery.kind import Kind, kind_of

LETTER, ATTEMPT = "reactor-letter", "reactor-attempt"
"""The headers of a replayed record: the dead letter that it was, and how often it has been replayed."""

_NAMESPACE = uuid.UUID("6f1e6c1e-4d4f-5d6a-9f8a-5b1b3f5a7c21")


class DeadLetter(msgspec.Struct):
    """An event that was given up on, as it is handed to the pipeline's ``dead_letters=``.

    ``event`` is what the operator was given, ``origin`` the record (or plain value) that the source
    read, ``time`` integer microseconds since the epoch. ``index`` numbers the dead letters of one record at one
    operator from 0; where the origin is no record, those of the operator from 1. The texts are made when
    they are asked for: a stream in which many events fail doesn't pay for tracebacks that nobody reads.
    """

    pipeline: str
    operator: str
    event: Any
    exception: Exception
    origin: Any
    attempts: int
    time: int
    index: int

    @property
    def error(self) -> str:
        """The exception's type and message."""
        return f"{type(self.exception).__name__}: {self.exception}"

    @property
    def id(self) -> str:
        """Stable where the origin has a position: storing the same dead letter again changes nothing."""
        where = _where(self.origin)
        if where is None:
            where = str(self.time)
        else:  # several events of one record may fail: what failed belongs to it
            where += f"/{zlib.crc32(msgspec.json.encode(_jsonable(self.event))):08x}"
        return str(uuid.uuid5(_NAMESPACE, f"{self.pipeline}/{self.operator}/{where}/{self.index}"))

    @property
    def earlier(self) -> str | None:
        """The dead letter whose replay this is, where the event had failed before."""
        return next((found for one in _records(self.origin) if (found := one.headers.get(LETTER))), None)

    def stored(self) -> StoredLetter:
        """The form that goes to a topic: only texts, numbers, bytes and JSON values."""
        origin = self.origin
        kept = [record for one in _records(origin) for record in _kept(one)]
        record = kept[0] if len(kept) == 1 and isinstance(origin, Record) else StoredRecord()
        event, kind = _plain(self.event)
        return StoredLetter(
            id=self.id,
            pipeline=self.pipeline,
            operator=self.operator,
            event=event,
            error=self.error,
            traceback="".join(traceback.format_exception(self.exception)),
            attempts=self.attempts,
            time=self.time,
            topic=record.topic,
            position=record.position,
            key=record.key,
            headers=record.headers,
            raw=record.raw,
            type=record.type,
            event_time=record.time,
            batch=() if kept == [record] else tuple(kept),
            kind=kind,
            at=record.at,
        )


class StoredRecord(msgspec.Struct, frozen=True):
    """A record as a dead letter keeps it; ``time`` is its own, in microseconds since the epoch."""

    topic: str | None = None
    position: int | None = None
    key: str | None = None
    headers: dict[str, str] = {}
    raw: bytes | None = None
    time: int | None = None
    type: str | None = None
    """The name of the event's contract, else of its class, as far as the reader knew it."""
    at: str | None = None
    """Where the broker kept it, where the position was only its reader's own count."""

    @property
    def place(self) -> str | None:
        """Where it came from, in one text; None where that is no place."""
        return _place(self.topic, self.at or self.position, self.raw)

    @property
    def attempt(self) -> int:
        """How often it had been replayed."""
        found = self.headers.get(ATTEMPT, "")
        return int(found) if found.isascii() and found.isdecimal() else 0


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter as it stands in a topic; ``dead_letters("sqlite:shop.db/dead")`` lists and replays them.

    From ``topic`` on, the fields are the original record's; ``batch`` has the records where what failed was
    made of several.
    """

    id: str
    pipeline: str
    operator: str
    event: Any
    error: str
    traceback: str
    attempts: int
    time: int
    topic: str | None = None
    position: int | None = None
    key: str | None = None
    headers: dict[str, str] = {}
    raw: bytes | None = None
    type: str | None = None
    event_time: int | None = None
    batch: tuple[StoredRecord, ...] = ()
    kind: Kind | None = None
    """What ``event`` was, where that can be told: a replay into the operator makes it again."""
    at: str | None = None

    @property
    def records(self) -> tuple[StoredRecord, ...]:
        """The records that the event was made of; none where it came from a plain iterable."""
        if self.batch or self.topic is None:
            return self.batch
        return (
            StoredRecord(
                *(self.topic, self.position, self.key, self.headers, self.raw, self.event_time, self.type),
                at=self.at,
            ),
        )

    @property
    def earlier(self) -> str | None:
        """The dead letter whose replay this is, where the event had failed before."""
        return next(iter(self.replays), None)

    @property
    def replays(self) -> tuple[str, ...]:
        """The dead letters whose replays this was made of."""
        headers = [record.headers for record in self.records] or [self.headers]
        return tuple(dict.fromkeys(found for one in headers if (found := one.get(LETTER))))

    @property
    def attempt(self) -> int:
        """How often it had been replayed."""
        return max(
            (record.attempt for record in self.records), default=StoredRecord(headers=self.headers).attempt
        )


class Replayed(Record[Any], frozen=True, kw_only=True):
    """The event of a dead letter, as it is handed to the operator that failed; it comes from where that did.

    ``position`` counts the letters of this replay, ``headers`` say which letter it is, and how often it has been
    replayed.
    """

    letter: StoredLetter


def replayed(letter: StoredLetter, event: Any, source: str, position: int) -> Replayed:
    """Return the letter's event as a record that a source of this name gives."""
    return Replayed(
        event,
        letter.key,
        {**letter.headers, LETTER: letter.id, ATTEMPT: str(letter.attempt + 1)},
        letter.event_time,
        position,
        source,
        letter.raw,
        letter.at,
        letter=letter,
    )


def _records(origin: Any) -> list[Record[Any]]:
    if isinstance(origin, tuple):
        return [record for one in origin for record in _records(one)]
    return [origin] if isinstance(origin, Record) else []


def _kept(record: Record[Any]) -> Iterable[StoredRecord]:
    """What is kept of it; of a replay the records of its letter, which say now that it was replayed."""
    if isinstance(record, Replayed):
        said = {name: record.headers[name] for name in (LETTER, ATTEMPT)}
        for one in record.letter.records or (StoredRecord(),):
            yield msgspec.structs.replace(one, headers={**one.headers, **said})
        return
    yield StoredRecord(
        record.topic,
        record.position,
        record.key,
        dict(record.headers),
        record.raw,
        record.time,
        name_of(type(record.value)),
        record.place,
    )


def _where(origin: Any) -> str | None:
    """Where the event came from, where that is a place: a record with a position, or several."""
    if isinstance(origin, tuple):
        places = [_where(one) for one in origin]
        return None if None in places or not places else "+".join(map(str, places))
    if isinstance(origin, Replayed):
        return f"replay of {origin.letter.id}"
    return (
        _place(origin.topic, origin.place or origin.position, origin.raw)
        if isinstance(origin, Record)
        else None
    )


def _place(topic: str | None, position: int | str | None, raw: bytes | None) -> str | None:
    if position is None:
        return None
    where = f"{topic}@{position}"
    if raw is not None:  # tells apart the versions of a file that was read twice
        where += f"#{zlib.crc32(raw):08x}"
    return where


def _jsonable(event: Any) -> Any:
    return _plain(event)[0]


def _plain(event: Any) -> tuple[Any, Kind | None]:
    """The event as JSON values and what it was, or a text that can't be made an event again."""
    value = event.value if isinstance(event, Record) else event
    try:
        return msgspec.json.decode(msgspec.json.encode(value)), kind_of(value) if value is event else None
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    try:
        return repr(value), None
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>", None
