"""Analytics works in event time: the order in which orders come doesn't matter, and what is late is counted."""

import csv
import gzip
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from pipelines.orders.analytics import WEB_DISORDER, Analytics, Published, analysis, wait_for
from pipelines.orders.cli import DECEMBER
from pipelines.orders.events import (
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    StockAdjusted,
    happened_at,
    invoice_of,
    total,
)
from pipelines.orders.expected import expected
from pipelines.orders.figures import Found
from pipelines.orders.findings import GAP, Findings, Return, Sales, encoded, load, save
from pipelines.orders.home import Home
from reactor import Pipeline, Record, Source, Stream

pytestmark = pytest.mark.asyncio
WHEN = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def analysed(events: Sequence[OrderEvent], disorder: timedelta = timedelta(0)) -> Findings:
    findings = Findings(waits={"file": wait_for(disorder)})

    def add(found: Found) -> None:
        where, result = found
        where(findings, result)

    await Pipeline("analytics", analysis(Stream(events), "file", disorder).to(add)).run()
    return findings


def plainly(events: Sequence[OrderEvent], findings: Findings) -> Findings:
    """What plain loops say, with the bound of the findings."""
    due = expected(events, findings.waits)
    del due.best["web"]
    return due


def disorder_of(events: Sequence[OrderEvent]) -> timedelta:
    """How far the events' times are at most behind the latest one before them."""
    latest, behind = datetime(2000, 1, 1, tzinfo=UTC), timedelta(0)
    for event in events:
        latest = max(latest, happened_at(event))
        behind = max(behind, latest - happened_at(event))
    return behind


def jittered(events: Sequence[OrderEvent], seed: int, most: timedelta) -> list[OrderEvent]:
    """As if each had been on its way for up to so long."""
    moving = random.Random(seed)
    arrivals = {event.invoice: happened_at(event) + most * moving.random() for event in events}
    return sorted(events, key=lambda event: arrivals[event.invoice])


def order(
    invoice: str,
    when: datetime = WHEN,
    *lines: tuple[str, int, str],
    customer: str | None = "17850",
    country: str = "United Kingdom",
) -> OrderCompleted:
    made = tuple(
        Line(code, f"THE {code}", n, Decimal(price)) for code, n, price in lines or [("A", 2, "1.25")]
    )
    return OrderCompleted(invoice=invoice, customer_id=customer, country=country, placed_at=when, lines=made)


def cancellation(
    invoice: str, when: datetime, *lines: tuple[str, int, str], customer: str | None = "17850"
) -> OrderCancelled:
    made = tuple(Line(code, None, -n, Decimal(price)) for code, n, price in lines or [("A", 1, "1.25")])
    return OrderCancelled(invoice=invoice, customer_id=customer, country="", cancelled_at=when, lines=made)


# December -------------------------------------------------------------------------------------------------------


def from_the_rows() -> tuple[dict[date, Decimal], Counter[str]]:
    """Revenue by day, and orders by customer, straight from the file: no line of the application has a part."""
    invoices: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(gzip.decompress(DECEMBER.read_bytes()).decode())):
        invoices[row["InvoiceNo"]].append(row)
    revenue: defaultdict[date, Decimal] = defaultdict(Decimal)
    customers: Counter[str] = Counter()
    for number, rows in invoices.items():
        if number.isdecimal() and all(int(row["Quantity"]) > 0 for row in rows):
            day = date.fromisoformat(min(row["InvoiceDate"] for row in rows)[:10])
            revenue[day] += sum(int(row["Quantity"]) * Decimal(row["UnitPrice"]) for row in rows)
            customers[rows[0]["CustomerID"]] += 1
    return dict(revenue), customers


async def test_december_has_the_revenue_of_its_rows_on_each_day(december: list[OrderEvent]) -> None:
    findings = await analysed(december)
    revenue, customers = from_the_rows()
    assert findings.revenue == revenue
    assert len(revenue) == 20
    assert findings.amount == Decimal("823746.14")
    assert revenue[date(2010, 12, 7)] == Decimal("99618.20")
    assert (
        sum(findings.revenue_by_country.values()) == sum(findings.revenue_by_hour.values()) == findings.amount
    )
    guests = customers.pop("")
    in_sessions = sum(size * count for size, count in findings.sessions_by_orders.items())
    assert (in_sessions, guests, findings.orders) == (sum(customers.values()), 229, 1629)
    assert findings.late.events == 0


