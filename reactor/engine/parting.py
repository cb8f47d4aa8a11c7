"""What the stage of a partitioned source tells event_time: which partitions there are, and which are quiet."""

from __future__ import annotations

from math import inf

import anyio

from reactor.core import Source
from reactor.windows import Parts

_ALL_IDLE = 2
"""So often in a row all have to be quiet, and nothing read, until they needn't be asked any more."""


class Parting:
    """Follows the partitions of one source, from read to read; what it returns is sent among the events."""

    def __init__(self, source: Source[object], patience: float) -> None:
        self._source = source
        self._patience = patience
        self._there: frozenset[str] = frozenset()
        self._silent = 0
        """How often in a row all were quiet, and nothing had been read."""
        self.moment = inf
        """When they are asked next, by the loop's clock."""

    def before(self) -> Parts | None:
        """Something was read: return what has to be known before it goes on, that there are new partitions."""
        self._silent = 0
        return self._tell(self._there.union(self._source.parts()))

    def after(self) -> Parts | None:
        """Return what is so when all that was read has gone on: who is there no more leaves."""
        return self._tell(frozenset(self._source.parts()))

    def _tell(self, there: frozenset[str]) -> Parts | None:
        if self.moment == inf and len(there) > 1 and self._silent < _ALL_IDLE:
            self.moment = anyio.current_time() + self._patience
        if there == self._there:
            return None
        self._there = there
        return Parts(there)

    def asked(self) -> Parts | None:
        """Where it is time to, ask who is quiet, and return that."""
        now = anyio.current_time()
        if now < self.moment:
            return None
        there = self._there
        quiet = there.intersection(self._source.quiet(there))
        self._silent = self._silent + 1 if quiet == there else 0
        self.moment = now + self._patience if len(there) > 1 and self._silent < _ALL_IDLE else inf
        return Parts(there, quiet)
