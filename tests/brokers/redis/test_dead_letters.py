"""Dead letters in a log of Redis, which are retried by themselves."""

from __future__ import annotations

import pytest

from reactor import StoredLetter, topic
from tests.brokers.letters import Order, retried
from tests.servers.redis import Redis

pytestmark = pytest.mark.anyio


async def test_they_are_retried_until_they_were_tried_so_often(redis_server: Redis) -> None:
    came = await retried(topic(redis_server.topic(), Order), topic(redis_server.topic(), StoredLetter))
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
