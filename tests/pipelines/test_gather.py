"""Invoices come out whole, whatever the order of their rows, in bounded memory."""

import gzip
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path

import pytest

import pipelines.orders.survey as survey_module
from pipelines.orders.events import (
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    Rejected,
    StockAdjusted,
    happened_at,
    money,
    total,
    units,
)
from pipelines.orders.gather import Gather, Invoice, classify
from pipelines.orders.rows import BadFile, End, Row, check, records
from pipelines.orders.survey import known, last_lines, mark_published, survey

DECEMBER = Path(__file__).parents[2] / "pipelines/orders/data/online_retail_2010_12.csv.gz"
OrdersFile = Callable[..., Path]
MakeRow = Callable[..., str]


def gathered(path: Path, database: Path, *, chunk: int = 7, held_rows: int = 50_000) -> list[Invoice]:
    survey(path, database)
    gather = Gather(last_lines(database), held_rows)
    rows = (what for what in map(check, chain(records(path), [End()])) if not isinstance(what, Rejected))
    invoices: list[Invoice] = []
    while chunk_of_rows := list(islice(rows, chunk)):
        invoices += gather.add(chunk_of_rows)
    return invoices


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_an_invoice_comes_with_all_of_its_rows_as_soon_as_it_is_complete(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow, chunk: int
) -> None:
    path = orders_file([make_row(invoice) for invoice in ("1", "2", "1", "3", "2", "1")])
    invoices = gathered(path, tmp_path / "source.db", chunk=chunk)
    assert [(invoice.number, [row.line for row in invoice.rows]) for invoice in invoices] == [
        ("3", [5]),
        ("2", [3, 6]),
        ("1", [2, 4, 7]),
    ]


def test_an_invoice_may_end_in_a_row_that_cant_be_read(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow
) -> None:
    path = orders_file([make_row("1"), make_row("1", quantity="x"), make_row("2", price="x")])
    (invoice,) = gathered(path, tmp_path / "source.db")
    assert (invoice.number, len(invoice.rows)) == ("1", 1)


def test_without_the_end_an_open_invoice_doesnt_come(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow
) -> None:
    path = orders_file([make_row("1"), make_row("2"), make_row("2"), make_row("1")])
    survey(path, tmp_path / "source.db")
    rows = [what for what in map(check, records(path)) if isinstance(what, Row)]
    gather = Gather(last_lines(tmp_path / "source.db"))
    assert [invoice.number for invoice in gather.add(rows[:3])] == []
    assert [invoice.number for invoice in gather.add(rows[3:])] == ["2"]


@pytest.mark.parametrize("held_rows", [1, 100, 50_000])
def test_any_order_of_rows_gives_the_same_invoices(tmp_path: Path, held_rows: int) -> None:
    header, *lines = gzip.decompress(DECEMBER.read_bytes()).splitlines(keepends=True)[:2000]
    ordered, shuffled = tmp_path / "ordered.csv", tmp_path / "shuffled.csv"
    ordered.write_bytes(b"".join([header, *lines]))
    random.Random(11).shuffle(lines)
    shuffled.write_bytes(b"".join([header, *lines]))

    def content(path: Path, database: Path) -> dict[str, list[Line]]:
        found = gathered(path, database, chunk=100, held_rows=held_rows)
        items = {number: [row.item for row in rows] for number, rows in found}
        assert len(items) == len(found)
        return {number: sorted(lines, key=repr) for number, lines in items.items()}

    assert content(shuffled, tmp_path / "b.db") == content(ordered, tmp_path / "a.db")


def test_the_survey_counts_what_the_events_must_add_up_to(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow
) -> None:
    path = orders_file(
        [make_row("1", 3, "1.10"), make_row("C2", -1, "0.05"), "broken", make_row("1", 1, "9")]
    )
    found = survey(path, tmp_path / "source.db")
    assert (found.rows, found.broken, found.invoices, found.amount) == (4, 1, 2, Decimal("12.25"))
    assert not found.published


def test_the_survey_is_made_once_and_another_file_is_refused(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow
) -> None:
    database = tmp_path / "source.db"
    assert known(database) is None
    path = orders_file([make_row("1")])
    first = survey(path, database)
    mark_published(database)
    again = survey(path, database)
    assert again.published
    assert again.digest == first.digest
    with pytest.raises(
        BadFile, match=r"was made from another orders file \(.*orders.csv, 1 rows, 1 invoices"
    ):
        survey(orders_file([make_row("1"), make_row("2")], "other.csv"), database)


