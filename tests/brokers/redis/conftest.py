"""Servers of Redis for these tests; its client knows asyncio only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.redis import Redis


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A server, up, for all tests of the session."""
    from tests.servers.redis import running

    yield from running()


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    """A server that a test may stop, kill and start again."""
    from tests.servers.redis import running

    yield from running()
