"""Dead letters that are kept: listed, repaired, replayed, discarded; a replay that fails again says so."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor import (
    ArgumentError,
    DeadLetter,
    DeadLetters,
    KeptLetter,
    LetterError,
    Letters,
    Pipeline,
    Record,
    StoredLetter,
    Stream,
    Topic,
    TopicError,
    UnknownLetter,
    dead_letters,
    topic,
)

pytestmark = pytest.mark.anyio


class Payment(msgspec.Struct):
    order: str
    amount: int


class Refund(msgspec.Struct):
    order: str


def charge(payment: Payment) -> Payment:
    if payment.amount < 0:
        raise ValueError(f"{payment.order}: declined")
    return payment


class Shop:
    """A topic of payments, the pipeline that charges them, and its dead letters."""

    def __init__(self, place: str) -> None:
        self.payments = topic(f"{place}payments", Payment)
        self.dead = topic(f"{place}dead", StoredLetter)
        self.letters = dead_letters(self.dead.url)
        self.charged: list[Payment] = []

    async def pay(self, *amounts: int, **how: Any) -> None:
        first = await self.payments.length()
        await self.payments.publish(
            [Payment(f"A{first + n}", amount) for n, amount in enumerate(amounts)], **how
        )

    async def bill(self, name: str = "billing", operator: str = "charge") -> None:
        """Handle what has come."""
        charged = self.payments.subscribe(name, follow=False).map(
            charge, on_error=DeadLetters(), name=operator
        )
        await Pipeline(name, charged.to(self.charged.append), dead_letters=self.dead).run()

    async def all(self, **filters: Any) -> list[KeptLetter]:
        return [letter async for letter in self.letters.list(**filters)]

    async def states(self) -> list[str]:
        """As somebody sees them who has just come."""
        return [letter.state async for letter in dead_letters(self.dead.url).list()]

    async def published(self) -> list[Record[Payment]]:
        return [record async for record in self.payments.records()]


@pytest.fixture(params=["sqlite", "memory"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/" if request.param == "sqlite" else f"memory:{uuid.uuid4()}.")


@pytest.fixture
def in_file(tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/")


# Looking at them --------------------------------------------------------------------------------------------


async def test_a_letter_is_open_and_tells_what_failed(shop: Shop) -> None:
    await shop.pay(5, -1)
    await shop.bill()
    (letter,) = await shop.all()
    assert (letter.pipeline, letter.operator, letter.state) == ("billing", "charge", "open")
    assert letter.error == "ValueError: A1: declined"
    assert letter.event == {"order": "A1", "amount": -1}
    assert letter.stored.position == 1
    assert "charge" in letter.stored.traceback
    assert (letter.earlier, letter.later, letter.actions) == (None, None, ())
    assert (await shop.letters.get(letter.id)).stored == letter.stored


async def test_filters(shop: Shop) -> None:
    await shop.pay(-1, -2)
    await shop.bill()
    await shop.bill("other", "look")
    first, second, third, fourth = await shop.all()

    async def chosen(**filters: Any) -> list[str]:
        return [letter.id for letter in await shop.all(**filters)]

    assert await chosen(pipeline="other") == [third.id, fourth.id]
    assert await chosen(operator="charge") == [first.id, second.id]
    assert await chosen(error="A1") == [second.id, fourth.id]
    assert await chosen(pipeline="other", error="A1") == [fourth.id]
    time = third.stored.time
    assert time > second.stored.time
    assert await chosen(since=time) == [third.id, fourth.id]
    assert await chosen(until=time) == [first.id, second.id]
    assert await chosen(since=datetime.fromtimestamp(time / 1_000_000 + 3600, UTC)) == []
    await first.discard()
    assert await chosen(state="discarded") == [first.id]
    assert await chosen(state=("open", "replayed")) == [second.id, third.id, fourth.id]


async def test_what_cannot_be_a_filter_is_refused(shop: Shop) -> None:
    with pytest.raises(ArgumentError, match="known states: open, replayed, failed again, discarded"):
        await shop.all(state="gone")
    with pytest.raises(ArgumentError, match=r"since.*time zone"):
        await shop.all(since=datetime(2026, 1, 1))  # noqa: DTZ001


async def test_an_id_may_be_shortened(shop: Shop) -> None:
    await shop.pay(*[-1] * 40)
    await shop.bill()
    found = await shop.all()
    for letter in found:
        assert (await shop.letters.get(letter.id[:12])).id == letter.id
    with pytest.raises(UnknownLetter, match="no dead letter 'beef0000'"):
        await shop.letters.get("beef0000")
    with pytest.raises(UnknownLetter):  # three characters say too little
        await shop.letters.get(found[0].id[:3])


async def test_a_shortened_id_of_two_is_refused(shop: Shop) -> None:
    letter = StoredLetter("beef0000-1", "p", "o", 1, "E: e", "", 1, 0)
    await shop.dead.publish(letter, msgspec.structs.replace(letter, id="beef0000-2"))
    with pytest.raises(UnknownLetter, match="2 dead letters begin with 'beef': beef0000-1, beef0000-2"):
        await shop.letters.get("beef")


async def test_looking_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match="there is no file"):
        await dead_letters(f"sqlite:{tmp_path}/typo.db/dead").get("beef")
    assert list(tmp_path.iterdir()) == []


async def test_a_topic_of_something_else_is_refused(in_file: Shop) -> None:
    await in_file.pay(1)
    with pytest.raises(LetterError, match="payments: isn't a topic of dead letters"):
        [letter async for letter in dead_letters(in_file.payments.url).list()]


async def test_letters_of_before_are_read_too(in_file: Shop) -> None:
    """What was stored before letters kept the type and time of their record."""
    await in_file.pay(-1)
    await in_file.bill()
    (letter,) = await in_file.all()
    old = msgspec.json.decode(msgspec.json.encode(letter.stored))
    for name in ("type", "event_time", "batch"):
        del old[name]
    StoredLetterOfBefore = msgspec.defstruct("StoredLetter", list(old))
    other = topic(f"{in_file.dead.url}2")
    await other.publish(StoredLetterOfBefore(**old))
    (found,) = [one async for one in dead_letters(other).list()]
    assert (await found.replay()).positions == (1,)


# Replaying them ---------------------------------------------------------------------------------------------


async def test_a_replay_publishes_the_same_record_again(shop: Shop) -> None:
    await shop.pay(-1, key="k", headers={"shop": "uk"}, time=7)
    await shop.bill()
    (letter,) = await shop.all()
    done = await letter.replay()
    assert (done.topic, done.positions, done.attempt) == (shop.payments.url, (1,), 1)
    before, after = await shop.published()
    assert (after.value, after.raw, after.key, after.time) == (before.value, before.raw, "k", 7)
    assert after.headers == {"shop": "uk", "reactor-letter": letter.id, "reactor-attempt": "1"}
    assert letter.state == "replayed"
    assert await shop.states() == ["replayed"]


async def test_twice_publishes_once(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    first = await letter.replay()
    assert await letter.replay() == first
    (again,) = [one async for one in dead_letters(shop.dead).list()]
    assert await again.replay() == first
    assert await again.replay(to=shop.payments) == first
    assert len(await shop.published()) == 2
    assert len(again.actions) == 1


async def test_a_crash_between_publishing_and_saying_so_publishes_once(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()

    class Crash(Exception):
        pass

    async def crash(*_: Any) -> None:
        raise Crash

    act, shop.letters._act = shop.letters._act, crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await letter.replay()
    shop.letters._act = act  # type: ignore[method-assign]
    assert await shop.states() == ["open"]
    assert (await letter.replay()).positions == (1,)
    assert len(await shop.published()) == 2
    assert await shop.states() == ["replayed"]


async def test_a_replay_that_fails_again_says_so(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    await letter.replay()
    await shop.bill()
    first, second = await shop.all()
    assert (first.state, second.state) == ("failed again", "open")
    assert first.later == second.id
    assert second.earlier == first.id
    with pytest.raises(LetterError, match=f"failed again as {second.id}: replay that one"):
        await first.replay()
    with pytest.raises(LetterError, match=f"failed again as {second.id}"):
        await first.discard()
    assert (await second.replay()).attempt == 2
    *_, last = await shop.published()
    assert (last.headers["reactor-letter"], last.headers["reactor-attempt"]) == (second.id, "2")
    assert await shop.states() == ["failed again", "replayed"]


async def test_failing_in_another_pipeline_is_no_failure_of_this_one(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    await letter.replay(event={"order": "A0", "amount": 3})
    await shop.bill()
    other = shop.payments.subscribe("audit", follow=False).map(
        lambda payment: 1 / (payment.amount - 3), on_error=DeadLetters()
    )
    await Pipeline("audit", other.discard(), dead_letters=shop.dead).run()
    assert await shop.states() == ["replayed", "open"]


async def test_a_repaired_event_takes_the_place_of_the_original(shop: Shop) -> None:
    await shop.pay(-1, key="k")
    await shop.bill()
    (letter,) = await shop.all()
    await letter.replay(event={"order": "A0", "amount": 9})
    await shop.bill()
    assert shop.charged == [Payment("A0", 9)]
    assert (await shop.published())[1].key == "k"
    with pytest.raises(LetterError, match=r"as something else.*nothing was published"):
        await letter.replay(event={"order": "A0", "amount": 8})
    assert len(await shop.published()) == 2
    assert letter.actions[0].event == {"order": "A0", "amount": 9}


async def test_an_object_keeps_the_name_of_its_class(in_file: Shop) -> None:
    await in_file.pay(-1)
    await in_file.bill()
    (letter,) = await in_file.all()
    await letter.replay(event=Refund("A0"))
    both = topic(in_file.payments.url, Payment, Refund)
    assert [record.value async for record in both.records()] == [Payment("A0", -1), Refund("A0")]


async def test_an_edit_is_kept_for_the_replay_and_leaves_the_original(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    await letter.edit({"order": "A0", "amount": 1})
    await letter.edit({"order": "A0", "amount": 2})
    (seen,) = [one async for one in dead_letters(shop.dead).list()]
    assert seen.state == "open"
    assert seen.event == {"order": "A0", "amount": 2}
    assert seen.stored == letter.stored
    await seen.replay()
    await shop.bill()
    assert shop.charged == [Payment("A0", 2)]
    with pytest.raises(LetterError, match="can't be edited any more"):
        await seen.edit({"order": "A0", "amount": 3})


async def test_in_memory_what_is_no_such_object_is_refused() -> None:
    shop = Shop(f"memory:{uuid.uuid4()}.")
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    with pytest.raises(LetterError, match=r"is no Payment: .*amount"):
        await letter.replay(event={"order": "A0", "amount": "much"})
    assert len(await shop.published()) == 1


async def test_several_letters_of_one_record_are_one_replay(shop: Shop) -> None:
    await shop.pay(3)
    both = shop.payments.subscribe("twice", follow=False).flat_map(lambda payment: [payment, payment])
    stream = both.map(lambda payment: 1 / 0, on_error=DeadLetters())
    await Pipeline("twice", stream.discard(), dead_letters=shop.dead).run()
    first, second = await shop.all()
    await first.replay()
    assert await shop.states() == ["replayed", "replayed"]
    assert (await second.replay()).positions == (1,)
    assert len(await shop.published()) == 2
    await Pipeline("twice", stream.discard(), dead_letters=shop.dead).run()
    assert await shop.states() == ["failed again", "failed again", "open", "open"]


async def test_a_batch_is_replayed_record_by_record(shop: Shop) -> None:
    await shop.pay(1, 2, 3)
    batches = shop.payments.subscribe("batches", follow=False).batch(3)
    stream = batches.map(lambda batch: 1 / 0, on_error=DeadLetters())
    await Pipeline("batches", stream.discard(), dead_letters=shop.dead).run()
    (letter,) = await shop.all()
    assert [record.position for record in letter.stored.records] == [0, 1, 2]
    with pytest.raises(LetterError, match="was made of 3 records"):
        await letter.replay(event={"order": "A0", "amount": 1})
    assert (await letter.replay()).positions == (3, 4, 5)
    assert [record.value.amount for record in await shop.published()] == [1, 2, 3, 1, 2, 3]
    await Pipeline("batches", stream.discard(), dead_letters=shop.dead).run()
    assert await shop.states() == ["failed again", "open"]


async def test_bytes_that_could_not_be_read_are_replayed_as_they_are(in_file: Shop) -> None:
    await topic(in_file.payments.url).publish({"order": "A0"}, key="k")  # no amount, and no Payment
    await in_file.bill()
    (letter,) = await in_file.all()
    assert letter.error.startswith("UnknownType: topic payments, position 0: dict is none of Payment")
    await letter.replay()
    first, second = [record async for record in topic(in_file.payments.url).records()]
    assert (first.raw, first.key) == (second.raw, second.key) == (b'{"order":"A0"}', "k")
    await in_file.bill()
    assert await in_file.states() == ["failed again", "open"]


async def test_what_came_from_no_topic_needs_one(in_file: Shop) -> None:
    stream = Stream([1, 2]).map(lambda n: 1 // (n - 1), on_error=DeadLetters())
    await Pipeline("numbers", stream.discard(), dead_letters=in_file.dead).run()
    (letter,) = await in_file.all()
    with pytest.raises(LetterError, match=r"came from no topic.*pass event=.*to="):
        await letter.replay()
    with pytest.raises(LetterError, match="pass event="):
        await letter.replay(to=in_file.payments)
    await letter.replay(event=Payment("A0", 1), to=in_file.payments)
    await letter.replay(event=Payment("A0", 1), to=in_file.payments)
    assert [record.value for record in await in_file.published()] == [Payment("A0", 1)]


async def test_a_record_of_another_file_is_not_taken_for_one_of_this(in_file: Shop, tmp_path: Path) -> None:
    """A topic of the same name stands beside the dead letters, with another record at that position."""
    await in_file.pay(1)
    elsewhere = Shop(f"sqlite:{tmp_path}/elsewhere.db/")
    elsewhere.dead, elsewhere.letters = in_file.dead, in_file.letters
    await elsewhere.pay(-1, key="k")
    await elsewhere.bill()
    (letter,) = await in_file.all()
    with pytest.raises(
        LetterError, match=r"came from 'payments', and stands in no such topic beside.*pass to="
    ):
        await letter.replay()
    assert len(await in_file.published()) == 1
    await letter.replay(to=elsewhere.payments.url)
    first, second = await elsewhere.published()
    assert (first.raw, first.key) == (second.raw, second.key)


async def test_a_second_topic_is_refused(in_file: Shop) -> None:
    await in_file.pay(-1)
    await in_file.bill()
    (letter,) = await in_file.all()
    await letter.replay()
    with pytest.raises(LetterError, match="payments already; nothing was published"):
        await letter.replay(to=f"{in_file.payments.url}.again")


async def test_two_replays_at_once_publish_once(shop: Shop) -> None:
    import anyio

    await shop.pay(-1)
    await shop.bill()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            (letter,) = [one async for one in dead_letters(shop.dead).list()]
            tasks.start_soon(letter.replay)
    assert len(await shop.published()) == 2


async def test_replaying_while_listing_ends(in_file: Shop) -> None:
    """What fails again meanwhile is no part of this list."""
    await in_file.pay(-1, -1)
    await in_file.bill()
    seen = 0
    async with in_file.letters as letters:
        async for letter in letters.list(state="open"):
            seen += 1
            await letter.replay()
            await in_file.bill()
    assert seen == 2
    assert await in_file.states() == ["failed again"] * 2 + ["open"] * 2


async def test_a_list_that_is_left_early_leaves_nothing_open(in_file: Shop) -> None:
    await in_file.pay(-1, -1)
    await in_file.bill()
    async for _ in in_file.letters.list():
        break  # the fixture no_leaks looks for threads


# Discarding them --------------------------------------------------------------------------------------------


async def test_discarded_is_stored_with_its_reason_and_nothing_is_deleted(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    await letter.discard(reason="a test order")
    await letter.discard(reason="again")
    (seen,) = [one async for one in dead_letters(shop.dead).list()]
    assert seen.state == "discarded"
    assert [(action.action, action.reason) for action in seen.actions] == [("discarded", "a test order")]
    assert await shop.dead.length() == 1
    assert len(await shop.published()) == 1


async def test_what_was_discarded_can_be_replayed_but_not_the_other_way_round(shop: Shop) -> None:
    await shop.pay(-1)
    await shop.bill()
    (letter,) = await shop.all()
    await letter.discard()
    await letter.replay()
    assert await shop.states() == ["replayed"]
    with pytest.raises(LetterError, match="replayed already, it can't be discarded"):
        await letter.discard()


@pytest.mark.parametrize("wrong", [None, 5, Payment])
async def test_what_is_no_topic_is_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="pass the topic's URL, or the topic"):
        dead_letters(wrong)


async def test_what_is_no_json_is_not_published(in_file: Shop) -> None:
    await in_file.pay(-1)
    await in_file.bill()
    (letter,) = await in_file.all()
    make: list[Callable[[], Any]] = [lambda: letter.edit(object()), lambda: letter.replay(event=object())]
    for call in make:
        with pytest.raises(ArgumentError, match="isn't JSON"):
            await call()
    assert await in_file.states() == ["open"]


def test_a_topic_says_where_its_letters_are() -> None:
    dead: Topic[Any] = topic("memory:dead", StoredLetter)
    assert repr(dead_letters(dead)) == "dead_letters('memory:dead')"
    assert isinstance(dead_letters(dead), Letters)


async def test_batches_of_events_that_came_from_nowhere_have_a_letter_each() -> None:
    letters: list[DeadLetter] = []
    batches = Stream(range(12)).scan(lambda total, n: total + n, 0).batch(4)
    failing = batches.map(lambda batch: 1 / 0, on_error=DeadLetters(), name="fails")
    await Pipeline("batches", failing.discard(), dead_letters=letters.append).run()
    assert len(letters) == 3
    assert len({letter.id for letter in letters}) == 3
