"""Addresses of topics at brokers: ``kafka://localhost:9092/orders?compression=zstd``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from reactor.core import ArgumentError

S = TypeVar("S", bound="Settings")

_SECRET = re.compile(r"pass|secret|token|credential|private|sasl.*config|key$", re.IGNORECASE)
"""Names of options whose values are never shown."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a connector, all with a default; a URL's query may set each. Durations are seconds."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. Neither its ``str`` nor its ``repr`` has the password, or an option that is secret."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    """Without the leading slash; percent escapes are resolved."""
    options: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return self.hosts[0][0]

    @property
    def port(self) -> int:
        return self.hosts[0][1]

    @property
    def servers(self) -> str:
        """``host:port`` of each, with commas; hosts alone where there are no ports."""
        return ",".join(f"{host}:{port}" if port else host for host, port in self.hosts)

    @property
    def whole(self) -> str:
        """The URL with its secrets: never to be shown."""
        user = ""
        if self.user is not None or self.password is not None:
            password = "" if self.password is None else f":{quote(self.password, safe='')}"
            user = f"{quote(self.user or '', safe='')}{password}@"
        query = urlencode(self.options)
        return f"{self.scheme}://{user}{self.servers}/{quote(self.path)}{'?' if query else ''}{query}"

    def beside(self, name: str) -> Address:
        """Return the address of another topic at the same place."""
        place, slash, _ = self.path.rpartition("/")
        return replace(self, path=f"{place}{slash}{name}")

    def __str__(self) -> str:
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        shown = [(name, "***" if _SECRET.search(name) else value) for name, value in self.options]
        query = "&".join(f"{name}={value}" for name, value in shown)
        path = self.path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        return f"{self.scheme}://{user}{self.servers}/{path}{'?' if query else ''}{query}"

    __repr__ = __str__

    @classmethod
    def parse(cls, url: str, *, port: int, write: str, hosts: bool = True) -> Address:
        """Take ``url`` apart; ``port`` is the default, ``write`` an example for errors.

        With ``hosts=False`` what stands between ``//`` and the next slash is no server (a region, a project): it
        is the host, as it is, with port 0.
        """
        scheme = url.partition(":")[0]
        try:
            parts = urlsplit(url)
            if not url.startswith(f"{scheme}://"):
                raise ValueError("the scheme is followed by //")
            user, at, servers = parts.netloc.rpartition("@")
            name, colon, password = user.partition(":")
            found = tuple(_server(each, port) if hosts else (each, 0) for each in servers.split(","))
            path = unquote(parts.path).strip("/")
            if not path:
                raise ValueError("the topic is missing")
            if parts.fragment:
                raise ValueError("write %23 for a #")
            options = _options(parts.query)
        except ValueError as error:
            raise ArgumentError(f"topic({without_password(url)!r}): {error}; write {write}") from None
        return cls(
            scheme,
            found,
            path,
            options,
            unquote(name) if at else None,
            unquote(password) if colon else None,
        )


def _options(query: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("behind ? come options, name=value&...; write %3F for a ? of the name") from None


def _server(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(port)
    if not host:
        raise ValueError("the server is missing")
    if not number.isascii() or not number.isdecimal() or not 0 < int(number) < 65536:
        raise ValueError(f"{number!r} is no port")
    return host, int(number)


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    return re.sub(r"//([^/@:]*):[^/]*@", r"//\1@", url)


def configured(address: Address, kind: type[S], given: Any = None) -> S:
    """Return the settings: ``given`` (config=...) where there are some, and above it what the URL says."""
    if given is not None and not isinstance(given, kind):
        raise ArgumentError(f"topic({str(address)!r}, config={given!r}): pass a {kind.__name__}")
    base: Any = given if given is not None else kind()
    plain: dict[str, Any] = {}
    for name, value in address.options:
        if name not in kind.__struct_fields__:
            raise ArgumentError(
                f"topic({str(address)!r}): has no option {name!r}; known: {', '.join(kind.__struct_fields__)}"
            )
        plain[name] = value
    try:
        said = msgspec.convert(plain, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ArgumentError(f"topic({str(address)!r}): {error}") from None
    found: S = msgspec.structs.replace(base, **{name: getattr(said, name) for name in plain})
    return found
