"""Which partitions there are: those of topics that are made while it runs, too."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaException

from reactor.connectors.kafka.names import Names

log = logging.getLogger("reactor")


class Discovery:
    """The partitions of one opening, looked for again every so many seconds."""

    def __init__(self, names: Names, url: str, every: float) -> None:
        self.known: list[str] = []
        self._missing: set[str] = set()
        self._deleted: set[str] = set()
        """Those of several topics that were missing at two looks, one after the other: once may be a mistake."""
        self._names = names
        self._url = url
        self._every = every
        self._looked = 0.0

    @property
    def topics(self) -> list[str]:
        return self._names.topics(self.known)

    def knows(self, found: list[str]) -> None:
        """These are there now."""
        before = set(self.topics) if self._looked else set()
        if self._names.several:
            missing = {*self.known, *self._missing}.difference(found)
            self._deleted |= missing & self._missing
            self._missing = missing
        self.known, self._looked = found, time.monotonic()
        if self._names.several:
            new, gone = sorted({*self.topics} - before), sorted(before - {*self.topics})
            if new or not before:
                log.info("%s: reads %s", self._url, ", ".join(new) or "nothing yet: no topic matches")
            if gone:
                log.warning("%s: reads no more: %s, deleted", self._url, ", ".join(gone))

    def due(self) -> bool:
        """Whether it is time to look again; it is asked once for each look."""
        if time.monotonic() - self._looked < self._every:
            return False
        self._looked = time.monotonic()
        return True

    def changed(self, consumer: Consumer) -> bool:
        """Look again; True where others are there than before."""
        before = self.known
        try:
            self.knows(self._names.found(consumer, 1.0))
        except KafkaException:
            return False
        return self.known != before

    def anew(self, names: Collection[str]) -> set[str]:
        """Return which of these, that are there again, were deleted meanwhile: they are others now."""
        found = self._deleted.intersection(names)
        self._deleted -= found
        return found

    def gone(self, owned: Collection[str]) -> list[str]:
        """Return which of these aren't there any more, of several topics."""
        there = set(self.known)
        return [name for name in owned if name not in there] if self._names.several else []
