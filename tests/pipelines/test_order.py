"""The order as an aggregate: which step may follow which, each once, whoever is faster."""

from contextlib import AsyncExitStack
from copy import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import anyio
import pytest

from pipelines.orders.book import OrderBook, order_book
from pipelines.orders.events import Line, OrderCancelled, OrderCompleted, Payment, Refusal
from pipelines.orders.givenback import GivingBack
from pipelines.orders.home import Home
from pipelines.orders.order import (
    Cancelled,
    Declined,
    IllegalStep,
    Next,
    Order,
    Packed,
    Paid,
    Placed,
    Shipped,
    Status,
    Step,
    cancelled,
    decided,
    just_placed,
    packed,
    placed,
    shipped,
)
from pipelines.orders.payment import record

WHEN = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
DAY = timedelta(days=1)
PLACED = Placed(invoice="1", customer_id="17850", country="EIRE", lines=1, units=2, amount=Decimal("5.10"))
STEPS: dict[Status, Step] = {
    Status.placed: PLACED,
    Status.paid: Paid(amount=Decimal("5.10"), reference="ch_1"),
    Status.declined: Declined(amount=Decimal("5.10"), reason="the card was declined"),
    Status.packed: Packed(units=2),
    Status.shipped: Shipped(country="EIRE"),
    Status.cancelled: Cancelled(cancellation="C2", amount=Decimal("-5.10")),
}
LEGAL = {
    (None, "placed"),
    ("placed", "paid"),
    ("placed", "declined"),
    ("paid", "packed"),
    ("packed", "shipped"),
    *((status, "cancelled") for status in ("paid", "declined", "packed", "shipped")),
}
SHOP_WAYS = (["placed", "paid", "packed", "shipped", "cancelled"], ["placed", "declined", "cancelled"])


def order(
    invoice: str = "1", quantity: int = 2, *, customer: str | None = "17850", at: datetime = WHEN
) -> OrderCompleted:
    lines = (Line("85123A", "HEART", quantity, Decimal("2.55")),)
    return OrderCompleted(invoice=invoice, customer_id=customer, country="EIRE", placed_at=at, lines=lines)


def given_back(
    invoice: str = "C2", quantity: int = -2, *, customer: str = "17850", at: datetime = WHEN + DAY
) -> OrderCancelled:
    lines = (Line("85123A", "HEART", quantity, Decimal("2.55")),)
    return OrderCancelled(invoice=invoice, customer_id=customer, country="EIRE", cancelled_at=at, lines=lines)


def paid(reference: str = "ch_1") -> Next:
    return decided(order(), Payment(invoice="1", amount=Decimal("5.10"), reference=reference), "payment")


# Which step may follow which --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", Status)
@pytest.mark.parametrize("before", [None, *Status])
def test_a_step_follows_what_it_may_follow_and_nothing_else(before: Status | None, step: Status) -> None:
    now = Order("1", before, 3)
    if (before, step) in LEGAL:
        now.check(STEPS[step])
        assert now.after(STEPS[step], "x").status == step
    else:
        with pytest.raises(IllegalStep) as refused:
            now.check(STEPS[step])
        state = "not placed yet" if before is None else before.value
        assert str(refused.value).startswith(f"order 1 is {state} (version 3): it can't be {step.value}; ")


def test_a_refusal_says_what_could_be_done() -> None:
    with pytest.raises(IllegalStep, match=r"; only one that is paid can$"):
        Order("1", Status.declined).check(STEPS[Status.packed])
    with pytest.raises(IllegalStep, match=r"; only one that is paid, declined, packed or shipped can$"):
        Order("1", Status.placed).check(STEPS[Status.cancelled])


@pytest.mark.parametrize("way", SHOP_WAYS, ids="-".join)
def test_the_state_comes_from_the_steps(way: list[str]) -> None:
    now = Order("1")
    for step in way:
        now = now.after(STEPS[Status(step)], step)
    assert (now.status, now.version, now.ids) == (Status.cancelled, len(way) - 1, tuple(way))
    assert (now.customer_id, now.country, now.units, now.amount) == ("17850", "EIRE", 2, Decimal("5.10"))
    assert now.paid == (Decimal("5.10") if "paid" in way else 0)
    assert now.reason == ("the card was declined" if "declined" in way else None)
    assert now.cancellation == "C2"


def test_steps_of_the_file_have_its_time_and_those_of_the_web_have_the_clocks() -> None:
    assert packed(order(), "x").time == shipped(order(), "x").time == paid().time == WHEN
    assert cancelled(given_back(), "x").time == WHEN + DAY
    assert datetime.now(UTC) - packed(order("W1"), "x").time < timedelta(minutes=1)
    assert placed(order("W1"), "x").time == WHEN


# The book ---------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def steps(home: Home, invoice: str = "1") -> list[str]:
    return [event.type async for event in home.steps().read(f"order-{invoice}")]


