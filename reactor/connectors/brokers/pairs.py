"""Headers as pairs of a name and bytes: what stands where is found out once for each sequence of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reactor.connectors.brokers.wire import MOST, Told, Wire, text_of, time_of
from reactor.contracts import VERSION

Headers = Sequence[tuple[str, "bytes | str | None"]]


class _Shape(NamedTuple):
    """The places of the attributes in the sequence; -1 for one that it hasn't."""

    id: int
    type: int
    time: int
    key: int
    version: int


class Pairs:
    """Reads messages as ``Wire.read`` does; those that are as ``Wire.headers`` writes them, in half the time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self._types: dict[bytes, str] = {}
        self._seconds: dict[bytes, int] = {}

    def read(self, headers: Headers | None, data: bytes) -> Told:
        """Take a message apart."""
        if not headers:
            return self._wire.read({}, data)
        try:
            shape = self._shapes[tuple([name for name, _ in headers])]
        except KeyError:
            shape = self._shape(headers)
        if shape is not None:
            try:
                return self._told(shape, headers, data)
            except (AttributeError, UnicodeDecodeError, TypeError):
                pass  # not bytes, or not text
        return self._wire.read(text_of(headers), data)

    def _shape(self, headers: Headers) -> _Shape | None:
        names = tuple([name for name, _ in headers])
        wire, known = self._wire, set(names)
        wanted = (wire.id, wire.type, wire.time)
        shape: _Shape | None = None
        if known.issuperset(wanted) and len(known) == len(names) and wire.attributes.issuperset(known):
            places = [names.index(name) for name in wanted]
            places += [names.index(name) if name in known else -1 for name in (wire.key, wire.version)]
            shape = _Shape(*places)
        if len(self._shapes) < MOST:
            self._shapes[names] = shape
        return shape

    def _told(self, shape: _Shape, headers: Headers, data: bytes) -> Told:
        at_id, at_type, at_time, at_key, at_version = shape
        written: bytes = headers[at_type][1]  # type: ignore[assignment]
        type = self._types.get(written)
        if type is None:
            type = written.decode()
            if len(self._types) < MOST:
                self._types[written] = type
        key = own = None
        if at_key >= 0:
            key = headers[at_key][1].decode()  # type: ignore[union-attr]
        if at_version >= 0:
            own = {VERSION: headers[at_version][1].decode()}  # type: ignore[union-attr]
        text: bytes = headers[at_time][1]  # type: ignore[assignment]
        second = self._seconds.get(text[:19])
        if second is not None and len(text) == 32 and text.endswith(b"+00:00") and text[20:26].isdigit():
            time: int | None = second + int(text[20:26])
        else:
            time = self._slowly(text)
        return Told(headers[at_id][1].decode(), type, key, own, time, data)  # type: ignore[union-attr]

    def _slowly(self, text: bytes) -> int | None:
        time = time_of(text.decode())
        if time is not None and text.endswith(b"+00:00") and len(text) == 32 and text[19:20] == b".":
            if len(self._seconds) >= MOST:
                self._seconds.clear()
            self._seconds[text[:19]] = time - int(text[20:26])
        return time
