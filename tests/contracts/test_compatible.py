"""Versions of a type are compatible where each value of the one can be read as the other; else it says where."""

import enum
import itertools
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from msgspec import Meta, defstruct

from reactor.contracts import Mode, compatible, json_schema
from reactor.core import ArgumentError
from tests.engine.graphs import examples


def of(kind: Any, **how: Any) -> type[msgspec.Struct]:
    """A struct with one field ``x`` of the type."""
    return defstruct("Event", [("x", kind)], **how)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class More(enum.Enum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Card(msgspec.Struct, tag=True):
    number: str


class Transfer(msgspec.Struct, tag=True):
    iban: str


class CardToday(msgspec.Struct, tag="Card"):
    number: str
    holder: str


Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Above = Annotated[int, Meta(gt=0)]
Short = Annotated[str, Meta(max_length=3)]
Long = Annotated[str, Meta(max_length=9)]
Aware = Annotated[datetime, Meta(tz=True)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (int, int),
        (int, float),
        (int, Decimal),
        (float, Decimal),
        (int, int | None),
        (int, int | str),
        (int, Any),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a"], str),
        (Literal[1], float),
        (Colour, More),
        (Colour, str),
        (datetime, str),
        (date, str),
        (UUID, str),
        (bytes, str),
        (Aware, datetime),
        (Positive, Natural),
        (Positive, Above),
        (Positive, int),
        (Short, Long),
        (Short, str),
        (list[int], list[float]),
        (list[int], tuple[int, ...]),
        (set[int], list[int]),
        (tuple[int, int], list[int]),
        (tuple[int, int], tuple[int, float]),
        (dict[str, int], dict[str, float]),
        (dict[int, int], dict[str, int]),
        (Card, Card | Transfer),
        (Card, dict[str, str]),
        (Card | None, Transfer | Card | None),
        (list[Card], list[Card | Transfer]),
    ],
)
def test_what_is_wider_reads_what_is_narrower_and_not_the_other_way(old: Any, new: Any) -> None:
    assert compatible(of(old), of(new)).findings == ()
    if old is not new and (old, new) not in (
        (Positive, Above),
        (list[int], tuple[int, ...]),
        (set[int], list[int]),
    ):
        back = compatible(of(new), of(old))
        assert not back
        assert all(finding.path.startswith("$.x") for finding in back.findings)


@pytest.mark.parametrize(
    ("old", "new", "path", "what"),
    [
        (str, int, "$.x", "is a str in the old, and the new wants an int"),
        (float, int, "$.x", "is a float in the old, and the new wants an int"),
        (str, datetime, "$.x", "is a str in the old, and the new wants datetime"),
        (datetime, Aware, "$.x", "is datetime in the old, and the new wants aware datetime"),
        (str, bytes, "$.x", "is a str in the old, and the new wants bytes"),
        (date, datetime, "$.x", "is date in the old, and the new wants datetime"),
        (bool, int, "$.x", "is a bool in the old, and the new wants an int"),
        (Any, int, "$.x", "may be anything in the old, and the new wants an int"),
        (int | None, int, "$.x", "is None in the old, and the new wants an int"),
        (More, Colour, "$.x", "may be 'green' in the old, and the new wants one of 'blue', 'red'"),
        (Natural, Positive, "$.x", "is at least 1 in the new, and needn't be so in the old"),
        (Annotated[int, Meta(le=9)], Annotated[int, Meta(lt=9)], "$.x", "is at most 9 in the new"),
        (Long, Short, "$.x", "is at most 3 long in the new, and needn't be so in the old"),
        (str, Annotated[str, Meta(pattern="a")], "$.x", "fits the pattern a in the new"),
        (int, Annotated[int, Meta(multiple_of=2)], "$.x", "is a multiple of 2 in the new"),
        (list[str], list[int], "$.x[]", "is a str in the old, and the new wants an int"),
        (list[int], tuple[int, int], "$.x", "has at least 2 items in the new, and may have 0 in the old"),
        (tuple[int, int], tuple[int, str], "$.x[1]", "is an int in the old, and the new wants a str"),
        (dict[str, str], dict[str, int], "$.x.*", "is a str in the old, and the new wants an int"),
        (dict[str, int], dict[int, int], "$.x", "has keys of str in the old, and the new wants int"),
        (dict[str, str], Card, "$.x.number", "is required in the new, and may be missing in the old"),
        (Card | Transfer, Card, "$.x.type", "may be 'Transfer' in the old, and the new wants 'Card'"),
        (Card, CardToday, "$.x.holder", "is required in the new, and the old doesn't have it"),
        (list[Card], list[CardToday | Transfer], "$.x[].holder", "is required in the new"),
        (Transfer, Card | int, "$.x", "may be Transfer in the old, and the new wants"),
    ],
)
def test_what_does_not_fit_says_where_and_why(old: Any, new: Any, path: str, what: str) -> None:
    found = compatible(of(old), of(new))
    assert not found
    assert any(one.path == path and one.what.startswith(what) for one in found.findings), str(found)


