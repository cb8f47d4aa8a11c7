"""One store that several processes use at once, kill -9 included; and files of earlier versions."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor.connectors.sqlite import schema
from reactor.core import TopicCorrupt, TopicError
from reactor.eventstore import ALL, Category, event_store
from reactor.topics import topic
from tests.eventstore.processes import COUNT, WRITE, Start, go, says

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:{path}"


async def test_followers_see_all_of_two_writers_in_order(url: str, start: Start) -> None:
    writers = [start(url, WRITE, name, 60) for name in "ab"]
    for writer in writers:
        assert says(writer) == "ready"
    store = event_store(url)
    every = store.source(ALL, poll=600)  # so that only the doorbell wakes it
    orders = store.source(Category("order"), poll=600)
    total = 2 * (60 + sum(n % 3 + 1 for n in range(60)))
    seen: list[Any] = []
    some: list[Any] = []
    await every.open()
    await orders.open()
    try:
        for writer in writers:
            go(writer)
        with anyio.fail_after(40):
            while len(seen) < total:
                seen += [record.value for record in await every.read(1000) or ()]
            while len(some) < total - 120:
                some += [record.value for record in await orders.read(7) or ()]
    finally:
        await every.close()
        await orders.close()
    # None left out, none twice, each stream in order: a position is never seen before a lower one.
    assert [event.position for event in seen] == list(range(total))
    assert seen == await store.read_all().collect()
    assert some == [event for event in seen if event.stream.startswith("order-")]
    for stream in await store.streams():
        versions = [event.version for event in seen if event.stream == stream]
        assert versions == list(range(len(versions)))
    for name, writer in zip("ab", writers, strict=True):
        for n in range(60):
            number, version, position = map(int, says(writer).split())
            assert number == n
            event = seen[position]
            assert (event.version, event.value) == (version, f"{name}.{n}.{n % 3}")
            # An append stands together.
            assert [one.value for one in seen[position - n % 3 : position + 1]] == [
                f"{name}.{n}.{part}" for part in range(n % 3 + 1)
            ]


async def test_of_two_processes_that_expect_the_same_version_one_wins(url: str, start: Start) -> None:
    writers = [start(url, COUNT, 99) for _ in range(2)]
    for writer in writers:
        assert says(writer) == "ready"
    for writer in writers:
        go(writer)
    won = [int(says(writer)) for writer in writers]
    values = [event.value for event in await event_store(url).read("counter").collect()]
    assert values == list(range(len(values)))
    assert sum(won) == len(values) >= 100


async def test_killed_in_the_middle_of_appends(url: str, start: Start) -> None:
    store = event_store(url)
    told: list[tuple[int, int]] = []
    for attempt in range(4):
        writer = start(url, WRITE, "a", 100_000)
        assert says(writer) == "ready"
        go(writer)
        for _ in range(5 + attempt * 7):
            _, version, position = map(int, says(writer).split())
            told.append((version, position))
        writer.send_signal(signal.SIGKILL)
        await anyio.to_thread.run_sync(writer.wait)
        assert writer.stdout is not None
        for line in writer.stdout.read().splitlines():
            if len(line.split()) == 3 and line.split()[2].isdigit():
                told.append((int(line.split()[1]), int(line.split()[2])))
        every = await store.read_all().collect()
        assert [event.position for event in every] == list(range(len(every)))
        # What was acknowledged is there, and of each append all or nothing.
        for version, position in told:
            assert every[position].version == version
        values = [event.value for event in every if event.stream.startswith("order-")]
        parts = [str(value).split(".") for value in values]
        whole = [[int(n), int(part)] for _, n, part in parts]
        index = 0
        while index < len(whole):
            n = whole[index][0]
            assert whole[index : index + n % 3 + 1] == [[n, part] for part in range(n % 3 + 1)]
            index += n % 3 + 1
        for stream in await store.streams():
            assert [e.version for e in every if e.stream == stream] == list(
                range(sum(e.stream == stream for e in every))
            )


# Files of earlier versions ----------------------------------------------------------------------------------


async def _old_file(path: Path) -> None:
    """A file as version 1 left it: made by this one, without what version 2 has added."""
    orders, mails = topic(f"sqlite:{path}/orders"), topic(f"sqlite:{path}/mails")
    await orders.publish("a", "b", id=str)
    await mails.publish("x")
    await orders.publish("c")
    await topic(f"sqlite:{path}/empty").publish()
    await orders.subscribe("mail", follow=False).take(1, volatile=True).collect()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in ("spans", "snapshots", "metadata"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")


async def test_a_file_of_version_1_is_brought_up_to_date(path: Path, url: str) -> None:
    await _old_file(path)
    orders = topic(f"sqlite:{path}/orders")
    assert [record.value async for record in orders.records()] == ["a", "b", "c"]
    assert "mail" in await orders.groups()
    store = event_store(url)
    await store.append("mails", ["y"])
    await orders.publish("d")
    events = await store.read_all().collect()
    assert [(event.stream, event.version, event.value) for event in events] == [
        ("orders", 0, "a"),
        ("orders", 1, "b"),
        ("orders", 2, "c"),
        ("mails", 0, "x"),
        ("mails", 1, "y"),
        ("orders", 3, "d"),
    ]
    assert [event.position for event in events] == list(range(6))
    assert (await store.read("mails", 1).collect())[0].position == 4
    await store.set_metadata("orders", {"a": 1})


async def test_processes_that_bring_a_file_up_to_date_at_once(path: Path, url: str, start: Start) -> None:
    await _old_file(path)
    writers = [start(url, WRITE, name, 10) for name in "abc"]
    for writer in writers:
        assert says(writer) == "ready"
    for writer in writers:
        go(writer)
    for writer in writers:
        assert await anyio.to_thread.run_sync(writer.wait) == 0
    events = await event_store(url).read_all().collect()
    assert [event.position for event in events] == list(
        range(4 + 3 * (10 + sum(n % 3 + 1 for n in range(10))))
    )


async def test_a_failed_upgrade_changes_nothing(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _old_file(path)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_SPANS_OF_1", "SELECT nothing")
        with pytest.raises(TopicError):
            await event_store(url).read_all().collect()
    assert len(await event_store(url).read_all().collect()) == 4


async def test_events_that_an_old_process_adds_get_their_positions_with_the_next_append(
    path: Path, url: str
) -> None:
    store = event_store(url)
    await store.append("orders", ["a"])
    await store.append("mails", ["x"])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        spans = db.execute("SELECT * FROM spans").fetchall()
        await store.append("orders", ["b"])
        # As if a process of version 1 had written "b": it knows nothing of spans.
        db.execute("DELETE FROM spans")
        db.executemany("INSERT INTO spans VALUES (?, ?, ?)", spans)
    await store.append("mails", ["y"])
    await store.append("orders", ["c"])
    assert [event.value for event in await store.read_all().collect()] == ["a", "x", "y", "b", "c"]


async def test_damage_is_told(path: Path, url: str) -> None:
    store = event_store(url)
    await store.append("orders", ["a", "b", "c"])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE events SET data = CAST('\"x\"' AS BLOB) WHERE place & 0xFF = 1")
    for reading in (store.read("orders"), store.read_all(), store.read("orders", direction="backwards")):
        with pytest.raises(TopicCorrupt, match=r"stream orders: version 1 isn't what was written"):
            await reading.collect()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM events WHERE place & 0xFF = 1")
    for direction in ("forwards", "backwards"):
        with pytest.raises(TopicCorrupt, match="version 1 is missing"):
            await store.read("orders", direction=direction).collect()
