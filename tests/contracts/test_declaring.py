"""``@event`` names a contract, ``@upcast`` its chain; what can't be meant is refused where it stands."""

import gc
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import msgspec
import pytest

from reactor.contracts import contract_of, event, newest, tag, upcast
from reactor.core import ArgumentError
from tests.contracts.shops import First, OrderSettled, Second

T = TypeVar("T")


def test_a_struct_a_dataclass_and_an_attrs_class_have_contracts_and_stay_themselves() -> None:
    class Paid(msgspec.Struct):
        order: str

    @dataclass(frozen=True, slots=True)
    class Packed:
        order: str

    @attrs.define
    class Shipped:
        order: str

    for kind, name in ((Paid, "order.paid"), (Packed, "order.packed"), (Shipped, "order.shipped")):
        declared: Any = event(name, version=2)(kind)
        assert declared is kind
        assert declared("a") == kind("a")
        assert tag(kind) == (name, 2)
        assert contract_of(kind).kind is kind


def test_a_class_without_a_contract_is_version_1_of_its_own_name() -> None:
    @dataclass
    class Plain:
        order: str

    assert tag(Plain) == ("Plain", 1)
    assert contract_of(Plain).missing == ()


def test_a_subclass_has_no_contract_of_its_parent() -> None:
    class Special(OrderSettled):
        pass

    assert tag(Special) == ("Special", 1)


def test_a_generic_class_has_the_contract_of_its_origin() -> None:
    @event("Changed", version=2)
    class Changed(msgspec.Struct, Generic[T]):
        value: T

    @upcast(Changed, from_version=1)
    def wrap(old: dict[str, Any]) -> dict[str, Any]:
        return {"value": old["old"]}

    contract = contract_of(Changed[int])
    assert (contract.name, contract.version) == ("Changed", 2)
    assert contract.load({"old": 3}, 1) == Changed(3)
    with pytest.raises(ValueError, match="Expected `int`"):
        contract.load({"old": "three"}, 1)


def test_the_chain_tells_what_is_missing() -> None:
    @event("Grown", version=4)
    class Grown(msgspec.Struct):
        id: str

    upcast(Grown, from_version=2)(lambda old: old)
    assert contract_of(Grown).missing == (1, 3)
    assert contract_of(OrderSettled).missing == ()


def test_two_classes_with_one_name_and_version_are_refused_with_both_places() -> None:
    def declare_one() -> type[Any]:
        @event("Twice", version=7)
        class One(msgspec.Struct):
            id: str

        return One

    def declare_other() -> None:
        @event("Twice", version=7)
        class Other(msgspec.Struct):
            id: str

    one = declare_one()
    with pytest.raises(ArgumentError) as caught:
        declare_other()
    text = str(caught.value)
    assert f"Other ({__file__}:" in text
    assert f"One ({__file__}:" in text
    assert contract_of(one).version == 7


def test_the_same_class_may_be_made_again() -> None:
    def declare() -> type[Any]:
        @event("Again", version=2)
        class Again(msgspec.Struct):
            id: str

        return Again

    first, second = declare(), declare()
    assert first is not second
    assert newest("Again") is contract_of(second)


def test_a_module_that_is_imported_under_two_names_declares_once(tmp_path: Path) -> None:
    path = tmp_path / "twofold.py"
    path.write_text(
        "import msgspec\nfrom reactor.contracts import event\n"
        "@event('Twofold', version=2)\nclass Twofold(msgspec.Struct):\n    id: str\n"
    )
    for name in ("twofold_main", "twofold"):
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_class_that_is_gone_leaves_its_name_free() -> None:
    def declare(name: str) -> None:
        kind = msgspec.defstruct(name, [("id", str)], module=name)
        event("Gone", version=2)(kind)

    declare("One")
    gc.collect()
    assert newest("Gone") is None
    declare("Other")


def test_the_newest_of_a_name_is_found_also_by_what_it_was_called() -> None:
    assert newest("OrderSettled") is contract_of(OrderSettled)

    @event("order.sent", version=2, formerly="OrderSent")
    class Sent(msgspec.Struct):
        id: str

    found = newest("OrderSent")
    assert found is contract_of(Sent)
    assert found.names == ("order.sent", "OrderSent")
    assert newest("NobodyKnows") is None


def test_what_has_no_fields_is_refused() -> None:
    class Bare:
        pass

    with pytest.raises(ArgumentError, match=r"Bare isn't a msgspec.Struct, a dataclass or an attrs class"):
        event("Bare")(Bare)


def test_event_below_dataclass_is_refused() -> None:
    with pytest.raises(ArgumentError, match="@event stands above @dataclass"):

        @dataclass
        @event("Below")
        class Below:
            id: str


def test_event_below_what_makes_the_class_anew_is_refused() -> None:
    @dataclass(slots=True)
    @event("Copied")
    @dataclass
    class Copied:
        id: str

    with pytest.raises(ArgumentError, match="put it on top of them all"):
        contract_of(Copied)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: event(""), "the name is a text"),
        (lambda: event("a\nb"), "the name is a text"),
        (lambda: event("A", version=0), "versions are ints from 1 on"),
        (lambda: event("A", version=True), "versions are ints from 1 on"),
        (lambda: event("A", formerly="A"), "formerly='A'"),
        (lambda: event("A")(3), "stands above a class"),
        (lambda: upcast(int, from_version=1), "has no contract"),
        (lambda: upcast(OrderSettled, from_version=3), "versions before 3"),
        (lambda: upcast(OrderSettled, from_version=0), "versions before 3"),
        (lambda: upcast(First, from_version=1), "versions before 1"),
        (lambda: upcast(OrderSettled, from_version=1)(lambda old: old), "is the second; the first is"),
    ],
)
def test_what_cannot_be_meant_is_refused(declare: Callable[[], Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        declare()


def test_an_upcaster_without_a_parameter_is_refused() -> None:
    @event("Lonely", version=2)
    class Lonely(msgspec.Struct):
        id: str

    def nothing() -> dict[str, Any]:
        return {}

    with pytest.raises(ArgumentError, match="takes no payload"):
        upcast(Lonely, from_version=1)(nothing)


def test_an_annotation_that_cannot_be_looked_up_is_refused_and_payload_says_it() -> None:
    @event("Local", version=2)
    class Local(msgspec.Struct):
        id: str

    def grow(old: "Nowhere") -> Local:  # type: ignore[name-defined] # noqa: F821
        return Local(old.id)

    with pytest.raises(ArgumentError, match=r"'Nowhere', which can't be looked up .* pass payload="):
        upcast(Local, from_version=1)(grow)
    upcast(Local, from_version=1, payload=First)(grow)
    assert contract_of(Local).load({"id": "a", "total": 1}, 1) == Local("a")


def test_a_text_annotation_is_looked_up_where_the_function_stands() -> None:
    assert contract_of(OrderSettled).upcasters[1].payload is First  # shops has postponed annotations
    assert contract_of(OrderSettled).upcasters[2].payload is None

    class Older(msgspec.Struct):
        name: str

    @event("Enclosed", version=2)
    class Enclosed(msgspec.Struct):
        id: str

    @upcast(Enclosed, from_version=1)
    def grow(old: "Older") -> "Enclosed":
        assert isinstance(old, Older)
        return Enclosed(old.name)

    assert contract_of(Enclosed).load({"name": "a"}, 1) == Enclosed("a")


def test_the_middle_version_may_have_a_class_of_its_own() -> None:
    assert tag(First) == ("OrderSettled", 1)
    assert tag(Second) == ("OrderSettled", 2)
    assert tag(OrderSettled) == ("OrderSettled", 3)
