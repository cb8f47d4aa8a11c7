"""Values of every kind that state may hold, and what it means that two are the same."""

from __future__ import annotations

import enum
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
from hypothesis import strategies as st

from reactor.core import Record

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    BLUE = (2, "b")
    CRIMSON = 1  # noqa: PIE796 - an alias


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Letter(enum.StrEnum):
    A = "a"
    B = "b"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclass
class Basket(Generic[T]):
    items: list[T]
    total: Any = 0


@dataclass(frozen=True, slots=True)
class Line:
    sku: Any
    amount: Any = 1


@dataclass(frozen=True)
class Noted:
    id: Any
    note: Any = field(default="", compare=False)


class Order(msgspec.Struct, Generic[T]):
    id: Any
    lines: Any = ()


class Fixed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: Any
    customer_id: Any = None


@attrs.define
class Cart:
    owner: Any
    _held: Any = None


@attrs.frozen(slots=False, cache_hash=True)
class Ticket:
    seat: Any
    row: Any = attrs.field(default=1, eq=str)


ZONES = (None, UTC, timezone(timedelta(hours=-3, microseconds=7)), timezone(timedelta(hours=1), "CET"))
BERLIN, PARIS = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris")
zones = st.sampled_from((*ZONES, BERLIN, ZoneInfo("UTC"), ZoneInfo("Australia/Lord_Howe")))
texts = st.text(st.characters(exclude_categories=()), max_size=8)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    texts,
    st.binary(max_size=8),
    st.complex_numbers(),
    st.decimals()
    | st.sampled_from((Decimal("-0"), Decimal("sNaN12"), Decimal("1.50"), Decimal("1E+999999"))),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=zones),
    st.datetimes().map(lambda moment: moment.replace(fold=1)),
    st.times(timezones=zones),
    st.timedeltas(),
    zones.filter(bool),
    st.sampled_from((*Colour, *Level, *Letter, Rights.READ | Rights.WRITE, Rights(0))),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from((1, -1, 2, -3))),
    st.sampled_from(("a", "/a/b", ".", "a\udc80")).flatmap(
        lambda path: st.sampled_from((PosixPath(path), PurePosixPath(path), PureWindowsPath(path)))
    ),
    st.just(msgspec.UNSET),
)


# Hypothesis names a strategy in its errors: these have short names, whatever they are made of.
@st.composite
def scalar(draw: st.DrawFn) -> Any:
    return draw(_scalars)


@st.composite
def hashable(draw: st.DrawFn) -> Any:
    return draw(_hashables)


@st.composite
def any_value(draw: st.DrawFn) -> Any:
    return draw(_values)


scalars, hashables, values = scalar(), hashable(), any_value()


def _hashable(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Line, inner, inner),
        st.builds(Noted, inner, inner),
        st.builds(Fixed, order_id=inner, customer_id=inner),
        st.builds(Ticket, inner, st.integers() | texts),
    )


_hashables = st.recursive(
    # The hash of a signalling NaN is an error: it is in no dict.
    scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    _hashable,
    max_leaves=6,
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(hashables, inner), max_size=3)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=3),
        pairs.map(dict),
        pairs.map(OrderedDict),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.builds(deque, st.lists(inner, max_size=4), st.sampled_from((None, 4, 9))),
        st.builds(defaultdict, st.sampled_from((None, list, dict, set, int, float, str)), pairs),
        pairs.map(lambda found: Counter(dict(found))),
        st.binary(max_size=4).map(bytearray),
        st.builds(Record, inner, key=st.none() | texts, time=st.none() | st.integers()),
        st.builds(Basket, st.lists(inner, max_size=3), inner),
        st.builds(Line, inner, inner),
        st.builds(Order, inner, inner),
        st.builds(Fixed, order_id=inner, customer_id=inner),
        st.builds(Cart, inner, inner),
        st.builds(Ticket, inner, st.integers() | texts),
        st.builds(Point, inner, inner),
    )


_values = st.recursive(scalars, _nested, max_leaves=12)

