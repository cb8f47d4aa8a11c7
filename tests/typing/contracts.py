"""Contracts: a class under ``@event`` stays its own type, a function under ``@upcast`` its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

import attrs
import msgspec

from reactor import Stream, event, topic, upcast
from reactor.contracts import (
    Avro,
    CloudEvent,
    Contract,
    Json,
    cloudevent,
    compatible,
    contract_of,
    decode,
    load,
    tag,
)


@event("OrderCompleted", version=3)
class OrderCompleted(msgspec.Struct, frozen=True):
    id: str
    total: float


@event("order.paid", formerly="OrderPaid")
@dataclass(frozen=True)
class Paid:
    order: str


@event("order.shipped", formerly=("OrderShipped", "Shipped"))
@attrs.frozen
class Shipped:
    order: str


class First(msgspec.Struct):
    name: str


@upcast(OrderCompleted, from_version=1)
def grow(old: First) -> OrderCompleted:
    return OrderCompleted(old.name, 0)


@upcast(OrderCompleted, from_version=2)
def grow_more(old: dict[str, Any]) -> dict[str, Any]:
    return old


order = OrderCompleted("a", 1.5)
assert_type(order, OrderCompleted)
assert_type(order.total, float)
assert_type(Paid("a").order, str)
assert_type(Shipped("a").order, str)
assert_type(grow(First("a")), OrderCompleted)
assert_type(grow_more({}), dict[str, Any])
assert_type(topic("memory:orders", OrderCompleted, Paid).read(), Stream[OrderCompleted | Paid])
assert_type(contract_of(Paid), Contract[Paid])
assert_type(tag(Paid), tuple[str, int])
assert_type(load("OrderPaid", 1, {}, Paid), Paid)
assert_type(decode(b"{}", "OrderPaid", 1, Paid), Paid)
assert_type(cloudevent(order, source="/shop"), CloudEvent)
assert_type(cloudevent(order, source="/shop").load(OrderCompleted), OrderCompleted)
assert_type(Json(Paid).decode([b""]), list[Paid])
assert_type(Avro(Paid).encode([Paid("a")]), list[bytes])
assert_type(bool(compatible(Paid, Shipped, "full")), bool)

OrderCompleted("a", "b")  # type: ignore[arg-type]
event("A", version="2")  # type: ignore[arg-type]
compatible(Paid, Shipped, "sideways")  # type: ignore[arg-type]
