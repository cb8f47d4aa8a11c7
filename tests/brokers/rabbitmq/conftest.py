"""RabbitMQ for the tests here: nothing is started before one asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.rabbitmq import RabbitMQ
from tests.servers.server import Missing, require


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A node, up, for all tests of the session."""
    yield from _rabbitmq()


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[RabbitMQ]:
    """A node for the tests of one file: they may stop, kill and block it, and have it up again when they end."""
    yield from _rabbitmq()


def _rabbitmq() -> Iterator[RabbitMQ]:
    try:
        server = RabbitMQ()
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()
