"""Objects of classes: found again by name, put together without their constructors, and what happens when a class
has changed since."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import sys
import types
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import msgspec
import pytest

from reactor import contracts
from reactor.core import ArgumentError, Record, StateCorrupt, StateError, StateMismatch
from reactor.delivery import Packing
from tests.delivery.values import Cart, Line, Point, same

PACKING = Packing()
T = TypeVar("T")
Module = Callable[[str], types.ModuleType]


def again(value: Any) -> Any:
    return Packing().unpack(Packing().pack(value))


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Makes the module ``shop`` anew from its source, as a deployment does."""

    def make(source: str) -> types.ModuleType:
        module = types.ModuleType("shop")
        monkeypatch.setitem(sys.modules, "shop", module)
        exec(compile(PREAMBLE + source, "shop.py", "exec", dont_inherit=True), vars(module))
        return module

    return make


PREAMBLE = """
import enum
from dataclasses import dataclass, field
from typing import Any, NamedTuple
import attrs, msgspec
from reactor.contracts import event, upcast
"""


# Put together ------------------------------------------------------------------------------------------------

calls: list[str] = []


@dataclass
class Counted:
    a: int
    twice: int = field(init=False)
    limit: ClassVar[int] = 3

    def __post_init__(self) -> None:
        calls.append("dataclass")
        self.a += 1
        self.twice = self.a * 2


