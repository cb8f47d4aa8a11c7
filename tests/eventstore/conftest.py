"""Fixtures of the event store's tests."""

from tests.eventstore.processes import start as start
