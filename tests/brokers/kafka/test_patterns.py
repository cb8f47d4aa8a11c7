"""All topics of Kafka whose names match a pattern, as one source, on a real broker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from reactor import Checkpoints, DeadLetters, Pipeline, StoredLetter, dead_letters, topic
from reactor.connectors.kafka import Kafka as Options
from reactor.core import ArgumentError, Record, TopicError
from reactor.topics import Topic
from tests.brokers.kafka.test_groups import until
from tests.brokers.kafka.test_topics import Tick, nothing, numbers, opened, take, ticks
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.anyio


class Family:
    """Topics of one beginning, which are this test's own."""

    def __init__(self, kafka: Kafka, **options: Any) -> None:
        self.kafka = kafka
        self.beginning = f"{kafka.unused()}-"
        self._options: dict[str, Any] = {"discover": 0.2, "session_timeout": 6.0, **options}

    async def make(self, end: str, partitions: int = 1, **settings: str) -> Topic[Tick]:
        name = self.beginning + end
        made = self.kafka.client.create_topics(
            [NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)]
        )
        await anyio.to_thread.run_sync(made[name].result, 30)
        return topic(self.kafka.url(name), Tick)

    async def delete(self, end: str) -> None:
        name = self.beginning + end
        await anyio.to_thread.run_sync(self.kafka.client.delete_topics([name])[name].result, 30)

    def all(self, end: str = "") -> Topic[Tick]:
        url = self.kafka.url(quote(f"^{self.beginning}{end}"))
        return topic(url, Tick, config=Options(**self._options))


@pytest.fixture
async def family(kafka: Kafka) -> Family:
    return Family(kafka)


def origins(records: list[Record[Any]]) -> set[tuple[str | None, str]]:
    return {(record.topic, (record.place or "").partition("@")[0]) for record in records}


async def test_all_that_match_are_read_and_no_other(family: Family) -> None:
    eu, us, mail = await family.make("eu", 2), await family.make("us"), await family.make("mail")
    await eu.publish(ticks(*range(20)), key=lambda tick: str(tick.number))
    await us.publish(ticks(*range(20, 30)))
    await mail.publish(ticks(100))
    both = family.all("(eu|us)$")
    records = [record async for record in both.records("earliest")]
    assert sorted(numbers(records)) == list(range(30))
    assert origins(records) == {
        (eu.name, f"{eu.name}/0"),
        (eu.name, f"{eu.name}/1"),
        (us.name, f"{us.name}/0"),
    }
    assert sorted(numbers([record async for record in family.all().records("earliest")])) == [*range(30), 100]
    assert [record async for record in family.all("none").records("earliest")] == []
    async with opened(family.all("none").source("g", follow=False)) as source:
        assert await source.read(10) is None


async def test_a_group_goes_on_in_each_topic(family: Family) -> None:
    eu, us = await family.make("eu"), await family.make("us")
    await eu.publish(ticks(1, 2, 3))
    await us.publish(ticks(11, 12))
    async with opened(family.all().source("g")) as source:
        records = await take(source, 5)
        await source.commit(4)  # the fifth isn't handled
    await us.publish(Tick(13))
    async with opened(family.all().source("g")) as source:
        again = await take(source, 2)
        await nothing(source)
    assert sorted(numbers([*records[:4], *again])) == [1, 2, 3, 11, 12, 13]


@pytest.mark.parametrize("group", ["g", None])
@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_topic_that_is_made_later_is_read_from_its_beginning(
    family: Family, group: str | None, start: Any
) -> None:
    eu = await family.make("eu")
    await eu.publish(ticks(1, 2))
    async with opened(family.all().source(group, start=start)) as source:
        first = [] if start == "latest" else await take(source, 2)
        await nothing(source)
        us = await family.make("us", 2)
        await us.publish(ticks(*range(10, 30)), key=lambda tick: str(tick.number))
        records = await take(source, 20)
        assert sorted(numbers(records)) == list(range(10, 30))
        await source.commit(len(first) + 20)
        await eu.publish(Tick(3))
        assert numbers(await take(source, 1)) == [3]
    if group is None:
        return
    async with opened(family.all().source(group, start=start)) as source:
        assert numbers(await take(source, 1)) == [3]
        await nothing(source)


async def test_the_first_topic_may_come_later(family: Family) -> None:
    async with opened(family.all().source("g", start="latest")) as source:
        await nothing(source)
        await (await family.make("eu")).publish(ticks(1, 2))
        assert numbers(await take(source, 2)) == [1, 2]


async def test_a_known_group_misses_nothing_of_a_topic_made_while_it_was_away(family: Family) -> None:
    eu = await family.make("eu")
    await eu.publish(ticks(1, 2))
    async with opened(family.all().source("g", start="latest")) as source:
        await nothing(source)
    await eu.publish(Tick(3))
    await (await family.make("us")).publish(Tick(4))
    async with opened(family.all().source("g", start="latest")) as source:
        assert sorted(numbers(await take(source, 2))) == [3, 4]


