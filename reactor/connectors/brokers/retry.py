"""Waiting longer each time, until a broker is back."""

from __future__ import annotations

import logging
import random

import anyio

from reactor.core import TopicError

log = logging.getLogger("reactor")


class Backoff:
    """Pauses between attempts to reach a broker: ``first`` seconds, doubled up to ``most``, with some chance.

    After ``patience`` seconds without success the failure is raised; None: never.
    """

    def __init__(
        self, what: str, *, first: float = 0.1, most: float = 5.0, patience: float | None = None
    ) -> None:
        self._what = what
        self._first = first
        self._most = most
        self._patience = patience
        self._next = first
        self._since: float | None = None

    def reached(self) -> None:
        """It works again."""
        if self._since is not None:
            log.info("%s: connected again after %.3g s", self._what, anyio.current_time() - self._since)
        self._next, self._since = self._first, None

    async def failed(self, error: Exception) -> None:
        """Wait before the next attempt; raise TopicError where that has lasted too long."""
        now = anyio.current_time()
        if self._since is None:
            self._since = now
            log.warning("%s: lost: %s: %s; trying again", self._what, type(error).__name__, error)
        if self._patience is not None and now - self._since >= self._patience:
            raise TopicError(
                f"{self._what}: gone for {now - self._since:.3g} s: {type(error).__name__}: {error}"
            ) from error
        await anyio.sleep(self._next * random.uniform(0.5, 1.0))
        self._next = min(self._next * 2, self._most)
