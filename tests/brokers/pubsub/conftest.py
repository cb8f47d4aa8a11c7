"""An emulator for the session, and one of their own for tests that stop it. The client runs on asyncio only."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers.pubsub import PubSubEmulator
from tests.servers.server import Missing

pytest.importorskip(
    "google.pubsub_v1", reason="not run: its client is missing; install it: pip install google-cloud-pubsub"
)

_numbers = itertools.count()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def pubsub() -> Iterator[PubSubEmulator]:
    """An emulator, up, for all tests of the session."""
    yield from _emulator()


@pytest.fixture(scope="module")
def own_pubsub() -> Iterator[PubSubEmulator]:
    """An emulator for the tests of one file: one of them may stop and kill it, and starts it again."""
    yield from _emulator()


def _emulator() -> Iterator[PubSubEmulator]:
    try:
        server = PubSubEmulator()
    except Missing as missing:
        pytest.skip(f"not run: {missing}")  # in CI too: it isn't in Debian's archive
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def name() -> str:
    """The name of a topic that nobody has used yet."""
    return f"shop-t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def call(pubsub: PubSubEmulator) -> Iterator[Callable[..., Any]]:
    """Makes calls to the emulator beside the connector, by Google's own blocking clients."""
    yield from _calls(pubsub)


@pytest.fixture
def own_call(own_pubsub: PubSubEmulator) -> Iterator[Callable[..., Any]]:
    """The same, to the emulator that is stopped and started."""
    yield from _calls(own_pubsub)


def _calls(server: PubSubEmulator) -> Iterator[Callable[..., Any]]:
    import grpc
    from google.pubsub_v1 import PublisherClient, SubscriberClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

    channel = grpc.insecure_channel(server.host)
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def made(method: str, **request: Any) -> Any:
        client: Any = publisher if hasattr(publisher, method) else subscriber
        return getattr(client, method)(request=request, timeout=10, retry=None)

    yield made
    channel.close()