NAIVE = datetime(2025, 6, 1, 10)  # noqa: DTZ001
MOMENT = datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN)  # an hour that comes twice
ALIKE: tuple[Any, ...] = (
    *(0, 0.0, -0.0, False, 0j, Decimal("-0"), 1, 1.0, True, Decimal("1.0"), Fraction(1), 1 + 0j),
    *(Level.LOW, Level.HIGH, 2, Decimal(2), 10**30, 1e30, Decimal("1e30"), Decimal(10) ** 30),
    *(0.5, Decimal("0.50"), Fraction(1, 2), complex(0.5, -0.0), 0.1, Decimal("0.1"), Fraction(1, 10)),
    *(
        5e-324,
        Fraction(5e-324),
        Decimal("1e-400"),
        Fraction(1, 10**400),
        2**64,
        -(2**63) - 1,
        2.0**64,
    ),
    *(float("inf"), Decimal("inf"), float("-inf"), 1j, complex(0.0, 1), complex(-0.0, 1), None),
    *("a", b"a", Letter.A, Letter.B, "b", "A", "\ud800", Colour.RED, Colour.BLUE, "RED", Rights.READ),
    *(MOMENT, MOMENT.replace(fold=1), MOMENT.astimezone(UTC), MOMENT.replace(tzinfo=PARIS)),
    *(MOMENT.replace(fold=1).astimezone(UTC), MOMENT.replace(tzinfo=None)),
    *(datetime(2025, 6, 1, 12, tzinfo=BERLIN), datetime(2025, 6, 1, 12, tzinfo=PARIS)),
    *(datetime(2025, 6, 1, 10, tzinfo=UTC), NAIVE, date(2025, 6, 1)),
    *(NAIVE.replace(fold=1), NAIVE.replace(hour=0)),
    *(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=n))) for n in (1, 2)),
    datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    *(
        time(10, tzinfo=UTC),
        time(11, tzinfo=timezone(timedelta(hours=1))),
        time(10),
        time(10, fold=1),
    ),
    *(time(1, tzinfo=timezone(timedelta(hours=2))), time(23, tzinfo=UTC), time(10, tzinfo=BERLIN)),
    *(UTC, timezone(timedelta(0), "GMT"), timezone(timedelta(hours=1), "CET")),
    *(timezone(timedelta(hours=1)), BERLIN, timedelta(days=1), timedelta(hours=24)),
    *(
        range(0),
        range(3, 3),
        range(0, 3, 2),
        range(0, 4, 2),
        range(1),
        range(0, 1, 5),
        range(2, -1, -2),
    ),
    *(range(2, -2, -2), PosixPath("a"), PurePosixPath("a"), PurePosixPath("A"), PureWindowsPath("a")),
    *(PureWindowsPath("A"), UUID(int=1), msgspec.UNSET),
)
"""Many of these are equal, though their types differ; others look as if they were."""

alike: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(ALIKE),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(tuple),
        st.frozensets(inner, max_size=2),
        st.builds(Point, inner, st.just(1)),
        st.builds(Line, inner, st.just(1)),
        st.builds(Noted, inner, inner),
        st.builds(Fixed, order_id=inner),
        st.builds(Ticket, inner, st.sampled_from((1, "1", 1.0))),
    ),
    max_leaves=3,
)
"""Keys among which many are equal, though their types differ."""


def same(one: Any, other: Any) -> bool:
    """Whether both are the same in type and value, all the way down: -0.0 isn't 0.0, nan is nan, True isn't 1."""
    if type(one) is not type(other):
        return False
    match one:
        case float():
            return one.hex() == other.hex()
        case complex():
            return struct.pack("dd", one.real, one.imag) == struct.pack("dd", other.real, other.imag)
        case Decimal():
            return str(one) == str(other)
        case datetime() | time():
            naive = one.replace(tzinfo=None) == other.replace(tzinfo=None)
            return naive and one.fold == other.fold and same(one.tzinfo, other.tzinfo)
        case timezone():
            return one == other and one.tzname(None) == other.tzname(None)
        case ZoneInfo():
            return one is other
        case range():
            return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
        case dict():
            if getattr(one, "default_factory", None) is not getattr(other, "default_factory", None):
                return False
            return same(list(one.items()), list(other.items()))
        case set() | frozenset():
            return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
        case list() | tuple() | deque():
            if getattr(one, "maxlen", None) != getattr(other, "maxlen", None):
                return False
            return len(one) == len(other) and all(map(same, one, other))
        case msgspec.Struct():
            return all(same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
        case Basket() | Line() | Noted():
            return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
        case Cart() | Ticket():
            return all(same(getattr(one, f.name), getattr(other, f.name)) for f in attrs.fields(type(one)))
        case enum.Enum():
            return one is other
    return bool(one == other)
