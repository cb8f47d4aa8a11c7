"""Confluent's wire format: a zero byte, the schema's id in four bytes, for Protobuf which message it is.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Sequence

MAGIC = 0
HEAD = 5
"""Bytes before the payload, without the message indexes of Protobuf."""


def head(id: int, indexes: Sequence[int] | None = None) -> bytes:
    """Return what stands before a payload; ``indexes`` lead to the message within a file of Protobuf."""
    start = bytes([MAGIC]) + id.to_bytes(HEAD - 1, "big")
    if indexes is None:
        return start
    if list(indexes) == [0]:
        return start + b"\0"  # the first message, which most are
    return start + b"".join(_varint(number) for number in (len(indexes), *indexes))


def id_of(data: bytes) -> int:
    """Return the id of the schema that a payload was written with. Raises ValueError for what isn't framed."""
    if len(data) < HEAD or data[0] != MAGIC:
        raise ValueError(
            "isn't in the registry's wire format (a zero byte and the schema's id come first); read it with "
            "the codec that it was written with"
        )
    return int.from_bytes(data[1:HEAD], "big")


def indexes_of(data: bytes, at: int = HEAD) -> tuple[tuple[int, ...], int]:
    """Return the message indexes that stand at a place, and where the payload begins."""
    count, at = _unvarint(data, at)
    if count == 0:
        return (0,), at
    if count < 0 or count > len(data):
        raise ValueError("its message indexes are damaged")
    found: list[int] = []
    for _ in range(count):
        number, at = _unvarint(data, at)
        if number < 0:
            raise ValueError("its message indexes are damaged")
        found.append(number)
    return tuple(found), at


def _varint(number: int) -> bytes:
    """Zigzag, of a number that isn't negative."""
    number <<= 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _unvarint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("its message indexes are cut off")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
