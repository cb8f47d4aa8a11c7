"""Reading a topic of Kafka: a thread polls, the pipeline takes what it has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel

from reactor.connectors.brokers import Address, Consumer, Delivery
from reactor.connectors.kafka.incoming import Outgoing
from reactor.connectors.kafka.lives import Lives
from reactor.connectors.kafka.names import Names
from reactor.connectors.kafka.patterns import Pattern, is_pattern
from reactor.connectors.kafka.reader import Reader
from reactor.connectors.kafka.settings import Kafka
from reactor.connectors.log import From
from reactor.connectors.loops import AwaitableThread, Post, Waiter, poster

log = logging.getLogger("reactor")

_LEAVING = 5.0
"""Seconds that a consumer has to leave its group, also where the broker is gone."""


class KafkaConsumer(Consumer):
    """The messages of a topic, or of all that match a pattern, for a group or for itself."""

    positional = True
    partitioned = True

    def __init__(
        self, address: Address, settings: Kafka, group: str | None, *, start: From, follow: bool
    ) -> None:
        self._url = str(address)
        self.several = is_pattern(address.path)
        self._pattern = Pattern(address.path) if self.several else None
        self._lives = Lives(Names(address.path))
        self._arguments = (address, self._url, settings, self._lives)
        self._outgoing = Outgoing()
        self._begun: dict[str, int] = {}
        self._before: dict[str, int] = {}
        """The same, before this opening."""
        self._counts = True
        """False where this opening was neither sought nor read: where it would have begun counts for nothing."""
        self._watched = False
        """True where somebody wants to know of its partitions."""
        self._group = group
        self._start: From = start
        self._follow = follow
        self._reader: Reader | None = None
        self._thread: AwaitableThread | None = None
        self._post: Post | None = None

    async def open(self) -> None:
        reader = self._reader = Reader(
            *self._arguments, group=self._group, start=self._start, follow=self._follow
        )
        reader.starts.begun = self._begun
        self._before, self._counts = dict(self._begun), not self._begun
        self._post = poster()
        opened: Waiter[None] = Waiter()
        self._thread = AwaitableThread(lambda: reader.run(opened), f"reactor-kafka-{self._url}")
        self._thread.start()
        await opened.wait()

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        reader, post = self._reader, self._post
        assert reader is not None
        assert post is not None
        self._counts = True
        reader.shelf.begin()
        while True:
            news = anyio.Event()
            # What it takes is returned without another await: a cancelled call has taken nothing.
            lot = reader.shelf.take(limit, lambda news=news: post(news.set))  # type: ignore[misc]
            if lot is None:
                return None
            if lot.parts:
                return self._outgoing.columns(lot)
            if reader.shelf.turned:
                reader.shelf.turned = False
                if self._watched:
                    return ()
                continue
            await news.wait()

    async def settle(self, tokens: Sequence[Any]) -> None:
        reader = self._reader
        if reader is None or not tokens or self._group is None:
            return
        waiter: Waiter[None] = Waiter()
        reader.shelf.settle(dict(tokens), waiter)
        await waiter.wait()

    async def seek(self, positions: Mapping[str, int]) -> None:
        assert self._reader is not None
        self._lives.learn(positions)
        # Where this opening would have begun counts no more: what is unknown was made since.
        self._go_back()
        self._counts = True
        if self._group is None:
            positions = {**self._begun, **positions}
        else:
            self._begun.update(positions)
        await self._reader.seek(positions)

    def _go_back(self) -> None:
        self._begun.clear()
        self._begun.update(self._before)

    def parts(self) -> Collection[str]:
        self._watched = True
        return () if self._reader is None else self._reader.parts.there()

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        return () if self._reader is None else self._reader.parts.quiet(parts)

    def reads(self, topic: str) -> bool:
        return self._pattern is not None and self._pattern.matches(topic)

    def begun(self) -> Mapping[str, int]:
        return {**self._begun, **self._lives.facts}

    async def close(self) -> None:
        reader, thread = self._reader, self._thread
        self._reader = self._thread = self._post = None
        if reader is None or thread is None:
            return
        reader.shelf.stop()
        if not self._counts:
            self._go_back()
        with anyio.move_on_after(_LEAVING) as leaving:
            await thread.ended()
        if leaving.cancelled_caught:
            log.warning("%s: the consumer hasn't left its group within %g s", self._url, _LEAVING)
