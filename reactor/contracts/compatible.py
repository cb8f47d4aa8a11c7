"""Whether payloads of one version fit another: each value that the writer may write, the reader must take.

The rules are those of reading by msgspec, told by JSON Schemas. A field that the reader doesn't know is passed
over; one that it requires must always be there; an int is a float, and both are Decimals; any text is a str, but
only a date is a date; bounds may get wider, enums may get more values. Where schemas can't tell, the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from reactor.contracts.schemas import KEYS, Schema, json_schema
from reactor.contracts.words import BOUNDS, alike, asserts, fits, flat, limit, resolved, said, text_fits
from reactor.core import ArgumentError

Mode = Literal[
    "backward",
    "forward",
    "full",
    "backward-transitive",
    "forward-transitive",
    "full-transitive",
    "transitive",
]
MODES: tuple[Mode, ...] = (
    "backward",
    "forward",
    "full",
    "backward-transitive",
    "forward-transitive",
    "full-transitive",
    "transitive",
)


class Finding(msgspec.Struct, frozen=True):
    """What doesn't fit: where in the payload (``$.lines[].price``), and why."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Compatibility(msgspec.Struct, frozen=True):
    """True where there are no findings."""

    mode: str
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        if not self.findings:
            return f"{self.mode} compatible"
        return "\n".join([f"not {self.mode} compatible:", *(f"  {finding}" for finding in self.findings)])


def compatible(
    old: type[Any] | Schema | Sequence[type[Any] | Schema], new: type[Any] | Schema, mode: Mode = "backward"
) -> Compatibility:
    """Compare versions of a type, given as types or as the JSON Schemas of ``json_schema``.

    ``backward``: new code reads old payloads; ``forward``: old code reads new payloads; ``full``: both. ``old``
    may be several, the oldest first: only the last counts, or each of them in the modes ``...-transitive``
    (``transitive`` is ``full-transitive``).
    """
    if mode not in MODES:
        raise ArgumentError(f"compatible(mode={mode!r}): known modes: {', '.join(MODES)}")
    several = isinstance(old, Sequence) and not isinstance(old, str)
    every: list[Any] = list(cast("Sequence[Any]", old)) if several else [old]
    way = "full" if mode == "transitive" else mode.partition("-")[0]
    if "transitive" not in mode:
        every = every[-1:]
    after = _schema(new)
    findings: list[Finding] = []
    for one in every:
        before = _schema(one)
        if way in ("backward", "full"):
            findings += reads(before, after, "the old", "the new")
        if way in ("forward", "full"):
            findings += reads(after, before, "the new", "the old")
    return Compatibility(mode, tuple(dict.fromkeys(findings)))


def _schema(one: Any) -> Schema:
    return cast("Schema", one) if isinstance(one, Mapping) else json_schema(one)


def reads(
    written: Schema, wanted: Schema, writer: str = "the writer", reader: str = "the reader"
) -> list[Finding]:
    """Return why code with the schema ``wanted`` can't read all payloads of the schema ``written``."""
    return _Comparison(written, wanted, writer, reader).findings(written, wanted, "$")


