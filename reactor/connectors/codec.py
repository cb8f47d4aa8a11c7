"""Events to entries of a log and back: JSON by msgspec, or the objects themselves.

The name of an event's contract (of its class, where it has none) is stored beside it, and it is decoded by that
name among the topic's types. A version other than 1 stands in the header ``reactor-version``.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from types import UnionType
from typing import Any, get_origin

import msgspec

from reactor.connectors.log import Bad, Batch, DecodePlaced, Entry, Row
from reactor.contracts import VERSION, ContractError, Decoders, contract_of, mismatch
from reactor.core import ArgumentError, Record

Key = str | Callable[[Any], str | None] | None
Headers = Mapping[str, str] | Callable[[Any], Mapping[str, str] | None] | None
Time = int | datetime | Callable[[Any], int | datetime] | None
Id = str | Callable[[Any], str] | None

NO_HEADERS: Mapping[str, str] = {}
_NOWHERE: Iterable[None] = repeat(None)
_JSON = msgspec.json.Encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
    """Return a copy: the caller may change its own after the call. The version is the codec's to tell."""
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{where}: {value!r} isn't a mapping of str to str")
    items: Iterable[tuple[Any, Any]] = value.items()
    return {_text(name, where): _text(text, where) for name, text in items if name != VERSION}


class Codec:
    """Keeps the objects themselves: for logs in memory."""

    keeps_bytes = False

    def __init__(self, topic: str, types: tuple[Any, ...]) -> None:
        self.topic = topic
        for kind in types:
            if not isinstance(get_origin(kind) or kind, type) or isinstance(kind, UnionType):
                raise ArgumentError(f"topic({topic!r}, {kind!r}): isn't a class; name the classes one by one")
        self.types = {contract_of(kind).name: kind for kind in types}
        self._known: dict[str, Any] = {}
        """Also by the names that they had formerly."""
        for kind in types:
            for name in contract_of(kind).names:
                if name in self._known:
                    names = ", ".join(contract_of(one).name for one in types)
                    raise ArgumentError(
                        f"topic({topic!r}, {names}): two types have the same name; rename one"
                    )
                self._known[name] = kind
        self._stored = {get_origin(kind) or kind: _stored(kind) for kind in types}
        self._stamped = any(stamp for _, stamp in self._stored.values()) or not types

    async def open(self) -> None:
        """Make ready for ``entries``; called before each run that writes. Errors of what it asks are raised."""

    def entries(self, events: Iterable[Any], key: Key, headers: Headers, time: Time, id: Id) -> list[Entry]:
        """Encode; ArgumentError for what is none of the topic's types, or what JSON can't say."""
        now = clock.time_ns() // 1000
        stored, topic, data, stamped = self._stored, self.topic, self._data, self._stamped
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
            known = stored.get(kind)
            if known is None:
                if self.types:
                    raise ArgumentError(f"topic {topic} takes {', '.join(self.types)}, not {kind.__name__}")
                known = stored[kind] = _stored(kind)
            name, stamp = known
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
            if stamped and stamp is not None:
                its_headers = {**its_headers, **stamp} if its_headers else stamp
            if time_of is not None:
                its_time = microseconds(time_of(event), where["time"])
            entries.append((its_id, name, its_key, its_headers, its_time, data(event)))
        return entries

    def _data(self, event: Any) -> Any:
        return event

    def _decoder(self, kind: Any) -> Callable[[Any], Any]:
        return lambda data: data

    def _older(self) -> Callable[[Any, int], Callable[[Any], Any]] | None:
        """Return what makes decoders of older versions, by type; None where ``_plain`` and upcasters do."""
        return None

    def _plain(self, data: Any) -> Any:
        """Return an event of an older version as plain values."""
        return msgspec.to_builtins(data, str_keys=True)

    def _readable(self, data: Any) -> Any:
        """Return the value of a record that can't be decoded to any of the types."""
        return data

    def decoding(self, wanted: tuple[Any, ...]) -> DecodePlaced:
        """Return what decodes rows to the ``wanted`` types; all of the topic's types where that is empty."""
        unknown = [
            contract_of(kind).name for kind in wanted if self.types and kind not in self.types.values()
        ]
        if unknown:
            raise ArgumentError(
                f"topic {self.topic} carries {', '.join(self.types)}, not {', '.join(unknown)}: "
                "name it in topic(...) too"
            )
        kinds = wanted or tuple(self.types.values())
        decoders = Decoders(kinds, self._decoder, self._plain, self._older())
        tables, first = decoders.tables, decoders.tables[None]
        anything = None if kinds else self._decoder(Any)
        known, keeps_bytes = self._known, self.keeps_bytes
        none: dict[str, Callable[[Any], Any]] = {}
        everywhere: Iterable[str] = repeat(self.topic)

        def decode(
            rows: Sequence[Row],
            places: Iterable[str | None] = _NOWHERE,
            parts: Iterable[str | None] = _NOWHERE,
            topics: Iterable[str] = everywhere,
        ) -> Batch:
            records: list[Record[Any]] = []
            bad: list[Bad] = []
            skipped = 0
            add = records.append
            for row, place, part, topic in zip(rows, places, parts, topics, strict=False):
                position, name, key, headers, time, data = row
                table = first if not headers else tables.get(headers.get(VERSION))
                decoder = anything or (None if table is None else table.get(name))
                raw = data if keeps_bytes else None
                if decoder is not None:
                    try:
                        value = decoder(data)
                    except ContractError as error:
                        problem = error
                    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                        version = decoders.contracts[name].version if name in decoders.contracts else 1
                        problem = mismatch(error, name, version)
                    else:
                        add(
                            Record(value, key, headers or NO_HEADERS, time, position, topic, raw, place, part)
                        )
                        continue
                elif name in known and name not in decoders.contracts:
                    skipped += 1
                    continue
                else:
                    problem = decoders.refuse(name, headers.get(VERSION) if headers else None)
                problem = problem.located(f"topic {topic}, position {place or position}")
                record = Record(
                    *(
                        self._readable(data),
                        key,
                        headers or NO_HEADERS,
                        time,
                        position,
                        topic,
                        raw,
                        place,
                        part,
                    )
                )
                bad.append(Bad(record, problem, len(records), skipped))
            return Batch(records, bad, skipped, rows[-1][0] + 1)

        def values(
            names: Sequence[str], versions: Sequence[str | None], datas: Sequence[Any]
        ) -> tuple[list[Any], Sequence[int]] | None:
            count = len(datas)
            one = names[0], versions[0]
            try:
                if names.count(one[0]) == count == versions.count(one[1]):
                    decoder = anything or tables.get(one[1], none).get(one[0])
                    if decoder is not None:
                        return [*map(decoder, datas)], range(count)
                found: list[Any] = []
                at: list[int] = []
                for number, (name, version) in enumerate(zip(names, versions, strict=True)):
                    decoder = anything or tables.get(version, none).get(name)
                    if decoder is not None:
                        found.append(decoder(datas[number]))
                        at.append(number)
                    elif name not in known or name in decoders.contracts:
                        return None
            except (ContractError, msgspec.MsgspecError, ValueError, RecursionError):
                return None
            return found, at

        return _Decoding(decode, values)


