"""``history``, ``as-of`` and ``rebuild``, from the command line."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.orders.home import Home
from pipelines.orders.past import NoSuchOrder, as_of, moment, story
from pipelines.orders.simulated.gateway import rule

pytestmark = pytest.mark.timeout(120)
Start = Callable[..., Any]

DECLINED = next(str(n) for n in range(1, 1000) if rule(f"order-{n}").declined)
PAID, RETURNED, LATER = (str(n) for n in (2000, 3000, 4000))
FILE = f"""\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
{PAID},85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
{PAID},71053,LANTERN,2,2010-12-01 08:26:00,3.39,17850.0,United Kingdom
{DECLINED},71053,LANTERN,1,2010-12-01 09:00:00,3.39,,EIRE
{RETURNED},71053,LANTERN,4,2010-12-02 10:00:00,3.39,13047.0,EIRE
C5000,71053,LANTERN,-4,2010-12-03 10:00:00,3.39,13047.0,EIRE
C5001,85123A,WHITE HANGING HEART,-1,2010-12-03 11:00:00,2.55,17850.0,United Kingdom
6000,22423,damaged,-10,2010-12-03 12:00:00,0.0,,United Kingdom
{LATER},85123A,WHITE HANGING HEART,1,2010-12-04 08:00:00,2.55,17850.0,United Kingdom
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, app_to_its_end: Start) -> Path:
    """The HOME of that file after a run."""
    assert not any(rule(f"order-{invoice}").declined for invoice in (PAID, RETURNED, LATER))
    path = tmp_path_factory.mktemp("past")
    (path / "orders.csv").write_text(FILE)
    done = app_to_its_end("run", "--orders", path / "orders.csv", "--home", path / "home")
    assert done.process.returncode == 0, done.out + done.err
    return path / "home"


@pytest.fixture
def shop(home: Path) -> Home:
    return Home(home)


@pytest.fixture(scope="module")
def told(home: Path, app_to_its_end: Start) -> Callable[..., Any]:
    """Run the command, and return what it prints as JSON."""

    def run(*arguments: str) -> Any:
        done = app_to_its_end(*arguments, "--home", home, "--json")
        assert done.process.returncode == 0, done.err
        return json.loads(done.out)

    return run


# history ----------------------------------------------------------------------------------------------------


def test_an_order_tells_its_story(home: Path, app_to_its_end: Start) -> None:
    done = app_to_its_end("history", RETURNED, "--home", home)
    assert done.process.returncode == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == f"Order {RETURNED} of customer 13047, EIRE"
    assert lines[2] == "0 2010-12-02 10:00:00 Placed 4 units, 13.56 GBP placed, to be paid"
    assert lines[3].startswith("1 2010-12-02 10:00:00 Paid 13.56 GBP, ch_")
    assert lines[3].endswith(" paid, to be packed")
    assert lines[4] == "2 2010-12-02 10:00:00 Packed 4 units packed, to be shipped"
    assert lines[5] == "3 2010-12-02 10:00:00 Shipped to EIRE shipped, done"
    assert lines[6] == "4 2010-12-03 10:00:00 Cancelled 13.56 GBP given back by C5000 cancelled, done"
    assert lines[7].startswith("recorded 20")
    assert lines[7].endswith(" by fulfilment and payment")


def test_a_story_as_json(told: Callable[..., Any]) -> None:
    placed, declined = told("history", DECLINED)
    assert placed["details"]["amount"] == "3.39"
    assert placed["details"]["customer_id"] is None
    assert (placed["version"], placed["status"], placed["step"]) == (0, "placed", "Placed")
    assert declined["details"] == {"amount": "3.39", "reason": "the card was declined"}
    assert (declined["version"], declined["status"], declined["by"]) == (1, "declined", "payment")
    assert declined["time"] == "2010-12-01T09:00:00+00:00"
    assert datetime.now(UTC) > datetime.fromisoformat(declined["recorded"]) > datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("2001", "there is no order '2001' among its 4; orders are named by their invoice, such as 2000"),
        ("C5000", "there is no order 'C5000': that is a cancellation, which has no story of its own"),
        ("6000", "there is no order '6000': that is a stock adjustment"),
        ("a/b", "there is no order 'a/b'"),
    ],
)
@pytest.mark.asyncio
async def test_an_unknown_order_is_an_error_that_says_what_to_do(
    shop: Home, order: str, message: str
) -> None:
    with pytest.raises(NoSuchOrder) as error:
        await story(shop, order)
    assert str(error.value).startswith(f"{shop.path}: {message}")


def test_an_unknown_order_ends_with_2(home: Path, app_to_its_end: Start) -> None:
    done = app_to_its_end("history", "2001", "--home", home)
    assert (done.process.returncode, done.out) == (2, "")
    assert done.err.startswith(f"error: {home}: there is no order '2001'")


def test_an_order_that_fulfilment_hasnt_come_to_is_told_as_such(
    tmp_path: Path, app_to_its_end: Start
) -> None:
    (tmp_path / "orders.csv").write_text(FILE)
    produced = app_to_its_end("produce", "--orders", tmp_path / "orders.csv", "--home", tmp_path)
    assert produced.process.returncode == 0, produced.err
    known = app_to_its_end("history", PAID, "--home", tmp_path)
    assert known.process.returncode == 2
    assert f"order {PAID} is published, and fulfilment hasn't come to it yet" in known.err
    unknown = app_to_its_end("history", "1", "--home", tmp_path)
    assert "there is no order '1', nor any other: run `consume fulfilment`" in unknown.err
    shop = app_to_its_end("as-of", "2010-12-31", "--home", tmp_path)
    assert "4 orders of that time not noted yet" in shop.out


