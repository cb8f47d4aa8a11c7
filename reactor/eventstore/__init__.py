"""The event store: append with an expected version, read, subscribe, fold, project.

``events`` has the words, ``backend`` what keeps them (``sqlite`` with its SQL in ``rows``, ``memory``,
``postgres`` and ``kurrent``, whose other files begin so), ``store`` what users call, ``reading`` and
``subscription`` how events come back, ``projections`` what is made of them, into ``tables``
(``sqlite_tables``; ``postgres_tables`` with their SQL in ``postgres_switch``).
"""

from reactor.eventstore.events import (
    ALL,
    ANY,
    EXISTS,
    NO_STREAM,
    All,
    Appended,
    Category,
    Direction,
    EventStoreError,
    Expected,
    NewEvent,
    Position,
    ProjectionError,
    RepeatedIds,
    Snapshot,
    StoredEvent,
    StoreUnreachable,
    VersionClash,
    category_of,
)
from reactor.eventstore.projections import FoldProjection, Projection
from reactor.eventstore.reading import Events
from reactor.eventstore.store import EventStore, event_store
from reactor.eventstore.subscription import Subscription

__all__ = [
    "ALL",
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "All",
    "Appended",
    "Category",
    "Direction",
    "EventStore",
    "EventStoreError",
    "Events",
    "Expected",
    "FoldProjection",
    "NewEvent",
    "Position",
    "Projection",
    "ProjectionError",
    "RepeatedIds",
    "Snapshot",
    "StoreUnreachable",
    "StoredEvent",
    "Subscription",
    "VersionClash",
    "category_of",
    "event_store",
]
