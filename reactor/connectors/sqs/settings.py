"""The options of a topic at Amazon SQS."""

from __future__ import annotations

from urllib.parse import urlsplit

from reactor.connectors.brokers import Settings
from reactor.core import ArgumentError

LARGEST = 262_144
"""Bytes of a message with its attributes that every queue takes, and of a batch."""


class Sqs(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a topic at SQS; durations are seconds, sizes bytes.

    Credentials come from where AWS's own tools find them (environment, profile, role), never from here.
    """

    endpoint: str | None = None
    """Where SQS is, if not at AWS: http://127.0.0.1:9324."""
    profile: str | None = None
    """The profile of ~/.aws/config; None: AWS_PROFILE, or the default one."""
    create: bool = True
    """Make the queue where there is none."""
    prefetch: int = 1000
    """How many messages a reader holds that aren't settled."""
    receivers: int = 4
    """Requests for messages at once, while there are many."""
    visibility: int = 30
    """How long a message is hidden from others, unless that is extended, which happens while a reader holds it.
    Of a reader that died, messages come again after that time."""
    wait: int = 3
    """How long one request waits for a message, 1 to 20. Closing waits for the last request, up to 5 s."""
    senders: int = 8
    """Batches on their way at once."""
    buffer: int = 1000
    """Messages that were sent and aren't confirmed, at most; then sending waits."""
    largest: int = LARGEST
    """Bytes of the largest message, and of a batch: up to 1048576 where the queue allows it."""
    message_group: str | None = None
    """FIFO: the MessageGroupId of events without a key; None: each is a group of its own, in no order."""
    max_receives: int | None = None
    """After so many receives without being settled a message goes to the queue ``dead_letters``; None: never."""
    dead_letters: str | None = None
    """With max_receives: the name of that queue; None: the queue's own with -dead."""
    patience: float = 10.0
    """How long opening waits for a server that can't be reached. A pipeline that runs waits for ever."""
    timeout: float = 10.0
    """After so long without an answer a request counts as lost, and is made again."""

    def check(self, url: str) -> None:
        """Raise ArgumentError for what can't be."""
        ranges: dict[str, tuple[float, float]] = {
            "prefetch": (1, 120_000),
            "receivers": (1, 100),
            "visibility": (1, 43_200),
            "wait": (1, 20),
            "senders": (1, 100),
            "buffer": (1, 1_000_000),
            "largest": (1024, 1_048_576),
            "max_receives": (1, 1000),
            "patience": (0, float("inf")),
            "timeout": (0.1, float("inf")),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                upper = "" if high == float("inf") else f" and <= {high:g}"
                raise ArgumentError(f"topic({url!r}): {name}={value!r}: must be >= {low:g}{upper}")
        if self.endpoint is not None:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
                raise ArgumentError("topic(...): endpoint=: write http://HOST:PORT, without user or password")
        if self.dead_letters is not None and self.max_receives is None:
            raise ArgumentError(f"topic({url!r}): dead_letters= needs max_receives=")
