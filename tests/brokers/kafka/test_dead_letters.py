"""Dead letters in a log of Kafka, which are retried by themselves."""

from __future__ import annotations

import anyio.to_thread
import pytest

from reactor import StoredLetter, topic
from tests.brokers.letters import Order, retried
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


async def test_they_are_retried_until_they_were_tried_so_often(kafka: Kafka) -> None:
    orders = topic(kafka.url(await anyio.to_thread.run_sync(kafka.topic)), Order)
    dead = topic(kafka.url(await anyio.to_thread.run_sync(kafka.topic)), StoredLetter)
    came = await retried(orders, dead)
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
