"""Dead letters at Pub/Sub: kept by a subscription, looked at, and left where they are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest

from reactor import DeadLetters, LetterError, Pipeline, StoredLetter, TopicError, dead_letters, topic
from tests.brokers.letters import ROOT, Order, command, failed, refuse, retried, seen, settled
from tests.brokers.pubsub.ticks import opened, take
from tests.servers.pubsub import PubSubEmulator

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Call = Callable[..., Any]

# Looks, and stands still as soon as it holds some.
HOLDING = """
import asyncio, sys, time
from reactor import topic

def still(delivery):
    print("holds", flush=True)
    time.sleep(600)

asyncio.run(topic(sys.argv[1])._log.keeping().look(over=still))
"""


async def test_letters_are_kept_though_no_group_has_subscribed(pubsub: PubSubEmulator, name: str) -> None:
    dead = topic(pubsub.url(name), StoredLetter)
    await failed(dead, 45)
    for _ in range(2):
        assert await seen(dead) == list(range(45))


async def test_the_commands_do_what_they_do_at_a_log(pubsub: PubSubEmulator, name: str) -> None:
    orders = topic(pubsub.url(name, groups="g"), Order)
    url = pubsub.url(f"{name}-dead")
    await orders.publish([Order(n) for n in range(3)])
    came: list[Order] = []
    refused = orders.subscribe("g").tap(came.append).map(refuse, name="refuse", on_error=DeadLetters())
    dead = topic(url, StoredLetter)
    async with Pipeline("shop", refused.discard(), dead_letters=dead, interval=0.05).start():
        with anyio.fail_after(20):
            while len(came) < 3:
                await anyio.sleep(0.02)
    listed = (await command("list", url, "--json")).objects
    ids = [letter["id"] for letter in sorted(listed, key=lambda letter: letter["event"]["number"])]
    assert len(ids) == 3
    assert "order 0 is refused" in (await command("show", url, ids[0][:8])).out
    assert (await command("edit", url, ids[0][:8], "--event", '{"number": 10}')).code == 0
    assert (await command("replay", url, ids[0], ids[1])).code == 0
    assert (await command("discard", url, ids[2], "--reason", "a test")).code == 0
    states = {letter["id"]: letter["state"] for letter in (await command("list", url, "--json")).objects}
    assert states == {ids[0]: "replayed", ids[1]: "replayed", ids[2]: "discarded"}
    async with opened(orders.source("g")) as source:
        assert sorted(record.value.number for record in await take(source, 2)) == [1, 10]


async def test_clear_takes_out_what_is_over_and_nothing_else(pubsub: PubSubEmulator, name: str) -> None:
    dead = topic(pubsub.url(name), StoredLetter)
    await failed(dead, 10)
    await settled(dead, range(0, 10, 2))
    assert await seen(dead) == list(range(10))
    assert await dead_letters(dead).clear() == 5
    assert await seen(dead) == [1, 3, 5, 7, 9]


async def test_a_look_that_is_killed_loses_nothing(pubsub: PubSubEmulator, name: str) -> None:
    url = pubsub.url(name, ack_deadline=10)
    dead = topic(url, StoredLetter)
    await failed(dead, 30)
    process = subprocess.Popen([sys.executable, "-c", HOLDING, url], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await anyio.to_thread.run_sync(process.stdout.readline) == b"holds\n"
        assert len(await seen(dead)) < 30
    finally:
        process.send_signal(signal.SIGKILL)
        await anyio.to_thread.run_sync(process.communicate)
    deadline = time.monotonic() + 40
    while await seen(dead) != list(range(30)):
        assert time.monotonic() < deadline


async def test_other_groups_get_them_too(pubsub: PubSubEmulator, name: str) -> None:
    dead = topic(pubsub.url(name, groups="alerts"), StoredLetter)
    await failed(dead, 3)
    async with opened(dead.source("alerts")) as source:
        assert len(await take(source, 3, commit=True)) == 3
    assert await seen(dead) == [0, 1, 2]


async def test_what_cant_be_looked_at_is_told(pubsub: PubSubEmulator, name: str, call: Call) -> None:
    with pytest.raises(TopicError, match=r"keeps no dead letters: .*a pipeline that has it as dead_letters="):
        await seen(topic(pubsub.url(name), StoredLetter))
    orders = topic(pubsub.url(f"{name}-orders"), Order)
    kept = orders._keeping()
    await kept.publish(Order(1))
    with pytest.raises(LetterError, match="isn't a topic of dead letters"):
        await seen(topic(pubsub.url(f"{name}-orders"), StoredLetter))


async def test_a_subscription_that_moves_messages_away_is_refused(
    pubsub: PubSubEmulator, name: str, call: Call
) -> None:
    def make() -> None:
        for each in (name, f"{name}-x"):
            call("create_topic", name=f"projects/shop/topics/{each}")
        call(
            "create_subscription",
            name=f"projects/shop/subscriptions/{name}-dead-letters",
            topic=f"projects/shop/topics/{name}",
            enable_message_ordering=True,
            dead_letter_policy={
                "dead_letter_topic": f"projects/shop/topics/{name}-x",
                "max_delivery_attempts": 7,
            },
        )

    await anyio.to_thread.run_sync(make)
    with pytest.raises(TopicError, match="each look counts as a delivery, and after 7 of them"):
        await seen(topic(pubsub.url(name), StoredLetter))


async def test_they_are_retried_until_they_were_tried_so_often(pubsub: PubSubEmulator, name: str) -> None:
    orders = topic(pubsub.url(name, groups="g"), Order)
    came = await retried(orders, topic(pubsub.url(f"{name}-dead"), StoredLetter))
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
