"""What all brokers share, over a queue and a log of the test's own: counting, settling, what comes again."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from reactor import Checkpoints, Pipeline, Restart, Stream, topic
from reactor.connectors.brokers import Address, BrokerSource, Consumer, Delivery, Settings, Wire, configured
from reactor.connectors.codec import JsonCodec
from reactor.connectors.log import Batch
from reactor.core import ArgumentError, DecodeError, Record
from reactor.engine.restarting import RestartingSource, Restarts
from reactor.registry import UnknownWriter
from reactor.testing import run_virtual

pytestmark = pytest.mark.anyio

_names = itertools.count()


class Tick(msgspec.Struct, frozen=True):
    number: int


class Queue(Consumer):
    """Messages that come again at each opening, until they are settled."""

    prefetch = 100

    def __init__(self, count: int, bad: int | None = None) -> None:
        self.waiting = {str(n): b"x" if n == bad else b'{"number":%d}' % n for n in range(count)}
        self.generation = 0
        self.out: dict[str, int] = {}
        self.settled: list[str] = []

    async def open(self) -> None:
        self.generation += 1
        self.out = {}

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        ids = [id for id in self.waiting if id not in self.out][:limit]
        if not ids:
            return None
        self.out.update((id, self.generation) for id in ids)
        return [Delivery(id, "Tick", None, None, 0, self.waiting[id], (id, self.generation)) for id in ids]

    async def settle(self, tokens: Sequence[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        for id, generation in tokens:
            if generation == self.generation:
                del self.waiting[id]
                self.settled.append(id)

    async def close(self) -> None:
        self.out = {}

    def drop(self) -> None:
        """The connection is lost, and made again."""
        self.generation += 1
        self.out = {}
        self.lost()


class Logs(Consumer):
    """Two partitions; what is settled is their group's position."""

    positional = True

    def __init__(self, count: int) -> None:
        self.rows = {"a": list(range(0, count, 2)), "b": list(range(1, count, 2))}
        self.group = {"a": 0, "b": 0}
        self.at: dict[str, int] = {}

    async def open(self) -> None:
        self.at = dict(self.group)

    async def receive(self, limit: int) -> Sequence[Delivery] | None:
        await anyio.lowlevel.checkpoint()
        for name, rows in self.rows.items():
            at = self.at[name]
            if at < len(rows):
                self.at[name] = min(at + limit, len(rows), at + 3)
                return [
                    Delivery(f"{name}@{n}", "Tick", None, None, 0, b'{"number":%d}' % rows[n], (name, n + 1))
                    for n in range(at, self.at[name])
                ]
        return None

    async def settle(self, tokens: Sequence[Any]) -> None:
        self.group.update(tokens)

    async def seek(self, positions: Mapping[str, int]) -> None:
        self.at.update(positions)

    async def close(self) -> None:
        pass


def source_of(consumer: Consumer) -> BrokerSource[Tick]:
    codec = JsonCodec("ticks", (Tick,))
    return BrokerSource(consumer, codec.decoding(()), name="ticks", identity=None)


def numbers(records: Sequence[Record[Tick]] | None) -> list[int]:
    return [record.value.number for record in records or ()]


async def test_only_what_is_committed_is_settled() -> None:
    queue = Queue(10)
    source = source_of(queue)
    await source.open()
    first = await source.read(4)
    assert numbers(first) == [0, 1, 2, 3]
    assert [record.place for record in first or ()] == ["0", "1", "2", "3"]
    assert source.position() == 4
    await source.read(4)
    await source.commit(3)
    assert queue.settled == ["0", "1", "2"]
    await source.commit(3)
    await source.commit(1)
    assert queue.settled == ["0", "1", "2"]
    await source.close()
    await source.open()
    assert source.position() == 3
    assert numbers(await source.read(10)) == [3, 4, 5, 6, 7, 8, 9]
    await source.close()


async def test_what_is_in_flight_isnt_returned_again_after_the_connection_was_lost() -> None:
    queue = Queue(6)
    source = source_of(queue)
    await source.open()
    assert numbers(await source.read(4)) == [0, 1, 2, 3]
    queue.drop()
    assert numbers(await source.read(10)) == [4, 5]
    await source.commit(6)
    assert queue.settled == ["0", "1", "2", "3", "4", "5"]
    await source.close()


