"""Kafka does what every connector has to do."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reactor import topic
from reactor.connectors.kafka import Kafka as Options
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.mark.timeout(240)
class TestKafka(BrokerSuite):
    client = "confluent_kafka"
    restartable = True
    pausable = True
    patience = 30.0

    @pytest.fixture(autouse=True)
    def _server(self, own_kafka: Kafka) -> None:
        self.server = own_kafka

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        options = Options(partitions=4, session_timeout=6.0)
        return topic(f"kafka://{self.server.servers}/{name}", *types, config=options)

    async def restart(self) -> None:
        await anyio.to_thread.run_sync(self.server.kill)
        await anyio.to_thread.run_sync(self.server.start)

    async def pause(self) -> None:
        self.server.pause()

    async def go_on(self) -> None:
        self.server.go_on()
