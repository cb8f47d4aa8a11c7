"""What an event that is kept as JSON values was: enough to make it again, by code that has its class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from reactor.core import CONTRACT


class Kind(msgspec.Struct, frozen=True, omit_defaults=True):
    """A class: by the name and version of its contract, or as ``module:name`` with version 0.

    ``of`` are the kinds of a collection's items: one for all of them, or one for each. Those of a dict are that of
    its keys, and then one for all of its values, or one for each.
    """

    name: str
    version: int = 0
    of: tuple[Kind, ...] = ()


def kind_of(value: Any) -> Kind | None:
    """Return what it is; None for what can't be told."""
    cls = type(value)
    contract = cls.__dict__.get(CONTRACT)
    if contract is not None:
        return Kind(contract.name, contract.version)
    name = f"{cls.__module__}:{cls.__qualname__}"
    if cls in (list, tuple, set, frozenset):
        items = _each(value, one=cls in (list, set, frozenset))
        return None if items is None else Kind(name, of=items)
    if cls is dict:
        keys, values = _each(value, one=True), _each(value.values(), one=True)
        if keys is None or values is None or len(keys) > 1:
            return None
        return Kind(name, of=(*keys, *values))
    return Kind(name)


def _each(items: Iterable[Any], *, one: bool) -> tuple[Kind, ...] | None:
    found: list[Kind] = []
    for item in items:
        kind = kind_of(item)
        if kind is None:
            return None
        found.append(kind)
    if one and found and all(kind == found[0] for kind in found):
        return (found[0],)
    return tuple(found)
