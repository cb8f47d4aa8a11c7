"""The log in a file when something is wrong: a clear error, and nothing acknowledged that isn't stored."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor.connectors.sqlite import schema, worker
from reactor.core import Closed, TopicCorrupt, TopicError, TopicFull, TopicLocked
from reactor.topics import Topic, topic

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


def orders(path: Path) -> Topic[object]:
    return topic(f"sqlite:{path}/orders")


async def values(shop: Topic[Any], start: int = 0) -> list[Any]:
    return [record.value async for record in shop.records(start)]


def in_shell(path: Path, *statements: str) -> None:
    """What somebody does with the file by hand."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


# Locked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_lock_that_somebody_holds_too_long_is_named_and_nothing_is_stored(
    path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.05)
    shop = orders(path)
    await shop.publish("a")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute(lock)
    try:
        with pytest.raises(
            TopicLocked, match=r"shop.db: another process has held the lock for more than 0.05 s"
        ):
            await shop.publish("b")
        assert await values(shop) == ["a"]  # readers don't wait for a writer
    finally:
        shell.close()
    assert await shop.publish("c") == [1]
    assert await values(shop) == ["a", "c"]


async def test_a_lock_on_the_whole_file_is_named_to_readers_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.05)
    await orders(path).publish("a")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("PRAGMA locking_mode = EXCLUSIVE")
    shell.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(TopicLocked):
            await values(orders(path))
    finally:
        shell.close()


async def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path) -> None:
    shop = orders(path)
    await shop.publish("a")
    shell = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    shell.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: shell.execute("COMMIT"))
    release.start()
    try:
        assert await shop.publish("b") == [1]
    finally:
        await anyio.to_thread.run_sync(release.join)
        shell.close()


