"""The tables at the end of a run: what adds up, and what bounded the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.orders.check import Check
from pipelines.orders.events import grouped
from pipelines.orders.findings import RETURNS, WEEK, Findings
from pipelines.orders.home import Home
from pipelines.orders.payment import CONCURRENCY
from pipelines.orders.report import Report
from pipelines.orders.simulated.gateway import rule

_BLOCKS = "▁▂▃▄▅▆▇█"


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
    table = _table("Where the orders are", "orders")
    for status, count in figures.orders_by_status.items():
        if count:
            table.add_row(status, f"{count:,}")
    console.print(table, "")
    table = _table("What the consumers did", "handled", "failed", "dead letters")
    for name, consumer in figures.consumers.items():
        failed = Text(f"{consumer.failed:,}", "bold red" if consumer.failed else "")
        table.add_row(name, f"{consumer.handled:,}", failed, f"{consumer.dead_letters:,}")
    console.print(table, "")


def show_findings(console: Console, findings: Findings) -> None:
    """Show what the orders tell, in a few lines; the page beside the report has the rest."""
    table = Table(title="What the orders tell", title_justify="left", title_style="bold", box=None)
    table.pad_edge = False
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column()
    days = sorted(findings.revenue)
    if days:
        best = max(days, key=lambda day: findings.revenue[day])
        last = findings.last_week
        countries = sorted(findings.revenue_by_country.items(), key=lambda pair: -pair[1])
        whole = findings.amount or Decimal(1)
        shares = (f"{country} {amount / whole:.1%}" for country, amount in countries[:3])
        table.add_row(
            "revenue by day", f"{_curve([findings.revenue[day] for day in days])}  {len(days):,} days"
        )
        table.add_row("best day", f"{best:%A}, {best}: {grouped(findings.revenue[best])} GBP")
        table.add_row(f"{len(countries):,} countries", ", ".join(shares))
        if last is not None:
            top = "\n".join(f"{sold.units:,} {sold.description or sold.code}" for sold in last[1][:3])
            table.add_row(f"sold most in {WEEK.days} days", top)
    sessions = f"{findings.sessions:,}, of {findings.mean_session:,.1f} s in the mean"
    table.add_row("customers' sessions", sessions)
    joined = f"{len(findings.returns):,} of {findings.cancellations:,} within {RETURNS.days} days"
    table.add_row("cancellations joined", joined)
    late = f"{findings.late.orders:,} orders, {grouped(findings.late.amount)} GBP"
    table.add_row("late", late)
    console.print(table, "", highlight=False)


def _curve(amounts: Sequence[Decimal]) -> str:
    """Draw the amounts as blocks, as many beside each other as a line has room for."""
    step = -(-len(amounts) // 40)
    sums = [sum(amounts[at : at + step], Decimal(0)) for at in range(0, len(amounts), step)]
    highest = max(*sums, Decimal(1))
    return "".join(_BLOCKS[int(max(amount, Decimal(0)) * 7 // highest)] for amount in sums)


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
