"""The tables at the end of a run: what adds up, and what bounded the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.orders.events import grouped
from pipelines.orders.home import Home
from pipelines.orders.payment import CONCURRENCY
from pipelines.orders.reconcile import Check
from pipelines.orders.report import Report
from pipelines.orders.simulated.gateway import rule


@dataclass(frozen=True)
class Decided:
    """How many payments and declined ones there were at some time."""

    payments: int
    declined: int


async def decided(home: Home) -> Decided:
    return Decided(await home.payments().length(), await home.dead_letters("payments.dead").length())


@dataclass(frozen=True)
class Bound:
    """What a run had to wait for at the gateway, and how long it took."""

    charges: int
    gateway: float
    """Seconds of all charges together: delays, failed attempts and Retry-After, by the gateway's rule."""
    wall: float
    cpu: float

    @property
    def least(self) -> float:
        """The shortest time in which the gateway lets them pass."""
        return self.gateway / CONCURRENCY

    def __str__(self) -> str:
        if not self.charges:
            return f"Nothing was left to charge; this run took {self.wall:,.1f} s."
        waited = (
            f"It kept {self.charges:,} charges waiting for {self.gateway:,.1f} s; {CONCURRENCY} at a time, "
            f"that is at least {self.least:,.1f} s of the {self.wall:,.1f} s ({self.least / self.wall:.0%})"
        )
        cpu = f"this process worked for {self.cpu:,.1f} s of them"
        if self.least >= max(self.wall / 2, self.cpu):
            return f"What bounded the run: the simulated gateway's delay. {waited}; {cpu}."
        return f"The simulated gateway's delay alone didn't bound this run. {waited}; {cpu}."


async def bound(home: Home, before: Decided, wall: float, cpu: float) -> Bound:
    """Return what the charges since ``before`` had to wait for."""
    charges = 0
    seconds = 0.0
    async for payment in home.payments().records(before.payments):
        if payment.value.reference is not None:
            charges += 1
            seconds += rule(f"order-{payment.value.invoice}").seconds
    async for letter in home.dead_letters("payments.dead").records(before.declined):
        charges += 1
        seconds += rule(f"order-{letter.value.event['invoice']}").seconds
    return Bound(charges, seconds, max(wall, 0.001), cpu)


def show_figures(console: Console, figures: Report) -> None:
    table = _table("What came in", "invoices", "amount, GBP")
    table.add_row("orders", f"{figures.orders:,}", _amount(figures.order_total))
    table.add_row("  of them by guests", f"{figures.guest_orders:,}", "")
    table.add_row("cancellations", f"{figures.cancellations:,}", _amount(figures.cancellation_total))
    table.add_row("stock adjustments", f"{figures.stock_adjustments:,}", "")
    table.add_row("in all", f"{figures.invoices:,}", _amount(figures.net_total), style="bold")
    table.add_row("dead letters", f"{figures.dead_letters:,}", "")
    console.print(table, "")
    table = _table("What the consumers did", "handled", "failed", "dead letters")
    for name, consumer in figures.consumers.items():
        failed = Text(f"{consumer.failed:,}", "bold red" if consumer.failed else "")
        table.add_row(name, f"{consumer.handled:,}", failed, f"{consumer.dead_letters:,}")
    console.print(table, "")


def show_checks(console: Console, checks: Sequence[Check]) -> bool:
    """Print the table; return whether everything adds up."""
    table = _table("Does it add up?", "expected", "found", "")
    part = ""
    for check in checks:
        mark = Text("✓", "green") if check.holds else Text("✗", "bold red")
        what = Text(f"{'' if check.part == part else check.part:<11}", "bold").append(check.what, "not bold")
        part = check.part
        table.add_row(what, check.expected, check.found, mark)
        if check.differing:
            table.add_row(Text("           " + ", ".join(check.differing), "red"))
    console.print(table, "")
    return all(check.holds for check in checks)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", header_style="dim", no_wrap=True)
    return table


def _amount(text: str) -> str:
    return grouped(Decimal(text))
