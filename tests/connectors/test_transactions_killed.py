"""Kill -9 while a process writes, prepares, decides, publishes or recovers: each number is seen once, in order."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import psycopg
import pytest

from reactor.testing.transactions import Entry
from reactor.topics import topic
from tests.connectors import staging
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.timeout(180)

ROUNDS = int(os.environ.get("REACTOR_KILLS", "10"))


def run(url: str, decider: Path, stage: str, times: int, delay: float, loop: str) -> int:
    command = [sys.executable, staging.__file__, url, decider, stage, times, delay, loop]
    return subprocess.run(list(map(str, command)), timeout=50).returncode


def kill_again_and_again(tmp_path: Path, url: str, seen: Callable[[], Sequence[int]]) -> None:
    decider = tmp_path / "decider"
    killed = 0
    for n in range(ROUNDS):
        stage = staging.STAGES[n % len(staging.STAGES)]
        times = 1 if stage == "recover" else random.randint(1, 4)
        code = run(url, decider, stage, times, random.uniform(0, 0.01), ("asyncio", "trio")[n % 2])
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        _, position, before = staging.decided(decider)
        found = seen()
        assert list(found) == list(range(len(found)))
        assert len(found) in (before, position), (
            "what isn't decided is seen, or what was decided before is not"
        )
    assert killed
    assert run(url, decider, "never", 1, 0, "asyncio") == 0
    assert list(seen()) == list(range(staging.TOTAL))


def test_a_topic(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/shop.db/numbers"

    async def values() -> list[int]:
        return [record.value.number async for record in topic(url, Entry).records()]

    kill_again_and_again(tmp_path, f"topic {url}", lambda: anyio.run(values))


@pytest.mark.parametrize("kind", ["table", "upsert"])
def test_a_table_of_sqlite(tmp_path: Path, kind: str) -> None:
    path = f"{tmp_path}/shop.db"

    def seen() -> list[int]:
        with closing(sqlite3.connect(path)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'numbers'").fetchone()
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return [n for (n,) in db.execute("SELECT number FROM numbers ORDER BY rowid")] if there else []

    kill_again_and_again(tmp_path, f"{kind} sqlite:{path}/numbers", seen)


@pytest.mark.parametrize("kind", ["table", "upsert"])
def test_a_table_of_postgres(tmp_path: Path, postgres: Postgres, kind: str) -> None:
    schema = f"killed_{kind}"
    postgres.execute(f"CREATE SCHEMA {schema}")
    # The place of a row says nothing of its age: who is killed leaves room behind, which later rows may take.
    postgres.execute(
        f"CREATE TABLE {schema}.numbers (number bigint {'PRIMARY KEY' if kind == 'upsert' else ''}, text text,"
        " age bigint GENERATED ALWAYS AS IDENTITY)"
    )

    def seen() -> list[int]:
        with psycopg.connect(postgres.url("postgres")) as db:
            return [n for (n,) in db.execute(f"SELECT number FROM {schema}.numbers ORDER BY age".encode())]

    url = f"{postgres.url('postgres')}?table=numbers&schema={schema}"
    kill_again_and_again(tmp_path, f"{kind} {url}", seen)
