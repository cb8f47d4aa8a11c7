"""What a stage remembers, taken out of its loop when a barrier passes, and put back before it begins.

The variables of a loop are named after their operator: ``s3``, ``held3_o``. Those that are found again from others
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import islice
from typing import Any

from reactor.core import GONE, Saved
from reactor.graph import Graph, Node
from reactor.operators import Ordered
from reactor.windows import Kernel

_NAME = re.compile(r"([a-z]+)(\d+)(_[a-z]*)?")
_FOUND_AGAIN = frozenset({"lo", "hi", "pane", "due", "k", "changed", "noted", "noting", "part", "parts"})


def kind_of(node: Node) -> str:
    """What kind of operator it is, in one word."""
    return node.op.verb or type(node.op).__name__.lower()


def layout_of(node: Node) -> str:
    """What its saved state depends on: one of another layout isn't given to it."""
    kind, layout = kind_of(node), node.op.layout
    return f"{kind}: {layout}" if layout else kind


def identities(graph: Graph) -> dict[Node, str]:
    """What each operator's state is filed under: its name, else its verb and which of them it is."""
    counts: dict[str, int] = {}
    found: dict[Node, str] = {}
    for node in graph.nodes():
        if node.name is not None:
            found[node] = node.name
        else:
            verb = kind_of(node)
            counts[verb] = counts.get(verb, 0) + 1
            found[node] = f"{verb}#{counts[verb]}"
    return found


class Restored:
    """What was saved of one operator."""

    __slots__ = ("again", "held", "own", "rows")

    def __init__(self, rows: Sequence[tuple[Any, Any]], own: Any, held: Any, *, again: bool = False) -> None:
        self.rows = rows
        self.again = again
        """True when all rows have to be saved again: their keys are written in another way now."""
        self.own = own
        self.held = held


class Taken:
    """What one operator remembers as a barrier passes: its rows, what belongs to none, and the events it holds."""

    __slots__ = ("held", "own", "saved")

    def __init__(self, saved: Saved, own: Any = None, held: Any = None) -> None:
        self.saved = saved
        self.own = own
        self.held = held


def _variables(states: dict[str, Any], at: int) -> dict[str, str]:
    """The variables of the loop's operator ``at``, by what remains of their names without its number."""
    found: dict[str, str] = {}
    for name in states:
        match = _NAME.fullmatch(name)
        if match is not None and int(match[2]) == at and match[1] not in _FOUND_AGAIN:
            found[match[1] + (match[3] or "")] = name
    return found


def take(states: dict[str, Any], at: int, *, over: bool = False) -> Taken | None:
    """Return what operator ``at`` of a loop remembers, None for nothing; ``over``: its windows have all fired."""
    variables = _variables(states, at)
    kernel = states.get(f"k{at}")
    if isinstance(kernel, Kernel):
        saved = kernel.saved()
        if over:
            saved = Saved({}, saved.own, complete=True, frozen=True, gone=saved.gone)
        return Taken(saved, (saved.own, {name: states[full] for name, full in variables.items()}))
    if not variables:
        return None
    noted: dict[Any, None] | None = states.get(f"noted{at}")
    saved = Saved({})
    if noted is not None:
        table = states[variables.pop("s")]
        saved = Saved({key: table.get(key, GONE) for key in noted})
        noted.clear()
    held = {name: list(states[full]) for name, full in variables.items() if name.startswith("held")}
    own = {name: states[full] for name, full in variables.items() if name not in held}
    return Taken(saved, own, held if any(held.values()) and not over else None)


def settle(states: dict[str, Any], at: int, most: int, over: int) -> dict[Any, Any]:
    """Where more than ``over`` rows have changed: return ``most`` of them, and count them as saved."""
    kernel = states.get(f"k{at}")
    if isinstance(kernel, Kernel):
        kernel.grown()
        return kernel.some(most) if kernel.changed is not None and kernel.noted > over else {}
    noted: dict[Any, None] | None = states.get(f"noted{at}")
    if noted is None or len(noted) <= over:
        return {}
    table, keys = states[f"s{at}"], list(islice(noted, most))
    for key in keys:
        del noted[key]
    return {key: table.get(key, GONE) for key in keys}


def put_back(states: dict[str, Any], at: int, restored: Restored) -> None:
    """Give operator ``at`` of a loop that hasn't begun what was saved of it."""
    variables = _variables(states, at)
    kernel = states.get(f"k{at}")
    own = restored.own or {}
    if isinstance(kernel, Kernel):
        behind = states[f"due{at}"] - kernel.due
        kernel_own, own = restored.own
        kernel.restore(restored.rows, kernel_own)
        assert kernel.changed is not None
        kernel.changed.clear()
        if restored.again:
            kernel.changed.update((key, None) for key, _ in restored.rows)
        states[f"due{at}"] = kernel.due + behind
    elif f"noted{at}" in states:
        states[variables["s"]].update(_ordered(states[variables["s"]], restored.rows))
        if restored.again:
            states[f"noted{at}"].update((key, None) for key, _ in restored.rows)
    for name, value in (*own.items(), *(restored.held or {}).items()):
        if name in variables:
            states[variables[name]] = value


def remembered(states: dict[str, Any], at: int, key: Any) -> Any:
    """Return what operator ``at`` of a loop remembers of a key (None: of all) now; None for nothing."""
    kernel = states.get(f"k{at}")
    if isinstance(kernel, Kernel):
        return kernel.get(key)
    found = states.get(f"s{at}")
    if isinstance(found, dict):
        return found.get(key)
    return None if isinstance(found, Enum) else found


def _ordered(table: Any, rows: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    return sorted(rows, key=_value) if isinstance(table, Ordered) else rows


def _value(row: tuple[Any, Any]) -> Any:
    return row[1]


__all__ = ["Restored", "Taken", "identities", "layout_of", "put_back", "remembered", "settle", "take"]
