"""What was received and isn't settled: it has to be extended, before it comes again."""

from __future__ import annotations

from collections.abc import Iterable


class Lease:
    """One message: its ack id, and the monotonic time at which the service gives it to somebody else."""

    __slots__ = ("ack", "until")

    def __init__(self, ack: str, until: float) -> None:
        self.ack = ack
        self.until = until


class Leases:
    """Leases by message id."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, id: str, ack: str, until: float) -> bool:
        """Note a message; False for one that is held already, and came again: its new ack id counts."""
        lease = self._held.get(id)
        if lease is not None:
            lease.ack, lease.until = ack, until
            return False
        self._held[id] = Lease(ack, until)
        return True

    def of(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """Return the message and ack ids of those that are held."""
        held = self._held
        return [(id, held[id].ack) for id in ids if id in held]

    def due(self, before: float) -> list[tuple[str, str]]:
        """Return those that end before a time."""
        return [(id, lease.ack) for id, lease in self._held.items() if lease.until < before]

    def extended(self, acks: dict[str, str], until: float) -> None:
        for id, ack in acks.items():
            lease = self._held.get(id)
            if lease is not None and lease.ack == ack:
                lease.until = until

    def settled(self, acks: dict[str, str]) -> None:
        for id, ack in acks.items():
            lease = self._held.get(id)
            if lease is not None and lease.ack == ack:
                del self._held[id]

    def clear(self) -> list[tuple[str, str]]:
        """Forget all of them, and return them."""
        held, self._held = self._held, {}
        return [(id, lease.ack) for id, lease in held.items()]
