"""A topic at Google Cloud Pub/Sub, and its groups' subscriptions."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import msgspec

from reactor.connectors.brokers import (
    Address,
    Broker,
    Capabilities,
    Consumer,
    Delivery,
    Producer,
    Wire,
    configured,
)
from reactor.connectors.log import From
from reactor.connectors.pubsub.consumer import PubSubConsumer
from reactor.connectors.pubsub.looking import look
from reactor.connectors.pubsub.making import Kind, Maker, named, subscription_of
from reactor.connectors.pubsub.producer import PubSubProducer
from reactor.connectors.pubsub.service import Service
from reactor.connectors.pubsub.settings import PubSub
from reactor.core import ArgumentError, MissingExtra

_WRITE = "pubsub://PROJECT/TOPIC"
_KEPT = "dead-letters"
"""The group whose subscription keeps dead letters."""
_MOST = 1_000_000
"""Messages of one look."""
_QUIET, _QUIET_HERE = 5.0, 1.0
"""Seconds without a message after which a look ends; at the emulator, whose pulls tell what is there now."""


class PubSubBroker(Broker):
    """A topic, and a subscription for each group: ``TOPIC-GROUP``."""

    capabilities = Capabilities(
        retains=False, ends=False, ordered="key", replay=False, largest=10_000_000, looks=True
    )

    def __init__(self, address: Address, settings: PubSub, *, keeps: bool = False) -> None:
        """``keeps``: a subscription of its own keeps what is published, for those who look."""
        super().__init__(address)
        self.project = address.host.removesuffix(":0")  # as an address without ports shows it
        self.settings = settings
        self.identity = f"{settings.emulator or address.scheme}://{self.project}/{self.topic}"
        named(self.url, self.topic, "a topic")
        groups = filter(None, (group.strip() for group in settings.groups.split(",")))
        self._early = [subscription_of(self.url, self.topic, group) for group in groups]
        self._kept = subscription_of(self.url, self.topic, _KEPT) if keeps else None
        if "/" not in settings.dead_letter and settings.dead_letter:
            named(self.url, settings.dead_letter, "a topic")

    @classmethod
    def at(cls, url: str, config: Any) -> PubSubBroker:
        address = Address.parse(url, port=0, hosts=False, write=_WRITE)
        if address.user is not None or len(address.hosts) != 1:
            raise ArgumentError(
                f"topic({str(address)!r}): write {_WRITE}; credentials are found as Google's clients find them"
            )
        settings = configured(address, PubSub, config)
        if not settings.emulator and (found := os.environ.get("PUBSUB_EMULATOR_HOST")):
            settings = msgspec.structs.replace(settings, emulator=found)
        if not _installed():
            raise MissingExtra("Google Cloud Pub/Sub", "pubsub")
        return (PubSubBroker if settings.ordering else UnorderedPubSubBroker)(address, settings)

    def consumer(self, group: str | None, *, start: From, follow: bool) -> Consumer:

        name = f"reader.{secrets.token_hex(8)}" if group is None else group
        subscription = subscription_of(self.url, self.topic, name)
        service = Service(self._what, self.settings)
        maker = Maker(service, self.project, self.topic)
        kind: Kind = "own" if group is None else "group"
        return PubSubConsumer(service, maker, Wire(self.topic), subscription, kind=kind)

    def producer(self) -> Producer:

        service = Service(self._what, self.settings)
        maker = Maker(service, self.project, self.topic)
        return PubSubProducer(service, maker, Wire(self.topic), self._early, self._kept)

    def keeping(self) -> PubSubBroker:
        found = type(self)(self.address, self.settings, keeps=True)
        found.config = self.config
        return found

    async def look(
        self, *, make: bool = True, over: Callable[[Delivery], bool] | None = None
    ) -> Sequence[Delivery]:
        if self._kept is None:
            return await self.keeping().look(make=make, over=over)
        create = make and self.settings.create
        settings = msgspec.structs.replace(self.settings, prefetch=_MOST, create=create)
        service = Service(self._what, settings)
        maker = Maker(service, self.project, self.topic)
        consumer = PubSubConsumer(service, maker, Wire(self.topic), self._kept, kind="kept")
        return await look(consumer, self._what, _QUIET_HERE if settings.emulator else _QUIET, over)

    @property
    def _what(self) -> str:
        return f"topic {self.url}"


class UnorderedPubSubBroker(PubSubBroker):
    """With ordering=false."""

    capabilities = replace(PubSubBroker.capabilities, ordered="none")


def _installed() -> bool:
    """Whether its client is there. It is imported in a thread, at the first opening: that takes a while."""
    try:
        return find_spec("google.pubsub_v1") is not None and find_spec("grpc") is not None
    except ModuleNotFoundError:
        return False