async def test_what_was_committed_while_the_tokens_were_void_is_settled_when_it_comes_again() -> None:
    queue = Queue(6)
    source = source_of(queue)
    await source.open()
    await source.read(4)
    queue.drop()
    await source.commit(4)
    assert queue.settled == []
    assert numbers(await source.read(10)) == [4, 5]
    assert queue.settled == ["0", "1", "2", "3"]
    await source.close()


async def test_seek_goes_on_behind_what_was_returned() -> None:
    for consumer in (Queue(6), Logs(6)):
        source = source_of(consumer)
        await source.open()
        first = numbers(await source.read(3))
        second = numbers(await source.read(3))
        await source.commit(1)
        await source.close()
        await source.open()
        await source.seek(3)
        assert source.position() == 3
        rest: list[int] = []
        while (records := await source.read(10)) is not None:
            rest += numbers(records)
        assert rest == second
        assert sorted(first + rest) == [0, 1, 2, 3, 4, 5]
        with pytest.raises(ArgumentError, match="between 1 and"):
            await source.seek(0)
        await source.close()


async def test_a_bookmark_covers_what_a_checkpoint_has_and_the_broker_not() -> None:
    queue = Queue(6)
    one = source_of(queue)
    await one.open()
    await one.read(4)
    await one.commit(1)
    bookmark = one.bookmark(3)
    assert bookmark == '["1","2"]'
    await one.close()
    two = source_of(queue)
    await two.open()
    await two.restore(3, bookmark)
    assert two.position() == 3
    assert numbers(await two.read(10)) == [3, 4, 5]
    assert queue.settled == ["0", "1", "2"]
    await two.close()


async def test_a_bookmark_has_the_position_of_each_partition() -> None:
    logs = Logs(10)
    one = source_of(logs)
    await one.open()
    seen = numbers(await one.read(3)) + numbers(await one.read(3))
    assert seen == [0, 2, 4, 6, 8]
    seen += numbers(await one.read(3))
    bookmark = one.bookmark(6)
    assert bookmark == '{"a":5,"b":1}'
    await one.close()
    two = source_of(logs)
    await two.open()
    await two.restore(6, bookmark)
    assert numbers(await two.read(3)) == [3, 5, 7]
    await two.close()


async def test_a_message_that_cant_be_read_raises_again_and_again() -> None:
    source = source_of(Queue(5, bad=2))
    await source.open()
    assert numbers(await source.read(10)) == [0, 1]
    for _ in range(2):
        with pytest.raises(DecodeError, match="topic ticks, position 2"):
            await source.read(10)
    assert source.position() == 2
    await source.close()


async def test_a_message_that_cant_be_read_is_rejected() -> None:
    source = source_of(Queue(5, bad=2))
    rejected: list[Any] = []
    source.reject = lambda record, error: rejected.append((record.place, record.raw))
    await source.open()
    assert numbers(await source.read(10)) == [0, 1, 3, 4]
    assert rejected == [("2", b"x")]
    assert source.position() == 5
    await source.close()


async def test_no_more_than_prefetch_is_in_flight() -> None:
    queue = Queue(300)
    source = source_of(queue)
    await source.open()
    assert len(numbers(await source.read(1000))) == 100
    with anyio.move_on_after(0.05) as scope:
        await source.read(1000)
    assert scope.cancelled_caught
    await source.commit(30)
    assert numbers(await source.read(1000)) == list(range(100, 130))
    await source.close()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_source_that_may_not_give_more_waits_for_a_commit_only(loop: Any) -> None:
    got: list[int] = []
    queue = Queue(1000)  # ten times its prefetch

    async def main() -> None:
        reads = Stream(source_of(queue)).to(lambda tick: got.append(tick.number))
        await Pipeline("reads", reads, interval=60).run()

    _, elapsed = run_virtual(main, loop=loop)
    assert got == list(range(1000))
    assert not queue.waiting
    assert elapsed < 0.02  # in which nobody has waited for a timer


