"""A server and its replica: what both have, and who is the master."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.to_thread
import pytest

from reactor import topic
from tests.brokers.redis.cutting import cuttable
from tests.brokers.redis.reading import Tick, ask, opened, take, until
from tests.servers.redis import Redis

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair() -> AsyncGenerator[tuple[Redis, Redis], None]:
    """Two servers that don't know each other yet."""
    servers: list[Redis] = []
    try:
        for _ in range(2):
            servers.append(await anyio.to_thread.run_sync(Redis))
            await anyio.to_thread.run_sync(servers[-1].start)
        yield servers[0], servers[1]
    finally:
        with anyio.CancelScope(shield=True):
            for server in servers:
                await anyio.to_thread.run_sync(server.close)


async def follow(replica: Redis, master: Redis) -> None:
    """Make it a replica, and return when it has what the master has."""
    await ask(replica, "REPLICAOF", "127.0.0.1", str(master.port))

    async def up() -> bool:
        return bool((await ask(replica, "INFO", "replication")).get("master_link_status") == "up")

    await until(up, "the replica is up")


async def test_a_write_counts_when_the_replicas_have_it(pair: tuple[Redis, Redis]) -> None:
    master, replica = pair
    url = master.topic("wait_replicas=1")
    sink = topic(url, Tick).sink()
    try:
        await sink.open()
        await sink.write([Tick(1)])
        with anyio.move_on_after(1.5) as waiting:
            await sink.flush()
        assert waiting.cancelled_caught, "it was confirmed, and no replica has it"
        await ask(replica, "REPLICAOF", "127.0.0.1", str(master.port))
        with anyio.fail_after(20):
            await sink.flush()
        assert await ask(replica, "XLEN", topic(url).name) == 1
        await sink.write([Tick(2)])
        with anyio.fail_after(20):
            await sink.flush()
        assert await ask(replica, "XLEN", topic(url).name) == 2
    finally:
        await sink.close()
    assert [record.value.number async for record in topic(url, Tick).records("earliest")] == [1, 2]


async def test_after_a_failover_it_goes_on_at_the_new_master(pair: tuple[Redis, Redis]) -> None:
    one, two = pair
    await follow(two, one)
    async with cuttable(one.port) as net:
        url = net.url(one.topic("wait_replicas=1&claim_idle=600"))
        name = topic(url).name
        sink = topic(url, Tick).sink()
        try:
            await sink.open()
            async with opened(topic(url, Tick).source("g")) as source:
                await sink.write([Tick(1), Tick(2)])
                await sink.flush()
                assert await take(source, 2) == [1, 2]
                await until(lambda: _delivered(two, name, 2), "the replica knows the group")
                # The address leads to the new master; connections to the old one, now a replica, still stand.
                net.to = two.port
                await ask(two, "REPLICAOF", "NO", "ONE")
                await follow(one, two)
                await sink.write([Tick(3)])
                with anyio.fail_after(20):
                    await sink.flush()
                assert await take(source, 1) == [3]
                with anyio.fail_after(20):
                    await source.commit(3)
        finally:
            await sink.close()
        assert (await ask(two, "XPENDING", name, "g"))["pending"] == 0
        assert await ask(two, "XLEN", name) == 3


async def _delivered(server: Redis, name: str, count: int) -> bool:
    return bool((await ask(server, "XPENDING", name, "g"))["pending"] == count)
