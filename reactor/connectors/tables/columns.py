"""What stands in a row of a table: the fields of a class, or what functions make of an event."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from reactor.connectors.tables.values import Values
from reactor.core import ArgumentError, Refused, TableError

Kind = Literal[
    "bool", "int", "float", "str", "bytes", "decimal", "datetime", "date", "time", "duration", "uuid", "json"
]
"""What a column that is made for an annotation holds."""

_KINDS: dict[Any, Kind] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    Decimal: "decimal",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "duration",
    UUID: "uuid",
}


@dataclasses.dataclass(frozen=True)
class Made:
    """A column as ``create=True`` makes it."""

    name: str
    kind: Kind
    nullable: bool


class Columns:
    """The columns of one sink, and how an event becomes a row of them."""

    def __init__(
        self,
        where: str,
        kind: type[Any] | None,
        key: tuple[str, ...],
        columns: Mapping[str, str | Callable[[Any], Any]] | None,
    ) -> None:
        self.where = where
        self._kind = kind
        fields = () if kind is None else _fields_of(kind)
        if columns is None:
            if fields is None or kind is None:
                raise ArgumentError(
                    f"{where}: {kind!r} has no fields; make it a msgspec.Struct, a dataclass or an attrs class, "
                    "or pass columns={name: function}"
                )
            columns = {name: name for name in fields}
        self._sources = dict(columns)
        self.names = tuple(columns)
        self.key = key
        if not columns:
            raise ArgumentError(f"{where}: there are no columns")
        for name, source in columns.items():
            check_name(where, "column", name)
            if not callable(source) and not (isinstance(source, str) and source.isidentifier()):
                raise ArgumentError(
                    f"{where}, columns[{name!r}]={source!r}: a function of the event, or a field's name"
                )
            if isinstance(source, str) and kind is not None and fields is not None and source not in fields:
                raise ArgumentError(
                    f"{where}, columns[{name!r}]={source!r}: {kind.__name__} has no such field; "
                    f"it has {', '.join(fields)}"
                )
        for name in key:
            if name not in columns:
                raise ArgumentError(f"{where}, key={name!r}: is none of the columns {', '.join(columns)}")
        if len(set(key)) < len(key):
            raise ArgumentError(f"{where}, key={key!r}: names a column twice")
        self._row = self._reader()

    def _reader(self) -> Callable[[Any], Sequence[Any]]:
        """Return what makes a row of an event, whose values are its own yet."""
        if len(self.names) > 1 and all(isinstance(source, str) for source in self._sources.values()):
            return attrgetter(*map(str, self._sources.values()))
        reads = [
            attrgetter(source) if isinstance(source, str) else source for source in self._sources.values()
        ]
        return lambda event: [read(event) for read in reads]

    def rows(self, events: Iterable[Any], values: Values) -> list[tuple[Any, ...]]:
        """Return a row for each event; Refused names those that have none, and why."""
        rows: list[tuple[Any, ...]] = []
        errors: dict[int, Exception] = {}
        kind, row_of, of = self._kind, self._row, values.of
        keyed = [self.names.index(name) for name in self.key]
        for at, event in enumerate(events):
            if kind is not None and not isinstance(event, kind):
                errors[at] = ArgumentError(f"{self.where}: takes {kind.__name__}, not {type(event).__name__}")
                continue
            try:
                row = tuple([of(value.__class__)(value) for value in row_of(event)])
            except Exception as error:
                errors[at] = self._blamed(event, values, error)
                continue
            for column in keyed:
                if row[column] is None:
                    errors[at] = TableError(
                        f"{self.where}, column {self.names[column]}: is None, and part of the key"
                    )
            rows.append(row)
        if errors:
            raise Refused(errors)
        return rows

    def _blamed(self, event: Any, values: Values, error: Exception) -> Exception:
        """Return the error with the column's name, which the fast way doesn't know."""
        for name, source in self._sources.items():
            try:
                value = (attrgetter(source) if isinstance(source, str) else source)(event)
                values.of(value.__class__)(value)
            except Exception as error:
                meaning = TableError(f"{self.where}, column {name}: {type(error).__name__}: {error}")
                meaning.__cause__ = error
                return meaning
        return error

    def made(self) -> list[Made]:
        """Return the columns as the annotations have them; ArgumentError where they don't say it."""
        hints = {} if self._kind is None else self._hints(self._kind)
        made: list[Made] = []
        for name, source in self._sources.items():
            if isinstance(source, str):
                hint = hints.get(source, inspect.Parameter.empty)
            elif isinstance(source, type):
                hint = source
            else:
                hint = self._hints(source).get("return", inspect.Parameter.empty)
            kinds, nullable = kinds_of(hint)
            if kinds == {"int", "float"}:
                kinds.remove("int")
            if len(kinds) != 1:
                what = "nothing" if hint is inspect.Parameter.empty else str(hint)
                raise ArgumentError(
                    f"{self.where}, create=True: column {name!r}: its annotation ({what}) doesn't say what kind "
                    "of column it is; annotate it, or create the table yourself"
                )
            if nullable and name in self.key:
                raise ArgumentError(f"{self.where}, key={name!r}: may be None; a key can't be")
            (one,) = kinds
            made.append(Made(name, one, nullable))
        return made

    def _hints(self, of: Any) -> dict[str, Any]:
        try:
            return get_type_hints(of)
        except (NameError, TypeError) as error:
            raise ArgumentError(
                f"{self.where}, create=True: an annotation of {getattr(of, '__name__', of)} can't be resolved "
                f"({error}); create the table yourself"
            ) from error


def check_name(where: str, what: str, name: Any) -> None:
    """Raise ArgumentError for what can't be a name in a database; what can is quoted."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ArgumentError(f"{where}: {name!r} is no name for a {what}")
    if name.lower().startswith(("reactor_", "sqlite_")):
        raise ArgumentError(f"{where}: a {what}'s name can't begin with {name.split('_')[0]}_: {name!r}")


def _fields_of(kind: type[Any]) -> tuple[str, ...] | None:
    """Return the names of the fields; None for a class that hasn't any."""
    if not isinstance(kind, type):
        return None
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    attributes: Any = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return tuple(str(attribute.name) for attribute in attributes)
    named: Any = getattr(kind, "_fields", None)
    return tuple(map(str, named)) if issubclass(kind, tuple) and named else None


def kinds_of(hint: Any) -> tuple[set[Kind], bool]:
    """Return what a value of this annotation may be in a column, and whether it may be None."""
    if hint is None or hint is type(None):
        return set(), True
    origin = get_origin(hint)
    if origin is Annotated or (isinstance(hint, NewType)):
        return kinds_of(hint.__supertype__ if isinstance(hint, NewType) else get_args(hint)[0])
    if origin is Union or origin is types.UnionType:
        every = [kinds_of(each) for each in get_args(hint)]
        return set().union(*(kinds for kinds, _ in every)), any(nullable for _, nullable in every)
    if origin is Literal:
        every = [kinds_of(type(each)) for each in get_args(hint)]
        return set().union(*(kinds for kinds, _ in every)), any(nullable for _, nullable in every)
    cls = origin or hint
    if not isinstance(cls, type) or cls in (object, Any, inspect.Parameter.empty):
        return set(), False
    if issubclass(cls, Enum):
        return set().union(*(kinds_of(type(member.value))[0] for member in cls)), False
    for base in cls.__mro__:
        if base in _KINDS:
            return {_KINDS[base]}, False
    return {"json"}, False
