"""Apache Kafka for the tests here: nothing is started before one asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.servers.server import Missing, require

if TYPE_CHECKING:
    from tests.servers.kafka import Kafka


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
