"""What ``history`` and ``as-of`` print."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.orders.events import grouped
from pipelines.orders.order import Cancelled, Declined, Packed, Paid, Placed, Shipped, Status, Step
from pipelines.orders.past import ShopThen, Told

COLOURS = {
    Status.placed: "",
    Status.paid: "cyan",
    Status.declined: "red",
    Status.packed: "cyan",
    Status.shipped: "green",
    Status.cancelled: "yellow",
}

_NEXT = {
    Status.placed: "to be paid",
    Status.paid: "to be packed",
    Status.declined: "stays here",
    Status.packed: "to be shipped",
    Status.shipped: "done",
    Status.cancelled: "done",
}
_WIDE = 130


def show_story(console: Console, told: Sequence[Told]) -> None:
    """Print each step with its version, its time and the order after it."""
    last = told[-1].order
    customer = "a guest" if last.customer_id is None else f"customer {last.customer_id}"
    wide = console.width >= _WIDE
    table = _table(f"Order {last.invoice} of {customer}, {last.country}")
    table.add_column("", justify="right", style="dim")
    table.add_column("time, UTC", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("details")
    table.add_column("the order then", no_wrap=True)
    if wide:
        table.add_column("recorded", style="dim", no_wrap=True)
    for each in told:
        status = each.order.status
        assert status is not None
        recorded = [f"{_recorded(each)} by {each.by}"] if wide else []
        table.add_row(
            str(each.order.version),
            _time(each.time),
            Text(type(each.step).__name__, COLOURS[status] or "bold"),
            details(each.step),
            f"{status.value}, {_NEXT[status]}",
            *recorded,
        )
    console.print(table, highlight=False)
    if not wide:
        parts = " and ".join(sorted({each.by for each in told}))
        console.print(
            Text(f"recorded {_recorded(told[0])} to {_recorded(told[-1])} by {parts}", "dim"),
            highlight=False,
            soft_wrap=True,
        )


def details(step: Step) -> str:
    match step:
        case Placed():
            return f"{_counted(step.units, 'unit')}, {grouped(step.amount)} GBP"
        case Paid(reference=None):
            return "nothing was to be paid"
        case Paid():
            return f"{grouped(step.amount)} GBP, {step.reference}"
        case Declined():
            return step.reason
        case Packed():
            return _counted(step.units, "unit")
        case Shipped():
            return f"to {step.country}"
        case Cancelled():
            return f"{grouped(-step.amount)} GBP given back by {step.cancellation}"


def show_shop(console: Console, then: ShopThen) -> None:
    """Print what the shop was at that time."""
    console.print(Text(f"The shop as of {_time(then.time)} UTC\n", "bold"))
    if not then.orders and then.first is not None and then.first > then.time:
        console.print(
            f"Nothing had happened yet: the first event is of {_time(then.first)}.", highlight=False
        )
        return
    table = _table("Orders")
    table.add_column("")
    table.add_column("orders", justify="right")
    table.add_column("amount, GBP", justify="right")
    for status, count in then.by_status.items():
        if count:
            name = Text(status.value, COLOURS[status])
            table.add_row(name, f"{count:,}", grouped(then.amounts[status]))
    table.add_row("in all", f"{then.orders:,}", grouped(then.placed), style="bold")
    console.print(table, "", highlight=False)
    table = _table("Revenue")
    table.add_column("")
    table.add_column("amount, GBP", justify="right")
    table.add_row("paid", grouped(then.paid))
    table.add_row("given back", grouped(then.given_back))
    table.add_row("revenue", grouped(then.revenue), style="bold")
    console.print(table, "", highlight=False)
    table = _table("Stock of what sold most (it begins at 0)")
    table.add_column("")
    table.add_column("", overflow="ellipsis", no_wrap=True)
    table.add_column("sold", justify="right")
    table.add_column("in stock", justify="right")
    for product in then.top:
        table.add_row(
            Text(product.stock_code, "dim"), product.description, f"{product.sold:,}", f"{product.stock:,}"
        )
    table.add_row("", f"all {then.products:,} products", "", f"{then.units:,}", style="bold")
    console.print(table, highlight=False)
    if then.waiting > 0:
        behind = (
            f"{_counted(then.waiting, 'order')} of that time not noted yet: `consume fulfilment` does that"
        )
        console.print("", Text(behind, "yellow"), highlight=False)


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _recorded(told: Told) -> str:
    return told.recorded[:23].replace("T", " ")


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
