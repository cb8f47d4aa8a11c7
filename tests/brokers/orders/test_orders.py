"""The application over real brokers: the same report, with several processes of a group, one of them killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import HEADER, App, consumers, row
from tests.servers import background, sqs

pytestmark = pytest.mark.timeout(240)
OPTIONS = {"kafka": "?partitions=4", "sqs": "&visibility=5", "pubsub": "&ack_deadline=10"}
"""Several processes have work; what a killed one held comes again soon."""


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("orders") / "orders.csv"
    rows = [
        row(str(536365 + n), n % 5 + 1, customer=f"{17000 + n % 40}.0" if n % 7 else "") for n in range(400)
    ]
    path.write_text("\n".join([HEADER, *rows, row("C536365", -1, customer="17000.0")]) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def plain(orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The figures of the embedded broker."""
    folder = tmp_path_factory.mktemp("plain")
    report = folder / "report.json"
    one = App("run", "--orders", orders, "--home", folder / "home", "--report", report)
    assert one.wait() == 0, one.out + one.err
    return json.loads(report.read_text())


@pytest.fixture
def run(orders: Path, tmp_path: Path) -> Generator[Callable[..., App], None, None]:
    started: list[App] = []

    def start(name: str, *more: str) -> App:
        report = tmp_path / f"{name}.json"
        arguments = "run", "--orders", orders, "--home", tmp_path / name, "--report", report, *more
        started.append(App(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "nats", "redis", "sqs", "pubsub"])
def test_the_report_is_the_same_whoever_is_killed(
    broker: str,
    run: Callable[..., App],
    plain: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = request.getfixturevalue(f"own_{broker}")
    if broker == "sqs":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", sqs.KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", sqs.SECRET)
    url = background.url_of(server).replace("/TOPIC", "")
    url += OPTIONS.get(broker, "")
    one = run("bus", "--bus", url, "--workers", "2")
    deadline = time.monotonic() + 60
    while len(found := set(consumers(tmp_path / "bus", "payment"))) < 2:
        assert time.monotonic() < deadline, one.out + one.err
        assert one.process.poll() is None, one.out + one.err
        time.sleep(0.02)
    time.sleep(1)
    os.kill(found.pop(), signal.SIGKILL)
    assert one.wait() == 0, one.out + one.err
    assert "another one takes its place" in (tmp_path / "bus" / "shop.log").read_text()
    assert json.loads((tmp_path / "bus.json").read_text()) == plain
    assert plain["orders"] == 400
