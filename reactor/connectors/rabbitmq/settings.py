"""What can be set of a topic at RabbitMQ."""

from __future__ import annotations

from typing import Literal

from reactor.connectors.brokers import Settings
from reactor.core import ArgumentError


class RabbitMQ(Settings, frozen=True):
    """The options of topics at RabbitMQ; a URL's query may set each. Durations are seconds, sizes bytes."""

    queue: Literal["quorum", "classic", "stream"] = "quorum"
    """The kind of the groups' queues; classic ones are kept on one node only. A stream is one log for all groups,
    which keeps what was read."""
    groups: str = ""
    """Groups, with commas, whose queues a sink makes too: nothing is lost before they first subscribe."""
    prefetch: int = 1000
    """How many messages a source has that aren't settled, at most."""
    unconfirmed: int = 2000
    """How many messages a sink has sent that aren't confirmed, at most; and 16 MiB of them."""
    largest: int = 16 * 1024 * 1024
    """The size of the largest message that a sink sends. The server has a limit, too (max_message_size)."""
    delivery_limit: int | None = None
    """After so many deliveries in vain a quorum queue drops a message. None: as the server is set up."""
    max_length: int | None = None
    """How many messages a group's queue holds; when it is full, sinks wait. None: as many as there are."""
    max_bytes: int | None = None
    """How large a stream becomes, more or less; what is oldest goes. None: as large as it will."""
    max_age: int | None = None
    """How old what is in a stream becomes, more or less. None: it stays for ever."""
    segment: int | None = None
    """The size of a stream's files, which are deleted as a whole. None: the server's, 500 MB."""
    gap: Literal["fail", "earliest"] = "fail"
    """Where a stream doesn't keep a position any more: fail, or go on with what is left."""
    patience: float = 10.0
    """How long an open tries to reach the server."""
    heartbeat: int = 10
    """After three of these in silence a connection counts as lost; 0: never."""
    ca: str = ""
    """A file of certificates that the server's is checked against; empty: the system's."""
    certificate: str = ""
    """The client's own certificate, a file."""
    private_key: str = ""
    """Its key, a file; empty: it stands in the same."""
    verify: bool = True
    """Whether the server's certificate and name are checked."""

    def __post_init__(self) -> None:
        lowest = {"prefetch": 1, "unconfirmed": 1, "largest": 1, "delivery_limit": 1, "max_length": 1}
        lowest |= {"max_bytes": 1, "max_age": 1, "segment": 1}
        for name, least in {**lowest, "patience": 0, "heartbeat": 0}.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ArgumentError(f"RabbitMQ({name}={value!r}): must be >= {least}")
        if self.prefetch > 65535:
            raise ArgumentError(f"RabbitMQ(prefetch={self.prefetch}): must be <= 65535")
        if self.heartbeat > 65534:
            raise ArgumentError(f"RabbitMQ(heartbeat={self.heartbeat}): must be < 65535")
        if self.queue != "quorum" and self.delivery_limit is not None:
            raise ArgumentError("RabbitMQ(delivery_limit=...): only quorum queues count deliveries")
        if self.queue == "stream" and self.max_length is not None:
            raise ArgumentError("RabbitMQ(max_length=...): a stream has max_bytes= and max_age=")
        if self.queue == "stream" and self.groups:
            raise ArgumentError(
                "RabbitMQ(groups=...): a stream keeps what comes before a group; leave it out"
            )
