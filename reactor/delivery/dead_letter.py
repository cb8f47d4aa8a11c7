"""A dead letter: an event given up on, kept with its error, its attempts and where it failed."""

from __future__ import annotations

import traceback
import uuid
import zlib
from typing import Any

import msgspec

from reactor.core import Record

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

    def stored(self) -> StoredLetter:
        """The form that goes to a topic: only texts, numbers, bytes and JSON values."""
        origin = self.origin
        record: Record[Any] | None = origin if isinstance(origin, Record) else None
        return StoredLetter(
            id=self.id,
            pipeline=self.pipeline,
            operator=self.operator,
            event=_jsonable(self.event),
            error=self.error,
            traceback="".join(traceback.format_exception(self.exception)),
            attempts=self.attempts,
            time=self.time,
            topic=record.topic if record else None,
            position=record.position if record else None,
            key=record.key if record else None,
            headers=dict(record.headers) if record else {},
            raw=record.raw if record else None,
        )


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter as it stands in a topic; ``topic("sqlite:shop.db/dead", StoredLetter)`` reads them."""

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


def _where(origin: Any) -> str | None:
    """Where the event came from, where that is a place: a record with a position, or several."""
    if isinstance(origin, tuple):
        places = [_where(one) for one in origin]
        return None if None in places or not places else "+".join(map(str, places))
    if not isinstance(origin, Record) or origin.position is None:
        return None
    where = f"{origin.topic}@{origin.position}"
    if origin.raw is not None:  # tells apart the versions of a file that was read twice
        where += f"#{zlib.crc32(origin.raw):08x}"
    return where


def _jsonable(event: Any) -> Any:
    value = event.value if isinstance(event, Record) else event
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