def test_fields_that_come_and_go() -> None:
    class Old(msgspec.Struct):
        id: str
        note: str = ""

    class Added(msgspec.Struct):
        id: str
        note: str = ""
        total: int = 0

    class Required(msgspec.Struct):
        id: str
        total: int
        note: str = ""

    class Demanding(msgspec.Struct):
        id: str
        note: str

    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        id: str

    assert compatible(Old, Added, "full")
    assert [str(one) for one in compatible(Old, Required).findings] == [
        "$.total: is required in the new, and the old doesn't have it"
    ]
    assert compatible(Old, Required, "forward")
    assert [one.path for one in compatible(Old, Demanding).findings] == ["$.note"]
    assert [str(one) for one in compatible(Old, Strict).findings] == [
        "$.note: is there in the old, and the new forbids what it doesn't know"
    ]


def test_dataclasses_attrs_classes_and_structs_are_compared_by_what_they_write() -> None:
    @dataclass
    class Old:
        id: str
        total: int

    @attrs.define
    class New:
        id: str
        total: float

    assert compatible(Old, New)
    assert not compatible(Old, New, "forward")
    assert str(compatible(Old, New, "full")) == (
        "not full compatible:\n  $.total: is a float in the new, and the old wants an int"
    )


def test_a_type_that_holds_itself() -> None:
    class Tree(msgspec.Struct):
        value: int
        children: "list[Tree]" = []

    class Wider(msgspec.Struct):
        value: float
        children: "list[Wider]" = []

    globals().update(Tree=Tree, Wider=Wider)
    try:
        assert compatible(Tree, Wider)
        assert [one.path for one in compatible(Wider, Tree).findings] == ["$.value"]
    finally:
        del globals()["Tree"], globals()["Wider"]


def test_fields_written_as_an_array() -> None:
    old = defstruct("Old", [("a", int), ("b", str)], array_like=True)
    longer = defstruct("New", [("a", int), ("b", str), ("c", int, 0)], array_like=True)
    longest = defstruct("New", [("a", int), ("b", str), ("c", int)], array_like=True)
    assert compatible(old, longer, "full")
    assert [one.path for one in compatible(old, longest).findings] == ["$"]


@pytest.mark.parametrize(
    ("mode", "fits"),
    [
        ("backward", True),
        ("forward", False),
        ("full", False),
        ("backward-transitive", False),
        ("forward-transitive", False),
        ("full-transitive", False),
        ("transitive", False),
    ],
)
def test_modes_over_several_versions(mode: Mode, fits: bool) -> None:
    versions = [of(str), of(int)]
    assert bool(compatible(versions, of(float), mode)) is fits


def test_transitive_looks_at_every_version() -> None:
    optional = defstruct("Event", [("id", str), ("total", int, 0)])
    versions = [defstruct("Event", [("id", str)]), optional]
    required = defstruct("Event", [("id", str), ("total", int)])
    assert compatible([required, optional], optional, "backward-transitive")
    assert {one.path for one in compatible(versions, required, "backward-transitive").findings} == {"$.total"}
    assert len(compatible(versions, required, "backward-transitive").findings) == 2


def test_schemas_that_were_saved_are_compared_like_types() -> None:
    saved = msgspec.json.decode(msgspec.json.encode(json_schema(of(datetime))))
    assert compatible(saved, of(datetime), "full")
    assert not compatible(saved, of(date))
    assert not compatible(msgspec.json.decode(msgspec.json.encode(json_schema(of(str)))), of(datetime))


def test_marks_stand_wherever_a_time_or_a_key_may_be() -> None:
    kind: Any = list[tuple[datetime, dict[int, datetime | None]]] | None
    for old, new in ((str, datetime), (datetime, str)):
        before: Any = of(list[tuple[old, dict[int, old | None]]] | None)  # type: ignore[valid-type]
        after: Any = of(list[tuple[new, dict[int, new | None]]] | None)  # type: ignore[valid-type]
        assert bool(compatible(before, after)) is (new is str)
    assert compatible(of(kind), of(kind), "full")


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"json_schema\(Event\)"):
        compatible(of(complex), of(int))
    with pytest.raises(ArgumentError, match="known modes: backward, forward"):
        compatible(of(int), of(int), "sideways")  # type: ignore[arg-type]


