"""What the tests of SQS stand on: a topic of ticks, reading by hand, and SQS without reactor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from aiobotocore.session import AioSession

from reactor import topic
from reactor.connectors.sqs import Sqs
from reactor.topics import Topic
from tests.servers.proxy import Proxy
from tests.servers.sqs import REGION, Ministack

PATIENCE = 50.0


class Tick(msgspec.Struct, frozen=True):
    number: int
    text: str = ""


def ticks(url: str, **options: Any) -> Topic[Tick]:
    return topic(url, Tick, config=Sqs(**{"wait": 1, "timeout": 3.0, **options}))


async def until(ready: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not ready():
            await anyio.sleep(0.02)


@asynccontextmanager
async def opened(source: Any) -> AsyncGenerator[Any, None]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def take(source: Any, count: int) -> list[Any]:
    found: list[Any] = []
    with anyio.fail_after(PATIENCE):
        while len(found) < count:
            found += await source.read(count - len(found))
    return found


async def nothing_comes(source: Any, seconds: float = 0.5) -> None:
    with anyio.move_on_after(seconds):
        while not (found := await source.read(100)):
            pass
        raise AssertionError(f"it shouldn't have come: {found}")


def numbers(records: list[Any]) -> list[int]:
    return [record.value.number for record in records]


class Bare:
    """SQS without reactor."""

    def __init__(self, client: Any, address: str) -> None:
        self.client = client
        self.address = address

    async def send(self, body: str, **attributes: str) -> None:
        told = {
            name.replace("_", "-"): {"DataType": "String", "StringValue": value}
            for name, value in attributes.items()
        }
        await self.client.send_message(QueueUrl=self.address, MessageBody=body, MessageAttributes=told)

    async def receive(self, visibility: int = 30) -> list[Any]:
        said = await self.client.receive_message(
            QueueUrl=self.address,
            MaxNumberOfMessages=10,
            VisibilityTimeout=visibility,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return list(said.get("Messages", ()))

    async def show(self, handle: str) -> None:
        await self.client.change_message_visibility(
            QueueUrl=self.address, ReceiptHandle=handle, VisibilityTimeout=0
        )

    async def left(self) -> tuple[int, int]:
        """How many are visible, and in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        said = await self.client.get_queue_attributes(QueueUrl=self.address, AttributeNames=names)
        return int(said["Attributes"][names[0]]), int(said["Attributes"][names[1]])


@asynccontextmanager
async def bare(server: Ministack, name: str) -> AsyncGenerator[Bare, None]:
    session = AioSession()
    async with session.create_client("sqs", region_name=REGION, endpoint_url=server.endpoint) as client:
        said = await client.get_queue_url(QueueName=name)
        yield Bare(client, said["QueueUrl"])


@asynccontextmanager
async def through(server: Ministack) -> AsyncGenerator[Proxy, None]:
    proxy = await anyio.to_thread.run_sync(Proxy, server.port)
    try:
        yield proxy
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(proxy.close)
