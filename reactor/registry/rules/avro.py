"""Schema resolution of Avro: whether a reader's schema takes all that a writer's may write.

https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reactor.contracts import Finding

PRIMITIVES = frozenset(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
_PROMOTED: Mapping[str, tuple[str, ...]] = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
_NAMED = ("record", "error", "enum", "fixed")


def reads(written: str, wanted: str) -> list[Finding]:
    """Return why a reader with the schema ``wanted`` can't read what was written with ``written`` (JSON texts)."""
    has, wants = json.loads(written), json.loads(wanted)
    return list(dict.fromkeys(_Resolution(_named(has), _named(wants)).findings(has, wants, "$", "", "")))


def _named(schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(one: Any, space: str) -> None:
        if isinstance(one, list):
            for option in one:
                walk(option, space)
        elif isinstance(one, dict):
            kind = one.get("type")
            if kind in _NAMED:
                name = full(one["name"], one.get("namespace", space))
                space = name.rpartition(".")[0]
                found[name] = one
                for field in one.get("fields", ()):
                    walk(field["type"], space)
            elif isinstance(kind, dict | list):
                walk(kind, space)
            else:
                walk(one.get("items"), space)
                walk(one.get("values"), space)

    walk(schema, "")
    return found


def full(name: str, space: str | None) -> str:
    return name if "." in name or not space else f"{space}.{name}"


class _Resolution:
    def __init__(self, written: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        self._written = written
        self._wanted = wanted
        self._open: set[tuple[int, int]] = set()
        """Pairs of records that are being compared: a type that holds itself."""

    def findings(self, has: Any, wants: Any, path: str, space: str, other: str) -> list[Finding]:
        has, space = _resolved(has, space, self._written)
        wants, other = _resolved(wants, other, self._wanted)
        if isinstance(has, list):
            return [one for option in has for one in self.findings(option, wants, path, space, other)]
        if isinstance(wants, list):
            if any(not self.findings(has, option, path, space, other) for option in wants):
                return []
            return [Finding(path, f"is {_said(has)}, which is none of {_said(wants)}")]
        kind, other_kind = has["type"], wants["type"]
        if kind != other_kind:
            if other_kind in _PROMOTED.get(kind, ()):
                return []
            return [Finding(path, f"is {_said(has)}, not {_said(wants)}")]
        match kind:
            case "array":
                return self.findings(has["items"], wants["items"], f"{path}[]", space, other)
            case "map":
                return self.findings(has["values"], wants["values"], f"{path}.*", space, other)
            case "record" | "error" | "enum" | "fixed":
                return self._of_name(has, wants, path, space, other)
            case _:
                return []

    def _of_name(self, has: Any, wants: Any, path: str, space: str, other: str) -> list[Finding]:
        mine, its = full(has["name"], has.get("namespace", space)), wants["name"].rpartition(".")[2]
        theirs = full(wants["name"], wants.get("namespace", other))
        aliases = [full(alias, theirs.rpartition(".")[0]) for alias in wants.get("aliases", ())]
        if mine.rpartition(".")[2] != its and mine not in aliases:
            fix = f'keep its name, or name the other in "aliases" of {its}'
            return [Finding(path, f"is {mine}, not {theirs}; {fix}")]
        if has["type"] == "fixed":
            if has["size"] == wants["size"]:
                return []
            return [Finding(path, f"is {has['size']} bytes long, not {wants['size']}")]
        if has["type"] == "enum":
            more = [symbol for symbol in has["symbols"] if symbol not in wants["symbols"]]
            if not more or wants.get("default") in wants["symbols"]:
                return []
            names = ", ".join(more)
            fix = f'keep {"it" if len(more) == 1 else "them"}, or give the enum a "default"'
            return [Finding(path, f"may be {names}, which the reader's enum hasn't; {fix}")]
        pair = id(has), id(wants)
        if pair in self._open:
            return []
        self._open.add(pair)
        try:
            return self._fields(has, wants, path, mine.rpartition(".")[0], theirs.rpartition(".")[0])
        finally:
            self._open.discard(pair)

    def _fields(self, has: Any, wants: Any, path: str, space: str, other: str) -> list[Finding]:
        written = {field["name"]: field for field in has["fields"]}
        found: list[Finding] = []
        for field in wants["fields"]:
            names = (field["name"], *field.get("aliases", ()))
            its = next((written[name] for name in names if name in written), None)
            place = f"{path}.{field['name']}"
            if its is not None:
                found += self.findings(its["type"], field["type"], place, space, other)
            elif "default" not in field:
                found.append(Finding(place, "isn't written, and the reader has no default; give it one"))
        return found


def _resolved(schema: Any, space: str, names: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a union as a list, the others as dicts with their type; and the namespace that they stand in."""
    if isinstance(schema, dict):
        kind = schema.get("type")
        if isinstance(kind, dict | list):
            return _resolved(kind, space, names)
        if kind in PRIMITIVES or kind in ("array", "map", *_NAMED):
            return schema, space
        schema = kind
    if isinstance(schema, list):
        return schema, space
    if schema in PRIMITIVES:
        return {"type": schema}, space
    name = full(schema, space)
    name = name if name in names else schema
    return names[name], name.rpartition(".")[0]


def _said(schema: Any) -> str:
    if isinstance(schema, list):
        return "[" + ", ".join(_said(one) for one in schema) + "]"
    if isinstance(schema, dict):
        return str(schema["name"] if schema.get("type") in _NAMED else schema["type"])
    return str(schema)
