"""Contracts as they are declared: ``@event`` names a class's, ``@upcast`` brings older payloads on."""

from __future__ import annotations

import builtins
import dataclasses
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Generic, TypeVar, cast, get_origin
from weakref import WeakValueDictionary

import msgspec

from reactor.contracts.errors import MissingUpcaster, NewerVersion, UpcastFailed, mismatch, titled
from reactor.core import CONTRACT, ArgumentError, name_of

T = TypeVar("T")
C = TypeVar("C", bound="type[Any]")
F = TypeVar("F", bound="Callable[[Any], Any]")

_PLAIN = (dict, list, tuple, str, int, float, bool, type(None))
_ANYTHING: tuple[object, ...] = (Any, object, dict, list, Mapping, MutableMapping, inspect.Parameter.empty)


@dataclasses.dataclass(frozen=True, slots=True)
class Upcaster:
    """A function to the next version's payload; ``payload`` is the type that it takes, None: plain values."""

    function: Callable[[Any], Any]
    payload: Any
    place: str


class Contract(Generic[T]):
    """A class, the name and version that its events carry, and the upcasters from older versions."""

    def __init__(
        self, kind: type[T], name: str, version: int, formerly: tuple[str, ...] = (), place: str = ""
    ) -> None:
        self.kind = kind
        self.name = name
        self.version = version
        self.formerly = formerly
        """Names under which older events of it were stored."""
        self.place = place
        """Where it was declared."""
        self.upcasters: dict[int, Upcaster] = {}
        """By the version that each takes."""

    def __repr__(self) -> str:
        return (
            f"<contract {self.name}, version {self.version}: {getattr(self.kind, '__qualname__', self.kind)}>"
        )

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.formerly)

    @property
    def missing(self) -> tuple[int, ...]:
        """The older versions that have no upcaster."""
        return tuple(version for version in range(1, self.version) if version not in self.upcasters)

    def load(self, plain: Any, version: int) -> T:
        """Return the event that plain values (as JSON has them) of a version are; upcasters may change those.

        Raises NewerVersion, MissingUpcaster, UpcastFailed, PayloadMismatch.
        """
        name, value = self.name, plain
        if version > self.version:
            raise newer(name, version, self.version)
        kind = get_origin(self.kind) or self.kind
        for step in range(version, self.version):
            upcaster = self.upcasters.get(step)
            if upcaster is None:
                raise MissingUpcaster(
                    f"{name}: the payload is of version {version}, and nothing brings version {step} to "
                    f"{step + 1}; declare @upcast({kind.__name__}, from_version={step})",
                    name,
                    step,
                )
            value = _given(value, upcaster, name, step)
            try:
                value = upcaster.function(value)
            except Exception as error:
                raise UpcastFailed(
                    f"{name}: the upcaster from version {step} ({upcaster.place}) raised "
                    f"{type(error).__name__}: {error}; mend it, or the payload",
                    name,
                    step,
                ) from error
            if value is None:
                raise UpcastFailed(
                    f"{name}: the upcaster from version {step} ({upcaster.place}) returned None; "
                    f"let it return the payload of version {step + 1}",
                    name,
                    step,
                )
        if value is not plain and isinstance(value, kind):
            return value
        upcast = f"upcast from version {version}: " if version < self.version else ""
        try:
            return convert(value, self.kind)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise mismatch(error, name, self.version, upcast) from error


def _given(value: Any, upcaster: Upcaster, name: str, version: int) -> Any:
    """What the upcaster takes: an object of the type that it names, or plain values."""
    try:
        if upcaster.payload is None:
            return value if isinstance(value, _PLAIN) else plain_of(value)
        if isinstance(upcaster.payload, type) and isinstance(value, upcaster.payload):
            return value
        return convert(value, upcaster.payload)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise mismatch(error, name, version, "on its way to the current version: ") from error


def convert(value: Any, kind: type[T]) -> T:
    """Plain values, with objects among them where an upcaster has put some, as an object of the type."""
    return msgspec.convert(value, kind, str_keys=True, from_attributes=True)


def plain_of(value: object) -> Any:
    """Return the value as JSON would have it, without the text."""
    return msgspec.to_builtins(value, str_keys=True)


def newer(name: str, version: int, known: int) -> NewerVersion:
    """Return the error of a payload that newer code has written."""
    return NewerVersion(
        f"{titled(name, version)}: the newest that this code knows is version {known}; deploy the code that "
        "knows it, then replay",
        name,
        version,
    )


# Declared -----------------------------------------------------------------------------------------------------

_declared: dict[str, WeakValueDictionary[int, Contract[Any]]] = {}


