"""One store in PostgreSQL that several processes use at once, while the server goes down and comes back."""

import logging
import signal
import subprocess
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor.core import TopicError
from reactor.eventstore import ALL, Category, StoreUnreachable, event_store, postgres_threads, subscription
from reactor.pipeline import Pipeline
from tests.eventstore.processes import COUNT, WRITE, Start, go, says
from tests.servers.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.schema()


async def test_followers_see_all_of_two_writers_in_order(url: str, start: Start) -> None:
    writers = [start(url, WRITE, name, 60) for name in "ab"]  # which make the tables at the same time, too
    for writer in writers:
        assert says(writer) == "ready"
    store = event_store(url)
    every = store.source(ALL, poll=600)  # so that only LISTEN wakes it
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
        with anyio.CancelScope(shield=True):
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


async def test_writers_are_killed_in_the_middle_of_appends(url: str, start: Start) -> None:
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
        told += await anyio.to_thread.run_sync(rest, writer)
    await check(store, told)


def rest(writer: subprocess.Popen[str]) -> list[tuple[int, int]]:
    """What a process that ends by itself, or was killed, has told since it was last listened to."""
    assert writer.stdout is not None
    lines = [line.split() for line in writer.stdout.read().splitlines()]
    return [(int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[2].isdigit()]


async def check(store: Any, told: list[tuple[int, int]]) -> None:
    """What was acknowledged is there, without holes, and of each append all or nothing."""
    every = await store.read_all().collect()
    assert [event.position for event in every] == list(range(len(every)))
    for version, position in told:
        assert every[position].version == version
    parts = [str(event.value).split(".") for event in every if event.stream.startswith("order-")]
    index = 0
    while index < len(parts):
        name, number, _ = parts[index]
        size = int(number) % 3 + 1
        assert parts[index : index + size] == [[name, number, str(part)] for part in range(size)]
        index += size
    for stream in await store.streams():
        versions = [event.version for event in every if event.stream == stream]
        assert versions == list(range(len(versions)))


# The server goes down -----------------------------------------------------------------------------------------


PATIENT = """
    import reactor.eventstore.postgres_threads
    reactor.eventstore.postgres_threads.PATIENCE = 50  # the machine may be busy
"""


async def test_the_server_is_killed_under_writers_and_readers(
    own_postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "_LAST", 0.2)
    url = own_postgres.schema()
    store = event_store(url)
    writers = [start(url, PATIENT + WRITE, name, 150) for name in "ab"]
    for writer in writers:
        assert says(writer) == "ready"
    seen: list[Any] = []
    lines: list[str] = []
    source = store.source(ALL, poll=600)
    await source.open()

    async def follow() -> None:
        while True:
            seen.extend(record.value for record in await source.read(1000) or ())

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for writer in writers:
                go(writer)
            for _ in range(2):
                lines += [await anyio.to_thread.run_sync(says, writers[0]) for _ in range(20)]
                await anyio.to_thread.run_sync(own_postgres.kill)
                await anyio.to_thread.run_sync(own_postgres.start)
            told = [(int(line.split()[1]), int(line.split()[2])) for line in lines]
            # They have waited for the server, and repeated what they didn't know to be stored.
            for writer in writers:
                told += await anyio.to_thread.run_sync(rest, writer)
            assert len(told) == 300
            await check(store, told)
            total = 2 * (150 + sum(n % 3 + 1 for n in range(150)))
            with anyio.fail_after(20):
                while len(seen) < total:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()
    assert [event.position for event in seen] == list(range(total))


async def test_a_pipeline_outlives_a_server_that_is_away_for_longer(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reactor")
    monkeypatch.setattr(postgres_threads, "PATIENCE", 0.2)
    monkeypatch.setattr(subscription, "_LAST", 0.2)
    url = own_postgres.schema()
    store = event_store(url)
    seen: list[int] = []
    arrived = anyio.Event()

    def see(number: int) -> None:
        seen.append(number)
        if number in (2, 5):
            arrived.set()

    async with store, anyio.create_task_group() as tasks:
        await store.append("order-1", [0, 1, 2])
        events = store.subscribe("order-1", group="mail", poll=600).map(lambda event: event.value)
        tasks.start_soon(Pipeline("mail", events.to(see)).run)
        with anyio.fail_after(20):
            await arrived.wait()
        arrived = anyio.Event()
        await anyio.to_thread.run_sync(own_postgres.stop)
        try:
            with pytest.raises(StoreUnreachable, match=r"connection is lost|no connection to PostgreSQL"):
                await store.append("order-1", [3])
            while "waiting for the store" not in caplog.text:
                await anyio.sleep(0.01)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(own_postgres.start)
        await store.append("order-1", [3, 4, 5])
        with anyio.fail_after(20):
            await arrived.wait()
        tasks.cancel_scope.cancel()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert "the store is there again" in caplog.text
    assert PASSWORD not in caplog.text


async def test_an_idle_connection_that_was_cut_is_made_anew(own_postgres: Postgres) -> None:
    async with event_store(own_postgres.schema()) as store:
        for number in range(3):
            await store.append("order-1", [number])
            assert len(await store.read("order-1").collect()) == number + 1
            await anyio.to_thread.run_sync(
                own_postgres.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reactor'",
            )


async def write_behind(postgres: Postgres, url: str, quietly: bool, poll: float) -> list[int]:
    """Read what is written while the reader sleeps, with a call for the reader or without."""
    store = event_store(url)
    await store.append("order-1", [0])
    schema = url.rpartition("=")[2]
    seen: list[int] = []
    source = store.source(ALL, poll=poll)
    await source.open()

    async def follow() -> None:
        while len(seen) < 5:
            seen.extend(record.value.position for record in await source.read(10) or ())

    try:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                for number in range(1, 5):
                    while len(seen) < number:
                        await anyio.sleep(0.01)
                    if not quietly:
                        await store.append("order-1", [number])
                    else:  # as a writer would that doesn't call anybody
                        await anyio.to_thread.run_sync(
                            postgres.execute,
                            f"INSERT INTO {schema}.events SELECT {number}, stream, {number}, category, '{number}',"
                            f" type, key, headers, time, data FROM {schema}.events WHERE version = 0",
                        )
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()
    return seen


async def test_writers_wake_readers(postgres: Postgres, url: str) -> None:
    assert await write_behind(postgres, url, False, 600) == [0, 1, 2, 3, 4]


async def test_a_call_that_was_lost_is_made_up_for_by_the_slow_poll(postgres: Postgres, url: str) -> None:
    assert await write_behind(postgres, url, True, 0.1) == [0, 1, 2, 3, 4]


async def test_a_store_that_was_dropped_meanwhile_is_told(postgres: Postgres, url: str) -> None:
    async with event_store(url) as store:
        await store.append("order-1", ["a"])
        await anyio.to_thread.run_sync(postgres.execute, f"DROP SCHEMA {url.rpartition('=')[2]} CASCADE")
        with pytest.raises(TopicError, match="tables that aren't the store's"):
            await store.append("order-1", ["b"])
