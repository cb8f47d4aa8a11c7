"""Messages that a reader holds: kept hidden from others, settled, or let go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from reactor.connectors.brokers import Backoff
from reactor.connectors.sqs.failures import FAILURES, busy
from reactor.connectors.sqs.queue import Queue
from reactor.core import TopicError

log = logging.getLogger("reactor")

BATCH = 10
_AT_ONCE = 8
"""Requests at the same time."""
_LONGEST = 43_200.0
"""Seconds after its receipt for which SQS keeps a message hidden, at most."""
_EXPIRED = ("ReceiptHandleIsInvalid", "MessageNotInflight")


class Held:
    """A message that was received and isn't settled; it is the token, too."""

    __slots__ = ("expired", "gone", "handle", "id", "since", "until")

    def __init__(self, id: str, handle: str, visibility: float) -> None:
        self.id = id
        self.gone = False
        """Settled, or let go."""
        self.renew(handle, visibility)

    def renew(self, handle: str, visibility: float) -> None:
        """It was received (again): the newest handle counts."""
        self.handle = handle
        self.since = time.monotonic()
        self.until = self.since + visibility
        self.expired = False
        """SQS doesn't know the handle any more: the message comes again, or another reader has it."""


class Holding:
    """What one reader holds."""

    def __init__(self, queue: Queue, client: Any, address: str) -> None:
        self._queue = queue
        self._client = client
        self.address = address
        self._visibility = float(queue.settings.visibility)
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, id: str) -> Held | None:
        return self._held.get(id)

    def take(self, id: str, handle: str) -> Held:
        """Note a message that was received."""
        held = self._held[id] = Held(id, handle, self._visibility)
        return held

    def drop(self) -> list[Held]:
        """Hold nothing any more; return what that was."""
        dropped = list(self._held.values())
        self._held.clear()
        for each in dropped:
            each.gone = True
        return dropped

    async def settle(self, tokens: Iterable[Held]) -> bool:
        """Delete them; return whether all were, or some had expired and come again."""
        whole = True

        async def delete(some: Sequence[Held]) -> None:
            nonlocal whole
            if not await self._delete(some):
                whole = False

        await _each([each for each in tokens if not each.gone], delete)
        return whole

    async def keep(self) -> None:
        """Extend the visibility of all that is held, for ever, each time half of it is over."""
        visibility = self._visibility
        while True:
            await asyncio.sleep(max(visibility / 10, 0.1))
            late = time.monotonic() + visibility / 2
            due = [each for each in self._held.values() if each.until < late and not each.expired]
            try:
                await _each(due, self._extend)
            except Exception:
                log.exception("%s: the visibility of messages wasn't extended", self._queue.url)

    async def let_go(self, held: Sequence[Held]) -> None:
        """Let others have them at once; where that fails, they get them when the visibility is over."""

        async def show(some: Sequence[Held]) -> None:
            try:
                await self._change(some, dict.fromkeys(some, 0))
            except FAILURES as error:
                log.debug("%s: %d messages weren't let go: %s", self._queue.url, len(some), error)

        await _each([each for each in held if not each.expired], show)

    async def _delete(self, held: Sequence[Held]) -> bool:
        whole = True
        backoff = Backoff(self._queue.url)
        left = list(held)
        while left:
            entries = [{"Id": str(n), "ReceiptHandle": each.handle} for n, each in enumerate(left)]
            try:
                said = await self._client.delete_message_batch(QueueUrl=self.address, Entries=entries)
            except FAILURES as error:
                judged = self._queue.judge(error)
                if isinstance(judged, TopicError):
                    raise judged from None
                await backoff.failed(judged)
                continue
            backoff.reached()
            again: list[Held] = []
            for failure in said.get("Failed", ()):
                its = left[int(failure["Id"])]
                if _expired(failure):
                    its.expired = True
                    whole = False
                elif failure.get("SenderFault") and not busy(failure.get("Code")):
                    raise TopicError(
                        f"{self._queue.url}: a message can't be deleted: {failure.get('Code')}: "
                        f"{failure.get('Message')}"
                    )
                else:
                    again.append(its)
            for success in said.get("Successful", ()):
                its = left[int(success["Id"])]
                its.gone = True
                if self._held.get(its.id) is its:
                    del self._held[its.id]
            left = again
            if left:
                await backoff.failed(TopicError(f"{len(left)} messages of a batch weren't deleted"))
        return whole

    async def _extend(self, held: Sequence[Held]) -> None:
        now = time.monotonic()
        wanted: dict[Held, int] = {}
        for each in held:
            seconds = int(min(self._visibility, each.since + _LONGEST - 60 - now))
            if seconds < 1:
                each.expired = True  # soon
            elif not each.gone:
                wanted[each] = seconds
        if not wanted:
            return
        try:
            async with asyncio.timeout(max(self._visibility / 4, 1.0)):
                failures = await self._change(list(wanted), wanted)
        except FAILURES as error:
            log.debug(
                "%s: the visibility of %d messages wasn't extended: %s", self._queue.url, len(wanted), error
            )
            return  # in a moment again
        for each, seconds in wanted.items():
            failure = failures.get(each)
            if failure is None:
                each.until = now + seconds
            elif _expired(failure):
                each.expired = True

    async def _change(self, held: Sequence[Held], seconds: dict[Held, int]) -> dict[Held, Any]:
        """Change their visibility; return what failed."""
        entries = [
            {"Id": str(n), "ReceiptHandle": each.handle, "VisibilityTimeout": seconds[each]}
            for n, each in enumerate(held)
        ]
        said = await self._client.change_message_visibility_batch(QueueUrl=self.address, Entries=entries)
        return {held[int(failure["Id"])]: failure for failure in said.get("Failed", ())}


def _expired(failure: Any) -> bool:
    code = str(failure.get("Code", ""))
    return code.endswith(_EXPIRED) or "expired" in str(failure.get("Message", ""))


async def _each(held: Sequence[Held], call: Callable[[Sequence[Held]], Awaitable[None]]) -> None:
    """Call it for each ten of them, some at the same time; raise the first error once all are over."""
    batches = [held[first : first + BATCH] for first in range(0, len(held), BATCH)]
    if len(batches) == 1:
        await call(batches[0])
        return
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(batch: Sequence[Held]) -> None:
        async with slots:
            await call(batch)

    found = await asyncio.gather(*map(one, batches), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
