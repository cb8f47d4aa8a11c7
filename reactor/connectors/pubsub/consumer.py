"""Reads one subscription: pulls in the background, extends what is in flight, settles in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import anyio.lowlevel

from reactor.connectors.brokers import Backoff, Consumer, Delivery, Wire
from reactor.connectors.pubsub.leases import Leases
from reactor.connectors.pubsub.making import Kind, Maker
from reactor.connectors.pubsub.service import Answered, Service, portions
from reactor.core import TopicError

log = logging.getLogger("reactor")

_AHEAD, _AHEAD_BYTES = 2000, 32_000_000
"""What waits here to be read; then nothing more is pulled."""

_PULL = 1000
"""Messages of one pull."""

_WAIT = 10.0
"""Seconds for which a pull waits for messages."""

_POLL, _POLL_MOST = 0.005, 0.1
"""Seconds between pulls that don't wait."""


class PubSubConsumer(Consumer):
    """One subscription. Tokens are message ids: the ack id of a message changes when it comes again."""

    def __init__(self, service: Service, maker: Maker, wire: Wire, subscription: str, *, kind: Kind) -> None:
        settings = service.settings
        self.prefetch = settings.prefetch
        self._service = service
        self._settings = settings
        self._maker = maker
        self._wire = wire
        self._path = maker.subscription(subscription)
        self._kind: Kind = kind
        self._opened = False
        # To the emulator a pull that was cancelled is one that still waits, and gets messages.
        self._polls = bool(settings.emulator)
        self._pulls = 1 if settings.ordering else 4

    async def open(self) -> None:
        self._leases = Leases()
        self._buffer: deque[Delivery] = deque()
        self._deadline = float(self._settings.ack_deadline)
        self._first = self._deadline
        self._ahead = 0
        """Bytes in the buffer."""
        self._asked = 0
        """Messages that pulls on their way may bring."""
        self._closing = False
        self._failed: TopicError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._made = False
        await self._service.open()
        self._opened = True
        self._arrived, self._room, self._making = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        backoff = Backoff(self._service.what, patience=self._settings.patience)
        self._first = float(await self._maker.make_subscription(self._path, backoff, kind=self._kind))
        self._made = True
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._path}: leases")

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._pulling(), name=f"{self._path}: pull {n}")
                for n in range(self._pulls)
            ]
        while not self._buffer:
            if self._failed is not None:
                raise self._failed
            self._arrived.clear()
            self._room.set()
            await self._arrived.wait()
        buffer = self._buffer
        found = list(islice(buffer, limit))
        for each in found:
            buffer.popleft()
            self._ahead -= len(each.data)
        self._room.set()
        return found

    async def settle(self, tokens: Sequence[Any]) -> None:
        await asyncio.gather(*(self._acknowledge(list(part)) for part in portions(self._leases.of(tokens))))
        self._room.set()

    async def _acknowledge(self, ids: list[str]) -> None:
        backoff = Backoff(self._service.what)
        while acks := dict(self._leases.of(ids)):
            try:
                await self._service.acknowledge(self._path, list(acks.values()))
            except Answered as error:
                await self._trouble(error, backoff)
            else:
                backoff.reached()
                self._leases.settled(acks)
                return

    # Pulling ----------------------------------------------------------------------------------------------------

    async def _pulling(self) -> None:
        backoff = Backoff(self._service.what)
        pause = _POLL
        try:
            while not self._closing:
                count = min(_PULL, self._settings.prefetch - len(self._leases) - self._asked)
                if count < 1 or len(self._buffer) >= _AHEAD or self._ahead >= _AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
                    continue
                self._asked += count
                since = time.monotonic()
                try:
                    found = await self._service.pull(self._path, count, _WAIT, wait=not self._polls)
                except Answered as error:
                    if error.code != "DEADLINE_EXCEEDED" or time.monotonic() - since < _WAIT / 2:
                        await self._trouble(error, backoff)
                    continue
                finally:
                    self._asked -= count
                backoff.reached()
                if found:
                    self._took(found)
                    pause = _POLL
                elif self._polls:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _POLL_MOST)
        except Exception as error:  # whatever it is, the reader has to know
            what = f"{self._service.what}: {self._path}: {type(error).__name__}: {error}"
            self._failed = error if isinstance(error, TopicError) else TopicError(what)
            self._arrived.set()

    def _took(self, found: Any) -> None:
        leases, wire, emulated = self._leases, self._wire, bool(self._settings.emulator)
        until = time.monotonic() + self._first - 0.5  # it has come some time ago
        for received in found:
            message = received.message
            published = message.publish_time
            at = published.seconds * 1_000_000 + published.nanos // 1000
            # The emulator counts from 1 again when it is started again.
            id = f"{message.message_id}@{at}" if emulated else message.message_id
            if not leases.add(id, received.ack_id, until):
                continue  # it is here, or with the source
            told = wire.read(dict(message.attributes), message.data)
            key = message.ordering_key or None if told.key is None else told.key
            when = at if told.time is None else told.time
            self._ahead += len(told.data)
            self._buffer.append(Delivery(id, told.type, key, told.headers, when, told.data, id))
        self._arrived.set()

    # Leases -----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Extend what is in flight, when less than half of its time is left."""
        while True:
            await asyncio.sleep(min(self._deadline, self._first) / 5)
            if self._leases.due(time.monotonic()):
                await self._lapsed()
                continue
            due = self._leases.due(time.monotonic() + min(self._deadline, self._first) * 0.6)
            with suppress(Answered):  # once more the next time; when it is too late, they have lapsed
                for part in portions(due):
                    since = time.monotonic()
                    await self._service.extend(self._path, list(part.values()), int(self._deadline))
                    self._leases.extended(part, since + self._deadline)
            if self._leases.due(time.monotonic()):
                await self._lapsed()

    async def _lapsed(self) -> None:
        """Some belong to the next one who asks, so that all may come again, to be counted once."""
        log.warning(
            "%s: %s: what was in flight wasn't extended in time and comes again",
            self._service.what,
            self._path,
        )
        held = self._lose()
        with suppress(Answered):
            await self._give_back(held, 5.0)

    def _lose(self) -> list[tuple[str, str]]:
        held = self._leases.clear()
        self._buffer.clear()
        self._ahead = 0
        self.lost()
        self._room.set()
        return held

    async def _give_back(self, held: list[tuple[str, str]], timeout: float) -> None:
        for part in portions(held):
            await self._service.extend(self._path, list(part.values()), 0, timeout)

    # Trouble ----------------------------------------------------------------------------------------------------

    async def _trouble(self, error: Answered, backoff: Backoff) -> None:
        """Wait until it may be better; TopicError where it won't be."""
        if error.code == "NOT_FOUND" and self._settings.emulator and self._settings.create:
            # It was started again, and keeps nothing: what was in flight is gone.
            busy = self._making.locked()
            async with self._making:
                if busy:
                    return
                self._lose()
                await self._maker.make_subscription(self._path, Backoff(self._service.what), kind=self._kind)
            return
        if not error.passing:
            raise self._service.wrong(error, self._path) from error
        await backoff.failed(error)

    async def close(self) -> None:
        if not self._opened:
            await self._service.close()
            return
        self._opened, self._closing = False, True
        tasks, self._tasks = self._tasks, []
        try:
            if tasks:
                self._room.set()
                # What a pull on its way would bring is better given back than lost until its deadline.
                await asyncio.wait(tasks, timeout=1.0)
            if self._keeper is not None:
                tasks.append(self._keeper)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Answered, TimeoutError):
                async with asyncio.timeout(3.0):
                    if self._kind == "own" and self._made:
                        await self._service.remove_subscription(self._path, 2.0)
                    elif self._made:
                        await self._give_back(self._leases.clear(), 2.0)
        finally:
            self._buffer.clear()
            await self._service.close()
