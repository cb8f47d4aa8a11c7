"""The page to look at: one file that needs nothing else, plots that are well-formed and true to scale."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from pipelines.orders.events import OrderEvent, grouped
from pipelines.orders.expected import expected
from pipelines.orders.findings import Findings, Late, Return, Sales
from pipelines.orders.page import page
from pipelines.orders.plots import Bar, Cell, bars, heat, lying, ticks

ROUND = re.compile(r"0(\.0)?|[125]0*(\.0)?|0\.0*[125]")


def plots(html: str) -> dict[str, ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    return {plot.attrib["aria-label"]: plot for plot in found}


def hints(plot: ElementTree.Element, kind: str) -> list[str]:
    return [rect.findtext("title") or "" for rect in plot.iter("rect") if rect.attrib["class"] == kind]


@pytest.fixture(scope="module")
def found(december: list[OrderEvent]) -> Findings:
    return expected(december, {})


def test_it_is_one_file_that_loads_nothing(found: Findings) -> None:
    html = page(found)
    assert not re.search(r"https?://|src=|href=|url\(|<script|@import", html)
    assert html.startswith("<!doctype html>")
    assert len(html) < 200_000


def test_all_plots_are_there_and_well_formed(found: Findings) -> None:
    assert list(plots(page(found))) == [
        "Revenue by day",
        "Revenue by country",
        "Days from order to cancellation",
        "Best sellers",
        "Revenue by weekday and hour",
        "Sessions by orders",
    ]


def test_every_day_has_its_bar_and_its_exact_amount(found: Findings) -> None:
    shown = hints(plots(page(found))["Revenue by day"], "bar")
    assert len(shown) == 23  # from the 1st to the 23rd, with the days without orders
    for day, amount in found.revenue.items():
        assert any(f"{day.day} December 2010: £{grouped(amount)}," in hint for hint in shown)
    assert "Saturday, 4 December 2010: £0.00, 0 orders" in shown


def test_what_came_late_is_said(found: Findings) -> None:
    assert '<div class="tile"><b>0</b><span>orders came late, £0.00' in page(found)
    late = Findings(late=Late(orders=3, revenue={date(2010, 12, 1): Decimal("4.50")}))
    assert '<div class="tile late"><b>3</b><span>orders came late, £4.50' in page(late)


def test_a_shop_without_orders_has_a_page() -> None:
    assert plots(page(Findings())) == {}
    assert "no orders" in page(Findings())


def test_names_are_text_whatever_they_are() -> None:
    day = date(2010, 12, 1)
    odd = '<b>"&'
    findings = Findings(
        revenue={day: Decimal(1)},
        revenue_by_country={odd: Decimal(1), "": Decimal(0)},
        revenue_by_hour={"3 08": Decimal(1)},
        best={"file": {day: [Sales("A", 1, odd)]}, "web": {}},
    )
    shown = plots(page(findings))
    assert odd in page(findings).replace("&lt;", "<").replace("&quot;", '"').replace("&gt;", ">").replace(
        "&amp;", "&"
    )
    assert "<b>&quot;" not in page(findings)
    assert [hint[:5] for hint in hints(shown["Best sellers"], "cell") if hint] == [odd]


def test_a_long_history_and_years_between_two_channels_stay_readable() -> None:
    days = [date(2010, 12, 1) + timedelta(days=n) for n in range(374)] + [date(2026, 5, 1)]
    when = datetime(2010, 12, 1, tzinfo=UTC)
    findings = Findings(
        revenue=dict.fromkeys(days, Decimal("1000000.004")),
        revenue_by_country={"United Kingdom": Decimal(374)},
        revenue_by_hour={"3 08": Decimal(1)},
        best={"file": {day: [Sales("A", 1, "")] for day in days}},
        returns={"C1": Return("1", when, when + timedelta(days=30), Decimal(-1))},
    )
    shown = plots(page(findings))
    assert len(hints(shown["Revenue by day"], "bar")) == 375
    labels = [text for text in shown["Revenue by day"].iter("text") if "middle" in text.attrib["class"]]
    assert 5 < len(labels) < 25
    assert len(hints(shown["Best sellers"], "cell")) <= 31 + 20  # and the scale
    assert "£375,000,002<" in page(findings)


# Plots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("highest", [0, 0.3, 1, 7, 10, 10.1, 99_618.2, 3_500_000])
def test_an_axis_has_few_round_numbers_and_room_for_the_highest(highest: float) -> None:
    scale = ticks(highest)
    step = scale[1] - scale[0]
    assert scale[0] == 0
    assert scale[-1] >= highest > scale[-1] - step * 1.0001 or highest == 0
    assert 2 <= len(scale) <= 7
    assert ROUND.fullmatch(f"{step:.10g}")


def test_bars_are_as_high_as_their_values() -> None:
    plot = ElementTree.fromstring(
        bars("t", [Bar("a", 50, "h"), Bar("b", 100, ""), Bar("c", 0, "")], axis="x")
    )
    heights = [float(rect.attrib["height"]) for rect in plot.iter("rect")]
    assert heights == [110, 220, 0]


def test_lying_bars_are_as_long_as_their_values() -> None:
    svg = lying("t", [(Bar("a", 50, ""), "50"), (Bar("b", 25, ""), "25")], labels=100)
    long, half = (float(rect.attrib["width"]) for rect in ElementTree.fromstring(svg).iter("rect"))
    assert long == 2 * half


def test_a_heat_map_is_darker_for_more_and_empty_for_nothing() -> None:
    row = [Cell(100.0, "much"), Cell(25.0, "less"), Cell(None, "nothing")]
    plot = ElementTree.fromstring(heat("t", [("a", row)], ["1", "2", "3"], labels=50, unit="u"))
    much, less, nothing = [rect for rect in plot.iter("rect") if rect.find("title") is not None]
    assert much.attrib["style"] == "fill-opacity:1.00"
    assert less.attrib["style"] == "fill-opacity:0.53"
    assert nothing.attrib["class"] == "none"
