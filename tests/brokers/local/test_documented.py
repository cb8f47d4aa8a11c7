"""The connector of docs/connectors.md passes the suite, as it stands there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reactor.testing.conformance import BrokerSuite
from reactor.topics import Topic

PAGE = Path(__file__).parents[3] / "docs" / "connectors.md"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The page's first example, as a module."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    path = tmp_path_factory.mktemp("example") / "spool.py"
    path.write_text(found[1], "utf-8")
    spec = importlib.util.spec_from_file_location("spool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.anyio
@pytest.mark.timeout(240)
@pytest.mark.blocking  # a folder is made where a topic is
class TestSpool(BrokerSuite):
    patience = 60.0
    quiet = 0.2
    many = 300  # each is a file, on the disk before it is confirmed

    @pytest.fixture(autouse=True)
    def _root(self, example: ModuleType, tmp_path: Path) -> None:
        self.example, self.root = example, tmp_path

    def make(self, name: str, *types: type[Any]) -> Topic[Any]:
        return self.at(f"spool://suite/{name}", *types)

    def at(self, url: str, *types: type[Any]) -> Topic[Any]:
        config = self.example.Options(root=str(self.root))
        found: Topic[Any] = self.example.spool(url, *types, config=config)
        return found

    def nowhere(self, name: str) -> str | None:
        return None
