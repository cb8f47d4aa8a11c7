"""Confluent's REST protocol over the embedded store.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reactor.registry.codes import BAD_LEVEL
from reactor.registry.errors import RegistryError
from reactor.registry.requests import entry, flag, id_of, posted, schema_told, subject_of, version_of
from reactor.registry.schemas import FORMATS
from reactor.registry.settings import EVERY
from reactor.registry.store import Store

R = TypeVar("R")
Call = Callable[[Store, Request, Any], Any]
MEDIA = "application/vnd.schemaregistry.v1+json"
LARGEST = 8 << 20
"""Bytes of a request's body."""


def app(store: Store, auth: tuple[str, str] | None = None) -> Starlette:
    """Return the application; ``auth`` is the user and password that it asks for."""
    lock = anyio.Lock()
    expected = None if auth is None else "Basic " + base64.b64encode(":".join(auth).encode()).decode()

    def endpoint(call: Call) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            told = request.headers.get("authorization", "")
            if expected is not None and not secrets.compare_digest(told.encode(), expected.encode()):
                return _said({"error_code": 401, "message": "Unauthorized"}, 401)
            try:
                body = await _body(request)
                async with lock:
                    found = await anyio.to_thread.run_sync(call, store, request, body)
            except RegistryError as error:
                return _said({"error_code": error.code, "message": str(error)}, _status(error.code))
            except sqlite3.Error as error:
                return _said(
                    {"error_code": 50001, "message": f"Error in the backend data store: {error}"}, 500
                )
            return _said(found, 200)

        return answer

    async def missing(request: Request, error: Exception) -> Response:
        return _said({"error_code": 404, "message": "HTTP 404 Not Found"}, 404)

    async def refused(request: Request, error: Exception) -> Response:
        return _said({"error_code": 405, "message": "HTTP 405 Method Not Allowed"}, 405)

    async def failed(request: Request, error: Exception) -> Response:
        return _said({"error_code": 50001, "message": f"{type(error).__name__}: {error}"}, 500)

    routes = [Route(path, endpoint(call), methods=[method]) for method, path, call in _ROUTES]
    return Starlette(routes=routes, exception_handlers={404: missing, 405: refused, 500: failed})


def _said(value: Any, status: int) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=MEDIA)


def _status(code: int) -> int:
    return code if code < 1000 else code // 100


async def _body(request: Request) -> Any:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST:
            raise RegistryError("The request is too large", 413)
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RegistryError(f"The request's body isn't JSON: {error}", 400) from error


# Calls ----------------------------------------------------------------------------------------------------------


def _subjects(store: Store, request: Request, body: Any) -> Any:
    prefix = request.query_params.get("subjectPrefix", "").removeprefix(":*:")
    return store.subjects(prefix, deleted=flag(request, "deleted"))


def _versions(store: Store, request: Request, body: Any) -> Any:
    return store.versions(subject_of(request), deleted=flag(request, "deleted"))


def _register(store: Store, request: Request, body: Any) -> Any:
    found = store.register(subject_of(request), posted(body))
    told = entry(store, request, found)
    return {"id": told.pop("id"), **told}


def _look_up(store: Store, request: Request, body: Any) -> Any:
    found = store.look_up(subject_of(request), posted(body), deleted=flag(request, "deleted"))
    return entry(store, request, found)


def _one(store: Store, request: Request, body: Any) -> Any:
    found = store.version(subject_of(request), version_of(request), deleted=flag(request, "deleted"))
    return entry(store, request, found)


def _text_of_one(store: Store, request: Request, body: Any) -> Any:
    return msgspec.Raw(store.version(subject_of(request), version_of(request)).schema.text.encode())


def _referred(store: Store, request: Request, body: Any) -> Any:
    found = store.version(subject_of(request), version_of(request))
    return store.referred(found.subject, found.version)


def _delete(store: Store, request: Request, body: Any) -> Any:
    return store.delete(subject_of(request), None, permanent=flag(request, "permanent"))


def _delete_one(store: Store, request: Request, body: Any) -> Any:
    version = version_of(request)
    if version is None:
        version = store.version(subject_of(request), None).version
    return store.delete(subject_of(request), version, permanent=flag(request, "permanent"))[0]


def _by_id(store: Store, request: Request, body: Any) -> Any:
    return schema_told(store, request, store.schema(id_of(request)))


def _text_by_id(store: Store, request: Request, body: Any) -> Any:
    return msgspec.Raw(store.schema(id_of(request)).text.encode())


