"""Groups: who gets what, and from where on."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from reactor.connectors.brokers import BrokerSource
from reactor.core import ArgumentError, GraphError, TopicError
from reactor.pipeline import Pipeline
from reactor.testing.conformance.ground import Ground, Placed, Reader, numbers, raised


class Groups(Ground):
    """Each group gets everything; its readers share it; where a new one begins."""

    async def test_each_group_gets_all_events_or_they_share_them(self) -> None:
        topic = await self.published([Placed(n) for n in range(30)], "one", "two")
        if self.capabilities.fanout:
            for group in ("one", "two"):
                async with self.reading(topic, group) as reader:
                    assert sorted(numbers(await reader.take(30, commit=True))) == list(range(30))
            return
        async with self.reading(topic, "one") as one:
            found = numbers(await one.take(10, commit=True))
        async with self.reading(topic, "two") as two:
            found += numbers(await two.take(20, commit=True))
            assert await two.rest() == []
        assert sorted(found) == list(range(30))

    async def test_a_new_group_gets_what_was_there_before_it(self) -> None:
        topic = self.make(self.name(), Placed)
        await topic.publish([Placed(1), Placed(2)])
        async with self.reading(topic, "new") as reader:
            await topic.publish([Placed(3), Placed(4)])
            if self.capabilities.retains:
                assert sorted(numbers(await reader.take(4))) == [1, 2, 3, 4]
            else:
                assert sorted(numbers(await reader.take(2))) == [3, 4]
            assert await reader.rest() == []

    async def test_a_group_is_there_from_its_first_opening_on(self) -> None:
        topic = self.make(self.name(), Placed)
        await topic.publish(Placed(1))
        for start in ("earliest", "latest"):
            try:
                async with self.reading(topic, start, start=start):
                    pass
            except (ArgumentError, TopicError):
                assert start == "latest"
                assert not self.capabilities.fanout
        await topic.publish(Placed(2))
        if not self.capabilities.fanout:
            return
        # Nobody was there when it was published. Whatever start= says: the group is known, and gets it.
        async with self.reading(topic, "latest", start="latest") as reader:
            assert numbers(await reader.take(1)) == [2]
            assert await reader.rest() == []
        async with self.reading(topic, "earliest", start="latest") as reader:
            expected = [1, 2] if self.capabilities.retains else [2]
            assert sorted(numbers(await reader.take(len(expected)))) == expected

    async def test_a_new_group_that_begins_at_the_end(self) -> None:
        topic = await self.published([Placed(1), Placed(2)])
        try:
            async with self.reading(topic, "new", start="latest") as reader:
                await topic.publish([Placed(3), Placed(4)])
                assert sorted(numbers(await reader.take(2))) == [3, 4]
                assert await reader.rest() == []
        except (ArgumentError, TopicError) as error:
            # Where there are no groups, there is no end of one's own.
            if self.capabilities.fanout or "latest" not in str(error):
                raise

    async def test_a_group_that_begins_at_a_time(self) -> None:
        topic = await self.published([Placed(1), Placed(2)])
        if not self.capabilities.replay:
            error = raised(ArgumentError, lambda: topic.source("new", start=datetime.now(UTC)))
            assert "start=" in str(error)
            return
        await anyio.sleep(self.exact)
        now = datetime.now(UTC)
        await anyio.sleep(0.05)
        await topic.publish([Placed(3), Placed(4)])
        async with self.reading(topic, "new", start=now) as reader:
            await topic.publish(Placed(5))
            assert sorted(numbers(await reader.take(3))) == [3, 4, 5]
            assert await reader.rest() == []

    async def test_without_following_it_ends(self) -> None:
        topic = await self.published([Placed(n) for n in range(50)])
        if not self.capabilities.ends:
            error = raised(ArgumentError, lambda: topic.source("g", follow=False))
            assert "follow=False" in str(error)
            return
        for expected in (list(range(50)), []):
            got: list[int] = []
            stream = topic.subscribe("g", follow=False).map(lambda one: one.number)
            with anyio.fail_after(self.patience):
                async with Pipeline("ends", stream.to(got.append)).start() as run:
                    await run.wait()
            assert sorted(got) == expected
        with anyio.fail_after(self.patience):
            assert await self.make(self.name(), Placed).subscribe("g", follow=False).collect() == []

    async def test_without_a_group_nothing_is_saved(self) -> None:
        topic = self.make(self.name(), Placed)
        if not self.capabilities.fanout:
            return
        if not self.capabilities.retains:
            async with self.reading(topic, None) as one, self.reading(topic, None) as two:
                await topic.publish([Placed(1), Placed(2)])
                for reader in (one, two):
                    assert sorted(numbers(await reader.take(2, commit=True))) == [1, 2]
            return
        await topic.publish([Placed(1), Placed(2)])
        for _ in range(2):
            async with self.reading(topic, None) as reader:
                assert sorted(numbers(await reader.take(2, commit=True))) == [1, 2]

    async def test_the_readers_of_a_group_share_its_events(self) -> None:
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        if not self.capabilities.shared:
            # One at a time; a second one never takes anything away from the first.
            await topic.publish([Placed(n) for n in range(20)])
            async with self.reading(topic) as one, self.reading(topic):
                assert sorted(numbers(await one.take(20))) == list(range(20))
            return
        got: tuple[list[int], list[int]] = ([], [])

        async def read(reader: Reader, its: list[int]) -> None:
            while True:
                records = await reader.source.read(5)
                assert records is not None
                its += numbers(records)
                await reader.commit()

        async with self.reading(topic) as one, self.reading(topic) as two, topic:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, one, got[0])
                tasks.start_soon(read, two, got[1])
                # Until both have got something: a group may take its time to find out who is there.
                published = 0

                async def more() -> bool:
                    nonlocal published
                    events = [Placed(-1 - n) for n in range(published, published + 20)]
                    published += len(events)
                    await topic.publish(events, key=lambda one: f"key-{one.number}")
                    await self.until(
                        lambda: len(set(got[0]) | set(got[1])) >= published, what=lambda: (published, got)
                    )
                    return bool(got[0] and got[1])

                with anyio.fail_after(self.patience):
                    while not await more():
                        pass
                await self.until(lambda: len(set(got[0]) | set(got[1])) == published, what=lambda: got)
                for its in got:
                    its.clear()
                await topic.publish([Placed(n) for n in range(200)], key=lambda one: f"key-{one.number}")
                await self.until(lambda: len(got[0]) + len(got[1]) >= 200, what=lambda: got)
                await anyio.sleep(self.quiet)
                tasks.cancel_scope.cancel()
        assert sorted(got[0] + got[1]) == list(range(200)), "each event goes to one of them, once"

    async def test_a_reader_that_leaves_leaves_its_events_to_the_other(self) -> None:
        if not self.capabilities.shared:
            return
        topic = self.make(self.name(), Placed)
        await self.join(topic, "g")
        seen: set[int] = set()
        async with self.reading(topic) as one:
            async with self.reading(topic) as two:
                await topic.publish([Placed(n) for n in range(100)], key=lambda one: f"key-{one.number}")
                for reader in (one, two):  # whatever they get, nothing of the second one's is settled
                    with anyio.move_on_after(2):
                        records = await reader.source.read(10)
                        if reader is one:
                            seen.update(numbers(records or ()))
                            await reader.commit()
            with anyio.move_on_after(self.patience):
                while len(seen) < 100:
                    seen.update(numbers(await one.source.read(100) or ()))
                    await one.commit()
        assert seen == set(range(100))

    async def test_one_group_twice_in_one_pipeline_is_refused(self) -> None:
        name = self.name()
        one, two = (self.make(name, Placed).subscribe("g").discard() for _ in range(2))
        error = raised(GraphError, lambda: Pipeline("twice", one, two))
        assert name in str(error)
        other = self.make(name, Placed).subscribe("other").discard()
        Pipeline("once each", one, other)

    async def test_a_source_that_waits_takes_no_more_than_its_prefetch(self) -> None:
        events = [Placed(n, "x" * 100) for n in range(self.many)]
        topic = await self.published(events)
        async with self.reading(topic) as one:
            source = one.source
            if not isinstance(source, BrokerSource) or source._consumer.positional:
                return  # it takes what is asked for; what its client fetches ahead is the connector's to bound
            prefetch = source._consumer.prefetch
            assert prefetch is not None, "a consumer that isn't positional has a prefetch"
            held: list[Any] = []
            with anyio.move_on_after(self.patience):
                while len(held) < prefetch and len(held) < self.many:
                    held += await source.read(prefetch) or ()
            assert len(held) == min(prefetch, self.many)
            if prefetch < self.many:
                with anyio.move_on_after(self.quiet) as waiting:
                    await source.read(1)
                assert waiting.cancelled_caught, "with its prefetch in flight it has to wait"
            if self.capabilities.shared:
                async with self.reading(topic) as two:
                    left = self.many - len(held)
                    others = await two.take(left, commit=True)
                    assert set(numbers(held)).isdisjoint(numbers(others))

    async def test_a_pipeline_that_stands_still_reads_no_more(self) -> None:
        topic = await self.published([Placed(n) for n in range(600)], key=lambda one: f"key-{one.number}")
        taken: list[int] = []

        async def sink(one: Placed) -> None:
            taken.append(one.number)
            await anyio.sleep_forever()

        pipeline = Pipeline("stands", topic.subscribe("g").to(sink), chunk=10, capacity=10, interval=0.05)
        async with self.abandoned(pipeline) as run:
            await self.until(lambda: taken, run)
            await anyio.sleep(self.quiet)
            read = run.metrics().events_in
            assert read <= 100, f"{read} events were read while the first one is on its way"
        async with self.reading(topic) as reader:  # and all of them are still there
            assert sorted(numbers(await reader.take(600, commit=True))) == list(range(600))

    async def test_a_start_that_cant_be_is_refused(self) -> None:
        topic = self.make(self.name(), Placed)
        starts: list[Any] = [-1, "now", datetime(2030, 1, 1)]  # noqa: DTZ001
        for start in starts:
            error = raised(ArgumentError, partial(topic.source, "g", start=start))
            assert "start" in str(error)
        for group in ("", "a\nb"):
            raised(ArgumentError, partial(topic.source, group))
