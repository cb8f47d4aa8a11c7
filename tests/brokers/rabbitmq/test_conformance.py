"""What every connector has to do, at RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import pytest

import reactor.connectors.rabbitmq  # noqa: F401 - the client reads a file when it is imported: not on the loop
from reactor import topic
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.servers.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Its client is for asyncio."""
    return "asyncio"


class Suite(BrokerSuite):
    client = "aiormq"
    server: RabbitMQ
    options: dict[str, object] = {}

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return topic(self.server.at(name, **self.options), *types)


@pytest.mark.anyio
@pytest.mark.timeout(120)
class TestRabbitMQ(Suite):
    restartable = True
    pausable = True

    @pytest.fixture(autouse=True)
    def up(self, own_rabbitmq: RabbitMQ) -> Iterator[None]:
        self.server = own_rabbitmq
        yield
        if not own_rabbitmq.running:
            own_rabbitmq.start()

    async def restart(self) -> None:
        await anyio.to_thread.run_sync(self.server.kill)
        await anyio.to_thread.run_sync(self.server.start)

    async def pause(self) -> None:
        self.server.pause()

    async def go_on(self) -> None:
        self.server.go_on()


@pytest.mark.anyio
class TestClassicQueues(Suite):
    options = {"queue": "classic"}

    @pytest.fixture(autouse=True)
    def up(self, rabbitmq: RabbitMQ) -> None:
        self.server = rabbitmq


@pytest.mark.anyio
@pytest.mark.timeout(120)
class TestStreams(TestRabbitMQ):
    """Logs: groups get what was there before them, can begin at a time, and have one reader."""

    options = {"queue": "stream"}
    exact = 1.1  # times of AMQP are seconds