def _subjects_by_id(store: Store, request: Request, body: Any) -> Any:
    return [*dict.fromkeys(name for name, _ in store.where(id_of(request), deleted=flag(request, "deleted")))]


def _versions_by_id(store: Store, request: Request, body: Any) -> Any:
    found = store.where(id_of(request), deleted=flag(request, "deleted"))
    return [{"subject": name, "version": version} for name, version in found]


def _check_all(store: Store, request: Request, body: Any) -> Any:
    store.versions(subject_of(request))
    return _checked(store, request, body, None)


def _check(store: Store, request: Request, body: Any) -> Any:
    return _checked(store, request, body, store.version(subject_of(request), version_of(request)).version)


def _checked(store: Store, request: Request, body: Any, version: int | None) -> Any:
    schema = posted(body)
    store.validate(schema)
    found = store.clashes(subject_of(request), schema, version)
    told: dict[str, Any] = {"is_compatible": not found}
    if flag(request, "verbose"):
        told["messages"] = [str(one) for one in found]
    return told


def _own(request: Request) -> tuple[str, bool]:
    """The subject whose setting is meant, and whether only its own counts."""
    subject = request.path_params.get("subject", EVERY)
    return subject, not flag(request, "defaultToGlobal")


def _level(store: Store, request: Request, body: Any) -> Any:
    subject, own = _own(request)
    return {"compatibilityLevel": store.settings.level(subject, own=own)}


def _set_level(store: Store, request: Request, body: Any) -> Any:
    level = body.get("compatibility") if isinstance(body, dict) else None
    if not isinstance(level, str):
        raise RegistryError('Invalid compatibility level: pass {"compatibility": "BACKWARD"}', BAD_LEVEL)
    return {"compatibility": store.settings.set_level(level, _own(request)[0])}


def _unset_level(store: Store, request: Request, body: Any) -> Any:
    subject, _ = _own(request)
    before = store.settings.level(subject, own=True)
    store.settings.set_level(None, subject)
    return {"compatibilityLevel": before}


def _mode(store: Store, request: Request, body: Any) -> Any:
    subject, own = _own(request)
    return {"mode": store.settings.mode(subject, own=own)}


def _set_mode(store: Store, request: Request, body: Any) -> Any:
    mode = body.get("mode") if isinstance(body, dict) else None
    return {"mode": store.settings.set_mode(str(mode), _own(request)[0])}


def _unset_mode(store: Store, request: Request, body: Any) -> Any:
    subject, _ = _own(request)
    before = store.settings.mode(subject, own=True)
    store.settings.set_mode(None, subject)
    return {"mode": before}


def _constant(value: Any) -> Call:
    return lambda store, request, body: value


_SUBJECT, _ONE = "/subjects/{subject:path}", "/subjects/{subject:path}/versions/{version}"
_ROUTES: tuple[tuple[str, str, Call], ...] = (
    ("GET", "/", _constant({})),
    ("GET", "/contexts", _constant(["."])),
    ("GET", "/schemas/types", _constant([*FORMATS])),
    ("GET", "/schemas/ids/{id}", _by_id),
    ("GET", "/schemas/ids/{id}/schema", _text_by_id),
    ("GET", "/schemas/ids/{id}/subjects", _subjects_by_id),
    ("GET", "/schemas/ids/{id}/versions", _versions_by_id),
    ("GET", "/subjects", _subjects),
    ("GET", f"{_ONE}/schema", _text_of_one),
    ("GET", f"{_ONE}/referencedby", _referred),
    ("GET", _ONE, _one),
    ("DELETE", _ONE, _delete_one),
    ("GET", f"{_SUBJECT}/versions", _versions),
    ("POST", f"{_SUBJECT}/versions", _register),
    ("POST", _SUBJECT, _look_up),
    ("DELETE", _SUBJECT, _delete),
    ("POST", f"/compatibility{_ONE}", _check),
    ("POST", f"/compatibility{_SUBJECT}/versions", _check_all),
    ("GET", "/config", _level),
    ("PUT", "/config", _set_level),
    ("DELETE", "/config", _unset_level),
    ("GET", "/config/{subject:path}", _level),
    ("PUT", "/config/{subject:path}", _set_level),
    ("DELETE", "/config/{subject:path}", _unset_level),
    ("GET", "/mode", _mode),
    ("PUT", "/mode", _set_mode),
    ("GET", "/mode/{subject:path}", _mode),
    ("PUT", "/mode/{subject:path}", _set_mode),
    ("DELETE", "/mode/{subject:path}", _unset_mode),
)
