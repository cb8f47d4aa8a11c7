"""What every broker has to do, done by Pub/Sub."""

from typing import Any

import pytest

from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic, topic
from tests.servers.pubsub import PubSubEmulator


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
class TestPubSub(BrokerSuite):
    client = "google.pubsub_v1"
    pausable = True
    # Not restartable: the emulator keeps nothing. See test_restarts.py.

    @pytest.fixture(autouse=True)
    def _with(self, own_pubsub: PubSubEmulator) -> None:
        self.server = own_pubsub

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return topic(self.server.url(name, ack_deadline=10, prefetch=1000), *types)

    def nowhere(self, name: str) -> str:
        return f"pubsub://shop/{name}?emulator=127.0.0.1:1&patience=1"

    async def pause(self) -> None:
        self.server.pause()

    async def go_on(self) -> None:
        self.server.go_on()
