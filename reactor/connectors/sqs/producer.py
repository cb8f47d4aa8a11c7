"""Sends batches of ten, several at once; those of a message group one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from reactor.connectors.brokers import Backoff, Producer
from reactor.connectors.log import Entry
from reactor.connectors.sqs.failures import FAILURES, Gone, busy
from reactor.connectors.sqs.message import Messages, Outgoing
from reactor.connectors.sqs.queue import Queue, farewell
from reactor.core import Refused, TopicError

log = logging.getLogger("reactor")

BATCH = 10
_BYTES = 32 * 1024 * 1024
"""So much may be waiting and on its way, besides the number of messages."""


class _Lane:
    """Messages that wait; ``most`` batches of them may be on their way at once."""

    __slots__ = ("most", "senders", "waiting")

    def __init__(self, most: int) -> None:
        self.waiting: deque[Outgoing] = deque()
        self.senders = 0
        self.most = most


class SqsProducer(Producer):
    """At a standard queue, all share one lane. At a FIFO queue, each group has its lane, with one sender."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._client: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        queue, settings = self._queue, self._queue.settings
        queue.need_asyncio()
        self._messages = Messages(queue.topic, fifo=queue.fifo, message_group=settings.message_group)
        self._backoff = Backoff(queue.url, most=2.0)
        self._count = self._size = 0
        self._error: TopicError | None = None
        self._changed = asyncio.Event()
        count = settings.senders if queue.fifo else 1
        self._lanes = [_Lane(1 if queue.fifo else settings.senders) for _ in range(count)]
        self._client = await queue.client(connections=settings.senders + 1)
        self._address = await queue.opened(self._client)
        self._largest = await queue.allows(self._client, self._address)

    async def send(self, entries: Sequence[Entry]) -> None:
        messages: list[Outgoing] = []
        refused: dict[int, Exception] = {}
        for index, entry in enumerate(entries):
            message = self._messages.write(entry)
            if message.size > self._largest:
                refused[index] = TopicError(
                    f"{self._queue.url}: the event has {message.size} bytes with its headers, and a message at "
                    f"most {self._largest}; send less, or raise largest= (to 1048576, where the queue allows it)"
                )
            messages.append(message)
        if refused:
            raise Refused(refused)
        buffer, lanes = self._queue.settings.buffer, self._lanes
        for message in messages:
            while self._count >= buffer or (self._size + message.size > _BYTES and self._count):
                self._start()
                await self._change()
            lane = lanes[hash(message.group) % len(lanes)]
            lane.waiting.append(message)
            self._count += 1
            self._size += message.size
        self._start()
        await asyncio.sleep(0)
        self._check()

    async def flush(self) -> None:
        self._check()
        while self._count:
            await self._change()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        client, self._client = self._client, None
        if client is not None:
            await farewell(client)

    def _check(self) -> None:
        if self._error is not None:
            raise TopicError(*self._error.args)

    async def _change(self) -> None:
        self._changed.clear()
        self._check()
        await self._changed.wait()
        self._check()

    def _start(self) -> None:
        for lane in self._lanes:
            while lane.senders < lane.most and len(lane.waiting) > BATCH * lane.senders:
                lane.senders += 1
                task = asyncio.get_running_loop().create_task(self._run(lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, lane: _Lane) -> None:
        try:
            while lane.waiting and self._error is None:
                batch = self._take(lane)
                await self._deliver(batch)
                self._count -= len(batch)
                self._size -= sum(each.size for each in batch)
                self._changed.set()
        except TopicError as error:
            self._error = error
        except Exception as error:
            log.exception("%s", self._queue.url)
            self._error = TopicError(f"{self._queue.url}: {type(error).__name__}: {error}")
        finally:
            lane.senders -= 1
            self._changed.set()

    def _take(self, lane: _Lane) -> list[Outgoing]:
        batch: list[Outgoing] = []
        size = 0
        while lane.waiting and len(batch) < BATCH and size + lane.waiting[0].size <= self._largest:
            size += lane.waiting[0].size
            batch.append(lane.waiting.popleft())
        return batch

    async def _deliver(self, batch: Sequence[Outgoing]) -> None:
        """Return once the queue has all of them."""
        left = {str(index): each.entry for index, each in enumerate(batch)}
        while left:
            entries = [{"Id": id, **entry} for id, entry in left.items()]
            try:
                said = await self._client.send_message_batch(QueueUrl=self._address, Entries=entries)
            except FAILURES as error:
                judged = self._queue.judge(error)
                if isinstance(judged, Gone) and self._queue.settings.create:
                    await self._again()
                elif isinstance(judged, TopicError):
                    raise judged from None
                else:
                    await self._backoff.failed(judged)
                continue
            self._backoff.reached()
            for each in said.get("Successful", ()):
                left.pop(each["Id"], None)
            if left:
                await self._failed(said.get("Failed", ()), left)

    async def _failed(self, failed: Sequence[Any], left: dict[str, Any]) -> None:
        """Wait before those that failed are sent again, or raise where that is no use."""
        for each in failed:
            if each.get("SenderFault") and not busy(each.get("Code")):
                raise TopicError(
                    f"{self._queue.url}: a message was refused: {each.get('Code')}: {each.get('Message')}"
                )
        code = failed[0].get("Code") if failed else "no answer"
        if self._queue.fifo:
            log.warning(
                "%s: %d messages of a batch failed (%s) and are sent again: of the same key, others may have "
                "overtaken them",
                *(self._queue.url, len(left), code),
            )
        await self._backoff.failed(TopicError(f"{len(left)} messages of a batch failed: {code}"))

    async def _again(self) -> None:
        try:
            self._address = await self._queue.again(self._client)
        except FAILURES as error:
            judged = self._queue.judge(error)
            if isinstance(judged, TopicError):
                raise judged from None
            await self._backoff.failed(judged)
