"""Protobuf's .proto files as descriptors, without protoc: what registries keep are texts.

The grammar: https://protobuf.dev/reference/protobuf/proto3-spec/ and proto2's; what carries no data (services,
extensions, options but those of maps and packing) is passed over.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from reactor.core import MissingExtra
from reactor.registry.descriptors import ENUM, MESSAGE, OPTIONAL, REPEATED, REQUIRED, walk, well_known
from reactor.registry.tokens import Tokens

SCALARS: Mapping[str, int] = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "fixed64": 6,
    "fixed32": 7,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
    "sfixed32": 15,
    "sfixed64": 16,
    "sint32": 17,
    "sint64": 18,
}
_LABELS = {"optional": OPTIONAL, "required": REQUIRED, "repeated": REPEATED}


def descriptor(schema: str, name: str = "schema.proto", files: Iterable[Any] | None = None) -> Any:
    """Return the FileDescriptorProto of a text, or of what others register: a descriptor in Base64.

    ``files`` are those that it imports, as descriptors too; without them, types that it hasn't are left open.
    Raises ValueError for what is neither.
    """
    try:
        from google.protobuf import descriptor_pb2, message
    except ImportError:
        raise MissingExtra("Protobuf", "protobuf") from None
    if ";" not in schema and "{" not in schema:
        try:
            file: Any = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema, validate=True))
        except (binascii.Error, message.DecodeError) as error:
            raise ValueError(f"isn't a .proto file: {error}") from error
        if file.message_type or file.enum_type:
            return file
        raise ValueError("isn't a .proto file: it has no message")
    file = descriptor_pb2.FileDescriptorProto(name=name)
    _Parser(schema, file).file_()
    _resolve(file, files)
    return file


def serialized(file: Any) -> str:
    """Return a descriptor in Base64."""
    return base64.b64encode(file.SerializeToString()).decode()


class _Parser(Tokens):
    def __init__(self, text: str, file: Any) -> None:
        super().__init__(text)
        self._file = file

    def file_(self) -> None:
        file = self._file
        if self._has("syntax"):
            self._sign("=")
            syntax = self._text()
            if syntax not in ("proto2", "proto3"):
                raise ValueError(f"isn't a .proto file of proto2 or proto3, but of {syntax}")
            if syntax == "proto3":
                file.syntax = syntax
            self._sign(";")
        elif self._next == "edition":
            raise ValueError("is a .proto file with an edition; write it in proto3")
        while self._tokens[self._at][0] != "end":
            if self._has(";"):
                continue
            if self._has("package"):
                file.package = self._path()
                self._sign(";")
            elif self._has("import"):
                public, weak = self._has("public"), self._has("weak")
                (file.public_dependency if public else file.weak_dependency if weak else []).append(
                    len(file.dependency)
                )
                file.dependency.append(self._text())
                self._sign(";")
            elif self._has("message"):
                self._message(file.message_type.add())
            elif self._has("enum"):
                self._enum(file.enum_type.add())
            elif self._has("option"):
                self._skip()
            elif self._has("service") or self._has("extend"):
                self._skip("}")
            else:
                raise self._wrong("a message")
        if not file.message_type and not file.enum_type:
            raise ValueError("isn't a .proto file: it has no message")

    def _message(self, message: Any) -> None:
        message.name = self._word()
        self._sign("{")
        alone: list[Any] = []
        while not self._has("}"):
            if self._has(";"):
                continue
            if self._has_then("message", "{"):
                self._message(message.nested_type.add())
            elif self._has_then("enum", "{"):
                self._enum(message.enum_type.add())
            elif self._has_then("oneof", "{"):
                self._oneof(message)
            elif self._has_then("option", "="):
                self._skip()
            elif self._has_then("extend", "{"):
                self._skip("}")
            elif self._next in ("reserved", "extensions") and self._tokens[self._at + 1][0] != "word":
                self._ranges(message, self._word())
            elif self._next == "map" and self._tokens[self._at + 1][1] == "<":
                self._map(message)
            else:
                label = _LABELS.get(self._next)
                if label is not None:
                    self._at += 1
                field = self._field(message, label or OPTIONAL)
                if label == OPTIONAL and self._file.syntax == "proto3":
                    alone.append(field)
        for field in alone:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")

    def _has_then(self, word: str, *signs: str) -> bool:
        """Whether a statement begins with a keyword, and not a field whose type has its name."""
        at = self._at
        if self._tokens[at][1] != word:
            return False
        at += 1
        if word == "option":
            self._at = at
            return True
        while self._tokens[at][0] == "word" or self._tokens[at][1] == ".":
            at += 1
        if self._tokens[at][1] not in signs:
            return False
        self._at += 1
        return True

    def _field(self, message: Any, label: int, oneof: int | None = None) -> Any:
        type = self._path()
        if type == "group":
            raise self._wrong("a type that isn't a group")
        field = message.field.add(name=self._word(), label=label)
        self._typed(field, type)
        self._sign("=")
        field.number = self._number()
        if oneof is not None:
            field.oneof_index = oneof
        self._options(field)
        self._sign(";")
        return field

    def _typed(self, field: Any, type: str) -> None:
        scalar = SCALARS.get(type)
        if scalar is not None:
            field.type = scalar
        else:
            field.type_name = type

    def _options(self, field: Any) -> None:
        if not self._has("["):
            return
        while True:
            name = self._next
            if name == "packed" and self._tokens[self._at + 2][1] in ("true", "false"):
                field.options.packed = self._tokens[self._at + 2][1] == "true"
            depth = 0
            while True:
                kind, text, _ = self._tokens[self._at]
                if kind == "end":
                    raise self._wrong("]")
                if kind == "sign" and depth == 0 and text in ",]":
                    break
                depth += (kind == "sign") * ((text in "{[(") - (text in "}])"))
                self._at += 1
            self._at += 1
            if text == "]":
                return

    def _map(self, message: Any) -> None:
        self._at += 2
        key = self._word("a type")
        self._sign(",")
        value = self._path()
        self._sign(">")
        name = self._word()
        self._sign("=")
        entry = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
        field = message.field.add(name=name, number=self._number(), label=REPEATED, type_name=entry)
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        self._typed(nested.field.add(name="key", number=1, label=OPTIONAL), key)
        self._typed(nested.field.add(name="value", number=2, label=OPTIONAL), value)
        self._options(field)
        self._sign(";")

    def _oneof(self, message: Any) -> None:
        index = len(message.oneof_decl)
        message.oneof_decl.add(name=self._word())
        self._sign("{")
        while not self._has("}"):
            if self._has(";"):
                continue
            if self._has_then("option", "="):
                self._skip()
            else:
                self._field(message, OPTIONAL, index)

    def _ranges(self, made: Any, word: str, most: int = (1 << 29) - 1, after: int = 1) -> None:
        """``reserved`` and ``extensions``: numbers, ranges of them, and names."""
        while True:
            if self._tokens[self._at][0] in ("text", "word"):
                made.reserved_name.append(self._text() if self._next[0] in "\"'" else self._word())
            else:
                start = self._number()
                end = start
                if self._has("to"):
                    end = most if self._has("max") else self._number()
                ranges = made.reserved_range if word == "reserved" else made.extension_range
                ranges.add(start=start, end=end + after)
            if not self._has(","):
                break
        if self._has("["):
            self._at -= 1
            self._skip()
        else:
            self._sign(";")

    def _enum(self, enum: Any) -> None:
        enum.name = self._word()
        self._sign("{")
        while not self._has("}"):
            if self._has(";"):
                continue
            if self._has("option"):
                aliased = self._next == "allow_alias" and self._tokens[self._at + 2][1] == "true"
                if aliased:
                    enum.options.allow_alias = True
                self._skip()
            elif self._next == "reserved" and self._tokens[self._at + 1][1] != "=":
                self._at += 1
                self._ranges(enum, "reserved", (1 << 31) - 1, 0)
            else:
                value = enum.value.add(name=self._word())
                self._sign("=")
                value.number = self._number()
                if self._next == "[":
                    self._skip()
                else:
                    self._sign(";")


# Names ----------------------------------------------------------------------------------------------------------


def _types(file: Any) -> dict[str, int]:
    prefix = f"{file.package}." if file.package else ""
    found = {f"{prefix}{enum.name}": ENUM for enum in file.enum_type}
    for name, message in walk(file):
        found[name] = MESSAGE
        found |= {f"{name}.{enum.name}": ENUM for enum in message.enum_type}
    return found


def _resolve(file: Any, files: Iterable[Any] | None) -> None:
    """Give fields the full names of their types."""
    types = _types(file)
    for other in (*(files or ()), *well_known(file.dependency)):
        types |= _types(other)
    for name, message in walk(file):
        for field in message.field:
            if field.type_name:
                try:
                    field.type_name, field.type = _found(field.type_name, name, types)
                except ValueError:
                    if files is not None or not file.dependency:
                        raise
                    field.type = MESSAGE


def _found(name: str, scope: str, types: Mapping[str, int]) -> tuple[str, int]:
    if name.startswith("."):
        names: Iterable[str] = (name[1:],)
    else:
        parts = scope.split(".")
        names = (".".join([*parts[:n], name]) for n in range(len(parts), -1, -1))
    for one in names:
        if one in types:
            return f".{one}", types[one]
    raise ValueError(f"{scope}: has no type {name}; import the file that has it")