@pytest.mark.parametrize("page", [1, 2, 5000])
def test_the_survey_measures_how_far_the_invoices_are_out_of_order(
    orders_file: OrdersFile, tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(survey_module, "_PAGE", page)
    times = {"1": "09:00", "2": "10:30", "3": "08:15", "C4": "10:00"}
    # Published as 2, 3, 1, C4; invoice 1 began at 08:00, in its first row.
    rows = [("1", "08:00")] + [(number, times[number]) for number in ("2", "3", "1", "C4")]
    path = orders_file([make_row(number, time=f"2010-12-01 {time}:00") for number, time in rows])
    found = survey(path, tmp_path / "source.db")
    assert found.disorder == timedelta(hours=2, minutes=30)
    assert known(tmp_path / "source.db") == found


def test_december_is_in_order_and_shuffled_it_is_as_far_out_of_order_as_its_events(tmp_path: Path) -> None:
    assert survey(DECEMBER, tmp_path / "sorted.db").disorder == timedelta(0)
    header, *lines = gzip.decompress(DECEMBER.read_bytes()).splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    (shuffled := tmp_path / "shuffled.csv").write_bytes(b"".join([header, *lines]))
    highest, behind = datetime.min.replace(tzinfo=UTC), timedelta(0)
    for event in map(classify, gathered(shuffled, tmp_path / "source.db", chunk=1000)):
        assert not isinstance(event, Rejected)
        highest = max(highest, happened_at(event))
        behind = max(behind, highest - happened_at(event))
    known_of = known(tmp_path / "source.db")
    assert known_of is not None
    assert known_of.disorder == behind > timedelta(days=7)


def test_a_file_without_a_column_leaves_no_survey(orders_file: OrdersFile, tmp_path: Path) -> None:
    with pytest.raises(BadFile):
        survey(orders_file([], header="InvoiceNo"), tmp_path / "source.db")
    assert known(tmp_path / "source.db") is None


# What an invoice is -----------------------------------------------------------------------------------------


@pytest.fixture
def classified(orders_file: OrdersFile, tmp_path: Path) -> Callable[..., OrderEvent | Rejected]:
    def of(*lines: str) -> OrderEvent | Rejected:
        (invoice,) = gathered(orders_file(lines), tmp_path / "source.db")
        return classify(invoice)

    return of


def test_all_quantities_positive_is_an_order(
    classified: Callable[..., OrderEvent], make_row: MakeRow
) -> None:
    order = classified(make_row("536365", 6, "2.55"), make_row("536365", 2, "0.001"))
    assert isinstance(order, OrderCompleted)
    assert total(order.lines) == Decimal("15.302")
    assert units(order) == {"85123A": -8}


def test_a_c_is_a_cancellation_that_gives_back(
    classified: Callable[..., OrderEvent], make_row: MakeRow
) -> None:
    cancelled = classified(make_row("C536379", -3, "4.65"))
    assert isinstance(cancelled, OrderCancelled)
    assert total(cancelled.lines) == Decimal("-13.95")
    assert units(cancelled) == {"85123A": 3}


@pytest.mark.parametrize("quantity", [-10, 0])
def test_a_quantity_that_isnt_positive_is_a_stock_adjustment(
    classified: Callable[..., OrderEvent], make_row: MakeRow, quantity: int
) -> None:
    adjusted = classified(make_row("536589", 5, "0.0"), make_row("536589", quantity, "0.0", code="21777"))
    assert isinstance(adjusted, StockAdjusted)
    assert units(adjusted) == {"85123A": 5, "21777": quantity}


@pytest.mark.parametrize("number", ["A563185", "c536379", "C", "53636X", "C536379A"])
def test_anything_else_is_rejected_with_its_amount(
    classified: Callable[..., Rejected], make_row: MakeRow, number: str
) -> None:
    rejected = classified(make_row(number, 1, "-11062.06"))
    assert isinstance(rejected, Rejected)
    assert rejected.invoice == number
    assert rejected.amount == Decimal("-11062.06")
    assert rejected.reason == (
        f"invoice {number} is neither an order (digits) nor a cancellation (C and digits)"
    )


def test_an_invoice_over_two_minutes_has_its_first_time(
    classified: Callable[..., OrderCompleted], make_row: MakeRow
) -> None:
    order = classified(
        make_row("536591", time="2010-12-01 16:58:00"), make_row("536591", time="2010-12-01 16:57:00")
    )
    assert order.placed_at.isoformat() == "2010-12-01T16:57:00+00:00"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("823746.140", "823746.14"),
        ("10655622.484", "10655622.484"),
        ("0", "0.00"),
        ("-5", "-5.00"),
        ("1E+3", "1000.00"),
    ],
)
def test_money_has_two_decimals_at_least(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
