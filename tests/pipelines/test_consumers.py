"""E-mail, inventory and payment against real servers on loopback."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from decimal import Decimal
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.orders import email as mail
from pipelines.orders.email import confirmation, email
from pipelines.orders.events import (
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    StockAdjusted,
    invoice_of,
    total,
)
from pipelines.orders.home import Home
from pipelines.orders.inventory import inventory
from pipelines.orders.payment import Gateway, Unavailable, payment, worth_a_retry
from pipelines.orders.simulated.gateway import Trouble, rule
from pipelines.orders.simulated.mailbox import BLOCKED
from pipelines.orders.world import World, simulated
from reactor import Pipeline

pytestmark = pytest.mark.asyncio
NOWHERE = World("http://127.0.0.1:9", 9)
WHEN = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def order(
    invoice: int | str, quantity: int = 2, price: str = "2.55", customer: str | None = "17850"
) -> OrderCompleted:
    lines = (Line("85123A", "PINK £ HEART", quantity, Decimal(price)),)
    return OrderCompleted(
        invoice=str(invoice), customer_id=customer, country="United Kingdom", placed_at=WHEN, lines=lines
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def publish(home: Home, *events: OrderEvent) -> None:
    await home.orders().publish(events, id=invoice_of)


async def caught_up(home: Home, name: str, pipeline: Pipeline) -> None:
    """Run it until its group is at the topic's end."""
    async with home.orders() as orders, pipeline.start() as run:
        end = await orders.length()
        while run.state == "running" and await orders.position(name) != end:
            await asyncio.sleep(0.01)


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


# Inventory --------------------------------------------------------------------------------------------------


async def test_orders_take_cancellations_give_back_adjustments_adjust(home: Home) -> None:
    lines = (Line("A", None, -4, Decimal(1)), Line("B", None, -1, Decimal(1)))
    await publish(
        home,
        OrderCompleted(
            invoice="1",
            customer_id=None,
            country="",
            placed_at=WHEN,
            lines=(Line("A", None, 10, Decimal(1)), Line("A", None, 2, Decimal(1))),
        ),
        OrderCancelled(invoice="C2", customer_id=None, country="", cancelled_at=WHEN, lines=lines),
        StockAdjusted(invoice="3", country="", adjusted_at=WHEN, lines=lines),
    )
    async with inventory(home, NOWHERE) as pipeline:
        await caught_up(home, "inventory", pipeline)
    assert rows(home.stock, "SELECT * FROM stock") == [("A", -12, 3), ("B", 0, 2)]
    assert rows(home.stock, "SELECT * FROM applied ORDER BY event") == [
        ("1", "OrderCompleted", -12),
        ("3", "StockAdjusted", -5),
        ("C2", "OrderCancelled", 5),
    ]


async def test_an_event_applied_twice_changes_nothing(home: Home) -> None:
    await publish(home, order(1, 5), order(2, 3))
    for _ in range(2):
        async with inventory(home, NOWHERE) as pipeline:
            await caught_up(home, "inventory", pipeline)
        await home.orders().reset("inventory", 0)
    assert rows(home.stock, "SELECT quantity, moves FROM stock") == [(-8, 2)]


async def test_events_that_fail_move_nothing(home: Home) -> None:
    await publish(home, order(1, 5), order(2, 2**70))
    async with inventory(home, NOWHERE) as pipeline:
        with pytest.raises(OverflowError):
            await caught_up(home, "inventory", pipeline)
    assert rows(home.stock, "SELECT event FROM applied UNION ALL SELECT code FROM stock") == []


# E-mail -----------------------------------------------------------------------------------------------------


async def test_a_mail_for_each_order_of_a_customer_and_none_for_guests(home: Home) -> None:
    await publish(home, order(1), order(2, customer=None), order(3, 7, "1.10", customer="12345"))
    async with simulated(home) as world, email(home, world) as pipeline:
        await caught_up(home, "email", pipeline)
    sent = [record.value.invoice async for record in home.emails().records()]
    assert sent == ["1", "3"]
    ((recipient, subject, content),) = rows(
        home.mail, "SELECT recipient, subject, content FROM mails WHERE message_id LIKE '%order-3@%'"
    )
    assert (recipient, subject) == ("customer-12345@customers.example", "Your order 3")
    text = message_from_bytes(content, policy=default).get_content()
    assert "7 x PINK £ HEART: 7.70 GBP" in text
    assert "Total: 7.70 GBP" in text


async def test_a_mail_sent_again_is_one_mail(home: Home) -> None:
    await publish(home, order(1))
    async with simulated(home) as world:
        for _ in range(2):
            async with email(home, world) as pipeline:
                await caught_up(home, "email", pipeline)
            await home.orders().reset("email", 0)
    assert rows(home.mail, "SELECT deliveries FROM mails") == [(2,)]
    assert await home.emails().length() == 1