class _Comparison:
    def __init__(self, written: Schema, wanted: Schema, writer: str, reader: str) -> None:
        self._defs = written.get("$defs", {}), wanted.get("$defs", {})
        self._writer = writer
        self._reader = reader
        self._open: set[tuple[int, int]] = set()
        """Pairs that are being compared: a type that holds itself."""

    def findings(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        has, wants = resolved(has, self._defs[0]), resolved(wants, self._defs[1])
        pair = id(has), id(wants)
        if pair in self._open:
            return []
        self._open.add(pair)
        try:
            return self._compared(has, wants, path)
        finally:
            self._open.discard(pair)

    def _compared(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        if not asserts(wants):
            return []
        if not asserts(has):
            return [
                Finding(path, f"may be anything in {self._writer}, and {self._reader} wants {said(wants)}")
            ]
        if "anyOf" in has:
            found = [one for option in has["anyOf"] for one in self.findings(option, wants, path)]
            return list(dict.fromkeys(found))
        if "anyOf" in wants:
            return self._any(has, wants["anyOf"], path)
        if "enum" in has:
            return self._enum(has["enum"], wants, path)
        if "enum" in wants:
            return [self._differs(has, wants, path)]
        if has.get("type") != wants.get("type"):
            widened = has.get("type") == "integer" and wants.get("type") == "number"
            decimal = has.get("type") in ("integer", "number") and wants.get("format") == "decimal"
            if not (widened or decimal):
                return [self._differs(has, wants, path)]
            if decimal:
                return []
        match wants.get("type"):
            case "object":
                return [*self._bounds(has, wants, path), *self._object(has, wants, path)]
            case "array":
                return self._array(has, wants, path)
            case "string" if not text_fits(has, wants):
                return [self._differs(has, wants, path)]
            case _:
                return [*self._bounds(has, wants, path), *self._range(has, wants, path)]

    def _differs(self, has: Schema, wants: Schema, path: str) -> Finding:
        return Finding(path, f"is {said(has)} in {self._writer}, and {self._reader} wants {said(wants)}")

    def _any(self, has: Schema, options: Iterable[Schema], path: str) -> list[Finding]:
        nearest: list[Finding] | None = None
        for option in flat(options, self._defs[1]):
            found = self.findings(has, option, path)
            if not found:
                return []
            # Where it is one of several structs, what is told is about the one with the same tag.
            if alike(has, option) and (nearest is None or len(found) < len(nearest)):
                nearest = found
        names = " or ".join(said(option) for option in flat(options, self._defs[1]))
        other = Finding(path, f"may be {said(has)} in {self._writer}, and {self._reader} wants {names}")
        return nearest if nearest is not None else [other]

    def _enum(self, values: Sequence[Any], wants: Schema, path: str) -> list[Finding]:
        if "enum" in wants:
            left = [value for value in values if value not in wants["enum"]]
        else:
            left = [value for value in values if not fits(value, wants)]
        text = ", ".join(map(repr, left))
        why = f"may be {text} in {self._writer}, and {self._reader} wants {said(wants)}"
        return [Finding(path, why)] if left else []

    def _bounds(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        found: list[Finding] = []
        for word, holds, text in BOUNDS:
            if word in wants and not (word in has and holds(has[word], wants[word])):
                why = f"{text.format(wants[word])} in {self._reader}, and needn't be so in {self._writer}"
                found.append(Finding(path, why))
        return found

    def _range(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        found: list[Finding] = []
        for sign, word, text in ((1, "inimum", "at least"), (-1, "aximum", "at most")):
            bound, lies = limit(wants, word, sign), limit(has, word, sign)
            if bound is not None and (lies is None or lies < bound):
                why = f"is {text} {bound[0] * sign} in {self._reader}, and needn't be so in {self._writer}"
                found.append(Finding(path, why))
        return found

    def _object(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        found: list[Finding] = []
        if has.get(KEYS) != wants.get(KEYS) and wants.get(KEYS) is not None:
            keys = has.get(KEYS, "str"), wants[KEYS]
            why = f"has keys of {keys[0]} in {self._writer}, and {self._reader} wants {keys[1]}"
            found.append(Finding(path, why))
        given, taken = has.get("properties", {}), wants.get("properties", {})
        rest, others = has.get("additionalProperties"), wants.get("additionalProperties")
        is_map = rest if isinstance(rest, Mapping) or "properties" not in has else None
        always = set(has.get("required", ()))
        for name in wants.get("required", ()):
            if name not in given and is_map is None:
                why = f"is required in {self._reader}, and {self._writer} doesn't have it"
                found.append(Finding(f"{path}.{name}", why))
            elif name not in always:
                why = f"is required in {self._reader}, and may be missing in {self._writer}"
                found.append(Finding(f"{path}.{name}", why))
        for name, schema in taken.items():
            if name in given:
                found += self.findings(given[name], schema, f"{path}.{name}")
            elif is_map is not None:
                found += self.findings(is_map or {}, schema, f"{path}.{name}")
        for name, schema in given.items():
            if name in taken:
                continue
            if others is False:
                why = f"is there in {self._writer}, and {self._reader} forbids what it doesn't know"
                found.append(Finding(f"{path}.{name}", why))
            elif isinstance(others, Mapping):
                found += self.findings(schema, cast("Schema", others), f"{path}.{name}")
        if is_map is not None and isinstance(others, Mapping):
            found += self.findings(is_map or {}, cast("Schema", others), f"{path}.*")
        elif is_map is not None and others is False:
            why = f"may have any entries in {self._writer}, and {self._reader} forbids what it doesn't know"
            found.append(Finding(path, why))
        return found

    def _array(self, has: Schema, wants: Schema, path: str) -> list[Finding]:
        found: list[Finding] = []
        given, taken = has.get("prefixItems", ()), wants.get("prefixItems", ())
        rest, others = has.get("items"), wants.get("items")
        fixed = "prefixItems" in has  # a struct that is written as an array, too, has no more than its fields
        least = has.get("minItems", 0)
        most = len(given) if fixed else has.get("maxItems")
        if wants.get("minItems", 0) > least:
            many = wants["minItems"]
            why = f"has at least {many} items in {self._reader}, and may have {least} in {self._writer}"
            found.append(Finding(path, why))
        bound = wants.get("maxItems")
        if bound is not None and (most is None or most > bound):
            many = "any number" if most is None else most
            why = f"has at most {bound} items in {self._reader}, and may have {many} in {self._writer}"
            found.append(Finding(path, why))
        for n, one in enumerate(given):
            if n < len(taken):
                found += self.findings(one, taken[n], f"{path}[{n}]")
            elif isinstance(others, Mapping):
                found += self.findings(one, cast("Schema", others), f"{path}[{n}]")
        if not fixed:
            each: Schema = cast("Schema", rest) if isinstance(rest, Mapping) else {}
            for n, one in enumerate(taken):
                found += self.findings(each, one, f"{path}[{n}]")
            if isinstance(others, Mapping):
                found += self.findings(each, cast("Schema", others), f"{path}[]")
        return found