async def test_a_reader_follows_though_it_cannot_hang_its_doorbell(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slow check finds what is new, and hangs the bell once that is possible."""
    monkeypatch.setattr(schema, "PATIENCE", 0.02)
    shop = orders(path)
    await shop.publish("a")
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    source = shop.source(poll=0.01)
    await source.open()
    try:
        assert [record.value for record in await source.read(10) or ()] == ["a"]
        shell.execute("COMMIT")
        while not shell.execute("SELECT count(*) FROM doorbells").fetchone()[0]:
            await anyio.sleep(0.01)
        await shop.publish("b")
        assert [record.value for record in await source.read(10) or ()] == ["b"]
    finally:
        shell.close()
        await source.close()


# Full ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The disk gets room for that many pages: SQLite's own limit, which it tells as a full disk."""
    connect = schema.connect
    room = [1 << 30]

    def connect_small(path: str) -> sqlite3.Connection:
        db = connect(path)
        db.execute(f"PRAGMA max_page_count = {room[0]}")
        return db

    monkeypatch.setattr(worker, "connect", connect_small)
    return lambda pages: room.__setitem__(0, pages)


async def test_a_full_disk_stores_all_of_a_write_or_nothing(path: Path, small: Callable[[int], None]) -> None:
    shop = orders(path)
    small(30)
    acknowledged = 0
    async with shop:
        with pytest.raises(TopicFull, match=r"shop.db: no room is left .*; nothing of this write was stored"):
            while True:
                await shop.publish(["x" * 1000] * 3)
                acknowledged += 3
        assert 0 < acknowledged == await shop.length()
        assert len(await values(shop)) == acknowledged
        assert await shop.publish("small") == [acknowledged]  # there is still room for this one
    small(1 << 30)
    assert await shop.publish(["x" * 1000] * 3) == [acknowledged + n for n in (1, 2, 3)]


async def test_a_write_that_does_not_fit_does_not_take_its_neighbours_with_it(
    path: Path, small: Callable[[int], None]
) -> None:
    """Writes that wait are put into one transaction; one that spoils it fails alone."""
    shop = orders(path)
    small(30)
    results: dict[int, object] = {}

    async def publish(n: int) -> None:
        try:
            results[n] = await shop.publish("x" * (1 << 20) if n == 5 else f"{n}")
        except TopicError as error:
            results[n] = error

    async with shop, anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(publish, n)
    assert isinstance(results.pop(5), TopicFull)
    stored = await values(shop)
    assert len(stored) == 9
    for n, positions in results.items():
        assert stored[positions[0]] == f"{n}"  # type: ignore[index]


def test_a_write_that_the_system_refuses(path: Path) -> None:
    done = in_process(
        path,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        stored = 0
        try:
            while True:
                stored += len(await shop.publish(["x" * 1000] * 5))
        except TopicError as error:
            print(type(error).__name__, error)
        assert stored == await shop.length() == len([record async for record in shop.records()]) > 0
        print(stored)
        """,
    )
    assert "nothing of this write was stored" in done
    stored = int(done.splitlines()[-1])
    assert len(anyio.run(values, orders(path))) == stored


def in_process(path: Path, body: str) -> str:
    program = "import os, resource, sys\nimport anyio\nfrom reactor.core import TopicError\n"
    program += "from reactor.topics import topic\n\nasync def main():\n"
    program += textwrap.indent("shop = topic(f'sqlite:{sys.argv[1]}/orders')\n", "    ")
    program += textwrap.indent(textwrap.dedent(body), "    ") + "\nanyio.run(main)\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Damaged ---------------------------------------------------------------------------------------------------


async def filled(path: Path) -> Topic[object]:
    shop = orders(path)
    await shop.publish([f"{n}" + "x" * 500 for n in range(100)])
    return shop


async def test_what_is_acknowledged_is_on_the_disk(path: Path) -> None:
    """In WAL mode it takes synchronous=FULL (2): with NORMAL a power failure may take the last commits."""
    writer = worker.Worker(str(path), writer=True)
    modes = [
        await writer.call(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0])  # type: ignore[misc]
        for name in ("journal_mode", "synchronous")
    ]
    await writer.close()
    assert modes == ["wal", 2]


@pytest.mark.parametrize("damage", ["cut", "garbage"])
async def test_a_torn_write_leaves_whole_writes_and_no_part_of_one(path: Path, damage: str) -> None:
    torn = path.with_name("torn.db")
    async with orders(path) as shop:
        for n in range(10):
            await shop.publish([f"{n}" + "x" * 1500] * 3)  # each of them some pages
        shutil.copy(path, torn)
        log = path.with_name("shop.db-wal").read_bytes()
    seen: set[int] = set()
    for end in range(0, len(log), 2999):
        left = log[:end] if damage == "cut" else log[:end] + os.urandom(len(log) - end)
        torn.with_name("torn.db-wal").write_bytes(left)
        copy = torn.with_name(f"torn{end}.db")
        shutil.copy(torn, copy)
        torn.with_name("torn.db-wal").rename(copy.with_name(f"{copy.name}-wal"))
        stored = await values(orders(copy))
        assert [value[:1] for value in stored] == [f"{n}" for n in range(len(stored) // 3) for _ in range(3)]
        seen.add(len(stored))
    assert {0, 3, 15, 27} <= seen


async def test_a_page_of_garbage(path: Path) -> None:
    shop = await filled(path)
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        for page in range(pages - 5, pages):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)
    with pytest.raises(TopicCorrupt, match=r"shop.db: the file is damaged .*; restore it from a backup"):
        await values(shop)


async def test_bytes_that_changed_on_the_disk_are_found_by_their_checksum(path: Path) -> None:
    shop = await filled(path)
    content = path.read_bytes()
    assert content.count(b'"50xxx') == 1
    path.write_bytes(content.replace(b'"50xxx', b'"50xyx'))
    source = shop.source(follow=False)
    await source.open()
    assert len(await source.read(50) or ()) == 50
    with pytest.raises(TopicCorrupt, match=r"topic orders: position 50 isn't what was written \(checksum\)"):
        await source.read(50)
    await source.close()


@pytest.mark.parametrize(
    "column", ["type = 'Other'", "key = 'other'", "headers = '{}'", "time = 0", "data = 'text'"]
)
async def test_a_row_that_somebody_changed(path: Path, column: str) -> None:
    shop = orders(path)
    await shop.publish(["a", "b"], key="key")
    in_shell(path, f"UPDATE events SET {column} WHERE place & 1")
    assert await values(shop, 2) == []
    with pytest.raises(TopicCorrupt, match="position 1 isn't what was written"):
        await values(shop)


async def test_an_event_that_is_missing(path: Path) -> None:
    shop = await filled(path)
    in_shell(path, "DELETE FROM events WHERE place & 0xff = 40")
    with pytest.raises(TopicCorrupt, match="topic orders: position 40 is missing, 41 is there"):
        await values(shop)


async def test_a_group_that_is_ahead_of_its_log(path: Path) -> None:
    shop = await filled(path)
    source = shop.source("billing")
    await source.open()
    await source.commit(100)
    await source.close()
    in_shell(path, "DELETE FROM events WHERE place & 0xff >= 40")
    with pytest.raises(
        TopicCorrupt, match="ends at 40, but group billing has read up to 100: events are lost"
    ):
        await source.open()
    await source.close()


@pytest.mark.parametrize("left", [100, 5000, 4096 * 3])
async def test_a_file_that_was_cut(path: Path, left: int) -> None:
    shop = await filled(path)
    os.truncate(path, left)
    with pytest.raises(TopicCorrupt, match=r"shop\.db: "):
        await values(shop)
    with pytest.raises(TopicCorrupt, match=r"shop\.db: "):
        await shop.publish("a")


async def test_a_file_that_is_something_else(path: Path) -> None:
    path.write_bytes(b"invoice,quantity\n" * 1000)
    with pytest.raises(TopicCorrupt, match=r"shop.db: not a SQLite database"):
        await orders(path).publish("a")
    assert path.read_bytes() == b"invoice,quantity\n" * 1000


async def test_a_database_of_somebody_else_is_left_alone(path: Path) -> None:
    in_shell(path, "CREATE TABLE events (name)")
    before = path.read_bytes()
    with pytest.raises(TopicError, match="a SQLite database, but not a log of reactor"):
        await orders(path).publish("a")
    assert path.read_bytes() == before


async def test_a_log_of_a_newer_version_is_left_alone(path: Path) -> None:
    await orders(path).publish("a")
    in_shell(path, "PRAGMA user_version = 99")
    with pytest.raises(TopicError, match=r"written by a newer reactor .*99.*; upgrade"):
        await orders(path).publish("b")


async def test_a_journal_mode_that_a_shell_changed_is_changed_back(path: Path) -> None:
    shop = orders(path)
    await shop.publish("a")
    in_shell(path, "PRAGMA journal_mode = DELETE")
    async with shop:
        await shop.publish("b")
        assert path.with_name("shop.db-wal").exists()
    assert await values(shop) == ["a", "b"]


async def test_an_open_file_survives_a_failure_and_goes_on(path: Path) -> None:
    async with orders(path) as shop:
        await shop.publish("a")
        in_shell(path, "ALTER TABLE events RENAME TO away")
        with pytest.raises(TopicError, match="no such table: events"):
            await shop.publish("b")
        in_shell(path, "ALTER TABLE away RENAME TO events")
        assert await shop.publish("c") == [1]
        assert await values(shop) == ["a", "c"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_deleted_while_it_is_open(path: Path, replaced: bool) -> None:
    """What is written to a file without a name is lost, though SQLite wouldn't say so."""
    sink, source = orders(path).sink(), orders(path).source(poll=0.01)
    await sink.open()
    await source.open()
    try:
        await sink.write(["a"])
        await source.read(1)
        for name in ("shop.db", "shop.db-wal", "shop.db-shm"):
            path.with_name(name).unlink()
        if replaced:
            await anyio.to_thread.run_sync(in_process, path, "await shop.publish('other')")
        for call in (source.read, lambda limit: sink.write(["b"]), source.read):
            with pytest.raises(TopicError, match=r"shop.db: was deleted or replaced while it was open"):
                await call(1)
    finally:
        await source.close()
        await sink.close()
    assert await orders(path).publish("c") == [1 if replaced else 0]


# Not there, not allowed ------------------------------------------------------------------------------------


async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match=r"no/shop.db: the folder .*no doesn't exist; create it first"):
        await orders(tmp_path / "no" / "shop.db").publish("a")


async def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match="is a folder; write sqlite:PATH/TOPIC"):
        await orders(tmp_path).publish("a")


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o555), (0o666, 0o555)])
def test_what_may_not_be_written_is_read_only_also_for_readers(file: int, folder: int) -> None:
    """Run as nobody: nothing is forbidden to root."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "shop.db"
        anyio.run(orders(path).publish, "a")
        before = path.read_bytes()
        path.chmod(file)
        path.parent.chmod(folder)
        out = in_process(
            path,
            """
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            for call in (shop.publish("b"), shop.length()):
                try:
                    await call
                except TopicError as error:
                    print(error)
            """,
        )
        path.parent.chmod(0o755)
        assert path.read_bytes() == before
    lines = out.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "writable" in line


# Used wrongly ----------------------------------------------------------------------------------------------


async def test_a_worker_that_is_closed(path: Path) -> None:
    reader = worker.Worker(str(path), writer=False)
    await reader.close()
    with pytest.raises(Closed, match="used after close"):
        await reader.call(lambda db: None)


async def test_a_sink_before_open(path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"used before open"):
        await orders(path).sink().write(["a"])
    assert not path.exists()


async def test_an_open_that_failed_can_be_tried_again(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    source = orders(path).source("g")
    with pytest.raises(TopicCorrupt):
        await source.open()
    await source.close()
    path.unlink()
    await source.open()
    await source.close()


def test_a_copy_of_the_file_is_a_backup(path: Path, tmp_path: Path) -> None:
    anyio.run(orders(path).publish, "a")
    shutil.copy(path, tmp_path / "copy.db")
    assert anyio.run(values, orders(tmp_path / "copy.db")) == ["a"]
