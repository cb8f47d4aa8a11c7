"""Kill -9 at random moments, again and again: what was promised once is there once, nothing is missing.

``REACTOR_KILLS=50 make test ARGS=tests/killed`` kills each kind so often, with more events; that takes minutes.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.killed import killing
from tests.killed.child import BY_TABLE
from tests.killed.killing import World, lines_of, results, tables
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.timeout(1800 if killing.LONG else 180)

Record = Callable[[str, object], None]


def kills(few: int) -> int:
    return int(killing.LONG) if killing.LONG else few


def told(record: Record, hit: Counter[str]) -> None:
    """How often each phase was under way at a kill: in the report of ``--junitxml``, and with ``-s``."""
    shown = ", ".join(f"{phase} {count}" for phase, count in hit.most_common())
    record("killed_in", shown)
    print(f"\nkilled in: {shown}")


def test_exactly_once_into_tables_of_sqlite_and_a_topic(tmp_path: Path, record_property: Record) -> None:
    world = World(tmp_path, seed=1)
    told(record_property, world.kill_again_and_again("exact", kills(20), random.Random("exact")))
    names = world.due.keys() - {"checked"}
    world.exactly({**tables(tmp_path, names), "checked": results(tmp_path)})


def test_exactly_once_into_tables_of_postgres_too(
    tmp_path: Path, record_property: Record, postgres: Postgres
) -> None:
    postgres.execute("CREATE SCHEMA killed_exact")
    url = f"{postgres.url('postgres')}?schema=killed_exact"
    world = World(tmp_path, seed=2, count=killing.EVENTS // 2)
    dice = random.Random("postgres")
    told(record_property, world.kill_again_and_again("exact", kills(8), dice, "--postgres", url))
    there = ("tumbling", "totals", "as done")
    found = {**tables(tmp_path, world.due.keys() - {"checked", *there}), "checked": results(tmp_path)}
    with psycopg.connect(postgres.url("postgres")) as db:
        for name in there:
            select = f"SELECT k, t, v, x FROM killed_exact.{name.replace(' ', '_')}"
            found[name] = db.execute(select.encode()).fetchall()
    world.exactly(found)


def test_at_least_once_into_files_tables_and_functions(tmp_path: Path, record_property: Record) -> None:
    world = World(tmp_path, seed=3)
    told(record_property, world.kill_again_and_again("least", kills(12), random.Random("least")))
    found = tables(tmp_path, BY_TABLE)
    for name in world.due.keys() - found.keys():
        found[name] = list(lines_of(tmp_path / f"{name}.jsonl"))
    found["plain"] = list(lines_of(tmp_path / "plain.jsonl"))
    world.due["plain"] = [
        (order.user, order.at, order.amount, order.number) for order in world.orders if order.number % 4 == 0
    ]
    assert world.nothing_less(found) > 0, "nothing came twice: no kill hit work"
