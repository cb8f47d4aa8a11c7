"""Brokers and processes that are killed: nothing is lost, and with transactions nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor import Pipeline, Stream, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.operators import RateLimit
from tests.brokers.kafka.program import Tick, copying
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent.parent.parent


async def names(kafka: Kafka, count: int) -> list[str]:
    return [await anyio.to_thread.run_sync(kafka.topic, 3) for _ in range(count)]


async def until(ready: Callable[[], object], what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what()
        await anyio.sleep(0.02)


async def kill(kafka: Kafka) -> None:
    await anyio.to_thread.run_sync(kafka.kill)
    await anyio.to_thread.run_sync(kafka.start)


async def contents(kafka: Kafka, name: str) -> list[int]:
    return sorted([r.value.number async for r in topic(kafka.url(name), Tick).records("earliest")])


async def test_a_broker_killed_under_load_loses_nothing(own_kafka: Kafka) -> None:
    [name] = await names(own_kafka, 1)
    ticks = topic(own_kafka.url(name), Tick, config=Options(session_timeout=10.0))
    sent = 0
    stop = False
    got: list[int] = []

    def events() -> object:
        nonlocal sent
        while not stop:
            sent += 1
            yield Tick(sent - 1)

    writes = Pipeline(
        "writes",
        Stream(events).rate_limit(RateLimit(2000)).to(ticks, key=lambda tick: str(tick.number)),  # type: ignore[arg-type]
    )
    reads = Pipeline("reads", ticks.subscribe("g").to(lambda tick: got.append(tick.number)), interval=0.1)
    async with reads.start(drain=30) as reading, writes.start(drain=30) as writing:
        for _ in range(2):
            before = len(got)
            await until(lambda before=before: len(got) > before + 1000, lambda: (sent, len(got)))  # type: ignore[misc]
            await kill(own_kafka)
        before = len(got)
        await until(lambda: len(got) > before + 1000, lambda: (sent, len(got)))
        stop = True
        await writing.wait()
        await until(lambda: len(set(got)) == sent, lambda: (sent, len(set(got))))
        assert (reading.error, writing.error) == (None, None)
    assert set(got) == set(range(sent))
    assert await contents(own_kafka, name) == list(range(sent))  # the idempotent producer repeats nothing


async def test_exactly_once_while_the_broker_is_killed(own_kafka: Kafka, tmp_path: Path) -> None:
    one, two = await names(own_kafka, 2)
    ticks = topic(own_kafka.url(one), Tick)
    async with ticks:
        await ticks.publish([Tick(n) for n in range(3000)], key=lambda tick: str(tick.number))
    pipeline = copying(own_kafka.url(one), own_kafka.url(two), f"sqlite:{tmp_path}/state.db")
    async with pipeline.start(drain=60) as run:
        await anyio.sleep(0.5)
        await kill(own_kafka)
        await ticks.publish([Tick(n) for n in range(3000, 3100)], key=lambda tick: str(tick.number))
        deadline = time.monotonic() + 60
        while len(await contents(own_kafka, two)) < 3100:
            assert time.monotonic() < deadline
            assert run.error is None
            await anyio.sleep(0.2)
    assert await contents(own_kafka, two) == list(range(3100))


async def test_exactly_once_while_the_process_is_killed(own_kafka: Kafka, tmp_path: Path) -> None:
    one, two = await names(own_kafka, 2)
    ticks = topic(own_kafka.url(one), Tick)
    store = f"sqlite:{tmp_path}/state.db"

    def start() -> subprocess.Popen[bytes]:
        urls = [own_kafka.url(one), own_kafka.url(two), store]
        command = [sys.executable, "-m", "tests.brokers.kafka.program", "copy", *urls]
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True)

    async def publish() -> None:
        async with ticks:
            for first in range(0, 2000, 20):
                await ticks.publish([Tick(n) for n in range(first, first + 20)], key=lambda t: str(t.number))
                await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        for round_ in range(4):
            process = await anyio.to_thread.run_sync(start)
            try:
                before = len(await contents(own_kafka, two))
                deadline = time.monotonic() + 60
                goal = 2000 if round_ == 3 else min(before + 150, 1900)
                while len(await contents(own_kafka, two)) < goal:
                    assert time.monotonic() < deadline, (round_, len(await contents(own_kafka, two)))
                    assert process.poll() is None
                    await anyio.sleep(0.03)
            finally:
                os.kill(process.pid, signal.SIGKILL)
                await anyio.to_thread.run_sync(process.wait)
    assert await contents(own_kafka, two) == list(range(2000))


async def test_closing_leaves_nothing_behind_though_the_broker_is_gone(own_kafka: Kafka) -> None:
    [name] = await names(own_kafka, 1)
    ticks = topic(own_kafka.url(name), Tick, config=Options(transactions=True))
    await ticks.publish([Tick(1), Tick(2)])
    ends: list[Any] = [ticks.source("g"), ticks.source(), ticks.sink(), ticks.sink()]
    group, alone, plain, staging = ends
    try:
        for end in ends:
            await end.open()
        await staging.recover("mine", 0, 1)
        for source in (group, alone):
            with anyio.fail_after(20):
                assert await source.read(10)
        await anyio.to_thread.run_sync(own_kafka.kill)
        await anyio.sleep(0.2)
        await plain.write([Tick(3)])
        for call in (lambda: group.commit(1), plain.flush):
            with anyio.move_on_after(0.5) as waiting:
                await call()
            assert waiting.cancelled_caught
    finally:
        for end in ends:
            since = time.monotonic()
            with anyio.CancelScope(shield=True):
                await end.close()
            assert time.monotonic() - since < 10
        await anyio.to_thread.run_sync(own_kafka.start)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reactor-kafka")]
