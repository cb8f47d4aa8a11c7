"""Avro schemas of types (https://avro.apache.org/docs/1.12.0/specification/), as dicts that fastavro takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from reactor.contracts.declared import contract_of
from reactor.core import ArgumentError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN: dict[type[inspect.Type], Any] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.DecimalType: "string",
    inspect.TimeDeltaType: "string",
}
_NUMBERS = ("int", "long", "float", "double")


def avro_schema(kind: type[Any]) -> dict[str, Any]:
    """Return the Avro schema of a struct, dataclass or attrs class; its name is that of its contract.

    Times are microseconds (``timestamp-micros``, ``local-timestamp-micros`` without a zone), Decimals and
    durations are texts. Raises ArgumentError for what Avro can't say, with where it stands.
    """
    contract = contract_of(kind)
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        raise ArgumentError(f"avro_schema({contract.name}): a struct, dataclass or attrs class has a schema")
    writer = _Writer(contract.name)
    names = contract.name.split(".")
    if not all(_NAME.fullmatch(name) for name in names):
        raise ArgumentError(
            f"avro_schema({contract.name}): names in Avro are of letters, digits and _, with dots between them"
        )
    schema: dict[str, Any] = writer.record(info, names[-1], "$")
    if len(names) > 1:
        schema = {"type": "record", "name": names[-1], "namespace": ".".join(names[:-1]), **schema}
    if contract.version != 1:
        schema["version"] = contract.version
    return schema


class _Writer:
    def __init__(self, title: str) -> None:
        self._title = title
        self._names: dict[type[Any], str] = {}
        """Of records and enums that were written; Avro names them from the second time on."""

    def _refuse(self, path: str, what: str, fix: str) -> ArgumentError:
        return ArgumentError(f"avro_schema({self._title}): {path}: {what}; {fix}")

    def schema(self, info: inspect.Type, path: str) -> Any:
        plain = _PLAIN.get(type(info))
        if plain is not None:
            return plain
        match info:
            case inspect.Metadata(type=inner):
                return self.schema(inner, path)
            case inspect.DateTimeType(tz=tz):
                return {"type": "long", "logicalType": f"{'local-' if tz is False else ''}timestamp-micros"}
            case inspect.DateType():
                return {"type": "int", "logicalType": "date"}
            case inspect.TimeType():
                return {"type": "long", "logicalType": "time-micros"}
            case inspect.UUIDType():
                return {"type": "string", "logicalType": "uuid"}
            case inspect.EnumType(cls=cls):
                return self._enum(cls)
            case inspect.LiteralType(values=values):
                return self._union(("string" if isinstance(value, str) else "long" for value in values), path)
            case inspect.CollectionType(item_type=item):
                return {"type": "array", "items": self.schema(item, f"{path}[]")}
            case inspect.TupleType(item_types=items):
                each = [self.schema(item, f"{path}[{n}]") for n, item in enumerate(items)]
                return {"type": "array", "items": self._union(each, path) if each else "null"}
            case inspect.DictType(value_type=value):
                return {"type": "map", "values": self.schema(value, f"{path}.*")}
            case inspect.UnionType(types=types):
                return self._union([self.schema(one, path) for one in types], path)
            case (
                inspect.StructType()
                | inspect.DataclassType()
                | inspect.TypedDictType()
                | inspect.NamedTupleType()
            ):
                return self.record(info, info.cls.__name__, path)
            case _:
                name = type(info).__name__.removesuffix("Type")
                raise self._refuse(path, f"Avro has no type for {name}", "give it a type of its own")

    def record(self, info: Any, name: str, path: str) -> Any:
        """Return the record, or its name where it was written already."""
        known = self._names.get(info.cls)
        if known is not None:
            return known
        while name in self._names.values():
            name += "_"
        self._names[info.cls] = name
        fields: list[dict[str, Any]] = []
        if getattr(info, "tag", None) is not None:
            fields.append(self._tag(info, path))
        if getattr(info, "array_like", False):
            raise self._refuse(path, f"{info.cls.__name__} is array_like", "write it as an object")
        for field in info.fields:
            place = f"{path}.{field.encode_name}"
            if not _NAME.fullmatch(field.encode_name):
                raise self._refuse(place, "isn't a name in Avro", "rename the field to letters, digits and _")
            fields.append(self._field(field, place))
        return {"type": "record", "name": name, "fields": fields}

    def _tag(self, info: inspect.StructType, path: str) -> dict[str, Any]:
        """The field that tells structs apart: an enum with one symbol, so that a writer tells them apart, too."""
        if not isinstance(info.tag, str) or not _NAME.fullmatch(info.tag):
            raise self._refuse(path, f"the tag {info.tag!r} isn't a name in Avro", "choose another tag=")
        kind = {"type": "enum", "name": f"{self._names[info.cls]}Tag", "symbols": [info.tag]}
        return {"name": info.tag_field, "type": kind, "default": info.tag}

    def _field(self, field: inspect.Field, path: str) -> dict[str, Any]:
        schema = self.schema(field.type, path)
        found: dict[str, Any] = {"name": field.encode_name, "type": schema}
        if field.required:
            return found
        default: Any = field.default
        if default is msgspec.NODEFAULT:
            factory: Any = field.default_factory
            default = factory() if callable(factory) else None
        plain = msgspec.to_builtins(default, str_keys=True, order="deterministic")
        branch = _branch(schema, default, plain)
        if branch is not None:
            # A default belongs to the first branch of a union.
            if isinstance(schema, list):
                found["type"] = [branch, *(one for one in schema if one is not branch)]
            found["default"] = plain
        return found

    def _enum(self, cls: Any) -> Any:
        known = self._names.get(cls)
        if known is not None:
            return known
        values = [member.value for member in cls]
        if not all(isinstance(value, str) for value in values):
            return "long" if all(isinstance(value, int) for value in values) else ["string", "long"]
        if not all(_NAME.fullmatch(value) for value in values):
            return "string"
        self._names[cls] = cls.__name__
        return {"type": "enum", "name": cls.__name__, "symbols": values}

    def _union(self, schemas: Iterable[Any], path: str) -> Any:
        flat: list[Any] = []
        for schema in schemas:
            for one in schema if isinstance(schema, list) else [schema]:
                if one not in flat:
                    flat.append(one)
        kinds = [one if isinstance(one, str) else one["type"] for one in flat]
        for kind in ("array", "map", "string", "long", "int", "bytes"):
            if kinds.count(kind) > 1:
                raise self._refuse(path, f"a union in Avro has one {kind}", "wrap them in structs")
        return flat[0] if len(flat) == 1 else flat


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, float | int) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "enum": lambda value: isinstance(value, str),
    "array": lambda value: value == [],
    "map": lambda value: value == {},
}


def _branch(schema: Any, default: Any, plain: Any) -> Any:
    """The branch of a union that a default belongs to; None for what JSON has no word for (a time, a record)."""
    for one in schema if isinstance(schema, list) else [schema]:
        name = one if isinstance(one, str) else one["type"]
        if isinstance(one, dict) and "logicalType" in one and one["logicalType"] != "uuid":
            continue
        fits = _FITS.get(name)
        if fits is not None and fits(plain) and (default is None or name != "null"):
            return one
    return None
