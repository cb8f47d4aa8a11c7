"""The short way between events and messages of Protobuf: attribute by attribute, without plain values between.

It is for types whose values need no checks beyond those of Protobuf itself. Where anything is out of the ordinary,
it raises, and the event or message goes the long way, which tells what is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect

from reactor.contracts.messages import got, over

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = (
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DecimalType,
    inspect.UUIDType,
    inspect.DateTimeType,
)


class Way(NamedTuple):
    """How a value goes and comes back, as expressions over ``{}``; ``message``: whether it is one there."""

    to: str
    back: str
    message: bool = False


class Step(NamedTuple):
    """A field: its attribute, its name in the message, its way; whether it may be None; its default."""

    attribute: str
    name: str
    way: Way
    many: bool
    empty: bool
    default: str | None
    """The expression of what it is where it isn't there; None: it must be there."""


class Direct:
    """The functions ``take_NAME`` (event to arguments) and ``make_NAME`` (message to event) of some types."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        """What the functions know."""
        names.update(moment=_moment, Decimal=Decimal, UUID=UUID, absent=_absent, plain=plain)
        self._sources: dict[str, str] = {}

    @property
    def source(self) -> str:
        return "\n".join(self._sources.values())

    def add(
        self,
        info: inspect.StructType | inspect.DataclassType,
        name: str,
        message_of: Callable[[type[Any]], str | None],
    ) -> None:
        """Make the functions of one type, whose message has this name; where there is no short way, the long."""
        self._names[f"type_{name}"] = info.cls
        self._names[f"class_{name}"] = get_origin(info.cls) or info.cls
        steps = [self._step(one, name, message_of) for one in info.fields] if _ordinary(info) else [None]
        found = [step for step in steps if step is not None]
        if len(found) < len(steps):
            self._sources[name] = (
                f"def take_{name}(v): return to_{name}(plain(v))\n"
                f"def make_{name}(m): return convert(back_{name}(m), type_{name})\n"
            )
            return
        always = ", ".join(
            f"{step.name!r}: {over(step.way.to, f'v.{step.attribute}')}"
            for step in found
            if not _may_lack(step)
        )
        lines = [f"def take_{name}(v):", f"    found = {{{always}}}"]
        for step in found:
            if _may_lack(step):
                lines.append(f"    x_ = v.{step.attribute}")
                lines.append(f"    if x_ is not None: found[{step.name!r}] = {over(step.way.to, 'x_')}")
        values = ", ".join(f"{step.attribute}={_read(step)}" for step in found)
        lines += ["    return found", f"def make_{name}(m): return class_{name}({values})"]
        self._sources[name] = "\n".join(lines) + "\n"

    def _step(
        self, one: inspect.Field, name: str, message_of: Callable[[type[Any]], str | None]
    ) -> Step | None:
        info, empty = one.type, False
        if isinstance(info, inspect.UnionType):
            rest = [part for part in info.types if not isinstance(part, inspect.NoneType)]
            if len(rest) != 1:
                return None
            info, empty = rest[0], True
        many = isinstance(info, inspect.ListType | inspect.DictType)
        if many and (empty or not _unbound(info)):
            return None
        label = f"{name}_{one.encode_name}"
        way = self._way(info, label, message_of)
        if way is None or not one.name.isidentifier():
            return None
        default: str | None = None
        if not one.required:
            default = f"default_{label}()"
            value: Any = one.default
            factory: Any = one.default_factory
            self._names[f"default_{label}"] = factory if value is msgspec.NODEFAULT else lambda: value
        return Step(one.name, one.encode_name, way, many, empty, default)

    def _way(
        self, info: inspect.Type, label: str, message_of: Callable[[type[Any]], str | None]
    ) -> Way | None:
        match info:
            case inspect.ListType(item_type=item):
                way = self._way(item, label, message_of)
                if way is None or isinstance(item, inspect.ListType | inspect.DictType):
                    return None
                if way.to == way.back == "{}":
                    return Way("{}", "[*{}]")
                return Way(f"[{over(way.to, 'x')} for x in {{}}]", f"[{over(way.back, 'x')} for x in {{}}]")
            case inspect.DictType(key_type=key, value_type=item):
                way = self._way(item, label, message_of)
                plain_key = isinstance(key, inspect.StrType | inspect.IntType) and _unbound(key)
                if way is None or not plain_key or isinstance(item, inspect.ListType | inspect.DictType):
                    return None
                pairs = "{{k: {} for k, x in {}.items()}}"
                return Way(
                    pairs.format(over(way.to, "x"), "{}"),
                    pairs.format(over(way.back, "x"), "{}"),
                )
            case inspect.StructType() | inspect.DataclassType():
                name = message_of(info.cls)
                if name is None:
                    return None
                return Way(f"take_{name}({{}})", f"make_{name}({{}})", True)
            case inspect.EnumType(cls=cls):
                if not all(type(member.value) in (str, int) for member in cls):
                    return None
                self._names[f"enum_{label}"] = {member.value: member for member in cls}
                return Way("{}.value", f"enum_{label}[{{}}]")
            case inspect.LiteralType(values=values):
                if len({type(value) for value in values}) > 1:
                    return None
                self._names[f"literal_{label}"] = {value: value for value in values}
                return Way(f"literal_{label}[{{}}]", f"literal_{label}[{{}}]")
            case _:
                return _scalar(info)


def _scalar(info: inspect.Type) -> Way | None:
    if not isinstance(info, _PLAIN) or not _unbound(info):
        return None
    match info:
        case inspect.DateTimeType(tz=tz):
            return None if tz is False else Way("to_timestamp({})", "moment({})", True)
        case inspect.DecimalType():
            return Way("str({})", "Decimal({})")
        case inspect.UUIDType():
            return Way("str({})", "UUID({})")
        case _:
            return Way("{}", "{}")


def _may_lack(step: Step) -> bool:
    return step.empty or (step.default is not None and not step.many)


def _read(step: Step) -> str:
    value = over(step.way.back, got(step.name))
    if step.many or (step.default is None and not step.empty and not step.way.message):
        return value
    otherwise = "None" if step.empty else step.default or f"absent({step.name!r})"
    return f"{value} if m.HasField({step.name!r}) else {otherwise}"


def _unbound(info: inspect.Type) -> bool:
    """Whether it has no bounds that are to be checked."""
    return not any(
        getattr(info, name, None) is not None
        for name in ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
    )


def _ordinary(info: inspect.StructType | inspect.DataclassType) -> bool:
    """Whether calling its class with all of its fields is what reading does."""
    cls: Any = get_origin(info.cls) or info.cls
    if isinstance(info, inspect.StructType):
        return not cls.__struct_config__.omit_defaults
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is None or not parameters.init:
        return False
    return all(field.init for field in dataclasses.fields(cls))


def _absent(name: str) -> Any:
    raise ValueError(f"{name} isn't there")


def _moment(made: Any) -> datetime:
    return _EPOCH + timedelta(seconds=made.seconds, microseconds=made.nanos // 1000)


def plain(value: object) -> Mapping[str, Any]:
    """Return the plain values that the long way takes."""
    return msgspec.to_builtins(value, builtin_types=(bytes, datetime), str_keys=True)  # type: ignore[no-any-return]
