"""Keys to bytes: those that are equal in a dict have equal bytes, whatever their types."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from reactor.delivery.packing import codes
from reactor.delivery.packing.arrays import is_scalar
from reactor.delivery.packing.codes import Refused, array, begin, encode, end, head, shortened
from reactor.delivery.packing.models import found_shape
from reactor.delivery.packing.names import path_of
from reactor.delivery.packing.plain import TWO_FLOATS
from reactor.delivery.packing.writing import Write, Writing

KEYS = frozenset({str, int, bytes, type(None)})
"""Whose bytes are their own, by exact type: what equals them is written as they are."""

_FAR = 5_000  # digits: numbers beyond aren't compared with others without computing them
_MICROSECOND = timedelta(microseconds=1)
_BEGINNING = datetime(1, 1, 1)  # noqa: DTZ001 - without a zone, as what it is subtracted from

# What a member of an Enum that is a text, too, equals; its own methods may say something else of it.
_MIXED: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda key: bytes.__getitem__(key, slice(None))),
)


class Keys:
    """Writes keys. What equals each other (1, 1.0, True, Decimal(1)) is written as the simplest of them."""

    def __init__(self, writing: Writing) -> None:
        as_is = writing.write
        self._own = as_is
        self._writes: dict[type, Write] = {
            **dict.fromkeys(
                (str, int, bytes, type(None), date, timedelta, UUID, ZoneInfo, msgspec.UnsetType), as_is
            ),
            **dict.fromkeys((bool, float, complex, Decimal, Fraction), self._number),
            tuple: self._tuple,
            frozenset: self._frozenset,
            datetime: self._datetime,
            time: self._time,
            timezone: lambda key, out, depth: as_is(timezone(key.utcoffset(None)), out, depth),
            range: self._range,
            PosixPath: lambda key, out, depth: as_is(PurePosixPath(key), out, depth),
            PurePosixPath: as_is,
            WindowsPath: self._windows,
            PureWindowsPath: self._windows,
        }

    def write(self, key: Any, out: bytearray, depth: int) -> None:
        """Append a key; raise Refused for what can't be one."""
        kind = type(key)
        write = self._writes.get(kind)
        if write is None:
            write = self._writes[kind] = self._learn(kind, key)
        write(key, out, depth)

    def _each(self, whole: Any, steps: Iterable[tuple[str, Any]], out: bytearray, depth: int) -> None:
        step = ""
        if depth > codes.DEPTH:
            raise Refused(f"is nested more than {codes.DEPTH} deep", "use a simpler key", deep=True)
        try:
            for step, item in steps:  # noqa: B007 - where it failed
                self.write(item, out, depth + 1)
        except Refused as refused:
            refused.passed(whole, step)
            raise

    def _tuple(self, key: tuple[Any, ...], out: bytearray, depth: int) -> None:
        start = begin(out, codes.TUPLE)
        items = tuple.__iter__(key)
        array(out, tuple.__len__(key))
        self._each(key, ((f"[{place}]", item) for place, item in enumerate(items)), out, depth)
        end(out, start)

    def _frozenset(self, key: frozenset[Any], out: bytearray, depth: int) -> None:
        start = begin(out, codes.FROZENSET)
        array(out, len(key))
        items = []
        for item in key:
            one = bytearray()
            self._each(key, ((f" (item {shortened(item)})", item),), one, depth)
            items.append(bytes(one))
        out += b"".join(sorted(items))
        end(out, start)

    def _number(self, key: Any, out: bytearray, depth: int) -> None:
        if type(key) is complex:
            if key.imag:
                if key != key:
                    raise _nan(key)
                out += head(codes.COMPLEX, 16)
                # Adding 0.0 makes 0.0 of -0.0, which equals it.
                out += TWO_FLOATS.pack(key.real + 0.0, key.imag)
                return
            if key.imag != 0:
                raise _nan(key)
            key = key.real
        if type(key) is Decimal:
            if key.is_nan():
                raise _nan(key)
            if key.is_infinite():
                key = float(key)
            elif key and not -_FAR < key.adjusted() < _FAR:
                raise Refused(f"is a number of more than {_FAR} digits", "use a text as key")
        if key != key:
            raise _nan(key)
        if type(key) is float and key in (float("inf"), float("-inf")):
            out += encode(key)
            return
        over, under = key.as_integer_ratio()
        if under == 1:
            self._own(over, out, depth)
            return
        near = over / under if abs(over.bit_length() - under.bit_length()) < 1000 else 0.0
        if near.as_integer_ratio() == (over, under):
            out += encode(near)
        else:
            self._own(Fraction(over, under), out, depth)

    def _datetime(self, key: datetime, out: bytearray, depth: int) -> None:
        if key.tzinfo is None:
            self._own(key.replace(fold=0), out, depth)
            return
        first, second = key.replace(fold=0), key.replace(fold=1)
        offset = first.utcoffset()
        if offset is None or offset != second.utcoffset():
            # In the hour that is skipped or comes twice, it equals only times of its own zone (PEP 495).
            start = begin(out, codes.AMBIGUOUS)
            self._own(first, out, depth)
            end(out, start)
            return
        try:
            self._own(first.astimezone(UTC), out, depth)
        except OverflowError:
            start = begin(out, codes.INSTANT)
            self._own((first.replace(tzinfo=None) - _BEGINNING - offset) // _MICROSECOND, out, depth)
            end(out, start)

    def _time(self, key: time, out: bytearray, depth: int) -> None:
        offset = key.replace(fold=0).utcoffset()
        if offset is None:
            self._own(key.replace(fold=0, tzinfo=None), out, depth)
            return
        since = timedelta(
            hours=key.hour, minutes=key.minute, seconds=key.second, microseconds=key.microsecond
        )
        start = begin(out, codes.CLOCK)
        self._own((since - offset) // _MICROSECOND, out, depth)
        end(out, start)

    def _range(self, key: range, out: bytearray, depth: int) -> None:
        if not key:
            key = range(0)
        elif key[0] == key[-1]:
            key = range(key[0], key[0] + 1)
        else:
            key = range(key[0], key[-1] + (1 if key.step > 0 else -1), key.step)
        self._own(key, out, depth)

    def _windows(self, key: PureWindowsPath, out: bytearray, depth: int) -> None:
        self._own(PureWindowsPath(str(key).lower()), out, depth)

    def _learn(self, kind: Any, key: Any) -> Write:
        if issubclass(kind, enum.Enum):
            return self._enum(kind)
        if is_scalar(kind):
            return self._numpy_scalar
        shape = found_shape(kind)
        if shape is None:
            raise Refused(
                f"is a {kind.__module__}.{kind.__qualname__}, of which can't be told what it equals",
                "use a text, a number or a tuple of such as key",
            )
        if kind.__eq__ is tuple.__eq__:
            return self._tuple
        compared, path = shape.compared(), encode(shape.path)

        def write(key: Any, out: bytearray, depth: int) -> None:
            fields: Iterator[tuple[str, Any]] = compared(key)
            start = begin(out, codes.OBJECT)
            found = list(fields)
            out += b"\x93" + path + encode([name for name, _ in found])
            array(out, len(found))
            self._each(key, ((f".{name}", item) for name, item in found), out, depth)
            end(out, start)

        return write

    def _numpy_scalar(self, key: Any, out: bytearray, depth: int) -> None:
        plain = key.item()
        if type(plain) not in (bool, int, float, complex, str, bytes):
            raise Refused(
                f"is a {type(key).__module__}.{type(key).__qualname__}, of which can't be told what it equals",
                "use as key what its item() or tolist() gives, or a text",
            )
        self.write(plain, out, depth)

    def _enum(self, kind: Any) -> Write:
        if kind.__eq__ is object.__eq__:
            path_of(kind)
            return self._own
        for simple, plain in _MIXED:
            if kind.__eq__ is simple.__eq__:
                return lambda key, out, depth: self.write(plain(key), out, depth)
        raise Refused(
            f"is a member of {kind.__qualname__}, of which can't be told what it equals",
            "use its name as key",
        )


def _nan(key: Any) -> Refused:
    return Refused(
        f"is {shortened(key)}, which equals nothing, not even itself",
        "let the function of the key return None for it, or drop such events before",
    )
