"""The options of a topic at NATS."""

from __future__ import annotations

import importlib.util
from typing import Literal

from reactor.connectors.brokers import Settings
from reactor.core import ArgumentError, MissingExtra


class Nats(Settings, frozen=True):
    """Options of a topic at NATS JetStream; durations are seconds, sizes bytes."""

    stream: str | None = None
    """The stream that has the topic's subject; None: the one that is found there, or a new one named after it."""
    create: bool = True
    """Whether the stream is made where there is none."""

    prefetch: int = 1000
    """How many messages a reader may hold that aren't settled."""
    ack_wait: float = 30.0
    """A reader that was silent for so long has lost what it held to others of its group. Of a new group."""

    storage: Literal["file", "memory"] = "file"
    replicas: int = 1
    max_age: float = 0.0
    """A new stream drops what is older; 0: nothing."""
    max_bytes: int = 0
    """A new stream holds no more; 0: no limit."""
    discard: Literal["new", "old"] = "new"
    """What a new stream that is full does: refuse what comes (TopicFull), or drop its oldest."""
    duplicate_window: float = 120.0
    """A new stream knows the ids of events for so long, and doesn't store one of them again."""

    in_flight: int = 4000
    """How many messages a writer may have sent that aren't confirmed."""
    in_flight_bytes: int = 8 * 1024 * 1024

    credentials: str | None = None
    """Path of a .creds file (JWT and NKEY seed)."""
    nkey: str | None = None
    """Path of a file with an NKEY seed."""
    token: str | None = None
    tls: bool = False
    """Refuse to speak without TLS."""
    tls_ca: str | None = None
    """Path of the certificates that are trusted; None: the system's."""
    tls_cert: str | None = None
    """Path of the client's certificate chain; ``tls_key``, of its private key."""
    tls_key: str | None = None
    tls_hostname: str | None = None

    domain: str | None = None
    """JetStream's domain, at a leaf node."""
    inbox: str = "_INBOX"
    """The prefix of the subjects that answers come to, where permissions allow no other."""
    patience: float = 10.0
    """How long opening waits for a server that isn't there."""

    def check(self, url: str) -> None:
        """Raise ArgumentError where a value can't work, MissingExtra where signing in needs another package."""
        faults: list[str] = []
        for name, least in (("prefetch", 1), ("replicas", 1), ("in_flight", 1), ("in_flight_bytes", 1)):
            if getattr(self, name) < least:
                faults.append(f"{name} must be >= {least}")
        if not self.ack_wait >= 0.5:
            faults.append("ack_wait must be >= 0.5 s")
        for name in ("max_age", "max_bytes", "duplicate_window", "patience"):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} must be >= 0")
        if self.tls_key is not None and self.tls_cert is None:
            faults.append("tls_key needs tls_cert")
        if sum(each is not None for each in (self.credentials, self.nkey, self.token)) > 1:
            faults.append("give one of credentials, nkey and token")
        if faults:
            raise ArgumentError(f"topic({url!r}): {'; '.join(faults)}")
        if (self.credentials or self.nkey) and importlib.util.find_spec("nkeys") is None:
            raise MissingExtra("signing in at NATS with credentials= or nkey=", "nats")

    @property
    def encrypted(self) -> bool:
        return self.tls or self.tls_ca is not None or self.tls_cert is not None
