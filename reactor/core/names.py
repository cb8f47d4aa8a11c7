"""The name under which events of a class are stored."""

from __future__ import annotations

from typing import Any

CONTRACT = "__reactor_contract__"
"""Where ``@event`` keeps what it knows, on the class itself."""


def name_of(kind: Any) -> str:
    """Return the name of its contract, else its own: ``OrderCompleted``; for ``list[int]`` it is ``list``."""
    contract = getattr(kind, "__dict__", {}).get(CONTRACT)
    return str(getattr(kind, "__name__", kind) if contract is None else contract.name)
