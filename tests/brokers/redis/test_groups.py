"""Groups: who has an entry, for how long, and who gets it then."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from reactor import topic
from reactor.core import TopicCorrupt
from tests.brokers.redis.cutting import cuttable
from tests.brokers.redis.reading import Tick, all_of, ask, numbers, opened, settle, take, until
from tests.brokers.waiting import misses_nothing
from tests.servers.redis import Redis

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent.parent

# Reads ten events, settles four, says so, and stands still.
_READER = """
import asyncio, sys
from reactor import topic
from tests.brokers.redis.reading import Tick, take

async def main():
    source = topic(sys.argv[1], Tick).source("g")
    await source.open()
    found = await take(source, 10)
    await source.commit(4)
    print(found, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def _killed_reader(url: str) -> None:
    """Run a reader in a process of its own, and kill -9 it with six events in flight."""
    with subprocess.Popen(
        [sys.executable, "-c", _READER, url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(list(range(10)))
        process.send_signal(signal.SIGKILL)


@pytest.fixture
def closes_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """What isn't handed over comes after claim_idle only: the server may be slow."""
    monkeypatch.setattr("reactor.connectors.redis.group._CLOSING", 15.0)


async def test_a_slow_handler_keeps_its_events(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=3")
    await topic(url, Tick).publish([Tick(n) for n in range(5)])
    async with opened(topic(url, Tick).source("g")) as slow, opened(topic(url, Tick).source("g")) as other:
        assert await take(slow, 5) == list(range(5))
        with anyio.move_on_after(7):  # twice as long as it might be idle
            found = await other.read(10)
            pytest.fail(f"taken from a reader that is alive: {found}")
        await settle(slow)
    assert await ask(redis_server, "XINFO", "CONSUMERS", topic(url).name, "g") == []


async def test_what_waits_in_a_full_reader_is_kept_too(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=3&prefetch=20")
    await topic(url, Tick).publish([Tick(n) for n in range(40)])
    async with opened(topic(url, Tick).source("g")) as slow:
        assert await take(slow, 1) == [0]
        name = topic(url).name
        await until(lambda: _pending(redis_server, name, 20), "20 were read ahead")
        async with opened(topic(url, Tick).source("g")) as other:
            assert await take(other, 20, commit=True) == list(range(20, 40))  # there is room for more
            with anyio.move_on_after(7):
                pytest.fail(f"taken from a reader that is alive: {await other.read(10)}")
        assert await take(slow, 19) == list(range(1, 20))


async def _pending(server: Redis, name: str, count: int) -> bool:
    return bool((await ask(server, "XPENDING", name, "g"))["pending"] == count)


@pytest.mark.usefixtures("closes_patiently")
async def test_a_reader_that_closes_hands_over_at_once(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=600")
    await topic(url, Tick).publish([Tick(n) for n in range(30)])
    async with opened(topic(url, Tick).source("g")) as one:
        assert await take(one, 10) == list(range(10))
        await one.commit(3)
        async with opened(topic(url, Tick).source("g")) as two:
            with anyio.move_on_after(0.2):
                pytest.fail(f"all is with the other one: {await two.read(1)}")
            began = time.monotonic()
            await one.close()
            assert await take(two, 27, commit=True) == list(range(3, 30))
            assert time.monotonic() - began < 20
    assert await ask(redis_server, "XPENDING", topic(url).name, "g") == {
        "pending": 0,
        "min": None,
        "max": None,
        "consumers": [],
    }


@pytest.mark.usefixtures("closes_patiently")
async def test_it_hands_over_without_scripts_too(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=600")
    name = topic(url).name
    await ask(redis_server, "ACL", "SETUSER", "plain", "on", ">pw", f"~{name}", "+@all", "-@scripting")
    plain = f"redis://plain:pw@127.0.0.1:{redis_server.port}/{name}?claim_idle=600"
    await topic(url, Tick).publish([Tick(n) for n in range(5)])
    async with opened(topic(plain, Tick).source("g")) as one:
        assert await take(one, 5) == list(range(5))
        await one.commit(2)
    async with opened(topic(url, Tick).source("g")) as two:
        assert await take(two, 3, commit=True) == [2, 3, 4]


@pytest.mark.usefixtures("closes_patiently")
async def test_it_hands_over_though_its_connections_were_cut(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=600")
    async with cuttable(redis_server.port) as net:
        async with opened(topic(net.url(url), Tick).source("g")) as one:
            await topic(url, Tick).publish([Tick(n) for n in range(5)])
            assert await take(one, 5) == list(range(5))
            net.cut()
    async with opened(topic(url, Tick).source("g")) as two:
        assert await take(two, 5, commit=True) == list(range(5))


async def test_who_died_long_ago_and_has_nothing_is_taken_off_the_list(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.redis.lease._FORGOTTEN", 0)
    url = redis_server.topic("claim_idle=600")
    name = topic(url).name
    await topic(url, Tick).publish([Tick(n) for n in range(5)])
    await ask(redis_server, "XGROUP", "CREATE", name, "g", "0")
    await ask(redis_server, "XREADGROUP", "GROUP", "g", "has-two", "COUNT", "2", "STREAMS", name, ">")
    await ask(redis_server, "XGROUP", "CREATECONSUMER", name, "g", "has-nothing")
    async with opened(topic(url, Tick).source("g")) as source:
        assert await take(source, 3) == [2, 3, 4]
        names = {row[1] for row in await ask(redis_server, "XINFO", "CONSUMERS", name, "g")}
        assert b"has-two" in names
        assert b"has-nothing" not in names
        # Where scripts aren't allowed, it stays, and nothing is wrong with that.
        await ask(redis_server, "XGROUP", "CREATECONSUMER", name, "g", "has-nothing")
        await ask(redis_server, "ACL", "SETUSER", "plain2", "on", ">pw", f"~{name}", "+@all", "-@scripting")
        plain = f"redis://plain2:pw@127.0.0.1:{redis_server.port}/{name}?claim_idle=600"
        async with opened(topic(plain, Tick).source("g")):
            rows = await ask(redis_server, "XINFO", "CONSUMERS", name, "g")
            assert b"has-nothing" in {row[1] for row in rows}


async def test_the_group_goes_on_where_a_killed_reader_was(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=1.5")
    await topic(url, Tick).publish([Tick(n) for n in range(20)])
    await anyio.to_thread.run_sync(_killed_reader, url)
    async with opened(topic(url, Tick).source("g")) as source:
        assert sorted(await take(source, 16, commit=True)) == list(range(4, 20))
        with anyio.move_on_after(0.3):
            pytest.fail(f"nothing is left: {await source.read(1)}")


async def test_without_following_it_waits_for_what_a_killed_reader_had(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=1.5")
    await topic(url, Tick).publish([Tick(n) for n in range(20)])
    await anyio.to_thread.run_sync(_killed_reader, url)
    async with opened(topic(url, Tick).source("g", follow=False)) as source:
        assert sorted(await all_of(source)) == list(range(4, 20))


async def test_without_following_it_leaves_a_living_reader_its_own(redis_server: Redis) -> None:
    url = redis_server.topic("claim_idle=600")
    await topic(url, Tick).publish([Tick(n) for n in range(10)])
    async with opened(topic(url, Tick).source("g")) as alive:
        assert await take(alive, 10) == list(range(10))
        await topic(url, Tick).publish([Tick(10)])
        await until(lambda: _pending(redis_server, topic(url).name, 11))  # it is read ahead
        began = time.monotonic()
        async with opened(topic(url, Tick).source("g", follow=False)) as source:
            assert await all_of(source) == []
        assert time.monotonic() - began < 20


async def test_without_following_what_comes_later_is_left(redis_server: Redis) -> None:
    orders = topic(redis_server.topic("prefetch=7"), Tick)
    await orders.publish([Tick(n) for n in range(25)])
    async with opened(orders.source("g", follow=False)) as source:
        found = await take(source, 5, commit=True)
        await orders.publish([Tick(n) for n in range(25, 30)])
        assert found + await all_of(source) == list(range(25))
    async with opened(orders.source("g", follow=False)) as source:
        assert await all_of(source) == list(range(25, 30))


async def test_without_following_what_others_give_back_beyond_the_end_is_left(redis_server: Redis) -> None:
    url = redis_server.topic("prefetch=10&claim_idle=600")
    orders = topic(url, Tick)
    await orders.publish([Tick(n) for n in range(30)])
    async with opened(orders.source("g", follow=False)) as ends:
        await until(lambda: _pending(redis_server, orders.name, 10), "it reads ahead")
        async with opened(orders.source("g")) as other:
            assert await take(other, 20, commit=True) == list(range(10, 30))
            await orders.publish([Tick(n) for n in range(30, 40)])
            await until(lambda: _pending(redis_server, orders.name, 20), "so does the other one")
        assert await take(ends, 10, commit=True) == list(range(10))
        assert await all_of(ends) == []
        async with opened(orders.source("g", follow=False)) as later:
            assert await all_of(later) == list(range(30, 40))


async def test_without_following_what_was_read_beyond_the_end_is_given_back(redis_server: Redis) -> None:
    orders = topic(redis_server.topic("prefetch=7&claim_idle=600"), Tick)
    await orders.publish([Tick(n) for n in range(10)])
    async with opened(orders.source("g", follow=False)) as ends:
        await until(lambda: _pending(redis_server, orders.name, 7), "it reads ahead")
        await orders.publish([Tick(n) for n in range(10, 20)])
        assert await take(ends, 7, commit=True) == list(range(7))
        assert await take(ends, 3) == [7, 8, 9]
        async with opened(orders.source("g")) as other:
            assert sorted(await take(other, 10, commit=True)) == list(range(10, 20))
        await settle(ends)
        assert await all_of(ends) == []


async def test_entries_that_were_trimmed_are_counted_and_told(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    orders = topic(redis_server.topic(), Tick)
    await orders.publish([Tick(n) for n in range(10)])
    async with opened(orders.source("g")) as source:
        assert await take(source, 2) == [0, 1]
    await ask(redis_server, "XTRIM", orders.name, "MAXLEN", "7")  # two are in flight, and one nobody has seen
    async with opened(orders.source("g")) as source:
        with caplog.at_level(logging.WARNING, "reactor"):
            assert await take(source, 7, commit=True) == list(range(3, 10))
        assert source._consumer.trimmed >= 2  # type: ignore[attr-defined]
    assert "entries were removed from the stream before group g had handled them" in caplog.text
    assert await _pending(redis_server, orders.name, 0)


async def test_a_group_that_is_deleted_is_told(redis_server: Redis) -> None:
    orders = topic(redis_server.topic(), Tick)
    async with opened(orders.source("g")) as source:
        await ask(redis_server, "XGROUP", "DESTROY", orders.name, "g")
        with pytest.raises(TopicCorrupt, match="the group is gone"), anyio.fail_after(10):
            await source.read(1)


async def test_what_was_handed_out_and_never_arrived_comes(redis_server: Redis) -> None:
    """The reply to a read is lost: the server counts its entries as delivered, to this reader."""
    url = redis_server.topic("claim_idle=600&timeout=1")
    orders = topic(url, Tick)
    async with cuttable(redis_server.port) as net:
        async with opened(topic(net.url(url), Tick).source("g")) as source:
            await orders.publish([Tick(n) for n in range(5)])
            assert await take(source, 5) == list(range(5))
            net.mute = True
            await orders.publish([Tick(n) for n in range(5, 10)])
            await until(lambda: _pending(redis_server, orders.name, 10), "delivered into nowhere")
            net.cut()
            assert await take(source, 5) == list(range(5, 10))  # and not the first five again
            await settle(source)
    assert await _pending(redis_server, orders.name, 0)


async def test_what_never_arrived_comes_though_the_first_command_afterwards_fails(
    redis_server: Redis,
) -> None:
    orders = topic(redis_server.topic("claim_idle=600"), Tick)
    async with opened(orders.source("g")) as source, _held(redis_server, orders, source) as asks:

        async def lose(*commands: Any, **options: Any) -> Any:
            await asks.hand_out(range(5, 10))
            raise await asks.lost()

        async def fail(*commands: Any, **options: Any) -> Any:
            raise ResponseError("MISCONF Redis is configured to save RDB snapshots")

        asks.next += [lose, fail]
        assert await take(source, 5) == list(range(5, 10))


async def test_what_the_old_connection_takes_after_the_new_one_is_made_comes(redis_server: Redis) -> None:
    """A read still waits at the server, which hasn't heard that its connection is gone."""
    orders = topic(redis_server.topic("claim_idle=600"), Tick)
    async with opened(orders.source("g")) as source, _held(redis_server, orders, source) as asks:

        async def lose(*commands: Any, **options: Any) -> Any:
            raise await asks.lost()

        async def late(*commands: Any, **options: Any) -> Any:
            found = await asks.ask(*commands, **options)
            if found[0]:  # it asks until nothing comes
                asks.next.append(late)
            else:
                await asks.hand_out(range(5, 10))
            return found

        asks.next += [lose, late]
        assert await take(source, 5) == list(range(5, 10))


async def test_what_never_arrived_comes_in_parts_that_get_through(redis_server: Redis) -> None:
    orders = topic(redis_server.topic("claim_idle=600"), Tick)
    async with opened(orders.source("g")) as source, _held(redis_server, orders, source) as asks:

        async def lose(*commands: Any, **options: Any) -> Any:
            await asks.hand_out(range(5, 25))
            asks.always = narrow
            raise await asks.lost()

        async def narrow(*commands: Any, **options: Any) -> Any:
            """A reply of more than ten entries takes too long."""
            found = await asks.ask(*commands, **options)
            if commands[0][0] == b"XREADGROUP" and found[0] and len(found[0][0][1]) > 10:
                await asks.lost()
                raise TimeoutError
            return found

        asks.next.append(lose)
        assert await take(source, 20) == list(range(5, 25))


class _Asks:
    """What a reader asks the server for, for a test to come between."""

    def __init__(self, server: Redis, orders: Any, consumer: Any) -> None:
        self._server = server
        self._orders = orders
        self._consumer = consumer
        self.next: list[Callable[..., Awaitable[Any]]] = []
        """Take the place of the next calls."""
        self.ask = self.always = consumer._link.ask

    async def __call__(self, *commands: Any, **options: Any) -> Any:
        return await (self.next.pop(0) if self.next else self.always)(*commands, **options)

    async def lost(self) -> Exception:
        await self._consumer._link.close()
        return RedisConnectionError("cut by the test")

    async def hand_out(self, numbers: range) -> None:
        """Publish, and deliver into nowhere: under the reader's name."""
        await self._orders.publish([Tick(n) for n in numbers])
        at = ("STREAMS", self._orders.name, ">")
        await ask(self._server, "XREADGROUP", "GROUP", "g", self._consumer._name, *at)


@asynccontextmanager
async def _held(server: Redis, orders: Any, source: Any) -> AsyncGenerator[_Asks, None]:
    """The reader holds five events, and all that it asks for passes through here."""
    await orders.publish([Tick(n) for n in range(5)])
    assert await take(source, 5) == list(range(5))
    asks = _Asks(server, orders, source._consumer)
    source._consumer._link.ask = asks
    yield asks
    await settle(source)
    assert await _pending(server, orders.name, 0)


async def test_a_network_that_swallows_everything_is_a_pause(redis_server: Redis) -> None:
    url = redis_server.topic("timeout=0.5&claim_idle=600")
    async with cuttable(redis_server.port) as net:
        async with opened(topic(net.url(url), Tick).source("g")) as source:
            await topic(url, Tick).publish([Tick(n) for n in range(3)])
            assert await take(source, 3) == [0, 1, 2]
            net.mute = net.deaf = True
            await topic(url, Tick).publish([Tick(3)])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(settle, source)
                await anyio.sleep(1.5)  # longer than it waits for an answer
                net.mute = net.deaf = False
                assert await take(source, 1) == [3]
            await settle(source)
    assert await _pending(redis_server, topic(url).name, 0)


async def test_a_read_that_is_cancelled_takes_nothing_along(redis_server: Redis) -> None:
    orders = topic(redis_server.topic(), Tick)
    for group in ("g", None):
        async with opened(orders.source(group, start="latest")) as source:
            found: list[int] = []
            for n in range(20):
                async with anyio.create_task_group() as tasks:

                    async def read() -> None:
                        found.extend(numbers(await source.read(10)))  # noqa: B023

                    tasks.start_soon(read)
                    await anyio.sleep(0.001 * n)
                    tasks.start_soon(orders.publish, Tick(n))
                    await anyio.sleep(0.0005 * n)
                    tasks.cancel_scope.cancel()
            await ask(redis_server, "XLEN", orders.name)
            rest = await _rest(source)
            stored = await ask(redis_server, "XLEN", orders.name)
            assert len(found + rest) == stored
            assert sorted(found + rest) == found + rest
        await ask(redis_server, "DEL", orders.name)


async def test_who_waits_at_the_end_without_a_group_misses_nothing(redis_server: Redis) -> None:
    await misses_nothing(topic(redis_server.topic(), Tick), Tick(1), Tick(2), Tick(3))


async def _rest(source: object) -> list[int]:
    found: list[int] = []
    while True:
        records = None
        with anyio.move_on_after(0.5):
            records = await source.read(100)  # type: ignore[attr-defined]
        if records is None:
            return found
        found += numbers(records)