@pytest.mark.anyio
async def test_a_step_that_is_taken_again_is_there_once(home: Home) -> None:
    async with order_book(home) as book:
        for _ in range(2):
            await book.take("1", placed(order(), "a"), believed=Order("1"))
            await book.take("1", paid(), believed=just_placed("1"))
            await book.take("1", packed(order(), "b"), shipped(order(), "b"))
        assert (await book.order("1")).status == Status.shipped
    assert await steps(home) == ["Placed", "Paid", "Packed", "Shipped"]


@pytest.mark.anyio
async def test_of_several_steps_those_are_taken_that_are_missing(home: Home) -> None:
    async with order_book(home) as book:
        await book.take("1", placed(order(), "a"))
        now = await book.take("1", placed(order(), "b"), paid(), believed=Order("1"))
        assert (now.status, now.version) == (Status.paid, 1)
    assert await steps(home) == ["Placed", "Paid"]


@pytest.mark.anyio
async def test_a_step_that_doesnt_fit_is_refused_and_those_with_it(home: Home) -> None:
    async with order_book(home) as book:
        with pytest.raises(IllegalStep, match=r"order 1 is not placed yet"):
            await book.take("1", paid())
        await book.take("1", placed(order(), "a"))
        with pytest.raises(IllegalStep, match=r"order 1 is placed .*can't be shipped"):
            await book.take("1", shipped(order(), "a"))
        with pytest.raises(IllegalStep, match=r"order 1 is paid .*can't be shipped"):
            await book.take("1", paid(), shipped(order(), "a"))
        # What was believed is wrong: the store finds out, and the order is read again.
        with pytest.raises(IllegalStep, match=r"order 1 is placed "):
            await book.take("1", packed(order(), "a"), believed=Order("1", Status.paid, 1))
    assert await steps(home) == ["Placed"]


@pytest.mark.anyio
async def test_all_who_know_of_a_step_may_take_it_at_the_same_time(home: Home) -> None:
    """Placing and payment race for the beginning of each stream, from two books on the file."""
    count = 40
    decision = Payment(invoice="", amount=Decimal("5.10"), reference="ch_1")
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        one = await stack.enter_async_context(order_book(home))
        other = await stack.enter_async_context(order_book(copy(home)))
        for n in range(count):
            event = order(str(n))
            tasks.start_soon(one.take, event.invoice, placed(event, "placing"))
            tasks.start_soon(record, other, event, decision)
            tasks.start_soon(record, one, event, decision)
    for n in range(count):
        assert await steps(home, str(n)) == ["Placed", "Paid"]


@pytest.mark.anyio
async def test_of_two_decisions_at_the_same_time_one_is_refused(home: Home) -> None:
    refused: list[str] = []

    async def decide(book: OrderBook, decision: Payment | Refusal) -> None:
        try:
            await record(book, order(), decision)
        except IllegalStep as illegal:
            refused.append(str(illegal))

    async with order_book(home) as book:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decide, book, Payment(invoice="1", amount=Decimal("5.10"), reference="ch_1"))
            tasks.start_soon(decide, book, Refusal(invoice="1", reason="no"))
        now = await book.order("1")
    assert len(refused) == 1
    assert now.version == 1
    assert refused[0].startswith(f"order 1 is {now.status} (version 1): it can't be ")


# What is given back -----------------------------------------------------------------------------------------


def matches(*events: OrderCompleted | OrderCancelled) -> set[tuple[str, str]]:
    giving_back = GivingBack()
    found = map(giving_back.add, events)
    return {(match.order, match.cancellation.invoice) for match in found if match is not None}


def test_a_cancellation_of_all_that_an_order_had_cancels_it_in_whatever_order_they_come() -> None:
    for events in permutations([order("1"), given_back("C2"), order("3", 7), given_back("C4", -1)]):
        assert matches(*events) == {("1", "C2")}


def test_it_cancels_the_newest_such_order() -> None:
    orders = [order(str(n), at=WHEN + n * DAY) for n in range(4)]
    assert matches(*orders, given_back("C1", at=WHEN + 2 * DAY)) == {("2", "C1")}
    both = given_back("C1", at=WHEN + 2 * DAY), given_back("C2", at=WHEN + 2 * DAY)
    assert matches(*orders, *both) == {("2", "C1"), ("1", "C2")}


def test_it_cancels_no_order_of_others_of_later_or_of_long_before() -> None:
    assert matches(order(customer="1"), given_back(customer="2")) == set()
    assert matches(order(customer=None), given_back()) == set()
    assert matches(order(at=WHEN + 2 * DAY), given_back(at=WHEN + DAY)) == set()
    assert matches(order(), given_back(at=WHEN + 30 * DAY)) == {("1", "C2")}
    assert matches(order(), given_back(at=WHEN + 30 * DAY + timedelta(seconds=1))) == set()
