"""Topics of Kafka that are deleted and made anew under their names, on a real broker: nothing is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from reactor import Checkpoints, Pipeline, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.connectors.kafka.lots import LIFE
from reactor.core import TopicError
from reactor.topics import Topic
from tests.brokers.kafka.test_groups import until
from tests.brokers.kafka.test_topics import Tick, nothing, numbers, opened, take, ticks
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio

NEW = [*range(11, 19)]


class One:
    """A topic that is made anew, read by its name or by a pattern."""

    def __init__(self, kafka: Kafka, pattern: bool) -> None:
        self.name = f"{kafka.unused()}-eu"
        self.named = not pattern
        self._kafka = kafka
        self._path = f"^{self.name}" if pattern else self.name

    async def make(self, *first: int, partitions: int = 1) -> Topic[Tick]:
        new = NewTopic(self.name, num_partitions=partitions, replication_factor=1)

        def make() -> None:
            self._kafka.client.create_topics([new])[self.name].result(30)

        await anyio.to_thread.run_sync(make)
        made = self.again()
        await made.publish(ticks(*first), key=lambda tick: str(tick.number))
        return made

    async def anew(self, *first: int, partitions: int = 1) -> Topic[Tick]:
        deleted = self._kafka.client.delete_topics([self.name])[self.name]
        await anyio.to_thread.run_sync(deleted.result, 30)
        with anyio.fail_after(10):
            while True:
                try:
                    return await self.make(*first, partitions=partitions)
                except KafkaException:
                    await anyio.sleep(0.05)

    def again(self) -> Topic[Tick]:
        return topic(self._kafka.url(self.name), Tick)

    def topic(self, **options: Any) -> Topic[Tick]:
        given: dict[str, Any] = {"discover": 0.3, "session_timeout": 6.0, **options}
        return topic(self._kafka.url(self._path), Tick, config=Options(**given))

    def pipeline(self, got: list[int], group: str | None, store: Path, **options: Any) -> Pipeline:
        reads = self.topic(**options)
        stream = reads.subscribe(group) if group else reads.read(follow=True)
        return Pipeline(
            "reads",
            stream.to(lambda tick: got.append(tick.number)),
            checkpoint=Checkpoints(f"sqlite:{store}/state.db", interval=0.1, spacing=0.02),
        )


@pytest.fixture(params=["name", "pattern"])
def one(kafka: Kafka, request: pytest.FixtureRequest) -> One:
    return One(kafka, request.param == "pattern")


@pytest.fixture
def named(kafka: Kafka) -> One:
    return One(kafka, pattern=False)


def taken(source: Any, life: int) -> int:
    """How many events were read of that topic: of the first that the source knew, 0, or of a later one.

    Events that were read before it was seen that the topic is another one count as the old one's: they come again.
    """
    delivered = source._consumer._reader.shelf.delivered
    return sum(after % LIFE for after in delivered.values() if after // LIFE == life)


async def ends_with(source: Any, wanted: list[int], life: int = 0) -> list[int]:
    """Read until these came, one after the other, and nothing else does; return all that came."""
    got: list[int] = []
    with anyio.fail_after(20):
        while got[-len(wanted) :] != wanted or taken(source, life) < len(wanted):
            got += numbers(await source.read(100) or ())
    await nothing(source, 0.3)
    return got


both = pytest.mark.parametrize("group", ["g", None])


# While it is read -------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("count", [3, 5, 8])
async def test_it_is_read_from_its_beginning(one: One, group: str | None, count: int) -> None:
    """Whether it has fewer events than the one before, as many, or more."""
    await one.make(1, 2, 3, 4, 5)
    reads = one.topic(gap="earliest")
    async with opened(reads.source(group)) as source:
        await take(source, 5)
        await source.commit(5)
        again = await one.anew(*NEW[:count])
        got = await ends_with(source, NEW[:count], 1)
        assert {*got[:-count]} <= {*NEW[:count]}  # read before it was seen
        await source.commit(5 + len(got))
        await again.publish(ticks(100))
        assert numbers(await take(source, 1)) == [100]
    if group is not None:
        async with opened(reads.source(group)) as source:
            assert numbers(await take(source, 1)) == [100]
            await nothing(source, 0.3)


@both
async def test_a_pattern_takes_it_for_a_new_topic(kafka: Kafka, group: str | None) -> None:
    one = One(kafka, pattern=True)
    await one.make(1, 2, 3, 4, 5)
    async with opened(one.topic().source(group, start="earliest")) as source:
        await take(source, 5)
        for life, first in enumerate((10, 20), 1):
            wanted = [*range(first, first + 7)]
            await one.anew(*wanted)
            await ends_with(source, wanted, life)


async def test_a_pattern_takes_it_for_one_with_fewer_events_too(kafka: Kafka) -> None:
    """An offset that isn't there is looked into at once."""
    one = One(kafka, pattern=True)
    await one.make(*range(10))
    async with opened(one.topic(discover=60.0).source(None)) as source:
        await take(source, 10)
        await one.anew(*NEW)
        assert await ends_with(source, NEW, 1) == NEW


