"""A file of checkpoints when something is wrong: a clear error, and never a state that nobody has saved."""

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reactor.connectors import holder, state_store
from reactor.connectors.states import file, sqlite
from reactor.core import Fenced, Owned, StateCorrupt, StateError, StateFull, StateLocked
from reactor.delivery import Change, Checkpoint, CheckpointStore
from reactor.testing.checkpoints import rows_of
from reactor.topics import topic

pytestmark = pytest.mark.anyio

LONG = 600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("reactor")]


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[CheckpointStore, None]:
    store = state_store(f"sqlite:{path}")
    await store.open()
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()


def cut(number: int) -> Checkpoint:
    return Checkpoint(number, number, {"x": number}, {"a": "scan", "b": "window"})


def changes(text: bytes, count: int = 300) -> list[Change]:
    return [
        Change(name, [(b"%s%d" % (name.encode(), n), text * 20) for n in range(count)]) for name in ("a", "b")
    ]


async def claim(store: CheckpointStore, pipeline: str = "p") -> int:
    fence = await store.claim(pipeline, holder(), LONG)
    assert fence is not None
    return fence


async def filled(path: Path, kept: bool = True) -> None:
    """A file with a checkpoint, a savepoint that is older, and nobody who owns it."""
    async with opened(path) as store:
        fence = await claim(store)
        await store.save("p", fence, cut(1), changes(b"old"))
        if kept:
            await store.keep("p", "before")
        await store.save("p", fence, cut(2), changes(b"new"))
        await store.release("p", fence)


async def content(store: CheckpointStore) -> object:
    """All that a pipeline reads as it starts."""
    return await store.last("p"), await rows_of(store, "p", "a", 100), await rows_of(store, "p", "b", 100)


def expected(number: int, text: bytes, count: int = 300) -> object:
    return cut(number), *(dict(change.rows) for change in changes(text, count))


def in_shell(path: Path, *statements: str) -> None:
    """What somebody does with the file by hand."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# Locked ----------------------------------------------------------------------------------------------------


async def test_a_lock_that_somebody_holds_too_long_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PATIENCE", 0.05)
    await filled(path)
    async with opened(path) as store:
        fence = await claim(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            says = r"state.db: another process has held the lock for more than 0.05 s; end its transaction"
            with pytest.raises(StateLocked, match=says):
                await store.save("p", fence, cut(3), changes(b"newer"))
            with pytest.raises(StateLocked):
                await store.renew("p", fence, LONG)
            assert await content(store) == expected(2, b"new")  # who reads doesn't wait
        await store.save("p", fence, cut(3), changes(b"newer"))
        assert await content(store) == expected(3, b"newer")


async def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path) -> None:
    await filled(path)
    async with opened(path) as store:
        fence = await claim(store)
        shell = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        shell.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, lambda: shell.execute("COMMIT"))
        release.start()
        await store.save("p", fence, cut(3), [])
        await anyio.to_thread.run_sync(release.join)
        shell.close()


async def test_rows_that_take_long_lock_nobody_out(path: Path) -> None:
    """They are generated before the lock is taken: the lease is renewed, and a log in the file is written to."""
    async with opened(path) as store:
        fence = await claim(store)
        begun, go_on = anyio.Event(), threading.Event()
        token = anyio.lowlevel.current_token()

        def given() -> Iterator[tuple[bytes, bytes]]:
            yield b"1", b"x"
            anyio.from_thread.run_sync(begun.set, token=token)
            go_on.wait(20)
            yield b"2", b"x"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.save, "p", fence, cut(1), [Change("a", given())])
            await begun.wait()
            await store.renew("p", fence, LONG)
            await topic(f"sqlite:{path}/orders").publish("order")
            assert await store.last("p") is None
            go_on.set()
        assert await rows_of(store, "p", "a") == {b"1": b"x", b"2": b"x"}


# Full ------------------------------------------------------------------------------------------------------


async def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLite says it: its own limit has the same error."""
    connect = file.connect

    def limited(path: str) -> sqlite3.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count = 60")
        return db

    await filled(path, kept=False)
    with monkeypatch.context() as patch:
        patch.setattr(file, "connect", limited)
        async with opened(path) as store:
            fence = await claim(store)
            with pytest.raises(StateFull, match=r"state.db: no room is left .*; the last checkpoint stands"):
                await store.save("p", fence, cut(3), changes(b"newer", 5000))
            assert await content(store) == expected(2, b"new")
            await store.save("p", fence, cut(3), changes(b"newer", 700))  # there is room for these
            with pytest.raises(StateFull):
                await store.keep("p", "a name")
            assert await store.savepoints() == []
            await store.release("p", fence)
    async with opened(path) as store:
        assert await content(store) == expected(3, b"newer", 700)


