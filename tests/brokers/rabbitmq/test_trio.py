"""Its client is for asyncio."""

from __future__ import annotations

import anyio
import pytest

from reactor import topic
from reactor.core import TopicError
from tests.servers.rabbitmq import RabbitMQ


def test_on_trio_it_says_that_it_needs_asyncio(rabbitmq: RabbitMQ) -> None:
    async def run() -> None:
        with pytest.raises(TopicError, match="needs asyncio"):
            await topic(rabbitmq.topic()).publish(1)

    anyio.run(run, backend="trio")
