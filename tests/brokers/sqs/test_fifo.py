"""FIFO queues: the order of a key, whatever fails."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict

import pytest

from reactor import Pipeline, Restart
from tests.brokers.sqs.reading import (
    PATIENCE,
    Tick,
    bare,
    nothing_comes,
    numbers,
    opened,
    take,
    ticks,
    until,
)
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_fifo_keeps_the_order_of_a_key_through_failures(ministack: Ministack) -> None:
    them = ticks(ministack.topic(fifo=True))
    await them.publish([Tick(n) for n in range(120)], key=lambda one: f"key-{one.number % 5}")
    got: dict[int, list[int]] = defaultdict(list)
    failures = 0

    def handle(one: Tick) -> None:
        nonlocal failures
        its = got[one.number % 5]
        if one.number % 23 == 7 and failures < 6 and one.number not in its:
            failures += 1
            raise OSError("now and then")
        its.append(one.number)

    pipeline = Pipeline(
        "fails",
        them.subscribe("g").to(handle),
        chunk=7,
        capacity=7,
        interval=0.02,
        restart=Restart(10, initial=0.01),
    )
    async with pipeline.start(drain=PATIENCE):
        await until(lambda: sum(len(set(its)) for its in got.values()) == 120)
    assert failures >= 5
    for key, its in got.items():
        first = list(dict.fromkeys(its))
        assert first == list(range(key, 120, 5)), "none was seen before one that stands before it"
        # What comes again comes from some point on, and in order from there.
        for before, after in itertools.pairwise(its):
            assert after == before + 5 or after <= before


async def test_fifo_events_without_a_key_are_in_order_in_one_message_group(ministack: Ministack) -> None:
    them = ticks(ministack.topic("message_group=all", fifo=True))
    await them.publish([Tick(n) for n in range(45)])
    async with opened(them.source("g")) as source:
        found: list[int] = []
        while len(found) < 45:
            found += numbers(await take(source, 1))
            await source.commit(len(found))
    assert found == list(range(45))


async def test_fifo_takes_any_key_and_id(ministack: Ministack) -> None:
    them = ticks(ministack.topic(fifo=True))
    odd = "ключ " + "x" * 300
    for _ in range(2):
        await them.publish([Tick(1)], key=odd, id=odd)
    await them.publish([Tick(2)], key=odd, id=odd + "y")
    async with opened(them.source("g")) as source:
        records = await take(source, 2)
        await nothing_comes(source)
        await source.commit(2)
    async with bare(ministack, them.name) as queue:
        await them.publish([Tick(3)], key=odd, id=odd + "z")
        [message] = await queue.receive()
        for name in ("MessageGroupId", "MessageDeduplicationId"):  # as AWS takes them; this server takes any
            assert re.fullmatch(r"[!-~]{1,128}", message["Attributes"][name])
    assert [(record.key, record.value.number) for record in records] == [(odd, 1), (odd, 2)]
