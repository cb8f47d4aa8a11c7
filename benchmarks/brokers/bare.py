"""The bare client libraries, used in batches by hand, with the settings that the connectors have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from . import clouds
from .events import BATCH, DECODERS, Sale, encode, headers

Produce = Callable[[str, str, Sequence[Sale]], Awaitable[None]]
Take = Callable[[Sale], bool]
"""Is given each event, and says whether to go on."""
Consume = Callable[[str, str, str, Take], Coroutine[Any, Any, None]]
Send = Callable[[Sale], Awaitable[None]]


def _batches(sales: Sequence[Sale]) -> list[Sequence[Sale]]:
    return [sales[at : at + BATCH] for at in range(0, len(sales), BATCH)]


# Redis Streams --------------------------------------------------------------------------------------------------


def _redis(url: str) -> Any:
    from redis.asyncio import Redis

    parts = urlsplit(url)
    return Redis(host=parts.hostname or "", port=parts.port or 0, password=unquote(parts.password or ""))


async def redis_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    client = _redis(url)
    try:
        for batch in _batches(sales):
            pipe = client.pipeline(transaction=True)
            for sale in batch:
                pipe.xadd(name, {**headers("ce-"), "data": encode(sale)})
            await pipe.execute()
    finally:
        await client.aclose()


async def redis_consume(url: str, name: str, group: str, take: Take) -> None:
    client = _redis(url)
    going = True
    try:
        await client.xgroup_create(name, group, id="0", mkstream=True)
        while going:
            for _, entries in await client.xreadgroup(group, "me", {name: ">"}, count=BATCH, block=5000):
                for _, fields in entries:
                    going = take(DECODERS[fields[b"ce-type"]](fields[b"data"]))
                await client.xack(name, group, *(id for id, _ in entries))
    finally:
        await client.aclose()


# NATS JetStream -------------------------------------------------------------------------------------------------


async def _nats(url: str) -> Any:
    import nats

    parts = urlsplit(url)
    servers = f"nats://{parts.hostname}:{parts.port}"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return await nats.connect(servers, user=user, password=password, allow_reconnect=False)


async def nats_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    client = await _nats(url)
    try:
        stream = client.jetstream()
        for batch in _batches(sales):
            acks = [await stream.publish_async(name, encode(sale), headers=headers("ce-")) for sale in batch]
            await asyncio.gather(*acks)
    finally:
        await client.close()


async def nats_consume(url: str, name: str, group: str, take: Take) -> None:
    client = await _nats(url)
    going = True
    try:
        reader = await client.jetstream().pull_subscribe(name, group)
        while going:
            for message in await reader.fetch(BATCH, timeout=1):
                going = take(DECODERS[message.headers["ce-type"]](message.data))
                await message.ack()
        await client.flush()
    finally:
        await client.close()


# RabbitMQ -------------------------------------------------------------------------------------------------------


async def rabbitmq_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    import aio_pika

    connection = await aio_pika.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.get_exchange(name, ensure=False)
        for batch in _batches(sales):
            await asyncio.gather(
                *(
                    exchange.publish(
                        aio_pika.Message(
                            encode(sale),
                            headers=dict(headers("cloudEvents:")),
                            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        ),
                        routing_key="",
                    )
                    for sale in batch
                )
            )
    finally:
        await connection.close()


async def rabbitmq_consume(url: str, name: str, group: str, take: Take) -> None:
    import aio_pika

    connection = await aio_pika.connect(url)
    going = True
    try:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=BATCH)
        queue = await channel.get_queue(f"{name}.{group}", ensure=False)
        async with queue.iterator() as messages:
            at = 0
            async for message in messages:
                at += 1
                going = take(DECODERS[message.headers["cloudEvents:type"]](message.body))
                if at % 256 == 0 or not going:
                    await message.ack(multiple=True)
                if not going:
                    break
    finally:
        await connection.close()


# Kafka ----------------------------------------------------------------------------------------------------------


async def kafka_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    await asyncio.to_thread(_kafka_produce, urlsplit(url).netloc, name, sales)


def _kafka_produce(servers: str, name: str, sales: Sequence[Sale]) -> None:
    from confluent_kafka import Producer

    failed: list[Any] = []

    def told(error: Any, message: Any) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})
    for batch in _batches(sales):
        for sale in batch:
            producer.produce(name, encode(sale), headers=headers("ce_"), on_delivery=told)
        producer.poll(0)
    producer.flush()
    assert not failed


async def kafka_consume(url: str, name: str, group: str, take: Take) -> None:
    return await asyncio.to_thread(_kafka_consume, urlsplit(url).netloc, name, group, take)


def _kafka_consume(servers: str, name: str, group: str, take: Take) -> None:
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    going = True
    try:
        consumer.subscribe([name])
        while going:
            first = consumer.poll(1)  # consume(BATCH, 1) would wait until there are so many
            messages = [first, *consumer.consume(BATCH - 1, 0)] if first is not None else []
            for message in messages:
                going = take(DECODERS[dict(message.headers())["ce_type"]](message.value()))
            if messages:
                consumer.commit(asynchronous=True)
    finally:
        consumer.close()


# One at a time, confirmed ----------------------------------------------------------------------------------------


@asynccontextmanager
async def redis_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    client = _redis(url)

    async def send(sale: Sale) -> None:
        await client.xadd(name, {**headers("ce-"), "data": encode(sale)})

    try:
        yield send
    finally:
        await client.aclose()


@asynccontextmanager
async def nats_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    client = await _nats(url)
    stream = client.jetstream()

    async def send(sale: Sale) -> None:
        await stream.publish(name, encode(sale), headers=headers("ce-"))

    try:
        yield send
    finally:
        await client.close()


@asynccontextmanager
async def rabbitmq_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    import aio_pika

    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.get_exchange(name, ensure=False)
    mode = aio_pika.DeliveryMode.PERSISTENT

    async def send(sale: Sale) -> None:
        told = dict(headers("cloudEvents:"))
        await exchange.publish(aio_pika.Message(encode(sale), headers=told, delivery_mode=mode), "")

    try:
        yield send
    finally:
        await connection.close()


@asynccontextmanager
async def kafka_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    from confluent_kafka import Producer

    settings = {"bootstrap.servers": urlsplit(url).netloc, "enable.idempotence": True, "linger.ms": 5}
    producer = Producer(settings)

    def sent(sale: Sale) -> None:
        producer.produce(name, encode(sale), headers=headers("ce_"))
        producer.flush()

    async def send(sale: Sale) -> None:
        await asyncio.to_thread(sent, sale)

    yield send
    await asyncio.to_thread(producer.flush)


PRODUCE: dict[str, Produce] = {
    "redis": redis_produce,
    "nats": nats_produce,
    "rabbitmq": rabbitmq_produce,
    "kafka": kafka_produce,
    "sqs": clouds.sqs_produce,
    "pubsub": clouds.pubsub_produce,
}
CONSUME: dict[str, Consume] = {
    "redis": redis_consume,
    "nats": nats_consume,
    "rabbitmq": rabbitmq_consume,
    "kafka": kafka_consume,
    "sqs": clouds.sqs_consume,
    "pubsub": clouds.pubsub_consume,
}
SENDER: dict[str, Callable[[str, str], AbstractAsyncContextManager[Send]]] = {
    "redis": redis_sender,
    "nats": nats_sender,
    "rabbitmq": rabbitmq_sender,
    "kafka": kafka_sender,
    "sqs": clouds.sqs_sender,
    "pubsub": clouds.pubsub_sender,
}
