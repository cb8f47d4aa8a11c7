"""What a connector's writing side has to do."""

from __future__ import annotations

from collections.abc import Sequence

from reactor.connectors.log import Entry


class Producer:
    """Writes to one topic. Calls come from one task at a time; the data of entries are bytes.

    An entry's id of None means: a new one.
    """

    async def open(self) -> None:
        """Connect, and find or make the topic."""
        raise NotImplementedError(f"{type(self).__name__}.open")

    async def send(self, entries: Sequence[Entry]) -> None:
        """Write all of them, in the order given for each key.

        They may be on their way when it returns, up to a bound; a broker that is slow or gone makes it wait.
        Raises Refused, which names the entries that the broker doesn't take for what they are (too large), and
        TopicError for what is wrong with the broker; that may come from a later call, too.
        """
        raise NotImplementedError(f"{type(self).__name__}.send")

    async def flush(self) -> None:
        """Return once the broker has confirmed all that was sent; raise what went wrong with it."""

    async def close(self) -> None:
        """Disconnect. What wasn't flushed may be lost. Called exactly once for each ``open``."""
