"""The page beside the report: what ``analytics`` has found, to be looked at. One file, nothing is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from itertools import pairwise

from pipelines.orders.events import grouped
from pipelines.orders.findings import GAP, RETURNS, TOP, WEEK, Findings, Sales
from pipelines.orders.plots import Bar, Cell, bars, heat, lying

HALF = 486.0
"""The width of a plot that has another one beside it."""
_COLUMNS = 31
_ROWS = 12
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST_GAP = 100
"""Days without any order that are still drawn; after more of them another time begins."""

_STYLE = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1c2330; --dim: #667085;
  --grid: #e4e7ec; --bar: #2f6fbd; --late: #c2570c; }
@media (prefers-color-scheme: dark) { :root { --paper: #12151b; --card: #1b2029; --ink: #e8ebf0;
  --dim: #98a2b3; --grid: #303744; --bar: #6ba6ea; --late: #f0924c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 40px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 0; }
p { color: var(--dim); margin: 2px 0 14px; max-width: 75ch; }
.tiles, .pair { display: grid; gap: 16px; margin: 16px 0; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
section, .tile { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 16px 20px; }
section { overflow-x: auto; }
.pair section { min-width: 0; } section { margin: 16px 0; } .pair section { margin: 0; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--dim); font-size: 13px; } .tile.late b { color: var(--late); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 13px; fill: var(--dim); font-variant-numeric: tabular-nums; }
svg .name { fill: var(--ink); } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid, svg .base { stroke: var(--grid); } svg .base { stroke: var(--dim); }
svg .bar, svg .cell { fill: var(--bar); } svg .none { fill: none; }
svg rect:hover { fill: var(--late); }
"""


def page(findings: Findings) -> str:
    """Return the HTML."""
    days = sorted(findings.revenue)
    span = f"{_long(days[0])} to {_long(days[-1])}" if days else "no orders"
    body = [f"<h1>Orders, {span}</h1>", "<p>In event time, which is UTC. Point at something to read it.</p>"]
    body.append(_tiles(findings, days))
    if days:
        body += [_by_day(findings), _pair(_by_country(findings), _returns(findings)), _best(findings)]
        body.append(_pair(_by_hour(findings), _sessions(findings)))
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Orders, {span}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


# Its parts --------------------------------------------------------------------------------------------------


def _tiles(findings: Findings, days: Sequence[date]) -> str:
    late = findings.late
    tiles = [
        ("revenue, cancellations apart", _pounds(findings.amount + late.amount), ""),
        (f"orders, on {len(days):,} days", f"{findings.orders:,}", ""),
        ("customers' sessions", f"{findings.sessions:,}", ""),
        (
            f"of {findings.cancellations:,} cancellations have their order",
            f"{len(findings.returns):,}",
            "",
        ),
        (
            f"orders came late, £{grouped(late.amount)}",
            f"{late.orders:,}",
            " late" if late.orders else "",
        ),
    ]
    shown = (
        f'<div class="tile{kind}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for what, value, kind in tiles
    )
    return f'<div class="tiles">{"".join(shown)}</div>'


def _by_day(findings: Findings) -> str:
    of = []
    for day in _calendar(sorted(findings.revenue)):
        amount = findings.revenue.get(day, Decimal(0))
        orders = findings.orders_by_day.get(day, 0)
        hint = f"{day:%A}, {_long(day)}: £{grouped(amount)}, {orders:,} orders"
        of.append(Bar(f"{day.day} {day:%b}", float(amount), hint))
    best = max(findings.revenue, key=lambda day: findings.revenue[day])
    text = f"The best day was {best:%A}, {_long(best)}, with £{grouped(findings.revenue[best])}."
    return _card("Revenue by day", text, bars("Revenue by day", of, axis="GBP a day"))


def _calendar(days: Sequence[date]) -> list[date]:
    """Return the days, and those between them that had no order."""
    if not days:
        return []
    calendar = [days[0]]
    for before, day in pairwise(days):
        if (day - before).days <= _LONGEST_GAP:
            calendar += [before + timedelta(days=n) for n in range(1, (day - before).days)]
        calendar.append(day)
    return calendar


def _by_country(findings: Findings) -> str:
    ranked = sorted(findings.revenue_by_country.items(), key=lambda pair: (-pair[1], pair[0]))
    whole = findings.amount or Decimal(1)
    first, share = ranked[0][0], ranked[0][1] / whole
    text = f"{first}: £{grouped(ranked[0][1])}, {share:.1%} of all."
    if share > Decimal("0.5") and len(ranked) > 1:  # it would leave no room for the others
        ranked = ranked[1:]
        text += " The others:"
    of = [
        (Bar(country or "unknown", float(amount), f"{country}: {amount / whole:.2%}"), f"£{amount:,.0f}")
        for country, amount in ranked[:10]
    ]
    return _card("Revenue by country", text, lying("Revenue by country", of, labels=130, width=HALF))


