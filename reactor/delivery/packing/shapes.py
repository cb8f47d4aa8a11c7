"""Classes with declared fields: how their objects are taken apart, and put together without their constructor."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from reactor.core import CONTRACT, StateMismatch
from reactor.delivery.packing.codes import Refused, encode
from reactor.delivery.packing.names import path_of

MISSING: Any = object()
"""Stands for a field that wasn't saved, and takes its default."""

_HASH = "_attrs_cached_hash"  # texts have other hashes in the next process
_NOT_SAVED = frozenset({"__dict__", "__weakref__", "__orig_class__"})
_set = object.__setattr__


class Shape:
    """The fields of a class; subclasses know how its kind of class keeps them."""

    def __init__(self, kind: type, names: Sequence[str]) -> None:
        self.kind = kind
        self.path = path_of(kind)
        self.names = tuple(names)
        contract: Any = vars(kind).get(CONTRACT)
        self.contract = contract if contract is not None and contract.kind is kind else None
        self.stored = self.names if self.contract is None else self.renamed()
        """What the fields are called in the bytes: those of a contract as its payloads have them."""
        self._order = list(self.stored)
        self._known = frozenset(self.names)
        self._all = _getter(self.names)
        self._has_dict = kind.__dictoffset__ != 0
        self._slots = tuple(name for name in _slots(kind) if name not in self._known)
        self.bare = not self._has_dict and not self._slots
        """Nothing but its fields can be kept in an object."""
        # The class, as it is written before each of its objects.
        self.tag: Any = self.path
        if self.contract is not None:
            self.tag = [self.path, self.contract.name, self.contract.version]
        self.opening = b"\x93" + encode(self.tag) + encode(self.stored)

    def renamed(self) -> tuple[str, ...]:
        """Return the names of the fields in payloads."""
        return self.names

    def taken(self, value: Any) -> tuple[Any, ...] | None:
        """Return the values of all fields; None where one has no value."""
        try:
            values: tuple[Any, ...] = self._all(value)
        except AttributeError:
            return None
        return values

    def partly(self, value: Any) -> dict[str, Any]:
        """Return the fields that have a value, by their stored names."""
        found: dict[str, Any] = {}
        for name, stored in zip(self.names, self.stored, strict=True):
            try:
                found[stored] = getattr(value, name)
            except AttributeError:
                if not self.may_lack(name):
                    raise Refused(
                        f"is a {self.kind.__qualname__} whose field {name} has no value", "give it one"
                    ) from None
        return found

    def may_lack(self, name: str) -> bool:
        """Tell whether objects may be without a value for this field."""
        return False

    def besides(self, value: Any) -> dict[str, Any] | None:
        """Return the attributes that aren't fields; None for none."""
        found: dict[str, Any] = {}
        if self._has_dict:
            own = value.__dict__
            if own.keys() != self._known:
                for name, attribute in own.items():
                    if name not in self._known and not self._made_anew(name):
                        found[name] = None if name == _HASH else attribute
        for name in self._slots:
            attribute = getattr(value, name, MISSING)
            if attribute is not MISSING:
                found[name] = None if name == _HASH else attribute
        return found or None

    def _made_anew(self, name: str) -> bool:
        return name in _NOT_SAVED or isinstance(getattr(self.kind, name, None), functools.cached_property)

    def put(self, stored: list[str], values: list[Any], besides: Mapping[str, Any]) -> Any:
        """Return the object; raise StateMismatch where the class has other fields now."""
        if stored != self._order:
            given = dict(zip(stored, values, strict=True))
            values = [given.pop(name, MISSING) for name in self.stored]
            if given:
                raise StateMismatch(
                    f"an object of {self.path} was saved with {_listed(given)}, which the class has no more: "
                    f"to drop it would lose what it holds; keep the field, or {self.way_out()}"
                )
        made = self.make(values)
        for name, value in besides.items():
            self.set(made, name, value)
        return made

    def set(self, made: Any, name: str, value: Any) -> None:
        """Give an object an attribute, frozen or not."""
        _set(made, name, value)

    def make(self, values: list[Any]) -> Any:
        """Return an object with these values, in the order of ``names``."""
        made: Any = object.__new__(self.kind)
        for name, value in zip(self.names, values, strict=True):
            if value is MISSING:
                value = self.default(name, made)
                if value is MISSING:
                    continue
            _set(made, name, value)
        return made

    def default(self, name: str, made: Any) -> Any:
        """Return the value of a field that wasn't saved; MISSING leaves it without one."""
        raise self.lacking(name)

    def lacking(self, name: str) -> StateMismatch:
        """Return the error for a field that has neither a saved value nor a default."""
        return StateMismatch(
            f"an object of {self.path} was saved without {name}, a field without a default; "
            f"give it one, or {self.way_out()}"
        )

    def way_out(self) -> str:
        """Return how to change the class in other ways."""
        if self.contract is None:
            return "declare the class with @event(name, version=2) and how older ones are read with @upcast"
        return (
            f"give {self.contract.name} the version {self.contract.version + 1} and "
            f"@upcast(..., from_version={self.contract.version})"
        )

    def compared(self) -> Callable[[Any], Iterator[tuple[str, Any]]]:
        """Return what gives the fields that ``==`` looks at; raise Refused for an ``==`` that can't be known."""
        raise self.refuse_key()

    def refuse_key(self) -> Refused:
        """Return the error for an ``==`` that can't be known."""
        kind: Any = self.kind
        if kind.__eq__ is object.__eq__:
            what = f"is a {self.kind.__qualname__}, which equals nothing but itself"
        else:
            what = f"is a {self.kind.__qualname__}, whose __eq__ isn't the generated one"
        return Refused(what, "use as key what tells such objects apart: a text, a number, a tuple")


