"""URLs of tables in PostgreSQL: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?table=NAME&schema=NAME``.

A table can't be a part of the path, which is the database's in every other tool; all else in the query is libpq's.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from reactor.core import ArgumentError

_SECRET = re.compile(r"(?i)((?:password|secret|passphrase)[a-z_]*=)[^&#\s]*")
EXAMPLE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?table=NAME"


def redacted(url: object) -> str:
    """Return what may be shown of a URL, also where it isn't well formed: passwords are ``***``."""
    scheme, separator, rest = str(url).partition("://")
    credentials, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        rest = f"{user}:***@{place}" if colon else f"{user}@{place}"
    return _SECRET.sub(r"\1***", scheme + separator + rest)


class Address(NamedTuple):
    """Which table of which database."""

    conninfo: str
    """What libpq is given; it has the password."""
    schema: str | None
    table: str
    shown: str


def address(url: str) -> Address:
    """Take the URL apart; ArgumentError for one that names no database or no table."""
    shown = redacted(url)
    before, _, query = url.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        pairs = []
    mine = {name: [value for key, value in pairs if key == name] for name in ("table", "schema")}
    path = before.partition("://")[2].partition("/")[2]
    # A "/" in a password ends what libpq takes for the host: then the rest of it would be the database's name.
    if (
        not path
        or "@" in path
        or "/" in path
        or not before.startswith(("postgresql://", "postgres://"))
        or len(mine["table"]) != 1
    ):
        raise ArgumentError(
            f"table({shown!r}): write {EXAMPLE}; characters like / @ % in a password are written as %2F %40 %25"
        )
    if len(mine["schema"]) > 1:
        raise ArgumentError(f"table({shown!r}): names two schemas")
    rest = urlencode([pair for pair in pairs if pair[0] not in mine], quote_via=quote)
    conninfo = f"{before}?{rest}" if rest else before
    return Address(conninfo, next(iter(mine["schema"]), None), mine["table"][0], shown)
