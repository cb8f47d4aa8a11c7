"""Pipelines with guarantee="exactly-once": after failures each result stands once where it belongs."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import anyio
import msgspec
import pytest

from reactor import DeadLetters, Pipeline, table, topic
from reactor.core import Sink
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.anyio

_numbers = count(1)
TOTAL = 3000


class Paid(msgspec.Struct):
    number: int
    text: str | None


@pytest.fixture(params=["topic", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "topic":
        return f"sqlite:{tmp_path}/out.db/paid"
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/tables.db/paid"
    server: Postgres = request.getfixturevalue("postgres")
    schema = f"pipelines{next(_numbers)}"
    server.execute(f"CREATE SCHEMA {schema}")
    return f"{server.url('postgres')}?table=paid&schema={schema}"


def sink_of(place: str) -> Sink[Paid]:
    return topic(place, Paid).sink() if "/out.db" in place else table(place, Paid, create=True)


async def seen(place: str, server: Postgres | None = None) -> list[int]:
    if "/out.db" in place:
        return [record.value.number async for record in topic(place, Paid).records()]
    if place.startswith("sqlite:"):
        path = place.removeprefix("sqlite:").removesuffix("/paid")
        with closing(sqlite3.connect(path)) as db:
            return [number for (number,) in db.execute("SELECT number FROM paid ORDER BY rowid")]
    assert server is not None
    schema = place.rpartition("=")[2]
    rows = await anyio.to_thread.run_sync(server.execute, f"SELECT number FROM {schema}.paid ORDER BY ctid")
    return [int(str(number)) for (number,) in rows]


async def test_a_pipeline_that_fails_and_is_run_again(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres") if "postgresql" in place else None
    orders = topic(f"sqlite:{tmp_path}/orders.db/orders", int)
    await orders.publish(list(range(TOTAL)))
    fails = [50, 1500, 1501, 2999]

    def paid(number: int) -> Paid:
        if fails and number == fails[0]:
            fails.pop(0)
            raise ValueError("a crash")
        return Paid(number, f"text {number}")

    before = 0
    while True:
        stream = orders.subscribe("pay", follow=False).map(paid).to(sink_of(place))
        pipeline = Pipeline(
            "pay",
            stream,
            checkpoint=f"sqlite:{tmp_path}/state.db",
            guarantee="exactly-once",
            chunk=100,
            interval=0.01,
        )
        try:
            await pipeline.run()
        except ValueError:
            found = await seen(place, server)
            assert found == list(range(len(found)))
            assert len(found) >= before
            before = len(found)
        else:
            break
    assert not fails
    assert await seen(place, server) == list(range(TOTAL))


async def test_rows_that_are_refused_become_dead_letters(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tables.db")) as db:
        db.execute(
            "CREATE TABLE paid (number INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> 'text 70'))"
        )
    orders = topic(f"sqlite:{tmp_path}/orders.db/orders", int)
    await orders.publish(list(range(500)))
    dead: list[int] = []
    place = f"sqlite:{tmp_path}/tables.db/paid"
    paid = orders.subscribe("pay", follow=False).map(lambda n: Paid(n, None if n == 300 else f"text {n}"))
    await Pipeline(
        "pay",
        paid.to(table(place, Paid), on_error=DeadLetters()),
        dead_letters=lambda letter: dead.append(letter.event.number),
        checkpoint=f"sqlite:{tmp_path}/state.db",
        guarantee="exactly-once",
    ).run()
    assert dead == [70, 300]
    assert await seen(place) == [n for n in range(500) if n not in dead]
