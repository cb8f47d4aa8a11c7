"""Messages that nobody can read: they are kept, and hold nobody up."""

from __future__ import annotations

import anyio
import msgspec

from reactor.core import DecodeError
from reactor.deadletters import dead_letters
from reactor.delivery import DeadLetter, StoredLetter
from reactor.pipeline import Pipeline
from reactor.testing.conformance.ground import Ground, Misplaced, Placed, Stranger
from reactor.topics import Topic


class Poison(Ground):
    """Dead letters."""

    async def poisoned(self) -> tuple[Topic[Placed], int]:
        """Return a topic with good events 0 to 19 and, in the middle, bad ones; and how many these are."""
        name = self.name()
        topic = self.make(name, Placed)
        await self.join(topic, "g")
        await topic.publish([Placed(n) for n in range(10)])
        await self.make(name, Stranger).publish(Stranger("you"), key="k", headers={"from": "afar"})
        if self.encodes:
            await self.make(name, Misplaced).publish(Misplaced("eleven"), key="k", headers={"from": "afar"})
        await topic.publish([Placed(n) for n in range(10, 20)])
        return topic, 1 + self.encodes

    async def test_what_cant_be_read_becomes_a_dead_letter(self) -> None:
        topic, bad = await self.poisoned()
        got: list[int] = []
        letters: list[DeadLetter] = []
        stream = topic.subscribe("g").map(lambda one: one.number)
        pipeline = Pipeline("reads", stream.to(got.append), dead_letters=letters.append, interval=0.05)
        await self.drained(pipeline, lambda: len(got) >= 20 and len(letters) >= bad, lambda: (got, letters))
        assert sorted(got) == list(range(20))
        stored = {letter.type: letter for letter in (one.stored() for one in letters)}
        by_error = sorted(
            (letter.stored() for letter in letters), key=lambda one: "Stranger" not in one.error
        )
        assert len(letters) == bad, stored
        for letter in by_error:
            assert topic.name in letter.error
            assert (letter.topic, letter.key) == (topic.name, "k")
            if self.capabilities.headers:
                assert letter.headers["from"] == "afar"
        assert "Stranger" in by_error[0].error
        if self.encodes:
            assert by_error[0].raw == b'{"who":"you"}'
            assert by_error[1].raw == b'{"number":"eleven"}'
            assert "$.number" in by_error[1].error
        async with self.reading(topic) as reader:  # they are done with
            await self.nothing_but_new(topic, reader)

    async def test_dead_letters_go_to_a_topic_of_the_same_broker(self) -> None:
        topic, bad = await self.poisoned()
        dead = self.make(self.name(), StoredLetter)
        await self.join(dead, "g")
        got: list[int] = []
        stream = topic.subscribe("g").map(lambda one: one.number)
        pipeline = Pipeline("reads", stream.to(got.append), dead_letters=dead, interval=0.05)
        await self.drained(pipeline, lambda: len(got) >= 20, lambda: got)
        async with self.reading(dead) as reader:
            letters = [record.value for record in await reader.take(bad)]
            assert await reader.rest() == []
        errors = sorted(letter.error for letter in letters)
        assert any("Stranger" in error for error in errors)
        for letter in letters:
            assert letter.pipeline == "reads"
            assert letter.topic == topic.name
            assert letter.traceback
        if self.encodes:
            assert {letter.raw for letter in letters} == {b'{"who":"you"}', b'{"number":"eleven"}'}

    async def test_dead_letters_are_listed_replayed_and_discarded(self) -> None:
        topic, bad = await self.poisoned()
        dead = self.make(self.name(), StoredLetter)
        got: list[int] = []

        def pipeline() -> Pipeline:
            stream = topic.subscribe("g").map(lambda one: one.number)
            return Pipeline("reads", stream.to(got.append), dead_letters=dead, interval=0.05)

        await self.drained(pipeline(), lambda: len(got) >= 20, lambda: got)
        with anyio.fail_after(3 * self.patience):
            found = [letter async for letter in dead_letters(dead).list()]
            assert [letter.state for letter in found] == ["open"] * bad
            one, *others = sorted(found, key=lambda letter: "Stranger" not in letter.error)
            await one.replay(event=Placed(20))
            for other in others:
                await other.discard(reason="a test")
            assert {letter.state for letter in others} == {"discarded"} if others else True
        with anyio.fail_after(3 * self.patience):  # somebody else looks
            letters = dead_letters(dead)
            states = {letter.id: letter.state async for letter in letters.list()}
            assert states == {one.id: "replayed", **{other.id: "discarded" for other in others}}
            same = await letters.get(one.id[:12])
            assert same.stored == one.stored
            await same.replay()  # a second time changes nothing
            assert [letter async for letter in letters.list(state="open")] == []
        await self.drained(pipeline(), lambda: 20 in got, lambda: got)
        assert sorted(got) == list(range(21))
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader)

    async def test_without_dead_letters_it_fails_and_goes_on_after_the_fix(self) -> None:
        topic, bad = await self.poisoned()
        got: list[int] = []
        stream = topic.subscribe("g").map(lambda one: one.number)
        pipeline = Pipeline("reads", stream.to(got.append), interval=0.05)
        for _ in range(2):  # again and again
            error = await self.fails(pipeline, DecodeError)
            assert topic.name in str(error)
            assert "Stranger" in str(error) or "$.number" in str(error)
        if self.capabilities.ordered == "topic":
            assert set(got) == set(range(10))  # what stands before it has gone its way, and nothing else
        before = list(got)
        letters: list[DeadLetter] = []
        mended = Pipeline("reads", stream.to(got.append), dead_letters=letters.append, interval=0.05)
        await self.drained(mended, lambda: set(got) == set(range(20)) and len(letters) >= bad, lambda: got)
        assert len(letters) == bad
        async with self.reading(topic) as reader:
            await self.nothing_but_new(topic, reader, may=set(before) - set(got[len(before) :]))

    async def test_bytes_that_are_no_json_are_kept_as_they_are(self) -> None:
        name = self.name()
        topic = self.make(name, Placed)
        await self.join(topic, "g")
        if not self.encodes:
            return
        data = b'\xff\x00{"number": 1'
        async with topic:
            await topic._log.append([(None, "Placed", "k", None, 1_893_553_445_123_456, data)])
        await topic.publish(Placed(1))
        got: list[Placed] = []
        letters: list[DeadLetter] = []
        pipeline = Pipeline(
            "reads", topic.subscribe("g").to(got.append), dead_letters=letters.append, interval=0.05
        )
        await self.drained(pipeline, lambda: got and letters, lambda: (got, letters))
        assert got == [Placed(1)]
        [letter] = [one.stored() for one in letters]
        assert letter.raw == data
        assert letter.event_time == 1_893_553_445_123_456
        assert msgspec.json.decode(msgspec.json.encode(letter), type=StoredLetter) == letter
