"""No child outlives its test."""

from collections.abc import Generator

import pytest

from tests.killed.killing import running


@pytest.fixture(autouse=True)
def children() -> Generator[None, None, None]:
    yield
    for child in running:
        child.kill()
    running.clear()
