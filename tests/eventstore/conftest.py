"""Fixtures of the event store's tests."""

from pathlib import Path

import pytest

from tests.eventstore.places import Place, PostgresPlace, SqlitePlace
from tests.eventstore.processes import start as start


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the tables are."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "views.db")
    return PostgresPlace(request.getfixturevalue("postgres").schema())
