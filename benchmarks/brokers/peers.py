"""FastStream: the same handler, called for each event."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from .bare import Take
from .events import BATCH, Sale

SYSTEMS = ("kafka", "rabbitmq", "nats")


async def consume(broker: str, url: str, name: str, group: str, take: Take) -> None:
    """Return once ``take`` doesn't want any more."""
    over = asyncio.Event()

    async def handle(body: dict[str, Any]) -> None:  # it has decoded the JSON already
        if not take(msgspec.convert(body, Sale)):
            over.set()

    made = _MAKE[broker](url, name, group, handle)
    async with made:
        await made.start()
        await over.wait()


def _kafka(url: str, name: str, group: str, handle: Any) -> Any:
    from faststream.confluent import KafkaBroker

    broker = KafkaBroker(urlsplit(url).netloc, logger=None, apply_types=False)
    broker.subscriber(name, group_id=group, auto_offset_reset="earliest")(handle)
    return broker


def _rabbitmq(url: str, name: str, group: str, handle: Any) -> Any:
    from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

    broker = RabbitBroker(url, logger=None, apply_types=False, default_channel=Channel(prefetch_count=BATCH))
    queue = RabbitQueue(f"{name}.{group}", queue_type=QueueType.QUORUM, durable=True, declare=False)
    broker.subscriber(queue)(handle)
    return broker


def _nats(url: str, name: str, group: str, handle: Any) -> Any:
    from faststream.nats import JStream, NatsBroker, PullSub
    from faststream.security import SASLPlaintext

    parts = urlsplit(url)
    servers = f"nats://{parts.hostname}:{parts.port}"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    broker = NatsBroker(servers, security=SASLPlaintext(user, password), logger=None, apply_types=False)
    stream = JStream(name, declare=False)
    broker.subscriber(name, durable=group, stream=stream, pull_sub=PullSub(batch_size=BATCH))(handle)
    return broker


_MAKE = {"kafka": _kafka, "rabbitmq": _rabbitmq, "nats": _nats}
