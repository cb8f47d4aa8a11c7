"""The options of a topic at Redis."""

from __future__ import annotations

from reactor.connectors.brokers import Settings
from reactor.core import ArgumentError

BULK = 512 * 1024 * 1024
"""What Redis takes as one value, where its proto-max-bulk-len says nothing else."""


class Redis(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a topic at Redis; durations are seconds, sizes bytes. User and password stand in the URL."""

    db: int = 0
    prefetch: int = 1000
    """How many events a reader of a group holds that aren't settled."""
    claim_idle: float = 30.0
    """After so long without a sign of life, a reader's events go to the group's others. A reader that is alive
    keeps its own however long they take, unless its event loop stands still for that long."""
    maxlen: int | None = None
    """Trim the stream to about so many events with each write, read or not; None: nothing is ever removed."""
    wait_replicas: int = 0
    """An event counts as stored when so many replicas have it, too."""
    field: str = "data"
    """The field of an entry that holds the event; all others are headers."""
    max_bytes: int = BULK
    """The largest event; raise it with the server's own proto-max-bulk-len."""
    patience: float = 10.0
    """How long opening waits for a server that can't be reached. A pipeline that runs waits for ever."""
    timeout: float = 10.0
    """After so long without an answer the connection counts as lost."""
    full_wait: float = 30.0
    """How long a write waits for room at a server that is full (maxmemory, disk), before it raises TopicFull."""
    tls_ca: str | None = None
    """A file of certificates to trust in place of the system's; with rediss://."""
    tls_cert: str | None = None
    """A client's certificate, and ..."""
    tls_key: str | None = None
    """... its key, as files."""

    def check(self, url: str) -> None:
        """Raise ArgumentError for what can't be."""
        least: dict[str, float] = {
            "db": 0,
            "prefetch": 1,
            "claim_idle": 0.1,
            "maxlen": 1,
            "wait_replicas": 0,
            "max_bytes": 1,
            "patience": 0,
            "timeout": 0.1,
            "full_wait": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ArgumentError(f"topic({url!r}): {name}={value!r}: must be >= {low}")
        if not self.field:
            raise ArgumentError(f"topic({url!r}): field={self.field!r}: name the field that holds the event")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ArgumentError(f"topic({url!r}): tls_cert and tls_key belong together")
