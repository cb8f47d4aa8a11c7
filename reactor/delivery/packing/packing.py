"""What is saved in checkpoints, as bytes."""

from __future__ import annotations

from typing import Any, Final

from reactor.core import ArgumentError, StateCorrupt, StateError
from reactor.delivery.packing.codes import KEYED, MARK, SCALARS, SMALL, TUPLE, UNENCODABLE, Refused, encode
from reactor.delivery.packing.keys import KEYS, Keys
from reactor.delivery.packing.objects import WritingObjects
from reactor.delivery.packing.reading import Load, Reading

_TUPLES: Final = [MARK + small for small in SMALL[TUPLE]]
_KEYED: Final = bytes((KEYED,))


class Packing:
    """Values to bytes and back, exact in type and value: msgpack by msgspec, behind a version.

    What the standard library has for values comes back as it was, as do objects of classes with declared fields
    (dataclasses, msgspec Structs, attrs classes, named tuples, members of Enums), nested in any way. These are
    found by the name of their class, among the modules that are imported; their constructors aren't called.
    ``pickle`` lists the classes that are saved by pickle. Objects of a contract's older version are brought on by
    ``load`` (``reactor.contracts.load``), and without it by their class's own upcasters.
    """

    def __init__(self, pickle: tuple[type, ...] = (), load: Load | None = None) -> None:
        for kind in pickle:
            if not isinstance(kind, type):
                raise ArgumentError(f"pickle={pickle!r}: {kind!r} isn't a class")
        try:
            self._writing = WritingObjects(pickle)
            self._keys = Keys(self._writing)
            self._reading = Reading(pickle, load)
        except Refused as refused:
            raise ArgumentError(f"pickle={pickle!r}: a class on it {refused.what}; {refused.fix}") from None

    def pack(self, value: Any) -> bytes:
        """Return the value's bytes; raise StateError for what has no encoding, with the path to it and the fix."""
        kind = type(value)
        try:
            if kind in SCALARS:
                return MARK + encode(value)
            if kind is tuple and SCALARS.issuperset(map(type, value)):
                data = encode(value)
                if len(data) < 256:
                    return _TUPLES[len(data)] + data
            elif kind is list and SCALARS.issuperset(map(type, value)):
                return MARK + encode(value)
        except UNENCODABLE:
            pass
        return self._packed(value, "value")

    def unpack(self, data: bytes) -> Any:
        """Return the value; raise StateMismatch where its class isn't what it was, StateCorrupt for damage."""
        return self._reading.read(data)

    def key(self, key: Any) -> bytes:
        """Return the bytes of a row's key: equal for keys that are equal in a dict, as 1, 1.0 and True are."""
        kind = type(key)
        try:
            if kind in KEYS:
                return MARK + encode(key)
            if kind is tuple and KEYS.issuperset(map(type, key)):
                data = encode(key)
                if len(data) < 256:
                    return _TUPLES[len(data)] + data
        except UNENCODABLE:
            pass
        out = bytearray(MARK)
        try:
            self._keys.write(key, out, 0)
        except Refused as refused:
            raise refused.error("key") from None
        except RecursionError:
            raise _stack("key") from None
        return bytes(out)

    def row(self, key: Any, value: Any) -> tuple[bytes, bytes]:
        """Return the bytes of a row's key and value.

        Where the key's bytes don't tell its type (1.0 has those of 1), the value's bytes have the key, too.
        """
        kind = type(key)
        if kind is str or kind is int:
            try:
                its = MARK + encode(key)
            except UNENCODABLE:
                its = self.key(key)
            return its, self.pack(value)
        if kind in KEYS or (kind is tuple and KEYS.issuperset(map(type, key))):
            return self.key(key), self.pack(value)
        its = self.key(key)
        own = self._packed(key, "key")
        if own == its:
            return its, self.pack(value)
        body = own[1:] + self.pack(value)[1:]
        size = len(body) + 1
        return its, MARK + b"\xc9" + size.to_bytes(4, "big") + _KEYED + b"\x92" + body

    def unrow(self, key: bytes, value: bytes) -> tuple[Any, Any]:
        """Return a row's key and value; raise as ``unpack`` does.

        A key whose class has other fields now may have other bytes than it was saved under.
        """
        if value[6:7] == _KEYED and value[1:2] == b"\xc9" and value[:1] == MARK:
            pair = self._reading.decoded(value[7:])
            if type(pair) is not list or len(pair) != 2:
                raise StateCorrupt("a saved row is damaged; restore a savepoint, or begin anew")
            return pair[0], pair[1]
        return self._reading.read(key), self._reading.read(value)

    def _packed(self, value: Any, root: str) -> bytes:
        out = bytearray(MARK)
        try:
            self._writing.write(value, out, 0)
        except Refused as refused:
            raise refused.error(root) from None
        except RecursionError:
            raise _stack(root) from None
        return bytes(out)


def _stack(root: str) -> StateError:
    return StateError(
        f"can't save {root}: it is nested deeper than what is left of the stack; "
        "keep such values side by side, by key"
    )
