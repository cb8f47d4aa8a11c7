"""The encoding of saved state."""

from reactor.delivery.packing.packing import Packing

__all__ = ["Packing"]
