"""The consumer ``audit``: one record for each event, in a file that is only appended to.

Each record carries the hash of the one before it, so that nothing in the file can be changed, left out or
put in without all that follows being written anew. Record n is the event at position n of ``orders``.

A line is ``{"n": 0, "event": "OrderCompleted", "data": {...}, "previous": "<hash>", "hash": "<hash>"}``; its
hash is SHA-256 over the line up to ``,"hash"``.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct

from pipelines.orders.events import OrderEvent
from pipelines.orders.home import Home, OrderTopic
from pipelines.orders.world import World
from reactor import Pipeline, Sink

GENESIS = "0" * 64
_HASH = b',"hash":"'


class AuditFault(Exception):
    """The audit file isn't what was written; the message says where."""


class _Head(Struct):
    n: int
    event: str
    data: msgspec.Raw
    previous: str
    hash: str


class _Invoice(Struct):
    invoice: str


def record(n: int, event: OrderEvent, previous: str) -> tuple[bytes, str]:
    """Return the line, and its hash."""
    name = type(event).__name__
    body = b'{"n":%d,"event":"%s","data":%s,"previous":"%s"' % (
        n,
        name.encode(),
        msgspec.json.encode(event),
        previous.encode(),
    )
    digest = hashlib.sha256(body).hexdigest()
    return b'%s%s%s"}\n' % (body, _HASH, digest.encode()), digest


class Chain:
    """Checks lines as they come; ``n`` and ``previous`` are what the next one has to carry."""

    def __init__(self) -> None:
        self.n = 0
        self.previous: str = GENESIS
        self._decode = msgspec.json.Decoder(_Head).decode

    def check(self, line: bytes) -> _Head:
        """Return the record. Raises AuditFault for a line that isn't the next one of the chain."""
        where = f"record {self.n} (line {self.n + 1})"
        body, _, tail = line.rpartition(_HASH)
        try:
            head = self._decode(line)
        except msgspec.MsgspecError as error:
            raise AuditFault(f"{where} can't be read: {error}") from None
        if head.n != self.n:
            raise AuditFault(f"{where} has number {head.n}: records are missing, or were put in")
        if head.previous != self.previous:
            raise AuditFault(f"{where} doesn't follow the record before it: its `previous` isn't that hash")
        if hashlib.sha256(body).hexdigest() != head.hash or tail != head.hash.encode() + b'"}\n':
            raise AuditFault(f"{where} was changed: its hash isn't that of its content")
        self.n += 1
        self.previous = head.hash
        return head


def verify(path: Path) -> int:
    """Return the number of records of a file whose chain holds; this blocks. Raises AuditFault."""
    chain = Chain()
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    raise AuditFault(f"record {chain.n} (line {chain.n + 1}) is cut off")
                chain.check(line)
    except OSError as error:
        raise AuditFault(f"{path}: {error.strerror}") from None
    return chain.n


class AuditFile(Sink[OrderEvent]):
    """Appends; begins with checking all that is there."""

    def __init__(self, path: Path, orders: OrderTopic, group: str) -> None:
        self.name = "audit"
        self._path = path
        self._orders = orders
        self._group = group
        self._chain = Chain()
        self._again: deque[tuple[int, str]] = deque()
        """(number, invoice) of the records that come a second time."""
        self._file: IO[bytes] | None = None

    async def open(self) -> None:
        """Cut a torn last line off, and find out which events will be read again."""
        committed = await self._orders.position(self._group) or 0
        self._file = await to_thread.run_sync(self._open, committed)

    def _open(self, committed: int) -> IO[bytes]:
        chain, path = self._chain, self._path
        invoice = msgspec.json.Decoder(_Invoice).decode
        whole = 0
        with path.open("a+b") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    break
                head = chain.check(line)
                whole += len(line)
                if head.n >= committed:
                    self._again.append((head.n, invoice(head.data).invoice))
        if chain.n < committed:
            raise AuditFault(
                f"{path} has {chain.n} records, but {committed} events were audited: records are lost; "
                "put the file back, or write it anew: delete it, and reset the group to 0"
            )
        return path.open("ab")

    async def write(self, events: Sequence[OrderEvent]) -> None:
        await to_thread.run_sync(self._write, events)

    def _write(self, events: Sequence[OrderEvent]) -> None:
        assert self._file is not None
        chain = self._chain
        lines: list[bytes] = []
        for event in events:
            if self._again:
                n, invoice = self._again.popleft()
                if invoice != event.invoice:
                    raise AuditFault(
                        f"{self._path}: record {n} is of {invoice}, the topic has {event.invoice} there"
                    )
                continue
            line, chain.previous = record(chain.n, event, chain.previous)
            chain.n += 1
            lines.append(line)
        if lines:
            self._file.write(b"".join(lines))
            self._file.flush()

    async def flush(self) -> None:
        """Make it durable: the events' position is committed after this."""
        if self._file is not None:
            await to_thread.run_sync(os.fsync, self._file.fileno())

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(file.close)


@asynccontextmanager
async def audit(home: Home, world: World) -> AsyncGenerator[Pipeline, None]:
    """Yield the pipeline."""
    orders = home.orders()
    yield Pipeline("audit", orders.subscribe("audit").to(AuditFile(home.audit, orders, "audit")))
