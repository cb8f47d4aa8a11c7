"""The suite's first subjects: topics of this machine. Nothing has to be started for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor import topic
from reactor.connectors.brokers import Capabilities
from reactor.connectors.memory import forget
from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic

pytestmark = pytest.mark.anyio

HERE = Capabilities(shared=False, replay=False, transactional=True, deduplicates=True)


class TestSqlite(BrokerSuite):
    capabilities = HERE
    quiet = 0.1

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "shop.db"

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return topic(f"sqlite:{self.path}/{name}", *types)


class TestMemory(BrokerSuite):
    capabilities = HERE
    quiet = 0.1
    encodes = False

    @pytest.fixture(autouse=True)
    def _names(self) -> Iterator[None]:
        self.names: set[str] = set()
        yield
        for name in self.names:
            forget(name)

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        self.names.add(name)
        return topic(f"memory:{name}", *types)
