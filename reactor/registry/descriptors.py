"""Descriptors of Protobuf: their messages, what they import, and what becomes of values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

MESSAGE, ENUM, GROUP = 11, 14, 10
OPTIONAL, REQUIRED, REPEATED = 1, 2, 3
WELL_KNOWN = (
    "any",
    "api",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
)


def walk(file: Any) -> Iterable[tuple[str, Any]]:
    """Yield the messages of a file with their full names, without a dot in front; the outer first."""

    def below(prefix: str, messages: Iterable[Any]) -> Iterable[tuple[str, Any]]:
        for message in messages:
            name = f"{prefix}{message.name}"
            yield name, message
            yield from below(f"{name}.", message.nested_type)

    yield from below(f"{file.package}." if file.package else "", file.message_type)


def well_known(names: Iterable[str]) -> list[Any]:
    """Return the descriptors of Google's own files among these names."""
    from importlib import import_module

    from google.protobuf import descriptor_pb2

    found: list[Any] = []
    for name in names:
        bare = name.removeprefix("google/protobuf/").removesuffix(".proto")
        if bare in WELL_KNOWN or bare == "wrappers":
            module = import_module(f"google.protobuf.{bare}_pb2")
            made: Any = descriptor_pb2.FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(made)
            found += [*well_known(made.dependency), made]
    return found


def message_at(file: Any, indexes: Iterable[int]) -> str:
    """Return the full name of the message that indexes lead to. Raises ValueError where they lead nowhere."""
    names: list[str] = [file.package] if file.package else []
    messages = file.message_type
    for index in indexes:
        if index >= len(messages):
            raise ValueError(f"its schema has no message {index}; is the payload damaged?")
        names.append(messages[index].name)
        messages = messages[index].nested_type
    return ".".join(names)


def message_class(file: Any, name: str, files: Iterable[Any] = ()) -> Any:
    """Return the class of a message, in a pool of its own."""
    from google.protobuf import descriptor_pool, message_factory

    pool: Any = descriptor_pool.DescriptorPool()
    seen: set[str] = set()
    for one in (*well_known(file.dependency), *files, file):
        if one.name not in seen:
            seen.add(one.name)
            try:
                pool.AddSerializedFile(one.SerializeToString())
            except TypeError as error:
                raise ValueError(f"can't be read: {error}") from error
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def name_of(contract: str) -> str:
    """Return what the message of a contract is called."""
    return re.sub(r"[^A-Za-z0-9_]", "_", contract)


def _repeated(field: Any) -> bool:
    """Protobuf 7 has no labels any more, and 5 had only these."""
    found = getattr(field, "is_repeated", None)
    return bool(found) if found is not None else field.label == REPEATED


Tags = Mapping[str, tuple[str, str | int]]


def plain_of(made: Any, tags: Tags) -> Any:
    """Return a message as the plain values that it was made of; a time is a text.

    What isn't there is None, which is what was written so. What a contract had to wrap (a list in a list, a tuple)
    is unwrapped again. ``tags`` are the field and value that tell structs apart, by the names of messages.
    """
    kind = made.DESCRIPTOR
    if kind.full_name == "google.protobuf.Timestamp":
        return made.ToDatetime(UTC).isoformat()
    tag = tags.get(kind.name)
    found: dict[str, Any] = {} if tag is None else {tag[0]: tag[1]}
    for field in kind.fields:
        oneof = field.containing_oneof
        name = field.name
        if oneof is not None and not oneof.name.startswith("_"):
            if made.WhichOneof(oneof.name) != name:
                found.setdefault(oneof.name, None)
                continue
            name = oneof.name
        elif field.has_presence and not made.HasField(name):
            found[name] = None
            continue
        value = getattr(made, field.name)
        nested = field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            inner = nested.fields_by_name["value"].message_type is not None
            found[name] = {key: plain_of(one, tags) if inner else one for key, one in value.items()}
        elif nested is None:
            found[name] = [*value] if _repeated(field) else value
        else:
            found[name] = (
                [plain_of(one, tags) for one in value] if _repeated(field) else plain_of(value, tags)
            )
    if kind.name.rstrip("_").endswith("_value") and set(found) <= {"value"}:
        return found.get("value")
    if kind.name.rstrip("_").endswith("_tuple"):
        return [*found.values()]
    return found
