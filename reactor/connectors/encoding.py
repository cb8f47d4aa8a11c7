"""Encoding what is written at once: where it fails, it is said which of the events can't be encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from reactor.core import Refused

E = TypeVar("E")
R = TypeVar("R")


def encoded(events: Sequence[E], encode: Callable[[Sequence[E]], R]) -> R:
    """Encode all of them; where that fails, raise Refused with those that can't be, each with its error."""
    try:
        return encode(events)
    except Exception as error:
        errors: dict[int, Exception] = {}
        for at, event in enumerate(events):
            try:
                encode([event])
            except Exception as its:
                errors[at] = its
        if not errors:
            raise
        raise Refused(errors) from error
