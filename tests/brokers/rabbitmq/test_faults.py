"""What happens to a node, and to those who read and write: killed, blocked, cut off. Nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reactor import Pipeline, Stream, Topic, topic
from tests.brokers.rabbitmq.test_topics import eventually, nothing, numbers, opened, some
from tests.servers.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

ROOT = Path(__file__).parent.parent.parent.parent


class Tick(msgspec.Struct, frozen=True):
    number: int
    text: str = ""


@pytest.fixture(autouse=True)
def up(own_rabbitmq: RabbitMQ) -> None:
    """Each test gets a node that is up."""
    if not own_rabbitmq.running:
        own_rabbitmq.start()


def ticks(rabbitmq: RabbitMQ, **options: object) -> Topic[Tick]:
    return topic(rabbitmq.topic(**options), Tick)


class Load:
    """A pipeline that writes ticks until it is told to stop; and one that reads them."""

    def __init__(self, shop: Topic[Tick], size: int = 0) -> None:
        self.sent = 0
        self.stop = False
        self.got: list[int] = []
        self._text = "x" * size
        self.writes = Pipeline("writes", Stream(self._ticks).to(shop), chunk=50, capacity=50, interval=0.05)
        self.reads = Pipeline("reads", shop.subscribe("all").to(self._take), interval=0.05)

    async def _ticks(self) -> AsyncIterator[Tick]:
        for number in itertools.count():
            if self.stop:
                return
            self.sent = number + 1
            yield Tick(number, self._text)
            if number % 50 == 0:
                await anyio.sleep(0.01)

    def _take(self, tick: Tick) -> None:
        self.got.append(tick.number)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write and read; afterwards, all that was written has been read."""
        async with self.reads.start(drain=30) as reading:
            async with self.writes.start(drain=30) as writing:
                await self.more(200)
                yield
                await self.more(200)
                self.stop = True
                await writing.wait()
            assert reading.error is None
            with anyio.fail_after(30):
                while len(set(self.got)) < self.sent:
                    await anyio.sleep(0.01)
        assert set(self.got) == set(range(self.sent))

    async def more(self, count: int) -> None:
        enough = len(self.got) + count
        with anyio.fail_after(40):
            while len(self.got) < enough:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("queue", ["quorum", "classic"])
async def test_a_node_that_is_killed_under_load_loses_nothing(own_rabbitmq: RabbitMQ, queue: str) -> None:
    load = Load(ticks(own_rabbitmq, queue=queue, groups="all"))
    async with load.running():
        await asyncio.to_thread(own_rabbitmq.kill)
        await asyncio.to_thread(own_rabbitmq.start)
    # What was on its way may come twice: what wasn't confirmed is sent again.
    assert len(load.got) - load.sent <= 2000 + 1000


async def test_a_node_that_is_stopped_in_order_loses_nothing(own_rabbitmq: RabbitMQ) -> None:
    async with Load(ticks(own_rabbitmq, groups="all")).running():
        await asyncio.to_thread(own_rabbitmq.stop)
        await asyncio.to_thread(own_rabbitmq.start)


async def test_connections_that_are_cut_lose_nothing(own_rabbitmq: RabbitMQ) -> None:
    load = Load(ticks(own_rabbitmq, groups="all"))
    async with load.running():
        for _ in range(3):
            await asyncio.to_thread(own_rabbitmq.control, "close_all_connections", "a test")
            await load.more(200)


async def test_a_reader_without_a_group_misses_nothing_over_a_restart(own_rabbitmq: RabbitMQ) -> None:
    shop = ticks(own_rabbitmq)
    async with opened(shop.source()) as source, shop:
        await shop.publish(Tick(0))
        assert numbers(await some(source, 1)) == [0]
        await asyncio.to_thread(own_rabbitmq.kill)
        await asyncio.to_thread(own_rabbitmq.start)
        await shop.publish(Tick(1))
        assert numbers(await some(source, 1)) == [1]


_READS = """
import asyncio, sys, anyio, json
from reactor import Pipeline, topic
async def take(tick):
    print(json.dumps(tick), flush=True)
    await anyio.sleep(0.002)
async def main():
    shop = topic(sys.argv[1])
    await Pipeline("reads", shop.subscribe("all").to(take), chunk=10, interval=0.01).run()
asyncio.run(main())
"""


async def test_what_a_killed_process_had_goes_to_another_of_its_group(own_rabbitmq: RabbitMQ) -> None:
    url = own_rabbitmq.topic(prefetch=50, groups="all")
    shop: Topic[Any] = topic(url)
    await shop.publish(list(range(1000)))

    def reader() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _READS, url], stdout=subprocess.PIPE, cwd=ROOT)

    got: list[int] = []

    def follow(process: subprocess.Popen[bytes], kill_at: int | None) -> None:
        assert process.stdout is not None
        told = False
        for count, line in enumerate(process.stdout, 1):
            got.append(json.loads(line))
            if count == kill_at:
                process.kill()
            if len(got) >= 1000 and not told and set(got) == set(range(1000)):
                process.send_signal(signal.SIGTERM)
                told = True

    def run() -> None:
        processes = [killed := reader()]
        try:
            assert killed.stdout is not None
            got.append(json.loads(killed.stdout.readline()))  # before the other one, which might take all
            processes.append(other := reader())
            follow(killed, 99)
            follow(other, None)
            assert killed.wait(20) == -signal.SIGKILL
            assert other.wait(20) == 0
        finally:
            for process in processes:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()

    await asyncio.to_thread(run)
    assert set(got) == set(range(1000))
    assert len(got) - 1000 <= 50  # what it had and hadn't settled
    assert await asyncio.to_thread(own_rabbitmq.emptied, f"{shop.name}.all")


