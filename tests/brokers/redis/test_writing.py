"""Writing: what is confirmed is stored, once, in order; a server without room holds the writer up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from reactor import topic
from reactor.core import Refused, TopicError, TopicFull
from tests.brokers.redis.cutting import cuttable
from tests.brokers.redis.reading import PATIENCE, Tick, ask, until
from tests.servers.redis import Redis

pytestmark = pytest.mark.anyio


async def stored(url: str) -> list[int]:
    """Return the numbers in a stream, as they stand there."""
    return [record.value.number async for record in topic(url, Tick).records("earliest")]


@asynccontextmanager
async def writing(url: str, **options: Any) -> AsyncGenerator[Any, None]:
    sink = topic(url, Tick).sink(**options)
    try:
        await sink.open()
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


async def test_what_was_stored_when_the_reply_was_lost_isnt_stored_again(own_redis: Redis) -> None:
    url = own_redis.topic("timeout=30")
    async with cuttable(own_redis.port) as net, writing(net.url(url)) as sink:
        await sink.write([Tick(n) for n in range(3)])
        await sink.flush()
        for first in range(3, 12, 3):
            net.mute = True
            await sink.write([Tick(n) for n in range(first, first + 3)])
            await until(lambda first=first: _has(own_redis, url, first + 3), "stored")
            await topic(url, Tick).publish(Tick(-1))  # somebody else's stands behind it
            net.cut()
            await sink.flush()
    assert [n for n in await stored(url) if n >= 0] == list(range(12))


async def test_what_never_reached_the_server_is_sent_again_in_order(own_redis: Redis) -> None:
    url = own_redis.topic("timeout=30")
    async with cuttable(own_redis.port) as net, writing(net.url(url)) as sink:
        await sink.write([Tick(n) for n in range(3)])
        await sink.flush()
        for first in range(3, 12, 3):
            net.swallowed.clear()
            net.deaf = True
            await sink.write([Tick(n) for n in range(first, first + 3)])
            await net.swallowed.wait()
            net.cut()
            await sink.flush()
    assert await stored(url) == list(range(12))


async def test_a_server_that_is_killed_under_load_has_all_that_was_confirmed_once(own_redis: Redis) -> None:
    url = own_redis.topic()
    confirmed = 0
    stop = False

    async def write() -> None:
        nonlocal confirmed
        async with writing(url) as sink:
            while not stop:
                await sink.write([Tick(n) for n in range(confirmed, confirmed + 50)])
                await sink.flush()
                confirmed += 50

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for _ in range(3):
            at = confirmed
            await until(lambda at=at: _is(confirmed > at + 500), "it writes")
            await anyio.to_thread.run_sync(own_redis.kill)
            await anyio.to_thread.run_sync(own_redis.start)
        stop = True
    assert await stored(url) == list(range(confirmed))


async def test_a_full_server_holds_the_writer_up_until_there_is_room(own_redis: Redis) -> None:
    url = own_redis.topic("full_wait=60")
    async with writing(url) as sink, _full(own_redis):
        await sink.write([Tick(1)])
        with anyio.move_on_after(0.5) as waiting:
            await sink.flush()
        assert waiting.cancelled_caught
        await ask(own_redis, "CONFIG", "SET", "maxmemory", "0")
        await sink.write([Tick(2)])
        with anyio.fail_after(10):
            await sink.flush()
    assert await stored(url) == [1, 2]


async def test_a_server_that_stays_full_is_told(own_redis: Redis) -> None:
    url = own_redis.topic("full_wait=0.3")
    async with writing(url) as sink, _full(own_redis):
        await sink.write([Tick(1)])
        with pytest.raises(TopicFull, match=r"the server is full: .*maxmemory.*trim streams"):
            await sink.flush()
        await ask(own_redis, "CONFIG", "SET", "maxmemory", "0")
        await sink.flush()  # tried again, it is stored
    assert await stored(url) == [1]


async def test_a_chunk_is_stored_whole_or_not_at_all(own_redis: Redis) -> None:
    url = own_redis.topic("full_wait=0.1")
    used = (await ask(own_redis, "INFO", "memory"))["used_memory"]
    await ask(own_redis, "CONFIG", "SET", "maxmemory", used + 1_500_000)
    try:
        with pytest.raises(TopicFull):  # room for a part of it
            await topic(url, Tick).publish([Tick(n, "x" * 5000) for n in range(900)])
        assert await ask(own_redis, "XLEN", topic(url).name) == 0
    finally:
        await ask(own_redis, "CONFIG", "SET", "maxmemory", "0")


async def test_what_is_too_large_is_refused_before_anything_is_sent(own_redis: Redis) -> None:
    url = own_redis.topic("max_bytes=1000")
    with pytest.raises(Refused, match=r"event 1 .*max_bytes=1000") as caught:
        await topic(url, Tick).publish([Tick(0), Tick(1, "x" * 1000), Tick(2)])
    assert set(caught.value.errors) == {1}
    assert await stored(url) == []


async def test_what_is_too_large_for_the_server_is_refused_before_anything_is_sent(own_redis: Redis) -> None:
    url = own_redis.topic()
    async with _narrow(own_redis):
        said = r"event 1 .*proto-max-bulk-len was 1048576"
        with pytest.raises(Refused, match=said) as caught, anyio.fail_after(PATIENCE):
            await topic(url, Tick).publish([Tick(0), Tick(1, "x" * 2_000_000), Tick(2)])
    assert set(caught.value.errors) == {1}
    assert await stored(url) == []


async def test_what_turns_out_too_large_for_the_server_is_told(own_redis: Redis) -> None:
    """One that may not ask, or whose server was changed later."""
    url = own_redis.topic()
    async with writing(url) as sink, _narrow(own_redis):
        with pytest.raises(TopicError, match=r"2000.* bytes.*proto-max-bulk-len"), anyio.fail_after(PATIENCE):
            await sink.write([Tick(0), Tick(1, "x" * 2_000_000)])
            await sink.flush()
    assert await stored(url) == []


async def test_a_large_event_that_the_server_takes_is_sent_until_it_is_stored(own_redis: Redis) -> None:
    url = own_redis.topic()
    async with writing(url) as sink:
        link = sink._producer._link
        write, large = link.write, 0

        async def lose(packed: Any) -> None:
            nonlocal large
            if max(map(len, packed)) > 2_000_000:
                large += 1
                if large < 4:
                    await link.close()
                    raise RedisConnectionError("cut by the test")
            await write(packed)

        link.write = lose
        with anyio.fail_after(2 * PATIENCE):
            await sink.write([Tick(0), Tick(1, "x" * 2_000_000)])
            await sink.flush()
    assert large == 4
    assert await stored(url) == [0, 1]


async def test_a_header_cant_be_the_field_of_the_event(own_redis: Redis) -> None:
    with pytest.raises(Refused, match="'data' is the field of the event"):
        await topic(own_redis.topic(), Tick).publish(Tick(0), headers={"data": "x"})
    other = topic(own_redis.topic("field=body"), Tick)
    await other.publish(Tick(0), headers={"data": "x"})
    assert [dict(record.headers) async for record in other.records("earliest")] == [{"data": "x"}]


async def test_large_events_and_many(own_redis: Redis) -> None:
    url = own_redis.topic("prefetch=50")
    events = [Tick(n, "x" * (3_000_000 if n % 5 == 0 else 10)) for n in range(20)]
    events += [Tick(n) for n in range(20, 3000)]
    await topic(url, Tick).publish(events)
    assert [record.value async for record in topic(url, Tick).records("earliest")] == events
    source = topic(url, Tick).source("g", follow=False)
    found: list[Tick] = []
    try:
        await source.open()
        while (records := await source.read(100)) is not None:
            found += [record.value for record in records]
            await source.commit(source.position() or 0)
    finally:
        await source.close()
    assert found == events


async def test_maxlen_trims(own_redis: Redis) -> None:
    url = own_redis.topic("maxlen=500")
    await topic(url, Tick).publish([Tick(n) for n in range(3000)])
    found = await stored(url)
    assert 500 <= len(found) < 1000
    assert found[-1] == 2999


async def test_one_that_may_only_write_does(own_redis: Redis) -> None:
    url = own_redis.topic()
    name = topic(url).name
    await ask(
        own_redis,
        "ACL",
        "SETUSER",
        "writer",
        "on",
        ">pw",
        f"~{name}",
        "+xadd",
        "+multi",
        "+exec",
        "-xrevrange",
    )
    writer = f"redis://writer:pw@127.0.0.1:{own_redis.port}/{name}"
    await topic(writer, Tick).publish([Tick(1), Tick(2)])
    assert await stored(url) == [1, 2]
    with pytest.raises(TopicError, match="the user may not do that"):
        await topic(f"redis://writer:pw@127.0.0.1:{own_redis.port}/other", Tick).publish(Tick(1))


@asynccontextmanager
async def _narrow(server: Redis) -> AsyncGenerator[None, None]:
    """The server takes no value of more than 1 MB while the block runs."""
    await ask(server, "CONFIG", "SET", "proto-max-bulk-len", "1048576")
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await ask(server, "CONFIG", "SET", "proto-max-bulk-len", "512mb")


@asynccontextmanager
async def _full(server: Redis) -> AsyncGenerator[None, None]:
    """There is no room while the block runs."""
    await ask(server, "CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await ask(server, "CONFIG", "SET", "maxmemory", "0")


async def _has(server: Redis, url: str, count: int) -> bool:
    entries = await ask(server, "XRANGE", topic(url).name, "-", "+")
    return sum(fields[b"data"] != b'{"number":-1,"text":""}' for _, fields in entries) >= count


async def _is(so: bool) -> bool:
    return so
