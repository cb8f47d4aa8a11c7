"""The producer: from the orders file to the topic ``orders``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import chain, islice
from pathlib import Path
from typing import cast

from anyio import to_thread

from pipelines.orders.events import (
    OrderEvent,
    Rejected,
    customer_or_invoice,
    happened_at,
    invoice_of,
)
from pipelines.orders.gather import Gather, classify
from pipelines.orders.home import Home
from pipelines.orders.rows import End, Raw, Row, check, records
from pipelines.orders.survey import last_lines
from reactor import Pipeline, Record, Source, Stream

ROWS = 1000
"""How many rows are gathered at a time, on a thread."""


class OrderRows(Source[Raw | End]):
    """The records of the orders file, read off the loop.

    ``files.csv`` would give dicts without their line, and takes a quote that is never closed to the end of
    the file: here the survey and the reading have to agree on every line.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._records: Iterator[Raw | End] = iter(())

    async def open(self) -> None:
        self._records = chain(records(self._path), [End()])

    async def read(self, limit: int) -> Sequence[Record[Raw | End]] | None:
        return await to_thread.run_sync(self._read, limit) or None

    def _read(self, limit: int) -> Sequence[Record[Raw | End]]:
        return [Record(raw) for raw in islice(self._records, limit)]


def producer(home: Home, path: Path, known: Set[str] = frozenset()) -> Pipeline:
    """Publish every invoice of the surveyed file, and what is none as Rejected; again changes nothing.

    Invoices that are ``known`` are left out: a broker may not tell by the id that it has them already.
    """
    gather = Gather(last_lines(home.source))
    checked = Stream(OrderRows(path)).map(check, name="check").split(_rejected)
    bad_rows, rows = cast(tuple[Stream[Rejected], Stream[Row | End]], checked)
    invoices = rows.batch(ROWS).flat_map(gather.add, threads=1, name="gather")
    classified = invoices.map(classify, name="classify").split(_rejected)
    bad_invoices, events = cast(tuple[Stream[Rejected], Stream[OrderEvent]], classified)
    new = events.filter(lambda event: event.invoice not in known, name="new") if known else events
    return Pipeline(
        "producer",
        new.to(home.published(), key=customer_or_invoice, time=happened_at, id=invoice_of),
        bad_rows.merge(bad_invoices).to(home.rejected(), id=lambda rejected: rejected.id),
    )


def _rejected(what: object) -> bool:
    return isinstance(what, Rejected)
