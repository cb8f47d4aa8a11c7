"""From the JSON values of a dead letter back to the event that the operator was given."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from reactor.contracts import ContractError, loader
from reactor.delivery import Kind

_COLLECTIONS: dict[str, Any] = {
    f"builtins:{kind.__name__}": kind for kind in (list, tuple, set, frozenset, dict)
}


class Unmakeable(Exception):
    """Why an event can't be made again."""


def made(plain: Any, kind: Kind, main: str | None) -> Any:
    """Return the event of this kind; older versions of a contract are upcast.

    Classes are looked up in the modules that are loaded, nothing is imported. ``main`` is the module that is meant
    where a class was one of a program's own (``__main__``). Raises Unmakeable.
    """
    if kind.name == "builtins:NoneType":
        return None
    collection = _COLLECTIONS.get(kind.name)
    if collection is dict:
        if not kind.of:
            return {}
        key, *values = kind.of
        each = values * len(plain) if len(values) == 1 else values
        pairs = zip(plain.items(), each, strict=True)
        return {_scalar(name, key, main): made(value, its, main) for (name, value), its in pairs}
    if collection is not None:
        kinds = kind.of * len(plain) if collection is not tuple and len(kind.of) == 1 else kind.of
        return collection(made(value, its, main) for value, its in zip(plain, kinds, strict=True))
    try:
        if kind.version:
            return loader(kind.name, kind.version)(plain)
        return msgspec.convert(plain, _class(kind.name, main), str_keys=True)
    except (ContractError, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise Unmakeable(f"{kind.name.rpartition(':')[2]}: {error}") from error


def _scalar(text: str, kind: Kind, main: str | None) -> Any:
    """The key of a dict, which JSON has as a text."""
    try:
        return msgspec.convert(text, _class(kind.name, main), strict=False)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise Unmakeable(f"the key {text!r}: {error}") from error


def _class(name: str, main: str | None) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(main if module == "__main__" and main is not None else module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise Unmakeable(
            f"{name} is no class that is loaded; import its module, or give it a name of its own with @event"
        )
    return found