# as-of ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "by_status", "paid", "revenue", "stock"),
    [
        ("2010-12-01T08:25:59", {}, "0", "0", {}),
        ("2010-12-01T08:26:00", {"shipped": 1}, "22.08", "22.08", {"85123A": -6, "71053": -2}),
        ("2010-12-01", {"shipped": 1, "declined": 1}, "22.08", "22.08", {"85123A": -6, "71053": -3}),
        ("2010-12-02T12:00+02:00", {"shipped": 2, "declined": 1}, "35.64", "35.64", {"71053": -7}),
        ("2010-12-02T11:59+02:00", {"shipped": 1, "declined": 1}, "22.08", "22.08", {"71053": -3}),
        (
            "2010-12-03",
            {"shipped": 1, "declined": 1, "cancelled": 1},
            "35.64",
            "19.53",
            {"85123A": -5, "71053": -3},
        ),
    ],
)
@pytest.mark.asyncio
async def test_the_shop_as_it_was(
    shop: Home,
    time: str,
    by_status: dict[str, int],
    paid: str,
    revenue: str,
    stock: dict[str, int],
) -> None:
    then = await as_of(shop, moment(time))
    assert {status: count for status, count in then.by_status.items() if count} == by_status
    assert (then.orders, then.waiting) == (sum(by_status.values()), 0)
    assert (str(then.paid), str(then.revenue)) == (paid, revenue)
    found = {product.stock_code: product.stock for product in then.top}
    assert {code: found[code] for code in stock} == stock
    assert bool(found) == bool(stock)


def test_the_shop_at_the_end_is_what_the_report_says(
    home: Path, told: Callable[..., Any], app_to_its_end: Start
) -> None:
    then = told("as-of", "2030-01-01")
    report = json.loads(app_to_its_end("report", "--home", home).out)
    assert then["orders_by_status"] == report["orders_by_status"]
    assert then["orders"] == report["orders"] == 4
    assert then["order_total"] == report["order_total"]
    assert then["cancellation_total"] == report["cancellation_total"]
    with closing(sqlite3.connect(home / "stock.db")) as db:
        assert db.execute("SELECT sum(quantity), count(*) FROM stock").fetchone() == (
            then["stock"]["units"],
            then["stock"]["products"],
        )


def test_the_shop_is_shown_to_people(home: Path, app_to_its_end: Start) -> None:
    lines = [
        " ".join(line.split())
        for line in app_to_its_end("as-of", "2010-12-03", "--home", home).out.splitlines()
    ]
    assert lines[0] == "The shop as of 2010-12-03 23:59:59 UTC"
    for line in (
        "declined 1 3.39",
        "shipped 1 22.08",
        "cancelled 1 13.56",
        "in all 3 39.03",
        "given back -16.11",
        "revenue 19.53",
        "71053 LANTERN 7 -3",
        "all 3 products -18",
    ):
        assert line in lines
    before = app_to_its_end("as-of", "2010-11-30", "--home", home)
    assert "Nothing had happened yet: the first event is of 2010-12-01 08:26:00." in before.out


def test_what_is_no_time_is_an_error_that_says_how_to_write_one(home: Path, app_to_its_end: Start) -> None:
    done = app_to_its_end("as-of", "yesterday", "--home", home)
    assert done.process.returncode == 2
    assert "yesterday: is no time; write 2010-12-07, or 2010-12-07T12:00" in done.err


def test_a_day_is_meant_to_its_end_and_a_time_is_utc() -> None:
    assert moment("2010-12-07") == datetime(2010, 12, 7, 23, 59, 59, 999999, UTC)
    assert (
        moment("2010-12-07T12:00")
        == moment("2010-12-07 13:00+01:00")
        == datetime(2010, 12, 7, 12, tzinfo=UTC)
    )


# rebuild ----------------------------------------------------------------------------------------------------


def test_the_stock_is_made_anew(home: Path, app_to_its_end: Start) -> None:
    report = app_to_its_end("report", "--check", "--home", home)
    assert report.process.returncode == 0, report.err
    with closing(sqlite3.connect(home / "stock.db")) as db:
        before = db.execute("SELECT * FROM stock").fetchall()
        db.execute("UPDATE stock SET quantity = 1000")
        db.commit()
    spoiled = app_to_its_end("report", "--check", "--home", home)
    assert spoiled.process.returncode == 1
    assert "units in stock" in spoiled.err
    done = app_to_its_end("rebuild", "inventory", "--home", home)
    assert done.process.returncode == 0, done.err
    assert done.out == "inventory: made anew from 7 events; it has 3 products\n"
    with closing(sqlite3.connect(home / "stock.db")) as db:
        assert db.execute("SELECT * FROM stock").fetchall() == before
    again = app_to_its_end("report", "--check", "--home", home)
    assert (again.process.returncode, again.out) == (0, report.out)


@pytest.mark.parametrize("command", [("history", "1"), ("as-of", "2010-12-01"), ("rebuild", "inventory")])
def test_a_folder_without_a_shop_is_an_error(
    tmp_path: Path, app_to_its_end: Start, command: tuple[str, ...]
) -> None:
    done = app_to_its_end(*command, "--home", tmp_path)
    assert done.process.returncode == 2
    assert "nothing was processed there" in done.err
