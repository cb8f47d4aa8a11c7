"""How long a reader's lease lasts in the conformance suite."""

from __future__ import annotations

import re

import pytest

_TWICE = re.compile("a_restart|broker_(that_)?stands_still")
"""Tests that wait until leases are over, and in which events may come twice."""


def lease(request: pytest.FixtureRequest, long: int) -> int:
    """Return a test's lease in seconds: ``long``, as a machine that stands still for longer repeats events."""
    return 3 if _TWICE.search(request.node.name) else long
