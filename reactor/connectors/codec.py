"""Events to entries of a log and back: JSON by msgspec, or the objects themselves.

The name of an event's class is stored beside it, and it is decoded by that name among the topic's types.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import UnionType
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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def type_name(kind: Any) -> str:
    """Return the name that stands in the log: ``OrderCompleted``; for ``list[int]`` it is ``list``."""
    return str(getattr(kind, "__name__", kind))


def microseconds(value: Any, where: str) -> int:
    """Return microseconds since the epoch of an aware datetime, or an int that is that already."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ArgumentError(f"{where}: {value!r} has no time zone; event times are aware datetimes")
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(1 << 63) <= value < 1 << 63:
            raise ArgumentError(
                f"{where}: {value} microseconds don't fit into 64 bits; are they nanoseconds?"
            )
        return value
    raise ArgumentError(f"{where}: {value!r} is neither an aware datetime nor an int of microseconds")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: {value!r} isn't a str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError(f"{where}: {value!r} isn't text: {error.reason}") from error
    return value


def _texts(value: Mapping[Any, Any], where: str) -> Mapping[str, str]:
    """Return a copy: the caller may change its own after the call."""
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{where}: {value!r} isn't a mapping of str to str")
    items: Iterable[tuple[Any, Any]] = value.items()
    return {_text(name, where): _text(text, where) for name, text in items}


class Codec:
    """Keeps the objects themselves: for logs in memory."""

    keeps_bytes = False

    def __init__(self, topic: str, types: tuple[Any, ...]) -> None:
        self.topic = topic
        for kind in types:
            if not isinstance(get_origin(kind) or kind, type) or isinstance(kind, UnionType):
                raise ArgumentError(f"topic({topic!r}, {kind!r}): isn't a class; name the classes one by one")
        self.types = {type_name(kind): kind for kind in types}
        if len(self.types) != len(types):
            names = ", ".join(map(type_name, types))
            raise ArgumentError(f"topic({topic!r}, {names}): two types have the same name; rename one")
        self._classes = {get_origin(kind) or kind: name for name, kind in self.types.items()}

    def entries(self, events: Iterable[Any], key: Key, headers: Headers, time: Time, id: Id) -> list[Entry]:
        """Encode; ArgumentError for what is none of the topic's types, or what JSON can't say."""
        now = clock.time_ns() // 1000
        classes, topic, data = self._classes, self.topic, self._data
        where = {name: f"topic {topic}, {name}=" for name in ("key", "headers", "time", "id")}
        # What is the same for all events is looked at once; what isn't is a function.
        id_of = id if callable(id) else None
        key_of = key if callable(key) else None
        headers_of = headers if callable(headers) else None
        time_of = time if callable(time) else None
        one_id = None if id is None or id_of else _text(id, where["id"])
        one_key = None if key is None or key_of else _text(key, where["key"])
        one_headers = None if headers is None or callable(headers) else _texts(headers, where["headers"])
        one_time = now if time is None or time_of else microseconds(time, where["time"])
        entries: list[Entry] = []
        for event in events:
            kind: Any = event.__class__
            if classes:
                name = classes.get(kind)
                if name is None:
                    raise ArgumentError(f"topic {topic} takes {', '.join(self.types)}, not {kind.__name__}")
            else:
                name = kind.__name__
            its_id, its_key, its_headers, its_time = one_id, one_key, one_headers, one_time
            if id_of is not None:
                its_id = id_of(event)
                if its_id.__class__ is not str or not its_id.isascii():
                    _text(its_id, where["id"])
            if key_of is not None:
                its_key = key_of(event)
                if its_key is not None and (its_key.__class__ is not str or not its_key.isascii()):
                    _text(its_key, where["key"])
            if headers_of is not None and (found := headers_of(event)):
                its_headers = _texts(found, where["headers"])
            if time_of is not None:
                its_time = microseconds(time_of(event), where["time"])
            entries.append((its_id, name, its_key, its_headers, its_time, data(event)))
        return entries

    def _data(self, event: Any) -> Any:
        return event

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        return lambda data: data

    def _readable(self, data: Any) -> Any:
        """Return the value of a record that can't be decoded to any of the types."""
        return data

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
        known, topic, keeps_bytes = self.types, self.topic, self.keeps_bytes

        def decode(rows: Sequence[Row]) -> Batch:
            records: list[Record[Any]] = []
            bad: list[Bad] = []
            skipped = 0
            add = records.append
            for position, name, key, headers, time, data in rows:
                decoder = anything or decoders.get(name)
                raw = data if keeps_bytes else None
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
                record = Record(self._readable(data), key, headers or NO_HEADERS, time, position, topic, raw)
                bad.append(Bad(record, problem, len(records), skipped))
            return Batch(records, bad, skipped, rows[-1][0] + 1)

        return decode


class JsonCodec(Codec):
    """JSON by msgspec: structs, dataclasses, attrs classes, Decimal, datetime, and plain JSON values."""

    keeps_bytes = True

    def __init__(self, topic: str, types: tuple[Any, ...]) -> None:
        super().__init__(topic, types)
        for name, kind in self.types.items():
            self._decoder(kind)
            if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
                raise ArgumentError(
                    f"topic({topic!r}, {name}): JSON can't say what a {name} is; make it a msgspec.Struct, "
                    "a dataclass or an attrs class"
                )

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

    def _readable(self, data: Any) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return bytes(data).decode("utf-8", "replace")