def test_a_file_that_may_not_grow(path: Path) -> None:
    anyio.run(filled, path)
    out = in_process(
        path,
        """
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        fence = await store.claim("p", holder(), 600)
        rows = [(b"%d" % n, os.urandom(100)) for n in range(8000)]
        try:
            await store.save("p", fence, Checkpoint(3, 3, {}, {"a": "scan"}), [Change("a", rows)])
        except StateError as error:
            print(type(error).__name__, error)
        print((await store.last("p")).number)
        """,
    )
    assert "state.db: the disk failed, or it is full" in out
    assert out.splitlines()[-1] == "2"


def in_process(path: Path, body: str) -> str:
    program = "import os, resource, sys\nimport anyio\nfrom reactor.connectors import holder, state_store\n"
    program += "from reactor.core import StateError\nfrom reactor.delivery import Change, Checkpoint\n\n"
    program += "async def main():\n    store = state_store(f'sqlite:{sys.argv[1]}')\n    await store.open()\n"
    program += textwrap.indent(textwrap.dedent(body), "    ") + "\n    await store.close()\nanyio.run(main)\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Not there, not allowed ------------------------------------------------------------------------------------


async def fails(path: Path) -> str:
    with pytest.raises(StateError) as caught:
        async with opened(path):
            pass
    return str(caught.value)


async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    says = await fails(tmp_path / "no" / "state.db")
    assert f"{tmp_path}/no/state.db: the folder {tmp_path}/no doesn't exist; create it first" in says


async def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    assert "is a folder; write sqlite:PATH" in await fails(tmp_path)


@pytest.mark.parametrize("mode", [0o444, 0o666])
def test_what_may_not_be_written_is_named(mode: int) -> None:
    """Run as nobody: nothing is forbidden to root."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state.db"
        anyio.run(filled, path)
        path.chmod(mode)
        path.parent.chmod(0o555)
        program = textwrap.dedent(
            """
            import os, sys
            import anyio
            from reactor.connectors import holder, state_store
            from reactor.core import StateError
            async def main():
                if os.geteuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                store = state_store(f"sqlite:{sys.argv[1]}")
                try:
                    await store.open()
                    await store.claim("p", holder(), 600)
                except StateError as error:
                    print(type(error).__name__, error)
            anyio.run(main)
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        path.parent.chmod(0o755)
        assert done.returncode == 0, done.stderr
        assert (
            f"{path}: read-only; the file of the checkpoints and its folder must be writable" in done.stdout
        )


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_deleted_while_it_is_open(path: Path, replaced: bool) -> None:
    await filled(path)
    async with opened(path) as store:
        fence = await claim(store)
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            path.with_name(name).unlink()
        if replaced:
            await filled(path)
        calls: list[Callable[[], object]] = [
            lambda: store.save("p", fence, cut(3), []),
            lambda: store.last("p"),
        ]
        for call in calls:
            with pytest.raises(StateError, match=r"state.db: was deleted or replaced while it was open"):
                await call()  # type: ignore[misc]


