"""The conformance suite, at a real Redis."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest

from reactor import topic
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.brokers.leases import lease
from tests.servers.redis import Redis


@pytest.mark.anyio
@pytest.mark.timeout(240)
class TestRedis(BrokerSuite):
    client = "redis"
    restartable = True
    pausable = True
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _server(self, own_redis: Redis, request: pytest.FixtureRequest) -> None:
        self._redis = own_redis
        self.lease = lease(request, 10)

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return topic(self._redis.topic(f"claim_idle={self.lease}&timeout=3", name=name), *types)

    async def restart(self) -> None:
        await anyio.to_thread.run_sync(self._redis.kill)
        await anyio.to_thread.run_sync(self._redis.start)

    async def pause(self) -> None:
        self._redis.pause()

    async def go_on(self) -> None:
        self._redis.go_on()
