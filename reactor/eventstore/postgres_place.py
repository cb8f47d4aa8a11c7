"""Where a PostgreSQL store is: its URL, what may be shown of it, and the settings of a connection.

No password leaves this module but into ``psycopg.connect``: not in an error, a repr or a log line.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from reactor.core import ArgumentError
from reactor.eventstore.urls import redacted

SCHEMA = "reactor"
"""Where the tables are, unless the URL says ``?schema=``."""

# The name of the channel for NOTIFY is made of it, and that has 63 bytes.
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")

# A server that is gone without a word (its machine, the network) is noticed within half a minute.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "reactor",
}


class Place:
    """One store: a schema of a database of a server. ``call`` is how errors show who was given the URL."""

    def __init__(self, url: str, call: str = "event_store({})") -> None:
        self.shown = redacted(url)
        """The URL, without a password."""
        where = call.format(repr(self.shown))
        schema, rest = _taken_out(url)
        if not _SCHEMA.fullmatch(schema):
            raise ArgumentError(
                f"{where}: schema={schema!r}: up to 40 of a-z, 0-9 and _, not beginning with a digit"
            )
        self.schema = schema
        settings: dict[str, Any] | None
        try:
            settings = dict(conninfo_to_dict(rest))
        except psycopg.ProgrammingError:
            settings = None  # libpq quotes what it can't read, and that may be a part of the password
        if not settings or not settings.get("dbname"):
            raise ArgumentError(
                f"{where}: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE; characters like / @ % in a "
                "password are written as %2F %40 %25"
            )
        self._settings = {**_DEFAULTS, **settings, "client_encoding": "utf8"}
        self.token = hash(url)
        """Who shares connections: those who have given the same URL, password included."""
        self.reached = False
        """Whether there was a connection already: what worked once is waited for."""
        name = {key: str(settings.get(key) or "") for key in ("host", "port", "dbname")}
        self.database = name["dbname"]
        self.server = f"{name['host'] or 'localhost'}:{name['port'] or '5432'}"
        self.identity = f"postgresql://{self.server}/{quote(self.database)}?schema={schema}"
        """The same for all who write the same store in another way, as another user perhaps."""

    def __repr__(self) -> str:
        return f"Place({self.shown!r})"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection that commits each statement by itself."""
        return psycopg.connect(make_conninfo(**self._settings), autocommit=True)

    def scrubbed(self, text: str) -> str:
        """Return what a server has said, without the password where it should stand in it."""
        for name in ("password", "sslpassword"):
            secret = self._settings.get(name)
            if secret:
                text = text.replace(str(secret), "***")
        return text


def _taken_out(url: str) -> tuple[str, str]:
    """Return the schema, and the URL as libpq knows it."""
    parts = urlsplit(url) if "?" in url else None
    if parts is None or "schema=" not in parts.query:
        return SCHEMA, url
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = next((value for name, value in query if name == "schema"), SCHEMA)
    rest = urlencode([(name, value) for name, value in query if name != "schema"], quote_via=quote)
    front = url.partition("?")[0]
    return schema, f"{front}?{rest}" if rest else front
