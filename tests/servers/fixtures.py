"""The fixtures of the servers, for tests/conftest.py: nothing is imported or started before a test asks for it.

``NAME`` is up for all tests of the session. ``own_NAME`` is for the tests of one file: one of them may stop and
kill it, and starts it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.servers.background import UNOBTAINABLE, kind_of
from tests.servers.server import Missing, Server, require

if TYPE_CHECKING:
    from tests.servers.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, up, for all tests of the session."""
    yield from up("postgres")


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the tests of one file: one of them may stop and kill it, and starts it again.

    After a kill, it looks at every file that it has before it is up: this one has few.
    """
    yield from up("postgres")


def up(name: str) -> Iterator[Any]:
    """Yield a server of this name that is up; the test isn't run where it is missing."""
    try:
        server: Server = kind_of(name)()
    except Missing as missing:
        if name in UNOBTAINABLE:
            pytest.skip(f"not run: {missing}")
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _fixture(name: str, scope: Literal["session", "module"]) -> Callable[..., Any]:
    @pytest.fixture(scope=scope, name=name if scope == "session" else f"own_{name}")
    def server() -> Iterator[Any]:
        yield from up(name)

    return server


kafka, own_kafka = _fixture("kafka", "session"), _fixture("kafka", "module")
rabbitmq, own_rabbitmq = _fixture("rabbitmq", "session"), _fixture("rabbitmq", "module")
nats, own_nats = _fixture("nats", "session"), _fixture("nats", "module")
redis, own_redis = _fixture("redis", "session"), _fixture("redis", "module")
sqs, own_sqs = _fixture("sqs", "session"), _fixture("sqs", "module")
pubsub, own_pubsub = _fixture("pubsub", "session"), _fixture("pubsub", "module")