async def test_replay_from_a_time(family: Family) -> None:
    kept = {"retention.ms": "-1"}
    eu, us = await family.make("eu", 2, **kept), await family.make("us", **kept)
    base = 1_700_000_000_000_000
    for where, first in ((eu, 0), (us, 5)):
        await where.publish(
            ticks(*range(first, 20)),
            time=lambda tick: base + tick.number * 1_000_000,
            key=lambda tick: str(tick.number),
        )
    start = datetime.fromtimestamp(base / 1e6 + 15, UTC)
    found = numbers([record async for record in family.all().records(start)])
    assert sorted(found) == sorted([*range(15, 20), *range(15, 20)])
    async with opened(family.all().source("g", start=start)) as source:
        assert sorted(numbers(await take(source, 10))) == sorted(found)
        await nothing(source)


@pytest.mark.parametrize("group", ["g", None])
async def test_a_checkpoint_has_the_place_in_each_topic(
    family: Family, group: str | None, tmp_path: Path
) -> None:
    eu, us = await family.make("eu", 2), await family.make("us")
    await eu.publish(ticks(*range(20)), key=lambda tick: str(tick.number))
    await us.publish(ticks(*range(20, 30)))
    sums: list[int] = []

    def adds() -> Pipeline:
        everything = family.all()
        stream = everything.subscribe(group) if group else everything.read(follow=True)
        return Pipeline(
            "adds",
            stream.scan(lambda total, tick: total + tick.number, 0, name="total").to(sums.append),
            checkpoint=Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.1, spacing=0.02),
        )

    async with adds().start(drain=10):
        await until(lambda: sums[-1:] == [sum(range(30))], lambda: sums)
    await us.publish(Tick(1000))
    await (await family.make("asia")).publish(Tick(10_000))
    total = sum(range(30)) + 11_000
    async with adds().start(drain=10):
        await until(lambda: sums[-1:] == [total], lambda: sums[-3:])
        await eu.publish(Tick(100_000))
        await until(lambda: sums[-1:] == [total + 100_000], lambda: sums[-3:])


async def test_a_checkpoint_knows_also_where_it_waited(family: Family, tmp_path: Path) -> None:
    """With start="latest" and no group, nobody else knows where a topic began of which nothing has come."""
    eu, us = await family.make("eu"), await family.make("us")
    await us.publish(ticks(1))
    got: list[int] = []

    def reads() -> Pipeline:
        return Pipeline(
            "reads",
            family.all().read("latest", follow=True).to(lambda tick: got.append(tick.number)),
            checkpoint=Checkpoints(f"sqlite:{tmp_path}/state.db", interval=0.1, spacing=0.02),
        )

    async with reads().start(drain=10) as run:
        while not got:
            await eu.publish(Tick(2))
            await anyio.sleep(0.1)
        await run.checkpoint()
    got.clear()
    await us.publish(ticks(3))
    async with reads().start(drain=10):
        await until(lambda: got, lambda: got)
    assert got == [3]


async def test_members_share_the_topics_and_repeat_nothing(family: Family) -> None:
    topics = {name: await family.make(name, 2) for name in ("eu", "us")}
    got: dict[str, list[int]] = {"one": [], "two": []}
    published = 0
    enough = False
    over = anyio.Event()

    async def publish() -> None:
        nonlocal published
        while not enough:
            for where in [*topics.values()]:
                await where.publish(
                    ticks(*range(published, published + 10)), key=lambda tick: str(tick.number)
                )
                published += 10
            await anyio.sleep(0.03)
        over.set()

    def reads(name: str) -> Pipeline:
        async def handle(tick: Tick) -> None:
            await anyio.sleep(0.001)
            got[name].append(tick.number)

        return Pipeline(name, family.all().subscribe("g").to(handle), chunk=10, interval=0.05)

    def counts() -> dict[str, int]:
        return {name: len(its) for name, its in got.items()}

    with anyio.fail_after(55):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            async with reads("one").start(drain=20):
                await until(lambda: len(got["one"]) > 20, counts)
                async with reads("two").start(drain=20):
                    await until(lambda: len(got["two"]) > 20, counts)
                    topics["asia"] = await family.make("asia", 3)
                    before = len(got["two"])
                    await until(lambda: len(got["two"]) > before + 50, counts)
                enough = True
                await over.wait()
                await until(lambda: len({n for its in got.values() for n in its}) == published, counts)
    everything = [number for its in got.values() for number in its]
    assert sorted(everything) == list(range(published))


@pytest.mark.parametrize("group", ["g", None])
async def test_a_topic_that_is_deleted_holds_nobody_up(family: Family, group: str | None) -> None:
    eu, us = await family.make("eu"), await family.make("us")
    await eu.publish(ticks(1, 2))
    await us.publish(ticks(3))
    async with opened(family.all().source(group)) as source:
        assert sorted(numbers(await take(source, 3))) == [1, 2, 3]
        await family.delete("eu")
        with anyio.fail_after(30):
            await source.commit(3)
        await us.publish(Tick(4))
        with anyio.fail_after(30):
            assert numbers(await take(source, 1)) == [4]
            await source.commit(4)


