"""HOME: the folder in which everything stands that outlives a process."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from pipelines.orders.events import (
    EmailSent,
    OrderCancelled,
    OrderCompleted,
    Payment,
    Rejected,
    StockAdjusted,
)
from pipelines.orders.order import Cancelled, Declined, Packed, Paid, Placed, Shipped, Step
from pipelines.orders.survey import Survey, known
from reactor import StoredLetter, Topic, topic
from reactor.eventstore import EventStore, event_store

OrderTopic = Topic[OrderCompleted | OrderCancelled | StockAdjusted]


SHARED = ("email", "payment")
"""The consumers that take their events from the bus, each as a group of its own."""
GROUPS_AT_BUS = ("journal", *SHARED)
_QUEUES = ("amqp:", "amqps:", "pubsub:")
_ONE_GROUP = "sqs:"
"""Where a topic is one queue, whose readers share it whatever their groups are called."""


class HomeInUse(Exception):
    """Another process runs the same part on the same HOME."""


class Home:
    """Names what is in the folder; making one creates the folder. The package's docstring explains it."""

    def __init__(self, path: Path, bus: str | None = None) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.bus = bus
        """The URL of the broker to which orders are published, without a topic; None for the embedded one."""
        self.source = path / "source.db"
        self.stock = path / "stock.db"
        self.audit = path / "audit.jsonl"
        self.analytics = path / "analytics.json"
        self.analytics_state = path / "analytics.state"
        self.gateway = path / "gateway.db"
        self.mail = path / "mail.db"

    def _url(self, name: str) -> str:
        return f"sqlite:{self.path.absolute()}/shop.db/{name}"

    def store(self) -> EventStore[OrderCompleted | OrderCancelled | StockAdjusted]:
        """Return the event store that ``shop.db`` is, for the events of the topic ``orders``."""
        return event_store(
            f"sqlite:{self.path.absolute()}/shop.db", OrderCompleted, OrderCancelled, StockAdjusted
        )

    def steps(self) -> EventStore[Step]:
        """Return the same event store, for the streams of the orders."""
        url = f"sqlite:{self.path.absolute()}/shop.db"
        return event_store(url, Placed, Paid, Declined, Packed, Shipped, Cancelled)

    def orders(self) -> OrderTopic:
        return topic(self._url("orders"), OrderCompleted, OrderCancelled, StockAdjusted)

    def published(self) -> OrderTopic:
        """Return where orders are published: the same topic, or the one at the bus."""
        return self._at_bus("orders")

    def shared(self, group: str) -> OrderTopic:
        """Return where one of ``SHARED`` takes its events from: what the journal passes on, or all at the bus."""
        return self._at_bus(f"orders-{group}") if self.passes_on else self.published()

    @property
    def passes_on(self) -> bool:
        """Whether the bus gives an event to one group only: the journal, which passes it on to those of SHARED."""
        return self.bus is not None and self.bus.startswith(_ONE_GROUP)

    def _at_bus(self, name: str) -> OrderTopic:
        if self.bus is None:
            return self.orders()
        place, _, options = self.bus.partition("?")
        if self.bus.startswith(_QUEUES) and "groups=" not in options:
            # There a group gets what comes after it was made: who publishes makes all of them.
            options += f"{'&' if options else ''}groups={','.join(GROUPS_AT_BUS)}"
        if self.passes_on:
            name += ".fifo"  # the only kind of queue that keeps the order of a customer's events
        url = f"{place.rstrip('/')}/{name}{'?' if options else ''}{options}"
        return topic(url, OrderCompleted, OrderCancelled, StockAdjusted)

    def rejected(self) -> Topic[Rejected]:
        return topic(self._url("orders.dead"), Rejected)

    def emails(self) -> Topic[EmailSent]:
        return topic(self._url("emails"), EmailSent)

    def payments(self) -> Topic[Payment]:
        return topic(self._url("payments"), Payment)

    def dead_letters(self, name: str) -> Topic[StoredLetter]:
        """Return a topic of dead letters: ``emails.dead`` or ``payments.dead``."""
        return topic(self._url(name), StoredLetter)

    def survey(self) -> Survey | None:
        """Return what is known of the orders file; this reads a file and blocks."""
        return known(self.source)

    @contextmanager
    def alone(self, *parts: str) -> Generator[None, None, None]:
        """Hold the lock of each part; the system lets go of it even when the process is killed.

        Raises HomeInUse where another process holds one.
        """
        files: list[TextIOWrapper] = []
        try:
            for part in parts:
                file = (self.path / f"{part}.lock").open("a")
                files.append(file)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise HomeInUse(
                        f"{self.path}: another process runs {part} here; end it, or choose another --home"
                    ) from None
            yield
        finally:
            for file in files:
                file.close()