async def test_an_alarm_holds_the_sink_up(own_rabbitmq: RabbitMQ) -> None:
    shop = ticks(own_rabbitmq, unconfirmed=300, groups="all")
    load = Load(shop, size=2000)
    async with load.running():
        await asyncio.to_thread(own_rabbitmq.control, "set_vm_memory_high_watermark", "0.00001")
        try:
            sent, got = -1, -1
            while (sent, got) != (load.sent, len(load.got)):
                sent, got = load.sent, len(load.got)
                await anyio.sleep(0.5)
            # Unconfirmed, in the chunk that is written, in the channel.
            assert sent - got <= 300 + 3 * 50
            async with opened(shop.source("others")) as source:  # readers are served
                await nothing(source)
        finally:
            await asyncio.to_thread(own_rabbitmq.control, "set_vm_memory_high_watermark", "0.4")


@pytest.mark.parametrize("what", ["paused", "blocked"])
async def test_close_ends_soon_whatever_the_node_does(own_rabbitmq: RabbitMQ, what: str) -> None:
    shop = ticks(own_rabbitmq, groups="all")
    await shop.publish(Tick(0))
    source, sink = shop.source("all"), shop.sink()
    await source.open()
    await some(source, 1)
    await sink.open()
    if what == "paused":
        own_rabbitmq.pause()
    else:
        await asyncio.to_thread(own_rabbitmq.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        with anyio.move_on_after(1):
            while True:
                await sink.write([Tick(1, "x" * 1_000_000)] * 10)
        started = time.monotonic()
        await source.close()
        await sink.close()
        assert time.monotonic() - started < 15
    finally:
        if what == "paused":
            own_rabbitmq.go_on()
        else:
            await asyncio.to_thread(own_rabbitmq.control, "set_vm_memory_high_watermark", "0.4")
    assert "ESTAB" not in await asyncio.to_thread(_sockets, own_rabbitmq.port)


def _sockets(port: int) -> str:
    """Return this process's connections to the port."""
    mine = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return "".join("ESTAB" for row in rows if int(row[2][-4:], 16) == port and f"socket:[{row[9]}]" in mine)


async def test_a_full_queue_holds_the_sink_up(own_rabbitmq: RabbitMQ) -> None:
    shop = ticks(own_rabbitmq, max_length=20, unconfirmed=10, groups="all", prefetch=10)
    sent = 0

    async def publish() -> None:
        nonlocal sent
        async with shop:
            for number in range(200):
                await shop.publish(Tick(number))
                sent += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await eventually(lambda: _told(sent >= 20))
        await anyio.sleep(0.3)
        assert sent < 60
        async with opened(shop.source("all")) as source:
            got: set[int] = set()
            while len(got) < 200:
                records = await some(source, 1)
                got.update(numbers(records))
                position = source.position()
                assert position is not None
                await source.commit(position)
    assert got == set(range(200))


async def _told(condition: bool) -> bool:
    return condition


async def test_a_channel_that_the_node_closes_comes_again(own_rabbitmq: RabbitMQ) -> None:
    """As it does to readers that settle nothing for half an hour."""
    shop = ticks(own_rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(3)])
    settings = ("consumer_timeout", 1000, 1_800_000), ("channel_tick_interval", 500, 60_000)

    async def setting(which: int) -> None:
        for name, *values in settings:
            said = f"application:set_env(rabbit, {name}, {values[which]})."
            await asyncio.to_thread(own_rabbitmq.control, "eval", said)

    await setting(0)
    try:
        async with opened(shop.source("all")) as source:
            assert numbers(await some(source, 3)) == [0, 1, 2]
            deadline = time.monotonic() + 20
            while "has timed out waiting" not in own_rabbitmq.logs():
                assert time.monotonic() < deadline, own_rabbitmq.logs()[-3000:]
                await nothing(source, 0.1)
            await setting(1)
            await source.commit(2)
            await nothing(source)
            await shop.publish(Tick(3))
            assert numbers(await some(source, 1)) == [3]
            await source.commit(4)
            await nothing(source)
    finally:
        await setting(1)
    assert await asyncio.to_thread(own_rabbitmq.emptied, f"{shop.name}.all")


async def test_what_is_committed_after_the_connection_was_cut_isnt_returned_again(
    own_rabbitmq: RabbitMQ,
) -> None:
    shop = ticks(own_rabbitmq, groups="all")
    await shop.publish([Tick(n) for n in range(3)])
    async with opened(shop.source("all")) as source:
        assert numbers(await some(source, 3)) == [0, 1, 2]
        await asyncio.to_thread(own_rabbitmq.control, "close_all_connections", "a test")
        await source.commit(3)
        await nothing(source, 1.0)
        assert await asyncio.to_thread(own_rabbitmq.emptied, f"{shop.name}.all")


async def test_a_queue_that_is_deleted_is_made_again(own_rabbitmq: RabbitMQ) -> None:
    shop = ticks(own_rabbitmq)
    async with opened(shop.source("all")) as source:
        await asyncio.to_thread(own_rabbitmq.control, "delete_queue", f"{shop.name}.all")
        got: list[int] = []
        with anyio.fail_after(20):
            while not got:
                await shop.publish(Tick(1))
                with anyio.move_on_after(0.2):
                    got += numbers(await source.read(10) or ())
