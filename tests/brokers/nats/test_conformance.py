"""The conformance suite, at a real NATS server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import pytest

from reactor import topic
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.brokers.leases import lease
from tests.servers.nats import NatsServer


@pytest.mark.anyio
@pytest.mark.timeout(240)
class TestNats(BrokerSuite):
    client = "nats"
    restartable = True
    pausable = True
    patience = 60.0
    many = 2_000  # each one is on the disk before it is confirmed

    @pytest.fixture(autouse=True)
    def up(self, suite_nats_server: NatsServer, request: pytest.FixtureRequest) -> Iterator[None]:
        self.server = suite_nats_server
        self.lease = lease(request, 10)
        yield
        if not self.server.running:
            self.server.start()

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return topic(self.server.url(name, f"prefetch=500&ack_wait={self.lease}"), *types)

    async def restart(self) -> None:
        await anyio.to_thread.run_sync(self.server.kill)
        await anyio.to_thread.run_sync(self.server.start)

    async def pause(self) -> None:
        self.server.pause()

    async def go_on(self) -> None:
        self.server.go_on()
