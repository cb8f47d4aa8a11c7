"""What can be set of a topic at Google Cloud Pub/Sub."""

from __future__ import annotations

from reactor.connectors.brokers import Settings
from reactor.core import ArgumentError


class PubSub(Settings, frozen=True):
    """The options of topics at Pub/Sub; a URL's query may set each. Durations are seconds.

    Credentials are found as all of Google's clients find them (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, those of
    the machine); none are needed for the emulator.
    """

    prefetch: int = 10_000
    """How many messages a source has that aren't settled, at most."""
    ack_deadline: int = 30
    """What was received comes again after so long, where its reader has died; 10 to 600. It is extended for all
    that is in flight."""
    ordering: bool = True
    """Whether an event's key is its ordering key: events of one key come in the order published."""
    groups: str = ""
    """Groups, with commas, whose subscriptions a sink makes too: nothing is lost before they first subscribe."""
    dead_letter: str = ""
    """The topic where Pub/Sub puts what was delivered in vain too often; of subscriptions that are made here."""
    max_delivery_attempts: int = 5
    """How often that is; 5 to 100. A reader that stops counts as one, for all that it had in flight."""
    create: bool = True
    """Whether topics and subscriptions that are missing are made."""
    emulator: str = ""
    """``host:port`` of Google's emulator; empty: what PUBSUB_EMULATOR_HOST says, else the service."""
    endpoint: str = "pubsub.googleapis.com:443"
    """Where the service is, ``us-east1-pubsub.googleapis.com:443`` for that of one region."""
    patience: float = 10.0
    """How long an open tries to reach the service."""

    def __post_init__(self) -> None:
        bounds = {"prefetch": (1, 1_000_000), "ack_deadline": (10, 600), "max_delivery_attempts": (5, 100)}
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise ArgumentError(f"PubSub({name}={getattr(self, name)!r}): must be {least} to {most}")
        if not self.patience >= 0:
            raise ArgumentError(f"PubSub(patience={self.patience!r}): must be >= 0")
        for name in ("emulator", "endpoint"):
            value = getattr(self, name)
            host, _, port = value.rpartition(":")
            if value and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
                raise ArgumentError(f"PubSub({name}={value!r}): write HOST:PORT")
