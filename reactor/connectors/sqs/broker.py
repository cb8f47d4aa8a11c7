"""One queue of Amazon SQS as a topic."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

from reactor.connectors.brokers import Address, Broker, Capabilities, Consumer, Producer, configured
from reactor.connectors.log import From
from reactor.connectors.sqs.consumer import SqsConsumer
from reactor.connectors.sqs.producer import SqsProducer
from reactor.connectors.sqs.queue import Queue
from reactor.connectors.sqs.settings import LARGEST, Sqs
from reactor.core import ArgumentError

_WRITE = "sqs://REGION/QUEUE or sqs://REGION/ACCOUNT/QUEUE"
_NAME = re.compile(r"(?:\d{12}/)?(?=[^/]{1,80}$)[A-Za-z0-9_-]+(?:\.fifo)?")
_REGION = re.compile(r"[a-z0-9-]+")


class SqsBroker(Broker):
    """A standard queue: messages are there until one of its readers has settled them, in no order."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        fanout=False, ends=False, ordered="none", replay=False, largest=LARGEST
    )

    def __init__(self, address: Address, settings: Sqs) -> None:
        super().__init__(address)
        region = address.host
        self.url = str(address).replace(f"{region}:0/", f"{region}/", 1)
        where = "" if settings.endpoint is None else f"?endpoint={settings.endpoint.rstrip('/')}"
        self.identity = f"sqs://{region}/{address.path}{where}"
        self.settings = settings
        self._queue = Queue(self.url, region, address.path, settings)

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

    capabilities: ClassVar[Capabilities] = Capabilities(
        fanout=False, ends=False, ordered="key", replay=False, largest=LARGEST, deduplicates=True
    )
