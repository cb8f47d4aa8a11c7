"""One queue of Amazon SQS as a topic."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from reactor.connectors.brokers import (
    Address,
    Broker,
    Capabilities,
    Consumer,
    Delivery,
    Producer,
    configured,
)
from reactor.connectors.log import From
from reactor.connectors.sqs.consumer import SqsConsumer
from reactor.connectors.sqs.looking import look
from reactor.connectors.sqs.producer import SqsProducer
from reactor.connectors.sqs.queue import Queue
from reactor.connectors.sqs.settings import LARGEST, Sqs
from reactor.core import ArgumentError

_WRITE = "sqs://REGION/QUEUE or sqs://REGION/ACCOUNT/QUEUE"
_NAME = re.compile(r"(?:\d{12}/)?(?=[^/]{1,80}$)[A-Za-z0-9_-]+(?:\.fifo)?")
_KEPT = 14 * 24 * 60 * 60
"""Seconds for which a queue keeps a message, at most."""
_REGION = re.compile(r"[a-z0-9-]+")


class SqsBroker(Broker):
    """A standard queue: messages are there until one of its readers has settled them, in no order."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        fanout=False, ends=False, ordered="none", replay=False, largest=LARGEST, looks=True
    )

    def __init__(self, address: Address, settings: Sqs, *, retention: int | None = None) -> None:
        super().__init__(address)
        region = address.host
        self.url = str(address).replace(f"{region}:0/", f"{region}/", 1)
        where = "" if settings.endpoint is None else f"?endpoint={settings.endpoint.rstrip('/')}"
        self.identity = f"sqs://{region}/{address.path}{where}"
        self.settings = settings
        self._retention = retention
        self._queue = Queue(self.url, region, address.path, settings, retention=retention)

    @classmethod
    def at(cls, url: str, config: Any) -> SqsBroker:
        address = Address.parse(url, port=0, write=_WRITE, hosts=False)
        address = replace(address, hosts=tuple((host.removesuffix(":0"), 0) for host, _ in address.hosts))
        if address.user is not None:
            raise ArgumentError(
                f"topic({str(address)!r}): a URL of SQS has no user or password; credentials come from the "
                "environment, a profile or a role, as for AWS's own tools"
            )
        if len(address.hosts) > 1 or not _REGION.fullmatch(address.host):
            raise ArgumentError(f"topic({str(address)!r}): {address.host!r} is no region; write {_WRITE}")
        if not _NAME.fullmatch(address.path):
            raise ArgumentError(
                f"topic({str(address)!r}): a queue's name has up to 80 letters, digits, - and _ (and .fifo at its "
                f"end); write {_WRITE}"
            )
        settings = configured(address, Sqs, config)
        settings.check(str(address))
        kind = SqsFifoBroker if address.path.endswith(".fifo") else SqsBroker
        return kind(address, settings)

    def keeping(self) -> SqsBroker:
        """The queue for as long as SQS keeps anything; none that moves away what was looked at often."""
        return self._with(_KEPT, max_receives=None, dead_letters=None)

    def _with(self, retention: int | None, **options: Any) -> SqsBroker:
        settings = msgspec.structs.replace(self.settings, **options)
        found = type(self)(self.address, settings, retention=retention)
        found.config = self.config
        return found

    def beside(self, name: str) -> Broker:
        if "/" not in name:
            return super().beside(name)
        found = self.at(replace(self.address, path=name).whole, self.config)  # with its account
        found.config = self.config
        return found

    def part(self, name: str) -> str:
        queue = self.topic.rpartition("/")[2]
        return f"{queue.removesuffix('.fifo')}-{name}{'.fifo' if queue.endswith('.fifo') else ''}"

    async def look(
        self, *, make: bool = True, over: Callable[[Delivery], bool] | None = None
    ) -> Sequence[Delivery]:
        found = self._with(self._retention, create=make and self.settings.create)
        return await look(found._queue, over)

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:
        if start == "latest":
            raise ArgumentError(
                f'start="latest": {self.url} is a queue, which all groups share: it has no end to begin at'
            )
        return SqsConsumer(self._queue, grouped=group is not None)

    def producer(self) -> Producer:
        return SqsProducer(self._queue)


class SqsFifoBroker(SqsBroker):
    """A FIFO queue: those of a key in their order, and none twice within five minutes."""

    capabilities: ClassVar[Capabilities] = replace(SqsBroker.capabilities, ordered="key", deduplicates=True)
