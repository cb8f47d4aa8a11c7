"""Payloads are read by name and version, older ones brought on; what is wrong says what, where, and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from reactor.contracts import (
    ContractError,
    MissingUpcaster,
    NewerVersion,
    PayloadMismatch,
    UnknownType,
    UpcastFailed,
    contract_of,
    decode,
    dump,
    event,
    load,
    loader,
    upcast,
)
from reactor.core import DecodeError, ReactorError
from tests.contracts.shops import EVENTS, FIRST, SECOND, THIRD, First, Line, OrderSettled


@event("Noted", version=3)
@dataclass
class Noted:
    at: datetime
    price: Decimal
    codes: dict[int, bytes]
    text: str = ""


@upcast(Noted, from_version=1)
def named(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "at": datetime.fromisoformat(old["at"]), "codes": {}}


@upcast(Noted, from_version=2)
def fails(old: dict[str, Any]) -> Any:
    if old.get("text") == "nothing":
        return None
    if old.get("text") == "object":
        return object()
    return old | {"text": old["text"].upper()}


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_version_is_read_as_the_event_of_today(number: int, raw: bool) -> None:
    plain = [FIRST, SECOND, THIRD][number]
    payload: Any = msgspec.json.encode(plain) if raw else msgspec.to_builtins(plain)
    assert decode(payload, "OrderSettled", number + 1, OrderSettled) == EVENTS[number]


def test_what_an_upcaster_puts_in_may_be_an_object() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    payload = b'{"at": "2026-03-01T00:00:00+00:00", "price": "1.10", "text": "x"}'
    assert decode(payload, "Noted", 1, Noted) == Noted(at, Decimal("1.10"), {}, "X")
    older = {"at": "2026-03-01T00:00:00Z", "price": "1.10", "codes": {"7": "aGk="}, "text": ""}
    assert decode(older, "Noted", 2, Noted) == Noted(at, Decimal("1.10"), {7: b"hi"}, "")


def test_a_chain_gives_each_upcaster_what_it_takes() -> None:
    @event("Chained", version=4)
    class Chained(msgspec.Struct):
        id: str
        seen: list[str]

    class Middle(msgspec.Struct):
        id: str
        seen: list[str]

    def first(old: dict[str, Any]) -> Middle:
        return Middle(old["id"], ["dict"])

    def second(old: Middle) -> Middle:
        return Middle(old.id, [*old.seen, type(old).__name__])

    def third(old: dict[str, Any]) -> dict[str, Any]:
        return {"id": old["id"], "seen": [*old["seen"], type(old).__name__]}

    for version, function in enumerate((first, second, third), 1):
        upcast(Chained, from_version=version)(function)
    assert contract_of(Chained).load({"id": "a"}, 1) == Chained("a", ["dict", "Middle", "dict"])


def test_wanted_may_be_several() -> None:
    class Paid(msgspec.Struct):
        order: str

    assert decode({"order": "a"}, "Paid", 1, [OrderSettled, Paid]) == Paid("a")
    assert decode(dict(FIRST), "OrderSettled", 1, [OrderSettled, Paid]) == EVENTS[0]


def test_a_name_from_before_is_read_in_all_its_versions() -> None:
    @event("order.renamed", version=2, formerly=("OrderRenamed",))
    class Renamed(msgspec.Struct):
        id: str

    upcast(Renamed, from_version=1)(lambda old: {"id": old["name"]})
    assert decode({"name": "a"}, "OrderRenamed", 1, Renamed) == Renamed("a")
    assert decode({"id": "a"}, "OrderRenamed", 2, Renamed) == Renamed("a")


def fault(payload: Any, type: str, version: int, wanted: Any = OrderSettled) -> ContractError:
    with pytest.raises(ContractError) as caught:
        decode(payload, type, version, wanted)
    assert isinstance(caught.value, DecodeError)
    assert isinstance(caught.value, ReactorError)
    assert (caught.value.type, caught.value.version) == (type, version) or version != caught.value.version
    return caught.value


def test_an_unknown_type() -> None:
    error = fault(b"{}", "Refunded", 1)
    assert type(error) is UnknownType
    assert str(error).startswith("Refunded is none of OrderSettled; name its class where")


def test_a_newer_version() -> None:
    error = fault(b"{}", "OrderSettled", 4)
    assert type(error) is NewerVersion
    assert "OrderSettled version 4: the newest that this code knows is version 3; deploy" in str(error)


def test_a_contract_loads_nothing_newer() -> None:
    with pytest.raises(NewerVersion):
        contract_of(OrderSettled).load(dict(THIRD), 4)


def test_a_missing_upcaster() -> None:
    @event("Broken", version=3)
    class Broken(msgspec.Struct):
        id: str

    upcast(Broken, from_version=1)(lambda old: old)
    error = fault({"id": "a"}, "Broken", 1, Broken)
    assert type(error) is MissingUpcaster
    assert "of version 1, and nothing brings version 2 to 3; declare @upcast(Broken, from_version=2)" in str(
        error
    )


def test_an_upcaster_that_raises() -> None:
    error = fault({"at": "2026-03-01T00:00:00Z", "price": "1"}, "Noted", 2, Noted)
    assert type(error) is UpcastFailed
    assert isinstance(error.__cause__, KeyError)
    assert "the upcaster from version 2 (" in str(error)
    assert "raised KeyError: 'text'" in str(error)


@pytest.mark.parametrize(("text", "says"), [("nothing", "returned None"), ("object", "")])
def test_an_upcaster_that_returns_what_no_payload_is(text: str, says: str) -> None:
    error = fault({"text": text}, "Noted", 2, Noted)
    assert type(error) is (UpcastFailed if text == "nothing" else PayloadMismatch)
    assert says in str(error)


@pytest.mark.parametrize("raw", [False, True])
def test_a_payload_that_does_not_fit_says_where(raw: bool) -> None:
    plain: Any = {
        "id": "c",
        "currency": "CHF",
        "lines": [{"sku": "x", "price": 1}, {"sku": "y", "price": "2"}],
    }
    error = fault(msgspec.json.encode(plain) if raw else plain, "OrderSettled", 3)
    assert type(error) is PayloadMismatch
    assert error.path == "$.lines[1].price"
    assert "OrderSettled version 3: Expected `float`, got `str` - at `$.lines[1].price`; repair" in str(error)


def test_a_payload_that_does_not_fit_after_its_upcasters_says_so() -> None:
    error = fault({"id": "b", "lines": [{"sku": 3}]}, "OrderSettled", 2)
    assert type(error) is PayloadMismatch
    assert error.path.startswith("$.lines[0]")
    assert "upcast from version 2" in str(error)


def test_a_payload_that_an_upcaster_cannot_take_says_where() -> None:
    error = fault({"id": "a", "total": "much"}, "OrderSettled", 1)
    assert type(error) is PayloadMismatch
    assert error.path == "$.total"
    assert error.version == 1


def test_what_is_no_json_does_not_fit() -> None:
    assert type(fault(b"{", "OrderSettled", 3)) is PayloadMismatch
    assert type(fault(b"{", "OrderSettled", 1)) is PayloadMismatch


def test_a_located_error_is_of_the_same_kind_with_the_same_cause() -> None:
    error = fault(b'{"id": 3}', "OrderSettled", 3)
    there = error.located("topic orders, position 7")
    assert type(there) is PayloadMismatch
    assert str(there) == f"topic orders, position 7: {error}"
    assert (there.path, there.__cause__) == ("$.id", error.__cause__)


# State --------------------------------------------------------------------------------------------------------


def test_an_object_that_was_stored_is_made_again() -> None:
    name, version, plain = dump(EVENTS[2])
    assert (name, version, plain) == ("OrderSettled", 3, THIRD)
    assert load(name, version, plain) == EVENTS[2]


def test_stored_state_is_brought_on_and_stays_as_it_was() -> None:
    state = msgspec.to_builtins(SECOND)
    assert load(*dump(First("a", 9.5))) == EVENTS[0]
    assert load("OrderSettled", 2, state) == EVENTS[1]
    assert state == SECOND  # with_currency changes what it is given


def test_a_class_without_a_contract_is_made_where_it_is_named() -> None:
    name, version, plain = dump(Line("x", 1.0))
    assert (name, version) == ("Line", 1)
    assert load(name, version, plain, Line) == Line("x", 1.0)
    with pytest.raises(UnknownType, match="no class is declared with this name; import the module"):
        load(name, version, plain)


def test_a_loader_says_at_once_what_it_cannot_load() -> None:
    with pytest.raises(NewerVersion):
        loader("OrderSettled", 4)
    with pytest.raises(NewerVersion):
        loader("Line", 2, Line)
