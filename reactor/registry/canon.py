"""Schemas as they are compared: whether a text is one, and what is the same for all that mean the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reactor.registry.printing import printed
from reactor.registry.proto import descriptor
from reactor.registry.rules.avro import full
from reactor.registry.schemas import SchemaText, dumped

_KINDS = ("null", "boolean", "object", "array", "number", "string", "integer")


def canonical(schema: SchemaText, others: Mapping[str, str]) -> str:
    """Return the schema's text without what means nothing. Raises ValueError where it is none.

    ``others`` are the texts that it refers to, by the names by which it does, in the order of their references.
    """
    match schema.format:
        case "AVRO":
            parsed = _decoded(schema.text)
            _avro(parsed, [json.loads(text) for text in others.values()])
            return dumped(parsed, ordered=True)
        case "JSON":
            parsed = _decoded(schema.text)
            _json(parsed)
            return dumped(parsed, ordered=True)
        case _:
            files = [descriptor(text, name) for name, text in others.items()]
            return printed(descriptor(schema.text, files=files))


def kept(schema: SchemaText) -> str:
    """Return the text that is kept: as it was given, but a descriptor of Protobuf becomes a text."""
    if schema.format == "PROTOBUF" and "{" not in schema.text:
        return printed(descriptor(schema.text))
    return schema.text


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"isn't JSON: {error}") from error


def _avro(schema: Any, others: Sequence[Any]) -> None:
    from fastavro import schema as checking

    names: dict[str, Any] = {}
    try:
        for other in others:
            checking.parse_schema(other, names)
        checking.parse_schema(schema, names)
    except (
        checking.SchemaParseException,
        checking.UnknownType,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        what = f"misses {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"isn't a schema of Avro: {what}") from error


def _json(schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError("isn't a JSON Schema: it is an object, true or false")
    kind = schema.get("type", "object")
    for one in kind if isinstance(kind, list) else [kind]:
        if one not in _KINDS:
            raise ValueError(f"isn't a JSON Schema: type {one!r}; known: {', '.join(_KINDS)}")
    if not isinstance(schema.get("properties", {}), dict):
        raise ValueError("isn't a JSON Schema: properties are an object")
    for one in schema.get("properties", {}).values():
        _json(one)


def whole(schema: SchemaText, others: Sequence[str]) -> SchemaText:
    """Return a schema of Avro with what it refers to inside, so that it can be compared; others as they are."""
    if schema.format != "AVRO" or not others:
        return schema
    known: dict[str, Any] = {}
    for text in others:
        one = json.loads(text)
        if isinstance(one, dict) and "name" in one:
            known[full(one["name"], one.get("namespace"))] = one
    return SchemaText("AVRO", dumped(_put(json.loads(schema.text), known, "")))


def _put(schema: Any, known: dict[str, Any], space: str) -> Any:
    """Put a type where its name stands first."""
    if isinstance(schema, str):
        for name in (full(schema, space), schema):
            if name in known:
                found = known.pop(name)
                rest = {"name": name.rpartition(".")[2], "namespace": name.rpartition(".")[0]}
                return _put({**found, **rest}, known, "")
        return schema
    if isinstance(schema, list):
        return [_put(one, known, space) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "name" in schema:
        space = full(schema["name"], schema.get("namespace", space)).rpartition(".")[0]
    found = dict(schema)
    for word in ("type", "items", "values"):
        if word in found:
            found[word] = _put(found[word], known, space)
    if "fields" in found:
        found["fields"] = [{**field, "type": _put(field["type"], known, space)} for field in found["fields"]]
    return found
