"""Who holds a message, for how long, and what becomes of it then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import anyio
import anyio.to_thread
import pytest

from reactor.connectors.brokers import BrokerSource
from reactor.core import TopicError
from tests.brokers.sqs.reading import (
    Tick,
    bare,
    nothing_comes,
    numbers,
    opened,
    take,
    ticks,
)
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_a_slow_handler_keeps_its_messages(ministack: Ministack) -> None:
    slow = ticks(ministack.topic(), visibility=5)
    await slow.publish([Tick(n) for n in range(15)])
    async with opened(slow.source("g")) as one, opened(slow.source("g")) as two:
        records = await take(one, 15)
        await nothing_comes(two, 11)
        await one.commit(len(records))
        async with bare(ministack, slow.name) as queue:
            assert await queue.left() == (0, 0)


@pytest.mark.usefixtures("closes_patiently")
async def test_closing_lets_go_of_what_is_not_settled(ministack: Ministack) -> None:
    them = ticks(ministack.topic(), visibility=600)
    await them.publish([Tick(n) for n in range(40)])
    async with opened(them.source("g")) as source:
        await take(source, 25)  # and the connector has some more
        await source.commit(5)
    async with opened(them.source("g")) as source:
        since = time.monotonic()
        assert len(await take(source, 35)) == 35
        assert time.monotonic() - since < 20
        await source.commit(35)
    async with bare(ministack, them.name) as queue:
        assert await queue.left() == (0, 0)


@pytest.mark.usefixtures("closes_patiently")
async def test_a_request_on_its_way_takes_nothing_along_when_its_reader_closes(ministack: Ministack) -> None:
    them = ticks(ministack.topic(), visibility=600)
    for number in range(3):
        async with opened(them.source("g")) as source:
            await nothing_comes(source, 0.1)  # the request is under way, and is still when it closes
        await them.publish(Tick(number))
        async with opened(them.source("g")) as source:
            assert numbers(await take(source, 1)) == [number]
            await source.commit(1)


async def test_a_handle_that_has_expired_is_settled_when_the_message_comes_again(
    ministack: Ministack,
) -> None:
    them = ticks(ministack.topic(), prefetch=8)
    await them.publish([Tick(n) for n in range(8)])
    async with opened(them.source("g")) as source, bare(ministack, them.name) as queue:
        assert isinstance(source, BrokerSource)
        await take(source, 8)
        # Somebody else gets two of them meanwhile: of one batch some are deleted, the others fail.
        for delivery in list(source._flying)[2:4]:
            await queue.show(delivery.token.handle)
        assert len(await queue.receive(visibility=1)) == 2
        await source.commit(6)
        assert sum(await queue.left()) == 4
        # Nothing is returned twice: neither the two that were committed nor the two that are in flight.
        await nothing_comes(source, 3)
        assert sum(await queue.left()) == 2
        await source.commit(8)
        assert await queue.left() == (0, 0)


_READER = """
import sys, anyio, msgspec
from reactor import topic
class Tick(msgspec.Struct, frozen=True):
    number: int
    text: str = ""
async def main():
    source = topic(sys.argv[1], Tick).source("g")
    await source.open()
    seen = 0
    while True:
        seen += len(await source.read(100))
        print(seen, flush=True)
anyio.run(main)
"""


async def test_messages_of_a_process_that_was_killed_come_again_when_their_visibility_is_over(
    ministack: Ministack,
) -> None:
    url = ministack.topic("visibility=2&wait=1")
    them = ticks(url, visibility=2)
    await them.publish([Tick(n) for n in range(30)])

    def read_and_die() -> None:
        with subprocess.Popen([sys.executable, "-c", _READER, url], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while process.stdout.readline().strip() != b"30":
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)

    await anyio.to_thread.run_sync(read_and_die)
    async with opened(them.source("g")) as source:
        assert sorted(numbers(await take(source, 30))) == list(range(30))


async def test_a_message_that_is_never_settled_goes_to_the_dead_letters(ministack: Ministack) -> None:
    url = ministack.topic("max_receives=2")
    them = ticks(url)
    await them.publish([Tick(1), Tick(2)])
    for _ in range(2):
        async with opened(them.source("g")) as source:
            records = await take(source, 2)
            assert sorted(numbers(records)) == [1, 2]
    async with opened(them.source("g")) as source:
        await nothing_comes(source, 1)
    dead = ticks(ministack.topic(name=f"{them.name}-dead"))
    async with opened(dead.source("g")) as source:
        assert sorted(numbers(await take(source, 2))) == [1, 2]


async def test_another_redrive_policy_than_the_queues_is_told(ministack: Ministack) -> None:
    name = f"redrive-{os.getpid()}-{time.time_ns()}"
    await ticks(ministack.topic("max_receives=3&dead_letters=the-dead", name=name)).publish(Tick(1))
    await ticks(ministack.topic("max_receives=3&dead_letters=the-dead", name=name)).publish(Tick(2))
    with pytest.raises(TopicError, match="max_receives=4"):
        await ticks(ministack.topic("max_receives=4&dead_letters=the-dead", name=name)).publish(Tick(3))
