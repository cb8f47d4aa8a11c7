"""What the words of JSON Schemas say, for those who compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reactor.contracts.schemas import TIME, Schema

BOUNDS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minLength", lambda has, wants: has >= wants, "is at least {} long"),
    ("maxLength", lambda has, wants: has <= wants, "is at most {} long"),
    ("minItems", lambda has, wants: has >= wants, "has at least {} items"),
    ("maxItems", lambda has, wants: has <= wants, "has at most {} items"),
    ("minProperties", lambda has, wants: has >= wants, "has at least {} entries"),
    ("maxProperties", lambda has, wants: has <= wants, "has at most {} entries"),
    ("multipleOf", lambda has, wants: has % wants == 0, "is a multiple of {}"),
    ("pattern", lambda has, wants: has == wants, "fits the pattern {}"),
)

_SAYS_NOTHING = frozenset(
    ["title", "description", "default", "examples", "$defs", "deprecated", "discriminator"]
)


def asserts(schema: Schema) -> bool:
    return any(word not in _SAYS_NOTHING and not word.startswith("$") for word in schema)


def resolved(schema: Schema, defs: Mapping[str, Any]) -> Schema:
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    return schema


def flat(options: Iterable[Schema], defs: Mapping[str, Any]) -> list[Schema]:
    found: list[Schema] = []
    for option in options:
        option = resolved(option, defs)
        found += flat(option["anyOf"], defs) if "anyOf" in option else [option]
    return found


def tags(schema: Schema) -> list[tuple[str, Any]]:
    """The fields whose value is always the same."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    return [(name, one["enum"]) for name, one in fields.items() if len(one.get("enum", ())) == 1]


def alike(one: Schema, other: Schema) -> bool:
    return one.get("type") == other.get("type") == "object" and tags(one) == tags(other)


def text_fits(has: Schema, wants: Schema) -> bool:
    """Texts of one form are read as another only where that is any text."""
    if TIME in wants:
        return has.get(TIME) == wants[TIME] or str(has.get(TIME)).endswith(f" {wants[TIME]}")
    form = wants.get("format"), wants.get("contentEncoding")
    return form == (None, None) or (has.get("format"), has.get("contentEncoding")) == form


def limit(schema: Schema, word: str, sign: int) -> tuple[float, bool] | None:
    """The bound, so that a larger one is tighter, and whether it lies outside."""
    found = [
        (schema[name] * sign, outside)
        for name, outside in ((f"m{word}", False), (f"exclusiveM{word}", True))
        if name in schema
    ]
    return max(found, default=None)


def fits(value: Any, schema: Schema) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
    }
    kind = kinds.get(schema.get("type", ""), ())
    if schema.get("format") == "decimal":
        return isinstance(value, int) and not isinstance(value, bool)
    if any(word in schema for word, _, _ in BOUNDS) or TIME in schema or "format" in schema:
        return False
    if limit(schema, "inimum", 1) or limit(schema, "aximum", -1):
        return False
    return isinstance(value, kind) and (not isinstance(value, bool) or bool in kind)


def said(schema: Schema) -> str:
    if "enum" in schema:
        return (
            "one of " + ", ".join(map(repr, schema["enum"]))
            if len(schema["enum"]) > 1
            else repr(schema["enum"][0])
        )
    if "anyOf" in schema:
        return "a union"
    for word in (TIME, "format", "title"):
        if word in schema:
            return str(schema[word])
    if "contentEncoding" in schema:
        return "bytes"
    names = {
        "object": "a dict",
        "array": "a list",
        "integer": "an int",
        "number": "a float",
        "string": "a str",
    }
    return names.get(
        schema.get("type", ""), {"boolean": "a bool", "null": "None"}.get(schema.get("type", ""), "any")
    )
