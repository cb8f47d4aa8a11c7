"""Servers that are killed, networks that are cut, queues that are deleted."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from reactor import Pipeline, RateLimit, Stream
from reactor.core import TopicError
from tests.brokers.sqs.reading import (
    PATIENCE,
    Tick,
    bare,
    opened,
    take,
    through,
    ticks,
    until,
)
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


async def test_after_a_kill_the_queue_is_made_again_and_pipelines_go_on(own_ministack: Ministack) -> None:
    """The server keeps nothing over a kill -9. What is published after it arrives; nothing hangs or fails."""
    url = own_ministack.topic()
    source, copy = ticks(url), ticks(own_ministack.topic())
    got: set[int] = set()
    copies = Pipeline("copies", source.subscribe("g").to(copy), interval=0.05)
    reads = Pipeline("reads", copy.subscribe("g").to(lambda one: got.add(one.number)), interval=0.05)
    async with copies.start(drain=PATIENCE) as one, reads.start(drain=PATIENCE) as two:
        async with source:
            await source.publish([Tick(n) for n in range(200)])
            await until(lambda: len(got) > 20)
            await anyio.to_thread.run_sync(own_ministack.kill)
            await anyio.sleep(0.2)
            await anyio.to_thread.run_sync(own_ministack.start)
            await source.publish([Tick(n) for n in range(1000, 1100)])
        await until(lambda: got >= set(range(1000, 1100)))
        assert one.error is None
        assert two.error is None


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_network_that_is_cut_loses_nothing(ministack: Ministack, fifo: bool) -> None:
    name = ticks(ministack.topic(fifo=fifo)).name
    async with through(ministack) as proxy:
        url = ministack.topic(name=name).replace(f":{ministack.port}", f":{proxy.port}")
        # What a request that was cut has taken is hidden until its visibility is over.
        them = ticks(url, visibility=2)
        got: list[int] = []
        sent = 0
        stop = False

        def events() -> Iterator[Tick]:
            nonlocal sent
            while not stop and sent < 300:
                sent += 1
                yield Tick(sent - 1)

        stream = Stream(events).rate_limit(RateLimit(60)).to(them, key=lambda one: str(one.number % 7))
        writes = Pipeline("writes", stream, interval=0.1)
        reads = Pipeline("reads", them.subscribe("g").to(lambda one: got.append(one.number)), interval=0.05)
        async with reads.start(drain=PATIENCE) as reading:
            async with writes.start(drain=1.0) as writing:
                for _ in range(3):
                    before = len(got)
                    await until(lambda: len(got) > before + 10)  # noqa: B023
                    await anyio.to_thread.run_sync(proxy.cut)
                    await anyio.sleep(0.1)
                    await anyio.to_thread.run_sync(proxy.mend)
                stop = True
                await writing.wait()
            await until(lambda: set(got) == set(range(sent)))
            assert reading.error is None
    if fifo:  # none was stored twice, though some were sent twice; and in order
        assert sorted(got) == list(range(sent))
        for key in range(7):
            its = [number for number in got if number % 7 == key]
            assert its == sorted(its)


async def test_a_queue_that_is_deleted_fails_those_who_may_not_create_it(ministack: Ministack) -> None:
    url = ministack.topic()
    await ticks(url).publish(Tick(1))
    them = ticks(url, create=False)
    async with opened(them.source("g")) as source:
        [_] = await take(source, 1)
        async with bare(ministack, them.name) as queue:
            await queue.client.delete_queue(QueueUrl=queue.address)
        with pytest.raises(TopicError, match="no such queue"), anyio.fail_after(PATIENCE):
            await source.read(1)
        with pytest.raises(TopicError, match="no such queue"):
            await source.commit(1)
    with pytest.raises(TopicError, match="leave out create=false"):
        await them.publish(Tick(2))
