"""What a connector's reading side has to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Delivery(NamedTuple):
    """A message as a consumer receives it; ``time`` is microseconds since the epoch."""

    id: str
    """Names the message at its broker: the same when it comes again."""
    type: str
    """The name of its contract; empty where the message doesn't tell."""
    key: str | None
    headers: Mapping[str, str] | None
    time: int
    data: bytes
    token: Any
    """What ``settle`` takes. Of a ``positional`` consumer: (partition, position after the message)."""
    topic: str | None = None
    """Where it came from, of a consumer that reads ``several``."""


class Consumer:
    """Reads one topic for one group. Subclass it; one task calls ``receive``, another one may call ``settle``.

    Two kinds. A *positional* one reads logs: what isn't settled is read again from the position behind what was.
    The others read queues: each message is settled by itself, and comes again when it wasn't.
    """

    positional: bool = False

    several: bool = False
    """True where it reads several topics: each Delivery tells its own, and its id is ``TOPIC/...``."""

    partitioned: bool = False
    """Of a positional one: True where it knows its ``parts``, and which are ``quiet``."""

    prefetch: int | None = None
    """How many messages may be received and not settled; the source waits at that. None: as many as it likes."""

    lost: Callable[[], None] = staticmethod(lambda: None)
    """Set before ``open``. To be called when the connection was lost and is up again: all tokens are void, and
    what wasn't settled comes again (not of a positional one, which just goes on)."""

    async def open(self) -> None:
        """Connect, and find or make what the group reads from. Errors are raised: waiting is for ``receive``."""
        raise NotImplementedError(f"{type(self).__name__}.open")

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        """Return up to ``limit`` messages, waiting for the first; None at the end, where it doesn't follow.

        Where the broker is gone it waits and connects again, with growing pauses. It may be cancelled while it
        waits, and must have lost nothing then: what it has taken already is returned by the next call.
        """
        raise NotImplementedError(f"{type(self).__name__}.receive")

    async def settle(self, tokens: Sequence[Any]) -> None:
        """All of these have been handled; return once the broker knows. Tokens come in the order received.

        A token of an earlier connection, or of a partition that was taken away, is passed over.
        """
        raise NotImplementedError(f"{type(self).__name__}.settle")

    def named(self, delivery: Delivery) -> str:
        """Of one that isn't positional: what names this message and no other one, when it comes again too."""
        return delivery.id

    async def seek(self, positions: Mapping[str, int]) -> None:
        """Of a positional one: go on at these positions, by partition; others as the group stands."""
        raise NotImplementedError(f"{type(self).__name__}.seek")

    def parts(self) -> Collection[str]:
        """Of one that is partitioned: as ``Source.parts``."""
        return ()

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        """Of one that is partitioned: as ``Source.quiet``."""
        return parts

    def reads(self, topic: str) -> bool:
        """Of one that reads several topics: whether this is one of them."""
        return False

    def begun(self) -> Mapping[str, int]:
        """Of a positional one without a group: where partitions began that didn't at their beginning; no I/O.

        A checkpoint keeps it, also of partitions of which nothing has come yet.
        """
        return {}

    async def close(self) -> None:
        """Disconnect; what isn't settled goes to the group's next reader at once, where the broker can do that.

        Called exactly once for each ``open``, also where that failed.
        """