@pytest.mark.parametrize("kind", [Queue, Logs])
async def test_a_pipeline_resumes_its_state_from_bookmarks(kind: type[Any]) -> None:
    consumer = kind(60)
    store = f"memory:brokers-{next(_names)}"
    totals: list[int] = []

    async def stop_in_the_middle(total: int) -> None:
        totals.append(total)
        if len(totals) == 30:
            raise RuntimeError("in the middle")

    def pipeline() -> Any:
        return Pipeline(
            "resumes",
            Stream(source_of(consumer))
            .map(lambda tick: tick.number)
            .scan(lambda total, number: total + number, 0, name="total")
            .to(stop_in_the_middle, name="totals"),
            checkpoint=Checkpoints(store, interval=0.001, spacing=0.001),
        )

    with pytest.raises(RuntimeError, match="in the middle"):
        await pipeline().run()
    await pipeline().run()
    assert totals[-1] == sum(range(60))


async def test_a_bookmark_is_told_again_where_restoring_failed() -> None:
    """With restart= the source is opened again, and has to know where the earlier run had come to."""
    logs, failing = Logs(6), [True]

    class Once(BrokerSource[Tick]):
        async def restore(self, position: int, bookmark: str | None) -> None:
            if failing and failing.pop():
                raise OSError("gone")
            await super().restore(position, bookmark)

    source = Once(logs, JsonCodec("ticks", (Tick,)).decoding(()), name="ticks", identity=None)
    restarting = RestartingSource(source, Restarts(Restart(3, initial=0.001), "ticks"))
    await restarting.restore(2, '{"a":2}')
    await restarting.open()
    assert numbers(await restarting.read(10)) == [4]
    await restarting.close()


# Addresses --------------------------------------------------------------------------------------------------


class Options(Settings, frozen=True):
    prefetch: int = 5
    sasl_password: str = ""
    durable: bool = True


def address(url: str) -> Address:
    return Address.parse(url, port=9, write="x://HOST/TOPIC")


async def test_an_address_is_taken_apart() -> None:
    found = address("x://me:p%40ss@a:1,b/my/orders?prefetch=7&durable=false")
    assert found.hosts == (("a", 1), ("b", 9))
    assert (found.user, found.password, found.path) == ("me", "p@ss", "my/orders")
    assert configured(found, Options) == Options(prefetch=7, durable=False)
    assert configured(found, Options, Options(prefetch=1, sasl_password="x")) == Options(
        prefetch=7, durable=False, sasl_password="x"
    )
    assert address("x://[::1]:8/t").hosts == (("[::1]", 8),)


