"""Whether a schema may be the next version of a subject: levels, and the rules of each format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from reactor.contracts import Finding, reads
from reactor.core import ArgumentError
from reactor.registry.rules import avro, protobuf
from reactor.registry.schemas import SchemaText

__all__ = ["LEVELS", "Clash", "Level", "clashes", "level_of"]

Level = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]
LEVELS: tuple[Level, ...] = get_args(Level)

Reads = Callable[[str, str], list[Finding]]


class Clash(msgspec.Struct, frozen=True):
    """Why the new schema doesn't go with one version of the subject; ``way``: who can't read whom."""

    version: int
    way: Literal["backward", "forward"]
    finding: Finding

    def __str__(self) -> str:
        old, new = f"version {self.version}", "the new version"
        writer, reader = (old, new) if self.way == "backward" else (new, old)
        return f"{self.finding.path}: {reader} can't read what {writer} writes: {self.finding.what}"


def level_of(name: str) -> Level:
    """Return the level that a name means, in any case. Raises ArgumentError."""
    for known in LEVELS:
        if known == name.upper().replace("-", "_"):
            return known
    raise ArgumentError(f"level={name!r}: the levels are {', '.join(LEVELS)}")


def clashes(new: SchemaText, olds: Sequence[tuple[int, SchemaText]], level: Level) -> list[Clash]:
    """Return why ``new`` can't follow ``olds``, the oldest first. Raises ValueError for what is no schema."""
    if level == "NONE" or not olds:
        return []
    if not level.endswith("_TRANSITIVE"):
        olds = olds[-1:]
    found: list[Clash] = []
    for version, old in reversed(olds):
        if old.format != new.format:
            what = f"is {old.format}, and the new version is {new.format}; give it another subject"
            found.append(Clash(version, "backward", Finding("$", what)))
            continue
        compare = _RULES[new.format]
        if level.startswith(("BACKWARD", "FULL")):
            found += [Clash(version, "backward", one) for one in compare(old.text, new.text)]
        if level.startswith(("FORWARD", "FULL")):
            found += [Clash(version, "forward", one) for one in compare(new.text, old.text)]
    return found


def _json(written: str, wanted: str) -> list[Finding]:
    """The rules of contracts: objects are open, and what a reader doesn't know it passes over."""
    try:
        return reads(_plain(written), _plain(wanted))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        return [Finding("$", f"has words of JSON Schema that can't be compared ({error!r})")]


def _plain(text: str) -> Mapping[str, Any]:
    found = json.loads(text.replace("#/definitions/", "#/$defs/"))
    if isinstance(found, bool):
        return {} if found else {"enum": []}
    if "definitions" in found:
        found["$defs"] = {**found.pop("definitions"), **found.get("$defs", {})}
    return {word: value for word, value in found.items() if not word.startswith("x-version")}


_RULES: Mapping[str, Reads] = {"AVRO": avro.reads, "JSON": _json, "PROTOBUF": protobuf.reads}
