"""A table of SQLite as a sink: what stands in its rows, what it refuses, and what goes wrong."""

import dataclasses
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import anyio
import attrs
import msgspec
import pytest

from reactor import ArgumentError, DeadLetters, Pipeline, Refused, Sink, Stream, TableError, table, topic

pytestmark = pytest.mark.anyio


class Payment(msgspec.Struct):
    id: int
    amount: Decimal
    note: str | None = None


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


Order = NewType("Order", str)


class Everything(msgspec.Struct):
    whole: int
    part: float
    text: str
    data: bytes
    yes: bool
    nothing: str | None
    price: Decimal
    at: datetime
    day: date
    hour: time
    took: timedelta
    id: UUID
    colour: Colour
    level: Level
    lines: list[Payment]
    size: Literal["s", "m"]
    order: Order
    either: int | float
    tagged: Annotated[str, "of a kind"]


EVERYTHING = Everything(
    1 << 62,
    0.1,
    "ä'\"; DROP TABLE x",
    b"\x00\xff",
    True,
    None,
    Decimal("0.10"),
    datetime(2030, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=2))),
    date(2030, 1, 2),
    time(3, 4),
    timedelta(seconds=90),
    UUID(int=5),
    Colour.BLUE,
    Level.HIGH,
    [Payment(1, Decimal(2))],
    "m",
    Order("o"),
    2,
    "t",
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/shop.db"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