class _Decoding:
    """What ``decoding`` returns."""

    def __init__(
        self,
        decode: Callable[..., Batch],
        values: Callable[
            [Sequence[str], Sequence[str | None], Sequence[Any]], tuple[list[Any], Sequence[int]] | None
        ],
    ) -> None:
        self._decode = decode
        self.values = values

    def __call__(self, *columns: Any) -> Batch:
        return self._decode(*columns)


def _stored(kind: Any) -> tuple[str, Mapping[str, str] | None]:
    """The name that stands in the log, and the header of a version that isn't 1."""
    contract = contract_of(kind)
    return contract.name, None if contract.version == 1 else {VERSION: str(contract.version)}


class JsonCodec(Codec):
    """JSON by msgspec: structs, dataclasses, attrs classes, Decimal, datetime, and plain JSON values."""

    keeps_bytes = True

    def __init__(self, topic: str, types: tuple[Any, ...]) -> None:
        super().__init__(topic, types)
        for name, kind in self.types.items():
            self._decoder(kind)  # says what is wrong with it
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
            raise ArgumentError(
                f"topic {self.topic}: {contract_of(kind).name} can't be decoded: {error}"
            ) from error

    def _plain(self, data: Any) -> Any:
        return msgspec.json.decode(data)

    def _readable(self, data: Any) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return bytes(data).decode("utf-8", "replace")