def test_an_address_never_shows_a_secret() -> None:
    found = address("x://me:s3cret@a/orders?sasl_password=hidden")
    for text in (str(found), repr(found), f"{[found]}"):
        assert "s3cret" not in text
        assert "hidden" not in text
    assert str(found) == "x://me@a:9/orders?sasl_password=***"
    with pytest.raises(ArgumentError) as caught:
        address("x://me:s3cret@a")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ArgumentError) as caught:
        topic("unknown://me:s3cret@a/orders")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("x:orders", "followed by //"),
        ("x://a", "the topic is missing"),
        ("x:///orders", "the server is missing"),
        ("x://a:b/orders", "'b' is no port"),
        ("x://a/orders#1", "write %23"),
    ],
)
async def test_an_address_that_cant_be_one_is_refused(url: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        address(url)


@pytest.mark.parametrize(
    ("query", "said"),
    [("prefetch=many", "prefetch"), ("colour=red", "'colour'; known: prefetch, sasl_password, durable")],
)
async def test_options_that_cant_be_are_refused(query: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        configured(address(f"x://a/orders?{query}"), Options)


# The wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", ["http", "kafka", "amqp"])
async def test_an_entry_comes_back_from_the_wire(binding: Any) -> None:
    wire = Wire("orders", binding)
    headers = {"reactor-version": "3", "traceparent": "00-1-2-3", "shop": "ÄÖ"}
    entry = ("id-1", "OrderPlaced", "key/1", headers, 1_800_000_000_123_456, b"{}")
    told = wire.read(wire.headers(entry), b"{}")
    assert told == ("id-1", "OrderPlaced", "key/1", headers, 1_800_000_000_123_456, b"{}")
    assert wire.headers(entry)["content-type"] == "application/json"
    registered = (*entry[:5], b"\0\0\0\0\7{}")
    assert wire.headers(registered)["content-type"] == "application/octet-stream"
    plain = (None, "OrderPlaced", None, None, 5, b"{}")
    one, two = (wire.read(wire.headers(plain), b"{}") for _ in range(2))
    assert one.id
    assert one.id != two.id
    assert one[1:] == ("OrderPlaced", None, None, 5, b"{}")
    with pytest.raises(ArgumentError, match="belongs to CloudEvents"):
        wire.headers(("1", "T", None, {f"{wire.prefix}id": "2"}, 5, b""))


async def test_structured_events_and_those_of_others_are_read() -> None:
    wire = Wire("orders", "kafka")
    body = (
        b'{"specversion":"1.0","id":"7","source":"s","type":"OrderPlaced","partitionkey":"k",'
        b'"reactorversion":"2","time":"1970-01-01T00:00:01Z","data":{"a":1}}'
    )
    told = wire.read({"content-type": "application/cloudevents+json; charset=UTF-8", "x": "y"}, body)
    assert told == ("7", "OrderPlaced", "k", {"x": "y", "reactor-version": "2"}, 1_000_000, b'{"a":1}')
    few = {"ce_type": "T", "ce_id": "1", "ce_specversion": "1.0", "ce_source": "s", "shop": "north", "n": "1"}
    assert wire.read(few, b"{}").headers == {"shop": "north", "n": "1"}
    assert wire.read({"x": "y"}, b"1") == (None, "", None, {"x": "y"}, None, b"1")
    assert wire.read({}, b"1") == (None, "", None, None, None, b"1")


class Ending(Logs):
    """Says which of its partitions aren't read to their end."""

    partitioned = True

    def parts(self) -> Collection[str]:
        return [name for name, rows in self.rows.items() if self.at[name] < len(rows)]


class Lacking(UnknownWriter):
    """The registry knows the schema as soon as it is asked."""

    def __init__(self) -> None:
        Exception.__init__(self, "a schema is missing")

    async def learn(self) -> None:
        await anyio.lowlevel.checkpoint()


async def test_a_partition_whose_messages_wait_for_their_schema_is_still_there() -> None:
    """Else those of the other one would go past it, and these come late."""
    decode = JsonCodec("ticks", (Tick,)).decoding(())
    lacking = [Lacking()]

    def decoding(*given: Any) -> Batch:
        if lacking:
            raise lacking.pop()
        return decode(*given)

    source = BrokerSource(Ending(4), decoding, name="ticks", identity=None)
    await source.open()
    assert await source.read(10) == []
    assert set(source.parts()) == {"a", "b"}
    assert numbers(await source.read(10)) == [0, 2]
    assert set(source.parts()) == {"b"}
    assert numbers(await source.read(10)) == [1, 3]
    assert set(source.parts()) == set()
    await source.close()


@pytest.mark.parametrize(
    "time", [0, 1, 999_999, -1, -1_000_001, 1_800_000_000_123_456, 253_402_300_799_999_999]
)
async def test_times_come_back_from_the_wire(time: int) -> None:
    wire = Wire("orders")
    written = wire.headers(("1", "T", None, None, time, b""))
    assert wire.read(written, b"").time == time
    for text in (
        "2027-01-15T08:00:00Z",
        "2027-01-15T09:00:00+01:00",
        "2027-01-15T08:00:00.5+00:00",
        "2027-01-15T08:00:00.500000+00:00",
    ):
        found = wire.read({**written, "ce-time": text}, b"").time
        assert found in (1_800_000_000_000_000, 1_800_000_000_500_000)
        assert (found == 1_800_000_000_500_000) == (".5" in text)
    for wrong in ("2027-13-15T08:00:00.000000+00:00", "yesterday", "2027-01-15T08:00:00.00000x+00:00"):
        assert wire.read({**written, "ce-time": wrong}, b"").time is None
