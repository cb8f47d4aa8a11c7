"""A little broker inside the process, for tests of the suite: it does all that is asked, or has one fault."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import anyio

from reactor.connectors.brokers import (
    Address,
    Broker,
    Capabilities,
    Consumer,
    Delivery,
    Producer,
    Settings,
    Wire,
    configured,
)
from reactor.connectors.codec import JsonCodec
from reactor.connectors.log import Entry, From
from reactor.core import Refused, TopicError
from reactor.topics import Topic

LARGEST = 100_000
PORT = 7


class Pond:
    """All topics of the broker, and what is wrong with it."""

    def __init__(self, fault: str | None = None) -> None:
        self.fault = fault
        self.topics: dict[str, list[Delivery]] = {}
        self.ids: dict[str, set[str]] = {}
        self.groups: dict[tuple[str, str], Group] = {}
        self.paused = False
        self.restarts = 0
        self._names = itertools.count()

    def has(self, fault: str) -> bool:
        return self.fault == fault

    def messages(self, topic: str) -> list[Delivery]:
        return self.topics.setdefault(topic, [])

    def group(self, topic: str, name: str | None, start: From) -> Group:
        if self.has("one group for all"):
            name = "all"
        key = (topic, name or f"own {next(self._names)}")
        if name is None and self.has("remembers who has no group"):
            key = (topic, "")
        if key not in self.groups:
            self.groups[key] = Group(self._first(topic, start))
        return self.groups[key]

    def _first(self, topic: str, start: From) -> int:
        messages = self.messages(topic)
        if isinstance(start, datetime) and not self.has("ignores times"):
            since = start.timestamp() * 1e6
            return sum(1 for each in messages if each.time < since)
        latest = start == "latest"
        if self.has("begins at the other end"):
            latest = not latest
        return len(messages) if latest else 0

    def restart(self) -> None:
        self.restarts += 1
        for group in self.groups.values():
            if not self.has("forgets what is out at a restart"):
                group.give_back()
            group.out.clear()

    async def works(self) -> None:
        while self.paused:
            await anyio.sleep(0.002)


class Group:
    """Where a group stands, what came back, and what its readers have."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.back: list[Delivery] = []
        self.out: dict[int, Delivery] = {}
        self.tokens = itertools.count()
        self.ghosts = 0

    def give_back(self, reader: Any = None) -> None:
        its = [token for token, each in self.out.items() if reader is None or each.token is reader]
        self.back = [*(self.out.pop(token) for token in its), *self.back]


class PondSettings(Settings, frozen=True):
    """Options of the URL."""

    patience: float = 10.0


class PondBroker(Broker):
    """One topic of the pond."""

    capabilities = Capabilities(largest=LARGEST, deduplicates=True)
    pond = Pond()

    def __init__(self, address: Address, settings: PondSettings) -> None:
        super().__init__(address)
        self.settings = settings
        if self.pond.has("shows the password"):
            self.url = f"{self.url}#{address.password}"

    @classmethod
    def at(cls, url: str, config: Any = None) -> PondBroker:
        address = Address.parse(url, port=PORT, write="pond://HOST/TOPIC")
        if cls.pond.has("takes any option"):
            return cls(address, PondSettings())
        return cls(address, configured(address, PondSettings, config))

    def consumer(self, group: str | None, *, start: From, follow: bool) -> PondConsumer:
        return PondConsumer(self, group, start, follow)

    def producer(self) -> PondProducer:
        return PondProducer(self)

    def source(self, *arguments: Any, **options: Any) -> Any:
        found: Any = super().source(*arguments, **options)
        if self.pond.has("hides who it is"):
            found.identity = None
        return found

    async def reached(self) -> None:
        if self.address.port != PORT and not self.pond.has("is everywhere"):
            await anyio.sleep(0.01)
            raise TopicError(f"{self.url}: nobody is there")


