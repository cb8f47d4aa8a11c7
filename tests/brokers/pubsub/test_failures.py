"""Leases that are extended, readers that are killed, networks that are cut, an emulator that is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reactor import Checkpoints, Pipeline, Stream, topic
from reactor.core import TopicError
from tests.brokers.pubsub.ticks import Tick, numbers, opened, take
from tests.servers.proxy import Proxy
from tests.servers.pubsub import PubSubEmulator

pytestmark = pytest.mark.anyio

READING = Path(__file__).with_name("reading_process.py")


def through(proxy: Proxy, name: str, **options: object) -> str:
    query = "".join(f"&{option}={value}" for option, value in options.items())
    return f"pubsub://shop/{name}?emulator=127.0.0.1:{proxy.port}&ack_deadline=10{query}"


async def until(ready: Any, seconds: float = 30) -> None:
    with anyio.fail_after(seconds):
        while not ready():
            await anyio.sleep(0.01)


async def test_what_is_in_flight_is_extended_for_a_slow_reader(pubsub: PubSubEmulator, name: str) -> None:
    ticks = topic(pubsub.url(name, groups="g", ack_deadline=10, prefetch=4), Tick)
    await ticks.publish([Tick(n) for n in range(6)], key=lambda one: f"k{one.number}")
    async with opened(ticks.source("g")) as slow, opened(ticks.source("g")) as other:
        mine = numbers(await take(slow, 4))
        theirs = numbers(await take(other, 2))
        assert sorted(mine + theirs) == list(range(6))
        with anyio.move_on_after(13) as waiting:  # longer than they are leased for
            while not await other.read(10):
                pass
        assert waiting.cancelled_caught, "they came again, though they are in flight"
        await slow.commit(4)
        await other.commit(2)
    async with opened(ticks.source("g")) as source:
        await ticks.publish(Tick(99))
        assert numbers(await take(source, 1)) == [99]


async def test_what_a_reader_leaves_goes_to_the_next_at_once(pubsub: PubSubEmulator, name: str) -> None:
    ticks = topic(pubsub.url(name, groups="g", ack_deadline=600), Tick)
    await ticks.publish([Tick(n) for n in range(20)], key=lambda one: f"k{one.number}")
    async with opened(ticks.source("g")) as source:
        await take(source, 7)  # and what it has read ahead
    async with opened(ticks.source("g")) as source:
        assert sorted(numbers(await take(source, 20, commit=True))) == list(range(20))


async def test_when_a_reader_is_killed_its_messages_come_again(pubsub: PubSubEmulator, name: str) -> None:
    url = pubsub.url(name, groups="g", ack_deadline=10)
    ticks = topic(url, Tick)
    await ticks.publish([Tick(n) for n in range(50)], key=lambda one: f"k{one.number % 10}")
    command = [sys.executable, str(READING), url, "g", "20"]
    seen: list[int] = []

    def killed() -> None:
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=os.getcwd(), text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                seen.append(int(line))
                if len(seen) == 30:
                    break
            process.send_signal(signal.SIGKILL)

    await anyio.to_thread.run_sync(killed)
    async with opened(ticks.source("g")) as source:
        since = time.monotonic()
        records = await take(source, 30, commit=True)
        assert time.monotonic() - since > 2, "the killed one's came before their deadline"
        assert set(numbers(records)) | set(seen[:20]) == set(range(50))
        assert set(numbers(records)) >= set(range(50)) - set(seen[:20])
        for k in range(10):
            its = [record.value.number for record in records if record.key == f"k{k}"]
            assert its == sorted(its)


@pytest.fixture
def proxy(pubsub: PubSubEmulator) -> Iterator[Proxy]:
    with Proxy(pubsub.port) as one:
        yield one


@pytest.mark.parametrize("how", ["cut", "hold"])
async def test_nothing_is_lost_when_the_network_is_cut_for_a_while(proxy: Proxy, name: str, how: str) -> None:
    url = through(proxy, name, groups="g")
    got: list[int] = []
    sent = 0
    stop = False

    async def events() -> Any:
        nonlocal sent
        while not stop:
            sent += 1
            yield Tick(sent - 1)
            await anyio.sleep(0.002)

    def sink(one: Tick) -> None:
        got.append(one.number)

    writes = Pipeline("writes", Stream(events).to(topic(url, Tick), key=lambda one: f"k{one.number % 5}"))
    reads = Pipeline("reads", topic(url, Tick).subscribe("g").to(sink), interval=0.1)
    async with writes.start() as writing, reads.start(drain=10) as reading:
        for _ in range(3):
            before = len(got)
            await until(lambda before=before: len(got) > before + 50)
            await anyio.to_thread.run_sync(proxy.cut if how == "cut" else proxy.hold)
            await anyio.sleep(0.5)
            await anyio.to_thread.run_sync(proxy.mend if how == "cut" else proxy.go_on)
        stop = True
        await writing.wait()
        await until(lambda: len(set(got)) == sent)
        assert reading.error is None
    assert set(got) == set(range(sent))


async def test_state_is_exact_though_the_network_was_cut_for_longer_than_the_lease(
    proxy: Proxy, pubsub: PubSubEmulator, name: str, tmp_path: Path
) -> None:
    ticks = topic(pubsub.url(name, groups="g", ack_deadline=10), Tick)
    await ticks.publish([Tick(n) for n in range(40)])
    counted: list[int] = []
    last: dict[int, int] = {}
    held = anyio.Event()

    def count(seen: dict[int, int], one: Tick) -> dict[int, int]:
        seen[one.number] = seen.get(one.number, 0) + 1
        return seen

    async def sink(seen: dict[int, int]) -> None:
        if len(counted) == 20:
            await held.wait()
        counted.append(len(seen))
        last.update(seen)

    pipeline = Pipeline(
        "counts",
        topic(through(proxy, name), Tick).subscribe("g").scan(count, factory=dict, name="seen").to(sink),
        checkpoint=Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.05, spacing=0.05),
        chunk=5,
        capacity=5,
    )
    async with pipeline.start(drain=10):
        await until(lambda: len(counted) == 20)
        await anyio.to_thread.run_sync(proxy.cut)
        held.set()
        await until(lambda: len(counted) == 40)  # all are counted, and it can't tell the broker
        await anyio.sleep(11)
        await anyio.to_thread.run_sync(proxy.mend)
        await ticks.publish(Tick(99))
        await until(lambda: counted[-1] == 41, 40)
        await anyio.sleep(1)
    assert last == dict.fromkeys([*range(40), 99], 1)


async def test_source_and_sink_go_on_when_the_emulator_was_started_again(
    own_pubsub: PubSubEmulator, name: str, own_call: Any
) -> None:
    """It keeps nothing: what was there before is gone, and what is published after that arrives."""
    ticks = topic(own_pubsub.url(name, groups="g"), Tick)

    def made_again() -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                own_call("get_subscription", subscription=f"projects/shop/subscriptions/{name}-g")
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    async with ticks, opened(ticks.source("g")) as source:
        for each in range(3):
            if each:
                await anyio.to_thread.run_sync(own_pubsub.kill)
                await anyio.to_thread.run_sync(own_pubsub.start)
                await anyio.to_thread.run_sync(made_again)
            await ticks.publish([Tick(10 * each + n) for n in range(5)])
            # Nothing is settled: their ids are 1 to 5 each time.
            assert sorted(numbers(await take(source, 5))) == [10 * each + n for n in range(5)]


async def test_a_topic_that_was_deleted_ends_a_run_only_where_it_may_not_be_made(
    pubsub: PubSubEmulator, name: str, call: Any
) -> None:
    made = topic(pubsub.url(name, groups="g"), Tick)
    await made.publish(Tick(1))
    source = topic(pubsub.url(name, create="false"), Tick).source("g")
    async with opened(source):
        assert numbers(await take(source, 1, commit=True)) == [1]
        path = f"projects/shop/subscriptions/{name}-g"
        await anyio.to_thread.run_sync(lambda: call("delete_subscription", subscription=path))
        with pytest.raises(TopicError, match=f"there is no {path}"), anyio.fail_after(10):
            await source.read(1)
