"""Events to entries of a log and back: JSON by msgspec, or the objects themselves.

The name of an event's class is stored beside it, and it is decoded by that name among the topic's types.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_origin

import msgspec

from reactor.connectors.log import Bad, Batch, Decode, Entry, Row
from reactor.core import ArgumentError, DecodeError, Record

Key = str | Callable[[Any], str | None] | None
Headers = Mapping[str, str] | Callable[[Any], Mapping[str, str] | None] | None
Time = int | datetime | Callable[[Any], int | datetime] | None
Id = str | Callable[[Any], str] | None

NO_HEADERS: Mapping[str, str] = {}
_JSON = msgspec.json.Encoder()


def type_name(kind: Any) -> str:
    """Return the name that stands in the log: ``OrderCompleted``; for ``list[int]`` it is ``list``."""
    return str(getattr(kind, "__name__", kind))


def microseconds(value: Any, where: str) -> int:
    """Return microseconds since the epoch of an aware datetime, or an int that is that already."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ArgumentError(f"{where}: {value!r} has no time zone; event times are aware datetimes")
        return round(value.timestamp() * 1_000_000)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ArgumentError(f"{where}: {value!r} is neither an aware datetime nor an int of microseconds")


class Codec:
    """Keeps the objects themselves: for logs in memory."""

    def __init__(self, topic: str, types: tuple[Any, ...]) -> None:
        self.topic = topic
        self.types = {type_name(kind): kind for kind in types}
        if len(self.types) != len(types):
            names = ", ".join(map(type_name, types))
            raise ArgumentError(f"topic({topic!r}, {names}): two types have the same name; rename one")
        self._classes = {get_origin(kind) or kind: name for name, kind in self.types.items()}

    def entries(self, events: Iterable[Any], key: Key, headers: Headers, time: Time, id: Id) -> list[Entry]:
        """Encode; ArgumentError for what is none of the topic's types, or what JSON can't say."""
        now = clock.time_ns() // 1000
        classes, topic, data = self._classes, self.topic, self._data
        entries: list[Entry] = []
        for event in events:
            kind: Any = event.__class__
            if classes:
                name = classes.get(kind)
                if name is None:
                    raise ArgumentError(f"topic {topic} takes {', '.join(self.types)}, not {kind.__name__}")
            else:
                name = kind.__name__
            if time is None:
                when = now
            else:
                when = microseconds(time(event) if callable(time) else time, f"topic {topic}, time=")
            entries.append(
                Entry(
                    id(event) if callable(id) else id,
                    name,
                    key(event) if callable(key) else key,
                    headers(event) if callable(headers) else headers,
                    when,
                    data(event),
                )
            )
        return entries

    def _data(self, event: Any) -> Any:
        return event

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        return lambda data: data

    def _raw(self, data: Any) -> bytes | None:
        return None

    def decoding(self, wanted: tuple[Any, ...]) -> Decode:
        """Return what decodes rows to the ``wanted`` types; all of the topic's types where that is empty."""
        unknown = [type_name(kind) for kind in wanted if self.types and kind not in self.types.values()]
        if unknown:
            raise ArgumentError(
                f"topic {self.topic} carries {', '.join(self.types)}, not {', '.join(unknown)}: "
                "name it in topic(...) too"
            )
        kinds: dict[str, Any] = {type_name(kind): kind for kind in wanted} or self.types
        decoders = {name: self._decoder(kind) for name, kind in kinds.items()}
        anything = None if kinds else self._decoder(Any)
        known, topic, raw_of = self.types, self.topic, self._raw

        def decode(rows: Sequence[Row]) -> Batch:
            records: list[Record[Any]] = []
            bad: list[Bad] = []
            skipped = 0
            add = records.append
            for position, name, key, headers, time, data in rows:
                decoder = anything or decoders.get(name)
                raw = raw_of(data)
                if decoder is not None:
                    try:
                        value = decoder(data)
                    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                        problem = DecodeError(f"topic {topic}, position {position}: {name}: {error}")
                        problem.__cause__ = error
                    else:
                        add(Record(value, key, headers or NO_HEADERS, time, position, topic, raw))
                        continue
                elif name in known:
                    skipped += 1
                    continue
                else:
                    names = ", ".join(kinds)
                    problem = DecodeError(f"topic {topic}, position {position}: {name} is none of {names}")
                record = Record(data, key, headers or NO_HEADERS, time, position, topic, raw)
                bad.append(Bad(record, problem, len(records), skipped))
            return Batch(records, bad, skipped, rows[-1][0] + 1)

        return decode


class JsonCodec(Codec):
    """JSON by msgspec: structs, dataclasses, attrs classes, Decimal, datetime, and plain JSON values."""

    def _data(self, event: Any) -> bytes:
        try:
            return _JSON.encode(event)
        except (TypeError, ValueError, RecursionError) as error:
            raise ArgumentError(f"topic {self.topic}: {type(event).__name__} isn't JSON: {error}") from error

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        try:
            return msgspec.json.Decoder(kind).decode
        except TypeError as error:
            raise ArgumentError(f"topic {self.topic}: {type_name(kind)} can't be decoded: {error}") from error

    def _raw(self, data: Any) -> bytes:
        return bytes(data)
