"""Protobuf's rules of compatibility: fields are their numbers.

https://protobuf.dev/programming-guides/proto3/#updating and Confluent's list of what it refuses:
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/serdes-protobuf.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reactor.contracts import Finding
from reactor.registry.descriptors import ENUM, MESSAGE, REPEATED, REQUIRED, walk
from reactor.registry.proto import SCALARS, descriptor

_ALIKE = (
    frozenset(["int32", "uint32", "int64", "uint64", "bool", "enum"]),
    frozenset(["sint32", "sint64"]),
    frozenset(["string", "bytes"]),
    frozenset(["fixed32", "sfixed32"]),
    frozenset(["fixed64", "sfixed64"]),
)
"""What reads each other's bytes."""
_NAMES = {number: name for name, number in SCALARS.items()} | {ENUM: "enum", MESSAGE: "message"}


def reads(written: str, wanted: str) -> list[Finding]:
    """Return why a reader of the file ``wanted`` can't read messages of the file ``written``."""
    has, wants = descriptor(written), descriptor(wanted)
    found = [*_messages(has.message_type, wants.message_type, "")]
    return list(dict.fromkeys(found))


def unlike(has: Any, name: str, wants: Any, other: str) -> list[Finding]:
    """Return why one message of a file (by its full name) isn't what another file's message takes."""
    written = dict(walk(has))[name]
    wanted = {one.name: one for one in wants.message_type}[other]
    return [Finding("$" + one.path, one.what) for one in _fields(written, wanted, "")]


def _messages(has: Iterable[Any], wants: Iterable[Any], prefix: str) -> Iterable[Finding]:
    known = {one.name: one for one in wants}
    for message in has:
        if message.options.map_entry:
            continue
        other = known.get(message.name)
        path = f"{prefix}{message.name}"
        if other is None:
            yield Finding(path, "is a message that the reader hasn't; keep it, also where it isn't used")
        else:
            yield from _fields(message, other, path)
            yield from _messages(message.nested_type, other.nested_type, f"{path}.")


def _fields(has: Any, wants: Any, path: str) -> Iterable[Finding]:
    written = {field.number: field for field in has.field}
    for field in wants.field:
        place = f"{path}.{field.name}"
        its = written.get(field.number)
        if its is None:
            if field.label == REQUIRED:
                yield Finding(place, "isn't written, and the reader requires it; make it optional")
            continue
        one, other = _type(its, has), _type(field, wants)
        if one != other and not any(one in group and other in group for group in _ALIKE):
            fix = "keep its type, or take a new number for the new one"
            yield Finding(place, f"number {field.number} is {one}, not {other}; {fix}")
        elif (its.label == REPEATED) != (field.label == REPEATED) and not _lengthed(one):
            fix = "keep it as it is, or take a new number"
            yield Finding(place, f"number {field.number} is a list in only one of them; {fix}")
    for field in has.field:
        if field.label == REQUIRED and field.number not in {other.number for other in wants.field}:
            yield Finding(f"{path}.{field.name}", "is required, and the reader hasn't it; keep it")
    yield from _oneofs(has, wants, path)


def _oneofs(has: Any, wants: Any, path: str) -> Iterable[Finding]:
    """Fields that may stand beside each other can't be put into one oneof."""
    for index, oneof in enumerate(wants.oneof_decl):
        inside = {field.number for field in wants.field if _in(field, index)}
        before = {field.number for field in has.field if field.number in inside}
        apart = {field.number for field in has.field if field.number in before and not _in(field)}
        if len(before) > 1 and apart:
            fix = "take new numbers for those in it"
            yield Finding(f"{path}.{oneof.name}", f"is a oneof of fields that were apart; {fix}")


def _in(field: Any, index: int | None = None) -> bool:
    if not field.HasField("oneof_index") or field.proto3_optional:
        return False
    return index is None or field.oneof_index == index


def _type(field: Any, message: Any) -> str:
    if field.type == MESSAGE:
        name = field.type_name.rpartition(".")[2]
        for nested in message.nested_type:
            if nested.name == name and nested.options.map_entry:
                key, value = nested.field
                return f"map<{_type(key, nested)}, {_type(value, nested)}>"
        return str(name)
    return _NAMES.get(field.type, "group")


def _lengthed(type: str) -> bool:
    return type in ("string", "bytes") or type[:1].isupper()
