"""Dead letters in queues of SQS: looked at, and left where they are."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time

import anyio.to_thread
import pytest

from reactor import (
    DeadLetters,
    LetterError,
    Pipeline,
    StoredLetter,
    TopicError,
    UnknownLetter,
    dead_letters,
    topic,
)
from reactor.connectors.sqs import looking
from tests.brokers.letters import ROOT, Order, command, failed, refuse, retried, seen, settled
from tests.brokers.sqs.reading import bare, opened, take, until
from tests.servers.sqs import Ministack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

# Looks, and stands still as soon as it holds some.
HOLDING = """
import asyncio, sys, time
from reactor import topic

def still(delivery):
    print("holds", flush=True)
    time.sleep(600)

asyncio.run(topic(sys.argv[1])._log.keeping().look(over=still))
"""


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
async def test_a_look_sees_all_and_leaves_all(ministack: Ministack, fifo: bool) -> None:
    dead = topic(ministack.topic("visibility=600", fifo=fifo), StoredLetter)
    await failed(dead, 45)
    for _ in range(2):
        assert await seen(dead) == list(range(45))
    async with bare(ministack, dead.name) as queue:
        assert await queue.left() == (45, 0)


async def test_the_commands_do_what_they_do_at_a_log(ministack: Ministack) -> None:
    orders = topic(ministack.topic(), Order)
    name = f"{orders.name}-dead"
    url = ministack.topic(name=name)
    dead = topic(url, StoredLetter)
    await orders.publish([Order(n) for n in range(3)])
    came: list[Order] = []
    refused = orders.subscribe("g").tap(came.append).map(refuse, name="refuse", on_error=DeadLetters())
    async with Pipeline("shop", refused.discard(), dead_letters=dead, interval=0.05).start():
        await until(lambda: len(came) == 3)
    listed = (await command("list", url, "--json")).objects
    assert sorted(letter["event"]["number"] for letter in listed) == [0, 1, 2]
    one, two, three = (
        letter["id"] for letter in sorted(listed, key=lambda letter: letter["event"]["number"])
    )
    assert "order 0 is refused" in (await command("show", url, one[:8])).out
    assert (await command("edit", url, one[:8], "--event", '{"number": 10}')).code == 0
    done = await command("replay", url, one[:8], two[:8])
    assert (done.code, done.err) == (0, ""), done.err
    assert (await command("discard", url, three, "--reason", "a test")).code == 0
    states = {letter["id"]: letter["state"] for letter in (await command("list", url, "--json")).objects}
    assert states == {one: "replayed", two: "replayed", three: "discarded"}
    async with opened(orders.source("g")) as source:
        records = await take(source, 2)
        assert sorted(record.value.number for record in records) == [1, 10]
        assert {record.headers["reactor-attempt"] for record in records} == {"1"}
    assert (await command("clear", url)).out == "3 dead letters taken out of the queue\n"
    async with bare(ministack, dead.name) as queue:
        assert await queue.left() == (0, 0)


async def test_clear_takes_out_what_is_over_and_nothing_else(ministack: Ministack) -> None:
    dead = topic(ministack.topic(), StoredLetter)
    await failed(dead, 25)
    await settled(dead, range(0, 25, 2))
    assert await seen(dead) == list(range(25))
    assert await seen(dead, "open") == list(range(1, 25, 2))
    assert await dead_letters(dead).clear() == 13
    async with bare(ministack, dead.name) as queue:
        assert await queue.left() == (12, 0)
    assert await seen(dead) == list(range(1, 25, 2))
    assert await dead_letters(dead).clear() == 0


async def test_a_look_that_is_killed_loses_nothing(ministack: Ministack) -> None:
    url = ministack.topic("visibility=5")
    dead = topic(url, StoredLetter)
    await failed(dead, 30)
    async with bare(ministack, dead.name) as queue:
        process = subprocess.Popen([sys.executable, "-c", HOLDING, url], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == b"holds\n"
            assert await queue.left() == (20, 10)
        finally:
            process.send_signal(signal.SIGKILL)
            await anyio.to_thread.run_sync(process.communicate)
    deadline = time.monotonic() + 60
    while await seen(dead) != list(range(30)):
        assert time.monotonic() < deadline


@pytest.mark.usefixtures("closes_patiently")
async def test_it_says_what_others_have_in_flight(
    ministack: Ministack, caplog: pytest.LogCaptureFixture
) -> None:
    dead = topic(ministack.topic("visibility=600"), StoredLetter)
    await failed(dead, 3)
    async with opened(dead.source("g")) as source:
        await take(source, 3)
        with caplog.at_level(logging.WARNING, "reactor"):
            assert await seen(dead) == []
    assert "about 3 messages are in flight with somebody else" in caplog.text
    assert await seen(dead) == [0, 1, 2]


async def test_a_queue_longer_than_what_may_be_in_flight_is_told_and_can_be_cleared(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = topic(ministack.topic("receivers=1"), StoredLetter)
    await failed(dead, 40)
    await settled(dead, range(30))
    monkeypatch.setattr(looking, "_MOST", 25)
    with pytest.raises(TopicError, match=r"no more than 25 messages.*dead-letters clear.*kafka:"):
        await seen(dead)
    async with bare(ministack, dead.name) as queue:
        assert await queue.left() == (40, 0)
    monkeypatch.setattr(looking, "_MOST", 1000)  # of what was done, more than that
    actions = topic(ministack.topic(name=f"{dead.name}-actions"))
    async with bare(ministack, actions.name) as queue:
        assert await queue.left() == (30, 0)
    assert await dead_letters(dead).clear() == 30
    monkeypatch.setattr(looking, "_MOST", 41)
    assert await seen(dead) == list(range(30, 40))


async def test_a_queue_that_moves_messages_away_is_refused(ministack: Ministack) -> None:
    dead = topic(ministack.topic(), StoredLetter)
    await failed(dead, 2)
    async with bare(ministack, dead.name) as queue:
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:000000000000:{dead.name}-x",
            "maxReceiveCount": "2",
        }
        await queue.client.create_queue(QueueName=f"{dead.name}-x")
        await queue.client.set_queue_attributes(
            QueueUrl=queue.address, Attributes={"RedrivePolicy": json.dumps(policy)}
        )
        with pytest.raises(TopicError, match="each look counts as a receive, and after 2 of them"):
            await seen(dead)
        await queue.client.set_queue_attributes(QueueUrl=queue.address, Attributes={"RedrivePolicy": ""})


async def test_the_queue_of_dead_letters_keeps_them_for_long_and_moves_none(ministack: Ministack) -> None:
    dead = topic(ministack.topic("max_receives=2"), StoredLetter)
    await failed(dead, 1)
    for _ in range(4):
        assert await seen(dead) == [0]
    async with bare(ministack, dead.name) as queue:
        said = await queue.client.get_queue_attributes(QueueUrl=queue.address, AttributeNames=["All"])
        assert said["Attributes"]["MessageRetentionPeriod"] == str(14 * 24 * 3600)


async def test_what_cant_be_looked_at_is_told(ministack: Ministack) -> None:
    with pytest.raises(TopicError, match=r"there is no such queue$"):
        await seen(topic(ministack.topic(), StoredLetter))
    with pytest.raises(TopicError, match="message_group= makes it one group"):
        await seen(topic(ministack.topic("message_group=all", fifo=True), StoredLetter))
    orders = topic(ministack.topic(), Order)
    await orders.publish(Order(1))
    with pytest.raises(LetterError, match="isn't a topic of dead letters"):
        await seen(topic(ministack.topic(name=orders.name), StoredLetter))
    async with bare(ministack, orders.name) as queue:
        assert await queue.left() == (1, 0)
    dead = topic(ministack.topic(), StoredLetter)
    await failed(dead, 1)
    with pytest.raises(UnknownLetter):
        await dead_letters(dead).get("nothing")


async def test_they_are_retried_until_they_were_tried_so_often(ministack: Ministack) -> None:
    orders = topic(ministack.topic(), Order)
    came = await retried(orders, topic(ministack.topic(), StoredLetter))
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
