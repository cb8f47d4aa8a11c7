"""Reading the orders file: lines to cells, cells to checked rows.

A line with a fault costs that line and no other. The one fault that could is a quote which is never closed:
a record may go on over several lines, but where such a record doesn't come out whole, its first line alone is
broken and reading goes on at the second.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, NamedTuple

from pipelines.orders.events import Line, Rejected

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
LINES_OF_A_RECORD = 20
CONTENT = 500

_QUANTITY = re.compile(r"-?[0-9]{1,9}")
_PRICE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,6})?")
_CUSTOMER = re.compile(r"([0-9]{1,18})(\.0)?")


class BadFile(Exception):
    """The orders file as a whole can't be used; the message says where and what to do."""


class Raw(NamedTuple):
    """The cells of one record, in the order of COLUMNS; ``fault`` where it has none."""

    line: int
    cells: list[str]
    fault: str | None = None


class Row(NamedTuple):
    """One checked line of an invoice."""

    line: int
    invoice: str
    time: datetime
    customer_id: str | None
    country: str
    item: Line


class End(NamedTuple):
    """Follows the last row: what is open now is complete. A drain that stops the reading doesn't send it."""


# The file ---------------------------------------------------------------------------------------------------


def opened(path: Path) -> IO[bytes]:
    """Open the file, unpacked where it is gzip (by its first bytes, not by its name)."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise BadFile(f"{path}: no such file") from None
    except OSError as error:
        raise BadFile(f"{path}: can't be read: {error.strerror}") from None
    if file.peek(2)[:2] == b"\x1f\x8b":
        return BufferedReader(_Unpacked(file))
    return file


class _Unpacked(gzip.GzipFile):
    """A gzip stream that closes the file below it."""

    def __init__(self, file: BufferedReader) -> None:
        super().__init__(fileobj=file)
        self._below = file

    def close(self) -> None:
        super().close()
        self._below.close()


def fingerprint(path: Path) -> str:
    """Return the digest of the file's content, the same packed and unpacked, having read all of it.

    Raises BadFile for what can't be read to its end, isn't UTF-8, or is empty.
    """
    digest = hashlib.sha256()
    number = 0
    with opened(path) as file:
        try:
            for line in file:
                number += 1
                digest.update(line)
                if not line.isascii():
                    line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            utf16 = number == 1 and error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
            raise BadFile(
                f"{path}, line {number}: byte {error.start + 1} (0x{byte:02x}) isn't UTF-8; "
                f"convert the file, for example: iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8"
            ) from None
        except (EOFError, OSError, gzip.BadGzipFile) as error:
            raise BadFile(f"{path}: damaged after line {number}: {error}") from None
    if number == 0:
        raise BadFile(f"{path}: is empty; its first line should be {','.join(COLUMNS)}")
    return digest.hexdigest()


def records(path: Path) -> Iterator[Raw]:
    """Yield the records after the header. Raises BadFile where a column is missing."""
    with opened(path) as binary, TextIOWrapper(binary, "utf-8-sig", newline="") as file:
        lines = _Lines(file)
        header = next(lines, None)
        while header is not None and not header.strip("\r\n"):
            header = next(lines, None)
        if header is None:
            raise BadFile(f"{path}: is empty; its first line should be {','.join(COLUMNS)}")
        names = [name.strip() for name in next(csv.reader([header]))]
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            there = ", ".join(names)[:200]
            raise BadFile(
                f"{path}, line {lines.number}: no column {', '.join(missing)}; the columns are: {there}"
            )
        places = [names.index(name) for name in COLUMNS]
        if places == list(range(len(names))):
            yield from _records(lines, len(names), None)
        else:
            yield from _records(lines, len(names), places)


class _Lines:
    """Lines with their number, and a look ahead."""

    def __init__(self, file: TextIOWrapper) -> None:
        self.number = 0
        self._file = file
        self._ahead: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._file)
        self.number += 1
        return line

    def ahead(self, count: int) -> list[str]:
        """Return up to ``count`` of the following lines, which are still to come."""
        while len(self._ahead) < count and (line := next(self._file, None)) is not None:
            self._ahead.append(line)
        return list(self._ahead)[:count]

    def skip(self, count: int) -> None:
        for _ in range(count):
            next(self)


def _records(lines: _Lines, width: int, places: list[int] | None) -> Iterator[Raw]:
    for line in lines:
        number = lines.number
        if '"' not in line:
            text = line.rstrip("\r\n")
            if not text:
                continue
            cells = text.split(",")
        else:
            quoted = _quoted(line, lines, width)
            if isinstance(quoted, str):
                yield Raw(number, [line.rstrip("\r\n")[:CONTENT]], quoted)
                continue
            cells = quoted
        if len(cells) != width:
            fault = f"{len(cells)} columns, where the header has {width}"
            yield Raw(number, [line.rstrip("\r\n")[:CONTENT]], fault)
        elif places is None:
            yield Raw(number, cells)
        else:
            yield Raw(number, [cells[place] for place in places])


def _quoted(line: str, lines: _Lines, width: int) -> list[str] | str:
    """Return the cells of a record with quotes, over as many lines as it has; or what is wrong with it."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        fault = str(error)
    if not fault.startswith("unexpected end"):
        return fault
    following = lines.ahead(LINES_OF_A_RECORD - 1)
    reader = csv.reader([line, *following], strict=True)
    try:
        cells = next(reader)
    except csv.Error:
        return "a quote is opened and never closed"
    if len(cells) != width:
        return "a quote is opened and never closed"
    lines.skip(reader.line_num - 1)
    return cells


# A row ------------------------------------------------------------------------------------------------------


class BadRow(ValueError):
    """A cell isn't what its column says."""


def check(raw: Raw | End) -> Row | End | Rejected:
    """Return the row, or why it isn't one."""
    if isinstance(raw, End):
        return raw
    line, cells, fault = raw
    if fault is None:
        invoice, code, description, quantity, time, price, customer, country = cells
        invoice = invoice.strip()
        try:
            if not invoice:
                raise BadRow("InvoiceNo is empty")
            if not code.strip():
                raise BadRow("StockCode is empty")
            if _QUANTITY.fullmatch(quantity) is None:
                raise BadRow(f"Quantity {_short(quantity)} isn't a whole number")
            item = Line(code.strip(), description.strip() or None, int(quantity), _price(price))
            return Row(line, invoice, _time(time), _customer(customer), country.strip(), item)
        except BadRow as error:
            fault = str(error)
        return Rejected(line=line, reason=fault, invoice=invoice or None, content=",".join(cells)[:CONTENT])
    return Rejected(line=line, reason=fault, content=",".join(cells)[:CONTENT])


@lru_cache(4096)
def _price(text: str) -> Decimal:
    if _PRICE.fullmatch(text) is None:
        raise BadRow(f"UnitPrice {_short(text)} isn't a decimal number")
    return Decimal(text)


@lru_cache(1024)
def _time(text: str) -> datetime:
    """The file names no zone: its times are taken as UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadRow(f"InvoiceDate {_short(text)} isn't a time (2010-12-01 08:26:00)") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@lru_cache(4096)
def _customer(text: str) -> str | None:
    if not text:
        return None
    match = _CUSTOMER.fullmatch(text)
    if match is None:
        raise BadRow(f"CustomerID {_short(text)} isn't a number")
    return match[1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
