"""What ``analytics`` has to find: the same figures in plain loops, over all events, without any stream.

The reconciliation and the tests compare. It knows which orders come too late for their minute; everything else
it says as if nothing did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from pipelines.orders.events import WEB, OrderCancelled, OrderCompleted, OrderEvent, happened_at, total
from pipelines.orders.findings import (
    EVERY,
    GAP,
    RETURNS,
    TOP,
    WEEK,
    Channel,
    Findings,
    Return,
    Sales,
    add,
    shared,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


def expected(events: Iterable[OrderEvent], waits: dict[Channel, timedelta]) -> Findings:
    """Return the figures of the events, which come in the order of the topic."""
    channels: dict[Channel, list[OrderCompleted | OrderCancelled]] = {"file": [], "web": []}
    for event in events:
        if isinstance(event, OrderCompleted | OrderCancelled):
            channels["web" if event.invoice.startswith(WEB) else "file"].append(event)
    findings = Findings(waits=waits)
    for channel, sales in channels.items():
        orders = [event for event in sales if isinstance(event, OrderCompleted)]
        findings.orders += len(orders)
        findings.cancellations += len(sales) - len(orders)
        _revenue(sales, waits.get(channel, timedelta(0)), findings)
        _sessions(orders, findings)
        findings.best[channel] = _best(orders)
        findings.returns |= _returns(sales)
    return findings


def _revenue(sales: Sequence[OrderCompleted | OrderCancelled], wait: timedelta, findings: Findings) -> None:
    minutes: set[tuple[str, datetime]] = set()
    late = findings.late
    latest = _EPOCH
    for event in sales:
        time = happened_at(event)
        begins = time.replace(second=0, microsecond=0)
        if isinstance(event, OrderCompleted):
            day, amount = time.date(), total(event.lines)
            if begins + _MINUTE <= latest - wait:
                late.orders += 1
                add(late.revenue, day, amount)
            else:
                minutes.add((event.country, begins))
                findings.orders_by_day[day] = findings.orders_by_day.get(day, 0) + 1
                add(findings.revenue, day, amount)
                add(findings.revenue_by_country, event.country, amount)
                add(findings.revenue_by_hour, f"{time.isoweekday()} {time.hour:02}", amount)
        latest = max(latest, time)
    findings.windows += len(minutes)


def _best(orders: Sequence[OrderCompleted]) -> dict[date, list[Sales]]:
    days: defaultdict[date, Counter[str]] = defaultdict(Counter)
    described: defaultdict[date, dict[str, str]] = defaultdict(dict)
    for order in orders:
        day = order.placed_at.date()
        for line in order.lines:
            days[day][line.stock_code] += line.quantity
            known = described[day].get(line.stock_code, "")
            described[day][line.stock_code] = max(known, line.description or "")
    weeks: dict[date, list[Sales]] = {}
    for last in {day + n * EVERY for day in days for n in range(WEEK // EVERY)}:
        units: Counter[str] = Counter()
        names: dict[str, str] = {}
        for day in (last - n * EVERY for n in range(WEEK // EVERY)):
            if day in days:
                units.update(days[day])
                for code, name in described[day].items():
                    names[code] = max(names.get(code, ""), name)
        ranked = sorted(units, key=lambda code: (units[code], code), reverse=True)
        weeks[last] = [Sales(code, units[code], names[code]) for code in ranked[:TOP]]
    return weeks


def _sessions(orders: Sequence[OrderCompleted], findings: Findings) -> None:
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for order in orders:
        if order.customer_id is not None:
            times[order.customer_id].append(order.placed_at)
    for each in times.values():
        each.sort()
        visits = [[each[0]]]
        for time in each[1:]:
            if time - visits[-1][-1] > GAP:
                visits.append([])
            visits[-1].append(time)
        for visit in visits:
            findings.sessions += 1
            findings.session_seconds += round((visit[-1] - visit[0]).total_seconds())
            size = len(visit)
            findings.sessions_by_orders[size] = findings.sessions_by_orders.get(size, 0) + 1


def _returns(sales: Sequence[OrderCompleted | OrderCancelled]) -> dict[str, Return]:
    orders: defaultdict[str, list[OrderCompleted]] = defaultdict(list)
    for event in sales:
        if isinstance(event, OrderCompleted) and event.customer_id is not None:
            orders[event.customer_id].append(event)
    returns: dict[str, Return] = {}
    for event in sales:
        if isinstance(event, OrderCompleted) or event.customer_id is None:
            continue
        fitting = [
            (order.placed_at, order.invoice, amount)
            for order in orders[event.customer_id]
            if event.cancelled_at - RETURNS <= order.placed_at <= event.cancelled_at
            and (amount := shared(event, order))
        ]
        if fitting:
            placed_at, invoice, lines = max(fitting, key=lambda fit: fit[:2])
            returns[event.invoice] = Return(invoice, placed_at, event.cancelled_at, total(lines))
    return returns