class StructShape(Shape):
    def __init__(self, kind: Any) -> None:
        super().__init__(kind, kind.__struct_fields__)
        fields, defaults = self.names, kind.__struct_defaults__
        needed = set(fields[: len(fields) - len(defaults)])
        for name, default in zip(fields[len(fields) - len(defaults) :], defaults, strict=True):
            if default is msgspec.NODEFAULT:
                needed.add(name)
        self._needed = needed
        self._checked = hasattr(kind, "__post_init__")

    def renamed(self) -> tuple[str, ...]:
        kind: Any = self.kind
        names: tuple[str, ...] = kind.__struct_encode_fields__
        return names

    def set(self, made: Any, name: str, value: Any) -> None:
        msgspec.structs.force_setattr(made, name, value)

    def make(self, values: list[Any]) -> Any:
        given = {n: v for n, v in zip(self.names, values, strict=True) if v is not MISSING}
        for name in self._needed - given.keys():
            raise self.lacking(name)
        try:
            made = self.kind(**given)
        except Exception as error:
            raise StateMismatch(
                f"an object of {self.path} was saved that its __post_init__ now refuses ({error}); "
                f"let it accept what it did, or {self.way_out()}"
            ) from error
        if self._checked:
            # What __post_init__ makes of a value once isn't what it makes of it twice.
            for name, value in given.items():
                self.set(made, name, value)
        return made

    def compared(self) -> Callable[[Any], Iterator[tuple[str, Any]]]:
        kind: Any = self.kind
        if kind.__eq__ is not msgspec.Struct.__eq__ or not kind.__struct_config__.eq:
            raise self.refuse_key()
        return self._named

    def _named(self, value: Any) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(value, name)) for name in self.names)


class DataclassShape(Shape):
    def __init__(self, kind: Any) -> None:
        self._fields = {field.name: field for field in dataclasses.fields(kind)}
        super().__init__(kind, tuple(self._fields))

    def may_lack(self, name: str) -> bool:
        return not self._fields[name].init

    def default(self, name: str, made: Any) -> Any:
        field: dataclasses.Field[Any] = self._fields[name]
        if field.default is not dataclasses.MISSING:
            return field.default
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        if field.init:
            raise self.lacking(name)
        return MISSING

    def compared(self) -> Callable[[Any], Iterator[tuple[str, Any]]]:
        owner = _equality(self.kind, "<string>")
        if owner is None or not dataclasses.is_dataclass(owner):
            raise self.refuse_key()
        names = [field.name for field in dataclasses.fields(owner) if field.compare]
        return lambda value: ((name, getattr(value, name)) for name in names)


class AttrsShape(Shape):
    def __init__(self, kind: Any) -> None:
        self._fields: dict[str, Any] = {field.name: field for field in kind.__attrs_attrs__}
        super().__init__(kind, tuple(self._fields))

    def may_lack(self, name: str) -> bool:
        return not self._fields[name].init

    def default(self, name: str, made: Any) -> Any:
        field = self._fields[name]
        default = field.default
        if type(default).__name__ == "Factory" and hasattr(default, "takes_self"):
            return default.factory(made) if default.takes_self else default.factory()
        if type(default).__name__ == "_Nothing":
            if field.init:
                raise self.lacking(name)
            return MISSING
        return default

    def compared(self) -> Callable[[Any], Iterator[tuple[str, Any]]]:
        owner: Any = _equality(self.kind, "<attrs generated")
        if owner is None:
            raise self.refuse_key()
        chosen = [(field.name, field.eq_key) for field in owner.__attrs_attrs__ if field.eq]

        def compared(value: Any) -> Iterator[tuple[str, Any]]:
            for name, key in chosen:
                one = getattr(value, name)
                yield name, one if key is None else key(one)

        return compared


class TupleShape(Shape):
    """Named tuples."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind, kind._fields)

    def taken(self, value: Any) -> tuple[Any, ...] | None:
        return tuple(tuple.__iter__(value))

    def make(self, values: list[Any]) -> Any:
        kind: Any = self.kind
        for place, name in enumerate(self.names):
            if values[place] is MISSING:
                if name not in kind._field_defaults:
                    raise self.lacking(name)
                values[place] = kind._field_defaults[name]
        return tuple.__new__(self.kind, values)


def shape_of(kind: Any) -> Shape | None:
    """Return the shape of a class; None where it declares no fields. Raise Refused where they aren't all of it."""
    if isinstance(kind, msgspec.StructMeta):
        return StructShape(kind)
    holds: type | None = None
    shape: type[Shape]
    if hasattr(kind, "__dataclass_fields__"):
        shape = DataclassShape
    elif isinstance(getattr(kind, "__attrs_attrs__", None), tuple):
        shape = AttrsShape
    elif issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        shape, holds = TupleShape, tuple
    else:
        return None
    for parent in kind.__mro__:
        if parent is not object and parent is not holds and not parent.__flags__ & 1 << 9:
            raise Refused(
                f"is a {kind.__qualname__}, which extends {parent.__name__}: that holds more than its fields",
                "let it have a field instead",
            )
    return shape(kind)


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda value: ()
    get: Callable[[Any], Any] = operator.attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


def _slots(kind: type) -> Iterator[str]:
    for parent in kind.__mro__:
        slots: Any = vars(parent).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in _NOT_SAVED:
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{parent.__name__.lstrip('_')}{name}" if private else name


def _equality(kind: type, generated: str) -> type | None:
    """Return the class whose generated ``==`` this class has; None where it was written by hand."""
    for parent in kind.__mro__:
        if "__eq__" in vars(parent):
            code = getattr(vars(parent)["__eq__"], "__code__", None)
            return parent if code is not None and code.co_filename.startswith(generated) else None
    return None


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names)
