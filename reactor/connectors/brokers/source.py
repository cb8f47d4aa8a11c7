"""Reading from a broker: what it returns is counted, and settled by the count once it has left the sinks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from reactor.connectors.brokers.columns import Columns, Tokens
from reactor.connectors.brokers.consumer import Consumer, Delivery
from reactor.connectors.codec import NO_HEADERS
from reactor.connectors.log import DecodePlaced, Row
from reactor.core import ArgumentError, Record, Records, Source, TopicCorrupt, UsedTwice
from reactor.registry import UnknownWriter

T_co = TypeVar("T_co", covariant=True)

log = logging.getLogger("reactor")

_FORGET = 100_000
"""So many messages that are settled and might come again are remembered."""

_STARVED = 30.0
"""Seconds after which a source says that it waits for its own prefetch."""


class _Kept(NamedTuple):
    """What a source had in flight, and where partitions began."""

    flying: deque[Delivery]
    passed: Tokens
    begun: Mapping[str, int]


class BrokerSource(Source[T_co]):
    """The messages of a topic, for one group. A position is the number of messages that were seen before it.

    The count is this source's own: what a checkpoint needs beside it is its bookmark. For a log that is the next
    position of each partition; for a queue the messages that the checkpoint covers and that aren't settled: when
    they come again, they are settled, and nothing else.
    """

    replay = True
    seekable = True

    def __init__(
        self, consumer: Consumer, decode: DecodePlaced, *, name: str, identity: str | None, kind: str = ""
    ) -> None:
        self.name = name
        self.identity = identity
        self.skipped = 0
        """How many messages were of a known type that nobody asked for."""
        self.partitioned = consumer.partitioned
        self._consumer = consumer
        self._decode = decode
        self._kind = kind
        """The type of messages that don't tell theirs."""
        self._ahead: list[Delivery] = []
        """Received, and not returned yet: behind one that can't be read."""
        self._flying: deque[Delivery] = deque()
        """Returned and not settled, in order; the first one has the number ``_settled``. Of a consumer that isn't
        positional."""
        self._passed = Tokens()
        """The same of a positional one."""
        self._settled = 0
        self._positions: dict[str, int] = {}
        """Of a positional consumer: where each partition goes on behind what is settled."""
        self._coming: dict[str, Delivery | None] = {}
        """Of the others: by name what is in flight; None for those whose tokens are void."""
        self._done: dict[str, None] = {}
        """Names of what was handled and may come again."""
        self._kept: _Kept | None = None
        """Of when it was closed, until it is sought, or read without that."""
        self._room = anyio.Event()
        self._opened = False
        self._settling = anyio.Lock()

    async def open(self) -> None:
        if self._opened:
            raise UsedTwice(f"{self.name}: this source is open already; make another one for another run")
        self._opened = True
        self._flying, self._passed = deque(), Tokens()
        self._ahead.clear()
        self._coming.clear()
        self._room, self._settling = anyio.Event(), anyio.Lock()
        self._consumer.lost = self._lost
        await self._consumer.open()

    def _lost(self) -> None:
        self._ahead.clear()
        self._coming = dict.fromkeys(self._coming)

    async def seek(self, position: int) -> None:
        """Go on behind the first ``position`` messages, which this source has returned before."""
        kept = self._kept or _Kept(deque(), Tokens(), {})
        last = self._settled + len(kept.flying) + len(kept.passed)
        if not self._settled <= position <= last:
            raise ArgumentError(f"{self.name}: seek({position}): it is between {self._settled} and {last}")
        count = position - self._settled
        if self._consumer.positional:
            passed = [*islice(kept.passed, count)]
            await self._consumer.seek({**self._positions, **dict(passed)})
            self._kept = None
            self._passed.add([part for part, _ in passed], [after for _, after in passed])
        else:
            self._kept = None
            flying = [*islice(kept.flying, count)]
            self._flying.extend(flying)
            self._coming = dict.fromkeys(map(self._consumer.named, flying))

    async def restore(self, position: int, bookmark: str | None) -> None:
        """Go on where an earlier run has come to."""
        self._flying, self._passed, self._kept = deque(), Tokens(), None
        self._coming.clear()
        self._settled = position
        if bookmark is None:
            raise TopicCorrupt(f"{self.name}: a checkpoint has position {position} without its bookmark")
        try:
            if self._consumer.positional:
                self._positions = msgspec.json.decode(bookmark, type=dict[str, int])
                await self._consumer.seek(self._positions)
            else:
                self._done = dict.fromkeys(msgspec.json.decode(bookmark, type=list[str]))
        except msgspec.MsgspecError as error:
            raise TopicCorrupt(f"{self.name}: the bookmark of a checkpoint can't be read: {error}") from error

    def _in_flight(self) -> int:
        return len(self._flying) + len(self._passed)

    def position(self) -> int | None:
        return self._settled + self._in_flight()

    def bookmark(self, position: int) -> str | None:
        count = max(position - self._settled, 0)
        now = self._kept or _Kept(self._flying, self._passed, self._consumer.begun())
        if self._consumer.positional:
            begun = {**now.begun, **self._positions}
            return msgspec.json.encode(now.passed.folded(begun, count)).decode()
        covered = map(self._consumer.named, islice(now.flying, count))
        return msgspec.json.encode([*self._done, *covered]).decode()

    async def read(self, limit: int) -> Sequence[Record[T_co]] | None:
        """Return up to ``limit`` records, none where all that it saw was passed over; None at the end.

        Raises DecodeError for a message that doesn't fit, again and again, unless ``reject`` takes it.
        """
        if limit < 1:
            raise ArgumentError(f"read(limit={limit}): must be >= 1")
        self._kept = None
        deliveries: Sequence[Delivery] | None
        if self._ahead:
            await anyio.lowlevel.checkpoint()
            deliveries, self._ahead = self._ahead[:limit], self._ahead[limit:]
        else:
            deliveries = await self._received(limit)
            if deliveries is None:
                return None
        first = self._settled + self._in_flight()
        kind = self._kind
        if isinstance(deliveries, Columns) and (records := self._of_columns(deliveries, first)) is not None:
            return records
        rows: list[Row] = [
            (number, each[1] or kind, each[2], each[3], each[4], each[5])
            for number, each in enumerate(deliveries, first)
        ]
        if not rows:
            return []
        try:
            batch = self._decode(
                rows, [each[0] for each in deliveries], self._parts_of(deliveries), self._topics(deliveries)
            )
        except UnknownWriter as lacking:
            self._ahead = [*deliveries, *self._ahead]
            await lacking.learn()
            return []
        records = batch.records
        if batch.bad:
            if self.reject is None:
                bad = batch.bad[0]
                assert bad.record.position is not None
                at = bad.record.position - first
                # What stands before it goes out now; the next read begins with it and raises.
                self._ahead = [*deliveries[at:], *self._ahead]
                self.skipped += bad.skipped
                self._fly(deliveries[:at])
                if not at:
                    raise bad.error
                return records[: bad.before]
            for bad in batch.bad:
                self.reject(bad.record, bad.error)
        self._fly(deliveries)
        self.skipped += batch.skipped
        return records

    def _of_columns(self, columns: Columns, first: int) -> Sequence[Record[T_co]] | None:
        """Return records of which only the values are made; None where one can't be read."""
        kind, types = self._kind, columns.types
        if kind and "" in types:
            types = [type or kind for type in types]
        try:
            found = self._decode.values(types, columns.versions, columns.datas)
        except UnknownWriter:
            return None
        if found is None:
            return None
        values, numbers = found
        name, parted = self.name, self.partitioned

        def make(at: int) -> Record[T_co]:
            number = numbers[at]
            place, _, key, headers, time, data, token, topic = columns[number]
            return Record(
                *(values[at], key, headers or NO_HEADERS, time, first + number, topic or name, data, place),
                part=token[0] if parted else None,
            )

        self._fly(columns)
        self.skipped += len(columns) - len(values)
        return Records(values, make)

    def parts(self) -> Collection[str]:
        return {*self._consumer.parts(), *(each.token[0] for each in self._ahead)}

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        ahead = {each.token[0] for each in self._ahead}
        return [part for part in self._consumer.quiet(parts) if part not in ahead]

    def _parts_of(self, deliveries: Sequence[Delivery]) -> Iterable[str | None]:
        return [each.token[0] for each in deliveries] if self.partitioned else repeat(None)

    def _topics(self, deliveries: Sequence[Delivery]) -> Iterable[str]:
        if self._consumer.several:
            return [each.topic or self.name for each in deliveries]
        return repeat(self.name)

    def gave(self, record: Record[Any]) -> bool:
        topic = record.topic
        if not self._consumer.positional or topic is None:
            return topic == self.name
        several = (record.place or "").startswith(f"{topic}/")  # as it is where one reads several
        return self._consumer.reads(topic) if several else topic == self.name

    def _fly(self, deliveries: Sequence[Delivery]) -> None:
        if isinstance(deliveries, Columns):
            self._passed.add(deliveries.parts, deliveries.afters)
        elif self._consumer.positional:
            self._passed.add([each.token[0] for each in deliveries], [each.token[1] for each in deliveries])
        else:
            self._flying.extend(deliveries)
            self._coming.update(zip(map(self._consumer.named, deliveries), deliveries, strict=True))
        prefetch = self._consumer.prefetch
        if prefetch is not None and 2 * self._in_flight() >= prefetch:
            self.commit_soon()  # while the rest comes, not when nothing more may

    async def _received(self, limit: int) -> Sequence[Delivery] | None:
        consumer = self._consumer
        if consumer.prefetch is not None:
            while (room := consumer.prefetch - self._in_flight()) < 1:
                self._room = anyio.Event()
                with anyio.move_on_after(_STARVED) as waiting:
                    await self._room.wait()
                if waiting.cancelled_caught:
                    log.warning(
                        "%s: %d messages are in flight and none was settled for %g s: where a batch or a window "
                        "holds them, pass a larger prefetch=, or checkpoint=",
                        *(self.name, self._in_flight(), _STARVED),
                    )
            limit = min(limit, room)
        deliveries = await consumer.receive(limit)
        if deliveries is None or consumer.positional:
            return deliveries
        return await self._fresh(deliveries)

    async def _fresh(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Leave out what is in flight already, or was handled."""
        coming, done = self._coming, self._done
        names = [*map(self._consumer.named, deliveries)]
        if not done and coming.keys().isdisjoint(names):
            return deliveries
        fresh: list[Delivery] = []
        again: list[tuple[str, Any]] = []
        for name, each in zip(names, deliveries, strict=True):
            if name in done:
                again.append((name, each.token))
            elif name in coming:
                coming[name] = each
            else:
                fresh.append(each)
        if again:
            with anyio.CancelScope(shield=True):  # they were received, and would be nowhere
                self._ahead = fresh
                await self._consumer.settle([token for _, token in again])
                fresh, self._ahead = self._ahead, []
            for name, _ in again:
                done.pop(name, None)
        return fresh

    async def commit(self, position: int) -> None:
        """Settle the first ``position`` messages."""
        async with self._settling:
            count = min(position - self._settled, self._in_flight())
            if count < 1:
                return
            if self._consumer.positional:
                # It may be opened again meanwhile: then this is what was in flight before.
                passed = self._passed
                told = passed.folded({}, count)
                await self._consumer.settle([*told.items()])
                self._positions = {**self._positions, **told}
                passed.drop(count)
            else:
                await self._settle(count)
            self._settled += count
            self._room.set()

    async def _settle(self, count: int) -> None:
        flying = self._flying  # as in ``commit``
        handled = [*map(self._consumer.named, islice(flying, count))]
        now = [self._coming.get(name) for name in handled]
        await self._consumer.settle([each.token for each in now if each is not None])
        # One whose token is void, or became it meanwhile, comes again.
        for name in handled:
            if self._coming.pop(name, None) is None:
                self._done[name] = None
        while len(self._done) > _FORGET:
            del self._done[next(iter(self._done))]
        for _ in range(count):
            flying.popleft()

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            if self._kept is None:
                self._kept = _Kept(self._flying, self._passed, dict(self._consumer.begun()))
            await self._consumer.close()
