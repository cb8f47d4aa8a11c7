"""Reads a queue: several requests at once while there are many messages, one that waits while there are none."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from reactor.connectors.brokers import Backoff, Consumer, Delivery
from reactor.connectors.sqs.failures import FAILURES, Gone
from reactor.connectors.sqs.holding import BATCH, Held, Holding
from reactor.connectors.sqs.message import Messages
from reactor.connectors.sqs.queue import Queue, farewell
from reactor.core import TopicError

log = logging.getLogger("reactor")

_LAST = 5.0
"""Seconds that closing waits for requests on their way: what they still bring would be hidden for a while."""
_LATE = 0.5
"""Seconds after its time in which a request that waited may still be answered."""
_BYE = 3.0


class SqsConsumer(Consumer):
    """Requests run in tasks of their own: what they bring to a ``receive`` that was cancelled is kept."""

    def __init__(self, queue: Queue, *, grouped: bool) -> None:
        self._queue = queue
        self._grouped = grouped
        self.prefetch = queue.settings.prefetch
        self._client: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[None]] = set()
        self._buffer: deque[Delivery] = deque()
        self._holding = Holding(queue, None, "")

    async def open(self) -> None:
        queue, settings = self._queue, self._queue.settings
        queue.need_asyncio()
        if not self._grouped:
            raise TopicError(
                f"{queue.url}: read() can't be had of a queue: whoever reads takes the messages; subscribe a group"
            )
        self._messages = Messages(queue.topic, fifo=queue.fifo, message_group=None)
        self._backoff = Backoff(queue.url)
        self._error: TopicError | None = None
        self._woken = asyncio.Event()
        self._waiting = False
        self._closing = False
        self._down = False
        """The last request has failed."""
        self._waits = False
        """A request is on its way that waits for messages."""
        self._wanted = 0
        self._asked = 0
        """Messages that the requests on their way may bring."""
        self._width = 1
        """Requests to be made at once."""
        self._client = await queue.client(connections=settings.receivers + 20, wait=settings.wait)
        self._holding = Holding(queue, self._client, await queue.opened(self._client))
        self._spawn(self._holding.keep(), self._tasks)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        await asyncio.sleep(0)
        self._wanted = limit
        self._waiting = True
        try:
            while not self._buffer:
                if self._error is not None:
                    raise TopicError(*self._error.args)
                self._woken.clear()
                self._request()
                await self._woken.wait()
        finally:
            self._waiting = False
        found = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._request()
        return found

    async def settle(self, tokens: Sequence[Held]) -> None:
        try:
            whole = await self._holding.settle(tokens)
        except Gone:
            if not self._queue.settings.create:
                raise
            whole = False
            await self._again()
        if not whole:
            self._drop()

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._requests and not self._down:
            await asyncio.wait(self._requests, timeout=min(self._queue.settings.wait, _LAST) + _LATE)
        left = {*self._requests, *self._tasks}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        self._buffer.clear()
        client, self._client = self._client, None
        if client is None:
            return
        held = self._holding.drop()
        if held and not self._down:
            try:
                async with asyncio.timeout(_BYE):
                    await self._holding.let_go(held)
            except TimeoutError:
                log.debug("%s: closed without letting go of %d messages", self._queue.url, len(held))
        await farewell(client)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _request(self) -> None:
        """Make requests until enough is on its way."""
        settings = self._queue.settings
        while len(self._requests) < self._width and not self._closing and self._error is None:
            room = settings.prefetch - len(self._holding) - self._asked
            if room < 1 or len(self._buffer) + self._asked >= self._wanted:
                return
            count = min(BATCH, room)
            self._asked += count
            # Only one waits; the others look what is there.
            wait, self._waits = 0 if self._waits else settings.wait, True
            self._spawn(self._ask(count, wait), self._requests)

    async def _ask(self, count: int, wait: int) -> None:
        found: Sequence[Any] = ()
        try:
            found = await self._asked_for(count, wait)
        except TopicError as error:
            self._error = error
        except Exception as error:
            log.exception("%s", self._queue.url)
            self._error = TopicError(f"{self._queue.url}: {type(error).__name__}: {error}")
        finally:
            self._asked -= count
            if wait:
                self._waits = False
            self._requests.discard(asyncio.current_task())
        self._width = min(self._width + 1, self._queue.settings.receivers) if found else 1
        self._received(found)
        if self._buffer or self._error is not None:
            self._woken.set()
        if self._waiting or found:
            self._request()

    async def _asked_for(self, count: int, wait: int) -> Sequence[Any]:
        try:
            said = await self._client.receive_message(
                QueueUrl=self._holding.address,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=wait,
                VisibilityTimeout=self._queue.settings.visibility,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId"],
            )
        except FAILURES as error:
            self._down = True
            judged = self._queue.judge(error)
            if isinstance(judged, Gone) and self._queue.settings.create:
                await self._again()
                self._drop()
            elif isinstance(judged, TopicError):
                raise judged from None
            else:
                await self._backoff.failed(judged)
            return ()
        self._down = False
        self._backoff.reached()
        return said.get("Messages") or ()

    def _received(self, messages: Iterable[Any]) -> None:
        for message in messages:
            id, handle = message["MessageId"], message["ReceiptHandle"]
            held = self._holding.get(id)
            if held is not None:  # it is here, and has come again: only the new handle counts
                held.renew(handle, self._queue.settings.visibility)
            else:
                self._buffer.append(self._messages.read(message, self._holding.take(id, handle)))

    async def _again(self) -> None:
        try:
            self._holding.address = await self._queue.again(self._client)
        except FAILURES as error:
            judged = self._queue.judge(error)
            if isinstance(judged, TopicError):
                raise judged from None
            await self._backoff.failed(judged)

    def _drop(self) -> None:
        """Messages have expired that were settled: all that is held is let go, and comes again.

        What is let go has to be all: of a message group, later ones would overtake those that the source forgets.
        """
        dropped = self._holding.drop()
        self._buffer.clear()
        self.lost()
        if dropped and not self._closing:
            self._spawn(self._holding.let_go(dropped), self._tasks)
