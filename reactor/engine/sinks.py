"""Which sinks are open: an object is for one run at a time, as two would close each other's."""

from __future__ import annotations

from typing import Any

from reactor.core import Sink, UsedTwice

_open: dict[int, Sink[Any]] = {}


def claim(sink: Sink[Any], label: str) -> None:
    """It is about to be opened; raise UsedTwice where another run has it open."""
    if id(sink) in _open:
        raise UsedTwice(f"{label}: this sink is open in another run; make another one for this run")
    _open[id(sink)] = sink


def release(sink: Sink[Any]) -> None:
    """It is about to be closed."""
    _open.pop(id(sink), None)
