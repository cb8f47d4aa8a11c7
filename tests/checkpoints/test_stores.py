"""The stores of the house pass the conformance suite; and what only a file has, or only memory."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from reactor.connectors import state_store
from reactor.connectors.states import forget
from reactor.core import ArgumentError
from reactor.delivery import CheckpointStore
from reactor.testing.checkpoints import CheckpointSuite

pytestmark = pytest.mark.anyio

_numbers = itertools.count()


class TestSqlite(CheckpointSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "state.db"

    def make(self) -> CheckpointStore:
        return state_store(f"sqlite:{self.path}")


class TestMemory(CheckpointSuite):
    @pytest.fixture(autouse=True)
    def _place(self) -> Iterator[None]:
        self.name = f"state{next(_numbers)}"
        yield
        forget(self.name)

    def make(self) -> CheckpointStore:
        return state_store(f"memory:{self.name}")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("state.db", "has no scheme; known schemes: sqlite:, memory:"),
        ("postgres:x", "unknown scheme 'postgres'"),
        ("sqlite:", "write sqlite:PATH, for example sqlite:state.db"),
        ("sqlite:folder/", "write sqlite:PATH"),
        ("memory:", "write memory:NAME"),
        ("memory:a\nb", "characters that can't be printed"),
        (7, "the argument is a URL"),
    ],
)
def test_urls_that_can_not_be_one(url: str, says: str) -> None:
    with pytest.raises(ArgumentError, match="state_store") as caught:
        state_store(url)
    assert says in str(caught.value)