class CountedStruct(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        self.a += 1


@attrs.define
class CountedAttrs:
    a: int = attrs.field(converter=lambda value: value + 1)

    def __attrs_post_init__(self) -> None:
        calls.append("attrs")


def test_what_a_constructor_makes_of_its_arguments_is_not_made_twice() -> None:
    values = [Counted(1), CountedStruct(1), CountedAttrs(1)]
    calls.clear()
    found = again(values)
    assert found == values
    assert [one.a for one in found] == [2, 2, 2]
    assert found[0].twice == 4
    assert not calls


def test_a_field_without_a_value_is_without_one_again() -> None:
    counted = Counted(1)
    del counted.twice
    found = again(counted)
    assert found.a == 2
    assert not hasattr(found, "twice")
    del counted.a
    with pytest.raises(
        StateError, match=r"can't save value: it is a Counted whose field a has no value; give it"
    ):
        PACKING.pack(counted)


@dataclass
class Cached(Generic[T]):
    items: list[T]

    @functools.cached_property
    def total(self) -> int:
        return len(self.items)


def test_attributes_besides_the_fields_are_kept_but_not_what_is_made_anew() -> None:
    cached: Any = Cached[int]([1, 2])
    cached.note = (1, "note")
    assert cached.total == 2
    found = again(cached)
    assert vars(found) == {"items": [1, 2], "note": (1, "note")}
    assert found.total == 2


class Base:
    __slots__ = ("__secret", "extra")

    def __init__(self) -> None:
        self.__secret = (1,)

    def secret(self) -> Any:
        return self.__secret


@dataclass(init=False, slots=True)
class Derived(Base):
    a: int

    def __init__(self, a: int) -> None:
        Base.__init__(self)
        self.a = a


def test_slots_of_a_parent_are_kept() -> None:
    found = again(Derived(3))
    assert (found.a, found.secret(), hasattr(found, "extra")) == (3, (1,), False)


@attrs.frozen(cache_hash=True, slots=True)
class Hashed:
    name: str


def test_a_hash_that_was_kept_is_of_its_process_and_is_not_saved() -> None:
    one = Hashed("a")
    hash(one)
    object.__setattr__(one, "_attrs_cached_hash", 12345)
    assert hash(again(one)) == hash(Hashed("a")) != 12345


class Structured(msgspec.Struct, dict=True, tag="kind", array_like=True):
    a: int


class Keyword(msgspec.Struct, kw_only=True, frozen=True):
    b: int = 2
    a: int
    c: list[Any] = msgspec.field(default_factory=list)


def test_structs_of_all_settings_are_kept() -> None:
    one: Any = Structured(1)
    one.note = (1,)
    found = again([one, Keyword(a=1)])
    assert found == [one, Keyword(a=1)]
    assert found[0].note == (1,)


class Pair(namedtuple("Pair", "a b")):
    pass


def test_a_named_tuple_may_have_attributes() -> None:
    pair: Any = Pair(1, (2,))
    pair.note = "x"
    found = again(pair)
    assert (type(found), found, found.note) == (Pair, pair, "x")


@dataclass
class Tree:
    left: Tree | None = None
    value: Any = None


@dataclass
class Outer:
    @dataclass
    class Inner:
        a: Any

    inner: Any


def test_a_class_inside_a_class_is_found() -> None:
    value = Outer(Outer.Inner((Tree(Tree(), {1}), ())))
    assert again(value) == value


def test_reactors_own_classes_have_names_that_stay() -> None:
    assert b"reactor:Record" in PACKING.pack(Record(1))
    assert again(Record((1,), "a")) == Record((1,), "a")


# What is refused -------------------------------------------------------------------------------------------


def _local() -> Any:
    @dataclass
    class Local:
        a: int

    return Local(1)


class LocalEnum:
    @staticmethod
    def make() -> Any:
        class Local(enum.Enum):
            A = 1

        return Local.A


@dataclass
class Listed(list[int]):
    a: int = 1


@dataclass
class Failure(Exception):
    a: int


Renamed = dataclasses.make_dataclass("Other", ["a"], namespace={"__module__": __name__})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            _local(),
            r"is of the class _local\.<locals>\.Local, which is defined inside a function; define it at the",
        ),
        (LocalEnum.make(), r"which is defined inside a function"),
        (Listed(), r"is a Listed, which extends list: that holds more than its fields; let it have a field"),
        (Failure(1), r"is a Failure, which extends BaseException|Exception"),
        (Renamed(1), r"is of a class that isn't what \S+:Other names; give the class the name under which"),
    ],
    ids=("local", "local enum", "list", "exception", "renamed"),
)
def test_classes_that_would_not_be_found_are_refused(value: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        PACKING.pack({"a": value})


# Changed since ---------------------------------------------------------------------------------------------

KINDS = {
    "dataclass": "@dataclass\nclass Order:\n    {}\n",
    "slots": "@dataclass(frozen=True, slots=True)\nclass Order:\n    {}\n",
    "struct": "class Order(msgspec.Struct):\n    {}\n",
    "keywords": "class Order(msgspec.Struct, kw_only=True, frozen=True):\n    {}\n",
    "attrs": "@attrs.define\nclass Order:\n    {}\n",
    "named tuple": "class Order(NamedTuple):\n    {}\n",
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Callable[..., str]:
    def source(*fields: str) -> str:
        return KINDS[request.param].format("\n    ".join(fields))

    return source


def test_a_field_with_a_default_that_came_since_has_it(shop: Module, kind: Callable[..., str]) -> None:
    data = PACKING.pack(shop(kind("a: int")).Order(a=1))
    now = shop(kind("a: int", "b: int = 7")).Order
    assert Packing().unpack(data) == now(a=1, b=7)


def test_a_field_without_a_default_that_came_since_is_named(shop: Module, kind: Callable[..., str]) -> None:
    data = PACKING.pack(shop(kind("a: int")).Order(a=1))
    shop(kind("a: int", "b: int"))
    with pytest.raises(
        StateMismatch, match=r"of shop:Order was saved without b, a field without a default; give it"
    ):
        Packing().unpack(data)


def test_a_field_that_went_since_is_named(shop: Module, kind: Callable[..., str]) -> None:
    data = PACKING.pack([shop(kind("a: int", "b: int")).Order(a=1, b=2)])
    shop(kind("a: int"))
    with pytest.raises(
        StateMismatch, match=r"saved with b, which the class has no more: to drop it would lose what"
    ):
        Packing().unpack(data)


def test_fields_in_another_order_are_told_by_their_names(shop: Module, kind: Callable[..., str]) -> None:
    data = PACKING.pack(shop(kind("a: Any", "b: Any")).Order(a=(1,), b=2))
    now = shop(kind("b: Any", "a: Any")).Order
    assert Packing().unpack(data) == now(a=(1,), b=2)


@pytest.mark.parametrize(
    ("now", "default"),
    [
        ("@dataclass\nclass Order:\n    a: int\n    b: Any = field(default_factory=list)", []),
        ("@dataclass\nclass Order:\n    a: int\n    b: Any = field(init=False, default=3)", 3),
        ("class Order(msgspec.Struct):\n    a: int\n    b: Any = msgspec.field(default_factory=list)", []),
        ("@attrs.define\nclass Order:\n    a: int\n    b: Any = attrs.Factory(list)", []),
        (
            "@attrs.define\nclass Order:\n    a: int\n    b: Any = attrs.field()\n"
            "    @b.default\n    def _(self): return self.a * 2",
            2,
        ),
    ],
)
def test_defaults_are_made_as_the_class_makes_them(shop: Module, now: str, default: Any) -> None:
    data = PACKING.pack(shop("@dataclass\nclass Order:\n    a: int").Order(1))
    shop(now)
    found = Packing().unpack(data)
    assert (found.a, found.b) == (1, default)


def test_a_field_that_is_not_set_by_the_constructor_may_come(shop: Module) -> None:
    for now in (
        "@dataclass\nclass Order:\n    a: int\n    b: Any = field(init=False)",
        "@attrs.define\nclass Order:\n    a: int\n    b: Any = attrs.field(init=False)",
    ):
        data = PACKING.pack(shop("@dataclass\nclass Order:\n    a: int").Order(1))
        shop(now)
        found = Packing().unpack(data)
        assert found.a == 1
        assert not hasattr(found, "b")


def test_a_class_may_become_one_of_another_kind(shop: Module) -> None:
    data = PACKING.pack(shop(KINDS["dataclass"].format("a: int")).Order(1))
    for source in KINDS.values():
        now = shop(source.format("a: int"))
        assert Packing().unpack(data) == now.Order(a=1)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ("", r"class shop:Order was saved, and there is no such class now; leave the name Order in shop"),
        ("Order = 5", r"there is no such class now"),
        ("class Order: pass", r"that isn't a class with declared fields now; make it a dataclass"),
        ("class Order(enum.Enum):\n    A = 1", r"isn't a class with declared fields now"),
        (
            "@dataclass\nclass Order(list):\n    a: int",
            r"now it is a Order, which extends list: .*; let it have",
        ),
    ],
)
def test_a_class_that_is_no_more_is_named(shop: Module, now: str, message: str) -> None:
    data = PACKING.pack({"a": (shop("@dataclass\nclass Order:\n    a: int").Order(1),)})
    shop(now)
    with pytest.raises(StateMismatch, match=message):
        Packing().unpack(data)


