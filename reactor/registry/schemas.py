"""Schemas as a registry keeps them: a format, a text, and what it refers to."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

import msgspec

from reactor.contracts import DIALECT, avro_schema, contract_of, json_schema, protobuf_schema
from reactor.core import ArgumentError

Format = Literal["AVRO", "JSON", "PROTOBUF"]
FORMATS: tuple[Format, ...] = get_args(Format)
VERSION = "x-version"
"""In JSON Schemas: the contract's version, where it isn't 1. In Avro ``version``."""

Strategy = Literal["topic", "record", "topic-record"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Reference(msgspec.Struct, frozen=True):
    """Another subject's version, under the name by which the text imports it."""

    name: str
    subject: str
    version: int


class SchemaText(msgspec.Struct, frozen=True):
    """A schema. ``format`` is AVRO, JSON or PROTOBUF."""

    format: Format
    text: str
    references: tuple[Reference, ...] = ()


class SubjectVersion(msgspec.Struct, frozen=True):
    """One version of a subject."""

    subject: str
    version: int
    id: int
    schema: SchemaText


def format_of(name: str) -> Format:
    """Return the format that a name means, in any case. Raises ArgumentError."""
    for known in FORMATS:
        if known == name.upper():
            return known
    raise ArgumentError(f"format={name!r}: a registry knows {', '.join(known.lower() for known in FORMATS)}")


def schema_of(kind: type[Any], format: str) -> SchemaText:
    """Return the schema of a contract's class, as it is registered. Raises ArgumentError for what has none."""
    contract = contract_of(kind)
    match format_of(format):
        case "AVRO":
            schema = avro_schema(kind)
            if contract.formerly:
                schema["aliases"] = list(contract.formerly)
            return SchemaText("AVRO", dumped(schema))
        case "JSON":
            found = {"$schema": DIALECT, "title": contract.name, **json_schema(kind)}
            if contract.version != 1:
                found[VERSION] = contract.version
            return SchemaText("JSON", dumped(found))
        case "PROTOBUF":
            return SchemaText("PROTOBUF", protobuf_schema(kind))


def dumped(schema: Any, *, ordered: bool = False) -> str:
    """Return its text without white space; ``ordered``: with the names of objects in order."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False, sort_keys=ordered)


def told(schema: SchemaText) -> tuple[str | None, int | None]:
    """Return the contract's name and version that a schema tells; a text of Protobuf tells neither."""
    if schema.format == "PROTOBUF":
        return None, None
    found = json.loads(schema.text)
    if not isinstance(found, dict):
        return None, None
    if schema.format == "JSON":
        return found.get("title"), _number(found.get(VERSION, 1))
    name, space = found.get("name"), found.get("namespace")
    return f"{space}.{name}" if space and name and "." not in name else name, _number(found.get("version", 1))


def _number(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def subject_of(strategy: Strategy, topic: str, kind: type[Any]) -> str:
    """Return the subject of a topic's values: ``orders-value``, or with the name of the record in it."""
    name = contract_of(kind).name
    match strategy:
        case "topic":
            return f"{topic}-value"
        case "record":
            return name
        case "topic-record":
            return f"{topic}-{name}"
