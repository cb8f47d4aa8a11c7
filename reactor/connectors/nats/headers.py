"""Headers on the wire: lines of text, as NATS has them.

Attributes of CloudEvents are percent-encoded, as their NATS binding says. Other values are UTF-8 as they are; one
that a line can't hold is percent-encoded and named in ``reactor-escaped``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from reactor.core import ArgumentError

_PREFIX = "ce-"
_ESCAPED = "reactor-escaped"
_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_plain = re.compile(r"[!#$&-~]*").fullmatch
_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_unfit = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^\s|\s$").search


def written(headers: Mapping[str, str], unique: str) -> bytes:
    """Return the block of headers of a message, of which the stream stores one with this unique text.

    Raises ArgumentError for a name that can't be one.
    """
    lines = ["NATS/1.0"]
    escaped: list[str] = []
    for name, value in headers.items():
        if name.startswith(_PREFIX):
            if not _plain(value):
                value = quote(value, safe=_SAFE)
        else:
            if not _name(name):
                raise ArgumentError(
                    f"headers=: {name!r} can't be the name of a header; use letters, digits, - and _"
                )
            if name.lower().startswith("nats-") or name == _ESCAPED:
                raise ArgumentError(f"headers=: {name!r} means something to NATS; name it otherwise")
            if _unfit(value):
                value = quote(value, safe=_SAFE)
                escaped.append(name)
        lines.append(f"{name}: {value}")
    if escaped:
        lines.append(f"{_ESCAPED}: {','.join(escaped)}")
    lines.append(f"Nats-Msg-Id: {unique if _plain(unique) else quote(unique, safe=_SAFE)}\r\n\r\n")
    return "\r\n".join(lines).encode()


def read(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of a message, without those that are NATS's own."""
    found: dict[str, str] = {}
    for name, value in (headers or {}).items():
        if name.startswith(_PREFIX):
            found[name] = unquote(value) if "%" in value else value
        elif not name.startswith("Nats-"):
            found[name] = value
    if _ESCAPED in found:
        for name in found.pop(_ESCAPED).split(","):
            if name in found:
                found[name] = unquote(found[name])
    if found and "ce-type" not in found:
        return {_usual(name): value for name, value in found.items()}
    return found


def _usual(name: str) -> str:
    """Return a name as we write it, where another writer had ``Ce-Type`` or ``Content-Type``."""
    lower = name.lower()
    return lower if lower == "content-type" or lower.startswith(_PREFIX) else name
