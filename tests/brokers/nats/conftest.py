"""A server for the session, and one of their own for tests that kill it. The client runs on asyncio only."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.servers.nats import NatsServer
from tests.servers.server import Missing, require

pytest.importorskip("nats", reason="not run: nats-py is missing; install it: pip install nats-py")

_numbers = itertools.count()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A server, up, for all tests of the session."""
    yield from _server()


@pytest.fixture
def own_nats_server() -> Iterator[NatsServer]:
    """A server for one test, which may kill it."""
    yield from _server()


@pytest.fixture(scope="module")
def suite_nats_server() -> Iterator[NatsServer]:
    """A server for the tests of one file, which may kill it, and start it again."""
    yield from _server()


def _server() -> Iterator[NatsServer]:
    try:
        server = NatsServer()
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def name() -> str:
    """The name of a topic that nobody has used yet."""
    return f"shop.t{os.getpid()}.{next(_numbers)}"


@pytest.fixture
def url(nats_server: NatsServer, name: str) -> Callable[..., str]:
    """Makes the URL of the test's own topic: with these options."""

    def make(**options: object) -> str:
        return nats_server.url(name, "&".join(f"{key}={value}" for key, value in options.items()))

    return make