def _by_hour(findings: Findings) -> str:
    hours = sorted({int(key[2:]) for key in findings.revenue_by_hour})
    columns = range(hours[0], hours[-1] + 1)
    rows = []
    for n, weekday in enumerate(_WEEKDAYS, 1):
        cells = []
        for hour in columns:
            amount = findings.revenue_by_hour.get(f"{n} {hour:02}")
            hint = f"{weekday}, {hour}:00 to {hour + 1}:00: £{grouped(amount or Decimal(0))}"
            cells.append(Cell(None if amount is None else float(amount), hint))
        rows.append((weekday, cells))
    plot = heat(
        "Revenue by weekday and hour",
        rows,
        [f"{hour}" for hour in columns],
        labels=90,
        unit="GBP",
        width=HALF,
    )
    text = "Of all days together; columns are the hours of the day. No colour: no order."
    return _card("When people buy", text, plot)


def _best(findings: Findings) -> str:
    weeks = max(findings.best.values(), key=len)  # of the channel with the longer history
    first, last = min(findings.revenue), max(findings.revenue)
    shown = [day for day in sorted(weeks) if first <= day <= last] or sorted(weeks)
    if len(shown) > _COLUMNS:  # every so many, the last one among them
        shown = shown[::-1][:: -(-len(shown) // _COLUMNS)][::-1]
    products: Counter[str] = Counter()
    names: dict[str, str] = {}
    for day in shown:
        for rank, sold in enumerate(weeks[day]):
            products[sold.code] += TOP - rank
            names[sold.code] = sold.description or sold.code
    rows = []
    for code, _ in products.most_common(_ROWS):
        cells = []
        for day in shown:
            found: Sales | None = next((sold for sold in weeks[day] if sold.code == code), None)
            where = f"the {WEEK.days} days up to {_long(day)}"
            if found is None:
                cells.append(Cell(None, f"{names[code]}: not among the first {TOP} of {where}"))
            else:
                cells.append(Cell(found.units, f"{names[code]} ({code}): {found.units:,} units in {where}"))
        rows.append((names[code].title()[:38], cells))
    plot = heat(
        "Best sellers",
        rows,
        [f"{day.day} {day:%b}" for day in shown],
        labels=290,
        unit="units a week",
    )
    text = (
        f"Each column is the week up to that day; coloured where the product was among the first {TOP}. "
        f"Shown are the {len(rows)} products that were there longest and highest."
    )
    return _card("Best sellers of the last seven days, day by day", text, plot)


def _sessions(findings: Findings) -> str:
    counts = findings.sessions_by_orders
    most = 5
    of = []
    for size in range(1, most + 1):
        count = sum(n for orders, n in counts.items() if orders == size or (size == most < orders))
        share = count / findings.sessions if findings.sessions else 0
        label = f"{size} order{'s' if size > 1 else ''}{' or more' if size == most else ''}"
        of.append((Bar(label, count, f"{label}: {share:.1%} of the sessions"), f"{count:,} ({share:.1%})"))
    several = sum(n for orders, n in counts.items() if orders > 1)
    mean = findings.session_seconds / several / 60 if several else 0
    text = (
        f"A session ends when the customer has ordered nothing for {GAP.seconds // 60} minutes. From its first "
        f"order to its last, a session with several orders takes {mean:.1f} minutes in the mean; all "
        f"{findings.sessions:,} together, {findings.mean_session:.0f} seconds."
    )
    return _card("Customers' sessions", text, lying("Sessions by orders", of, labels=120, width=HALF))


def _returns(findings: Findings) -> str:
    days = Counter(int(found.days) for found in findings.returns.values())
    of = [
        Bar(f"{n}", days[n], f"{days[n]:,} cancellations {n} to {n + 1} days after the order")
        for n in range(RETURNS.days + 1)
    ]
    amount = sum((found.amount for found in findings.returns.values()), Decimal(0))
    text = (
        f"{len(findings.returns):,} of {findings.cancellations:,} cancellations have an order of the same "
        f"customer and product in the {RETURNS.days} days before, worth £{grouped(-amount)}; the newest counts."
    )
    plot = bars(
        "Days from order to cancellation",
        of,
        axis="cancellations",
        below="days from the order to its cancellation",
        width=HALF,
    )
    return _card("Cancellations and their orders", text, plot)


def _pounds(amount: Decimal) -> str:
    """A million has no room for its pence."""
    return f"£{amount:,.0f}" if amount >= 1_000_000 else f"£{grouped(amount)}"


def _card(title: str, text: str, plot: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>\n{plot}</section>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
