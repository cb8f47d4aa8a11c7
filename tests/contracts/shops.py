"""One event in three versions, as code that grew would have it."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.contracts import event, upcast


class Line(msgspec.Struct):
    sku: str
    price: float


@event("OrderSettled")
class First(msgspec.Struct):
    id: str
    total: float


@event("OrderSettled", version=2)
class Second(msgspec.Struct):
    id: str
    lines: list[Line]


@event("OrderSettled", version=3)
class OrderSettled(msgspec.Struct):
    id: str
    lines: list[Line]
    currency: str


@upcast(OrderSettled, from_version=1)
def with_lines(old: First) -> Second:
    return Second(old.id, [Line("unknown", old.total)])


@upcast(OrderSettled, from_version=2)
def with_currency(old: dict[str, Any]) -> dict[str, Any]:
    old["currency"] = "EUR"
    return old


FIRST = {"id": "a", "total": 9.5}
SECOND = {"id": "b", "lines": [{"sku": "x", "price": 2.0}]}
THIRD = {"id": "c", "lines": [], "currency": "CHF"}

EVENTS = [
    OrderSettled("a", [Line("unknown", 9.5)], "EUR"),
    OrderSettled("b", [Line("x", 2.0)], "EUR"),
    OrderSettled("c", [], "CHF"),
]
"""What the three payloads are today."""