async def test_december_is_what_plain_loops_say(december: list[OrderEvent]) -> None:
    findings = await analysed(december)
    assert findings == plainly(december, findings)
    assert (findings.windows, findings.sessions, len(findings.returns)) == (1481, 1244, 151)
    assert findings.best["file"][date(2010, 12, 7)][0] == Sales(
        "84077", 3467, "WORLD WAR 2 GLIDERS ASSTD DESIGNS"
    )


@pytest.mark.parametrize("seed", range(3))
async def test_a_shuffled_month_gives_the_same_when_the_bound_covers_the_disorder(
    december: list[OrderEvent], seed: int
) -> None:
    shuffled = random.Random(seed).sample(december, len(december))
    disorder = disorder_of(shuffled)
    assert disorder > timedelta(days=20)
    findings = await analysed(shuffled, disorder)
    assert findings == plainly(december, findings)


@pytest.mark.parametrize("most", [timedelta(minutes=5), timedelta(hours=3), timedelta(days=2)])
async def test_orders_that_are_late_within_the_bound_give_the_same(
    december: list[OrderEvent], most: timedelta
) -> None:
    moved = jittered(december, 7, most)
    disorder = disorder_of(moved)
    assert timedelta(0) < disorder <= most
    findings = await analysed(moved, disorder)
    assert findings.revenue == from_the_rows()[0]
    assert findings == plainly(moved, findings)


@pytest.mark.parametrize(
    ("most", "bound"),
    [
        (timedelta(hours=3), timedelta(0)),
        (timedelta(hours=3), timedelta(hours=1)),
        (timedelta(hours=3), timedelta(hours=2)),
        (timedelta(days=60), timedelta(days=3)),
    ],
)
async def test_with_a_smaller_bound_exactly_the_late_ones_are_counted(
    december: list[OrderEvent], most: timedelta, bound: timedelta
) -> None:
    moved = jittered(december, 11, most)
    late: list[OrderCompleted] = []
    latest = datetime(2000, 1, 1, tzinfo=UTC)
    for event in moved:
        if isinstance(event, StockAdjusted):
            continue
        time = happened_at(event)
        # Its minute is gone when something more than the bound behind the minute's end has come.
        if isinstance(event, OrderCompleted) and latest - bound > time.replace(second=0) + MINUTE:
            late.append(event)
        latest = max(latest, time)
    findings = await analysed(moved, bound)
    assert findings.late.orders == len(late) > 0
    assert findings.late.amount == sum(total(event.lines) for event in late)
    by_day: defaultdict[date, Decimal] = defaultdict(Decimal)
    for event in late:
        by_day[event.placed_at.date()] += total(event.lines)
    assert findings.late.revenue == by_day
    whole = from_the_rows()[0]
    assert {day: findings.revenue.get(day, 0) + by_day[day] for day in whole} == whole
    # Nothing is in two places, or in none, in the sessions either.
    in_sessions = sum(size * count for size, count in findings.sessions_by_orders.items())
    assert in_sessions + findings.late.visits == 1400


# Each figure ----------------------------------------------------------------------------------------------------


async def test_revenue_is_by_country_and_minute() -> None:
    findings = await analysed(
        [
            order("1", WHEN, ("A", 1, "0.10")),
            order("2", WHEN, ("A", 1, "0.20")),
            order("3", WHEN, ("A", 1, "4.00"), country="Japan"),
            order("4", WHEN + MINUTE, ("A", 1, "1.005")),
            StockAdjusted(invoice="5", country="Japan", adjusted_at=WHEN, lines=()),
        ]
    )
    assert findings.windows == 3
    assert findings.revenue == {WHEN.date(): Decimal("5.305")}
    assert findings.revenue_by_country == {"United Kingdom": Decimal("1.305"), "Japan": Decimal("4.00")}
    assert findings.revenue_by_hour == {"3 08": Decimal("5.305")}  # a Wednesday


