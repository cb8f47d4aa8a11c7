"""Groups of Kafka: partitions go from one member to another, and neither lose nor repeat what they needn't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor import Checkpoints, Pipeline, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import Cancelled, Sink
from reactor.topics import Topic
from tests.brokers.kafka.program import Tick
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent.parent


async def made(kafka: Kafka, partitions: int = 4, **options: Any) -> Topic[Tick]:
    name = await anyio.to_thread.run_sync(kafka.topic, partitions)
    return topic(kafka.url(name), Tick, config=Options(session_timeout=6.0, **options))


async def fill(ticks: Topic[Tick], first: int, end: int, pause: float = 0.0) -> None:
    async with ticks:
        for start in range(first, end, 10):
            await ticks.publish(
                [Tick(n) for n in range(start, min(start + 10, end))], key=lambda tick: str(tick.number)
            )
            await anyio.sleep(pause)


async def until(ready: Callable[[], object], what: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what()
        await anyio.sleep(0.02)


async def test_members_that_come_and_go_repeat_nothing(kafka: Kafka) -> None:
    ticks = await made(kafka)
    got: dict[str, list[int]] = {"one": [], "two": [], "three": []}
    published = 0
    enough = False

    async def publish() -> None:
        nonlocal published
        while not enough:
            await fill(ticks, published, published + 10)
            published += 10
            await anyio.sleep(0.03)

    def reads(name: str) -> Pipeline:
        async def handle(tick: Tick) -> None:
            await anyio.sleep(0.001)
            got[name].append(tick.number)

        return Pipeline(name, ticks.subscribe("g").to(handle), chunk=10, interval=0.05)

    def counts() -> dict[str, int]:
        return {name: len(its) for name, its in got.items()}

    with anyio.fail_after(55):
        async with ticks, anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            async with reads("one").start(drain=20) as one:
                await until(lambda: len(got["one"]) > 20, counts)
                async with reads("two").start(drain=20) as two:
                    await until(lambda: len(got["two"]) > 20, counts)
                    async with reads("three").start(drain=20):
                        await until(lambda: len(got["three"]) > 20, counts)
                    before = len(got["two"])
                    await until(lambda: len(got["two"]) > before + 20, counts)
                enough = True
                await until(lambda: len({n for its in got.values() for n in its}) == published, counts)
                assert (one.error, two.error) == (None, None)
    times = Counter(number for its in got.values() for number in its)
    assert sorted(times) == list(range(published))
    assert [number for number, count in times.items() if count > 1] == []


async def test_a_rebalance_during_a_checkpoint(kafka: Kafka, tmp_path: Path) -> None:
    """While the first member saves its state, a second one comes and takes partitions from it."""
    ticks = await made(kafka)
    got: dict[str, list[int]] = {"one": [], "two": []}
    saving = anyio.Event()
    total = 200

    def counts(name: str) -> Pipeline:
        member = name

        class SlowSink(Sink[Any]):
            name = "slow"

            async def write(self, events: Any) -> None:
                got[member].extend(number for _, number in events)
                await anyio.sleep(0.005)

            async def flush(self) -> None:
                if member == "one":
                    saving.set()
                    await anyio.sleep(0.3)  # a rebalance comes while this is going on

        return Pipeline(
            name,
            ticks.subscribe("g")
            .scan(lambda last, tick: (last[0] + 1, tick.number), (0, 0), name="count")
            .to(SlowSink()),
            chunk=10,
            checkpoint=Checkpoints(f"sqlite:{tmp_path}/{name}.db", interval=0.1, spacing=0.05),
        )

    def handled() -> set[int]:
        return {number for its in got.values() for number in its}

    with anyio.fail_after(55):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fill, ticks, 0, total, 0.02)
            async with counts("one").start(drain=20):
                await saving.wait()
                async with counts("two").start(drain=20):
                    published = total
                    while len(got["two"]) < 20:
                        await fill(ticks, published, published + 20)
                        published += 20
                        await anyio.sleep(0.2)
                    total = published + 100
                    await fill(ticks, published, total)
                    await until(lambda: len(handled()) == total, lambda: {k: len(v) for k, v in got.items()})
    times = Counter(number for its in got.values() for number in its)
    assert sorted(times) == list(range(total))
    assert got["two"]
    assert [number for number, count in times.items() if count > 1] == []


async def test_a_partition_is_held_no_longer_than_told(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    """What a pipeline doesn't get done is read again by the member that has the partition now."""
    ticks = await made(kafka, partitions=2, revoke_patience=0.5)
    await fill(ticks, 0, 40)
    stuck: list[int] = []
    got: list[int] = []

    async def stick(tick: Tick) -> None:
        stuck.append(tick.number)
        await anyio.sleep_forever()

    try:
        async with Pipeline("sticks", ticks.subscribe("g").to(stick), chunk=10).start() as sticks:
            await until(lambda: stuck, lambda: stuck)
            two = Pipeline(
                "reads", ticks.subscribe("g").to(lambda tick: got.append(tick.number)), interval=0.05
            )
            async with two.start(drain=20):
                await until(lambda: len(got) >= 10, lambda: got)
                sticks.cancel()
                await until(lambda: set(got) == set(range(40)), lambda: got)
    except Cancelled:
        pass
    assert set(got) == set(range(40))
    assert "weren't settled within 0.5 s" in caplog.text


async def test_the_group_goes_on_when_a_member_is_killed(kafka: Kafka, tmp_path: Path) -> None:
    ticks = await made(kafka)
    files = [tmp_path / "one", tmp_path / "two"]

    def start(file: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.brokers.kafka.program", "read", ticks.url, str(file)]
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True)

    def read(file: Path) -> list[int]:
        return [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []

    def handled() -> list[int]:
        return [number for file in files for number in read(file)]

    published = 0
    enough = False

    async def publish() -> None:
        nonlocal published
        while not enough:
            await fill(ticks, published, published + 10)
            published += 10
            await anyio.sleep(0.03)

    def counts() -> list[int]:
        return [len(read(file)) for file in files]

    members = [await anyio.to_thread.run_sync(start, file) for file in files]
    try:
        with anyio.fail_after(58):
            async with ticks, anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                await until(lambda: min(counts()) > 20, counts)
                os.kill(members[0].pid, signal.SIGKILL)
                before = published
                await until(lambda: len([n for n in set(handled()) if n >= before]) > 50, counts)
                enough = True
            await until(lambda: set(handled()) == set(range(published)), counts)
    finally:
        for member in members:
            member.kill()
            await anyio.to_thread.run_sync(member.wait)
    again = [number for number, times in Counter(handled()).items() if times > 1]
    assert len(again) <= 400  # only what the killed one hadn't settled
