"""Rows: keys that are equal in a dict are one row, and come back with the type that they had."""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest
from hypothesis import example, given

from reactor.core import StateError
from reactor.delivery import Packing
from tests.delivery.values import (
    ALIKE,
    Letter,
    Level,
    Line,
    Noted,
    Order,
    Point,
    Ticket,
    alike,
    hashables,
    same,
    values,
)
from tests.engine.graphs import TIME, examples

pytestmark = TIME
PACKING = Packing()


def refused(key: Any) -> bool:
    """Whether a nan is in it, which equals nothing, or a number too long to compare."""
    try:
        PACKING.key(key)
    except StateError as error:
        return "not even itself" in str(error) or "of more than 5000 digits" in str(error)
    return False


@examples(5)
@given(alike, alike)
@example(1, True)
@example((1, "a"), (1.0, Letter.A))
@example(Line(1), Line(True))
@example(frozenset({1, (2, 3)}), frozenset({(2.0, 3), True}))
@example(5e-324, Fraction(5e-324))
def test_keys_have_equal_bytes_if_and_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (PACKING.key(one) == PACKING.key(other)) == (one == other)


@examples(1.5)
@given(hashables | alike, values)
@example((1.0, "a"), (1,))
@example("key", {"a": (1,)})
@example((), 1)
@example(("a" * 300,), None)
@example("\ud800", 1)
@example(2**64, "x" * 300)
@example((2**64, "\ud800"), 1)
def test_a_row_is_what_it_was(key: Any, value: Any) -> None:
    if refused(key):
        return
    row = PACKING.row(key, value)
    found, its = Packing().unrow(*row)
    assert same(found, key)
    assert same(its, value)
    assert row[0] == PACKING.key(key)
    # What comes back is the same row.
    assert PACKING.key(found) == row[0]


def test_the_bytes_tell_which_of_many_are_equal() -> None:
    for one, other in itertools.combinations_with_replacement(ALIKE, 2):
        assert (PACKING.key(one) == PACKING.key(other)) == (one == other), (one, other)


def test_the_types_of_equal_keys_are_kept() -> None:
    for key in (1, 1.0, True, Decimal(1), Fraction(1), 1 + 0j, Level.LOW):
        data, value = PACKING.row(key, "value")
        assert data == PACKING.key(1)
        assert same(PACKING.unrow(data, value), (key, "value"))


def test_a_plain_key_costs_the_value_nothing() -> None:
    for key in ("a", 1, b"a", None, ("table", "a"), ("table", ("a", 1)), 0.5, frozenset({1}), Line(1)):
        assert PACKING.row(key, 5)[1] == PACKING.pack(5)


def test_the_order_of_a_set_does_not_matter() -> None:
    texts = [f"{n}" for n in range(100)]
    assert PACKING.key(frozenset(texts)) == PACKING.key(frozenset(reversed(texts)))
    assert PACKING.row(frozenset(texts), 1)[0] == PACKING.key(frozenset(texts))


def test_an_instant_is_one_key_in_all_zones() -> None:
    noon = datetime(2025, 6, 1, 12, tzinfo=UTC)
    for zone in (ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=5))):
        assert PACKING.key(noon.astimezone(zone)) == PACKING.key(noon)


def test_fields_that_are_not_compared_do_not_tell_keys_apart() -> None:
    assert Noted(1, "a") == Noted(1, "b")
    assert PACKING.key(Noted(1, "a")) == PACKING.key(Noted(1, "b"))
    found, _ = PACKING.unrow(*PACKING.row(Noted(1, "a"), None))
    assert found.note == "a"


def test_a_field_is_compared_by_its_own_function() -> None:
    assert Ticket(1, 1) == Ticket(1, "1")
    assert PACKING.key(Ticket(1, 1)) == PACKING.key(Ticket(1, "1")) != PACKING.key(Ticket(1, 2))


@dataclass(frozen=True)
class Folded:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folded) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


@dataclass(eq=False)
class Alone:
    name: str


class StructAlone(msgspec.Struct, eq=False):
    name: str


class StructFolded(msgspec.Struct, frozen=True):
    name: str

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@attrs.define(eq=False)
class AttrsAlone:
    name: str


class Loose(NamedTuple):
    name: str

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Odd(enum.Enum):
    A = 1

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Thing:
    pass


class Child(Line):
    pass


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            float("nan"),
            r"can't save key: it is nan, which equals nothing, not even itself; let the function of the",
        ),
        (("a", float("nan")), r"can't save key\[1\]: it is nan"),
        (complex(0, float("nan")), r"equals nothing, not even itself"),
        (complex(float("nan"), 1), r"equals nothing, not even itself"),
        (Decimal("nan"), r"equals nothing, not even itself"),
        (frozenset({(1, Decimal("nan"))}), r"can't save key \(item .*\)\[1\]: it is Decimal\('NaN'\)"),
        (Line(Point(1, float("nan"))), r"can't save key\.sku\[1\]: "),
        (Decimal("1e100000000"), r"a number of more than 5000 digits; use a text as key"),
        (Decimal("1e-100000000"), r"a number of more than 5000 digits"),
        (
            Folded("a"),
            r"is a Folded, whose __eq__ isn't the generated one; use as key what tells such objects apart",
        ),
        (Alone("a"), r"is a Alone, which equals nothing but itself; use as key what tells"),
        (StructAlone("a"), r"is a StructAlone, "),
        (StructFolded("a"), r"is a StructFolded, whose __eq__ isn't the generated one"),
        (AttrsAlone("a"), r"is a AttrsAlone, which equals nothing but itself"),
        (Loose("a"), r"is a Loose, whose __eq__ isn't the generated one"),
        (Odd.A, r"is a member of Odd, of which can't be told what it equals; use its name as key"),
        (Thing(), r"is a \S+\.Thing, of which can't be told what it equals; use a text, a number"),
        (print, r"of which can't be told what it equals"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_a_key_of_which_cannot_be_told_what_it_equals_is_refused(key: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        PACKING.key(key)
    with pytest.raises(StateError, match=message):
        PACKING.row(key, 1)


def test_a_value_that_cannot_be_saved_is_named_whatever_its_key() -> None:
    for key in ("a", 1.0, (1, "a"), b"a", Line(1)):
        with pytest.raises(StateError, match=r"can't save value\[0\]: "):
            PACKING.row(key, [print])


def test_classes_that_differ_are_different_keys() -> None:
    keys = [Line(1), Child(1), (1, 1), Order(1), Noted(1), "Line", Point(1, 2)]
    assert len({PACKING.key(key) for key in keys}) == len(keys)
    assert PACKING.key(Point(1, 1)) == PACKING.key((1, 1))


def test_a_key_nested_too_deep_is_refused() -> None:
    key: Any = ()
    for _ in range(300):
        key = (key, 1.0)
    with pytest.raises(StateError, match="nested more than 100 deep; use a simpler key"):
        PACKING.key(key)