async def test_best_sellers_are_those_of_the_last_seven_days() -> None:
    day = timedelta(days=1)
    findings = await analysed(
        [
            order("1", WHEN, ("A", 5, "1"), ("B", 3, "1")),
            order("2", WHEN + 6 * day, ("B", 3, "1")),
            order("3", WHEN + 7 * day, ("B", 1, "1"), ("C", 2, "1")),
        ]
    )
    first = WHEN.date()
    weeks = findings.best["file"]
    tops = {(last - first).days: [(sold.code, sold.units) for sold in top] for last, top in weeks.items()}
    assert tops[0] == tops[5] == [("A", 5), ("B", 3)]
    assert tops[6] == [("B", 6), ("A", 5)]
    assert tops[7] == [("B", 4), ("C", 2)]
    assert tops[13] == [("C", 2), ("B", 1)]
    assert sorted(tops) == list(range(14))
    assert findings.last_week == (first + 7 * day, weeks[first + 7 * day])


async def test_a_session_ends_when_the_gap_is_exceeded() -> None:
    times = [WHEN, WHEN + GAP, WHEN + 2 * GAP + MINUTE, WHEN + 3 * GAP]
    assert [b - a > GAP for a, b in pairwise(times)] == [False, True, False]
    others = [order(f"9{n}", time, customer="9") for n, time in enumerate(times[1:2])]
    ours = [order(f"{n}", time) for n, time in enumerate(times)]
    guest = order("7", WHEN, customer=None)
    findings = await analysed(sorted([*others, *ours, guest], key=happened_at))
    assert findings.sessions_by_orders == {2: 2, 1: 1}
    assert findings.session_seconds == (GAP + GAP - MINUTE).total_seconds()
    assert findings.mean_session == findings.session_seconds / 3


async def test_a_cancellation_has_the_newest_order_that_has_its_product() -> None:
    day = timedelta(days=1)
    findings = await analysed(
        [
            order("1", WHEN, ("A", 1, "1")),
            order("2", WHEN + 1 * day, ("A", 1, "1"), ("B", 1, "1")),
            order("3", WHEN + 2 * day, ("C", 1, "1")),
            order("4", WHEN + 2 * day, ("A", 1, "1"), customer="12345"),
            cancellation("C1", WHEN + 3 * day, ("A", 2, "1.50"), ("D", 1, "9")),
            order("5", WHEN + 4 * day, ("A", 1, "1")),  # after it
            cancellation("C2", WHEN + 5 * day, ("A", 1, "1"), customer=None),
            cancellation("C3", WHEN + 34 * day, ("A", 1, "1")),
            cancellation("C4", WHEN + 34 * day + MINUTE, ("A", 1, "1")),  # a minute more than 30 days
        ]
    )
    assert findings.returns == {
        "C1": Return("2", WHEN + 1 * day, WHEN + 3 * day, Decimal("-3.00")),
        "C3": Return("5", WHEN + 4 * day, WHEN + 34 * day, Decimal("-1")),
    }
    assert findings.returns["C1"].days == 2.0
    assert findings.cancellations == 4


async def test_the_figures_stand_in_the_file_as_they_are(december: list[OrderEvent], tmp_path: Path) -> None:
    findings = await analysed(december)
    path = tmp_path / "analytics.json"
    assert await anyio.to_thread.run_sync(load, path) == Findings()
    await anyio.to_thread.run_sync(save, encoded(findings), path)
    assert await anyio.to_thread.run_sync(load, path) == findings


async def test_the_summary_has_exact_decimals_and_adds_up(december: list[OrderEvent]) -> None:
    findings = await analysed(jittered(december, 5, timedelta(hours=3)), timedelta(minutes=30))
    summary = json.loads(json.dumps(findings.summary()))
    days, late = summary["revenue_by_day"], summary["late"]
    assert sum(map(Decimal, days.values())) + Decimal(late["revenue"]) == Decimal("823746.14")
    assert sum(map(Decimal, summary["revenue_by_country"].values())) == sum(map(Decimal, days.values()))
    assert late["orders"] == findings.late.orders > 0
    assert list(days) == sorted(days)
    assert len(summary["best_sellers"]["top"]) == 10
    assert summary["cancellations"]["joined"] + summary["cancellations"]["not_joined"] == 326


