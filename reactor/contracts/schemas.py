"""JSON Schemas of types: msgspec's own, with marks where its words say less than the type does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from reactor.contracts.declared import Contract
from reactor.core import ArgumentError

Schema = Mapping[str, Any]

TIME, KEYS = "x-time", "x-keys"
"""What JSON Schema has no word for: a time with or without a zone, and a dict's keys where they are no texts."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a type's payloads. Raises ArgumentError for what JSON can't say."""
    name = getattr(kind, "__name__", kind)
    try:
        schema = msgspec.json.schema(kind)
        _mark(schema, inspect.type_info(kind), schema.get("$defs", {}), set())
    except TypeError as error:
        raise ArgumentError(
            f"json_schema({name}): {error}; make it a Struct, dataclass or attrs class"
        ) from error
    except KeyError as error:  # msgspec tells them apart by their names
        raise ArgumentError(f"json_schema({name}): has two classes of the same name: {error}") from error
    return schema


def _mark(schema: Any, info: inspect.Type, defs: Mapping[str, Any], seen: set[str]) -> None:
    """Walk both at once, and say in the schema what it lacks."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in seen:
            return
        seen.add(name)
        schema = defs[name]
    match info:
        case inspect.DateTimeType(tz=tz):
            schema[TIME] = {None: "datetime", True: "aware datetime", False: "naive datetime"}[tz]
        case inspect.TimeType(tz=tz):
            schema[TIME] = {None: "time", True: "aware time", False: "naive time"}[tz]
        case inspect.DictType(key_type=key, value_type=value):
            if not isinstance(key, inspect.StrType | inspect.AnyType):
                schema[KEYS] = type(key).__name__.removesuffix("Type").lower()
            _mark(schema.get("additionalProperties"), value, defs, seen)
        case inspect.CollectionType(item_type=item):
            _mark(schema.get("items"), item, defs, seen)
        case inspect.TupleType(item_types=items):
            for one, item in zip(schema.get("prefixItems", ()), items, strict=False):
                _mark(one, item, defs, seen)
        case inspect.UnionType(types=types):
            _mark_union(schema, types, defs, seen)
        case inspect.Metadata(type=inner):
            _mark(schema, inner, defs, seen)
        case inspect.StructType(fields=fields) if info.array_like:
            places = schema.get("prefixItems", ())[-len(fields) :] if fields else ()
            for one, field in zip(places, fields, strict=False):
                _mark(one, field.type, defs, seen)
        case (
            inspect.StructType()
            | inspect.DataclassType()
            | inspect.TypedDictType()
            | inspect.NamedTupleType()
        ):
            for field in info.fields:
                _mark(schema.get("properties", {}).get(field.encode_name), field.type, defs, seen)
        case _:
            pass


def _mark_union(
    schema: dict[str, Any], types: Iterable[inspect.Type], defs: Mapping[str, Any], seen: set[str]
) -> None:
    """A union has one type of each kind of JSON value at most, tagged structs apart, which are named."""
    options = _options(schema)
    for info in types:
        match info:
            case inspect.DateTimeType() | inspect.TimeType():
                found = [one for one in options if one.get("type") == "string" and "$ref" not in one]
            case inspect.DictType():
                found = [one for one in options if one.get("type") == "object"]
            case inspect.CollectionType() | inspect.TupleType():
                found = [one for one in options if one.get("type") == "array"]
            case (
                inspect.StructType(cls=cls) | inspect.DataclassType(cls=cls) | inspect.TypedDictType(cls=cls)
            ):
                named = [one for one in options if "$ref" in one]
                title = cls.__name__
                found = [one for one in named if defs[one["$ref"].rpartition("/")[2]].get("title") == title]
                found = found or (named if len(named) == 1 else [])
            case _:
                found = []
        for one in found:
            _mark(one, info, defs, seen)


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "anyOf" not in schema:
        return [schema]
    return [option for one in schema["anyOf"] for option in _options(one)]


def catalogue(contracts: Iterable[Contract[Any]]) -> dict[str, Any]:
    """Return the JSON Schemas of contracts by their names, as ``check(against=...)`` takes them later."""
    found = {
        contract.name: {
            "version": contract.version,
            **({"formerly": list(contract.formerly)} if contract.formerly else {}),
            "schema": json_schema(contract.kind),
        }
        for contract in sorted(contracts, key=lambda one: one.name)
    }
    return {"$schema": DIALECT, "contracts": found}
