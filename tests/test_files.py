"""files.csv, files.jsonl and files.jsonl_sink, as objects of their own."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reactor import files
from reactor.connectors.files import blocks
from reactor.core import ArgumentError, DecodeError, FileError, Record, Refused, Sink, Source, UsedTwice

pytestmark = pytest.mark.anyio

Write = Callable[[bytes | str], Path]
DECEMBER = Path(__file__).parent.parent / "pipelines/orders/data/online_retail_2010_12.csv.gz"


class Item(msgspec.Struct):
    sku: str
    quantity: int
    price: Decimal
    at: datetime | None = None


ITEMS = "sku,quantity,price,at\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "items.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@asynccontextmanager
async def opened(source: Source[Any]) -> AsyncIterator[Source[Any]]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def rest(source: Source[Any], limit: int = 1000) -> list[Record[Any]]:
    records: list[Record[Any]] = []
    while (batch := await source.read(limit)) is not None:
        assert 1 <= len(batch) <= limit
        records += batch
    return records


async def records_of(source: Source[Any], limit: int = 1000) -> list[Record[Any]]:
    async with opened(source):
        return await rest(source, limit)


async def values_of(source: Source[Any]) -> list[Any]:
    return [record.value for record in await records_of(source)]


# CSV -------------------------------------------------------------------------------------------------------


async def test_csv_rows_are_dicts_with_their_line_and_bytes(write: Write) -> None:
    records = await records_of(files.csv(write('a,b\n1,2\n\n"x\ny",4\r\n5,6')))
    assert [(record.value, record.position, record.raw) for record in records] == [
        ({"a": "1", "b": "2"}, 2, b"1,2"),
        ({"a": "x\ny", "b": "4"}, 4, b'"x\ny",4'),
        ({"a": "5", "b": "6"}, 6, b"5,6"),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 18])
async def test_rows_do_not_depend_on_the_blocks_that_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(blocks, "SIZE", size)
    text = 'a,b\n1,"2\n3\n\n4"\n"é""",\r\n,\n"\n","\n"\nlast,"one"'
    records = await records_of(files.csv(write(text)), limit=2)
    assert [record.value for record in records] == list(csv.DictReader(io.StringIO(text, newline="")))
    assert [record.position for record in records] == [2, 6, 7, 8, 11]
    assert b"\n".join(record.raw or b"" for record in records) == text.encode().replace(b"\r", b"")[4:]


async def test_a_file_that_begins_like_gzip_is_unzipped_whatever_its_name(write: Write) -> None:
    packed = gzip.compress(b"a\n1\n") + gzip.compress(b"2\n")
    assert await values_of(files.csv(write(packed))) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-32-be", "shift_jis"])
async def test_encodings(write: Write, encoding: str) -> None:
    text = "a,b\r\nx,1\r\n" if encoding == "shift_jis" else "a,b\r\né£,1\r\n"
    source = files.csv(write(text.encode(encoding)), encoding=encoding)
    assert await values_of(source) == list(csv.DictReader(io.StringIO(text)))


async def test_a_byte_order_mark_is_no_part_of_the_first_column(write: Write) -> None:
    assert await values_of(files.csv(write(b"\xef\xbb\xbfa,b\n1,2\n"), columns=["a"])) == [
        {"a": "1", "b": "2"}
    ]


async def test_delimiters(write: Write) -> None:
    assert await values_of(files.csv(write("a\tb\n1,5\t2\n"), delimiter="\t")) == [{"a": "1,5", "b": "2"}]


async def test_fields_become_what_the_type_says(write: Write) -> None:
    path = write(ITEMS + "A,2,2.50,2010-12-01 08:26:00\nB,-1,1e3,\n")
    assert await values_of(files.csv(path, Item)) == [
        Item("A", 2, Decimal("2.50"), datetime.fromisoformat("2010-12-01 08:26")),
        Item("B", -1, Decimal("1e3"), None),
    ]
    numbers = files.csv(write("a,b\n1,2\n"), dict[str, int])
    assert await values_of(numbers) == [{"a": 1, "b": 2}]


async def test_the_data_of_december() -> None:
    records = await records_of(files.csv(DECEMBER, columns=["InvoiceNo", "Quantity"]), limit=777)
    assert len(records) == 42_481
    assert [record.position for record in records] == list(range(2, 42_483))
    assert len({record.value["InvoiceNo"] for record in records}) == 2025