def event(name: str, version: int = 1, *, formerly: str | Iterable[str] = ()) -> Callable[[C], C]:
    """Name the contract of a msgspec Struct, dataclass or attrs class: what its events are called when stored.

    ``version`` counts up with each change that payloads of the version before don't fit; ``@upcast`` brings
    those on. ``formerly`` are names that the same events had before. The class itself stays as it is. Raises
    ArgumentError for a name and version that another class has.
    """
    call = f"event({name!r}, version={version!r})"
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ArgumentError(f"{call}: the name is a text, for example OrderCompleted")
    if type(version) is not int or version < 1:
        raise ArgumentError(f"{call}: versions are ints from 1 on")
    older = (formerly,) if isinstance(formerly, str) else tuple(formerly)
    for one in older:
        if not isinstance(one, str) or not one or one == name:
            raise ArgumentError(f"{call}: formerly={one!r}: the other names that it had")

    def declare(kind: C) -> C:
        if not isinstance(kind, type):
            raise ArgumentError(f"{call}: stands above a class, not {kind!r}")
        fields = isinstance(kind, msgspec.StructMeta) or dataclasses.is_dataclass(kind)
        if not fields and "__attrs_attrs__" not in kind.__dict__:
            raise ArgumentError(
                f"{call}: {kind.__qualname__} isn't a msgspec.Struct, a dataclass or an attrs class; "
                "@event stands above @dataclass"
            )
        frame = sys._getframe(1)
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        contract = Contract(cast("type[Any]", kind), name, version, older, place)
        others = _declared.setdefault(name, WeakValueDictionary())
        other = others.get(version)
        if other is not None and not _again(other, contract):
            raise ArgumentError(
                f"{call}: {_named(contract)} has the name and version of {_named(other)}; "
                "give the newer one the next version"
            )
        setattr(kind, CONTRACT, contract)
        others[version] = contract
        return kind

    return declare


def upcast(
    kind: type[Any], *, from_version: int, payload: builtins.type[Any] | None = None
) -> Callable[[F], F]:
    """Declare the function that turns a payload of ``from_version`` into one of the version after it.

    It is given plain values (a dict, as JSON has it), or an object of the type that its parameter is annotated
    with (or ``payload=``). It returns plain values, an object of the next version, or the event itself. Raises
    ArgumentError for a class without ``@event``, and for a second upcaster from the same version.
    """
    title = f"upcast({getattr(kind, '__name__', kind)}, from_version={from_version!r})"
    contract = getattr(kind, "__dict__", {}).get(CONTRACT)
    if contract is None:
        raise ArgumentError(f"{title}: the class has no contract; put @event(name, version=...) above it")
    if type(from_version) is not int or not 1 <= from_version < contract.version:
        raise ArgumentError(f"{title}: versions before {contract.version}, from 1 on")

    def declare(function: F) -> F:
        code: types.CodeType | None = getattr(function, "__code__", None)
        place = f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
        other = contract.upcasters.get(from_version)
        if other is not None and other.place != place:
            raise ArgumentError(f"{title}: {place} is the second; the first is {other.place}")
        taken = payload if payload is not None else _annotated(function, title)
        contract.upcasters[from_version] = Upcaster(function, taken, place)
        return function

    return declare


def _annotated(function: Callable[[Any], Any], title: str) -> Any:
    """The type that its parameter is annotated with; None for plain values."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None  # one of C, which says nothing of itself
    if not parameters:
        raise ArgumentError(f"{title}: {function!r} takes no payload")
    annotation: Any = parameters[0].annotation
    if isinstance(annotation, str):
        try:
            known = inspect.getclosurevars(inspect.unwrap(function))
            annotation = eval(annotation, {**vars(builtins), **known.globals}, dict(known.nonlocals))
        except Exception:
            annotation = _looked_up(annotation, function, title)
    return None if annotation in _ANYTHING or get_origin(annotation) in _ANYTHING else annotation


def _looked_up(annotation: str, function: Callable[[Any], Any], title: str) -> Any:
    try:
        return eval(annotation, dict(getattr(inspect.unwrap(function), "__globals__", {})))
    except Exception as error:
        raise ArgumentError(
            f"{title}: its parameter is annotated with {annotation!r}, which can't be looked up ({error}); "
            "pass payload= (the type)"
        ) from error


def _again(one: Contract[Any], other: Contract[Any]) -> bool:
    """Whether it is the same class, made anew: a module imported twice or reloaded, a cell run again."""

    def names(contract: Contract[Any]) -> tuple[str, str]:
        return contract.kind.__module__, contract.kind.__qualname__

    return one.place == other.place or names(one) == names(other)


def _named(contract: Contract[Any]) -> str:
    return f"{contract.kind.__module__}.{contract.kind.__qualname__} ({contract.place})"


# Found --------------------------------------------------------------------------------------------------------


def contract_of(kind: type[T]) -> Contract[T]:
    """Return the contract of a class; one without ``@event`` has version 1 of its own name.

    Raises ArgumentError where ``@event`` stands below a decorator that made the class anew.
    """
    origin: Any = get_origin(kind) or kind
    found: Contract[Any] | None = getattr(origin, "__dict__", {}).get(CONTRACT)
    if found is None:
        return Contract(kind, name_of(origin), 1)
    if found.kind is not origin:
        raise ArgumentError(
            f"{origin.__qualname__}: @event stands below a decorator that makes the class anew; "
            "put it on top of them all"
        )
    if origin is kind:
        return cast("Contract[T]", found)
    special = Contract(kind, found.name, found.version, found.formerly, found.place)
    special.upcasters = found.upcasters
    return special


def newest(name: str) -> Contract[Any] | None:
    """Return the contract of this name with the highest version, among all classes that there are."""
    found = _declared.get(name)
    if found:
        versions = list(found)
        if versions:
            return found.get(max(versions))
    for others in list(_declared.values()):
        for contract in list(others.values()):
            if name in contract.formerly:
                return newest(contract.name)
    return None
