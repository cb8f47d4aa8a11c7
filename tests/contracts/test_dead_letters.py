"""A dead letter outlives its code: replayed after the event has grown, it is handled as the event of today."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

import reactor
from reactor import DeadLetters, Pipeline, StoredLetter, Topic, dead_letters, topic
from reactor.connectors.memory import forget
from reactor.contracts import VERSION
from tests.contracts.shops import FIRST, First, Line, OrderSettled, Second

ROOT = Path(reactor.__file__).parent.parent
_numbers = itertools.count()


def refuse(order: First | Second) -> First | Second:
    raise ValueError(f"{order.id}: the gateway is down")


async def before(place: str) -> None:
    """The code of version 1, and then that of version 2, could not handle their orders."""
    dead = topic(f"{place}/dead", StoredLetter)
    first, second = topic(f"{place}/orders", First), topic(f"{place}/orders", Second)
    await first.publish(First("a", 9.5), key="k")
    stream = first.subscribe("billing", follow=False).map(refuse, on_error=DeadLetters(), name="charge")
    await Pipeline("billing", stream.discard(), dead_letters=dead).run()
    await second.publish(Second("b", [Line("x", 2.0)]))
    later = second.subscribe("billing", follow=False).map(refuse, on_error=DeadLetters(), name="charge")
    await Pipeline("billing", later.discard(), dead_letters=dead).run()


async def today(place: str) -> list[OrderSettled]:
    """The code of version 3 goes on in the same group."""
    orders: Topic[OrderSettled] = topic(f"{place}/orders", OrderSettled)
    handled: list[OrderSettled] = []
    stream = orders.subscribe("billing", follow=False)
    await Pipeline("billing", stream.to(handled.append)).run()
    return handled


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/shop.db"
    else:
        name = f"outlived{next(_numbers)}"
        yield f"memory:{name}"
        forget(name)


@pytest.mark.anyio
async def test_replayed_from_python_it_is_handled_as_the_event_of_today(place: str) -> None:
    await before(place)
    assert await today(place) == []
    async for letter in dead_letters(f"{place}/dead").list():
        await letter.replay(to=topic(f"{place}/orders", OrderSettled))
    assert await today(place) == [
        OrderSettled("a", [Line("unknown", 9.5)], "EUR"),
        OrderSettled("b", [Line("x", 2.0)], "EUR"),
    ]


@pytest.mark.anyio
async def test_replayed_to_another_topic_it_has_its_version_still(place: str) -> None:
    await before(place)
    async for letter in dead_letters(f"{place}/dead").list():
        await letter.replay(to=f"{place}/others")
    others: Topic[OrderSettled] = topic(f"{place}/others", OrderSettled)
    records = [record async for record in others.records()]
    assert [record.value.currency for record in records] == ["EUR", "EUR"]
    assert [record.headers.get(VERSION) for record in records] == [None, "2"]


@pytest.mark.anyio
async def test_repaired_by_plain_values_it_has_the_version_that_it_had(place: str) -> None:
    await before(place)
    first, second = [letter async for letter in dead_letters(f"{place}/dead").list()]
    assert first.event == FIRST
    await first.edit({**FIRST, "total": 1.5})
    await first.replay(to=f"{place}/orders")
    await second.replay(event={"id": "b", "lines": []}, to=f"{place}/orders")
    assert await today(place) == [
        OrderSettled("a", [Line("unknown", 1.5)], "EUR"),
        OrderSettled("b", [], "EUR"),
    ]


@pytest.mark.anyio
async def test_repaired_by_an_event_of_today_it_has_its_version(place: str) -> None:
    await before(place)
    first, second = [letter async for letter in dead_letters(f"{place}/dead").list()]
    await first.edit(OrderSettled("a", [], "CHF"))
    if place.startswith("sqlite:"):  # in memory a stored repair is plain values, which a First can't be
        await first.replay(to=f"{place}/orders")
    else:
        await first.replay(event=OrderSettled("a", [], "CHF"), to=f"{place}/orders")
    await second.replay(event=OrderSettled("b", [], "GBP"), to=f"{place}/orders")
    assert await today(place) == [OrderSettled("a", [], "CHF"), OrderSettled("b", [], "GBP")]


@pytest.mark.anyio
async def test_a_letter_keeps_the_contract_s_name(place: str) -> None:
    await before(place)
    kept = [letter.stored async for letter in dead_letters(f"{place}/dead").list()]
    assert [letter.type for letter in kept] == ["OrderSettled", "OrderSettled"]
    assert [letter.headers for letter in kept] == [{}, {VERSION: "2"}]


@pytest.mark.anyio
async def test_what_cannot_be_read_is_a_dead_letter_that_says_where(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path}/shop.db"
    orders, dead = topic(f"{place}/orders", OrderSettled), topic(f"{place}/dead", StoredLetter)
    broken = msgspec.json.encode({"id": "a", "currency": "EUR", "lines": [{"sku": "x", "price": "2"}]})
    async with orders:
        for id, version, data in (("1", "3", broken), ("2", "4", broken), ("3", "2", b"[]")):
            await orders._log.append([(id, "OrderSettled", None, {VERSION: version}, 0, data)])
    stream = orders.subscribe("billing", follow=False)
    await Pipeline("billing", stream.discard(), dead_letters=dead).run()
    errors = [letter.error async for letter in dead_letters(dead.url).list()]
    assert [error.partition(":")[0] for error in errors] == [
        "PayloadMismatch",
        "NewerVersion",
        "UpcastFailed",
    ]
    assert (
        "position 0: OrderSettled version 3: Expected `float`, got `str` - at `$.lines[0].price`" in errors[0]
    )


def test_replayed_from_the_command_line_it_is_handled_as_the_event_of_today(tmp_path: Path) -> None:
    place = f"sqlite:{tmp_path}/shop.db"
    anyio.run(before, place)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "reactor", "dead-letters", "replay", f"{place}/dead", "--all"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert anyio.run(today, place) == [
        OrderSettled("a", [Line("unknown", 9.5)], "EUR"),
        OrderSettled("b", [Line("x", 2.0)], "EUR"),
    ]
