"""Topics of Kafka on a real broker: what goes over the wire, where reading begins, what is told of errors."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
import msgspec
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from reactor import Pipeline, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import ArgumentError, Record, Refused, Source, TopicError
from tests.brokers.waiting import misses_nothing
from tests.servers.kafka import PASSWORD, Kafka

pytestmark = pytest.mark.anyio


class Tick(msgspec.Struct, frozen=True):
    number: int
    text: str = ""


def ticks(*numbers: int) -> list[Tick]:
    return [Tick(number) for number in numbers]


def numbers(records: Sequence[Record[Tick]]) -> list[int]:
    return [record.value.number for record in records]


@asynccontextmanager
async def opened(source: Source[Any]) -> AsyncIterator[Source[Any]]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def take(source: Source[Any], count: int) -> list[Record[Any]]:
    found: list[Record[Any]] = []
    with anyio.fail_after(20):
        while len(found) < count:
            found += await source.read(count - len(found)) or ()
    return found


async def nothing(source: Source[Any], seconds: float = 0.5) -> None:
    with anyio.move_on_after(seconds):
        while True:
            records = await source.read(10)
            assert records == []  # all that came was passed over


async def made(kafka: Kafka, partitions: int = 1, **settings: str) -> str:
    return await anyio.to_thread.run_sync(partial(kafka.topic, partitions, **settings))


def raw(kafka: Kafka, name: str, count: int) -> list[Message]:
    """Return the messages of a topic as the bare client has them."""
    settings = {"bootstrap.servers": kafka.servers, "group.id": "raw", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(name, 0, 0)])
    found: list[Message] = []
    while len(found) < count:
        found += consumer.consume(count - len(found), 0.1)
    consumer.close()
    return found


def produce(kafka: Kafka, name: str, send: Callable[[Producer], object], **settings: Any) -> None:
    """Let a bare producer send. Without idempotence, a batch that is sent again would stand behind later ones."""
    producer = Producer({"bootstrap.servers": kafka.servers, "enable.idempotence": True, **settings})
    send(producer)
    assert producer.flush(20) == 0


# On the wire ------------------------------------------------------------------------------------------------


async def test_others_see_an_event_of_cloudevents(kafka: Kafka) -> None:
    name = await made(kafka, retention_ms="-1")
    when = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    await topic(kafka.url(name), Tick).publish(
        Tick(7, "ä"), key="kéy", headers={"shop": "Köln"}, time=when, id="one"
    )
    [message] = await anyio.to_thread.run_sync(raw, kafka, name, 1)
    assert message.value() == '{"number":7,"text":"ä"}'.encode()
    assert message.key() == "kéy".encode()
    assert message.timestamp()[1] == 1714979289123
    assert dict(message.headers() or ()) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"one",
        "ce_type": b"Tick",
        "ce_source": name.encode(),
        "ce_time": b"2024-05-06T07:08:09.123456+00:00",
        "shop": "Köln".encode(),
    }


async def test_messages_of_others_are_read(kafka: Kafka) -> None:
    name = await made(kafka, retention_ms="-1")

    def send(producer: Producer) -> None:
        producer.produce(
            name, b'{"number":1}', key=b"\xff", headers=[("a", b"1"), ("b", None)], timestamp=5000
        )
        producer.produce(name, b'{"number":2}', timestamp=6000)
        producer.produce(name, None, key="gone")

    await anyio.to_thread.run_sync(produce, kafka, name, send)
    rejected: list[Record[Any]] = []
    source = topic(kafka.url(name), Tick).source("g")
    source.reject = lambda record, error: rejected.append(record)
    async with opened(source):
        one, two = await take(source, 2)
        await nothing(source)
    assert (one.value, one.key, dict(one.headers), one.time) == (
        Tick(1),
        "\\xff",
        {"a": "1", "b": ""},
        5_000_000,
    )
    assert (two.value, two.key, dict(two.headers), two.time) == (Tick(2), None, {}, 6_000_000)
    assert [record.place for record in (one, two, *rejected)] == ["0@0", "0@1", "0@2"]


async def test_an_event_far_in_the_future_is_taken(kafka: Kafka) -> None:
    name = await made(kafka)
    when = datetime(2300, 1, 1, tzinfo=UTC)
    ticks_ = topic(kafka.url(name), Tick)
    await ticks_.publish(Tick(1), time=when)
    [record] = [record async for record in ticks_.records("earliest")]
    assert record.time == 10413792000_000000
    [message] = await anyio.to_thread.run_sync(raw, kafka, name, 1)
    assert abs(message.timestamp()[1] / 1000 - time.time()) < 60


async def test_an_event_that_is_older_than_the_retention_is_kept(kafka: Kafka) -> None:
    name = await made(kafka)
    kept = topic(kafka.url(name), Tick)
    old = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)

    def send(producer: Producer) -> None:
        producer.produce(name, b'{"number":0}', timestamp=int(old.timestamp() * 1000))

    await anyio.to_thread.run_sync(produce, kafka, name, send)
    with anyio.fail_after(60):  # the broker does delete what is as old
        while [record async for record in kept.records("earliest")]:
            await anyio.sleep(0.1)
    await kept.publish(ticks(1, 2), time=old)
    now = datetime.now(UTC)
    await kept.publish(Tick(3), time=now - timedelta(days=1))
    [first, second, third] = await anyio.to_thread.run_sync(raw, kafka, name, 3)
    for message in (first, second):
        assert abs(message.timestamp()[1] / 1000 - time.time()) < 60
    assert third.timestamp()[1] == int((now - timedelta(days=1)).timestamp() * 1000)
    await anyio.sleep(2)  # it looks every half second
    records = [record async for record in kept.records("earliest")]
    assert numbers(records) == [1, 2, 3]
    assert records[0].time == 1291191960_000000


async def test_a_topic_whose_broker_refuses_some_times(kafka: Kafka) -> None:
    minute = 60_000
    limits = {"before_max": str(10 * minute), "after_max": str(5 * minute)}
    name = await made(kafka, **{f"message_timestamp_{key}_ms": value for key, value in limits.items()})
    ticks_ = topic(kafka.url(name), Tick)
    now = datetime.now(UTC)
    for number, minutes in enumerate((-30, -8, 3, 30)):
        await ticks_.publish(Tick(number), time=now + timedelta(minutes=minutes))
    records = [record async for record in ticks_.records("earliest")]
    base = int(now.timestamp()) * 1_000_000 + now.microsecond
    assert [record.time - base for record in records] == [m * 60_000_000 for m in (-30, -8, 3, 30)]
    messages = await anyio.to_thread.run_sync(raw, kafka, name, 4)
    stamped = [round((message.timestamp()[1] * 1000 - base) / 60_000_000) for message in messages]
    assert stamped == [0, -8, 3, 0]


async def test_what_a_transaction_has_given_up_is_never_seen(kafka: Kafka) -> None:
    name = await made(kafka)

    def send() -> None:
        producer = Producer({"bootstrap.servers": kafka.servers, "transactional.id": name})
        producer.init_transactions(20)
        for number, end in ((1, "abort"), (2, "commit"), (3, "abort")):
            producer.begin_transaction()
            producer.produce(name, b'{"number":%d}' % number)
            producer.flush(20)
            getattr(producer, f"{end}_transaction")(20)

    await anyio.to_thread.run_sync(send)
    await anyio.to_thread.run_sync(kafka.decided, name)
    ticks_ = topic(kafka.url(name), Tick)
    assert numbers([record async for record in ticks_.records("earliest")]) == [2]
    dirty = topic(kafka.url(name) + "?isolation=read_uncommitted", Tick)
    assert numbers([record async for record in dirty.records("earliest")]) == [1, 2, 3]


# Where reading begins ---------------------------------------------------------------------------------------


async def test_a_group_begins_at_an_events_time(kafka: Kafka) -> None:
    ticks_ = topic(kafka.url(await made(kafka, 3, retention_ms="-1")), Tick)
    base = 1_700_000_000_000_000
    await ticks_.publish(
        ticks(*range(30)), time=lambda tick: base + tick.number * 1_000_000, key=lambda tick: str(tick.number)
    )
    start = datetime.fromtimestamp(base / 1e6 + 20, UTC)
    assert sorted(numbers([record async for record in ticks_.records(start)])) == list(range(20, 30))
    async with opened(ticks_.source("g", start=start)) as source:
        assert sorted(numbers(await take(source, 10))) == list(range(20, 30))
        await source.commit(4)
    async with opened(ticks_.source("g", start="earliest")) as source:  # the group is known
        assert len(await take(source, 6)) == 6
        await nothing(source)
    late = datetime.fromtimestamp(base / 1e6 + 1000, UTC)
    assert [record async for record in ticks_.records(late)] == []


async def test_who_waits_at_the_end_without_a_group_misses_nothing(kafka: Kafka) -> None:
    await misses_nothing(topic(kafka.url(await made(kafka)), Tick), *ticks(1, 2, 3))


@pytest.mark.parametrize("group", ["g", None])
async def test_new_partitions_are_picked_up_from_their_beginning(kafka: Kafka, group: str | None) -> None:
    name = await made(kafka, 1)
    ticks_ = topic(kafka.url(name) + "?discover=0.3", Tick)
    await ticks_.publish(Tick(0))
    async with opened(ticks_.source(group, start="latest")) as source:
        await nothing(source)
        await anyio.to_thread.run_sync(kafka.grow, name, 4)
        # Until a producer knows of it, too.
        await ticks_.publish(ticks(*range(1, 101)), key=lambda tick: str(tick.number))
        records = await take(source, 100)
        assert sorted(numbers(records)) == list(range(1, 101))
        assert {(record.place or "").partition("@")[0] for record in records} == {"0", "1", "2", "3"}


@pytest.mark.parametrize("gap", ["fail", "earliest"])
async def test_messages_that_are_gone_before_they_were_read(kafka: Kafka, gap: str) -> None:
    name = await made(kafka)
    ticks_ = topic(kafka.url(name) + f"?gap={gap}", Tick)
    await ticks_.publish(ticks(*range(10)))
    async with opened(ticks_.source("g")) as source:
        await take(source, 10)
        await source.commit(3)
    place = TopicPartition(name, 0, 6)
    await anyio.to_thread.run_sync(lambda: kafka.client.delete_records([place])[place].result(20))
    async with opened(ticks_.source("g")) as source:
        if gap == "earliest":
            assert numbers(await take(source, 4)) == [6, 7, 8, 9]
            return
        with (
            anyio.fail_after(20),
            pytest.raises(TopicError, match=f"{name}.*partition 0 .* from 3 on.*gap=earliest"),
        ):
            await source.read(10)


async def test_a_beginning_that_moves_before_anything_is_read(kafka: Kafka) -> None:
    name = await made(kafka)
    ticks_ = topic(kafka.url(name), Tick)
    await ticks_.publish(ticks(*range(10)))

    async def delete(before: int) -> None:
        place = TopicPartition(name, 0, before)
        await anyio.to_thread.run_sync(lambda: kafka.client.delete_records([place])[place].result(20))

    async with opened(ticks_.source("g", start="earliest")) as source:
        await delete(4)  # the group was to have what is there, and still has
        assert numbers(await take(source, 6)) == [4, 5, 6, 7, 8, 9]
        await source.commit(2)
    async with opened(ticks_.source("g", start="earliest")) as source:
        await delete(8)  # the group has begun: 6 and 7 are lost to it
        with anyio.fail_after(20), pytest.raises(TopicError, match="from 6 on, which isn't there any more"):
            await source.read(10)


async def test_nothing_is_fetched_without_bound(kafka: Kafka) -> None:
    ticks_ = topic(kafka.url(await made(kafka)), Tick, config=Options(prefetch=100))
    async with ticks_:
        for first in range(0, 5000, 1000):
            await ticks_.publish([Tick(number, "x" * 1000) for number in range(first, first + 1000)])
    source: Any = ticks_.source("g")
    async with opened(source):
        assert numbers(await take(source, 1)) == [0]
        await anyio.sleep(1.5)  # longer than it waits before it is paused
        assert source._consumer._reader.shelf.room() > -10
        assert numbers(await take(source, 4999)) == list(range(1, 5000))
        await source.commit(5000)


# Errors -----------------------------------------------------------------------------------------------------


async def refused(url: str, config: Options | None = None) -> tuple[TopicError, float]:
    """Return what a source and a sink raise when they are opened, and how long the longer one took."""
    took = 0.0
    for end in (topic(url, Tick, config=config).source("g"), topic(url, Tick, config=config).sink()):
        since = time.monotonic()
        try:
            with pytest.raises(TopicError) as caught:
                await end.open()
        finally:
            with anyio.CancelScope(shield=True):
                await end.close()
        took = max(took, time.monotonic() - since)
    return caught.value, took


async def test_a_login_that_is_wrong_is_told_at_once(kafka: Kafka) -> None:
    url = f"kafka://shop:wr0ng@127.0.0.1:{kafka.sasl_port}/orders"
    error, took = await refused(url, Options(security_protocol="sasl_plaintext"))
    assert "orders: the broker refuses the login" in str(error)
    assert "wr0ng" not in str(error)
    assert took < 8


async def test_a_login_that_is_right(kafka: Kafka) -> None:
    name = await made(kafka)
    url = f"kafka://shop:{quote(PASSWORD, safe='')}@127.0.0.1:{kafka.sasl_port}/{name}"
    ticks_ = topic(url + "?security_protocol=sasl_plaintext", Tick)
    await ticks_.publish(ticks(1, 2))
    async with opened(ticks_.source("g")) as source:
        assert numbers(await take(source, 2)) == [1, 2]
    assert PASSWORD not in f"{ticks_!r} {Options(sasl_password=PASSWORD)!r}"


async def test_tls(kafka: Kafka) -> None:
    name = await made(kafka)
    options = Options(security_protocol="ssl", ssl_ca_location=str(kafka.certificate))
    ticks_ = topic(f"kafka://localhost:{kafka.tls_port}/{name}", Tick, config=options)
    await ticks_.publish(ticks(1, 2))
    async with opened(ticks_.source("g")) as source:
        assert numbers(await take(source, 2)) == [1, 2]
    error, took = await refused(f"kafka://localhost:{kafka.tls_port}/{name}?security_protocol=ssl")
    assert f"{name}?security_protocol=ssl: no TLS connection can be made" in str(error)
    assert took < 8


async def test_nobody_is_there() -> None:
    error, took = await refused("kafka://127.0.0.1:9/orders?patience=1")
    assert "orders" in str(error)
    assert "no broker was reached within 1 s" in str(error)
    assert took < 6


async def test_a_topic_that_is_missing(kafka: Kafka) -> None:
    name = kafka.unused()
    error, _ = await refused(f"{kafka.url(name)}?create=false")
    assert f"there is no topic {name}" in str(error)
    await topic(f"{kafka.url(name)}?partitions=5", Tick).publish(Tick(1))
    found = await anyio.to_thread.run_sync(lambda: kafka.client.list_topics(name, timeout=20))
    assert len(found.topics[name].partitions) == 5


async def test_the_topics_own_limit_counts(kafka: Kafka) -> None:
    name = await made(kafka, max_message_bytes="5000")
    ticks_ = topic(kafka.url(name), Tick)
    with pytest.raises(Refused) as caught:
        await ticks_.publish([Tick(1), Tick(2, "x" * 5000), Tick(3), Tick(4, "ä" * 2500)])
    assert set(caught.value.errors) == {1, 3}
    assert "it takes 5000" in str(caught.value)
    assert [record async for record in ticks_.records("earliest")] == []
    await ticks_.publish([Tick(5, "x" * 4500)])
    assert numbers([record async for record in ticks_.records("earliest")]) == [5]


async def test_headers_count(kafka: Kafka) -> None:
    ticks_ = topic(kafka.url(await made(kafka, max_message_bytes="5000")), Tick)
    with pytest.raises(Refused):
        await ticks_.publish(Tick(1), headers={"a": "x" * 5000})
    with pytest.raises(Refused):
        await ticks_.publish(Tick(1), headers={"a": "北" * 1800})


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("orders?partitions=0", "partitions=0: must be >= 1"),
        ("orders?acks=2", "acks"),
        ("orders?session_timeout=0", "session_timeout"),
        ("orders?transactions=true&acks=1", "needs acks=all"),
        ("or/ders", "249 of the characters"),
        ("orders?librdkafka=a", "librdkafka"),
    ],
)
async def test_an_option_that_cant_be(rest: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        topic(f"kafka://localhost/{rest}")


async def test_settings_of_librdkafkas_own(kafka: Kafka) -> None:
    name = await made(kafka)
    options = Options(librdkafka={"client.id": "mine", "fetch.max.bytes": 2_000_000})
    source = topic(kafka.url(name), Tick, config=options).source("g")
    with pytest.raises(TopicError, match=r"fetch\.nonsense"):
        wrong = Options(librdkafka={"fetch.nonsense": 1})
        await opened_and_closed(topic(kafka.url(name), Tick, config=wrong).source("g"))
    await opened_and_closed(source)


async def opened_and_closed(source: Source[Any]) -> None:
    async with opened(source):
        pass


async def test_a_pipeline_says_what_is_wrong_with_its_broker() -> None:
    pipeline = Pipeline(
        "none", topic("kafka://127.0.0.1:9/orders?patience=0.5", Tick).subscribe("g").discard()
    )
    with pytest.raises(TopicError, match=r"127\.0\.0\.1:9/orders.*no broker was reached"):
        await pipeline.run()