class PondConsumer(Consumer):
    """A reader; each message is settled by itself."""

    prefetch = 50

    def __init__(self, broker: PondBroker, group: str | None, start: From, follow: bool) -> None:
        self._broker, self._pond, self._wire = broker, broker.pond, Wire(broker.topic)
        self._name, self._start, self._follow = group, start, follow
        self._group: Group | None = None
        self._held: list[Delivery] = []

    async def open(self) -> None:
        await self._broker.reached()
        pond, topic = self._pond, self._broker.topic
        self._group = pond.group(topic, self._name, self._start)
        if pond.has("gives everything to each reader"):
            self._group = Group(self._group.next)
        self._end = len(pond.messages(topic))
        self._restarts = pond.restarts

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        pond, group = self._pond, self._group
        assert group is not None
        while True:
            try:
                await pond.works()
                await anyio.sleep(0.001)
            except BaseException:
                if pond.has("a reader that left still takes"):
                    group.ghosts += 1
                raise
            if self._restarts != pond.restarts:
                if pond.has("ends at a restart"):
                    raise TopicError("the connection was lost")
                self._restarts = pond.restarts
                self.lost()
            taken, self._held = [*self._held, *self._take(group, limit)], []
            if pond.has("gives more than is asked"):
                taken += self._take(group, 500)
            if pond.has("takes more than it says"):
                taken = [*taken, *self._take(group, 10_000)]
                taken, self._held = taken[:limit], taken[limit:]
            if pond.has("loses what it has when it is cancelled"):
                await anyio.sleep(0.003)
            if taken:
                return taken
            if not self._follow and group.next >= self._end and not pond.has("never ends"):
                return None

    def _take(self, group: Group, limit: int) -> Iterator[Delivery]:
        pond, messages = self._pond, self._pond.messages(self._broker.topic)
        while limit:
            if group.back:
                message = group.back.pop(0)
                if pond.has("names what comes again anew"):
                    message = message._replace(id=f"{message.id}'")
            elif group.next < len(messages):
                message = messages[group.next]
                group.next += 1
            else:
                return
            if group.ghosts:
                group.ghosts -= 1
                continue
            limit -= 1
            token = next(group.tokens)
            if not pond.has("settles what it gives"):
                group.out[token] = message._replace(token=self)
            yield message._replace(token=token)

    async def settle(self, tokens: Sequence[Any]) -> None:
        await self._pond.works()
        assert self._group is not None
        if self._pond.has("settles nothing"):
            return
        for token in list(self._group.out) if self._pond.has("settles all") else tokens:
            self._group.out.pop(token, None)

    async def close(self) -> None:
        if self._group is None:
            return
        if self._pond.has("closes slowly"):
            await self._pond.works()
        if self._pond.has("keeps what it had"):
            return
        self._group.give_back(self)
        if self._pond.has("forgets groups that have settled nothing") and not self._group.out:
            key = (self._broker.topic, self._name or "")
            self._pond.groups.pop(key, None)


class PondProducer(Producer):
    """A writer; a send is a transaction."""

    def __init__(self, broker: PondBroker) -> None:
        self._broker, self._pond, self._wire = broker, broker.pond, Wire(broker.topic)
        self._held: list[Entry] = []

    async def open(self) -> None:
        await self._broker.reached()

    async def send(self, entries: Sequence[Entry]) -> None:
        pond = self._pond
        large = {
            n: TopicError(f"topic {self._broker.topic}: {len(entry[5])} bytes are too many: {LARGEST}")
            for n, entry in enumerate(entries)
            if len(entry[5]) > LARGEST and not pond.has("takes any size")
        }
        if large:
            raise Refused(large)
        if pond.has("confirms what it holds"):
            self._held += entries
            return
        if not pond.has("takes more and more while it stands still"):
            await pond.works()
        self._add(entries)

    async def close(self) -> None:
        self._add(self._held)

    def _add(self, entries: Sequence[Entry]) -> None:
        pond, topic = self._pond, self._broker.topic
        messages, ids = pond.messages(topic), pond.ids.setdefault(topic, set())
        if pond.has("turns chunks round"):
            entries = entries[::-1]
        for entry in entries:
            id = self._wire.id_of(entry)
            if id in ids and not pond.has("stores an id again"):
                continue
            ids.add(id)
            headers: Mapping[str, str] = self._wire.headers(entry, id=id)
            told = self._wire.read(headers, entry[5])
            if pond.has("passes headers on as lines"):
                lines = [f"{name}: {value}" for name, value in headers.items()]
                pairs = (line.partition(": ") for each in lines for line in each.split("\r\n"))
                told = self._wire.read({name: value for name, _, value in pairs}, entry[5])
            own = None if pond.has("forgets headers") else told.headers
            kind = told.type
            if pond.has("takes any prefix for its own"):
                kind = next((v for n, v in (own or {}).items() if n.endswith("type")), kind)
            data = told.data + b" " if pond.has("changes bytes") else told.data
            if pond.has("knows ASCII only"):
                data = data.decode().encode("ascii", "ignore")
            when = int(time.time() * 1e6) if told.time is None else told.time
            place = f"{topic}@{len(messages)}"
            if not (pond.has("drops one of ten") and place.endswith("7")):
                messages.append(Delivery(place, kind, told.key, own, when, data, None))
            else:
                pond.fault = None  # only once, or the places would end in 7 for ever


def topic_at(url: str, *types: Any) -> Topic[Any]:
    """Return a topic of the pond."""
    log = PondBroker.at(url)
    return Topic(log, JsonCodec(log.topic, () if log.pond.has("carries anything") else types))
