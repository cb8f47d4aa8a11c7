"""The orders file: a faulty line costs that line and no other; a bad file says what is wrong with it."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.orders.events import Line, Rejected
from pipelines.orders.rows import BadFile, Raw, Row, check, fingerprint, records

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = '536365,85123A,"HEART, ""WHITE""",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'
OrdersFile = Callable[..., Path]


def checked(path: Path) -> list[Row | Rejected]:
    return [what for what in map(check, records(path)) if isinstance(what, Row | Rejected)]


def reasons(path: Path) -> dict[int, str]:
    return {what.line: what.reason for what in checked(path) if isinstance(what, Rejected)}


def test_a_row_is_read_with_exact_decimals_and_utc(orders_file: OrdersFile) -> None:
    (row,) = checked(orders_file([GOOD]))
    assert row == Row(
        2,
        "536365",
        datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        "17850",
        "United Kingdom",
        Line("85123A", 'HEART, "WHITE"', 6, Decimal("2.55")),
    )


def test_a_guest_has_no_customer_and_a_description_may_be_missing(orders_file: OrdersFile) -> None:
    (row,) = checked(orders_file(["536365,85123A,,6,2010-12-01 08:26:00,2.55,,United Kingdom"]))
    assert isinstance(row, Row)
    assert row.customer_id is None
    assert row.item.description is None


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (",A,x,6,2010-12-01 08:26:00,2.55,1,UK", "InvoiceNo is empty"),
        ("1,,x,6,2010-12-01 08:26:00,2.55,1,UK", "StockCode is empty"),
        ("1,A,x,six,2010-12-01 08:26:00,2.55,1,UK", "Quantity 'six' isn't a whole number"),
        ("1,A,x,1_0,2010-12-01 08:26:00,2.55,1,UK", "Quantity '1_0' isn't a whole number"),
        ("1,A,x,6,01.12.2010,2.55,1,UK", "InvoiceDate '01.12.2010' isn't a time (2010-12-01 08:26:00)"),
        ("1,A,x,6,2010-12-01 08:26:00,NaN,1,UK", "UnitPrice 'NaN' isn't a decimal number"),
        ("1,A,x,6,2010-12-01 08:26:00,1e3,1,UK", "UnitPrice '1e3' isn't a decimal number"),
        ("1,A,x,6,2010-12-01 08:26:00,2.55,Bob,UK", "CustomerID 'Bob' isn't a number"),
        ("1,A,x,6", "4 columns, where the header has 8"),
        ("1,A,x,6,2010-12-01 08:26:00,2.55,1,UK,more", "9 columns, where the header has 8"),
        ('1,A,"x"y,6,2010-12-01 08:26:00,2.55,1,UK', "',' expected after '\"'"),
        ('1,A,"x,6,2010-12-01 08:26:00,2.55,1,UK', "a quote is opened and never closed"),
    ],
)
def test_a_broken_row_is_rejected_with_its_line_and_the_reason(
    orders_file: OrdersFile, cells: str, reason: str
) -> None:
    path = orders_file([GOOD, cells, GOOD, GOOD])
    assert reasons(path) == {3: reason}
    assert [row.line for row in checked(path) if isinstance(row, Row)] == [2, 4, 5]


def test_a_quote_that_is_never_closed_doesnt_take_the_following_rows_with_it(orders_file: OrdersFile) -> None:
    broken = '536366,22633,"HAND WARMER,6,2010-12-01 08:28:00,1.85,17850.0,United Kingdom'
    assert list(reasons(orders_file([GOOD, broken, *[GOOD] * 50]))) == [3]
    assert list(reasons(orders_file([GOOD, broken]))) == [3]


def test_a_quoted_cell_may_hold_line_breaks(orders_file: OrdersFile) -> None:
    two_lines = '536366,22633,"HAND\nWARMER",6,2010-12-01 08:28:00,1.85,17850.0,United Kingdom'
    first, second = checked(orders_file([two_lines, GOOD]))
    assert isinstance(first, Row)
    assert first.item.description == "HAND\nWARMER"
    assert (first.line, second.line) == (2, 4)


def test_columns_are_found_by_name(orders_file: OrdersFile) -> None:
    path = orders_file(
        ["x,UK,1,2.55,2010-12-01 08:26:00,6,thing,A,7"],
        header="Note,Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo",
    )
    (row,) = checked(path)
    assert isinstance(row, Row)
    assert (row.invoice, row.country, row.item.quantity) == ("7", "UK", 6)


def test_windows_line_ends_a_byte_order_mark_and_empty_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n\r\n{GOOD}\r\n\r\n".encode())
    (row,) = checked(path)
    assert (row.line, isinstance(row, Row)) == (3, True)


def test_packed_and_plain_are_the_same_file(orders_file: OrdersFile, tmp_path: Path) -> None:
    plain = orders_file([GOOD])
    packed = tmp_path / "named_like_anything"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert fingerprint(packed) == fingerprint(plain)
    assert checked(packed) == checked(plain)
    other = orders_file([GOOD, GOOD], "other.csv")
    assert fingerprint(other) != fingerprint(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty; its first line should be InvoiceNo,"),
        (f"{HEADER}\n{GOOD}\n".encode("utf-16"), r"line 1: byte 1 \(0xff\) isn't UTF-8; convert"),
        (f"{HEADER}\n{GOOD}\nCAF\xc9".encode("latin-1"), r"line 3: byte 4 \(0xc9\) isn't UTF-8"),
        (gzip.compress(GOOD.encode() * 1000)[:-20], r"damaged after line"),
    ],
)
def test_a_file_that_cant_be_used_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        fingerprint(path)


def test_a_missing_column_is_named(orders_file: OrdersFile) -> None:
    path = orders_file([], header="InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID")
    with pytest.raises(BadFile, match=r"line 1: no column Description, Country; the columns are: InvoiceNo"):
        next(records(path))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        fingerprint(tmp_path / "orders.csv")
    with pytest.raises(BadFile, match="can't be read"):
        fingerprint(tmp_path)


def test_the_end_isnt_a_row() -> None:
    assert isinstance(check(Raw(1, [], "fault")), Rejected)
