"""A type with a bit of everything, and its values."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from reactor.contracts import event


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Card(msgspec.Struct, tag=True):
    number: str


class Transfer(msgspec.Struct, tag=True):
    number: str


@dataclass
class Item:
    sku: str
    price: Decimal
    tags: list[str]


@event("Rich", version=2)
class Rich(msgspec.Struct):
    id: UUID
    amount: int
    rate: float
    paid: bool
    raw: bytes
    at: datetime
    day: date
    hour: time
    took: timedelta
    price: Decimal
    colour: Colour
    size: Literal["s", "m"]
    pair: tuple[int, str]
    items: list[Item]
    by: Card | Transfer
    counts: dict[str, int]
    places: dict[int, Item]
    note: str | None
    first: Item | None
    value: int | str
    grid: list[list[int]]
    gaps: list[int | None]
    maybe: list[int] | None = None
    other: Card | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] = 7
    kinds: set[int] = msgspec.field(default_factory=set)


_ints = st.integers(-(2**63), 2**63 - 1)
_texts = st.text(max_size=4)
_items = st.builds(
    Item, _texts, st.decimals(allow_nan=False, allow_infinity=False, places=2), st.lists(_texts, max_size=2)
)
_cards = st.builds(Card, _texts)
_values: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids(),
    "amount": _ints,
    "rate": st.floats(allow_nan=False, allow_infinity=False),
    "paid": st.booleans(),
    "raw": st.binary(max_size=4),
    "at": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    "day": st.dates(),
    "hour": st.times(),
    "took": st.timedeltas(timedelta(-9), timedelta(9)),
    "price": st.decimals(allow_nan=False, allow_infinity=False, places=2),
    "colour": st.sampled_from(Colour),
    "size": st.sampled_from(["s", "m"]),
    "pair": st.tuples(_ints, _texts),
    "items": st.lists(_items, max_size=2),
    "by": _cards | st.builds(Transfer, _texts),
    "counts": st.dictionaries(_texts, _ints, max_size=2),
    "places": st.dictionaries(_ints, _items, max_size=2),
    "note": st.none() | _texts,
    "first": st.none() | _items,
    "value": _ints | _texts,
    "grid": st.lists(st.lists(_ints, max_size=2), max_size=2),
    "gaps": st.lists(st.none() | _ints, max_size=3),
    "maybe": st.none() | st.lists(_ints, max_size=2),
    "other": st.none() | _cards,
    "limit": st.integers(0, 9),
    "kinds": st.sets(_ints, max_size=2),
}
RICH = st.builds(Rich, **_values)
