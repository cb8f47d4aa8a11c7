"""Looking at what waits in a queue: it is received, not deleted, and let go again."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from reactor.connectors.brokers import Backoff, Delivery
from reactor.connectors.sqs.failures import FAILURES, Gone
from reactor.connectors.sqs.holding import BATCH, Held, Holding
from reactor.connectors.sqs.message import Messages
from reactor.connectors.sqs.queue import Queue, farewell
from reactor.core import TopicError

log = logging.getLogger("reactor")

_WAIT = 1
"""Seconds of a request that waits: it asks all of SQS's servers, and brings nothing only where nothing is."""

_MOST, _MOST_FIFO = 120_000, 20_000
"""Messages of a queue that may be in flight."""

_BYE = 10.0
"""Seconds in which all are let go; what isn't by then is hidden until its visibility is over."""


async def look(queue: Queue, over: Callable[[Delivery], bool] | None) -> list[Delivery]:
    """Return what waits in the queue; what is ``over`` is deleted, and the rest is there as before.

    A process that dies meanwhile loses nothing: what it has received is hidden for ``visibility`` seconds.
    """
    queue.need_asyncio()
    if queue.fifo and queue.settings.message_group is not None:
        raise TopicError(
            f"{queue.url}: message_group= makes it one group, of which SQS shows ten at a time; leave it out"
        )
    client = await queue.client(connections=queue.settings.receivers + 20, wait=_WAIT)
    try:
        try:
            address = await queue.opened(client)
        except Gone:
            raise Gone(f"{queue.url}: there is no such queue") from None
        await _check(queue, client, address)
        return await _Look(queue, client, address, over).all()
    finally:
        with anyio.CancelScope(shield=True):
            await farewell(client)


async def _check(queue: Queue, client: Any, address: str) -> None:
    """A queue from which SQS takes what was received often isn't one to be looked at."""
    names = ["RedrivePolicy", "ApproximateNumberOfMessagesNotVisible"]
    try:
        said = await client.get_queue_attributes(QueueUrl=address, AttributeNames=names)
    except FAILURES as error:
        log.debug("%s: its attributes can't be had: %s", queue.url, error)
        return
    attributes = said.get("Attributes") or {}
    most = json.loads(attributes.get("RedrivePolicy") or "{}").get("maxReceiveCount")
    if most is not None:
        raise TopicError(
            f"{queue.url}: each look counts as a receive, and after {most} of them SQS moves a message away; take "
            "the queue's redrive policy off"
        )
    elsewhere = int(attributes.get("ApproximateNumberOfMessagesNotVisible", 0))
    if elsewhere:
        log.warning(
            "%s: about %d messages are in flight with somebody else, and can't be seen now; look again in %d s",
            *(queue.url, elsewhere, queue.settings.visibility),
        )


class _Look:
    """One look at a queue."""

    def __init__(
        self, queue: Queue, client: Any, address: str, over: Callable[[Delivery], bool] | None
    ) -> None:
        self._queue = queue
        self._client = client
        self._over = over
        self._holding = Holding(queue, client, address)
        self._messages = Messages(queue.topic, fifo=queue.fifo, message_group=None)
        self._backoff = Backoff(queue.url, patience=queue.settings.patience)
        self._found: list[Delivery] = []

    async def all(self) -> list[Delivery]:
        keeping = asyncio.get_running_loop().create_task(self._holding.keep())
        most = _MOST_FIFO if self._queue.fifo else _MOST
        try:
            width = 1
            while any(await asyncio.gather(*(self._ask(_WAIT if not n else 0) for n in range(width)))):
                width = self._queue.settings.receivers
                if len(self._found) + width * BATCH > most:
                    raise TopicError(
                        f"{self._queue.url}: SQS lets no more than {most} messages be in flight, so a longer "
                        "queue can't be looked at; take out those that are over (dead-letters clear), or keep "
                        "dead letters in a log: sqlite:, kafka:, nats:, redis:, amqp:"
                    )
            return self._found
        finally:
            keeping.cancel()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_BYE):
                await asyncio.wait({keeping})
                await self._holding.let_go(self._holding.drop())

    async def _ask(self, wait: int) -> bool:
        """Make a request; return whether it has brought something."""
        while True:
            try:
                said = await self._client.receive_message(
                    QueueUrl=self._holding.address,
                    MaxNumberOfMessages=BATCH,
                    WaitTimeSeconds=wait,
                    VisibilityTimeout=self._queue.settings.visibility,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId"],
                )
            except FAILURES as error:
                judged = self._queue.judge(error)
                if isinstance(judged, TopicError):
                    raise judged from None
                await self._backoff.failed(judged)
                continue
            self._backoff.reached()
            messages = said.get("Messages") or ()
            await self._took(messages)
            return bool(messages)

    async def _took(self, messages: Sequence[Any]) -> None:
        done: list[Held] = []
        for message in messages:
            id, handle = message["MessageId"], message["ReceiptHandle"]
            held = self._holding.get(id)
            if held is not None:  # it has come again: only the new handle counts
                held.renew(handle, self._queue.settings.visibility)
                continue
            held = self._holding.take(id, handle)
            found = self._messages.read(message, held)
            if self._over is not None and self._over(found):
                done.append(held)
            else:
                self._found.append(found)
        if done:
            await self._holding.settle(done)
