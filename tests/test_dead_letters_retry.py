"""Retry topics: dead letters that are replayed by themselves, later and later, until they were tried too often."""

import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reactor import (
    ArgumentError,
    DeadLetters,
    KeptLetter,
    Pipeline,
    Retry,
    StoredLetter,
    Stream,
    TopicError,
    dead_letters,
    topic,
)
from reactor.deadletters import Retrying
from reactor.testing import virtual_backend

pytestmark = pytest.mark.anyio

DOUBLING = Retry(3, initial=60, max=3600, jitter=0)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


class Order(msgspec.Struct):
    id: str


class Shop:
    """A topic of orders, a pipeline that ships them, and its dead letters."""

    def __init__(self, place: str) -> None:
        self.orders = topic(f"{place}orders", Order)
        self.dead = topic(f"{place}dead", StoredLetter)
        self.letters = dead_letters(self.dead.url)
        self.down: set[str] = set()
        self.shipped: list[str] = []
        self.tried: list[tuple[float, str]] = []
        """When, in seconds since the first, and what."""

    def ship(self, order: Order) -> str:
        now = anyio.current_time()
        self.tried.append((now, order.id))
        if order.id in self.down:
            raise ConnectionError(f"{order.id}: no carrier")
        return order.id

    def shipping(self, name: str = "shipping", operator: str = "ship", follow: bool = False) -> Pipeline:
        orders = self.orders.subscribe(name, follow=follow)
        shipped = orders.map(self.ship, name=operator, on_error=DeadLetters())
        return Pipeline(name, shipped.to(self.shipped.append), dead_letters=self.dead)

    async def fail(self, *ids: str) -> list[KeptLetter]:
        """Have these orders fail; return their letters."""
        self.down |= set(ids)
        await self.orders.publish([Order(id) for id in ids])
        await self.shipping().run()
        self.tried.clear()
        return await self.all(state="open")

    async def all(self, **filters: Any) -> list[KeptLetter]:
        return [letter async for letter in self.letters.list(**filters)]

    async def states(self) -> list[str]:
        """As somebody sees them who has just come."""
        return [letter.state async for letter in dead_letters(self.dead.url).list()]

    async def published(self) -> list[str]:
        return [record.value.id async for record in self.orders.records()]


