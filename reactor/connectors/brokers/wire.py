"""On the wire: CloudEvents 1.0 in binary mode; structured mode, and messages of others, are read too."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from reactor.connectors.log import Entry
from reactor.contracts import PREFIXES, STRUCTURED, VERSION, VERSION_EXTENSION, Binding, from_message
from reactor.core import ArgumentError, DecodeError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Told(NamedTuple):
    """What a message says of its event; ``id`` and ``time`` are None where it doesn't say."""

    id: str | None
    type: str
    key: str | None
    headers: Mapping[str, str] | None
    time: int | None
    data: bytes


class Wire:
    """Writes entries as headers, and reads them back. One for each topic and side.

    The id, type, source (the topic), time, key (``partitionkey``) and version of the contract are attributes of
    CloudEvents; the other headers are the event's own.
    """

    def __init__(self, topic: str, binding: Binding = "http", content_type: str = "application/json") -> None:
        self.topic = topic
        self.prefix = prefix = PREFIXES[binding]
        self._content_type = content_type
        self.id, self.type, self.time = f"{prefix}id", f"{prefix}type", f"{prefix}time"
        self.key = f"{prefix}partitionkey"
        self.version = f"{prefix}{VERSION_EXTENSION}"
        self._fixed = {
            "content-type": content_type,
            f"{prefix}specversion": "1.0",
            f"{prefix}source": topic or "reactor",
        }
        self.attributes = {*self._fixed, self.id, self.type, self.time, self.key, self.version}
        """The names of headers that each event of ours may have."""
        self._new = f"{secrets.token_hex(8)}-"
        self._count = count()
        self._binding: Binding = binding

    def id_of(self, entry: Entry) -> str:
        """Return the entry's id, or a new one."""
        return entry[0] if entry[0] is not None else f"{self._new}{next(self._count)}"

    def headers(self, entry: Entry, *, id: str | None = None, key: bool = True) -> dict[str, str]:
        """Return the headers of an entry; without ``key`` where the broker has a place of its own for it."""
        name, type, its_key, own, time, data = entry
        found = {
            **self._fixed,
            self.id: id or name or f"{self._new}{next(self._count)}",
            self.type: type,
            self.time: _text(time),
        }
        if key and its_key is not None:
            found[self.key] = its_key
        if data[:1] == b"\0":  # a schema's id comes next: Confluent's wire format, and never JSON
            found["content-type"] = "application/octet-stream"
        if own:
            for header, value in own.items():
                if header == VERSION:
                    found[self.version] = value
                elif header.startswith(self.prefix) or header == "content-type":
                    raise ArgumentError(
                        f"topic {self.topic}, headers=: {header!r} belongs to CloudEvents; name it otherwise"
                    )
                else:
                    found[header] = value
        return found

    def read(self, headers: Mapping[str, str], data: bytes) -> Told:
        """Take a message apart. One that isn't of CloudEvents has no type, and its headers are its own."""
        type = headers.get(self.type)
        if type is None:
            if headers.get("content-type", "").startswith(STRUCTURED):
                return self._structured(headers, data)
            return Told(None, "", None, headers or None, None, data)
        prefix = self.prefix
        own: dict[str, str] | None = None
        key, version, time = (
            headers.get(self.key),
            headers.get(self.version),
            headers.get(self.time),
        )
        # Six are those that each event of ours has: with time and content type, where there are no more.
        known = len(self._fixed) + 3 + (key is not None) + (version is not None)
        if len(headers) != known or time is None or "content-type" not in headers:
            fixed = self._fixed
            own = {
                name: value
                for name, value in headers.items()
                if name not in fixed and not name.startswith(prefix)
            }
            trace = headers.get(f"{prefix}traceparent")
            if trace is not None:
                own.setdefault("traceparent", trace)
        if version is not None:
            own = {**own, VERSION: version} if own else {VERSION: version}
        at = None if time is None else time_of(time)
        return Told(headers.get(self.id), type, key, own or None, at, data)

    def _structured(self, headers: Mapping[str, str], data: bytes) -> Told:
        try:
            event = from_message(headers, data, self._binding)
        except DecodeError:
            return Told(None, "", None, headers, None, data)  # it is told as an event that doesn't fit
        own = {name: value for name, value in headers.items() if name != "content-type"}
        for name, value in event.extensions.items():
            if name not in (VERSION_EXTENSION, "partitionkey"):
                own[name] = value
        if event.version != 1:
            own[VERSION] = str(event.version)
        key = event.extensions.get("partitionkey")
        return Told(event.id, event.type, key, own or None, event.time, event.data or b"")


# Neighbouring events have the same second: what it is as text, and as a number, is made once.
MOST = 4096
"""Entries of a table of what was read before."""
_as_text: dict[int, str] = {}
_as_number: dict[str, int] = {}


def _text(time: int) -> str:
    """Return microseconds as a time of RFC 3339."""
    second, rest = divmod(time, 1_000_000)
    text = _as_text.get(second)
    if text is None:
        if len(_as_text) >= MOST:
            _as_text.clear()
        text = _as_text[second] = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    return f"{text}.{rest:06}+00:00"


def time_of(text: str) -> int | None:
    if len(text) == 32 and text[19] == "." and text[26:] == "+00:00" and text[20:26].isdecimal():
        second = _as_number.get(text[:19])
        if second is None:
            whole = _parsed(f"{text[:19]}+00:00")
            if whole is None:
                return None
            if len(_as_number) >= MOST:
                _as_number.clear()
            second = _as_number[text[:19]] = whole
        return second + int(text[20:26])
    return _parsed(text)


def _parsed(text: str) -> int | None:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None


def text_of(headers: Sequence[tuple[str, bytes | str | None]] | None) -> dict[str, str]:
    """Return headers of bytes as texts; the last one of a name counts."""
    try:
        return {name: value.decode() for name, value in headers or ()}  # type: ignore[union-attr]
    except (UnicodeDecodeError, AttributeError):
        pass
    return {
        name: value if isinstance(value, str) else (value or b"").decode("utf-8", "replace")
        for name, value in headers or ()
    }
