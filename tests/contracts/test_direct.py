"""Protobuf's short way gives what the long one gives, and leaves to it what is out of the ordinary."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given

from reactor.contracts import PayloadMismatch, Protobuf
from reactor.contracts.direct import plain
from reactor.core import ArgumentError
from tests.contracts.rich import RICH, Rich
from tests.engine.graphs import examples


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Line:
    sku: str
    price: Decimal
    counts: dict[str, int] = field(default_factory=dict)


class Tagged(msgspec.Struct, tag=True):
    id: UUID


class Order(msgspec.Struct, rename="camel"):
    order_id: str
    at: datetime
    lines: list[Line]
    colour: Colour
    level: Level
    size: Literal["s", "m"]
    tagged: Tagged
    note: str | None
    first: Line | None = None
    extra: int = 7
    by_name: dict[str, Line] = {}
    tags: list[str] = []


AT = datetime(2026, 12, 1, 2, 3, 4, 567890, UTC)
ONE = Order(
    *("a", AT, [Line("x", Decimal("1.50"), {"b": 2}), Line("y", Decimal(0))], Colour.BLUE, Level.LOW, "m"),
    *(Tagged(UUID(int=7)), None, Line("z", Decimal(3)), 0, {"k": Line("w", Decimal("9"))}, ["t", ""]),
)
TWO = Order("", AT, [], Colour.RED, Level.LOW, "s", Tagged(UUID(int=0)), "")


def _long(codec: Protobuf[Any]) -> tuple[Any, Any]:
    """Writing and reading without the short way."""
    return (
        lambda event: codec._class(**codec._to(plain(event))).SerializeToString(),
        lambda data: msgspec.convert(
            codec._back(codec._class.FromString(data)), codec.kind, str_keys=codec._keys
        ),
    )


def _same(codec: Protobuf[Any], event: Any) -> None:
    write, read = _long(codec)
    (data,) = codec.encode([event])
    assert codec._class.FromString(data) == codec._class.FromString(write(event))
    assert codec.decode([data]) == [event] == [read(data)]


@pytest.mark.parametrize("event", [ONE, TWO])
def test_both_ways_say_the_same(event: Order) -> None:
    codec = Protobuf(Order)
    # It is the short way that is looked at here.
    assert codec._make(codec._class(**codec._take(event))) == event
    _same(codec, event)


@examples()
@given(RICH)
def test_both_ways_say_the_same_of_a_bit_of_everything(event: Rich) -> None:
    _same(Protobuf(Rich), event)


def test_what_the_short_way_leaves_is_told_by_the_long_one() -> None:
    codec = Protobuf(Order)
    made = codec._class.FromString(codec.encode([ONE])[0])
    made.colour = "green"
    with pytest.raises(PayloadMismatch, match=r"payload 0: .*Invalid enum value 'green' - at `\$\.colour`"):
        codec.decode([made.SerializeToString()])
    made.colour = "red"
    made.ClearField("at")
    with pytest.raises(PayloadMismatch, match="missing required field `at`"):
        codec.decode([made.SerializeToString()])
    with pytest.raises(ArgumentError, match="no time zone"):
        codec.encode([msgspec.structs.replace(ONE, at=AT.replace(tzinfo=None))])
    with pytest.raises(ArgumentError, match="event 0: can't be encoded"):
        codec.encode([msgspec.structs.replace(ONE, order_id=5)])


def test_bounds_are_checked() -> None:
    class Bounded(msgspec.Struct):
        age: Annotated[int, msgspec.Meta(ge=0)]
        names: Annotated[list[str], msgspec.Meta(max_length=1)]

    codec = Protobuf(Bounded)
    (bad,) = codec.encode([Bounded(-1, [])])
    with pytest.raises(PayloadMismatch, match=r"`\$\.age`"):
        codec.decode([bad])
    (bad,) = codec.encode([Bounded(1, ["a", "b"])])
    with pytest.raises(PayloadMismatch, match=r"`\$\.names`"):
        codec.decode([bad])


def test_classes_that_are_not_made_by_their_fields_go_the_long_way() -> None:
    @dataclass
    class Computed:
        price: int
        total: int = field(init=False, default=0)

    class Sparse(msgspec.Struct, omit_defaults=True):
        id: str = "none"

    one = Computed(2)
    one.total = 9
    assert Protobuf(Computed).decode(Protobuf(Computed).encode([one])) == [one]
    assert Protobuf(Sparse).encode([Sparse()]) == [b""]
    assert Protobuf(Sparse).decode([b""]) == [Sparse()]


def test_what_is_checked_after_reading_is_checked() -> None:
    class Positive(msgspec.Struct):
        amount: int

        def __post_init__(self) -> None:
            if self.amount < 0:
                raise ValueError("below 0")

    codec = Protobuf(Positive)
    message = codec._class(amount=-1)
    with pytest.raises(PayloadMismatch, match="below 0"):
        codec.decode([message.SerializeToString()])


def test_each_event_gets_defaults_of_its_own() -> None:
    class Bag(msgspec.Struct):
        id: str
        inner: Line = msgspec.field(default_factory=lambda: Line("x", Decimal(1)))

    codec = Protobuf(Bag)
    first, second = codec.decode([codec._class(id="a").SerializeToString()] * 2)
    assert first == second
    assert first.inner is not second.inner