@pytest.fixture(params=["sqlite", "memory"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/" if request.param == "sqlite" else f"memory:{uuid.uuid4()}.")


@pytest.fixture
def in_file(tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/")


# When -------------------------------------------------------------------------------------------------------


async def test_one_is_replayed_when_it_is_old_enough_and_later_each_time_until_it_was_tried_so_often(
    shop: Shop,
) -> None:
    await shop.fail("A")
    for tried, wait in (1, 60), (2, 120):
        (letter,) = await shop.all(state="open")
        assert letter.tried == tried
        await anyio.sleep(wait - 1)
        assert await shop.letters.retry(DOUBLING) == []
        await anyio.sleep(1)
        (replayed,) = await shop.letters.retry(DOUBLING)
        assert (replayed.id, replayed.state, await shop.published()) == (
            letter.id,
            "replayed",
            ["A"] * (tried + 1),
        )
        await shop.shipping().run()
    await anyio.sleep(80_000)
    assert await shop.letters.retry(DOUBLING) == []
    assert await shop.states() == ["failed again", "failed again", "open"]
    assert [letter.state for letter in await shop.all(tried=3)] == ["open"]
    assert len(await shop.all(tried=2)) == 2
    assert len(await shop.published()) == 3


async def test_the_longest_wait_is_the_policys(shop: Shop) -> None:
    await shop.fail("A")
    await anyio.sleep(10)
    assert len(await shop.letters.retry(Retry(9, initial=60, max=10, jitter=0))) == 1


async def test_the_random_part_is_the_letters_own_at_each_look_and_in_each_process(shop: Shop) -> None:
    letters = await shop.fail(*(f"A{n}" for n in range(50)))
    policy = Retry(3, initial=100, max=3600, jitter=0.5)
    one, other = (Retrying(dead_letters(shop.dead.url), policy) for _ in range(2))
    waits = [((one.due(each.stored) or 0) - each.stored.time) / 1_000_000 for each in letters]
    assert waits == [((other.due(each.stored) or 0) - each.stored.time) / 1_000_000 for each in letters]
    assert len(set(waits)) > 45
    assert 50 <= min(waits) < 75
    assert 75 < max(waits) <= 100


async def test_following_goes_on_by_itself_and_holds_up_nobody() -> None:
    """In memory: a file is followed by the clock of the wall."""
    shop = Shop(f"memory:{uuid.uuid4()}.")
    await shop.fail("A", "B")
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_follow, shop, DOUBLING)
        tasks.start_soon(shop.shipping(follow=True).run)
        await anyio.sleep(30)
        await shop.orders.publish([Order("C")])
        await anyio.sleep(60)
        assert shop.shipped == ["C"]
        shop.down.clear()
        await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    seen = [(round(at - began, -1), id) for at, id in shop.tried]
    assert seen == [(30, "C"), (60, "A"), (60, "B"), (180, "A"), (180, "B")]
    assert shop.shipped == ["C", "A", "B"]
    assert await shop.states() == ["failed again"] * 2 + ["replayed"] * 2


async def _follow(shop: Shop, policy: Retry, into: Pipeline | None = None) -> None:
    await dead_letters(shop.dead.url).retry(policy, follow=True, into=into)


async def test_following_into_the_operator(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.fail("A", "B", "C")
    began = anyio.current_time()
    shop.down.remove("B")
    with anyio.move_on_after(1000):
        await _follow(shop, DOUBLING, shop.shipping())
    seen = [(round(at - began, -1), id) for at, id in shop.tried]
    assert seen == [(60, "A"), (60, "B"), (60, "C"), (180, "A"), (180, "C")]
    assert shop.shipped == ["B"]
    assert await shop.published() == ["A", "B", "C"]
    assert [(letter.event, letter.tried) for letter in await shop.all(state="open")] == [
        ({"id": "A"}, 3),
        ({"id": "C"}, 3),
    ]
    (told,) = (record.getMessage() for record in caplog.records)
    assert told == (
        f"{shop.dead.url}: dead letters that were tried 3 times or more stay open, and aren't retried: 2"
    )


async def test_it_looks_as_often_as_something_may_be_due_and_no_more(shop: Shop) -> None:
    await shop.fail("A")
    looks: list[float] = []
    began = anyio.current_time()
    letters = dead_letters(shop.dead.url)
    listed = letters.list

    def counted(**filters: Any) -> Any:
        looks.append(round(anyio.current_time() - began))
        return listed(**filters)

    letters.list = counted  # type: ignore[method-assign, assignment]
    await anyio.sleep(20)
    with anyio.move_on_after(250):
        await letters.retry(Retry(2, initial=60, max=60, jitter=0), follow=True)
    assert looks == [20, 60, 120, 180, 240]


# What is left alone -----------------------------------------------------------------------------------------


async def test_what_somebody_has_replayed_or_discarded_is_not_touched(shop: Shop) -> None:
    by_hand, discarded, edited = await shop.fail("A", "B", "C")
    await by_hand.replay()
    await discarded.discard()
    await edited.edit({"id": "C2"})
    await anyio.sleep(60)
    (replayed,) = await dead_letters(shop.dead.url).retry(DOUBLING)
    assert replayed.id == edited.id
    assert await shop.published() == ["A", "B", "C", "A", "C2"]
    assert await shop.states() == ["replayed", "discarded", "replayed"]


async def test_a_replay_by_hand_counts(shop: Shop) -> None:
    (letter,) = await shop.fail("A")
    for _ in range(2):
        await letter.replay()
        await shop.shipping().run()
        (letter,) = await shop.all(state="open")
    await anyio.sleep(10_000)
    assert await shop.letters.retry(DOUBLING) == []
    assert len(await shop.letters.retry(Retry(4, initial=60))) == 1


async def test_filters_and_only_the_letters_of_the_pipeline_that_gets_them(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.fail("A", "B")
    await shop.shipping("other", "look").run()
    await anyio.sleep(60)

    async def retried(**how: Any) -> list[tuple[str, Any]]:
        found = await shop.letters.retry(DOUBLING, **how)
        return [(letter.operator, letter.event["id"]) for letter in found]

    assert await retried(error="none such") == []
    assert await retried(operator="look", error="B: no") == [("look", "B")]
    shop.down.clear()
    assert await retried(into=shop.shipping()) == [("ship", "A"), ("ship", "B")]
    assert await retried(pipeline="other", to=shop.orders) == [("look", "A")]
    assert not caplog.records


async def test_it_may_go_to_another_topic(shop: Shop) -> None:
    await shop.fail("A")
    await anyio.sleep(60)
    url = f"{shop.orders.url}-again"
    (letter,) = await shop.letters.retry(DOUBLING, to=url)
    assert letter.actions[0].topic == url
    (record,) = [record async for record in topic(url, Order).records()]
    assert record.value == Order("A")
    assert record.headers == {"reactor-letter": letter.id, "reactor-attempt": "1"}


async def test_to_a_topic_that_only_the_one_that_failed_reads_beside_no_other_group_gets_it_again(
    in_file: Shop,
) -> None:
    again = topic(f"{in_file.dead.url}-again", Order)
    billed: list[str] = []

    async def run_both() -> None:
        came = in_file.orders.subscribe("shipping", follow=False).merge(
            again.subscribe("shipping", follow=False)
        )
        shipped = came.map(in_file.ship, name="ship", on_error=DeadLetters())
        await Pipeline("shipping", shipped.to(in_file.shipped.append), dead_letters=in_file.dead).run()
        orders = in_file.orders.subscribe("billing", follow=False)
        await Pipeline("billing", orders.to(lambda order: billed.append(order.id))).run()

    in_file.down = {"A"}
    await in_file.orders.publish([Order("A"), Order("B")])
    await run_both()
    for tried in 1, 2:
        await anyio.sleep(3600)
        (letter,) = await in_file.letters.retry(DOUBLING, to=again, pipeline="shipping")
        assert letter.tried == tried
        in_file.down = {"A"} if tried == 1 else set()
        await run_both()
    assert await in_file.states() == ["failed again", "replayed"]
    assert (in_file.shipped, billed) == (["B", "A"], ["A", "B"])


# What goes wrong --------------------------------------------------------------------------------------------


async def test_one_that_cannot_be_is_told_once_and_holds_up_nobody(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """What came from no topic has nowhere to be published to."""
    nowhere = Stream([Order("X")]).map(shop.ship, name="ship", on_error=DeadLetters())
    shop.down.add("X")
    await Pipeline("shipping", nowhere.discard(), dead_letters=shop.dead).run()
    await shop.fail("A")
    with anyio.move_on_after(500):
        await _follow(shop, DOUBLING)
    assert await shop.published() == ["A", "A"]
    assert await shop.states() == ["open", "replayed"]
    (told,) = (record for record in caplog.records)
    assert "came from no topic" in told.getMessage()
    assert told.levelno == logging.WARNING
    shop.down.clear()
    (letter,) = await shop.letters.retry(DOUBLING, into=shop.shipping())
    assert (letter.event, letter.state, shop.shipped) == ({"id": "X"}, "replayed", ["X"])


async def test_a_run_that_fails_is_raised_and_leaves_them_open(shop: Shop) -> None:
    await shop.fail("A", "B")
    shop.down.clear()
    await anyio.sleep(60)

    def full(id: str) -> None:
        raise OSError("no room")

    shipped = shop.orders.subscribe("shipping").map(shop.ship, name="ship", on_error=DeadLetters())
    into = Pipeline("shipping", shipped.to(full), dead_letters=shop.dead)
    with pytest.raises(OSError, match="no room"):
        await shop.letters.retry(DOUBLING, follow=True, into=into)
    assert await shop.states() == ["open", "open"]
    assert len(await shop.letters.retry(DOUBLING, into=shop.shipping())) == 2
    assert shop.shipped == ["A", "B"]


async def test_a_crash_between_publishing_and_saying_so_loses_none_and_publishes_once(
    in_file: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_file.fail("A", "B")
    await anyio.sleep(60)

    class Crash(Exception):
        pass

    async def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(in_file.letters, "_act", crash)
        with pytest.raises(Crash):
            await in_file.letters.retry(DOUBLING)
    assert await in_file.states() == ["open", "open"]
    assert len(await dead_letters(in_file.dead.url).retry(DOUBLING)) == 2
    assert await in_file.published() == ["A", "B", "A", "B"]


async def test_two_at_once_publish_once(shop: Shop) -> None:
    await shop.fail(*(f"A{n}" for n in range(20)))
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(_follow, shop, DOUBLING)
        await anyio.sleep(100)
        tasks.cancel_scope.cancel()
    assert await shop.states() == ["replayed"] * 20
    assert sorted(await shop.published()) == sorted([f"A{n}" for n in range(20)] * 2)


async def test_one_that_somebody_replays_meanwhile_is_left_to_them(
    in_file: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, second = await in_file.fail("A", "B")
    await anyio.sleep(60)
    act = in_file.letters._act

    async def slowly(*what: Any) -> None:
        await act(*what)
        await (await dead_letters(in_file.dead.url).get(second.id)).replay()
        await in_file.shipping().run()

    monkeypatch.setattr(in_file.letters, "_act", slowly)
    (replayed,) = await in_file.letters.retry(DOUBLING)
    assert replayed.event == {"id": "A"}
    assert await in_file.published() == ["A", "B", "A", "B"]
    assert not caplog.records


async def test_more_than_are_handed_over_together(in_file: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.deadletters.retrying._TOGETHER", 3)
    handed: list[int] = []
    hand = Retrying._hand

    async def counted(self: Retrying, into: Pipeline, letters: list[KeptLetter]) -> None:
        handed.append(len(letters))
        await hand(self, into, letters)

    monkeypatch.setattr(Retrying, "_hand", counted)
    await in_file.fail(*"ABCDEFG")
    in_file.down = {"B"}
    await anyio.sleep(60)
    assert len(await in_file.letters.retry(DOUBLING, into=in_file.shipping())) == 7
    assert handed == [3, 3, 1]
    assert in_file.shipped == list("ACDEFG")
    assert await in_file.states() == ["replayed", "failed again", *["replayed"] * 5, "open"]


async def test_looking_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match="there is no file"):
        await dead_letters(f"sqlite:{tmp_path}/typo.db/dead").retry(follow=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda shop: {"policy": 5}, r"retry\(5\): must be a Retry"),
        (lambda shop: {"policy": Retry(1)}, "must be >= 2; the first is the one that failed"),
        (lambda shop: {"policy": Retry(on=OSError)}, "say error="),
        (lambda shop: {"to": shop.orders, "into": shop.shipping()}, "one of them"),
        (lambda shop: {"into": shop.shipping(), "pipeline": "other"}, "into is the pipeline 'shipping'"),
        (lambda shop: {"into": shop.shipping}, "must be the Pipeline"),
        (lambda shop: {"to": "nowhere"}, "nowhere"),
    ],
)
async def test_what_cannot_be_is_refused(shop: Shop, how: Callable[[Shop], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        await shop.letters.retry(**how(shop))
