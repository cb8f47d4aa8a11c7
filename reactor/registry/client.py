"""A client of schema registries that speak Confluent's REST protocol."""

from __future__ import annotations

import re
from collections import OrderedDict
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import anyio.to_thread
import msgspec

from reactor.contracts import titled
from reactor.core import ArgumentError, MissingExtra
from reactor.registry.errors import RegistryError, SchemaIncompatible, SchemaMissing
from reactor.registry.rules import Clash, Level, clashes, level_of
from reactor.registry.schemas import Format, Reference, SchemaText, SubjectVersion, told

K = TypeVar("K")
V = TypeVar("V")

MEDIA = "application/vnd.schemaregistry.v1+json"
INCOMPATIBLE, INVALID = 409, 42201


class _Entry(msgspec.Struct, rename="camel"):
    """What registries answer; schemaType is missing for Avro."""

    schema: str = ""
    schema_type: str = "AVRO"
    references: list[Reference] | None = None
    subject: str = ""
    version: int = 0
    id: int = 0

    def text(self) -> SchemaText:
        format: Format = self.schema_type  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
        return SchemaText(format, self.schema, tuple(self.references or ()))


class Registry:
    """A registry at a URL: ``http://user:password@localhost:8081``; used as ``async with Registry(url) as it``.

    Schemas never change, so those that were read or registered are kept, ``cache`` of each at most. Raises
    Unreachable where it doesn't answer, SchemaMissing for what it hasn't, SchemaIncompatible for what it refuses.
    """

    def __init__(self, url: str, *, timeout: float = 10.0, cache: int = 1000) -> None:
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError
            _ = parts.port
        except ValueError:
            raise ArgumentError(f"Registry({shown(url)!r}): write http://localhost:8081") from None
        if timeout <= 0 or cache < 1:
            raise ArgumentError(f"Registry(timeout={timeout!r}, cache={cache!r}): both are above 0")
        self.url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        """Without who asks."""
        self._auth = (
            None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        )
        self._timeout = timeout
        self._cache = cache
        self._schemas: OrderedDict[int, SchemaText] = OrderedDict()
        self._ids: OrderedDict[tuple[str, SchemaText], int] = OrderedDict()
        self._http: Any = None

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

    async def open(self) -> None:
        """Make ready; nothing is asked yet. Raises MissingExtra."""
        if self._http is None:
            self._http = await anyio.to_thread.run_sync(self._made)

    def _made(self) -> Any:
        """It is made on a thread, since it reads the certificates of the machine."""
        try:
            import httpx
        except ImportError:
            raise MissingExtra("A schema registry", "registry") from None

        return httpx.AsyncClient(
            base_url=f"{self.url}/",
            auth=None if self._auth is None else httpx.BasicAuth(*self._auth),
            timeout=self._timeout,
            headers={"accept": f"{MEDIA}, application/json"},
        )

    @property
    def opened(self) -> bool:
        return self._http is not None

    def again(self) -> Registry:
        """Return another client of the same registry, which isn't open."""
        other = Registry(self.url, timeout=self._timeout, cache=self._cache)
        other._auth = self._auth
        return other

    async def close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Registry:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Schemas ------------------------------------------------------------------------------------------------

    async def register(self, subject: str, schema: SchemaText) -> int:
        """Make it the subject's next version, unless it is one already, and return its id."""
        known = _kept(self._ids, (subject, schema))
        if known is not None:
            return known
        try:
            answer = await self._ask("POST", f"subjects/{_part(subject)}/versions", _body(schema))
        except RegistryError as error:
            if error.code != INCOMPATIBLE:
                raise
            raise await self._clash(subject, schema, error) from error
        id: int = answer["id"]
        self._keep(self._ids, (subject, schema), id)
        # What the registry keeps may be written otherwise than what it was given: it is asked when it is needed.
        return id

    async def schema(self, id: int) -> SchemaText:
        """Return the schema with this id."""
        known = _kept(self._schemas, id)
        if known is None:
            known = self._entry(await self._ask("GET", f"schemas/ids/{id}")).text()
            self._keep(self._schemas, id, known)
        return known

    async def look_up(self, subject: str, schema: SchemaText) -> SubjectVersion:
        """Return the version of the subject that has just this schema."""
        return self._registered(await self._ask("POST", f"subjects/{_part(subject)}", _body(schema)))

    async def version(self, subject: str, version: int | None = None) -> SubjectVersion:
        """Return a version of a subject; the newest by default."""
        which = "latest" if version is None else version
        return self._registered(await self._ask("GET", f"subjects/{_part(subject)}/versions/{which}"))

    async def versions(self, subject: str) -> list[int]:
        found: list[int] = await self._ask("GET", f"subjects/{_part(subject)}/versions")
        return found

    async def subjects(self) -> list[str]:
        found: list[str] = await self._ask("GET", "subjects")
        return found

    async def delete(self, subject: str, version: int | None = None, *, permanent: bool = False) -> list[int]:
        """Delete a version, or the subject, and return the versions that went. ``permanent`` comes second."""
        path = f"subjects/{_part(subject)}" + ("" if version is None else f"/versions/{version}")
        gone: Any = await self._ask("DELETE", f"{path}?permanent=true" if permanent else path)
        for key in [key for key in self._ids if key[0] == subject]:
            del self._ids[key]
        return gone if isinstance(gone, list) else [gone]

    # Compatibility --------------------------------------------------------------------------------------------

    async def check(self, subject: str, schema: SchemaText) -> list[str]:
        """Return why the subject wouldn't take this schema; nothing where it would."""
        path = f"compatibility/subjects/{_part(subject)}/versions?verbose=true"
        try:
            answer = await self._ask("POST", path, _body(schema))
        except SchemaMissing:
            return []  # a new subject takes any
        if answer["is_compatible"]:
            return []
        return [str(one) for one in answer.get("messages") or ["it doesn't say why"]]

    async def level(self, subject: str | None = None) -> Level:
        """Return the level by which versions of a subject (of all) are compared."""
        path = "config" if subject is None else f"config/{_part(subject)}?defaultToGlobal=true"
        return level_of((await self._ask("GET", path))["compatibilityLevel"])

    async def set_level(self, level: str, subject: str | None = None) -> None:
        path = "config" if subject is None else f"config/{_part(subject)}"
        await self._ask("PUT", path, {"compatibility": level_of(level)})

    async def _clash(self, subject: str, schema: SchemaText, error: RegistryError) -> SchemaIncompatible:
        """Find out which version it is that a refused schema doesn't go with, and why."""
        found: list[Clash] = []
        level: Level = "BACKWARD"
        olds: list[tuple[int, SchemaText]] = []
        try:
            level = await self.level(subject)
            numbers = await self.versions(subject)
            if "TRANSITIVE" not in level:
                numbers = numbers[-1:]
            olds = [(number, (await self.version(subject, number)).schema) for number in numbers]
            found = clashes(schema, olds, level)
        except (RegistryError, ValueError):
            pass  # then it is told as the registry has told it
        new = _named(schema) or "the new version"
        numbers = list(dict.fromkeys(clash.version for clash in found))
        names = [
            f"version {number} of the subject ({_named(dict(olds)[number]) or 'unnamed'})"
            for number in numbers
        ]
        what = f"{new} isn't {level} compatible with {' and '.join(names) or 'what the subject has'}"
        lines = "".join(f"\n  {clash}" for clash in found) or f"\n  {_told(error)}"
        fix = (
            "mend the contract; or give it another subject, or its subject the level NONE, where upcasters bring "
            "older versions on"
        )
        return SchemaIncompatible(
            f"{self.url}: subject {subject}: {what}; {fix}:{lines}",
            findings=[clash.finding for clash in found],
        )

    # HTTP -------------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        if self._http is None:
            raise RegistryError(f"{self.url}: isn't open; write async with Registry(url) as registry")
        import httpx

        try:
            answer = await self._http.request(
                method,
                path,
                content=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"content-type": MEDIA},
            )
        except (httpx.TimeoutException, httpx.TransportError) as error:
            what = str(error) or type(error).__name__
            raise Unreachable(f"{self.url}: the registry can't be reached: {what}; is it running?") from error
        try:
            said = msgspec.json.decode(answer.content) if answer.content else None
        except msgspec.DecodeError:
            said = None
        if answer.status_code in (401, 403):
            raise RegistryError(
                f"{self.url}: the registry refuses who asks ({answer.status_code}); write the user and password "
                "into the URL: http://user:password@host",
                answer.status_code,
            )
        if answer.is_success and said is not None:
            return said
        code, message = answer.status_code, answer.reason_phrase
        if isinstance(said, dict):
            code, message = said.get("error_code", code), str(said.get("message", message))
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unreachable(f"{self.url}: {message} ({code})", code)
        kind = SchemaMissing if answer.status_code == 404 else RegistryError
        if answer.is_success:
            message = "it answers what isn't JSON; is this a schema registry?"
        raise kind(f"{self.url}: {method} {path.partition('?')[0]}: {message} ({code})", code)

    def _entry(self, answer: Any) -> _Entry:
        try:
            return msgspec.convert(answer, _Entry)
        except msgspec.ValidationError as error:
            raise RegistryError(f"{self.url}: answers what no registry does: {error}") from error

    def _registered(self, answer: Any) -> SubjectVersion:
        entry = self._entry(answer)
        return SubjectVersion(entry.subject, entry.version, entry.id, entry.text())

    def _keep(self, cache: OrderedDict[K, V], key: K, value: V) -> None:
        cache[key] = value
        if len(cache) > self._cache:
            cache.popitem(last=False)


class Unreachable(RegistryError):
    """It doesn't answer, or has failed: another try may go better."""


def _kept(cache: OrderedDict[K, V], key: K) -> V | None:
    found = cache.get(key)
    if found is not None:
        cache.move_to_end(key)
    return found


def _body(schema: SchemaText) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": schema.text}
    if schema.format != "AVRO":
        found["schemaType"] = schema.format
    if schema.references:
        found["references"] = [msgspec.to_builtins(one) for one in schema.references]
    return found


def _part(subject: str) -> str:
    if not subject:
        raise ArgumentError("the subject of a schema is a name: orders-value")
    return quote(subject, safe="")


def _named(schema: SchemaText) -> str:
    name, version = told(schema)
    return titled(name, version or 1) if name else ""


def _told(error: Exception) -> str:
    return str(error).rpartition(": ")[2] if len(str(error)) < 400 else str(error)


def shown(url: str) -> str:
    """Return a URL without who asks."""
    return re.sub(r"//[^/]*@", "//", str(url))
