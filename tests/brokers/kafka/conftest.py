"""Apache Kafka for the tests here: nothing is started before one asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.servers.server import Missing, require

if TYPE_CHECKING:
    from tests.servers.kafka import Kafka


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop: what is tested happens on the threads of Kafka's client, and at the broker.

    What differs between loops is between these threads and the pipeline: test_conformance and test_transactions,
    which have a fixture of their own, run on both.
    """
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A broker, up, for all tests of the session."""
    yield from _kafka()


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Kafka]:
    """A broker for the tests of one file: they may stop and kill it, and have it up again when they end."""
    yield from _kafka()


def _kafka() -> Iterator[Kafka]:
    pytest.importorskip("confluent_kafka", reason="not run: install confluent-kafka")
    from tests.servers.kafka import Kafka

    try:
        server = Kafka()
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()