@pytest.mark.parametrize("group", ["g", None])
async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    family: Family, group: str | None
) -> None:
    eu, us = await family.make("eu"), await family.make("us")
    await eu.publish(ticks(1, 2))
    await us.publish(ticks(3))
    reads: Any = family.all().source(group)
    async with opened(reads) as source:
        await take(source, 3)
        await source.commit(3)
        await family.delete("eu")
        seen = reads._consumer._reader._there
        await until(lambda: seen._deleted, lambda: seen.known)
        eu = await family.make("eu")
        await eu.publish(ticks(11, 12, 13))
        assert sorted(numbers(await take(source, 3))) == [11, 12, 13]
        await source.commit(6)
    if group is not None:
        await eu.publish(ticks(14))
        async with opened(family.all().source(group)) as source:
            assert numbers(await take(source, 1)) == [14]


async def test_of_two_sources_that_end_early_each_is_read_on(family: Family, kafka: Kafka) -> None:
    """What a drain leaves behind is told by the records' topics, which are no source's name here."""
    await (await family.make("eu")).publish(ticks(*range(5)))
    other = await Family(kafka).make("other")
    await other.publish(ticks(*range(100, 105)))

    def reads(count: int) -> Any:
        merged = family.all().subscribe("g", follow=False).merge(other.subscribe("g", follow=False))
        return merged.take(count, volatile=True)

    first: list[int] = []
    await Pipeline("reads", reads(4).to(lambda tick: first.append(tick.number))).run()
    rest: list[int] = []
    await Pipeline("reads", reads(10).to(lambda tick: rest.append(tick.number))).run()
    assert sorted([*first, *rest]) == [*range(5), *range(100, 105)]


async def test_dead_letters_are_replayed_to_their_topic(family: Family, kafka: Kafka) -> None:
    eu, us = await family.make("eu"), await family.make("us")
    await eu.publish(ticks(1))
    await us.publish(Tick(2), key="two")
    dead = topic(kafka.url(kafka.unused()), StoredLetter)
    got: list[int] = []
    failed: list[int] = []
    broken = True

    def handle(tick: Tick) -> None:
        if broken and tick.number == 2:
            failed.append(2)
            raise ValueError("not yet")
        got.append(tick.number)

    def reads() -> Pipeline:
        end = family.all().subscribe("g").to(handle, on_error=DeadLetters())
        return Pipeline("reads", end, dead_letters=dead, interval=0.05)

    async with reads().start(drain=10):
        await until(lambda: got == [1] and failed, lambda: (got, failed))
    [letter] = [letter async for letter in dead_letters(dead).list()]
    assert (letter.stored.topic, letter.stored.at) == (us.name, f"{us.name}/0@0")
    broken = False
    await letter.replay()
    async with reads().start(drain=10):
        await until(lambda: got == [1, 2], lambda: got)
    records = [record async for record in us.records("earliest")]
    assert [(record.value, record.key) for record in records] == [(Tick(2), "two")] * 2


# What can't be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("^orders-[", r"no regular expression.*%3F"),
        ("^or/ders", "no name of a topic has a /"),
        ("orders-.*", r"a pattern of topics begins with \^"),
        ("^orders?", "orders"),
        ("^orders-?x", "write %3F for a ?"),
    ],
)
async def test_a_pattern_that_cant_be(path: str, said: str) -> None:
    if path == "^orders?":
        assert topic(f"kafka://localhost/{path}").name == "^orders"  # as in any URL, options begin there
        return
    with pytest.raises(ArgumentError, match=said):
        topic(f"kafka://localhost/{path}")


@pytest.mark.parametrize("path", ["^orders-.*", "%5Eorders-.%2A"])
async def test_a_pattern_is_only_read(path: str) -> None:
    orders = topic(f"kafka://localhost/{path}", Tick)
    said = r"kafka://localhost:9092/\^orders-\.\*.*can only be read; write to one topic"
    with pytest.raises(ArgumentError, match=said):
        orders.sink()
    with pytest.raises(ArgumentError, match=said):
        await orders.publish(Tick(1))
    with pytest.raises(ArgumentError, match=said):
        Pipeline("p", topic("memory:a").subscribe("g").to(orders))
    with pytest.raises(ArgumentError, match=said):
        topic("kafka://localhost/^orders-.*?transactions=true", Tick).sink()


async def test_a_url_that_is_shown_can_be_used_again() -> None:
    written = "kafka://localhost:9092/^a%3Fb%25?discover=3.0"
    assert topic(written).url == written
    assert topic(topic(written).url).name == "^a?b%"


async def test_nobody_is_there() -> None:
    source = topic("kafka://127.0.0.1:9/^orders?patience=1", Tick).source("g")
    with pytest.raises(TopicError, match="no broker was reached within 1 s"):
        async with opened(source):
            pass
