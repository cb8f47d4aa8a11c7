"""The log in a file that several processes use at once, with real child processes."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor.connectors.sqlite import statements
from reactor.connectors.sqlite.doorbell import Doorbell
from reactor.core import Source
from reactor.topics import Topic, topic

pytestmark = pytest.mark.anyio

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Run the body of a coroutine in a process of its own; ``shop`` is the topic, ``args`` the arguments."""
    children: list[subprocess.Popen[str]] = []

    def start(body: str, *args: object) -> subprocess.Popen[str]:
        program = (
            "import os, signal, sys\nimport anyio\nfrom reactor.topics import topic\n\nasync def main():\n"
        )
        program += "    shop = topic(f'sqlite:{sys.argv[1]}/orders')\n    args = sys.argv[2:]\n"
        program += textwrap.indent(textwrap.dedent(body), "    ") + "\nanyio.run(main)\n"
        command = [sys.executable, "-c", program, str(path), *map(str, args)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def orders(path: Path) -> Topic[object]:
    return topic(f"sqlite:{path}/orders")


async def values(shop: Topic[Any]) -> list[Any]:
    records = [record async for record in shop.records()]
    assert [record.position for record in records] == list(range(len(records)))
    return [record.value for record in records]


def says(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def end_of(child: subprocess.Popen[str]) -> list[str]:
    """The lines until its end. Not by ``communicate``, which loses what ``says`` has read ahead."""
    assert child.stdout is not None
    lines = child.stdout.read().splitlines()
    child.wait(30)
    return lines


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def test_processes_that_write_one_topic_at_once(path: Path, start: Start) -> None:
    body = """
        print("ready", flush=True)
        sys.stdin.readline()
        async with shop:
            for n in range(60):
                at = await shop.publish([f"{args[0]}.{n}"] * 3)
                assert at == list(range(at[0], at[0] + 3))
                print(at[0], flush=True)
    """
    writers = [start(body, name) for name in "abc"]
    for writer in writers:
        assert says(writer) == "ready"
    for writer in writers:
        tell(writer, "go")
    told = [[int(line) for line in end_of(writer)] for writer in writers]
    stored = anyio.run(values, orders(path))
    assert len(stored) == 3 * 60 * 3
    for name, positions in zip("abc", told, strict=True):
        assert [stored[at : at + 3] for at in positions] == [[f"{name}.{n}"] * 3 for n in range(60)]


def test_processes_that_make_the_file_at_once(path: Path, start: Start) -> None:
    body = """
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(10):  # and each time the last one out closes the file behind the others
            await shop.publish(args[0])
    """
    writers = [start(body, name) for name in "abc"]
    for writer in writers:
        assert says(writer) == "ready"
    for writer in writers:
        tell(writer, "go")
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    assert sorted(anyio.run(values, orders(path))) == ["a"] * 10 + ["b"] * 10 + ["c"] * 10


@pytest.mark.parametrize("acknowledged", [1, 20, 60])
def test_nothing_acknowledged_is_missing_after_kill_9_of_a_writer(
    path: Path, start: Start, acknowledged: int
) -> None:
    writer = start("""
        async with shop:
            n = 0
            while True:
                await shop.publish([n, n, n])
                print(n, flush=True)
                n += 1
    """)
    while int(told := says(writer)) < acknowledged:
        pass
    writer.send_signal(signal.SIGKILL)
    rest = end_of(writer)
    last = int(rest[-1] if rest and rest[-1].isdigit() else told)

    async def look() -> None:
        shop = orders(path)
        stored = await values(shop)
        assert stored == [n for n in range(len(stored) // 3) for _ in range(3)]
        assert len(stored) >= 3 * (last + 1) - 3  # the last number may have been torn on its way to us
        assert await shop.publish("on") == [len(stored)]

    anyio.run(look)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_a_reader_in_another_process_is_woken_without_waiting_for_its_check(path: Path, start: Start) -> None:
    reader = start("""
        source = shop.source("g", poll=1000)
        await source.open()
        print("ready", flush=True)
        for _ in range(3):
            for record in await source.read(10):
                print(record.value, flush=True)
        await source.close()
    """)
    assert says(reader) == "ready"

    async def publish() -> None:
        async with orders(path) as shop:
            for n in range(3):
                began = time.monotonic()
                await shop.publish(n)
                assert await anyio.to_thread.run_sync(says, reader) == str(n)
                assert time.monotonic() - began < 20  # its check comes after 1000 s

    anyio.run(publish)
    assert reader.wait(10) == 0
    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM doorbells").fetchall() == []
    db.close()


def test_a_doorbell_of_a_dead_process_is_taken_down(path: Path, start: Start) -> None:
    reader = start("""
        source = shop.source(poll=1000)
        await source.open()
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert says(reader) == "ready"
    assert reader.wait(10) == -signal.SIGKILL
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM doorbells").fetchone() == (1,)

    async def publish() -> None:
        async with orders(path) as shop:
            while db.execute("SELECT count(*) FROM doorbells").fetchone() == (1,):
                await shop.publish("a")

    anyio.run(publish)
    db.close()


def test_readers_and_writers_in_processes_lose_nothing(path: Path, start: Start) -> None:
    """Readers that follow, each with a group, while others write, and one reader is killed and begun again."""
    read = """
        source = shop.source(args[0], poll=1000)
        await source.open()
        print("ready", flush=True)
        while source.position() < 200:
            for record in await source.read(7):
                print(record.position, record.value, flush=True)
            if "dies" in args and source.position() > 60:
                os.kill(os.getpid(), signal.SIGKILL)
            await source.commit(source.position())
        await source.close()
    """
    write = """
        async with shop:
            for n in range(50):
                await shop.publish([f"{args[0]}{n}"] * 2)
    """
    readers = [start(read, "g"), start(read, "h", "dies")]
    for reader in readers:
        assert says(reader) == "ready"
    writers = [start(write, "a"), start(write, "b")]
    before = end_of(readers[1])
    assert readers[1].returncode == -signal.SIGKILL
    again = start(read, "h")
    assert [writer.wait(30) for writer in writers] == [0, 0]
    stored = anyio.run(values, orders(path))
    lines = [f"{position} {value}" for position, value in enumerate(stored)]
    assert len(lines) == 200
    assert end_of(readers[0]) == lines
    assert says(again) == "ready"
    after = end_of(again)
    assert before == lines[: len(before)]
    assert after == lines[-len(after) :]
    assert 200 < len(before) + len(after) <= 207  # the last read wasn't committed


# The doorbell and its net ----------------------------------------------------------------------------------


async def test_a_call_that_is_lost_is_made_up_for_by_the_check(path: Path, start: Start) -> None:
    shop = orders(path)
    source = shop.source(poll=0.02)
    await source.open()
    try:
        await anyio.to_thread.run_sync(forget_doorbells, path)
        writer = start("await shop.publish('a')")
        assert [record.value for record in await source.read(1) or ()] == ["a"]
        assert await anyio.to_thread.run_sync(writer.wait) == 0
    finally:
        await source.close()


def forget_doorbells(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DELETE FROM doorbells")
    db.close()


async def test_a_shorter_check_of_a_second_reader_counts_at_once(path: Path) -> None:
    shop = orders(path)
    patient, hasty = shop.source(poll=1000), shop.source(poll=0.01)
    got: list[object] = []
    await patient.open()
    try:
        async with anyio.create_task_group() as tasks:

            async def read(source: Source[object]) -> None:
                got.extend(record.value for record in await source.read(1) or ())

            tasks.start_soon(read, patient)
            await anyio.sleep(0.05)  # the doorbell waits for its call now, up to 1000 s
            await hasty.open()
            tasks.start_soon(read, hasty)
            await anyio.sleep(0.05)  # and both have looked, and found nothing
            await anyio.to_thread.run_sync(forget_doorbells, path)
            await anyio.to_thread.run_sync(insert_by_hand, path)
    finally:
        await hasty.close()
        await patient.close()
    assert got == ["a", "a"]


def insert_by_hand(path: Path) -> None:
    """A writer that rings nobody."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    statements.append(db, statements.number_for(db, "orders"), [(None, "str", None, None, 0, b'"a"')])
    db.execute("COMMIT")
    db.close()


async def test_a_reader_that_waits_looks_when_it_is_called_and_not_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    fetch = statements.fetch

    def counted(db: sqlite3.Connection, path: str, topic: str, *rest: int) -> list[Any]:
        looks.append(topic)
        return fetch(db, path, topic, *rest)

    monkeypatch.setattr(statements, "fetch", counted)
    shop, other = orders(path), topic(f"sqlite:{path}/other")
    await shop.publish("a")
    for poll in (0.01, 1000):
        source = shop.source(start="latest", poll=poll)
        await source.open()
        looks.clear()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(source.read, 1)
                if poll < 1:
                    await anyio.sleep(0.2)  # some twenty checks, of which the first may find something
                else:
                    for n in range(20):
                        await other.publish(n)
                assert len(looks) <= 2, "it looked again though nothing had changed"
                await shop.publish("b")
        finally:
            await source.close()


async def test_where_there_is_no_loopback_the_check_has_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no loopback")

    class Silent(Doorbell):
        def __init__(self, poll: float, ring: Callable[..., None], check: Callable[[], None]) -> None:
            with monkeypatch.context() as patched:
                patched.setattr("socket.socket.bind", refuse)
                super().__init__(poll, ring, check)

    monkeypatch.setattr("reactor.connectors.sqlite.log.Doorbell", Silent)
    shop = orders(path)
    source = shop.source(poll=0.01)
    await source.open()
    try:
        await anyio.to_thread.run_sync(insert_by_hand, path)
        assert [record.value for record in await source.read(1) or ()] == ["a"]
    finally:
        await source.close()


def test_a_forked_child_opens_the_file_for_itself(path: Path, start: Start) -> None:
    child = start("""
        async with shop:
            await shop.publish("parent")
            if not (pid := os.fork()):
                async def publish():
                    await topic(f"sqlite:{sys.argv[1]}/orders").publish("child")
                try:
                    import threading
                    thread = threading.Thread(target=anyio.run, args=(publish,))
                    thread.start()
                    thread.join()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            await shop.publish("again")
    """)
    assert child.wait(30) == 0
    assert anyio.run(values, orders(path)) == ["parent", "child", "again"]


def test_one_process_with_several_event_loops(path: Path) -> None:
    """Threads with loops of their own share the file's writer, and wake each other."""
    got: list[Any] = []

    async def read() -> None:
        source = orders(path).source(poll=1000)
        await source.open()
        try:
            ready.set()
            while len(got) < 20:
                got.extend(record.value for record in await source.read(10) or ())
        finally:
            await source.close()

    ready = threading.Event()
    reader = threading.Thread(target=anyio.run, args=(read,), kwargs={"backend": "trio"})
    reader.start()
    ready.wait()

    async def publish() -> None:
        async with orders(path) as shop:
            for n in range(20):
                await shop.publish(n)

    anyio.run(publish)
    reader.join()
    assert got == list(range(20))