# What it says holds ---------------------------------------------------------------------------------------------

_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-5, 5),
    float: st.floats(-5, 5),
    str: st.sampled_from(["", "red", "abcd", "2026-01-01", "9"]),
    bool: st.booleans(),
    None: st.none(),
    Positive: st.integers(1, 5),
    Natural: st.integers(0, 5),
    Short: st.sampled_from(["", "red"]),
    Decimal: st.decimals(-5, 5, places=2),
    datetime: st.datetimes(),
    date: st.dates(),
    Literal["red", 3]: st.sampled_from(["red", 3]),
    Colour: st.sampled_from(Colour),
    bytes: st.binary(max_size=3),
}


_numbers = itertools.count()
_fields: dict[Any, dict[str, Any]] = {}


@st.composite
def kinds(draw: st.DrawFn, depth: int = 2) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type, and its values."""
    shape = draw(
        st.sampled_from(["plain", "plain", "list", "dict", "keys", "pair", "optional", "struct", "array"])
    )
    if shape == "plain" or depth == 0:
        kind = draw(st.sampled_from(list(_VALUES)))
        return kind, _VALUES[kind]
    if shape in ("struct", "array"):
        kind, made = draw(structs(depth - 1, array=shape == "array"))
        return kind, made
    kind, values = draw(kinds(depth - 1))
    match shape:
        case "list":
            return list[kind], st.lists(values, max_size=3)
        case "dict":
            return dict[str, kind], st.dictionaries(st.sampled_from(["a", "b", "7"]), values, max_size=2)
        case "keys":
            return dict[int, kind], st.dictionaries(st.integers(0, 3), values, max_size=2)
        case "pair":
            return tuple[kind, int], st.tuples(values, st.integers(0, 3))
        case _:
            return (kind | None if kind is not None else None), values | st.none()


@st.composite
def structs(
    draw: st.DrawFn, depth: int = 2, array: bool = False, like: Any = None
) -> tuple[Any, st.SearchStrategy[Any]]:
    """A struct and its values; ``like`` is one whose fields it mostly has, too."""
    names = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
    before = _fields.get(like, {})
    given_: dict[str, st.SearchStrategy[Any]] = {}
    fields: list[Any] = []
    types: dict[str, Any] = {}
    optional = draw(st.integers(0, 3))
    for n, name in enumerate(names):
        if name in before and draw(st.integers(0, 3)):
            kind, values = before[name]
            if kind is not None and draw(st.booleans()):
                kind, values = kind | None, values | st.none()
        else:
            kind, values = draw(kinds(depth))
        types[name] = kind, values
        if n >= optional:
            default = draw(values)
            fields.append((name, kind, msgspec.field(default_factory=lambda default=default: default)))
        else:
            fields.append((name, kind))
        given_[name] = values
    how = {"omit_defaults": draw(st.booleans()), "forbid_unknown_fields": draw(st.booleans())}
    made = defstruct(f"S{next(_numbers)}", fields, array_like=array, **how)
    _fields[made] = types
    return made, st.builds(made, **given_)


@examples()
@given(st.data())
def test_each_value_of_a_compatible_type_is_read(data: st.DataObject) -> None:
    array = data.draw(st.booleans())
    old, values = data.draw(structs(array=array))
    new, _ = data.draw(structs(array=array, like=old))
    event("and it is" if compatible(old, new) else "and it isn't")
    for kind in (old, new):
        if compatible(old, kind):
            for _ in range(3):
                msgspec.json.decode(msgspec.json.encode(data.draw(values)), type=kind)


@examples()
@given(st.data())
def test_every_type_reads_itself(data: st.DataObject) -> None:
    kind, _ = data.draw(structs())
    assert compatible(kind, kind, "full").findings == ()


@examples()
@given(st.data())
def test_a_field_of_a_wider_type_and_one_more_are_read(data: st.DataObject) -> None:
    kind, values = data.draw(kinds(1))
    old = defstruct("E", [("x", kind)])
    new = defstruct("E", [("x", kind | None if kind is not None else Any), ("more", int, 0)])
    assert compatible(old, new)
    msgspec.json.decode(msgspec.json.encode(old(data.draw(values))), type=new)