@both
@pytest.mark.parametrize("count", [3, 8])
async def test_without_gap_earliest_it_is_an_error(named: One, group: str | None, count: int) -> None:
    await named.make(1, 2, 3, 4, 5)
    async with opened(named.topic().source(group, start="latest")) as source:
        await nothing(source, 0.1)
        await named.anew(*NEW[:count])
        said = rf"topic {named.name} was deleted and made anew.*gap=earliest reads it from its beginning"
        with anyio.fail_after(20), pytest.raises(TopicError, match=said):
            while True:
                assert set(numbers(await source.read(100) or ())) <= {1, 2, 3, 4, 5, *NEW[5:]}
    if group is None:
        return
    # The group's positions went with the topic, and yet it isn't taken for a new group.
    async with opened(named.topic().source(group, start="latest")) as source:
        with pytest.raises(TopicError, match=said):
            await take(source, 1)
    async with opened(named.topic(gap="earliest").source(group, start="latest")) as source:
        assert await ends_with(source, NEW[:count]) == NEW[:count]
        await source.commit(count)
    async with opened(named.topic().source(group, start="latest")) as source:
        await nothing(source, 0.3)


async def test_what_is_settled_late_is_no_position_of_the_new_one(one: One) -> None:
    await one.make(1, 2, 3, 4, 5)
    reads = one.topic(gap="earliest")
    async with opened(reads.source("g")) as source:
        await take(source, 5)
        await one.anew(*NEW[:5])
        got = await ends_with(source, NEW[:5], 1)
        with anyio.fail_after(20):
            await source.commit(3)
            await source.commit(5 + len(got) - 3)  # two of the new one
    async with opened(reads.source("g")) as source:
        assert numbers(await take(source, 3)) == NEW[2:5]


@both
async def test_it_may_have_other_partitions(one: One, group: str | None) -> None:
    await one.make(*range(40), partitions=3)
    async with opened(one.topic(gap="earliest").source(group)) as source:
        await take(source, 40)
        for life, count in enumerate((1, 4, 2), 1):
            first = count * 100
            await one.anew(*range(first, first + 60), partitions=count)
            got: set[int] = set()
            with anyio.fail_after(25):
                while not got >= {*range(first, first + 60)} or taken(source, life) < 60:
                    got.update(numbers(await source.read(100) or ()))
            await nothing(source, 0.3)


@pytest.mark.parametrize("count", [1, 100])
async def test_who_reads_to_the_end_reads_no_further(one: One, count: int) -> None:
    await one.make(*range(50))
    gap = "earliest" if one.named else "fail"
    async with opened(one.topic(gap=gap, prefetch=1).source(None, follow=False)) as source:
        await take(source, 3)
        await one.anew(*range(100, 100 + count))
        await anyio.sleep(0.5)
        got: list[int] = []
        with anyio.fail_after(20):
            while (records := await source.read(100)) is not None:
                got += numbers(records)
        assert got[:1] == [3]
        assert len(got) < 47 + count


