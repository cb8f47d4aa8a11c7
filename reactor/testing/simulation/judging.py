"""What a disturbed run has to have in common with an undisturbed one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from reactor.core import Record
from reactor.delivery import DeadLetter
from reactor.testing.simulation.ends import TableKept
from reactor.testing.simulation.running import Simulated

_SHOWN = 5


def judge(calm: Simulated, got: Simulated) -> list[str]:
    """Return what is wrong with the disturbed run; nothing, if all is well."""
    wrong = list(got.wrong)
    if wrong:  # it didn't come to its end: what is missing says nothing
        return wrong
    for name, table in calm.tables.items():
        kept = got.kept.get((TableKept, name), TableKept())
        rows = got.tables.get(name, [])
        wrong += _lacks(f"table {name!r}", table, rows)
        wrong += _alien(f"table {name!r}", table, rows, exact=kept.exact)
        if kept.exact and kept.key is not None and not wrong:
            wrong += _misplaced(name, kept.key, table, rows)
    for name, sink in calm.sinks.items():
        wrong += _lacks(f"sink {name!r}", sink, got.sinks.get(name, []))
        wrong += _alien(f"sink {name!r}", sink, got.sinks.get(name, []), exact=False)
    for name, letters in calm.letters.items():
        where, found = f"dead letters {name!r}", got.letters.get(name, {})
        wanted, come = [_shown(one) for one in letters.values()], [_shown(one) for one in found.values()]
        wrong += _lacks(where, wanted, come)
        wrong += _alien(where, wanted, come, exact=False)
        # Without a position of its origin a letter's id isn't the same when it is stored again.
        lasting = [_shown(one) for one in found.values() if _lasts(one)]
        more = Counter(lasting) - Counter(wanted)
        if more and not wrong:
            wrong.append(f"{where} has too many: {_some(more)}")
    return wrong


def _shown(letter: DeadLetter) -> str:
    return f"{letter.operator}: {letter.event!r}"


def _lasts(letter: DeadLetter) -> bool:
    return isinstance(letter.origin, Record) and letter.origin.position is not None


def _lacks(where: str, wanted: Sequence[Any], found: Sequence[Any]) -> list[str]:
    lost = Counter(map(repr, wanted)) - Counter(map(repr, found))
    return [f"{where} lacks {_some(lost)}"] if lost else []


def _alien(where: str, wanted: Sequence[Any], found: Sequence[Any], *, exact: bool) -> list[str]:
    expected = Counter(map(repr, wanted))
    more = Counter(map(repr, found)) - expected
    if not exact:
        more = Counter({row: count for row, count in more.items() if row not in expected})
    return [f"{where} has what it shouldn't: {_some(more)}"] if more else []


def _misplaced(
    name: str, key: Callable[[Any], Any], wanted: Sequence[Any], found: Sequence[Any]
) -> list[str]:
    orders: tuple[dict[Any, list[str]], dict[Any, list[str]]] = ({}, {})
    for order, rows in zip(orders, (wanted, found), strict=True):
        for row in rows:
            order.setdefault(key(row), []).append(repr(row))
    for of, rows in orders[0].items():
        other = orders[1].get(of, [])
        if rows != other:
            at = next(n for n, (a, b) in enumerate(zip(rows, other, strict=True)) if a != b)
            return [f"table {name!r}, key {of!r}: row {at} is {other[at]}, and should be {rows[at]}"]
    return []


def _some(rows: Counter[str]) -> str:
    shown = [row if count == 1 else f"{row} ({count} times)" for row, count in rows.items()]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