@pytest.mark.parametrize(
    ("content", "keywords", "message"),
    [
        (b"", {}, "items.csv: is empty; its first line has to name the columns"),
        (
            b"a,b\n",
            {"columns": ["a", "c", "d"]},
            "line 1: columns 'c', 'd' are missing; the header has 'a', 'b'",
        ),
        (b"a;b\n1;2\n", {"columns": ["a"]}, "line 1: column 'a' is missing; .*pass delimiter=';'"),
        (b"\n\nsku,price\n", {"type": Item}, "line 3: column 'quantity' is missing"),
        (b"a,b,a\n", {}, "line 1: column 'a' stands twice"),
        (b'a,"b\n', {}, "line 1: the header isn't CSV: unexpected end of data"),
        (b"a,\xe9\n", {}, r"line 1: byte 2 \(0xe9\) isn't utf-8; pass the encoding= .*cp1252"),
        ("a,b\n".encode("utf-16"), {}, 'line 1: byte 0 .*pass encoding="utf-16"'),
        (b"\xff\xfea\x00\n\x00\x00\xd8", {"encoding": "utf-16"}, "not utf-16 near byte 8: "),
        (b"a,b\n", {"encoding": "utf-16"}, "not utf-16 near byte 0: .*BOM"),
    ],
)
async def test_a_file_without_the_right_header_is_refused_when_opened(
    write: Write, content: bytes, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(DecodeError, match=message):
        await records_of(files.csv(write(content), **keywords))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"x", "line 3: 1 field, the header has 4: the first that is missing is 'quantity'"),
        (b"x,1,2,,5,6", "line 3: 6 fields, the header has 4: the first that is too many is '5'; quote"),
        (b'"x"y,1,2,', "line 3: ',' expected after '\"'; is a quote missing?"),
        (b"x,\xa31,2,", r"line 3: byte 31 \(0xa3\) isn't utf-8; pass the encoding="),
        (b"x,many,2,", r"line 3, column quantity \('many'\): Expected `int`, got `str`"),
        (b"x,1,2,yesterday", r"line 3, column at \('yesterday'\): Invalid RFC3339"),
        (b'"x\n\xff,1,2,"', r"line 4: byte 32 \(0xff\) isn't utf-8"),
    ],
)
async def test_a_row_that_does_not_fit(write: Write, row: bytes, message: str) -> None:
    path = write(ITEMS.encode() + b"A,1,2,\n" + row + b"\nB,3,4,\n")

    async with opened(files.csv(path, Item)) as source:
        assert [record.value.sku for record in await source.read(1000) or ()] == ["A"]
        for _ in range(2):  # and it isn't passed over
            with pytest.raises(DecodeError, match=f"items.csv, {message}"):
                await source.read(1000)

    rejected: list[tuple[Record[Any], Exception]] = []
    source = files.csv(path, Item)
    source.reject = lambda record, error: rejected.append((record, error))
    assert [value.sku for value in await values_of(source)] == ["A", "B"]
    [(record, error)] = rejected
    assert (record.raw, record.position, record.value) == (row, 3, row.decode(errors="replace"))
    assert record.topic == str(path)
    with pytest.raises(DecodeError, match=message):
        raise error


async def test_a_quote_that_is_never_closed_takes_the_rest_with_it_and_says_from_where(write: Write) -> None:
    with pytest.raises(DecodeError, match="line 2 to 3: unexpected end of data; is a quote missing"):
        await records_of(files.csv(write('a,b\n1,"2\n3,4\n')))


async def test_a_field_that_grows_without_end_is_a_row_that_does_not_fit(write: Write) -> None:
    rejected: list[int | None] = []
    source = files.csv(write('a\n"' + "x\n" * 70_000 + "b\n"))
    source.reject = lambda record, error: rejected.append(record.position)
    records = await records_of(source)
    assert rejected[0] == 2
    assert records[-1].value == {"a": "b"}


@pytest.mark.parametrize("lines", [0, 2047, 2048, 2049])
@pytest.mark.parametrize("reader", [files.csv, files.jsonl])
async def test_a_torn_gzip_gives_what_it_has_and_then_raises(write: Write, reader: Any, lines: int) -> None:
    header = b"a\n" if reader is files.csv else b"\n"
    async with opened(reader(write(gzip.compress(header + b"1\n" * lines)[:-4]))) as source:
        count = 0
        for _ in range(2):
            with pytest.raises(FileError, match=r"can't be read after byte \d+ .*is the file complete"):
                while batch := await source.read(1000):
                    count += len(batch)
        assert count == lines


