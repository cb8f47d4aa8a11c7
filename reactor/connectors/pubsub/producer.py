"""Publishes to one topic: batches by ordering key, several at a time, confirmed by ``flush``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reactor.connectors.brokers import Backoff, Producer, Wire
from reactor.connectors.log import Entry
from reactor.connectors.pubsub.making import Maker
from reactor.connectors.pubsub.service import Answered, Service
from reactor.core import ArgumentError, Refused, TopicError

LARGEST = 10_000_000
"""Bytes of the largest message, and of the largest request."""

_COUNT, _BYTES = 1000, LARGEST - 1000
"""Of one request."""
_WAITING, _WAITING_BYTES = 10_000, 32_000_000
"""What is on its way, at most; then ``send`` waits."""
_PARALLEL = 16
"""Requests on their way."""
_LANES = 4
"""Lanes of messages without an ordering key: so many requests of them are on their way."""
_TIMEOUT = 20.0


class _Lane:
    """Messages that are published one request after the other."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Any, int]] = deque()
        self.busy = False

    def take(self) -> tuple[list[Any], int]:
        """Return the messages of the next request, and their size."""
        found: list[Any] = []
        total = 0
        while self.waiting and len(found) < _COUNT:
            message, size = self.waiting[0]
            if found and total + size > _BYTES:
                break
            self.waiting.popleft()
            found.append(message)
            total += size
        return found, total


class PubSubProducer(Producer):
    """One topic. All messages of a request have the same ordering key: Pub/Sub demands it."""

    def __init__(
        self, service: Service, maker: Maker, wire: Wire, groups: Iterable[str], kept: str | None = None
    ) -> None:
        self._service = service
        self._settings = service.settings
        self._maker = maker
        self._wire = wire
        self._groups = tuple(groups)
        self._kept = kept
        """The subscription that keeps what is published for those who look."""
        self._opened = False

    async def open(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._free = [_Lane() for _ in range(_LANES)]
        self._next = 0
        self._ready: deque[_Lane] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._count = self._bytes = self._running = 0
        self._error: TopicError | None = None
        await self._service.open()
        self._opened = True
        self._changed = asyncio.Event()
        await self._make(Backoff(self._service.what, patience=self._settings.patience))

    async def _make(self, backoff: Backoff) -> None:
        await self._maker.make_topic(backoff)
        for group in self._groups:
            await self._maker.make_subscription(self._maker.subscription(group), backoff)
        if self._kept is not None:
            await self._maker.make_subscription(self._maker.subscription(self._kept), backoff, kind="kept")

    async def send(self, entries: Sequence[Entry]) -> None:
        messages = self._messages(entries)
        at = 0
        while at < len(messages):
            if self._error is not None:
                raise self._error
            if self._count >= _WAITING or self._bytes >= _WAITING_BYTES:
                self._changed.clear()
                await self._changed.wait()
                continue
            # At least one goes, however large it is.
            while at < len(messages) and self._count < _WAITING and self._bytes < _WAITING_BYTES:
                message, size = messages[at]
                self._put(message, size)
                at += 1
            self._start()

    async def flush(self) -> None:
        while self._count and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    def _messages(self, entries: Sequence[Entry]) -> list[tuple[Any, int]]:
        """Return messages and their sizes; Refused with all that Pub/Sub wouldn't take."""
        ordering, wire, make = self._settings.ordering, self._wire, self._service.api.Message
        found: list[tuple[Any, int]] = []
        errors: dict[int, Exception] = {}
        for index, entry in enumerate(entries):
            key = entry[2] if ordering else None
            try:
                attributes = wire.headers(entry, key=not key)
                message = make(data=entry[5], attributes=attributes, ordering_key=key or "")
                size = message.ByteSize()
                self._check(attributes, key, size)
            except ArgumentError as error:
                errors[index] = error
            else:
                found.append((message, size + 8))  # with what stands before it in a request
        if errors:
            raise Refused(errors)
        return found

    def _check(self, attributes: Mapping[str, str], key: str | None, size: int) -> None:
        what = self._service.what
        if size > _BYTES:
            raise ArgumentError(f"{what}: an event of {size} bytes is too large: Pub/Sub takes {LARGEST}")
        if len(attributes) > 100:
            raise ArgumentError(
                f"{what}, headers=: {len(attributes)} attributes are too many: Pub/Sub takes 100"
            )
        for name, value in attributes.items():
            if len(value) > 256 and len(value.encode()) > 1024:
                raise ArgumentError(
                    f"{what}, headers=: {name!r} has {len(value.encode())} bytes: Pub/Sub takes 1024"
                )
            if not name or name.startswith("goog") or (len(name) > 64 and len(name.encode()) > 256):
                raise ArgumentError(
                    f"{what}, headers=: {name!r} can't be a name: 1 to 256 bytes that don't begin with goog"
                )
        if key is not None and len(key) > 256 and len(key.encode()) > 1024:
            raise ArgumentError(f"{what}, key=: a key of {len(key.encode())} bytes is too long: 1024")

    # On their way -----------------------------------------------------------------------------------------------

    def _put(self, message: Any, size: int) -> None:
        key = message.ordering_key
        if key:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane()
        else:
            lane = self._free[self._next // _COUNT % _LANES]
            self._next += 1
        lane.waiting.append((message, size))
        self._count += 1
        self._bytes += size
        if not lane.busy:
            lane.busy = True
            self._ready.append(lane)

    def _start(self) -> None:
        for _ in range(min(len(self._ready), _PARALLEL - self._running)):
            self._running += 1
            task = asyncio.create_task(self._run(), name=f"{self._service.what}: publish")
            self._runners.add(task)
            task.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        """Publish what is ready, until nothing is."""
        try:
            while self._ready and self._error is None:
                lane = self._ready.popleft()
                messages, size = lane.take()
                key = messages[0].ordering_key
                await self._publish(messages)
                self._count -= len(messages)
                self._bytes -= size
                self._changed.set()
                if lane.waiting:
                    self._ready.append(lane)
                else:
                    lane.busy = False
                    if key:
                        del self._lanes[key]
        except Exception as error:  # whatever it is, the writer has to know
            what = f"{self._service.what}: {type(error).__name__}: {error}"
            self._error = self._error or (error if isinstance(error, TopicError) else TopicError(what))
            self._changed.set()
        finally:
            self._running -= 1

    async def _publish(self, messages: list[Any]) -> None:
        backoff = Backoff(self._service.what)
        while True:
            try:
                await self._service.publish(self._maker.topic, messages, _TIMEOUT)
            except Answered as error:
                if error.code == "NOT_FOUND" and self._settings.emulator and self._settings.create:
                    await self._make(Backoff(self._service.what))  # it was started again, and keeps nothing
                elif error.passing:
                    await backoff.failed(error)
                else:
                    raise self._service.wrong(error, self._maker.topic) from error
            else:
                backoff.reached()
                return

    async def close(self) -> None:
        if not self._opened:
            await self._service.close()
            return
        self._opened = False
        try:
            runners = list(self._runners)
            for task in runners:
                task.cancel()
            await asyncio.gather(*runners, return_exceptions=True)
            self._lanes.clear()
            self._ready.clear()
        finally:
            await self._service.close()
