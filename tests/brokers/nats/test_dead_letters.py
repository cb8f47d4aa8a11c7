"""Dead letters in a log of NATS, which are retried by themselves."""

from __future__ import annotations

import pytest

from reactor import StoredLetter, topic
from tests.brokers.letters import Order, retried
from tests.servers.nats import NatsServer

pytestmark = pytest.mark.anyio


async def test_they_are_retried_until_they_were_tried_so_often(nats_server: NatsServer, name: str) -> None:
    dead = topic(nats_server.url(f"{name}-dead"), StoredLetter)
    came = await retried(topic(nats_server.url(name), Order), dead)
    assert came == {0: 1, 1: 1, 2: 1, 3: 3, 4: 3}