# Damaged ---------------------------------------------------------------------------------------------------


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(bit // 8)
        byte = handle.read(1)[0]
        handle.seek(bit // 8)
        handle.write(bytes([byte ^ 1 << bit % 8]))


async def test_a_flipped_bit_is_never_taken_for_a_state(path: Path) -> None:
    await filled(path)
    whole = path.read_bytes()
    chance = random.Random(int(os.environ.get("REACTOR_SEED", "7")))
    found: list[StateError] = []
    for _ in range(int(os.environ.get("REACTOR_FLIPS", "90"))):
        bit = chance.randrange(len(whole) * 8)
        path.write_bytes(whole)
        flip(path, bit)
        try:
            async with opened(path) as store:
                read = await content(store)
        except StateError as error:
            found.append(error)
        else:
            assert read == expected(2, b"new"), bit
        for rest in ("state.db-wal", "state.db-shm"):
            path.with_name(rest).unlink(missing_ok=True)
    assert len(found) > 5
    assert all(map(named, found))


def named(error: StateError) -> bool:
    """Damage is called so, unless it makes the version a greater one."""
    return "state.db" in str(error) and (isinstance(error, StateCorrupt) or "newer reactor" in str(error))


async def test_a_flipped_bit_is_never_restored(path: Path) -> None:
    await filled(path)
    whole = path.read_bytes()
    chance = random.Random(int(os.environ.get("REACTOR_SEED", "11")))
    found: list[StateError] = []
    for _ in range(int(os.environ.get("REACTOR_FLIPS", "90")) // 3):
        bit = chance.randrange(len(whole) * 8)
        path.write_bytes(whole)
        flip(path, bit)
        try:
            async with opened(path) as store:
                restored = await store.restore("p", "before")
                read = await content(store)
        except StateError as error:
            found.append(error)
        else:
            assert restored.positions == {"x": 1}, bit
            assert read == (restored, *expected(1, b"old")[1:]), bit  # type: ignore[index]
        for rest in ("state.db-wal", "state.db-shm"):
            path.with_name(rest).unlink(missing_ok=True)
    assert found
    assert all(map(named, found))


@pytest.mark.parametrize("log", [False, True])
async def test_tables_that_damage_hides_are_not_made_anew(path: Path, log: bool) -> None:
    await filled(path)
    if log:
        await topic(f"sqlite:{path}/orders").publish("a")
    with path.open("r+b") as handle:
        handle.seek(103)  # how many entries the list of tables has
        handle.write(b"\0\0")
    assert "state.db: the file is damaged" in await fails(path)


@pytest.mark.parametrize("left", [50, 100, 4096, 5000, 3 * 4096])
async def test_a_file_that_was_cut(path: Path, left: int) -> None:
    await filled(path)
    os.truncate(path, left)
    with pytest.raises(
        StateCorrupt, match=r"state\.db: .*(restore the file from a backup|restore a savepoint)"
    ):
        async with opened(path) as store:
            await content(store)


async def test_a_file_that_is_something_else(path: Path) -> None:
    path.write_bytes(b"invoice,quantity\n" * 1000)
    assert "not a SQLite database" in await fails(path)
    assert path.read_bytes() == b"invoice,quantity\n" * 1000


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "UPDATE reactor_states_rows SET value = x'00' WHERE key = 'a7'",
            "a row of a isn't what was written",
        ),
        (
            "UPDATE reactor_states_rows SET key = x'6137ff' WHERE key = x'6137'",
            "a row of a isn't what was written",
        ),
        ("UPDATE reactor_states_rows SET crc = 1 WHERE key = x'6137'", "a row of a isn't what was written"),
        (
            "DELETE FROM reactor_states_rows WHERE key = x'6137'",
            "the rows of a aren't those that were written",
        ),
        ("DELETE FROM reactor_states_cuts WHERE name = ''", "the last checkpoint of pipeline p is gone"),
        ("DELETE FROM reactor_states_owners", "the last checkpoint of pipeline p is gone"),
        (
            "UPDATE reactor_states_cuts SET body = body || ' '",
            "the last checkpoint of pipeline p isn't",
        ),
        (
            "UPDATE reactor_states_owners SET body = body || ' '",
            "who owns it isn't what was written",
        ),
    ],
)
async def test_what_somebody_has_changed_is_told_with_the_ways_out(
    path: Path, statement: str, says: str
) -> None:
    await filled(path)
    in_shell(path, statement.replace("'a7'", "x'6137'"))
    with pytest.raises(StateCorrupt, match=says) as caught:
        async with opened(path) as store:
            await content(store)
    assert "restore" in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reactor_states_rows SET value = x'00' WHERE part <= 2",
        "DELETE FROM reactor_states_rows WHERE part <= 2 AND key > x'6137'",
        "UPDATE reactor_states_cuts SET body = 'x' WHERE name = ''",
        "DELETE FROM reactor_states_cuts WHERE name = ''",
    ],
)
@pytest.mark.parametrize("way", ["restore", "forget"])
async def test_the_ways_out_lead_out(path: Path, statement: str, way: str) -> None:
    await filled(path)
    in_shell(path, statement)
    async with opened(path) as store:
        with pytest.raises(StateCorrupt):
            await content(store)
        if way == "restore":
            restored = await store.restore("p", "before")
            assert await content(store) == (restored, *expected(1, b"old")[1:])  # type: ignore[index]
        else:
            await store.forget("p")
            assert await content(store) == (None, {}, {})


async def test_a_savepoint_that_lost_a_row_is_not_restored(path: Path) -> None:
    await filled(path)
    in_shell(path, "DELETE FROM reactor_states_rows WHERE part = 3 AND key = x'6137'")
    async with opened(path) as store:
        with pytest.raises(StateCorrupt, match="the rows of a aren't those that were written"):
            await store.restore("p", "before")
        assert await content(store) == expected(2, b"new")


