"""What is refused, and how it is told: limits, subscriptions, addresses, credentials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reactor import topic
from reactor.connectors.brokers import Backoff
from reactor.connectors.pubsub import PubSub
from reactor.connectors.pubsub.service import Answered, Service
from reactor.core import ArgumentError, Refused, TopicError
from tests.brokers.pubsub.ticks import Tick, opened, take
from tests.servers.pubsub import PubSubEmulator

pytestmark = pytest.mark.anyio

Call = Callable[..., Any]


async def test_what_is_too_large_is_refused_before_anything_is_sent(
    pubsub: PubSubEmulator, name: str
) -> None:
    texts = topic(pubsub.url(name, groups="g"), str)
    events = ["small", "x" * 10_000_000, "small", "y" * 9_999_900]
    with pytest.raises(Refused) as caught:
        await texts.publish(events)
    assert set(caught.value.errors) == {1, 3}
    assert "10000000" in str(caught.value.errors[1])
    await texts.publish(["last", "z" * 9_990_000])
    source: Any = texts.source("g")
    async with opened(source):
        records: Any = await take(source, 2)
    assert sorted(len(record.value) for record in records) == [4, 9_990_000]


@pytest.mark.parametrize(
    ("headers", "key", "said"),
    [
        ({"note": "x" * 1025}, None, "'note' has 1025 bytes"),
        ({"note": "ä" * 513}, None, "'note' has 1026 bytes"),
        ({f"h{n}": "" for n in range(100)}, None, "are too many"),
        ({"x" * 257: ""}, None, "can't be a name"),
        ({"": "x"}, None, "can't be a name"),
        ({"googclient": "x"}, None, "can't be a name"),
        ({}, "k" * 1025, "a key of 1025 bytes"),
        ({"ce-id": "1"}, None, "belongs to CloudEvents"),
    ],
)
async def test_what_pubsub_would_refuse_is_refused_by_index(
    pubsub: PubSubEmulator, name: str, headers: dict[str, str], key: str | None, said: str
) -> None:
    ticks = topic(pubsub.url(name), Tick)
    with pytest.raises(Refused) as caught:
        await ticks.publish(
            [Tick(1), Tick(2)],
            headers=lambda one: headers if one.number == 2 else None,
            key=lambda one: key if one.number == 2 else None,
        )
    assert set(caught.value.errors) == {1}
    assert said in str(caught.value.errors[1])


async def test_a_subscription_of_another_topic_is_refused(pubsub: PubSubEmulator, name: str) -> None:
    one, two = topic(pubsub.url(name), Tick), topic(pubsub.url(f"{name}-a"), Tick)
    async with opened(one.source("a-b")):
        pass
    with pytest.raises(TopicError, match=f"is of another topic, projects/shop/topics/{name}; rename"):
        async with opened(two.source("b")):
            pass


async def test_subscriptions_that_work_otherwise_are_refused(
    pubsub: PubSubEmulator, name: str, call: Call
) -> None:
    ticks = topic(pubsub.url(name), Tick)
    await ticks.publish(Tick(1))

    def make(group: str, **options: Any) -> None:
        path = f"projects/shop/subscriptions/{name}-{group}"
        call("create_subscription", name=path, topic=f"projects/shop/topics/{name}", **options)

    for group, options, said in [
        ("once", {"enable_message_ordering": True, "enable_exactly_once_delivery": True}, "exactly-once"),
        ("push", {"push_config": {"push_endpoint": "http://127.0.0.1:9/x"}}, "pushes to a URL"),
    ]:
        await anyio.to_thread.run_sync(lambda group=group, options=options: make(group, **options))
        with pytest.raises(TopicError, match=said):
            async with opened(ticks.source(group)):
                pass


async def test_nothing_is_made_with_create_false(pubsub: PubSubEmulator, name: str) -> None:
    ticks = topic(pubsub.url(name, create="false"), Tick)
    with pytest.raises(TopicError, match=f"there is no projects/shop/topics/{name}.*create=true"):
        await ticks.publish(Tick(1))
    with pytest.raises(TopicError, match=f"there is no projects/shop/topics/{name}"):
        async with opened(ticks.source("g")):
            pass
    await topic(pubsub.url(name), Tick).publish(Tick(1))
    with pytest.raises(TopicError, match=f"there is no projects/shop/subscriptions/{name}-g"):
        async with opened(ticks.source("g")):
            pass


async def test_an_emulator_that_isnt_there_is_told(name: str) -> None:
    ticks = topic(f"pubsub://shop/{name}?emulator=127.0.0.1:1&patience=0.5", Tick)
    for end in (ticks.source("g"), ticks.sink()):
        with pytest.raises(TopicError, match=f"{name}.*gone for.*UNAVAILABLE"), anyio.fail_after(5):
            try:
                await end.open()
            finally:
                await end.close()


@pytest.mark.parametrize(
    ("code", "details", "said"),
    [
        ("PERMISSION_DENIED", "no", "check the credentials"),
        ("UNAUTHENTICATED", "no", "check the credentials"),
        ("UNAVAILABLE", "Getting metadata from plugin failed with error: x", "check the credentials"),
        ("NOT_FOUND", "Requested project not found", "there is no projects/shop/topics/orders"),
        ("INVALID_ARGUMENT", "no", "projects/shop/topics/orders: INVALID_ARGUMENT: no"),
    ],
)
async def test_an_answer_that_stays_the_same_is_told_at_once(code: str, details: str, said: str) -> None:
    service = Service("topic x", PubSub())

    async def call() -> None:
        raise Answered(code, details)

    with pytest.raises(TopicError, match=said):
        await service.insist(call, "projects/shop/topics/orders", Backoff("topic x", patience=60))


async def test_without_credentials_it_says_so_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    ticks = topic(f"pubsub://shop/{name}", Tick)
    with pytest.raises(TopicError, match=r"no credentials for Google Cloud.*GOOGLE_APPLICATION_CREDENTIALS"):
        with anyio.fail_after(10):
            await ticks.publish(Tick(1))


async def test_a_service_that_isnt_there_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    account = {
        "type": "service_account",
        "client_email": "shop@shop.example",
        "token_uri": "http://127.0.0.1:1/token",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }
    path = tmp_path / "key.json"
    path.write_bytes(msgspec.json.encode(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    ticks = topic(f"pubsub://shop/{name}?endpoint=127.0.0.1:1&patience=0.5", Tick)
    with pytest.raises(TopicError, match=f"{name}.*gone for.*UNAVAILABLE"), anyio.fail_after(10):
        await ticks.publish(Tick(1))


async def test_the_emulator_may_stand_in_the_environment(
    pubsub: PubSubEmulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
    ticks = topic(f"pubsub://shop/{name}?groups=g", Tick, config=PubSub(prefetch=5))
    await ticks.publish([Tick(n) for n in range(8)])
    async with opened(ticks.source("g")) as source:
        assert len(await take(source, 5)) == 5
        with anyio.move_on_after(0.2) as waiting:
            await source.read(1)
        assert waiting.cancelled_caught


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pubsub://shop/ab", "'ab' can't be the name of a topic: 3 to 255"),
        ("pubsub://shop/1abc", "can't be the name"),
        ("pubsub://shop/google", "can't be the name"),
        ("pubsub://shop/a b c", "can't be the name"),
        ("pubsub://shop", "the topic is missing"),
        ("pubsub://me:hush@shop/orders", "credentials are found"),
        ("pubsub://a,b/orders", "write pubsub://PROJECT/TOPIC"),
        ("pubsub://shop/orders?ack_deadline=5", "must be 10 to 600"),
        ("pubsub://shop/orders?prefetch=0", "must be 1 to"),
        ("pubsub://shop/orders?max_delivery_attempts=4", "must be 5 to 100"),
        ("pubsub://shop/orders?emulator=here", "write HOST:PORT"),
        ("pubsub://shop/orders?dead_letter=x", "can't be the name"),
        ("pubsub://shop/orders?color=red", "known: prefetch, ack_deadline"),
    ],
)
async def test_what_cant_be_is_refused_at_once(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as caught:
        topic(url, Tick)
    assert "hush" not in str(caught.value)
