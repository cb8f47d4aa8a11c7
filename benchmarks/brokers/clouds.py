"""The bare clients of the clouds' queues, used in batches by hand, with the settings that the connectors have.

Amazon SQS by aiobotocore: batches of ten, eight at once; four receivers. Pub/Sub by Google's own client for
asyncio: requests of a thousand, four at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from .events import DECODERS, Sale, encode, headers

if TYPE_CHECKING:
    from .bare import Send, Take

_JSON = msgspec.json.Encoder()
_HEADERS = msgspec.json.Decoder(dict[str, str])

# Amazon SQS -----------------------------------------------------------------------------------------------------

_TEN, _SENDERS, _RECEIVERS = 10, 8, 4


@asynccontextmanager
async def _sqs(url: str) -> AsyncGenerator[Any, None]:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    parts = urlsplit(url)
    config = AioConfig(max_pool_connections=_SENDERS + 1)
    [endpoint] = parse_qs(parts.query)["endpoint"]
    session = get_session()
    async with session.create_client(
        "sqs", region_name=parts.hostname, endpoint_url=endpoint, config=config
    ) as client:
        yield client


async def _queue(client: Any, name: str) -> str:
    return str((await client.get_queue_url(QueueName=name))["QueueUrl"])


def _entry(sale: Sale, id: int) -> dict[str, Any]:
    told = {"StringValue": _JSON.encode(headers("ce-")).decode(), "DataType": "String"}
    return {
        "Id": str(id),
        "MessageBody": encode(sale).decode(),
        "MessageAttributes": {"reactor-headers": told},
    }


async def sqs_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    async with _sqs(url) as client:
        address = await _queue(client, name)
        batches = iter([sales[at : at + _TEN] for at in range(0, len(sales), _TEN)])

        async def send() -> None:
            for batch in batches:
                entries = [_entry(sale, at) for at, sale in enumerate(batch)]
                said = await client.send_message_batch(QueueUrl=address, Entries=entries)
                assert not said.get("Failed")

        await asyncio.gather(*(send() for _ in range(_SENDERS)))


async def sqs_consume(url: str, name: str, group: str, take: Take) -> None:
    async with _sqs(url) as client:
        address = await _queue(client, name)
        going = True

        async def receive() -> None:
            nonlocal going
            while going:
                said = await client.receive_message(
                    QueueUrl=address,
                    MaxNumberOfMessages=_TEN,
                    WaitTimeSeconds=1,
                    MessageAttributeNames=["All"],
                )
                found = said.get("Messages", ())
                for message in found:
                    told = _HEADERS.decode(message["MessageAttributes"]["reactor-headers"]["StringValue"])
                    going = take(DECODERS[told["ce-type"]](message["Body"].encode())) and going
                if found:
                    entries = [
                        {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                        for at, message in enumerate(found)
                    ]
                    await client.delete_message_batch(QueueUrl=address, Entries=entries)

        await asyncio.gather(*(receive() for _ in range(_RECEIVERS)))


@asynccontextmanager
async def sqs_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    async with _sqs(url) as client:
        address = await _queue(client, name)

        async def send(sale: Sale) -> None:
            entry = _entry(sale, 0)
            del entry["Id"]
            await client.send_message(QueueUrl=address, **entry)

        yield send


# Google Pub/Sub -------------------------------------------------------------------------------------------------

_THOUSAND, _PARALLEL = 1000, 4


@asynccontextmanager
async def _pubsub(url: str, client: str) -> AsyncGenerator[Any, None]:
    import grpc
    from google.pubsub_v1.services.publisher import PublisherAsyncClient
    from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

    kind: Any = PublisherAsyncClient if client == "publisher" else SubscriberAsyncClient
    [host] = parse_qs(urlsplit(url).query)["emulator"]
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(host, options=options) as channel:
        yield kind(transport=kind.get_transport_class("grpc_asyncio")(channel=channel))


def _project(url: str) -> str:
    return f"projects/{urlsplit(url).hostname}"


async def pubsub_produce(url: str, name: str, sales: Sequence[Sale]) -> None:
    from google.pubsub_v1.types import PubsubMessage

    topic = f"{_project(url)}/topics/{name}"
    async with _pubsub(url, "publisher") as client:
        batches = iter([sales[at : at + _THOUSAND] for at in range(0, len(sales), _THOUSAND)])

        async def send() -> None:
            for batch in batches:
                messages = [PubsubMessage(data=encode(sale), attributes=headers("ce-")) for sale in batch]
                await client.publish(topic=topic, messages=messages)

        await asyncio.gather(*(send() for _ in range(_PARALLEL)))


async def pubsub_consume(url: str, name: str, group: str, take: Take) -> None:
    subscription = f"{_project(url)}/subscriptions/{name}-{group}"
    going = True
    async with _pubsub(url, "subscriber") as client:
        while going:
            said = await client.pull(subscription=subscription, max_messages=_THOUSAND)
            for each in said.received_messages:
                message = each.message
                going = take(DECODERS[message.attributes["ce-type"]](message.data)) and going
            if said.received_messages:
                ids = [each.ack_id for each in said.received_messages]
                await client.acknowledge(subscription=subscription, ack_ids=ids)


@asynccontextmanager
async def pubsub_sender(url: str, name: str) -> AsyncGenerator[Send, None]:
    from google.pubsub_v1.types import PubsubMessage

    topic = f"{_project(url)}/topics/{name}"
    async with _pubsub(url, "publisher") as client:

        async def send(sale: Sale) -> None:
            message = PubsubMessage(data=encode(sale), attributes=headers("ce-"))
            await client.publish(topic=topic, messages=[message])

        yield send
