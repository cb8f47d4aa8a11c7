"""Orders over a bus: the journal keeps them once, shared consumers work in processes of their own.

Here the bus is a file of the embedded broker; tests/brokers has the same over real ones.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipelines.orders.home import Home
from pipelines.orders.workers import WorkerFailed, employed
from pipelines.orders.world import World
from tests.pipelines.conftest import consumers

pytestmark = pytest.mark.timeout(180)
Start = Callable[..., Any]
MakeRow = Callable[..., str]
OrdersFile = Callable[..., Path]


@pytest.fixture
def some_orders(orders_file: OrdersFile, make_row: MakeRow) -> Path:
    rows = [
        make_row(str(536365 + n), n % 5 + 1, customer=f"{17000 + n % 40}.0" if n % 7 else "")
        for n in range(300)
    ]
    return orders_file([*rows, make_row("C536365", -1, customer="17000.0"), make_row("A1", 1)])


def figures(path: Path) -> Any:
    return json.loads(path.read_text())


def test_over_a_bus_the_report_is_the_same(app_to_its_end: Start, some_orders: Path, tmp_path: Path) -> None:
    plain = "run", "--orders", some_orders, "--home", tmp_path / "plain", "--report", tmp_path / "plain.json"
    assert app_to_its_end(*plain).wait() == 0
    bus = f"sqlite:{tmp_path}/bus.db"
    home = "--home", tmp_path / "home", "--bus", bus, "--workers", "1"
    over = app_to_its_end("run", "--orders", some_orders, *home, "--report", tmp_path / "bus.json")
    assert over.wait() == 0, over.out + over.err
    assert figures(tmp_path / "bus.json") == figures(tmp_path / "plain.json")
    assert figures(tmp_path / "bus.json")["orders"] == 300
    with closing(sqlite3.connect(tmp_path / "bus.db")) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    again = app_to_its_end("run", "--orders", some_orders, *home, "--report", tmp_path / "again.json")
    assert again.wait() == 0, again.out + again.err
    assert figures(tmp_path / "again.json") == figures(tmp_path / "plain.json")
    assert not list(consumers(tmp_path / "home", "payment"))


def test_a_consumers_process_that_is_killed_is_replaced(
    app: Start, some_orders: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    options = "--home", home, "--bus", f"sqlite:{tmp_path}/bus.db", "--workers", "1"
    one = app("run", "--orders", some_orders, *options, "--report", tmp_path / "killed.json")
    killed: set[int] = set()
    deadline = time.monotonic() + 60
    while len(killed) < 2:
        assert time.monotonic() < deadline, one.out + one.err
        assert one.process.poll() is None, one.out + one.err
        for pid in set(consumers(home, "payment")) - killed:
            time.sleep(0.2 * len(killed))
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.02)
    assert one.wait() == 0, one.out + one.err
    found = figures(tmp_path / "killed.json")
    assert found["consumers"]["payment"]["failed"] == 0
    assert found["consumers"]["email"]["failed"] == 0
    assert found["orders"] == 300
    assert "another one takes its place" in (home / "shop.log").read_text()


def test_a_bus_that_fails_ends_the_run(app_to_its_end: Start, some_orders: Path, tmp_path: Path) -> None:
    (tmp_path / "bus.db").write_bytes(b"not a database at all, " * 1000)
    options = "--home", tmp_path / "home", "--bus", f"sqlite:{tmp_path}/bus.db", "--workers", "1"
    one = app_to_its_end("run", "--orders", some_orders, *options)
    assert one.wait() == 1
    assert "producer failed: TopicCorrupt" in one.err
    assert "journal failed: TopicCorrupt" in one.err


def test_processes_that_end_at_once_are_given_up(tmp_path: Path) -> None:
    home, world = Home(tmp_path, f"sqlite:{tmp_path}/bus.db"), World("http://127.0.0.1:9", 9)
    with pytest.raises(WorkerFailed, match="nobody: its process ended 5 times at once, with 2"):
        anyio.run(employed, home, "nobody", world)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bus", "smoke://signals"), "--bus: topic('smoke://signals/orders'): unknown scheme 'smoke'"),
        (("--workers", "2"), "--workers: processes share their work by a broker; name one with --bus"),
    ],
)
def test_what_cant_be_a_bus_is_refused(
    app_to_its_end: Start, some_orders: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    one = app_to_its_end("run", "--orders", some_orders, "--home", tmp_path / "home", *options)
    assert one.wait() == 2
    assert said in one.err
