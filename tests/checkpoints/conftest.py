"""Names and topics of each test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reactor import Topic, topic


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A name of its own for each test and loop."""
    return tmp_path.name


@pytest.fixture
def numbers(place: str) -> Topic[Any]:
    """An empty topic."""
    return topic(f"memory:{place}-numbers")
