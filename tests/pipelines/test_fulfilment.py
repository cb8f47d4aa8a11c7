"""Payment, fulfilment and inventory on one HOME: the orders' streams and the table of the stock."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from pipelines.orders import payment as charging
from pipelines.orders.book import order_book
from pipelines.orders.events import Line, OrderCancelled, OrderCompleted, OrderEvent, Payment, invoice_of
from pipelines.orders.fulfilment import NAME, PLACING, Settled, fulfilment
from pipelines.orders.home import Home
from pipelines.orders.inventory import inventory, stock
from pipelines.orders.order import IllegalStep, Status, decided, packed, placed
from pipelines.orders.payment import payment
from pipelines.orders.shop import Shop
from pipelines.orders.simulated.gateway import rule
from pipelines.orders.world import World, simulated
from reactor import Pipeline

pytestmark = pytest.mark.asyncio
NOWHERE = World("http://127.0.0.1:9", 9)
WHEN = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def numbers(*, declined: bool, count: int) -> list[str]:
    """The first invoice numbers whose charge is answered so, at once."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        to = rule(f"order-{number}")
        if to.declined == declined and not to.troubles:
            found.append(str(number))
    return found


PAID, OTHER, THIRD = numbers(declined=False, count=3)
(DECLINED,) = numbers(declined=True, count=1)


def order(invoice: str, quantity: int = 2) -> OrderCompleted:
    lines = (Line("85123A", "HEART", quantity, Decimal("2.55")), Line("POST", None, 1, Decimal(1)))
    return OrderCompleted(invoice=invoice, customer_id="17850", country="EIRE", placed_at=WHEN, lines=lines)


def given_back(invoice: str, quantity: int) -> OrderCancelled:
    lines = (Line("POST", None, -1, Decimal(1)), Line("85123A", "HEART", -quantity, Decimal("2.55")))
    return OrderCancelled(
        invoice=invoice,
        customer_id="17850",
        country="EIRE",
        cancelled_at=WHEN + timedelta(hours=1),
        lines=lines,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def publish(home: Home, *events: OrderEvent) -> None:
    await home.orders().publish(events, id=invoice_of)


async def run(home: Home, *groups: str) -> None:
    """Run payment and fulfilment until these groups are at the topic's end."""
    async with AsyncExitStack() as stack:
        orders = await stack.enter_async_context(home.orders())
        world = await stack.enter_async_context(simulated(home))
        pipelines: list[Pipeline] = []
        if "payment" in groups:
            pipelines.append(await stack.enter_async_context(payment(home, world)))
        pipelines.append(await stack.enter_async_context(fulfilment(home, NOWHERE)))
        runs = [await stack.enter_async_context(pipeline.start()) for pipeline in pipelines]
        end = await orders.length()
        while all(run.state == "running" for run in runs):
            positions = await orders.groups()
            if all(positions.get(group) == end for group in groups):
                return
            await asyncio.sleep(0.01)


async def told(home: Home, invoice: str) -> list[str]:
    return [event.type async for event in home.steps().read(f"order-{invoice}")]


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


# The orders -------------------------------------------------------------------------------------------------


async def test_an_order_goes_its_way(home: Home) -> None:
    await publish(home, order(PAID), order(DECLINED), order(OTHER, 3), given_back("C7", 3))
    await run(home, "payment", NAME)
    assert await told(home, PAID) == ["Placed", "Paid", "Packed", "Shipped"]
    assert await told(home, DECLINED) == ["Placed", "Declined"]
    assert await told(home, OTHER) == ["Placed", "Paid", "Packed", "Shipped", "Cancelled"]
    async with order_book(home) as book:
        assert (await book.order(DECLINED)).reason == "the card was declined"
        assert (await book.order(OTHER)).cancellation == "C7"
    times = [(event.time, event.metadata["by"]) async for event in home.steps().read(f"order-{OTHER}")]
    placed_at = round(WHEN.timestamp()) * 1_000_000
    assert [time - placed_at for time, _ in times] == [0, 0, 0, 0, 3_600_000_000]
    assert [by for _, by in times[1:]] == ["payment", NAME, NAME, NAME]


async def test_what_isnt_paid_isnt_packed(home: Home) -> None:
    await publish(home, order(PAID), order(DECLINED))
    await run(home, PLACING)
    assert await told(home, PAID) == await told(home, DECLINED) == ["Placed"]
    assert await home.orders().position(NAME) == 0
    await run(home, "payment", NAME)
    assert (await told(home, PAID))[-1] == "Shipped"


async def test_fulfilment_reads_as_far_as_payment_has_come(home: Home) -> None:
    await publish(home, order(PAID), order(OTHER), order(THIRD))
    source = Settled(home.orders(), NAME)
    await source.open()
    try:
        for settled in (1, 3):
            await home.orders().reset("payment", settled)
            await source.read(100)
            assert source.position() == settled
    finally:
        await source.close()


async def test_a_cancellation_that_comes_before_its_order_cancels_it_too_also_after_a_restart(
    home: Home,
) -> None:
    await publish(home, given_back("C7", 3), given_back("C8", 2))
    await run(home, "payment", NAME)
    await publish(home, order(PAID, 3), order(OTHER, 2), order(THIRD, 2))
    await run(home, "payment", NAME)
    assert (await told(home, PAID))[-2:] == ["Shipped", "Cancelled"]
    assert (await told(home, OTHER))[-2:] == ["Shipped", "Cancelled"]
    assert (await told(home, THIRD))[-1] == "Shipped"


@pytest.mark.parametrize("groups", [("payment",), (NAME,), (PLACING,), ("payment", NAME, PLACING)], ids=str)
async def test_all_read_again_writes_nothing_again(home: Home, groups: tuple[str, ...]) -> None:
    await publish(home, order(PAID), order(DECLINED), order(OTHER, 3), given_back("C7", 3))
    await run(home, "payment", NAME, PLACING)
    before = await home.steps().read_all(category="order").collect()
    for group in groups:
        await home.orders().reset(group, 0)
    await run(home, "payment", NAME, PLACING)
    assert await home.steps().read_all(category="order").collect() == before


async def test_a_half_told_story_is_told_to_its_end(home: Home) -> None:
    """As it is when a process dies in the middle: payment has committed, fulfilment hasn't."""
    await publish(home, order(PAID))
    await run(home, "payment", NAME)
    await home.orders().reset(NAME, 0)
    event = order(OTHER)
    accepted = Payment(invoice=OTHER, amount=Decimal("6.10"), reference="ch_1")
    async with order_book(home) as book:
        await book.take(OTHER, placed(event, NAME), decided(event, accepted, "payment"), packed(event, NAME))
    await publish(home, event)
    await home.orders().reset("payment", 2)
    await run(home, NAME)
    assert await told(home, OTHER) == ["Placed", "Paid", "Packed", "Shipped"]


async def test_an_order_that_payment_knows_nothing_of_stops_fulfilment_and_says_so(home: Home) -> None:
    await publish(home, order(PAID))
    await run(home, PLACING)
    async with home.orders() as orders:
        await orders.reset("payment", 1)
        with pytest.raises(IllegalStep, match=rf"order {PAID} is placed \(version 0\): it can't be packed"):
            await run(home, NAME)
    assert await told(home, PAID) == ["Placed"]


async def test_fulfilment_doesnt_wait_for_a_payment_that_has_failed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "CALLS", 1)
    await publish(home, order(PAID), order(OTHER))
    shop = Shop(home)
    shop.part("producer").state = "done"
    with anyio.fail_after(20):
        await shop.run(None, NOWHERE, "payment", NAME)
    assert {name: part.state for name, part in shop.parts.items()} == {
        "producer": "done",
        "payment": "failed",
        NAME: "done",
    }
    assert await told(home, PAID) == ["Placed"]


