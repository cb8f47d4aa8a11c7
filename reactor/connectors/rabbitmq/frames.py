"""A message as the frames of AMQP 0-9-1 that publish it (sections 2.3.5 and 4.2 of its specification).

The frames are made here, and not by the client: what is the same for all messages of a topic is made once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_FRAME = struct.Struct(">BHL")
_HEADER = struct.Struct(">HHQH")
_LONG = struct.Struct(">L")
_TIME = struct.Struct(">Q")
_ACK = struct.Struct(">BHLHHQBB")
_END = b"\xce"
_METHOD, _CONTENT, _BODY = 1, 2, 3
_BASIC, _PUBLISH, _ACKNOWLEDGE = 60, 40, 80
_MANDATORY = 1
_HAS_CONTENT_TYPE, _HAS_HEADERS, _HAS_MODE = 1 << 15, 1 << 13, 1 << 12
_HAS_ID, _HAS_TIMESTAMP = 1 << 7, 1 << 6
_PERSISTENT = b"\x02"
_SHORT = 255
"""Bytes of a short string: of names and ids."""
_ADDRESSES = ("CC", "BCC")
"""Headers that the server reads: where they aren't lists, it closes the channel."""


class Publishing:
    """Makes the frames of messages to one exchange, on channel 1."""

    def __init__(self, exchange: str, content_type: str, frame_max: int) -> None:
        # The reserved word, exchange, routing key, and that messages without a queue come back.
        arguments = b"\0\0" + _short(exchange) + b"\0" + bytes([_MANDATORY])
        self._method = _framed(_METHOD, struct.pack(">HH", _BASIC, _PUBLISH) + arguments)
        self._content_type = _short(content_type)
        self._names: dict[str, bytes] = {}
        self.frame_max = frame_max

    def frames(self, id: str, headers: Mapping[str, str], time: int, data: bytes) -> bytes:
        """Return the frames of a persistent message; ValueError where AMQP has no room for its headers.

        ``time`` is microseconds since the epoch, of which AMQP keeps seconds. An id that is too long for AMQP's
        own field stands in the headers only.
        """
        names = self._names
        rows: list[bytes] = []
        for name, value in headers.items():
            if (known := names.get(name)) is None:
                if name in _ADDRESSES:
                    raise ValueError(
                        f"the server takes a header {name} for names of queues; call it otherwise"
                    )
                known = _short(name) + b"S"
                if len(names) < 1000:
                    names[name] = known
            text = value.encode()
            rows += (known, _LONG.pack(len(text)), text)
        table = b"".join(rows)
        flags = _HAS_CONTENT_TYPE | _HAS_HEADERS | _HAS_MODE
        properties = [self._content_type, _LONG.pack(len(table)), table, _PERSISTENT]
        if id and len(name_of := id.encode()) <= _SHORT:
            flags |= _HAS_ID
            properties += (bytes([len(name_of)]), name_of)
        if time >= 0:
            flags |= _HAS_TIMESTAMP
            properties.append(_TIME.pack(time // 1_000_000))
        content = _HEADER.pack(_BASIC, 0, len(data), flags) + b"".join(properties)
        if len(content) + 8 > self.frame_max:
            raise ValueError(f"its headers have {len(content)} bytes, the server takes {self.frame_max - 8}")
        size = self.frame_max - 8
        bodies = [_framed(_BODY, data[at : at + size]) for at in range(0, len(data), size)]
        return b"".join((self._method, _framed(_CONTENT, content), *bodies))


def acknowledging(tags: Sequence[tuple[int, bool]]) -> bytes:
    """Return the frames that acknowledge tags, each of them with what stands before it or alone."""
    return b"".join(
        _ACK.pack(_METHOD, 1, 13, _BASIC, _ACKNOWLEDGE, tag, multiple, _END[0]) for tag, multiple in tags
    )


def _framed(kind: int, payload: bytes) -> bytes:
    return b"".join((_FRAME.pack(kind, 1, len(payload)), payload, _END))


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > _SHORT:
        raise ValueError(f"the name {text[:40]!r}... has {len(data)} bytes, AMQP takes {_SHORT}")
    return bytes([len(data)]) + data