def made(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def rows(path: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[Sink[Any]]:
    try:
        await sink.open()
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def write(sink: Sink[Any], *events: Any) -> None:
    async with opened(sink):
        await sink.write(events)
        await sink.flush()


def payments(*ids: int) -> list[Payment]:
    return [Payment(id, Decimal(id)) for id in ids]


# What stands in the rows ------------------------------------------------------------------------------------


async def test_a_row_for_each_event(path: str) -> None:
    made(path, "CREATE TABLE payments (note TEXT, amount TEXT, id INTEGER)")
    sink: Sink[Payment] = table(f"sqlite:{path}/payments", Payment)
    assert sink.name == "payments"
    async with opened(sink):
        await sink.write([Payment(1, Decimal("9.90"), "first"), Payment(2, Decimal("1E+2"))])
        await sink.write([Payment(1, Decimal("9.90"))])
    assert rows(path, "SELECT id, amount, note FROM payments ORDER BY rowid") == [
        (1, "9.90", "first"),
        (2, "1E+2", None),
        (1, "9.90", None),
    ]


async def test_a_row_of_the_same_key_takes_the_place(path: str) -> None:
    sink = table(f"sqlite:{path}/payments", Payment, key="id", create=True)
    await write(sink, Payment(1, Decimal(1)), Payment(2, Decimal(2)), Payment(1, Decimal(3), "last"))
    await write(sink, Payment(2, Decimal(4)))
    assert rows(path, "SELECT * FROM payments ORDER BY id") == [(1, "3", "last"), (2, "4", None)]


async def test_a_key_of_several_columns_that_are_all(path: str) -> None:
    sink = table(
        f"sqlite:{path}/seen", Payment, key=("id", "who"), columns={"id": "id", "who": str}, create=True
    )
    await write(sink, *payments(1, 2, 1))
    await write(sink, *payments(2))
    assert len(rows(path, "SELECT * FROM seen")) == 2


async def test_columns_that_are_not_written_keep_their_values(path: str) -> None:
    made(path, "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount, seen TEXT DEFAULT 'no')")
    sink = table(f"sqlite:{path}/payments", key="id", columns={"id": "id", "amount": lambda p: p.amount * 2})
    await write(sink, *payments(1, 2))
    made(path, "UPDATE payments SET seen = 'yes' WHERE id = 1")
    await write(sink, *payments(1))
    assert rows(path, "SELECT * FROM payments") == [(1, "2", "yes"), (2, "4", "no")]


async def test_every_kind_of_value(path: str) -> None:
    sink = table(f"sqlite:{path}/every", Everything, create=True)
    await write(sink, EVERYTHING)
    assert rows(path, "SELECT * FROM every") == [
        (
            1 << 62,
            0.1,
            "ä'\"; DROP TABLE x",
            b"\x00\xff",
            1,
            None,
            "0.10",
            "2030-01-02T01:04:05.000006+00:00",
            "2030-01-02",
            "03:04:00",
            "PT90S",
            "00000000-0000-0000-0000-000000000005",
            "blue",
            2,
            '[{"id":1,"amount":"2","note":null}]',
            "m",
            "o",
            2,
            "t",
        )
    ]
    types = {name: (type, required) for _, name, type, required, *_ in rows(path, "PRAGMA table_info(every)")}
    assert types["whole"] == ("INTEGER", 1)
    assert types["part"] == types["either"] == ("REAL", 1)
    assert types["data"] == ("BLOB", 1)
    assert types["yes"] == types["level"] == ("INTEGER", 1)
    assert types["nothing"] == ("TEXT", 0)
    for name in (
        "text",
        "price",
        "at",
        "day",
        "hour",
        "took",
        "id",
        "colour",
        "lines",
        "size",
        "order",
        "tagged",
    ):
        assert types[name] == ("TEXT", 1), name


async def test_what_is_staged_has_the_same_values(path: str) -> None:
    await write(table(f"sqlite:{path}/every", Everything, create=True), EVERYTHING)
    async with opened(table(f"sqlite:{path}/every", Everything)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write([EVERYTHING])
        await sink.prepare(1)
        await sink.publish(1)
    columns = [f'typeof("{name}"), "{name}"' for name in EVERYTHING.__struct_fields__]
    first, second = rows(path, f"SELECT {', '.join(columns)} FROM every")
    assert first == second


async def test_text_of_moments_sorts_as_they_do(path: str) -> None:
    class Moment(msgspec.Struct):
        n: int
        at: datetime

    first = datetime(2030, 1, 1, 12, tzinfo=UTC)
    zone = timezone(timedelta(hours=-9))
    moments = [
        first,
        first + timedelta(microseconds=1),
        first + timedelta(seconds=1),
        first + timedelta(days=1),
    ]
    sink = table(f"sqlite:{path}/moments", Moment, columns={"n": "n", "at": "at"})
    made(path, "CREATE TABLE moments (n, at)")
    await write(sink, *(Moment(n, at.astimezone(zone) if n % 2 else at) for n, at in enumerate(moments)))
    found = rows(path, "SELECT n, at FROM moments ORDER BY at")
    assert [n for n, _ in found] == [0, 1, 2, 3]
    assert [datetime.fromisoformat(at) for _, at in found] == moments


@dataclasses.dataclass
class AsDataclass:
    id: int
    name: str


@attrs.define
class AsAttrs:
    id: int
    name: str


class AsTuple(NamedTuple):
    id: int
    name: str


@pytest.mark.parametrize("kind", [AsDataclass, AsAttrs, AsTuple])
async def test_kinds_of_classes(path: str, kind: Any) -> None:
    await write(table(f"sqlite:{path}/things", kind, key=["id"], create=True), kind(1, "a"), kind(2, "b"))
    assert rows(path, "SELECT id, name FROM things") == [(1, "a"), (2, "b")]


async def test_functions_say_by_their_annotation_what_a_column_is(path: str) -> None:
    def total(payment: Payment) -> float | None:
        return float(payment.amount)

    sink = table(f"sqlite:{path}/p", Payment, columns={"number": "id", "total": total}, create=True)
    await write(sink, *payments(3))
    assert rows(path, "SELECT number, total FROM p") == [(3, 3.0)]
    assert [row[1:4] for row in rows(path, "PRAGMA table_info(p)")] == [
        ("number", "INTEGER", 1),
        ("total", "REAL", 0),
    ]


async def test_names_are_only_names(path: str) -> None:
    name = 'pay"; DROP TABLE other; --'
    column = "a\" INTEGER); DROP TABLE other; --'[`%s"
    made(path, "CREATE TABLE other (a)")
    sink = table(
        f"sqlite:{path}/{name}", Payment, key=column, columns={column: "id", "select": "note"}, create=True
    )
    async with opened(sink):
        await sink.write(payments(1))
        await sink.recover('it\'s "mine"; DROP TABLE other', 0, 1)
        await sink.write(payments(1, 2))
        await sink.prepare(1)
        await sink.publish(1)
    assert rows(path, "SELECT count(*) FROM other") == [(0,)]
    quoted = name.replace('"', '""')
    assert rows(path, f'SELECT * FROM "{quoted}"') == [(1, None), (2, None)]


# What it refuses --------------------------------------------------------------------------------------------


async def refused(sink: Sink[Any], *events: Any) -> dict[int, Exception]:
    with pytest.raises(Refused) as caught:
        await sink.write(events)
    return caught.value.errors


@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_events_that_are_no_row_are_named_and_nothing_is_stored(path: str, staged: bool) -> None:
    async with opened(table(f"sqlite:{path}/payments", Payment, key="id", create=True)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        good = Payment(1, Decimal(1))
        found = await refused(sink, good, "a", good, Payment(1 << 63, Decimal(1)), Payment(None, Decimal(1)))  # type: ignore[arg-type]
        assert sorted(found) == [1, 3, 4]
        assert "takes Payment, not str" in str(found[1])
        assert "column id" in str(found[3])
        assert "64 bits" in str(found[3])
        assert "column id: is None, and part of the key" in str(found[4])
        found = await refused(sink, good, Payment(2, Decimal(1), "\ud800"), Payment(3, object()))  # type: ignore[arg-type]
        assert sorted(found) == [1, 2] if len(found) > 1 else [2]
        assert "column amount: TypeError" in str(found[2])
        found = await refused(sink, good, Payment(2, Decimal(1), "\ud800"), Payment("x", Decimal(1)))  # type: ignore[arg-type]
        assert sorted(found) == [1, 2]
        assert "surrogates" in str(found[1])
        assert "mismatch" in str(found[2])
        if staged:
            await sink.prepare(1)
            await sink.publish(1)
        assert rows(path, "SELECT * FROM payments") == []


@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_events_that_break_a_constraint_are_named(path: str, staged: bool) -> None:
    made(
        path,
        "CREATE TABLE payments (id INTEGER UNIQUE, amount TEXT, note TEXT NOT NULL CHECK (note <> 'bad'))",
    )
    async with opened(table(f"sqlite:{path}/payments", Payment)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        events = [Payment(n, Decimal(1), "good") for n in range(100)]
        await sink.write(events[:1])
        if staged:
            await sink.prepare(1)
            await sink.publish(1)
        events[7].note = None
        events[50].note = events[99].note = "bad"
        events[20].id = 10
        found = await refused(sink, *events)
        assert {at: str(error).partition("payments: ")[2] for at, error in found.items()} == {
            0: "UNIQUE constraint failed: payments.id",
            7: "NOT NULL constraint failed: payments.note",
            20: "UNIQUE constraint failed: payments.id",
            50: "CHECK constraint failed: note <> 'bad'",
            99: "CHECK constraint failed: note <> 'bad'",
        }
        assert len(rows(path, "SELECT * FROM payments")) == 1
        await sink.write([event for at, event in enumerate(events) if at not in found])
        if staged:
            await sink.prepare(2)
            await sink.publish(2)
        assert len(rows(path, "SELECT * FROM payments")) == 96


async def test_rows_of_two_writes_that_contradict_each_other_are_never_decided(path: str) -> None:
    made(path, "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount, note)")
    async with opened(table(f"sqlite:{path}/payments", Payment)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await sink.write(payments(1))
        with pytest.raises(TableError, match=r"contradict each other: UNIQUE.*key="):
            await sink.prepare(1)
    async with opened(table(f"sqlite:{path}/payments", Payment, key="id")) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await sink.write([Payment(1, Decimal(5))])
        await sink.prepare(1)
        await sink.publish(1)
    assert rows(path, "SELECT id, amount FROM payments") == [(1, "5")]


async def test_a_number_of_its_own_making_needs_no_key(path: str) -> None:
    made(path, "CREATE TABLE payments (n INTEGER PRIMARY KEY AUTOINCREMENT, id, amount, note)")
    async with opened(table(f"sqlite:{path}/payments", Payment)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(5, 6))
        await sink.write(payments(7))
        await sink.prepare(1)
        await sink.publish(1)
    assert rows(path, "SELECT n, id FROM payments") == [(1, 5), (2, 6), (3, 7)]


async def test_a_nan_is_refused(path: str) -> None:
    class Ratio(msgspec.Struct):
        value: float

    made(path, "CREATE TABLE ratios (value REAL)")
    async with opened(table(f"sqlite:{path}/ratios", Ratio)) as sink:
        found = await refused(sink, Ratio(1.0), Ratio(float("nan")), Ratio(float("inf")))
        assert "no NaN" in str(found[1])
        assert len(found) == 1


async def test_in_a_pipeline_the_bad_ones_become_dead_letters(path: str) -> None:
    made(path, "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount, note CHECK (note <> 'bad'))")
    events = [Payment(n, Decimal(1), "bad" if n in (3, 77) else None) for n in range(200)]
    dead: list[Any] = []
    stream = Stream(events).to(table(f"sqlite:{path}/payments", Payment, key="id"), on_error=DeadLetters())
    await Pipeline("pay", stream, dead_letters=dead.append).run()
    assert [letter.event.id for letter in dead] == [3, 77]
    assert len(rows(path, "SELECT * FROM payments")) == 198


# What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("sqlite:payments", "write sqlite:PATH/TABLE"),
        ("sqlite:/payments", "write sqlite:PATH/TABLE"),
        ("sqlite:shop.db/", "write sqlite:PATH/TABLE"),
        ("shop.db", "the first argument is a URL; known schemes: sqlite:, postgresql:"),
        ("mysql:shop.db/x", "unknown scheme 'mysql'"),
        (3, "is a URL"),
        ("sqlite:shop.db/a\nb", "can't be printed"),
        ("sqlite:shop.db/reactor_stagers", "can't begin with reactor_"),
        ("sqlite:shop.db/sqlite_master", "can't begin with sqlite_"),
    ],
)
async def test_urls_that_cannot_be(url: Any, what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        table(url, Payment)


class Vague(msgspec.Struct):
    id: int | None
    what: Any
    mixed: int | str


@pytest.mark.parametrize(
    ("kind", "arguments", "what"),
    [
        (int, {}, "int.* has no fields"),
        (Payment, {"key": "order"}, "key='order': is none of the columns id, amount, note"),
        (Payment, {"key": ("id", "id")}, "names a column twice"),
        (Payment, {"columns": {}}, "there are no columns"),
        (Payment, {"columns": {"a": 3}}, "a function of the event, or a field's name"),
        (Payment, {"columns": {"a": "order"}}, "Payment has no such field; it has id, amount, note"),
        (Payment, {"columns": {"a": "id", "A": "id"}}, "differ in their case only"),
        (Payment, {"columns": {"": "id"}}, "no name for a column"),
        (Payment, {"columns": {"a\0": "id"}}, "no name for a column"),
        (
            Payment,
            {"columns": {"a": lambda event: 1}, "create": True},
            "column 'a': its annotation .nothing.",
        ),
        (Vague, {"columns": {"what": "what"}, "create": True}, "column 'what'"),
        (
            Vague,
            {"columns": {"mixed": "mixed"}, "create": True},
            "column 'mixed': its annotation .int . str.",
        ),
        (Vague, {"columns": {"id": "id"}, "create": True, "key": "id"}, "may be None; a key can't be"),
    ],
)
async def test_arguments_that_cannot_be(kind: Any, arguments: Any, what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        table("sqlite:shop.db/payments", kind, **arguments)


async def test_an_annotation_that_cannot_be_resolved() -> None:
    class Odd(msgspec.Struct):
        id: "Missing"  # type: ignore[name-defined]  # noqa: F821

    table("sqlite:shop.db/odd", Odd)
    with pytest.raises(ArgumentError, match="annotation of Odd can't be resolved"):
        table("sqlite:shop.db/odd", Odd, create=True)


async def fails(sink: Sink[Any], what: str, *events: Any) -> None:
    with pytest.raises(TableError, match=what):
        await write(sink, *events)


async def test_what_is_not_there(path: str, tmp_path: Path) -> None:
    await fails(table(f"sqlite:{path}/payments", Payment), "shop.db: there is no such file; pass create=True")
    assert not os.path.exists(path)
    await fails(table(f"sqlite:{path}/a/b/payments", Payment, create=True), "the folder .* doesn't exist")
    made(path, "CREATE TABLE other (id)", "CREATE TABLE payments (id, amount)")
    await fails(table(f"sqlite:{path}/paid", Payment), "table paid: there is no such table; pass create=True")
    await fails(table(f"sqlite:{path}/payments", Payment), "has no column note; it has id, amount: add it")
    columns = {"id": "id", "amount": "amount"}
    await fails(
        table(f"sqlite:{path}/payments", Payment, columns=columns, key="id"),
        r"key=\('id',\) has no unique index; make one: CREATE UNIQUE INDEX",
    )
    (tmp_path / "text").write_text("no database" * 1000)
    await fails(table(f"sqlite:{tmp_path}/text/payments", Payment), "damaged, or no SQLite database")


async def test_a_file_of_topics_is_left_alone(path: str) -> None:
    await topic(f"sqlite:{path}/orders", Payment).publish(*payments(1))
    await fails(table(f"sqlite:{path}/payments", Payment, create=True), "holds topics")
    assert await topic(f"sqlite:{path}/orders", Payment).length() == 1


@pytest.mark.parametrize("staged", [False, True], ids=["at once", "staged"])
async def test_a_file_that_is_replaced_is_noticed(path: str, staged: bool) -> None:
    async with opened(table(f"sqlite:{path}/payments", Payment, create=True)) as sink:
        if staged:
            await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        os.unlink(path)
        made(path, "CREATE TABLE payments (id, amount, note)")
        with pytest.raises(TableError, match="deleted or replaced"):
            await sink.write(payments(2))


async def test_a_lock_that_is_held_is_waited_for_and_named(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.tables.sqlite_file.PATIENCE", 0.05)
    async with opened(table(f"sqlite:{path}/payments", Payment, create=True)) as sink:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(TableError, match="held the lock"):
                await sink.write(payments(1))
            db.execute("ROLLBACK")
        await sink.write(payments(1))
    assert len(rows(path, "SELECT * FROM payments")) == 1


async def test_used_in_a_wrong_order(path: str) -> None:
    sink = table(f"sqlite:{path}/payments", Payment, create=True)
    with pytest.raises(RuntimeError, match=r"before open"):
        await sink.write(payments(1))
    async with opened(sink):
        with pytest.raises(RuntimeError, match=r"after recover"):
            await sink.prepare(1)
        with pytest.raises(RuntimeError, match=r"after recover"):
            await sink.publish(1)


# Staged rows ------------------------------------------------------------------------------------------------


async def staged(path: str, *events: Payment, number: int, **arguments: Any) -> None:
    """What a process leaves behind that dies between prepare and publish."""
    async with opened(table(f"sqlite:{path}/payments", Payment, **arguments)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(events)
        await sink.prepare(number)


async def test_what_was_staged_by_an_earlier_version_goes_where_that_one_meant_it(path: str) -> None:
    await staged(path, *payments(1, 2), number=3, create=True)
    made(path, "CREATE TABLE paid (number INTEGER PRIMARY KEY)")
    async with opened(table(f"sqlite:{path}/paid", Payment, columns={"number": "id"}, key="number")) as sink:
        await sink.recover("mine", 3, 1)
        await sink.write(payments(4, 4))
        await sink.prepare(4)
        await sink.publish(4)
    assert rows(path, "SELECT id FROM payments") == [(1,), (2,)]
    assert rows(path, "SELECT number FROM paid") == [(4,)]


async def test_decided_rows_that_no_longer_fit_are_kept_until_the_table_is_mended(path: str) -> None:
    made(path, "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount, note)")
    await staged(path, *payments(1, 2), number=1)
    made(path, "INSERT INTO payments VALUES (2, 'by hand', NULL)")
    for _ in range(2):
        async with opened(table(f"sqlite:{path}/payments", Payment)) as sink:
            with pytest.raises(TableError, match="UNIQUE"):
                await sink.recover("mine", 1, 1)
    made(path, "DELETE FROM payments")
    async with opened(table(f"sqlite:{path}/payments", Payment)) as sink:
        await sink.recover("mine", 1, 1)
    assert rows(path, "SELECT id FROM payments") == [(1,), (2,)]


async def test_nothing_of_what_is_published_stays_staged(path: str) -> None:
    async with opened(table(f"sqlite:{path}/payments", Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        for number in range(1, 5):
            await sink.write(payments(number, number))
            await sink.prepare(number)
            await sink.publish(number)
        assert (
            rows(path, "SELECT * FROM reactor_staged_1") == rows(path, "SELECT * FROM reactor_prepared") == []
        )
    assert len(rows(path, "SELECT * FROM payments")) == 8


async def test_a_number_that_was_never_decided_goes_with_the_next(path: str) -> None:
    async with opened(table(f"sqlite:{path}/payments", Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        await sink.prepare(1)
        await sink.write(payments(2))
        await sink.prepare(2)
        await sink.publish(2)
        await sink.publish(1)
        await sink.write(payments(3))
        await sink.prepare(3)
        await sink.publish(3)
    assert rows(path, "SELECT id FROM payments") == [(1,), (2,), (3,)]


async def test_a_write_that_was_cancelled_may_be_repeated(path: str) -> None:
    async with opened(table(f"sqlite:{path}/payments", Payment, create=True)) as sink:
        await sink.recover("mine", 0, 1)
        await sink.write(payments(1))
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()  # the thread does it anyhow
                await sink.write(payments(2, 3, 4))
        await sink.write(payments(5))
        await sink.prepare(1)
        await sink.publish(1)
    assert rows(path, "SELECT id FROM payments") == [(1,), (5,)]