# The stock --------------------------------------------------------------------------------------------------


async def take_stock(home: Home) -> list[tuple[object, ...]]:
    async with home.orders() as orders, inventory(home, NOWHERE) as pipeline, pipeline.start() as run:
        while run.state == "running" and await orders.position("inventory") != await orders.length():
            await asyncio.sleep(0.01)
    return await asyncio.to_thread(rows, home.stock, "SELECT * FROM stock")


def spoiled(home: Home) -> None:
    with closing(sqlite3.connect(home.stock)) as db:
        db.execute("UPDATE stock SET quantity = 0")
        db.execute("DELETE FROM applied")
        db.commit()


def deleted(home: Home) -> None:
    for path in home.path.glob("stock.db*"):
        path.unlink()


async def test_a_deleted_table_is_there_again_after_the_next_start(home: Home) -> None:
    await publish(home, order(PAID), order(OTHER, 3), given_back("C7", 1))
    before = await take_stock(home)
    assert before == [("85123A", -4, 3), ("POST", -1, 3)]
    await asyncio.to_thread(deleted, home)
    assert await take_stock(home) == before


@pytest.mark.parametrize("spoil", [spoiled, deleted])
async def test_the_table_can_be_made_anew(home: Home, spoil: Callable[[Home], None]) -> None:
    await publish(home, order(PAID), order(OTHER, 3))
    before = await take_stock(home)
    await asyncio.to_thread(spoil, home)
    await publish(home, order(THIRD, 1))
    await stock(home).rebuild()
    assert await stock(home).query("SELECT * FROM stock") == [("85123A", -6, 3), ("POST", -3, 3)]
    assert await stock(home).query("SELECT count(*) FROM applied") == [(3,)]
    assert before != await take_stock(home) == [("85123A", -6, 3), ("POST", -3, 3)]


async def test_what_is_said_of_an_order_changes_nothing_of_the_stock(home: Home) -> None:
    await publish(home, order(PAID), order(DECLINED))
    before = await take_stock(home)
    await run(home, "payment", NAME)
    assert await stock(home).catch_up() > 2
    assert await take_stock(home) == before
    async with order_book(home) as book:
        assert (await book.order(PAID)).status == Status.shipped
