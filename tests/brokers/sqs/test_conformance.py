"""The conformance suite, at a real server that speaks SQS: over a standard queue, and over a FIFO queue."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest

from reactor import topic
from reactor.connectors.sqs import Sqs
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic
from tests.brokers.leases import lease
from tests.servers.sqs import REGION, Ministack


class OverSqs(BrokerSuite):
    client = "aiobotocore"
    restartable = True
    pausable = True
    patience = 60.0  # the server is slow where the machine is busy
    many = 1_500  # the server looks at every message of a queue for each request
    suffix = ""

    @pytest.fixture(autouse=True)
    def _server(self, own_ministack: Ministack, request: pytest.FixtureRequest) -> None:
        self._ministack = own_ministack
        self.lease = lease(request, 12)

    def name(self) -> str:
        return super().name() + self.suffix

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        config = Sqs(visibility=self.lease, wait=1, timeout=3)
        return topic(self._ministack.topic(name=name), *types, config=config)

    def nowhere(self, name: str) -> str | None:
        return f"sqs://{REGION}/{name}?endpoint=http://127.0.0.1:1&patience=1"

    async def restart(self) -> None:
        await anyio.to_thread.run_sync(self._ministack.stop)
        await anyio.to_thread.run_sync(self._ministack.start)

    async def pause(self) -> None:
        self._ministack.pause()

    async def go_on(self) -> None:
        self._ministack.go_on()


@pytest.mark.anyio
@pytest.mark.timeout(360)
class TestStandard(OverSqs):
    pass


@pytest.mark.anyio
@pytest.mark.timeout(360)
class TestFifo(OverSqs):
    suffix = ".fifo"
