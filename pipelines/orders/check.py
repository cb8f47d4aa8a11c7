"""One line of the reconciliation's table: what was expected, what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipelines.orders.events import grouped


@dataclass(frozen=True)
class Check:
    """One line of the table: what was expected, what was found, which invoices differ."""

    part: str
    what: str
    expected: str
    found: str
    differing: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return self.expected == self.found and not self.differing


def amounts_of(expected: Mapping[Any, Decimal], found: Mapping[Any, Decimal]) -> tuple[str, str]:
    return grouped(sum(expected.values(), Decimal(0))), grouped(sum(found.values(), Decimal(0)))


def counts(expected: int, found: int) -> tuple[str, str]:
    return f"{expected:,}", f"{found:,}"


def differing_of(invoices: set[str]) -> tuple[str, ...]:
    shown = sorted(invoices)[:5]
    return (*shown, f"and {len(invoices) - 5:,} more") if len(invoices) > 5 else tuple(shown)