async def test_a_mail_that_is_refused_for_good_is_a_dead_letter(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = mail.address
    monkeypatch.setattr(
        mail, "address", lambda order: f"x@{BLOCKED}" if order.invoice == "2" else known(order)
    )
    await publish(home, order(1), order(2), order(3))
    async with simulated(home) as world, email(home, world) as pipeline:
        await caught_up(home, "email", pipeline)
    assert [record.value.invoice async for record in home.emails().records()] == ["1", "3"]
    (letter,) = [record.value async for record in home.dead_letters("emails.dead").records()]
    assert letter.event == {
        "invoice": "2",
        "reason": f"x@{BLOCKED}: 550 5.1.1 no such mailbox",
        "amount": None,
    }
    assert letter.error.startswith("Refused: order 2: ")


async def test_a_mail_server_that_is_away_stops_the_consumer_which_goes_on_later(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "CALLS", 2)
    await publish(home, order(1))
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        async with email(home, NOWHERE) as pipeline:
            await caught_up(home, "email", pipeline)
    assert await home.emails().length() == 0
    async with simulated(home) as world, email(home, world) as pipeline:
        await caught_up(home, "email", pipeline)
    assert await home.emails().length() == 1


async def test_a_mail_is_plain_text_with_a_fixed_id() -> None:
    content = confirmation(order(1))
    assert content == confirmation(order(1))
    message = message_from_bytes(content, policy=default)
    assert message["Message-ID"] == "<order-1@shop.example>"
    assert message["Date"].datetime == WHEN


# Payment ----------------------------------------------------------------------------------------------------


def invoices(count: int, **wanted: Any) -> list[str]:
    """The first invoice numbers whose charge meets such a rule."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        to = rule(f"order-{number}")
        if all(getattr(to, name) == value for name, value in wanted.items()):
            found.append(str(number))
    return found


@asynccontextmanager
async def gateway(world: World) -> AsyncGenerator[Gateway, None]:
    async with httpx.AsyncClient(base_url=world.gateway, verify=False) as client:
        yield Gateway(client)


async def test_orders_are_paid_declined_or_free(home: Home) -> None:
    (good,) = invoices(1, declined=False, troubles=())
    (bad,) = invoices(1, declined=True, troubles=())
    await publish(home, order(good), order(bad, 3), order("0000", price="0.0"))
    async with simulated(home) as world, payment(home, world) as pipeline:
        await caught_up(home, "payment", pipeline)
    payments = {record.value.invoice: record.value async for record in home.payments().records()}
    assert payments[good].amount == Decimal("5.10")
    assert payments[good].reference is not None
    assert payments["0000"].reference is None
    (letter,) = [record.value async for record in home.dead_letters("payments.dead").records()]
    assert letter.event == {"invoice": bad, "amount": "7.65", "reason": "the card was declined"}
    assert letter.error == f"Declined: 7.65 GBP for order {bad}: the card was declined"
    assert letter.raw is not None
    assert f'"invoice":"{bad}"'.encode() in letter.raw


@pytest.mark.parametrize("trouble", [(Trouble.FAILS,), (Trouble.LOSES_ANSWER,) * 2, (Trouble.BUSY,)])
async def test_a_gateway_in_trouble_is_asked_again_and_charges_once(
    home: Home, trouble: tuple[Trouble, ...]
) -> None:
    (invoice,) = invoices(1, troubles=trouble, declined=False)
    await publish(home, order(invoice))
    async with simulated(home) as world, payment(home, world) as pipeline:
        await caught_up(home, "payment", pipeline)
    assert await home.payments().length() == 1
    assert rows(home.gateway, "SELECT key, status FROM charges") == [(f"order-{invoice}", "approved")]


async def test_the_gateway_says_when_to_come_back(home: Home) -> None:
    (invoice,) = invoices(1, troubles=(Trouble.BUSY,))
    async with simulated(home) as world, gateway(world) as charges:
        with pytest.raises(Unavailable) as unavailable:
            await charges.charge(order(invoice))
        assert worth_a_retry(unavailable.value) == 1.0
        await charges.charge(order(invoice))


async def test_a_charge_gives_the_same_answer_also_after_the_gateways_restart(home: Home) -> None:
    wanted = [order(invoice) for invoice in invoices(3, troubles=())]
    answers = []
    for _ in range(2):
        async with simulated(home) as world, gateway(world) as charges:
            answers += [[await charges.charge(each) for each in wanted] for _ in range(2)]
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert rows(home.gateway, "SELECT count(*) FROM charges") == [(3,)]


async def test_a_key_used_for_another_charge_is_refused(home: Home) -> None:
    (invoice,) = invoices(1, troubles=(), declined=False)
    async with simulated(home) as world, gateway(world) as charges:
        await charges.charge(order(invoice))
        refusal = await charges.charge(order(invoice, 3))
    assert "409" in getattr(refusal, "reason", "")


async def test_what_is_worth_a_retry() -> None:
    assert worth_a_retry(Unavailable(500, None)) is True
    assert worth_a_retry(Unavailable(429, 3.0)) == 3.0
    assert worth_a_retry(httpx.ConnectError("away")) is True
    assert worth_a_retry(TimeoutError()) is True
    assert worth_a_retry(KeyError("id")) is False


async def test_the_rule_has_some_of_everything() -> None:
    rules = [rule(f"order-{number}") for number in range(10_000)]
    assert 100 < sum(to.declined for to in rules) < 200
    assert 60 < sum(Trouble.BUSY in to.troubles for to in rules) < 140
    assert (
        240
        < sum(
            to.troubles[-1:] == (Trouble.FAILS,) or to.troubles[-1:] == (Trouble.LOSES_ANSWER,)
            for to in rules
        )
        < 360
    )
    assert rule("order-1") == rule("order-1")
    assert total(order(1).lines) == Decimal("5.10")
