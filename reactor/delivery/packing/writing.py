"""Values of the standard library to bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from reactor.delivery.packing import codes
from reactor.delivery.packing.codes import (
    SCALARS,
    UNENCODABLE,
    Refused,
    array,
    begin,
    encode,
    end,
    head,
    mapping,
    shortened,
)
from reactor.delivery.packing.plain import FACTORIES, MOMENT, PATHS, TIME_OF_DAY, TWO_FLOATS, zone_parts

Write = Callable[[Any, bytearray, int], None]

_TUPLES = codes.SMALL[codes.TUPLE]


class Writing:
    """Writes values of the standard library behind each other."""

    def __init__(self) -> None:
        self._writes: dict[type, Write] = {
            type(None): self._scalar,
            bool: self._scalar,
            float: self._scalar,
            bytes: self._scalar,
            int: self._int,
            str: self._str,
            list: self._list,
            dict: self._dict,
            tuple: self._tuple,
            set: self._set(codes.SET),
            frozenset: self._set(codes.FROZENSET),
            deque: self._deque,
            OrderedDict: self._pairs(codes.ORDERED),
            Counter: self._pairs(codes.COUNTER),
            defaultdict: self._defaultdict,
            bytearray: self.raw(codes.BYTEARRAY, bytes),
            complex: self.raw(codes.COMPLEX, lambda value: TWO_FLOATS.pack(value.real, value.imag)),
            Decimal: self.raw(codes.DECIMAL, lambda value: str(value).encode()),
            Fraction: self.parts(codes.FRACTION, lambda value: (value.numerator, value.denominator)),
            UUID: self.raw(codes.UUID, lambda value: value.bytes),
            datetime: self._datetime,
            date: self.raw(codes.DATE, lambda value: encode(value.toordinal())),
            time: self._time,
            timedelta: self.parts(
                codes.TIMEDELTA, lambda value: (value.days, value.seconds, value.microseconds)
            ),
            timezone: self.raw(codes.ZONE, lambda value: encode(zone_parts(value))),
            ZoneInfo: self.raw(codes.ZONE, lambda value: encode(zone_parts(value))),
            range: self.parts(codes.RANGE, lambda value: (value.start, value.stop, value.step)),
            msgspec.UnsetType: self.raw(codes.UNSET, lambda value: b""),
        }
        for path in PATHS.values():
            self._writes[path] = self.parts(codes.PATH, lambda value: (type(value).__name__, str(value)))

    def write(self, value: Any, out: bytearray, depth: int) -> None:
        """Append a value; raise Refused for what has no encoding."""
        kind = type(value)
        write = self._writes.get(kind)
        if write is None:
            write = self._writes[kind] = self.learn(kind)
        write(value, out, depth)

    def learn(self, kind: Any) -> Write:
        """Return what writes objects of a class that is met for the first time; raise Refused for none."""
        raise NotImplementedError

    def items(self, values: Any, out: bytearray, depth: int) -> None:
        """Append a msgpack array."""
        if not values:
            out.append(0x90)
            return
        if SCALARS.issuperset(map(type, values)):
            try:
                out += encode(values)
                return
            except UNENCODABLE:
                pass
        self.each(values, values, out, depth, _at)

    def each(
        self, whole: Any, values: Any, out: bytearray, depth: int, step: Callable[[int, Any], str]
    ) -> None:
        """Append a msgpack array, item by item; ``step`` names the way from the whole to an item."""
        if depth > codes.DEPTH:
            raise _deep()
        array(out, len(values))
        writes = self._writes
        place, value = 0, None
        try:
            for value in values:
                kind = type(value)
                write = writes.get(kind)
                if write is None:
                    write = writes[kind] = self.learn(kind)
                write(value, out, depth + 1)
                place += 1
        except Refused as refused:
            refused.passed(whole, step(place, value))
            raise

    # What msgpack has words for ---------------------------------------------------------------------------------

    def _scalar(self, value: Any, out: bytearray, depth: int) -> None:
        out += encode(value)

    def _int(self, value: int, out: bytearray, depth: int) -> None:
        try:
            out += encode(value)
        except OverflowError:
            data = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
            out += head(codes.INT, len(data))
            out += data

    def _str(self, value: str, out: bytearray, depth: int) -> None:
        try:
            out += encode(value)
        except UnicodeEncodeError:
            data = value.encode("utf-8", "surrogatepass")
            out += head(codes.TEXT, len(data))
            out += data

    def _list(self, value: list[Any], out: bytearray, depth: int) -> None:
        self.items(value, out, depth)

    def _dict(self, value: dict[Any, Any], out: bytearray, depth: int) -> None:
        if SCALARS.issuperset(map(type, value)):
            try:
                if SCALARS.issuperset(map(type, value.values())):
                    out += encode(value)
                    return
                keys = list(map(encode, value))
            except UNENCODABLE:
                pass
            else:
                mapping(out, len(value))
                self._values(value, keys, out, depth)
                return
        self._pairs(codes.DICT)(value, out, depth)

    def _values(self, value: dict[Any, Any], keys: list[bytes], out: bytearray, depth: int) -> None:
        if depth > codes.DEPTH:
            raise _deep()
        key = None
        try:
            for name, (key, item) in zip(keys, value.items(), strict=True):  # noqa: B007 - where it failed
                out += name
                self.write(item, out, depth + 1)
        except Refused as refused:
            refused.passed(value, f"[{shortened(key)}]")
            raise

    # Containers -------------------------------------------------------------------------------------------------

    def _tuple(self, value: tuple[Any, ...], out: bytearray, depth: int) -> None:
        if SCALARS.issuperset(map(type, value)):
            try:
                data = encode(value)
            except UNENCODABLE:
                pass
            else:
                out += _TUPLES[len(data)] if len(data) < 256 else head(codes.TUPLE, len(data))
                out += data
                return
        start = begin(out, codes.TUPLE)
        self.each(value, value, out, depth, _at)
        end(out, start)

    def _set(self, code: int) -> Write:
        def write(value: Any, out: bytearray, depth: int) -> None:
            start = begin(out, code)
            if SCALARS.issuperset(map(type, value)):
                self.items(list(value), out, depth)
            else:
                self.each(value, value, out, depth, lambda _, item: f" (item {shortened(item)})")
            end(out, start)

        return write

    def _deque(self, value: deque[Any], out: bytearray, depth: int) -> None:
        start = begin(out, codes.DEQUE)
        out += b"\x92"
        out += encode(value.maxlen)
        if SCALARS.issuperset(map(type, value)):
            self.items(list(value), out, depth)
        else:
            self.each(value, value, out, depth, _at)
        end(out, start)

    def _pairs(self, code: int, opening: Callable[[Any], bytes] = lambda value: b"") -> Write:
        def write(value: Any, out: bytearray, depth: int) -> None:
            start = begin(out, code)
            out += opening(value)
            array(out, 2 * len(value))
            self.pairs(value, out, depth)
            end(out, start)

        return write

    def pairs(self, value: Any, out: bytearray, depth: int) -> None:
        """Append keys and values in turn."""
        if depth > codes.DEPTH:
            raise _deep()
        key, step = None, ""
        try:
            for key, item in value.items():
                step = " (key {})"
                self.write(key, out, depth + 1)
                step = "[{}]"
                self.write(item, out, depth + 1)
        except Refused as refused:
            refused.passed(value, step.format(shortened(key)))
            raise

    def _defaultdict(self, value: defaultdict[Any, Any], out: bytearray, depth: int) -> None:
        factory: Any = value.default_factory
        name = getattr(factory, "__name__", "")
        if factory is not None and FACTORIES.get(name) is not factory:
            raise Refused(
                f"is a defaultdict of {shortened(factory)}",
                f"only {', '.join(FACTORIES)} are found again; use a dict and setdefault",
            )
        self._pairs(codes.DEFAULT, lambda _: b"\x92" + encode(name or None))(value, out, depth)

    # One thing --------------------------------------------------------------------------------------------------

    def raw(self, code: int, data_of: Callable[[Any], bytes]) -> Write:
        def write(value: Any, out: bytearray, depth: int) -> None:
            data = data_of(value)
            out += head(code, len(data))
            out += data

        return write

    def parts(self, code: int, parts_of: Callable[[Any], tuple[Any, ...]]) -> Write:
        def write(value: Any, out: bytearray, depth: int) -> None:
            start = begin(out, code)
            self.items(parts_of(value), out, 0)
            end(out, start)

        return write

    def _datetime(self, v: datetime, out: bytearray, depth: int) -> None:
        data = MOMENT.pack(v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold)
        if v.tzinfo is not None:
            data += encode(zone_parts(v.tzinfo))
        out += head(codes.DATETIME, len(data))
        out += data

    def _time(self, v: time, out: bytearray, depth: int) -> None:
        data = TIME_OF_DAY.pack(v.hour, v.minute, v.second, v.microsecond, v.fold)
        if v.tzinfo is not None:
            data += encode(zone_parts(v.tzinfo))
        out += head(codes.TIME, len(data))
        out += data


def _deep() -> Refused:
    return Refused(
        f"is nested more than {codes.DEPTH} deep", "keep such values side by side, by key", deep=True
    )


def _at(place: int, _: Any) -> str:
    return f"[{place}]"
