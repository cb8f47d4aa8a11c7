"""Exactly once: what is written is staged in a journal, and copied to its topic once a checkpoint is decided."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TypeVar

import anyio
from confluent_kafka import OFFSET_BEGINNING

from reactor.connectors.brokers import Address, BrokerSink
from reactor.connectors.codec import Codec, Headers, Id, Key, Time
from reactor.connectors.encoding import encoded
from reactor.connectors.kafka.cluster import Stopped
from reactor.connectors.kafka.journal import Journal, State, fenced
from reactor.connectors.kafka.producer import KafkaProducer, Messages, Outgoing
from reactor.connectors.kafka.settings import Kafka
from reactor.connectors.loops import OwnThread
from reactor.connectors.staging import Held
from reactor.core import TopicError

T_contra = TypeVar("T_contra", contravariant=True)

_HELD = 4096
_HELD_BYTES = 1 << 21
"""So much is in memory before it is staged."""

_KEPT_BYTES = 16 << 20
"""Of what is staged so much stays in memory, too; more is read back when it is published."""

_WRITTEN, _AGAIN = 30.0, 0.05
"""Seconds until a transaction's end has to be written where it is read, and between two looks."""

_MARK = 256
"""Bytes that a staged message has beside its own."""


class KafkaStaging:
    """What one owner has staged since it has recovered."""

    def __init__(self, address: Address, url: str, settings: Kafka, owner: str, messages: Messages) -> None:
        self._address = address
        self._messages = messages
        self._url = url
        self._settings = settings
        self._owner = owner
        self._run = uuid.uuid4().hex
        self._thread = OwnThread(f"reactor-kafka-transactions-{url}")
        self._journal: Journal | None = None
        self._state = State(owner, address.path, 0, self._run)
        self._kept: list[Outgoing] | None = []
        """What is staged and not published; None where some of it is in the journal only."""
        self._kept_bytes = 0
        self._staged = 0
        """How many messages this run has staged."""
        self._begin = OFFSET_BEGINNING
        """Where the journal has nothing of what isn't published before it."""
        self._ends: list[tuple[int, int]] = []
        """Of prepared numbers, where the journal ended then."""
        self._closed = False

    async def recover(self, decided: int, fence: int) -> None:
        await self._thread.ask(lambda: self._recover(decided, fence)).wait()

    def _recover(self, decided: int, fence: int) -> None:
        journal = self._journal = Journal(
            self._address, self._url, self._settings, self._owner, lambda: self._closed
        )
        found, _ = journal.read()
        if found is not None and found.fence > fence:
            raise fenced(self._owner)  # before anybody is shut out
        journal.take()
        found, staged = journal.read()
        if found is not None and found.fence > fence:
            raise fenced(self._owner)
        published: Sequence[Outgoing] = ()
        if found is not None and (end := _end(found, decided)) > found.published:
            published = _between(staged, found.run, found.published, end)
            if len(published) != end - found.published:
                raise TopicError(
                    f"{self._url}: of {end - found.published} messages that were staged {len(published)} are "
                    f"left in {journal.topic}"
                )
        self._state = State(self._owner, self._address.path, fence, self._run)
        published = self._messages.stamped(published)
        journal.write(published=published, topic=found.topic if found else "", state=self._state)
        self._begin = journal.end()

    @property
    def _own(self) -> Journal:
        assert self._journal is not None
        return self._journal

    async def stage(self, at: int, rows: Sequence[Outgoing]) -> None:
        await self._thread.ask(lambda: self._stage(at, rows)).wait()

    def _stage(self, at: int, rows: Sequence[Outgoing], state: State | None = None) -> None:
        run = self._run
        self._own.write(staged=[(run, index, row) for index, row in enumerate(rows, at)], state=state)
        self._staged = at + len(rows)
        if self._kept is not None:
            del self._kept[at - self._state.published :]
            self._kept += rows
            self._kept_bytes += sum(len(row[0]) + 200 for row in rows)
            if self._kept_bytes > _KEPT_BYTES:
                self._kept = None

    async def prepare(self, number: int, at: int, rows: Sequence[Outgoing]) -> None:
        await self._thread.ask(lambda: self._prepare(number, at, rows)).wait()

    def _prepare(self, number: int, at: int, rows: Sequence[Outgoing]) -> None:
        before = tuple(each for each in self._state.prepared if each[0] != number)
        state = _with(self._state, self._state.published, (*before, (number, at + len(rows))))
        self._stage(at, rows, state)
        self._state = state
        self._ends.append((number, self._own.end()))

    def _rows(self, journal: Journal, published: int, end: int) -> Sequence[Outgoing]:
        """Return what is staged between two numbers of messages."""
        count = max(end - published, 0)
        if self._kept is not None:
            return self._kept[:count]
        until = time.monotonic() + _WRITTEN
        while True:
            rows = _between(journal.read(self._begin)[1], self._run, published, end)
            if len(rows) == count:
                return rows
            if time.monotonic() > until:
                raise TopicError(
                    f"{self._url}: of {count} messages that were staged {len(rows)} are left in {journal.topic}"
                )
            time.sleep(_AGAIN)

    async def publish(self, number: int) -> None:
        await self._thread.ask(lambda: self._publish(number)).wait()

    def _publish(self, number: int) -> None:
        journal, state = self._own, self._state
        end = _end(state, number)
        count = end - state.published
        rows = self._messages.stamped(self._rows(journal, state.published, end))
        after = _with(state, max(end, state.published), tuple(p for p in state.prepared if p[0] > number))
        journal.write(published=rows, topic=self._address.path, state=after)
        self._state = after
        if self._kept is not None:
            del self._kept[:count]
            self._kept_bytes = sum(len(row[0]) + 200 for row in self._kept)
        elif after.published == self._staged:
            self._kept, self._kept_bytes = [], 0
        for prepared, stop in self._ends:
            if prepared <= number:
                self._begin = stop
        self._ends = [each for each in self._ends if each[0] > number]
        if self._begin > 0:
            journal.trim(self._begin)

    async def close(self) -> None:
        self._closed = True
        await self._thread.end(self._end_of_it)

    def _end_of_it(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()


def _with(state: State, published: int, prepared: tuple[tuple[int, int], ...]) -> State:
    return State(state.owner, state.topic, state.fence, state.run, published, prepared)


def _end(state: State, number: int) -> int:
    """Return how many of the run's messages belong to the number, or to lower ones."""
    return max((end for prepared, end in state.prepared if prepared <= number), default=state.published)


def _between(staged: Sequence[tuple[str, int, Outgoing]], run: str, begin: int, end: int) -> list[Outgoing]:
    """Return a run's messages from one index to another; what was staged again counts as it was the last time."""
    found: dict[int, Outgoing] = {}
    for its_run, index, row in staged:
        if its_run == run and begin <= index < end:
            found[index] = row
    return [found[index] for index in sorted(found)]


class KafkaSink(BrokerSink[T_contra]):
    """Sends events, as any; after ``recover`` it stages them, and publishes them by transactions."""

    transactional = True

    def __init__(
        self,
        address: Address,
        settings: Kafka,
        codec: Codec,
        *,
        name: str,
        key: Key,
        headers: Headers,
        time: Time,
        id: Id,
    ) -> None:
        self._plain = KafkaProducer(address, settings)
        self._arguments = (address, str(address), settings)
        super().__init__(self._plain, codec, name=name, key=key, headers=headers, time=time, id=id)
        self._staging: KafkaStaging | None = None
        self._held: Held[Outgoing] | None = None

    async def write(self, events: Sequence[T_contra]) -> None:
        if self._held is None:
            await super().write(events)
            return
        entries = encoded(events, lambda some: self._codec.entries(some, *self._columns))
        if entries:
            await self._held.add(self._plain.messages.of(entries, beside=_MARK))

    async def recover(self, owner: str, decided: int, fence: int) -> None:
        await self._leave()
        staging = self._staging = KafkaStaging(*self._arguments, owner, self._plain.messages)
        try:
            await staging.recover(decided, fence)
        except Stopped:
            raise TopicError(f"{self.name}: closed while it recovered") from None
        self._held = Held(staging, most=_HELD, size=_HELD_BYTES, size_of=_size)

    async def prepare(self, number: int) -> None:
        await self._transaction.prepare(number)

    async def publish(self, number: int) -> None:
        await self._transaction.publish(number)

    @property
    def _transaction(self) -> Held[Outgoing]:
        if self._held is None:
            raise RuntimeError(f"{self.name}: prepare() and publish() come after recover()")
        return self._held

    async def _leave(self) -> None:
        staging, self._staging, self._held = self._staging, None, None
        if staging is not None:
            with anyio.CancelScope(shield=True):
                await staging.close()

    async def close(self) -> None:
        await self._leave()
        await super().close()


def _size(rows: Sequence[Outgoing]) -> int:
    return sum(len(row[0]) for row in rows)
