"""Descriptors of Protobuf as the text of a .proto file: the same for all that mean the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reactor.registry.descriptors import REPEATED, REQUIRED
from reactor.registry.proto import SCALARS

_NAMES = {number: name for name, number in SCALARS.items()}


def printed(file: Any) -> str:
    """Return the text of a FileDescriptorProto, without options that carry no data."""
    lines = [f'syntax = "{file.syntax or "proto2"}";']
    if file.package:
        lines += ["", f"package {file.package};"]
    if file.dependency:
        lines.append("")
        public = set(file.public_dependency)
        lines += [
            f'import {"public " if n in public else ""}"{name}";' for n, name in enumerate(file.dependency)
        ]
    for message in file.message_type:
        lines += ["", *_message(message, file.syntax == "proto3")]
    for enum in file.enum_type:
        lines += ["", *_enum(enum)]
    return "\n".join(lines) + "\n"


def _message(message: Any, three: bool) -> list[str]:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    lines: list[str] = []
    done: set[int] = set()
    for nested in message.nested_type:
        if nested.name not in entries:
            lines += _message(nested, three)
    for enum in message.enum_type:
        lines += _enum(enum)
    for field in message.field:
        if not field.HasField("oneof_index") or field.proto3_optional:
            lines.append(_field(field, entries, three))
        elif field.oneof_index not in done:
            done.add(field.oneof_index)
            index = field.oneof_index
            lines.append(f"oneof {message.oneof_decl[index].name} {{")
            for one in message.field:
                if one.HasField("oneof_index") and one.oneof_index == index and not one.proto3_optional:
                    lines.append(f"  {_field(one, {}, three, alone=False)}")
            lines.append("}")
    lines += _reserved(message, 1)
    lines += [
        f"extensions {_range(one.start, one.end - 1, (1 << 29) - 1)};" for one in message.extension_range
    ]
    return [f"message {message.name} {{", *(f"  {line}" for line in lines), "}"]


def _field(field: Any, entries: dict[str, Any], three: bool, *, alone: bool = True) -> str:
    packed = f" [packed = {str(field.options.packed).lower()}]" if field.options.HasField("packed") else ""
    entry = entries.get(field.type_name.rpartition(".")[2]) if field.label == REPEATED else None
    if entry is not None:
        key, value = entry.field
        return f"map<{_type(key)}, {_type(value)}> {field.name} = {field.number};"
    label = ""
    if field.label == REPEATED:
        label = "repeated "
    elif field.label == REQUIRED:
        label = "required "
    elif alone and (field.proto3_optional or not three):
        label = "optional "
    return f"{label}{_type(field)} {field.name} = {field.number}{packed};"


def _type(field: Any) -> str:
    return str(field.type_name) or _NAMES[field.type]


def _enum(enum: Any) -> list[str]:
    lines = ["option allow_alias = true;"] if enum.options.allow_alias else []
    lines += [f"{value.name} = {value.number};" for value in enum.value]
    lines += _reserved(enum, 0)
    return [f"enum {enum.name} {{", *(f"  {line}" for line in lines), "}"]


def _reserved(made: Any, after: int) -> Iterable[str]:
    most = (1 << 29) - 1 if after else (1 << 31) - 1
    if made.reserved_range:
        yield f"reserved {', '.join(_range(one.start, one.end - after, most) for one in made.reserved_range)};"
    if made.reserved_name:
        names = ", ".join(f'"{name}"' for name in made.reserved_name)
        yield f"reserved {names};"


def _range(start: int, end: int, most: int) -> str:
    return str(start) if start == end else f"{start} to {'max' if end == most else end}"