async def test_a_torn_write_leaves_whole_checkpoints(path: Path) -> None:
    log = path.with_name("state.db-wal")
    await filled(path, kept=False)
    async with opened(path) as store:
        fence = await claim(store)
        for number in range(3, 8):
            await store.save("p", fence, cut(number), changes(b"%d" % number))
        main, torn = path.read_bytes(), log.read_bytes()
    seen = set()
    for end in range(0, len(torn), len(torn) // 40):
        path.write_bytes(main)
        log.write_bytes(torn[:end])
        path.with_name("state.db-shm").unlink(missing_ok=True)
        async with opened(path) as store:
            last = await store.last("p")
            assert last is not None
            text = b"%d" % last.number if last.number > 2 else b"new"
            assert await content(store) == expected(last.number, text)
            seen.add(last.number)
    assert {2, 3, 6} <= seen


# Files of others -------------------------------------------------------------------------------------------


async def test_a_newer_version_is_left_alone(path: Path) -> None:
    await filled(path)
    in_shell(path, "UPDATE reactor_states SET version = 99")
    says = await fails(path)
    assert "written by a newer reactor (version 99, this one knows 1); upgrade reactor-streams" in says


@pytest.mark.parametrize("first", ["log", "checkpoints"])
async def test_a_log_and_checkpoints_share_a_file(path: Path, first: str) -> None:
    orders = topic(f"sqlite:{path}/orders")
    if first == "log":
        await orders.publish("a")
    await filled(path)
    await orders.publish("b")
    assert [record.value async for record in orders.records()][-1] == "b"
    async with opened(path) as store:
        assert await content(store) == expected(2, b"new")


async def test_the_tables_of_somebody_else_stay_as_they_are(path: Path) -> None:
    in_shell(path, "CREATE TABLE rows (name)", "INSERT INTO rows VALUES ('mine')", "PRAGMA user_version = 5")
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM rows").fetchall() == [("mine",)]
        assert db.execute("PRAGMA user_version").fetchone() == (5,)


async def test_what_is_saved_is_on_the_disk(path: Path) -> None:
    """In WAL mode it takes synchronous=FULL (2): with NORMAL a power failure may take the last commits."""

    def modes() -> list[object]:
        with closing(file.connect(str(path))) as db:
            return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert await anyio.to_thread.run_sync(modes) == ["wal", 2]


# Clocks ----------------------------------------------------------------------------------------------------


async def test_a_clock_that_is_set_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes nothing from an owner that lives, and gives a dead one no more than its lease."""
    now = time.time_ns() // 1000
    monkeypatch.setattr(sqlite, "_now", lambda: now)
    hour, second = 3_600_000_000, 1_000_000
    async with opened(path) as store:
        fence = await store.claim("p", "somebody", 60)
        assert fence is not None
        now -= hour
        await store.renew("p", fence, 60)
        owner = await store.owner("p")
        assert owner is not None
        assert owner.until == now + 60 * second
        assert await store.claim("p", "another", 10) is None
        # It dies. The clock goes back once more: what is left of its lease is cut to its length.
        now -= hour
        assert await store.claim("p", "another", 10) is None
        now += 59 * second
        assert await store.claim("p", "another", 10) is None
        now += 2 * second
        assert await store.claim("p", "another", 10) == fence + 1
        with pytest.raises(Fenced, match="another has taken over"):
            await store.renew("p", fence, 60)
        with pytest.raises(Owned, match="another runs the pipeline p; stop it first"):
            await store.forget("p")
        now += 11 * second
        await store.forget("p")
        with pytest.raises(
            Fenced, match=f"others have owned or changed its checkpoints since, up to {fence + 2}"
        ):
            await store.renew("p", fence + 1, 60)


# Speed -----------------------------------------------------------------------------------------------------


async def test_a_busy_event_loop_does_not_hold_up_a_save(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each row that it steps to, SQLite gives the GIL away, and may wait 5 ms until it has it back."""
    connect = file.connect
    steps = 0

    def watched(path: str) -> sqlite3.Connection:
        def stepped(*_: object) -> None:
            nonlocal steps
            steps += 1

        def row(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> tuple[object, ...]:
            stepped()
            return values

        db = connect(path)
        db.set_trace_callback(stepped)
        db.row_factory = row
        return db

    monkeypatch.setattr(file, "connect", watched)
    async with opened(path) as store:
        fence = await claim(store)
        for number, size in enumerate((10_000, 30_000), 1):
            rows = [(b"%d" % n, b"x" * 50) for n in range(size)]
            steps = 0
            await store.save("p", fence, cut(number), [Change("a", rows)])
            assert steps < 60
            steps = 0
            assert len(await rows_of(store, "p", "a", 1000)) == size
            assert steps < size / 1000 * 10
