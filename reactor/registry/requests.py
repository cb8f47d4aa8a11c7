"""What requests to the embedded registry say, and how schemas are answered."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from reactor.registry.codes import BAD_SCHEMA, BAD_VERSION
from reactor.registry.errors import RegistryError
from reactor.registry.proto import descriptor, serialized
from reactor.registry.schemas import FORMATS, Format, Reference, SchemaText, SubjectVersion
from reactor.registry.store import Store


class _Posted(msgspec.Struct, rename="camel"):
    schema: str
    schema_type: str = "AVRO"
    references: list[Reference] | None = None


def subject_of(request: Request) -> str:
    return str(request.path_params["subject"])


def flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() == "true"


def version_of(request: Request) -> int | None:
    text = request.path_params["version"]
    if text in ("latest", "-1"):
        return None
    if text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31:
        return int(text)
    raise RegistryError(
        f"The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and "
        'the string "latest"',
        BAD_VERSION,
    )


def id_of(request: Request) -> int:
    text = request.path_params["id"]
    if text.isascii() and text.isdecimal() and int(text) < 1 << 31:
        return int(text)
    raise RegistryError("HTTP 404 Not Found", 404)


def posted(body: Any) -> SchemaText:
    try:
        given = msgspec.convert(body, _Posted)
    except msgspec.ValidationError as error:
        raise RegistryError(f"Invalid schema: {error}", BAD_SCHEMA) from error
    formats: dict[str, Format] = {format: format for format in FORMATS}
    format = formats.get(given.schema_type or "AVRO")
    if format is None:
        raise RegistryError(f"Invalid schema type {given.schema_type}", BAD_SCHEMA)
    if not given.schema.strip():
        raise RegistryError("Empty schema", BAD_SCHEMA)
    return SchemaText(format, given.schema, tuple(given.references or ()))


def _text(store: Store, request: Request, schema: SchemaText) -> str:
    if schema.format == "PROTOBUF" and request.query_params.get("format") == "serialized":
        files = [descriptor(text, name) for name, text in store.others(schema).items()]
        return serialized(descriptor(schema.text, "default.proto", files))
    return schema.text


def schema_told(store: Store, request: Request, schema: SchemaText) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": _text(store, request, schema)}
    if schema.format != "AVRO":
        found["schemaType"] = schema.format
    if schema.references:
        found["references"] = [msgspec.to_builtins(one) for one in schema.references]
    return found


def entry(store: Store, request: Request, one: SubjectVersion) -> dict[str, Any]:
    told = {"subject": one.subject, "version": one.version, "id": one.id}
    return {**told, **schema_told(store, request, one.schema)}
