"""Where the files of these tests stand."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where the system has such a folder: no power fails here, and nothing has to wait for a disk."""
    memory = "/dev/shm"
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="reactor-", dir=place) as folder:
        yield Path(folder)
