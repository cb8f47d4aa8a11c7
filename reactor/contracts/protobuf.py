"""Protobuf of types: messages as a .proto file, and how values become them and come back."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import inspect

from reactor.contracts.declared import contract_of
from reactor.contracts.direct import Direct
from reactor.contracts.messages import Line, Message, Part, got, none, over, writes
from reactor.core import ArgumentError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
Convert = Callable[[Any], Any]

_TIMESTAMP = "google.protobuf.Timestamp"
_SCALARS: dict[type[inspect.Type], tuple[str, tuple[type, ...]]] = {
    inspect.BoolType: ("bool", (bool,)),
    inspect.IntType: ("int64", (int,)),
    inspect.FloatType: ("double", (float, int)),
    inspect.StrType: ("string", (str,)),
    inspect.BytesType: ("bytes", (bytes,)),
    inspect.ByteArrayType: ("bytes", (bytes,)),
    inspect.DateType: ("string", (str,)),
    inspect.TimeType: ("string", (str,)),
    inspect.TimeDeltaType: ("string", (str,)),
    inspect.DecimalType: ("string", (str,)),
    inspect.UUIDType: ("string", (str,)),
}

_KEYS = {"string": "str({})", "int64": "int({})"}


class Messages:
    """The messages of some types, in one package.

    Numbers follow the order of fields: add new ones at the end, never take one out (keep it, with a default).
    Enums and literals are texts or ints; Decimals, UUIDs, dates and durations are texts, so that all of it is
    read as JSON has it. Raises ArgumentError for what Protobuf can't say, with where it stands.
    """

    def __init__(self, package: str) -> None:
        if not all(_NAME.fullmatch(part) for part in package.split(".")):
            raise ArgumentError(f"protobuf(package={package!r}): names of letters, digits and _, with dots")
        self.package = package
        self.found: dict[str, Message] = {}
        self._of: dict[type[Any], Message] = {}
        self._infos: dict[type[Any], inspect.StructType | inspect.DataclassType] = {}
        self._names: dict[str, Any] = {"to_timestamp": _to_timestamp, "back_timestamp": from_timestamp}
        """What the functions know."""
        self._direct = Direct(self._names)

    def add(self, kind: type[Any]) -> Message:
        """Add a type by the name of its contract, and what it is made of."""
        contract = contract_of(kind)
        info = inspect.type_info(kind)
        if not isinstance(info, inspect.StructType | inspect.DataclassType):
            raise ArgumentError(f"protobuf({contract.name}): a struct, dataclass or attrs class is a message")
        return self._struct(info, re.sub(r"[^A-Za-z0-9_]", "_", contract.name), contract.name)

    def proto(self) -> str:
        """Return the .proto file."""
        text = f'syntax = "proto3";\n\npackage {self.package};\n'
        messages = [str(message) for message in self.found.values()]
        if any(_TIMESTAMP in message for message in messages):
            text += '\nimport "google/protobuf/timestamp.proto";\n'
        return "\n".join([text, *(f"{message}\n" for message in messages)])

    def converters(self, message: Message) -> tuple[Convert, Convert]:
        """Return what makes arguments of plain values, and plain values of a message."""
        source = "\n".join(one.source for one in self.found.values())
        exec(compile(source, f"<protobuf {self.package}>", "exec"), self._names)
        return self._names[f"to_{message.name}"], self._names[f"back_{message.name}"]

    def direct(self, message: Message, convert: Callable[[Any, type[Any]], Any]) -> tuple[Convert, Convert]:
        """Return what makes arguments of events, and events of messages, after ``converters``.

        They raise where something is out of the ordinary. ``convert`` makes an event of plain values and a type.
        """
        for cls, info in self._infos.items():
            self._direct.add(info, self._of[cls].name, self._named)
        self._names["convert"] = convert
        exec(compile(self._direct.source, f"<protobuf {self.package}>", "exec"), self._names)
        return self._names[f"take_{message.name}"], self._names[f"make_{message.name}"]

    def _named(self, cls: type[Any]) -> str | None:
        found = self._of.get(cls)
        return None if found is None else found.name

    def _new(self, name: str) -> Message:
        while name in self.found:
            name += "_"
        message = self.found[name] = Message(name)
        return message

    def _struct(self, info: inspect.StructType | inspect.DataclassType, name: str, path: str) -> Message:
        known = self._of.get(info.cls)
        if known is not None:
            return known
        message = self._of[info.cls] = self._new(name)
        self._infos[info.cls] = info
        if isinstance(info, inspect.StructType):
            if info.array_like:
                raise _refused(path, f"{name} is array_like", "write it as an object")
            if info.tag is not None:
                assert info.tag_field is not None
                message.tag = info.tag_field, info.tag
                message.reads.append(f"found[{info.tag_field!r}] = {info.tag!r}")
        for one in info.fields:
            place = f"{path}.{one.encode_name}"
            if not _NAME.fullmatch(one.encode_name):
                raise _refused(place, "isn't a name in Protobuf", "rename the field")
            self._field(message, one, place)
        return message

    def _field(self, message: Message, one: inspect.Field, path: str) -> None:
        info, empty = _bare(one.type)
        default_none = one.required or one.default is None
        if empty and not default_none:
            raise _refused(path, "None and a default that isn't can't be told apart", "make the default None")
        self._value(message, one.encode_name, info, path, empty=empty, must=one.required)

    def _value(
        self, message: Message, name: str, info: inspect.Type, path: str, *, empty: bool, must: bool
    ) -> None:
        """Add the lines of one field: a list, a dict, a union, or a single value."""
        number = len(message.lines) + 1
        if isinstance(info, inspect.UnionType):
            self._oneof(message, name, info, path, empty=empty)
        elif not empty and isinstance(info, inspect.CollectionType):
            item = self._part(info.item_type, path, f"{message.name}_{name}")
            message.lines.append(Line(name, number, item.type, "repeated"))
            each = f"[{over(item.to, 'x')} for x in {{}}]"
            message.writes += writes(name, each, must=must)
            message.reads.append(f"found[{name!r}] = [{over(item.back, 'x')} for x in {got(name)}]")
        elif not empty and isinstance(info, inspect.DictType):
            key = self._part(info.key_type, path, f"{message.name}_{name}")
            item = self._part(info.value_type, path, f"{message.name}_{name}")
            kind = key.type if key.type in _KEYS else "string"
            message.lines.append(Line(name, number, item.type, "map", key=kind))
            each = f"{{{over(_KEYS[kind], 'k')}: {over(item.to, 'x')} for k, x in {{}}.items()}}"
            message.writes += writes(name, each, must=must)
            message.reads.append(
                f"found[{name!r}] = {{k: {over(item.back, 'x')} for k, x in {got(name)}.items()}}"
            )
        else:
            part = self._part(info, path, f"{message.name}_{name}")
            present = empty or not must or part.message
            label = "optional" if present and not part.message else ""
            message.lines.append(Line(name, number, part.type, label))
            message.writes += writes(name, part.to, must=must and not empty)
            read = f"found[{name!r}] = {over(part.back, got(name))}"
            if present:
                message.reads += [f"if m.HasField({name!r}): {read}", *none(name, empty=empty)]
            else:
                message.reads.append(read)

    def _oneof(self, message: Message, name: str, info: inspect.UnionType, path: str, *, empty: bool) -> None:
        parts: dict[str, Part] = {}
        for one in info.types:
            part = self._part(one, path, f"{message.name}_{name}")
            option = f"{name}_{part.type.rpartition('.')[2].lower()}"
            if option in parts:
                raise _refused(path, f"the union has two that are {part.type}", "wrap them in structs")
            parts[option] = part
        message.writes.append(f"x = v.get({name!r})")
        message.reads.append(f"option = m.WhichOneof({name!r})")
        for n, (option, part) in enumerate(parts.items()):
            message.lines.append(Line(option, len(message.lines) + 1, part.type, oneof=name))
            otherwise = "el" if n else ""
            takes = f"takes_{message.name}_{option}"
            self._names[takes] = part.takes
            message.writes.append(
                f"{otherwise}if x is not None and {takes}(x): found[{option!r}] = {over(part.to, 'x')}"
            )
            back = over(part.back, got(option))
            message.reads.append(f"{otherwise}if option == {option!r}: found[{name!r}] = {back}")
        message.reads += none(name, empty=empty)

    def _part(self, info: inspect.Type, path: str, hint: str) -> Part:
        """One value; what isn't one in Protobuf (a list in a list, None in a list) is wrapped in a message."""
        while isinstance(info, inspect.Metadata):
            info = info.type
        scalar = _SCALARS.get(type(info))
        if scalar is not None:
            name, kinds = scalar
            return Part(name, False, "{}", "{}", lambda value: type(value) in kinds)
        match info:
            case inspect.DateTimeType(tz=tz) if tz is not False:
                return Part(_TIMESTAMP, True, "to_timestamp({})", "back_timestamp({})", _is_datetime)
            case inspect.DateTimeType():
                return Part("string", False, "{}.isoformat()", "{}", _is_datetime)
            case inspect.LiteralType() | inspect.EnumType():
                values = info.values if isinstance(info, inspect.LiteralType) else _values(info.cls)
                texts = [isinstance(value, str) for value in values]
                if all(texts) or not any(texts):
                    name = "string" if all(texts) else "int64"
                    return Part(name, False, "{}", "{}", lambda value: value in values)
                raise _refused(path, "is both texts and ints", "make it one of them")
            case inspect.StructType() | inspect.DataclassType():
                made = self._struct(info, info.cls.__name__, path)
                return Part(
                    made.name, True, f"to_{made.name}({{}})", f"back_{made.name}({{}})", _taking(info)
                )
            case inspect.UnionType() | inspect.CollectionType() | inspect.DictType():
                bare, empty = _bare(info)
                wrapper = self._new(f"{hint}_value")
                self._value(wrapper, "value", bare, path, empty=empty, must=True)
                return _wrapped(wrapper, (dict,) if isinstance(info, inspect.DictType) else (list,))
            case inspect.TupleType(item_types=items):
                wrapper = self._new(f"{hint}_tuple")
                for n, item in enumerate(items):
                    bare, empty = _bare(item)
                    self._value(wrapper, f"item_{n}", bare, f"{path}[{n}]", empty=empty, must=True)
                names = [f"item_{n}" for n in range(len(items))]
                return Part(
                    wrapper.name,
                    True,
                    f"to_{wrapper.name}(dict(zip({names!r}, {{}})))",
                    f"[*back_{wrapper.name}({{}}).values()]",
                    lambda value: isinstance(value, list | tuple),
                )
            case _:
                name = type(info).__name__.removesuffix("Type")
                raise _refused(path, f"Protobuf has no type for {name}", "give it a type of its own")


