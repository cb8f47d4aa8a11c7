"""Servers of SQS for these tests; its client knows asyncio only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.sqs import Ministack


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """As AWS's own tools find them; nothing of whoever runs the tests."""
    from tests.servers.sqs import KEY, SECRET

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.fixture
def closes_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """What isn't let go comes when its visibility is over only: the server may be slow."""
    monkeypatch.setattr("reactor.connectors.sqs.consumer._LATE", 15.0)
    monkeypatch.setattr("reactor.connectors.sqs.consumer._BYE", 15.0)


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    """A server, up, for all tests of the session."""
    from tests.servers.sqs import running

    yield from running()


@pytest.fixture(scope="module")
def own_ministack() -> Iterator[Ministack]:
    """A server that a test may stop, kill and start again."""
    from tests.servers.sqs import running

    yield from running()
