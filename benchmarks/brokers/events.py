"""The events, and what a hand-written client has to do for each of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from time import perf_counter

import msgspec

BATCH = 1024


class Sale(msgspec.Struct, frozen=True):
    number: int
    customer: str
    country: str
    pence: int
    lines: tuple[str, ...]


def sales(count: int) -> list[Sale]:
    return [
        Sale(n, f"customer-{n % 500}", "United Kingdom", n * 7 % 5000, ("85123A", "71053", "84406B"))
        for n in range(count)
    ]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Sale).decode
DECODERS = {"Sale": decode, b"Sale": decode}
"""By the type that an event's headers tell: what else comes on the topic isn't taken for a sale."""
_ids = itertools.count()


def headers(prefix: str) -> dict[str, str]:
    """The attributes of CloudEvents: both sides put the same on the wire."""
    return {
        "content-type": "application/json",
        f"{prefix}specversion": "1.0",
        f"{prefix}source": "bench",
        f"{prefix}id": f"bare-{next(_ids)}",
        f"{prefix}type": "Sale",
        f"{prefix}time": datetime.now(UTC).isoformat(),
    }


class Enough:
    """Takes so many events; knows what they sum up to, and how long it took from the first to the last."""

    def __init__(self, count: int) -> None:
        self.count = self.left = count
        self.total = 0
        self._began = self._ended = 0.0

    def __call__(self, sale: Sale) -> bool:
        if self.left == self.count:
            self._began = perf_counter()
        self.left -= 1
        self.total += sale.pence
        if self.left == 0:
            self._ended = perf_counter()
        return self.left > 0

    @property
    def rate(self) -> float:
        """Events a second."""
        return (self.count - 1) / (self._ended - self._began)