def _refused(path: str, what: str, fix: str) -> ArgumentError:
    return ArgumentError(f"protobuf: {path}: {what}; {fix}")


def _bare(info: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without None, and whether it had it."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if not isinstance(info, inspect.UnionType):
        return info, False
    types = tuple(one for one in info.types if not isinstance(one, inspect.NoneType))
    bare = types[0] if len(types) == 1 else inspect.UnionType(types)
    return (_bare(bare)[0] if len(types) == 1 else bare), len(types) < len(info.types)


def _values(cls: Any) -> tuple[Any, ...]:
    return tuple(member.value for member in cls)


def _taking(info: inspect.StructType | inspect.DataclassType) -> Callable[[Any], bool]:
    if isinstance(info, inspect.StructType) and info.tag is not None:
        name, tag = info.tag_field, info.tag
        return lambda value: isinstance(value, dict) and value.get(name) == tag
    return lambda value: isinstance(value, dict)


def _wrapped(wrapper: Message, kinds: tuple[type, ...]) -> Part:
    return Part(
        wrapper.name,
        True,
        f"to_{wrapper.name}({{'value': {{}}}})",
        f"back_{wrapper.name}({{}}).get('value')",
        lambda value: isinstance(value, kinds),
    )


def _is_datetime(value: Any) -> bool:
    return isinstance(value, datetime)


def _to_timestamp(value: datetime) -> dict[str, int]:
    if value.utcoffset() is None:
        raise ValueError(f"{value!r} has no time zone; Protobuf's timestamps are moments")
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}


def from_timestamp(made: Any) -> str:
    moment = datetime.fromtimestamp(made.seconds, UTC).replace(microsecond=made.nanos // 1000)
    return moment.isoformat()


def protobuf_schema(*kinds: type[Any], package: str = "events") -> str:
    """Return a .proto file (proto3) with a message for each type; see ``Messages`` for what becomes what."""
    messages = Messages(package)
    for kind in kinds:
        messages.add(kind)
    return messages.proto()