# Between two runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", ["fail", "earliest"])
async def test_a_group_that_has_committed_without_knowing(kafka: Kafka, named: One, gap: str) -> None:
    """The broker takes a commit that comes too late for one of the new topic: what it is of stands in it."""
    await named.make(1, 2, 3, 4, 5)
    async with opened(named.topic().source("g")) as source:
        await take(source, 5)
        await source.commit(5)
    bare = Consumer({"bootstrap.servers": kafka.servers, "group.id": "g"})
    ask = [TopicPartition(named.name, 0)]
    committed = await anyio.to_thread.run_sync(lambda: bare.committed(ask, timeout=10))
    await named.anew(*NEW)
    assert (await anyio.to_thread.run_sync(lambda: bare.committed(ask, timeout=10)))[
        0
    ].offset < 0  # Kafka's part
    await anyio.to_thread.run_sync(lambda: bare.commit(offsets=committed, asynchronous=False))
    await anyio.to_thread.run_sync(bare.close)
    async with opened(named.topic(gap=gap).source("g")) as source:
        if gap == "earliest":
            assert await ends_with(source, NEW) == NEW
        else:
            with pytest.raises(TopicError, match="deleted and made anew"):
                await take(source, 1)


@both
async def test_a_checkpoint_of_the_one_before(one: One, group: str | None, tmp_path: Path) -> None:
    got: list[int] = []
    await one.make(1, 2, 3, 4, 5)
    async with one.pipeline(got, group, tmp_path).start(drain=10) as run:
        await until(lambda: len(got) == 5, lambda: got)
        await run.checkpoint()
    await one.anew(*NEW)
    if one.named:
        with pytest.raises(TopicError, match="deleted and made anew"):
            await one.pipeline(got, group, tmp_path).run()
    got.clear()
    async with one.pipeline(got, group, tmp_path, gap="earliest").start(drain=10) as run:
        await until(lambda: len(got) >= 8, lambda: got)
        await run.checkpoint()
    assert got == NEW
    # A position in the new one is one, also where the bookmark remembers another.
    async with one.pipeline(got, group, tmp_path).start(drain=10) as run:
        again = one.again()
        await again.publish(ticks(100))
        await until(lambda: len(got) > 8, lambda: got)
    assert got == [*NEW, 100]


async def test_a_bookmark_without_an_id_is_restored(one: One) -> None:
    """As those are of checkpoints that are older than this, and at brokers without ids."""
    await one.make(1, 2, 3, 4, 5)
    async with opened(one.topic().source(None)) as source:
        await take(source, 3)
        bookmark = msgspec.json.decode(source.bookmark(3) or "")
    [part] = [name for name in bookmark if "#" not in name]
    async with opened(one.topic().source(None)) as source:
        await source.restore(3, msgspec.json.encode({part: bookmark[part]}).decode())
        assert numbers(await take(source, 2)) == [4, 5]


async def test_a_checkpoint_knows_the_new_one_where_nothing_came_of_it(named: One, tmp_path: Path) -> None:
    got: list[int] = []
    await named.make(*range(40), partitions=3)
    async with named.pipeline(got, None, tmp_path, gap="earliest").start(drain=10) as run:
        await until(lambda: len(got) == 40, lambda: got)
        await named.anew(100, partitions=3)
        await until(lambda: got[-1:] == [100], lambda: got)
        await run.checkpoint()
    await named.again().publish(ticks(*range(200, 230)), key=lambda tick: str(tick.number))
    got.clear()
    async with named.pipeline(got, None, tmp_path).start(drain=10):  # that it was made anew was told once
        await until(lambda: len(got) >= 30, lambda: got)
    assert sorted(got) == [*range(200, 230)]


async def test_a_source_that_is_opened_again(one: One) -> None:
    await one.make(1, 2, 3, 4, 5)
    source: Any = one.topic(gap="earliest").source(None)
    async with opened(source):
        await take(source, 5)
        await source.commit(4)
    await one.anew(*NEW)
    async with opened(source):
        await source.seek(5)
        assert await ends_with(source, NEW, 1) == NEW
        bookmark = source.bookmark(13)
    async with opened(one.topic().source(None)) as other:
        await other.restore(13, bookmark)
        await one.again().publish(ticks(100))
        assert numbers(await take(other, 1)) == [100]
