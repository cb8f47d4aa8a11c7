"""What is lost, and comes back: servers, connections, readers. Nothing that was acknowledged is gone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import nats
import pytest

from reactor import Pipeline, Stream, topic
from reactor.core import Cancelled
from reactor.operators import RateLimit
from tests.brokers.nats.proxy import Proxy
from tests.servers.nats import PASSWORD, USER, NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Url = Callable[..., str]


class Tick(msgspec.Struct, frozen=True):
    number: int


def ticks(count: int, first: int = 0) -> list[Tick]:
    return [Tick(number) for number in range(first, first + count)]


async def until(ready: Callable[[], object], seconds: float = 30.0) -> None:
    with anyio.fail_after(seconds):
        while not ready():
            await anyio.sleep(0.01)


async def take(source: Any, count: int, seconds: float = 20.0) -> list[int]:
    """Return the numbers of the next ``count`` events."""
    found: list[int] = []
    with anyio.fail_after(seconds):
        while len(found) < count:
            records = await source.read(count - len(found))
            assert records is not None
            found += [record.value.number for record in records]
    return found


async def nothing_comes(source: Any, seconds: float) -> None:
    with anyio.move_on_after(seconds) as waiting:
        found = await source.read(1)
        raise AssertionError(f"{found} came")
    assert waiting.cancelled_caught


# Leases ------------------------------------------------------------------------------------------------------


async def test_what_is_worked_on_isnt_given_to_others(url: Url) -> None:
    ticks_ = topic(url(ack_wait=5), Tick)
    await ticks_.publish(ticks(5))
    slow, other = ticks_.source("group"), ticks_.source("group")
    await slow.open()
    assert await take(slow, 5) == [0, 1, 2, 3, 4]
    await other.open()
    await nothing_comes(other, 11)
    await slow.commit(3)
    await slow.close()
    assert await take(other, 2) == [3, 4]
    await other.close()


async def test_what_a_reader_leaves_goes_to_the_next_one_at_once_and_in_order(
    url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.nats.group._GOODBYE", 15.0)  # the server may be slow
    ticks_ = topic(url(ack_wait=60), Tick)
    await ticks_.publish(ticks(300))
    first, second = ticks_.source("group"), ticks_.source("group")
    await first.open()
    assert await take(first, 100) == list(range(100))
    await first.commit(10)
    await second.open()
    await first.close()
    with anyio.fail_after(20):
        assert await take(second, 290) == list(range(10, 300))
    await second.close()


async def test_the_group_of_a_killed_process_goes_on(url: Url, name: str) -> None:
    ticks_ = topic(url(ack_wait=2), Tick)
    await ticks_.publish(ticks(20))
    script = Path(__file__).with_name("reading_process.py")
    command = [sys.executable, str(script), url(ack_wait=2), "group", "8"]
    process = await anyio.open_process(command, stdout=subprocess.PIPE, stderr=None)
    assert process.stdout is not None
    said = b""
    with anyio.fail_after(30):
        while said.count(b"\n") < 20:
            said += await process.stdout.receive()
    process.kill()
    await process.aclose()
    source = ticks_.source("group")
    await source.open()
    assert await take(source, 12) == list(range(8, 20))
    await source.commit(12)
    await nothing_comes(source, 0.3)
    await source.close()


@pytest.mark.parametrize("more", [0, 1])
async def test_what_a_dead_reader_held_is_waited_for_while_newer_events_come(
    nats_server: NatsServer, url: Url, name: str, more: int
) -> None:
    ticks_ = topic(url(ack_wait=2, prefetch=10), Tick)
    await ticks_.publish(ticks(5))
    made = ticks_.source("group")
    await made.open()
    await made.close()
    client = await nats.connect(f"nats://127.0.0.1:{nats_server.port}", user=USER, password=PASSWORD)
    dead = await client.jetstream().pull_subscribe_bind("group", name.replace(".", "_"))
    assert len(await dead.fetch(5, timeout=20)) == 5
    await client.close()
    await ticks_.publish(ticks(more, 5))

    source = ticks_.source("group", follow=False)
    await source.open()
    await ticks_.publish(ticks(20, 10))
    assert sorted(await take(source, 5 + more, 40)) == list(range(5 + more))
    await source.commit(5 + more)
    with anyio.fail_after(20):
        assert await source.read(10) is None
    await source.close()
    rest = ticks_.source("group", follow=False)
    await rest.open()
    got: list[int] = []
    while len(got) < 20:
        got += await take(rest, 5)
        await rest.commit(len(got))
    assert sorted(got) == list(range(10, 30))
    await rest.close()


# The server --------------------------------------------------------------------------------------------------


async def test_a_server_killed_under_load_loses_nothing(own_nats_server: NatsServer, name: str) -> None:
    server = own_nats_server
    url = server.url(name, "ack_wait=5")
    ticks_ = topic(url, Tick)
    got: list[int] = []
    sent = 0
    stop = False

    def events() -> Any:
        nonlocal sent
        while not stop:
            sent += 1
            yield Tick(sent - 1)

    async def more(count: int) -> None:
        enough = len(got) + count
        await until(lambda: len(got) > enough)

    writes = Pipeline("writes", Stream(events).rate_limit(RateLimit(1000)).to(ticks_))
    reads = Pipeline(
        "reads", ticks_.subscribe("group").map(lambda tick: tick.number).to(got.append), interval=0.05
    )
    async with reads.start(drain=20) as reading:
        async with writes.start(drain=20) as writing:
            for _ in range(3):
                await more(200)
                await anyio.to_thread.run_sync(server.kill)
                await anyio.to_thread.run_sync(server.start)
                assert reading.error is None
                assert writing.error is None
            await more(200)
            stop = True
            await writing.wait()
        await until(lambda: len(set(got)) == sent)
    # The ids that it writes are known to the server, those that it has handled to the reader.
    assert {number: times for number, times in Counter(got).items() if times > 1} == {}
    assert set(got) == set(range(sent))


async def test_a_server_killed_after_a_commit_repeats_little(own_nats_server: NatsServer, name: str) -> None:
    ticks_ = topic(own_nats_server.url(name, "ack_wait=5"), Tick)
    await ticks_.publish(ticks(300))
    source = ticks_.source("group")
    await source.open()
    await take(source, 200)
    await source.commit(100)
    await anyio.sleep(3)
    await source.commit(200)
    await anyio.to_thread.run_sync(own_nats_server.kill)
    await anyio.to_thread.run_sync(own_nats_server.start)
    assert await take(source, 100) == list(range(200, 300))
    await source.commit(300)
    await source.close()
    other = ticks_.source("group")
    await other.open()
    await nothing_comes(other, 7)
    await other.close()


@pytest.mark.parametrize("told", ["before", "after"])
async def test_a_server_that_forgot_what_it_delivered_is_told_what_is_handled(
    own_nats_server: NatsServer, name: str, told: str
) -> None:
    ticks_ = topic(own_nats_server.url(name, "ack_wait=5"), Tick)
    await ticks_.publish(ticks(50))
    source = ticks_.source("group")
    await source.open()
    await take(source, 50)
    if told == "before":
        await source.commit(50)
    await anyio.to_thread.run_sync(own_nats_server.kill)  # what it delivers it writes down a little later
    await anyio.to_thread.run_sync(own_nats_server.start)
    with anyio.fail_after(10):
        await source.commit(50)
    await ticks_.publish(ticks(10, 50))
    assert await take(source, 10) == list(range(50, 60))
    await source.commit(60)
    await nothing_comes(source, 7)
    await source.close()


async def test_a_server_that_stands_still_is_left_for_a_new_connection(
    own_nats_server: NatsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.nats.pull._SILENCE", 1.0)
    monkeypatch.setattr("reactor.connectors.nats.producer._STALLED", 1.0)
    monkeypatch.setattr("reactor.connectors.nats.link._ANSWER", 1.0)
    async with Proxy(own_nats_server.port) as proxy:
        ticks_ = topic(own_nats_server.url(name, "ack_wait=2", port=proxy.port), Tick)
        await ticks_.publish(Tick(0))
        source, sink = ticks_.source("group"), ticks_.sink()
        await source.open()
        await sink.open()
        assert await take(source, 1) == [0]
        before = proxy.connections
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                await sink.write(ticks(100, 1))
                await sink.flush()

            proxy.hold()
            tasks.start_soon(write)
            tasks.start_soon(source.commit, 1)
            found: list[int] = []

            async def read() -> None:
                found.extend(await take(source, 100, 60))

            tasks.start_soon(read)
            # Both have given it up, and try again and again.
            await until(lambda: proxy.connections >= before + 2)
            proxy.cut()
            proxy.go_on()
        assert found == list(range(1, 101))
        await sink.close()
        await source.commit(101)
        await source.close()
    rest = topic(own_nats_server.url(name), Tick).source("group", follow=False)
    await rest.open()
    assert await rest.read(10) is None
    await rest.close()


async def test_a_reader_that_hears_nothing_connects_again(
    nats_server: NatsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.nats.pull._SILENCE", 1.0)
    async with Proxy(nats_server.port) as proxy:
        source = topic(nats_server.url(name, port=proxy.port), Tick).source("group")
        await source.open()
        async with anyio.create_task_group() as tasks:
            found: list[int] = []

            async def read() -> None:
                found.extend(await take(source, 3))

            tasks.start_soon(read)
            await anyio.sleep(0.1)
            proxy.hold()
            await until(lambda: proxy.connections >= 2)
            proxy.go_on()
            await topic(nats_server.url(name), Tick).publish(ticks(3))
        assert found == [0, 1, 2]
        await source.close()


async def test_a_writer_without_confirmations_connects_again(
    nats_server: NatsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.connectors.nats.producer._STALLED", 1.0)
    async with Proxy(nats_server.port) as proxy:
        ticks_ = topic(nats_server.url(name, port=proxy.port), Tick)
        sink = ticks_.sink()
        await sink.open()
        async with anyio.create_task_group() as tasks:
            proxy.hold()
            await sink.write(ticks(3))
            tasks.start_soon(sink.flush)
            await until(lambda: proxy.connections >= 2)
            proxy.go_on()
        await sink.close()
        assert [record.value.number async for record in ticks_.records("earliest")] == [0, 1, 2]


# The network -------------------------------------------------------------------------------------------------


async def test_cut_connections_store_each_event_once_and_in_order(nats_server: NatsServer, name: str) -> None:
    async with Proxy(nats_server.port) as proxy:
        ticks_ = topic(nats_server.url(name, "in_flight=50", port=proxy.port), Tick)
        sink = ticks_.sink()
        await sink.open()
        done = anyio.Event()

        async def cut() -> None:
            pause = 0.05
            while not done.is_set():
                await anyio.sleep(pause)
                proxy.cut()
                pause *= (
                    1.1  # where the machine is busy, a connection has to live a while to get anything done
                )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            for first in range(0, 1500, 100):
                await sink.write(ticks(100, first))
            await sink.flush()
            done.set()
        assert proxy.connections > 3
        await sink.close()
        found = [record.value.number async for record in ticks_.records("earliest")]
    assert found == list(range(1500))


@pytest.mark.parametrize("group", ["group", None])
async def test_cut_connections_lose_nothing_that_is_read(
    nats_server: NatsServer, name: str, group: str | None
) -> None:
    await topic(nats_server.url(name), Tick).publish(ticks(1000))
    got: list[int] = []
    async with Proxy(nats_server.port) as proxy:
        ticks_ = topic(nats_server.url(name, "ack_wait=5&prefetch=50", port=proxy.port), Tick)
        source = ticks_.source(group, start="earliest")
        await source.open()
        with anyio.fail_after(60):
            while len(got) < 1000:
                records = await source.read(50)
                assert records is not None
                got += [record.value.number for record in records]
                if len(got) // 100 > proxy.connections - 1:
                    proxy.cut()
                await source.commit(len(got))
        await source.close()
        assert proxy.connections > 5
    assert sorted(got) == list(range(1000))
    if group is None:
        assert got == list(range(1000))
    else:
        rest = topic(nats_server.url(name), Tick).source(group, follow=False)
        await rest.open()
        assert await rest.read(10) is None
        await rest.close()


async def test_closing_without_a_server_takes_no_longer(own_nats_server: NatsServer, name: str) -> None:
    ticks_ = topic(own_nats_server.url(name), Tick)
    await ticks_.publish(ticks(3))
    ends: list[Any] = [ticks_.source("group"), ticks_.source(), ticks_.sink()]
    for end in ends:
        await end.open()
    await take(ends[0], 3)
    await anyio.to_thread.run_sync(own_nats_server.kill)
    with anyio.fail_after(8):
        for end in ends:
            await end.close()


async def test_a_pipeline_can_be_cancelled_while_the_server_is_gone(
    own_nats_server: NatsServer, name: str
) -> None:
    ticks_ = topic(own_nats_server.url(name), Tick)
    copy = topic(own_nats_server.url(f"{name}.copy"), Tick)
    await ticks_.publish(ticks(3))
    got: list[int] = []

    def seen(tick: Tick) -> Tick:
        got.append(tick.number)
        return tick

    pipeline = Pipeline("copies", ticks_.subscribe("group").map(seen).to(copy))
    with anyio.fail_after(20), pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await until(lambda: len(got) == 3)
            await anyio.to_thread.run_sync(own_nats_server.kill)
            await anyio.sleep(0.2)
            run.cancel()
            await run.wait()
