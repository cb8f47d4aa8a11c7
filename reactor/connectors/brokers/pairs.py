"""Headers of bytes: what stands where is found out once for each sequence of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reactor.connectors.brokers.wire import MOST, Wire, time_of
from reactor.contracts import VERSION

_POINT = ord(".")

Known = tuple[str, "str | None", "Mapping[str, str] | None", int]
"""Type, key, headers and time, as a row has them."""


class _Shape(NamedTuple):
    """The places of the attributes in the sequence; -1 for one that it hasn't."""

    type: int
    time: int
    key: int
    version: int


class Pairs:
    """Reads messages as ``Wire.read`` does; those that are as ``Wire.headers`` writes them, in half the time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._shapes: dict[tuple[str | bytes, ...], _Shape | None] = {}
        self._types: dict[bytes, str] = {}
        self._seconds: dict[bytes, int] = {}

    def read(self, names: tuple[Any, ...], values: Sequence[Any]) -> Known | None:
        """Take a message apart: names and values are bytes. None for what isn't as ours are: Wire reads it."""
        try:
            shape = self._shapes[names]
        except KeyError:
            shape = self._shape(names)
        if shape is None:
            return None
        try:
            return self._told(shape, values)
        except (AttributeError, UnicodeDecodeError, TypeError):
            return None  # not bytes, or not text

    def _shape(self, given: tuple[Any, ...]) -> _Shape | None:
        names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in given]
        wire, known = self._wire, set(names)
        wanted = (wire.id, wire.type, wire.time)
        shape: _Shape | None = None
        if known.issuperset(wanted) and len(known) == len(names) and wire.attributes.issuperset(known):
            places = [names.index(name) for name in wanted[1:]]
            places += [names.index(name) if name in known else -1 for name in (wire.key, wire.version)]
            shape = _Shape(*places)
        if len(self._shapes) < MOST:
            self._shapes[given] = shape
        return shape

    def _told(self, shape: _Shape, values: Sequence[Any]) -> Known | None:
        at_type, at_time, at_key, at_version = shape
        written = values[at_type]
        type = self._types.get(written)
        if type is None:
            type = written.decode()
            if len(self._types) < MOST:
                self._types[written] = type
        key = values[at_key].decode() if at_key >= 0 else None
        own = {VERSION: values[at_version].decode()} if at_version >= 0 else None
        text = values[at_time]
        second = self._seconds.get(text[:19])
        if second is not None and len(text) == 32 and text[19] == _POINT:
            if text.endswith(b"+00:00") and text[20:26].isdigit():
                return type, key, own, second + int(text[20:26])
        time = self._slowly(text)
        return None if time is None else (type, key, own, time)

    def _slowly(self, text: bytes) -> int | None:
        time = time_of(text.decode())
        if time is not None and text.endswith(b"+00:00") and len(text) == 32 and text[19:20] == b".":
            if len(self._seconds) >= MOST:
                self._seconds.clear()
            self._seconds[text[:19]] = time - int(text[20:26])
        return time