@pytest.mark.parametrize("reader", [files.csv, files.jsonl])
async def test_a_line_without_end_is_refused_not_held_in_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch, reader: Any
) -> None:
    monkeypatch.setattr(blocks, "LONGEST", 1 << 20)
    path = write(gzip.compress(b"1\n" + b"0" * (8 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="a line from byte 2 on is longer than 1 MiB"):
            await records_of(reader(path))
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reader", [files.csv, files.jsonl])
@pytest.mark.parametrize(("rows", "width"), [(15_000, 1000), (150, 100_000)])
async def test_memory_does_not_grow_with_the_file(write: Write, reader: Any, rows: int, width: int) -> None:
    line = b'"%b"\n' % (b"x" * width)
    path = write(gzip.compress(line * (rows + 1), 1))
    tracemalloc.start()
    try:
        count = 0
        async with opened(reader(path)) as source:
            while batch := await source.read(1024):
                count += len(batch)
        assert count == rows + (reader is files.jsonl)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # of 15 MB
    finally:
        tracemalloc.stop()


# JSON Lines ------------------------------------------------------------------------------------------------


async def test_jsonl_values_are_plain_or_of_the_type(write: Write) -> None:
    path = write(
        '\ufeff{"sku": "A", "quantity": 1, "price": 2.10}\r\n\n{"sku": "é", "quantity": 2, "price": "3"}'
    )
    assert [(record.position, record.raw) for record in await records_of(files.jsonl(path))] == [
        (1, b'{"sku": "A", "quantity": 1, "price": 2.10}'),
        (3, '{"sku": "é", "quantity": 2, "price": "3"}'.encode()),
    ]
    assert await values_of(files.jsonl(path)) == [
        {"sku": "A", "quantity": 1, "price": 2.1},
        {"sku": "é", "quantity": 2, "price": "3"},
    ]
    assert await values_of(files.jsonl(path, Item)) == [
        Item("A", 1, Decimal("2.10")),
        Item("é", 2, Decimal(3)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"lines": [', "line 2: Input data was truncated"),
        (b"nonsense", "line 2: JSON is malformed"),
        (
            b'{"lines": [{"price": "1"}, {"price": "1"}, {"price": []}]}',
            r"line 2: .* at `\$.lines\[2\].price`",
        ),
        (b'{"lines": [{"price": "\xff"}]}', "line 2: "),
        (b'"' + b"[" * 5 + b'"', "line 2: Expected `object`, got `str`"),
        (b"[" * 100_000, "line 2: "),
    ],
)
async def test_a_line_that_does_not_fit(write: Write, line: bytes, message: str) -> None:
    class Line(msgspec.Struct):
        price: Decimal

    class Order(msgspec.Struct):
        lines: list[Line]

    path = write(b'{"lines": []}\n' + line + b'\n{"lines": []}\n')
    async with opened(files.jsonl(path, Order)) as source:
        assert [record.position for record in await source.read(1000) or ()] == [1]
        for _ in range(2):
            with pytest.raises(DecodeError, match=f"items.csv, {message}"):
                await source.read(1000)

    rejected: list[Record[Any]] = []
    source = files.jsonl(path, Order)
    source.reject = lambda record, error: rejected.append(record)
    assert [record.position for record in await records_of(source)] == [1, 3]
    assert [(record.raw, record.position) for record in rejected] == [(line, 2)]


@pytest.mark.parametrize("size", [1, 5, 1 << 18])
async def test_lines_do_not_depend_on_the_blocks_that_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(blocks, "SIZE", size)
    records = await records_of(files.jsonl(write("1\r\n\n[2]\n \n3")), limit=1)
    assert [(record.position, record.value) for record in records] == [(1, 1), (3, [2]), (5, 3)]


async def test_an_empty_file_has_no_values(write: Write) -> None:
    assert await values_of(files.jsonl(write(b""))) == []


# Both ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [files.csv, files.jsonl])
async def test_what_is_no_file_is_refused_when_opened(tmp_path: Path, reader: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "none.csv", "none.csv: can't be opened: No such file"),
        (tmp_path, "is a folder; give the path of a regular file"),
        (tmp_path / "pipe", "is a pipe or device"),
    ):
        with pytest.raises(FileError, match=message):
            await records_of(reader(path))
    assert not any(thread.name.startswith("reactor") for thread in threading.enumerate())


async def test_a_cancelled_read_has_consumed_nothing(write: Write) -> None:
    path = write("a\n" + "".join(f"{n}\n" for n in range(5000)))
    got: list[str] = []
    cancelled = 0
    async with opened(files.csv(path)) as source:
        while len(got) < 5000:
            with anyio.CancelScope() as scope:
                scope.cancel()
                got += [record.value["a"] for record in await source.read(100) or ()]
            cancelled += scope.cancelled_caught
            got += [record.value["a"] for record in await source.read(100) or ()]
    assert got == [str(n) for n in range(5000)]
    assert cancelled > 20


async def test_a_cancelled_open_leaves_no_thread(write: Write) -> None:
    source = files.csv(write("a\n1\n"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with opened(source):
            pass
    assert scope.cancelled_caught
    assert not any(thread.name.startswith("reactor") for thread in threading.enumerate())


async def test_a_source_is_read_again_by_the_next_run_but_not_by_two_at_once(write: Write) -> None:
    source = files.csv(write("a\n1\n2\n"))
    for _ in range(2):
        async with opened(source):
            assert [record.value for record in await source.read(1) or ()] == [{"a": "1"}]
            with pytest.raises(UsedTwice, match=r"items.csv: this source is open already"):
                await source.open()
    with pytest.raises(RuntimeError, match="before open"):
        await source.read(1)
    await source.close()  # also when it was never opened, or twice


async def test_the_end_is_the_end(write: Write) -> None:
    async with opened(files.csv(write("a\n1\n"))) as source:
        await rest(source)
        assert await source.read(1) is None
        with pytest.raises(ArgumentError, match=r"read\(limit=0\)"):
            await source.read(0)
    assert source.name == "items.csv"
    assert not source.replay


UNTOLD: Any = dict[str, Item | dict[str, int]]  # which of the two is it?


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: files.csv(3), "the first argument is a path"),  # type: ignore[call-overload]
        (lambda: files.csv("x", delimiter="::"), "delimiter='::'.*one character"),
        (lambda: files.csv("x", delimiter="\n"), "delimiter="),
        (lambda: files.csv("x", columns="abc"), r"columns='abc'.*\['abc'\]"),
        (lambda: files.csv("x", encoding="klingon"), "encoding='klingon'"),
        (lambda: files.csv("x", encoding="hex"), "encoding='hex'"),
        (lambda: files.csv("x", UNTOLD), r"files.csv\('x', .*can't be decoded"),
        (lambda: files.jsonl("x", UNTOLD), r"files.jsonl\('x', .*can't be decoded"),
    ],
)
def test_arguments_that_cannot_work(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


# The sink --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sinking(path: Path) -> AsyncIterator[Sink[object]]:
    sink = files.jsonl_sink(path)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


async def test_a_sink_appends_lines_that_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    item = Item("A", 1, Decimal("2.50"), datetime.fromisoformat("2010-12-01T01:02:03.000004"))
    for _ in range(2):
        async with sinking(path) as sink:
            await sink.write([item, item])
            await sink.flush()
    assert await values_of(files.jsonl(path, Item)) == [item] * 4


async def test_a_flush_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def counted(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    async with sinking(tmp_path / "out.jsonl") as sink:
        await sink.write([1, 2])
        assert synced == []
        await sink.flush()
        assert synced == [4]


async def test_a_sink_ends_the_line_that_a_crash_tore(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"a":1}\n{"a"')
    async with sinking(path) as sink:
        await sink.write([2])
    assert path.read_bytes() == b'{"a":1}\n{"a"\n2\n'


async def test_a_sink_refuses_what_json_cannot_say_and_writes_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    async with sinking(path) as sink:
        with pytest.raises(
            Refused, match=r"event 1 of the write: .*out.jsonl: an event isn't JSON: .*complex"
        ):
            await sink.write([1, 1j])
    assert path.read_bytes() == b""


async def test_a_sink_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none/out.jsonl: can't be opened: No such file"):
        async with sinking(tmp_path / "none" / "out.jsonl"):
            pass
    assert not any(thread.name.startswith("reactor") for thread in threading.enumerate())


def test_a_sink_leaves_whole_lines_where_no_room_is_left(tmp_path: Path) -> None:
    program = """
        import resource, sys
        import anyio
        from reactor import files

        async def main():
            sink = files.jsonl_sink(sys.argv[1])
            await sink.open()
            await sink.write(["a" * 50])
            try:
                await sink.write(["b" * 20, "c" * 100])
            except Exception as error:
                print(error)
            await sink.write(["d"])
            await sink.close()

        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        anyio.run(main)
    """
    path = tmp_path / "out.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "out.jsonl: can't be written: File too large" in done.stdout
    assert [json.loads(line) for line in path.read_text().splitlines()] == ["a" * 50, "d"]