# Over the topic -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def publish(home: Home, *events: OrderEvent) -> None:
    await home.orders().publish(events, time=happened_at, id=invoice_of)


async def always() -> bool:
    return True


async def test_it_ends_only_when_no_more_will_be_published(home: Home) -> None:
    """What was published before the answer is read, however late it was."""
    asked = 0

    async def ended() -> bool:
        nonlocal asked
        asked += 1
        await publish(home, order(str(min(asked, 5))))
        return asked >= 5

    read = await Stream(Published(home.orders(), ended)).collect()
    assert [event.invoice for event in read] == ["1", "2", "3", "4", "5"]


class SlowToBegin(Source[OrderEvent]):
    """As on a busy machine: its first reads don't come to an end in time."""

    def __init__(self, source: Source[OrderEvent]) -> None:
        self.source = source
        self.reads = 0
        self.open, self.close, self.position = source.open, source.close, source.position  # type: ignore[method-assign]

    async def read(self, limit: int) -> Sequence[Record[OrderEvent]] | None:
        self.reads += 1
        return await (anyio.sleep_forever() if self.reads <= 2 else self.source.read(limit))


async def test_silence_alone_is_not_the_end(home: Home) -> None:
    await publish(home, order("1"))
    published = Published(home.orders(), always)
    published._source = slow = SlowToBegin(published._source)
    assert [event.invoice for event in await Stream(published).collect()] == ["1"]
    assert slow.reads >= 3


async def test_it_begins_anew_when_it_has_come_to_the_end_as_nobody_in_particular(home: Home) -> None:
    await publish(home, order("1"), cancellation("C2", WHEN + MINUTE))
    found = []
    for _ in range(2):
        analytics = await Analytics.begun(home, always, timedelta(0))
        await analytics.pipeline.run()
        found.append(analytics.findings)
        assert analytics.position == 2
    assert found[0] == found[1]
    assert (found[0].orders, found[0].cancellations, len(found[0].returns)) == (1, 1, 1)
    assert await home.orders().groups() == {}


async def test_a_run_that_is_stopped_goes_on_where_it_was(home: Home) -> None:
    """Also where it was stopped in the middle of a session; and what was told is counted once."""

    async def never() -> bool:
        return False

    events = [order(str(n), WHEN + n * MINUTE, ("A", 2, "1"), customer=str(n % 3)) for n in range(60)]
    for n in (20, 40, 60):
        await publish(home, *events[:n])
        analytics = await Analytics.begun(home, never, timedelta(0))
        async with analytics.pipeline.start() as run:
            while analytics.findings.orders < n:
                await anyio.sleep(0.01)
            await run.checkpoint()
        assert run.metrics().events_in == 20
        told = await anyio.to_thread.run_sync(load, home.analytics)
        assert told.orders == n
        assert told.sessions == 0
        assert sum(told.orders_by_day.values()) == n - 2
    analytics = await Analytics.begun(home, always, timedelta(0))
    await analytics.pipeline.run()
    told = await anyio.to_thread.run_sync(load, home.analytics)
    assert analytics.findings == told == expected(events, told.waits)
    # With another wait for late events, what was kept is of no use.
    assert not (await Analytics.begun(home, always, MINUTE)).findings.orders


async def test_orders_over_http_dont_make_those_of_the_file_late(home: Home) -> None:
    years = timedelta(days=15 * 365)
    await publish(
        home,
        order("1"),
        order("W1", WHEN + years + MINUTE / 2, ("A", 7, "1")),
        order("2", WHEN + MINUTE),
        order("W2", WHEN + years + MINUTE / 2 - WEB_DISORDER * 0.9),
        order("3", WHEN + 2 * MINUTE),
    )
    analytics = await Analytics.begun(home, always, timedelta(0))
    await analytics.pipeline.run()
    findings = analytics.findings
    assert findings.late.events == 0
    assert findings.revenue == {WHEN.date(): Decimal("7.50"), (WHEN + years).date(): Decimal("9.50")}
    assert [sold.units for sold in findings.best["file"][WHEN.date()]] == [6]
    assert [sold.units for sold in findings.best["web"][(WHEN + years).date()]] == [9]
    events = [record.value async for record in home.orders().records()]
    assert findings == expected(events, findings.waits)