def test_a_module_that_is_not_imported_is_named_and_stays_so(
    shop: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    data = PACKING.pack(shop("@dataclass\nclass Order:\n    a: int").Order(1))
    monkeypatch.delitem(sys.modules, "shop")
    tmp_path.joinpath("shop.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        StateMismatch, match=r"import shop before the pipeline starts; where it was moved, leave"
    ):
        Packing().unpack(data)
    assert "shop" not in sys.modules


def test_a_struct_that_now_refuses_what_was_saved_is_named(shop: Module) -> None:
    data = PACKING.pack(shop("class Order(msgspec.Struct):\n    a: int").Order(1))
    shop(
        "class Order(msgspec.Struct):\n    a: int\n"
        "    def __post_init__(self): raise ValueError('a is too small')"
    )
    with pytest.raises(
        StateMismatch, match=r"its __post_init__ now refuses \(a is too small\); let it accept"
    ):
        Packing().unpack(data)


@pytest.mark.parametrize("base", ["enum.Enum", "enum.Flag", "enum.IntEnum"])
def test_a_member_that_is_no_more_is_named(shop: Module, base: str) -> None:
    data = PACKING.pack(shop(f"class Colour({base}):\n    RED = 1\n    BLUE = 2").Colour.BLUE)
    now = shop(f"class Colour({base}):\n    RED = 2\n    BLUE = 1").Colour
    assert Packing().unpack(data) is now.BLUE
    shop(f"class Colour({base}):\n    RED = 1")
    with pytest.raises(
        StateMismatch, match=r"shop:Colour had a member 'BLUE' when it was saved; give it that name"
    ):
        Packing().unpack(data)
    shop("Colour = 1")
    with pytest.raises(StateMismatch, match=r"shop:Colour"):
        Packing().unpack(data)
    shop("class Colour: pass")
    with pytest.raises(StateMismatch, match=r"isn't an Enum now"):
        Packing().unpack(data)


# Contracts ---------------------------------------------------------------------------------------------------

V1 = "@event('OrderPlaced')\n@dataclass\nclass Order:\n    id: Any\n    price: Any"
V2 = (
    "@event('OrderPlaced', version=2)\n@dataclass\nclass Order:\n    id: Any\n    cents: int\n"
    "@upcast(Order, from_version=1)\n"
    "def _(payload: dict): return {'id': payload['id'], 'cents': int(payload['price'] * 100)}\n"
)


@pytest.mark.parametrize("load", [None, contracts.load])
def test_an_object_of_an_older_version_goes_through_the_upcasters(shop: Module, load: Any) -> None:
    data = PACKING.pack({"a": [shop(V1).Order("x", 1.5)]})
    now = shop(V2).Order
    assert Packing(load=load).unpack(data) == {"a": [now("x", 150)]}


def test_an_object_of_the_current_version_is_what_it_was(shop: Module) -> None:
    order = shop(V1).Order((1, [Line((2,))]), {3})
    assert same(again(order).id, order.id)
    assert again(order) == order


def test_a_class_that_became_a_contract_had_version_1_before(shop: Module) -> None:
    data = PACKING.pack(shop("@dataclass\nclass Order:\n    id: Any\n    price: Any").Order("x", 1.5))
    assert Packing().unpack(data) == Packing().unpack(data)
    now = shop(V2).Order
    assert Packing().unpack(data) == now("x", 150)
    now = shop(V1).Order
    assert Packing().unpack(data) == now("x", 1.5)


# Contracts live as long as their classes: these have a name of their own.
MOVED_1 = V1.replace("OrderPlaced", "OrderMoved")
MOVED_2 = (
    V2.replace("OrderPlaced", "OrderMoved")
    .replace("class Order:", "class Placed:")
    .replace("(Order,", "(Placed,")
)


def test_a_contract_that_was_moved_is_found_by_its_name(shop: Module) -> None:
    data = PACKING.pack(shop(MOVED_1).Order("x", 1.5))
    module = shop(MOVED_2)
    assert Packing(load=contracts.load).unpack(data) == module.Placed("x", 150)
    with pytest.raises(StateMismatch, match="shop:Order was saved, and there is no such class now"):
        Packing().unpack(data)


def test_a_class_whose_name_another_contract_has_now_is_found_by_its_contract(shop: Module) -> None:
    data = Packing().pack(shop(MOVED_1).Order("x", 1.5))
    module = shop("@event('Other')\n@dataclass\nclass Order:\n    other: Any\n" + MOVED_2)
    assert Packing(load=contracts.load).unpack(data) == module.Placed("x", 150)


def test_a_newer_version_and_a_missing_upcaster_are_named(shop: Module) -> None:
    old, new = PACKING.pack(shop(V1).Order("x", 1)), PACKING.pack(shop(V2).Order("x", 1))
    shop(V1)
    with pytest.raises(
        StateMismatch, match=r"saved as OrderPlaced, version 2, and can't be read now: .*version 1"
    ):
        Packing().unpack(new)
    shop("@event('OrderPlaced', version=2)\n@dataclass\nclass Order:\n    id: Any\n    cents: int\n")
    with pytest.raises(
        StateMismatch, match=r"version 1, and can't be read now: .*declare @upcast\(Order, from_v"
    ):
        Packing().unpack(old)


def test_a_contract_that_changed_without_a_new_version_is_told_to_have_one(shop: Module) -> None:
    data = PACKING.pack(shop(V1).Order("x", 1))
    shop("@event('OrderPlaced')\n@dataclass\nclass Order:\n    id: Any\n")
    with pytest.raises(
        StateMismatch, match=r"give OrderPlaced the version 2 and @upcast\(\.\.\., from_version=1\)"
    ):
        Packing().unpack(data)


def test_upcasters_get_the_names_and_values_of_payloads(shop: Module) -> None:
    first = shop(
        "class Line(msgspec.Struct):\n    sku: str\n"
        "@event('Placed')\nclass Order(msgspec.Struct, rename='camel', tag='placed'):\n"
        "    order_id: str\n    lines: tuple[Line, ...]\n"
    )
    data = PACKING.pack(first.Order("x", (first.Line("s"),)))
    assert Packing().unpack(data) == first.Order("x", (first.Line("s"),))
    second = shop(
        "class Line(msgspec.Struct):\n    sku: str\n"
        "seen = []\n"
        "@event('Placed', version=2)\nclass Order(msgspec.Struct, rename='camel', tag='placed'):\n"
        "    number: str\n    lines: tuple[Line, ...]\n"
        "@upcast(Order, from_version=1)\n"
        "def _(payload: dict):\n"
        "    seen.append(dict(payload))\n"
        "    payload['number'] = payload.pop('orderId')\n"
        "    return payload\n"
    )
    assert Packing().unpack(data) == second.Order("x", (second.Line("s"),))
    assert second.seen == [{"orderId": "x", "lines": ({"sku": "s"},), "type": "placed"}]


# Pickle ------------------------------------------------------------------------------------------------------

ran: list[str] = []


class Old:
    def __init__(self, a: Any) -> None:
        self.a = a

    def __setstate__(self, state: Any) -> None:
        ran.append("state")
        vars(self).update(state)


class Older(Old):
    pass


def test_classes_on_the_list_are_pickled_and_no_others() -> None:
    packing = Packing(pickle=(Old,))
    data = packing.pack([Old((1,)), Older(2), (Line(Old(3)),)])
    found = Packing(pickle=(Old,)).unpack(data)
    assert [type(found[0]), found[0].a, type(found[1]), found[1].a, found[2][0].sku.a] == [
        Old,
        (1,),
        Older,
        2,
        3,
    ]
    with pytest.raises(StateError, match="which has no encoding; make it a dataclass"):
        packing.pack(test_classes_on_the_list_are_pickled_and_no_others)
    ran.clear()
    for other in (Packing(), Packing(pickle=(Older, Point))):
        with pytest.raises(
            StateMismatch, match=r"\S+:Old was saved by pickle; list the class in Checkpoints\(pickle"
        ):
            other.unpack(data)
    assert not ran


def test_a_damaged_pickle_is_not_loaded() -> None:
    packing = Packing(pickle=(Old,))
    data = packing.pack(Old("text"))
    ran.clear()
    with pytest.raises(StateCorrupt, match="the checksum differs"):
        packing.unpack(data.replace(b"text", b"tixt"))
    assert not ran


def test_what_pickle_refuses_is_named() -> None:
    with pytest.raises(
        StateError, match=r"can't save value\[0\]: it is a Old that pickle refuses \(.*; take it off"
    ):
        Packing(pickle=(Old,)).pack([Old(lambda: 1)])


def test_a_pickle_that_cannot_be_read_is_named(shop: Module) -> None:
    old = shop("class Basket:\n    def __init__(self, a): self.a = a").Basket
    data = Packing(pickle=(old,)).pack(old(1))
    now = shop("class Basket:\n    def __setstate__(self, state): raise ValueError('no')").Basket
    with pytest.raises(
        StateMismatch, match=r"shop:Basket was saved by pickle, and pickle can't read it now \(ValueE"
    ):
        Packing(pickle=(now,)).unpack(data)


def test_the_list_is_checked() -> None:
    with pytest.raises(ArgumentError, match=r"'text' isn't a class"):
        Packing(pickle=("text",))  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentError, match=r"a class on it is of the class .*, which is defined inside a function"
    ):
        Packing(pickle=(type(_local()),))


def test_a_pickled_object_is_no_key() -> None:
    with pytest.raises(StateError, match="of which can't be told what it equals"):
        Packing(pickle=(Old,)).key(Old(1))


def test_names_in_errors_are_whole() -> None:
    with pytest.raises(StateError) as caught:
        PACKING.pack([Cart(1, _local())])
    assert re.match(
        r"can't save value\[0\]\._held: it is of the class \w+\.<locals>\.Local, ", str(caught.value)
    )
