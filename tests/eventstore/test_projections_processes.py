"""Projections of which several processes build the same, in SQLite and in PostgreSQL, kill -9 included."""

import signal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reactor.eventstore import event_store
from tests.eventstore.places import Place
from tests.eventstore.processes import Start, go, says

pytestmark = pytest.mark.asyncio  # what is tested runs in the other processes

TOTAL = """
def count(db, event):
    db.execute("UPDATE total SET n = n + 1")
    if event.position % 100 == 0:
        print(event.position, flush=True)
tables = "CREATE TABLE total (n INTEGER); INSERT INTO total VALUES (0)"
total = Projection("total", store, count, tables=tables, into=args[0])
"""
SHOW = """
print(await total.query("SELECT n FROM total"), await total.position(), flush=True)
"""


async def test_killed_it_counts_each_event_once(place: Place, tmp_path: Path, start: Start) -> None:
    url = f"sqlite:{tmp_path}/shop.db"
    await event_store(url).append("order-1", [{"n": 1}] * 3000)
    for kill in (3, 22):
        child = start(url, TOTAL + "await total.catch_up()", place.into)
        for _ in range(kill):
            says(child)
        child.send_signal(signal.SIGKILL)
        await anyio.to_thread.run_sync(child.wait)
    child = start(url, TOTAL + "await total.catch_up()" + SHOW, place.into)
    assert child.stdout is not None
    assert child.stdout.read().splitlines()[-1] == "[(3000,)] 3000"


async def test_two_processes_at_once(place: Place, tmp_path: Path, start: Start) -> None:
    url = f"sqlite:{tmp_path}/shop.db"
    await event_store(url).append("order-1", [{"n": 1}] * 3000)
    body = TOTAL + "print('ready', flush=True)\nsys.stdin.readline()\nawait total.catch_up()\n"
    builders = [start(url, body + "await total.rebuild()" + SHOW, place.into) for _ in range(2)]
    for builder in builders:
        assert says(builder) == "ready"
    for builder in builders:
        go(builder)
    for builder in builders:
        assert builder.stdout is not None
        said = await anyio.to_thread.run_sync(builder.stdout.read)
        assert said.splitlines()[-1] == "[(3000,)] 3000"
    assert place.leftovers() == []


async def test_killed_while_it_rebuilds_the_old_stay(place: Place, tmp_path: Path, start: Start) -> None:
    url = f"sqlite:{tmp_path}/shop.db"
    await event_store(url).append("order-1", [{"n": 1}] * 2000)
    child = start(url, TOTAL + "await total.catch_up()\nawait total.rebuild()", place.into)
    for _ in range(20 + 15):
        says(child)
    child.send_signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(child.wait)
    assert place.look("SELECT n FROM total") == [(2000,)]
    child = start(url, TOTAL + "await total.rebuild()" + SHOW, place.into)
    assert child.stdout is not None
    assert child.stdout.read().splitlines()[-1] == "[(2000,)] 2000"
    assert place.look("SELECT n FROM total") == [(2000,)]
