"""A file as a source: a thread of its own reads one batch ahead of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio.lowlevel

from reactor.connectors.files.batches import Reader
from reactor.connectors.log import Bad, Batch
from reactor.connectors.loops import OwnThread, Waiter
from reactor.core import ArgumentError, Record, Source, UsedTwice

T_co = TypeVar("T_co", covariant=True)

ROWS = 1024
"""Records of a batch, whatever the pipeline asks for: reading goes by hands and not by drops."""


class FileSource(Source[T_co]):
    """The records of a file from its beginning; each run reads it again.

    A record's position is the line where it begins, its topic the file's path. Nothing is committed: a file
    that is read again after a failure begins at its start, or where a checkpoint stood.
    """

    seekable = True

    def __init__(self, make: Callable[[], Reader]) -> None:
        self.name = make().name
        self._make = make
        self._reader: Reader | None = None
        self._thread: OwnThread | None = None
        self._ahead: Waiter[Batch | None] | None = None
        self._records: Sequence[Record[Any]] = ()
        self._error: Exception | None = None
        self._at = 0
        """The line behind the one where the last record that was returned begins."""

    async def open(self) -> None:
        """Open the file and check its header."""
        if self._thread is not None:
            raise UsedTwice(f"{self.name}: this source is open already; make another one for another run")
        self._records, self._error = (), None
        self._ahead, self._at = None, 0
        self._reader = self._make()
        self._thread = OwnThread(f"reactor file {self.name}")
        await self._thread.ask(self._reader.open).wait()

    async def read(self, limit: int) -> Sequence[Record[T_co]] | None:
        """Return 1 to ``limit`` records; None at the end.

        Raises DecodeError for a record that doesn't fit, after what stands before it was returned, unless
        ``reject`` takes it: then reading goes on. FileError for a file that can't be read on.
        """
        if limit < 1:
            raise ArgumentError(f"read(limit={limit}): must be >= 1")
        if self._records:
            await anyio.lowlevel.checkpoint()
        while not self._records:
            if self._error is not None:
                raise self._error
            batch = await self._next()
            if batch is None:
                return None
            if self._at:
                batch = _from(batch, self._at)
            if not batch.bad:
                self._records = batch.records
            elif self.reject is None:
                self._records = batch.records[: batch.bad[0].before]
                self._error = batch.bad[0].error
            else:
                for bad in batch.bad:
                    self.reject(bad.record, bad.error)
                self._records = batch.records
        records, self._records = self._records[:limit], self._records[limit:]
        self._at = (records[-1].position or 0) + 1
        return records

    def position(self) -> int:
        return self._at

    async def seek(self, position: int) -> None:
        """Pass over what begins before this line. What has been read already is read again where it has to be."""
        if position < self._at:
            await self.close()
            await self.open()
        self._at = position
        self._records = [each for each in self._records if (each.position or 0) >= position]

    async def _next(self) -> Batch | None:
        """Return the next batch, and have the one after it read meanwhile."""
        thread, reader = self._thread, self._reader
        if thread is None or reader is None:
            raise RuntimeError(f"{self.name}: used before open() or after close()")
        if self._ahead is None:
            self._ahead = thread.ask(lambda: reader.batch(ROWS))
        try:
            batch = await self._ahead.wait()  # cancelled here, it is there for the next call
        except Exception as error:
            self._error = error
            raise
        self._ahead = thread.ask(lambda: reader.batch(ROWS))
        return batch

    async def close(self) -> None:
        """Close the file, and wait for the thread's end."""
        thread, self._thread = self._thread, None
        reader, self._reader = self._reader, None
        self._records, self._ahead = (), None
        if thread is not None and reader is not None:
            await thread.end(reader.close)


def _from(batch: Batch, line: int) -> Batch:
    """The part of the batch that begins at this line or later."""
    first = next(
        (n for n, each in enumerate(batch.records) if (each.position or 0) >= line), len(batch.records)
    )
    bad = [
        Bad(each.record, each.error, max(0, each.before - first), 0)
        for each in batch.bad
        if (each.record.position or 0) >= line
    ]
    return Batch(batch.records[first:], bad, 0, batch.next)
