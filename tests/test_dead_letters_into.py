"""Dead letters handed to the operator that failed: they flow on from there, and count as replayed when through."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import msgspec
import pytest

from reactor import (
    ArgumentError,
    DeadLetters,
    KeptLetter,
    LetterError,
    Pipeline,
    Sink,
    StoredLetter,
    Stream,
    Tumbling,
    UsedTwice,
    dead_letters,
    topic,
)
from reactor.contracts import event, upcast
from tests.engine.scripted import PATIENCE

pytestmark = pytest.mark.anyio


class Order(msgspec.Struct):
    id: str
    amount: int


class Bill(msgspec.Struct):
    order: Order
    total: Decimal


class Gateway:
    """What the pipelines here call; it declines what it is told to."""

    def __init__(self) -> None:
        self.declines: set[Any] = set()
        self.asked: list[Any] = []

    def __call__(self, given: Any) -> Any:
        self.asked.append(given)
        if "all" in self.declines or (isinstance(given, Bill) and given.order.id in self.declines):
            raise ValueError("declined")
        return given


class Shop:
    """A topic of orders, a pipeline that bills them, and its dead letters."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.orders = topic(f"{place}orders", Order)
        self.dead = topic(f"{place}dead", StoredLetter)
        self.letters = dead_letters(self.dead.url)
        self.gateway = Gateway()
        self.billed: list[Order] = []
        self.paid: list[Bill] = []

    def bill(self, order: Order) -> Bill:
        self.billed.append(order)
        return Bill(order, Decimal(order.amount) / 4)

    def billing(self) -> Pipeline:
        bills = self.orders.subscribe("billing", follow=False).map(self.bill)
        paid = bills.map(self.gateway, name="charge", on_error=DeadLetters())
        return Pipeline("billing", paid.to(self.paid.append), dead_letters=self.dead)

    async def order(self, *amounts: int) -> None:
        first = await self.orders.length()
        await self.orders.publish([Order(f"A{first + n}", amount) for n, amount in enumerate(amounts)])

    async def all(self, **filters: Any) -> list[KeptLetter]:
        return [letter async for letter in self.letters.list(**filters)]

    async def states(self) -> list[str]:
        """As somebody sees them who has just come."""
        return [letter.state async for letter in dead_letters(self.dead.url).list()]

    async def failed(self, pipeline: Pipeline) -> list[KeptLetter]:
        """Run it; what is in the dead letters then."""
        await pipeline.run()
        return await self.all()

    def pipeline(self, stream: Callable[[Stream[Order]], Any]) -> Pipeline:
        """A pipeline of that over the orders."""
        ending = stream(self.orders.subscribe("p", follow=False))
        return Pipeline("p", *(ending if isinstance(ending, tuple) else [ending]), dead_letters=self.dead)


@pytest.fixture(params=["sqlite", "memory"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/" if request.param == "sqlite" else f"memory:{uuid.uuid4()}.")


@pytest.fixture
def in_file(tmp_path: Path) -> Shop:
    return Shop(f"sqlite:{tmp_path}/shop.db/")


# There and through ------------------------------------------------------------------------------------------


async def test_the_operator_that_failed_gets_the_event_and_what_comes_before_it_does_not(shop: Shop) -> None:
    shop.gateway.declines = {"A1"}
    await shop.order(4, 5, 6)
    (letter,) = await shop.failed(shop.billing())
    assert (letter.operator, [bill.order.id for bill in shop.paid]) == ("charge", ["A0", "A2"])
    shop.gateway.declines.clear()
    done = await letter.replay(into=shop.billing())
    assert shop.paid[2:] == [Bill(Order("A1", 5), Decimal("1.25"))]
    assert len(shop.billed) == 3
    assert (done.action, done.into, done.topic, done.positions, done.attempt) == (
        "replayed",
        "charge",
        None,
        (),
        1,
    )
    assert letter.state == "replayed"
    assert await shop.states() == ["replayed"]
    assert await shop.orders.length() == 3
    assert await shop.orders.groups() == {"billing": 3}


async def test_several_are_handed_over_in_one_run_in_their_order(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1, 2, 3)
    letters = await shop.failed(shop.billing())
    shop.gateway.declines = {"A1"}
    assert await shop.letters.replay(letters, into=shop.billing()) == [letters[1]]
    assert [bill.order.id for bill in shop.paid] == ["A0", "A2"]
    assert await shop.states() == ["replayed", "failed again", "replayed", "open"]


async def test_twice_hands_it_over_once(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())
    shop.gateway.declines.clear()
    first = await letter.replay(into=shop.billing())
    assert await letter.replay(into=shop.billing()) == first
    await shop.letters.replay([letter, letter], into=shop.billing())
    assert len(shop.paid) == 1


async def test_named_twice_it_is_handed_over_once(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())
    shop.gateway.declines.clear()
    await shop.letters.replay([letter, letter], into=shop.billing())
    assert len(shop.paid) == 1


async def test_one_that_fails_again_says_so_as_often_as_it_does(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())
    for attempt in (1, 2, 3):
        action = await letter.replay(into=shop.billing())
        assert action.attempt == attempt
        assert letter.state == "failed again"
        later = (await shop.all())[attempt]
        assert (later.id, later.earlier, later.state) == (letter.later, letter.id, "open")
        assert (later.operator, later.error, later.stored.attempt) == (
            "charge",
            "ValueError: declined",
            attempt,
        )
        with pytest.raises(LetterError, match=f"has failed again as {later.id}: replay that one"):
            await letter.replay(into=shop.billing())
        letter = later
    shop.gateway.declines.clear()
    await letter.replay(into=shop.billing())
    assert await shop.states() == ["failed again", "failed again", "failed again", "replayed"]
    assert len(shop.paid) == 1


async def test_one_that_has_failed_again_still_knows_the_record_that_it_came_from(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(7)
    (first,) = await shop.failed(shop.billing())
    await first.replay(into=shop.billing())
    _, second = await shop.all()
    assert (second.stored.topic, second.stored.position) == (first.stored.topic, 0)
    assert (second.stored.raw, second.stored.type) == (first.stored.raw, "Order")
    shop.gateway.declines.clear()
    done = await second.replay()  # to its topic
    assert (done.positions, done.attempt) == ((1,), 2)
    await shop.billing().run()
    assert [bill.order.id for bill in shop.paid] == ["A0"]


async def test_a_crash_before_it_is_noted_hands_it_over_again(shop: Shop) -> None:
    """At least once: what wasn't through is open still."""
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())

    class Crash(Exception):
        pass

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    shop.gateway.declines.clear()
    actions: Any = shop.letters._actions
    publish, actions.publish = actions.publish, crash
    with pytest.raises(Crash):
        await letter.replay(into=shop.billing())
    actions.publish = publish
    assert await shop.states() == ["open"]
    await letter.replay(into=shop.billing())
    assert (len(shop.paid), await shop.states()) == (2, ["replayed"])


async def test_a_run_that_fails_leaves_them_open(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())
    shop.gateway.declines.clear()

    def broken(bill: Bill) -> None:
        raise OSError("disk")

    bills = shop.orders.subscribe("billing", follow=False).map(shop.bill)
    paid = bills.map(shop.gateway, name="charge", on_error=DeadLetters())
    with pytest.raises(OSError, match="disk"):
        await letter.replay(into=Pipeline("billing", paid.to(broken), dead_letters=shop.dead))
    assert await shop.states() == ["open"]


# What operators are given -----------------------------------------------------------------------------------


class Size(Enum):
    SMALL = "s"


@dataclass
class Parcel:
    at: datetime
    size: Size


class Pair(NamedTuple):
    a: int
    b: Order


@event("shop.Shipped", version=2)
class Shipped(msgspec.Struct):
    order: str
    parcels: int


@upcast(Shipped, from_version=1)
def counted(payload: dict[str, Any]) -> dict[str, Any]:
    return {"order": payload["order"], "parcels": 1}


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

EVENTS: list[Any] = [
    1,
    2.5,
    "text",
    None,
    True,
    b"bytes",
    Decimal("1.10"),
    uuid.UUID(int=7),
    NOON,
    Size.SMALL,
    Order("a", 1),
    Parcel(NOON, Size.SMALL),
    Pair(1, Order("a", 1)),
    (1, Order("a", 1), "x"),
    [Order("a", 1), Order("b", 2)],
    [1, "a", Order("b", 2)],
    [],
    (),
    {},
    {"a": Order("a", 1), "b": Order("b", 2)},
    {"a": 1, "b": Order("b", 2)},
    {1: "a", 2: "b"},
    {("x", 1)},
    frozenset({3, 4}),
    [[Order("a", 1)], []],
    Shipped("a", 3),
]


async def test_operators_are_given_what_they_were_given(in_file: Shop) -> None:
    gateway = in_file.gateway
    gateway.declines = {"all"}
    await in_file.order(*range(len(EVENTS)))
    pipeline = in_file.pipeline(
        lambda orders: (
            orders.map(lambda order: EVENTS[order.amount]).map(gateway, on_error=DeadLetters()).discard()
        )
    )
    letters = await in_file.failed(pipeline)
    gateway.declines.clear()
    gateway.asked.clear()
    await in_file.letters.replay(letters, into=pipeline)
    assert gateway.asked == EVENTS
    assert [type(given) for given in gateway.asked] == [type(given) for given in EVENTS]


async def test_an_event_of_an_older_version_is_upcast(in_file: Shop) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    pipeline = in_file.pipeline(
        lambda orders: (
            orders.map(lambda order: [Shipped("a", 3)])
            .map(in_file.gateway, name="pack", on_error=DeadLetters())
            .discard()
        )
    )
    (letter,) = await in_file.failed(pipeline)
    kind = letter.stored.kind
    assert kind is not None
    older = msgspec.structs.replace(kind, of=(msgspec.structs.replace(kind.of[0], version=1),))
    await in_file.dead.publish(
        msgspec.structs.replace(letter.stored, id="older", event=[{"order": "b"}], kind=older)
    )
    in_file.gateway.declines.clear()
    await (await in_file.letters.get("older")).replay(into=pipeline)
    assert in_file.gateway.asked[1:] == [[Shipped("b", 1)]]


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


async def test_what_is_no_json_cannot_be_handed_over_but_something_else_can(in_file: Shop) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    pipeline = in_file.pipeline(
        lambda orders: orders.map(lambda _: Opaque()).map(in_file.gateway, on_error=DeadLetters()).discard()
    )
    (letter,) = await in_file.failed(pipeline)
    with pytest.raises(LetterError, match="isn't kept as JSON values; pass event="):
        await letter.replay(into=pipeline)
    in_file.gateway.declines.clear()
    await letter.replay(into=pipeline, event=Order("b", 2))
    assert in_file.gateway.asked[1:] == [Order("b", 2)]


async def test_a_class_that_is_not_there_any_more_is_named(in_file: Shop) -> None:
    class Local(msgspec.Struct):
        n: int

    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    pipeline = in_file.pipeline(
        lambda orders: orders.map(lambda _: Local(1)).map(in_file.gateway, on_error=DeadLetters()).discard()
    )
    (letter,) = await in_file.failed(pipeline)
    with pytest.raises(LetterError, match=r"<locals>.Local is no class that is loaded; import its module"):
        await letter.replay(into=pipeline)
    assert await in_file.states() == ["open"]


async def test_values_that_do_not_fit_their_class_any_more_are_told(in_file: Shop) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    (letter,) = await in_file.failed(in_file.billing())
    with pytest.raises(LetterError, match=r"Bill: .*Object missing required field `order`"):
        await letter.replay(into=in_file.billing(), event={"total": "1"})


async def test_another_event_takes_the_place_of_what_it_was_given(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1, 2, 3)
    first, second, third = await shop.failed(shop.billing())
    shop.gateway.declines.clear()
    done = await first.replay(into=shop.billing(), event={"order": {"id": "B", "amount": 9}, "total": "9"})
    await second.replay(into=shop.billing(), event=Bill(Order("C", 8), Decimal(8)))
    assert shop.paid == [Bill(Order("B", 9), Decimal(9)), Bill(Order("C", 8), Decimal(8))]
    assert done.event == {"order": {"id": "B", "amount": 9}, "total": "9"}
    with pytest.raises(ArgumentError, match="isn't JSON"):
        await third.replay(into=shop.billing(), event=object())


async def test_a_repair_of_the_record_is_what_an_operator_gets_that_is_given_it_as_it_is(shop: Shop) -> None:
    gateway = shop.gateway
    gateway.declines = {"all"}
    await shop.order(1)
    pipeline = shop.pipeline(lambda orders: orders.map(gateway, on_error=DeadLetters()).discard())
    (letter,) = await shop.failed(pipeline)
    await letter.edit({"id": "A0", "amount": 5})
    gateway.declines.clear()
    await letter.replay(into=pipeline)
    assert gateway.asked[1:] == [Order("A0", 5)]


async def test_a_repair_of_the_record_is_nothing_for_an_operator_further_on(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1)
    (letter,) = await shop.failed(shop.billing())
    await letter.edit({"id": "A0", "amount": 5})
    with pytest.raises(
        LetterError, match="its repair is one of the record, and charge is given something else"
    ):
        await letter.replay(into=shop.billing())


# Where they flow --------------------------------------------------------------------------------------------


async def test_a_sink_that_refused_is_the_only_one_that_gets_it(shop: Shop) -> None:
    class Picky(Sink[Order]):
        name = "picky"
        down = True

        def __init__(self) -> None:
            self.events: list[Order] = []

        async def write(self, events: Sequence[Order]) -> None:
            if self.down and any(order.amount == 2 for order in events):
                raise ValueError("two")
            self.events.extend(events)

    picky, others = Picky(), list[Order]()
    await shop.order(1, 2, 3)
    pipeline = shop.pipeline(
        lambda orders: (orders.to(picky, on_error=DeadLetters()), orders.to(others.append))
    )
    (letter,) = await shop.failed(pipeline)
    assert letter.operator == "to(picky)"
    picky.down = False
    await letter.replay(into=pipeline)
    assert [order.amount for order in picky.events] == [1, 3, 2]
    assert [order.amount for order in others] == [1, 2, 3]


async def test_what_is_behind_it_is_as_it_was(shop: Shop) -> None:
    """Branches, merges, pools, batches: all but what comes before it, and other inputs."""
    gateway, large, small, everything = shop.gateway, list[Any](), list[Any](), list[Any]()

    async def later(order: Order) -> Order:
        return order

    def build(orders: Stream[Order]) -> Any:
        asked = orders.map(gateway, name="ask", on_error=DeadLetters())
        yes, no = asked.map(later, concurrency=3).split(lambda order: order.amount > 2)
        both = yes.merge(no, orders.map(lambda order: Order("x", 0)))
        batches = both.batch(100)
        return yes.to(large.append), no.to(small.append), batches.to(everything.append)

    gateway.declines = {"all"}
    await shop.order(1, 2, 3, 4)
    letters = await shop.failed(shop.pipeline(build))
    assert (large, small, [order.id for order in everything.pop()]) == ([], [], ["x"] * 4)
    gateway.declines.clear()
    assert await shop.letters.replay(letters, into=shop.pipeline(build)) == []
    assert ([order.amount for order in large], [order.amount for order in small]) == ([3, 4], [1, 2])
    assert sorted(order.amount for order in everything.pop()) == [1, 2, 3, 4]


async def test_an_async_flat_map_gets_the_event_also_where_its_items_failed(shop: Shop) -> None:
    failing, items = {True}, list[int]()

    async def expand(order: Order) -> Any:
        def lazily() -> Any:
            yield order.amount
            if failing:
                raise ValueError("in the middle")
            yield order.amount * 10

        return lazily()

    def build(orders: Stream[Order]) -> Any:
        return orders.flat_map(expand, name="expand", on_error=DeadLetters()).to(items.append)

    await shop.order(3)
    (letter,) = await shop.failed(shop.pipeline(build))
    failing.clear()
    await letter.replay(into=shop.pipeline(build))
    assert items == [3, 3, 30]  # its first item was emitted before it failed
    assert await shop.states() == ["replayed"]


async def test_operators_without_names_are_told_apart_by_their_place(shop: Shop) -> None:
    seen: list[int] = []
    failing = {1}

    def step(n: int) -> int:
        if len(failing) and n == 2:
            raise ValueError
        return n + 1

    def build(orders: Stream[Order]) -> Any:
        numbers = orders.map(lambda order: order.amount)
        return numbers.map(step, on_error=DeadLetters()).map(step, on_error=DeadLetters()).to(seen.append)

    await shop.order(1)
    (letter,) = await shop.failed(shop.pipeline(build))
    assert letter.operator == "map(step)#2"
    await letter.replay(into=shop.pipeline(build))
    _, again = await shop.all()
    assert again.operator == "map(step)#2"
    failing.clear()
    await again.replay(into=shop.pipeline(build))
    assert seen == [3]


async def test_letters_of_one_record_are_replayed_one_by_one(shop: Shop) -> None:
    gateway, seen = shop.gateway, list[Any]()

    def build(orders: Stream[Order]) -> Any:
        items = orders.flat_map(lambda order: [order.amount, order.amount, 5])
        return items.map(gateway, on_error=DeadLetters()).to(seen.append)

    gateway.declines = {"all"}
    await shop.order(1)
    first, second, third = await shop.failed(shop.pipeline(build))
    gateway.declines.clear()
    await second.replay(into=shop.pipeline(build))
    assert await shop.states() == ["open", "replayed", "open"]
    await shop.letters.replay([first, third], into=shop.pipeline(build))
    assert seen == [1, 1, 5]


async def test_one_that_failed_again_says_so_also_where_a_crash_came_before_it_was_noted(shop: Shop) -> None:
    """Letters are stored before their events count as done: the new one tells of the old one by itself."""

    def build(orders: Stream[Order]) -> Any:
        return orders.map(shop.gateway, name="ask", on_error=DeadLetters()).discard()

    async def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("crash")

    shop.gateway.declines = {"all"}
    await shop.order(1, 1)
    letters = await shop.failed(shop.pipeline(build))
    actions: Any = shop.letters._actions
    publish, actions.publish = actions.publish, crash
    with pytest.raises(RuntimeError, match="crash"):
        await shop.letters.replay(letters, into=shop.pipeline(build))
    actions.publish = publish
    old, new = letters[1], await shop.all()
    assert len(new) == 4
    with pytest.raises(LetterError, match=f"has failed again as {old.later}"):
        await old.replay(into=shop.pipeline(build))
    assert [letter.earlier for letter in new] == [None, None, letters[0].id, letters[1].id]


async def test_a_batch_of_replays_that_fails_says_of_each_that_it_has_failed_again(shop: Shop) -> None:
    gateway = shop.gateway

    def build(orders: Stream[Order]) -> Any:
        asked = orders.map(gateway, name="ask", on_error=DeadLetters())
        return asked.batch(10).map(lambda batch: 1 / 0, name="sum", on_error=DeadLetters()).discard()

    gateway.declines = {"all"}
    await shop.order(1, 2)
    letters = await shop.failed(shop.pipeline(build))
    gateway.declines.clear()
    assert await shop.letters.replay(letters, into=shop.pipeline(build)) == letters
    *_, last = await shop.all()
    assert (last.operator, last.stored.replays) == ("sum", (letters[0].id, letters[1].id))
    assert [record.position for record in last.stored.records] == [0, 1]
    assert await shop.states() == ["failed again", "failed again", "open"]


async def test_events_of_no_topic_are_handed_over_too_and_fail_again(shop: Shop) -> None:
    gateway, seen = shop.gateway, list[Any]()

    def build() -> Pipeline:
        asked = Stream([1, 2]).map(gateway, name="ask", on_error=DeadLetters())
        return Pipeline("p", asked.to(seen.append), dead_letters=shop.dead)

    gateway.declines = {"all"}
    first, second = await shop.failed(build())
    assert await shop.letters.replay([first, second], into=build()) == [first, second]
    *_, third, fourth = await shop.all()
    assert (third.earlier, fourth.earlier, fourth.stored.attempt) == (first.id, second.id, 1)
    gateway.declines.clear()
    await shop.letters.replay([third, fourth], into=build())
    assert seen == [1, 2]
    assert await shop.states() == ["failed again", "failed again", "replayed", "replayed"]


async def test_letters_of_several_operators_are_replayed_each_into_its_own(shop: Shop) -> None:
    seen, failing = list[int](), {"first", "second"}

    def named(name: str, at: int) -> Callable[[int], int]:
        def step(n: int) -> int:
            if name in failing and n == at:
                raise ValueError(name)
            return n * 10

        return step

    def build(orders: Stream[Order]) -> Any:
        numbers = orders.map(lambda order: order.amount)
        numbers = numbers.map(named("first", 1), name="first", on_error=DeadLetters())
        return numbers.map(named("second", 20), name="second", on_error=DeadLetters()).to(seen.append)

    await shop.order(1, 2, 3)
    letters = await shop.failed(shop.pipeline(build))
    failing.clear()
    await shop.letters.replay(letters, into=shop.pipeline(build))
    assert sorted(seen) == [100, 200, 300]


async def test_while_the_pipeline_runs_another_one_of_its_kind_takes_them(shop: Shop) -> None:
    paid = topic(f"{shop.place}paid", Order)

    def build() -> Pipeline:
        orders = shop.orders.subscribe("p")
        return Pipeline(
            "p", orders.map(shop.gateway, name="ask", on_error=DeadLetters()).to(paid), dead_letters=shop.dead
        )

    shop.gateway.declines = {"all"}
    await shop.order(1)
    pipeline = build()
    async with pipeline.start():
        with anyio.fail_after(PATIENCE):
            while not (letters := await shop.all()):
                await anyio.lowlevel.checkpoint()
        shop.gateway.declines.clear()
        with pytest.raises(UsedTwice, match="this sink is open in another run; make another one"):
            await letters[0].replay(into=pipeline)
        assert await shop.states() == ["open"]
        await letters[0].replay(into=build())
        await shop.order(2)
        with anyio.fail_after(PATIENCE):
            while await paid.length() < 2:
                await anyio.lowlevel.checkpoint()
    assert [record.value.amount async for record in paid.records()] == [1, 2]
    assert await shop.states() == ["replayed"]


# What is refused --------------------------------------------------------------------------------------------


REMEMBERING: list[Callable[[Stream[Any]], Any]] = [
    lambda asked: asked.scan(lambda n, order: n + 1, 0, volatile=True, name="total").discard(),
    lambda asked: asked.take(5, volatile=True, name="total").discard(),
    lambda asked: asked.window(Tumbling(60, clock=True), volatile=True, name="total").count().discard(),
    lambda asked: asked.zip(Stream([1]), volatile=True, name="total").discard(),
]


@pytest.mark.parametrize("end", REMEMBERING)
async def test_where_something_behind_it_remembers_it_is_refused(
    end: Callable[[Stream[Any]], Any], in_file: Shop
) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    pipeline = in_file.pipeline(
        lambda orders: end(orders.map(in_file.gateway, name="ask", on_error=DeadLetters()))
    )
    (letter,) = await in_file.failed(pipeline)
    with pytest.raises(
        LetterError, match=r"total remembers what has passed.*replay into ask; replay to the topic"
    ):
        await letter.replay(into=pipeline)
    assert await in_file.states() == ["open"]


async def test_an_operator_that_is_not_there_any_more_is_named(in_file: Shop) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    (letter,) = await in_file.failed(in_file.billing())
    other = Pipeline("billing", Stream([1]).map(str, name="text").discard())
    with pytest.raises(
        LetterError, match=r"'billing' has no operator 'charge'; it has list, text, discard\(\)"
    ):
        await letter.replay(into=other)


async def test_another_pipeline_is_refused(in_file: Shop) -> None:
    in_file.gateway.declines = {"all"}
    await in_file.order(1)
    (letter,) = await in_file.failed(in_file.billing())
    with pytest.raises(LetterError, match="failed in pipeline 'billing', not in 'other'"):
        await letter.replay(into=Pipeline("other", Stream([1]).discard()))
    wrong: Any = "billing"
    with pytest.raises(ArgumentError, match="must be the Pipeline that the event failed in"):
        await letter.replay(into=wrong)
    with pytest.raises(ArgumentError, match="one of them"):
        await letter.replay(into=in_file.billing(), to=in_file.orders)


async def test_what_the_source_could_not_read_has_no_operator(in_file: Shop) -> None:
    await topic(in_file.orders.url).publish({"id": 5})
    (letter,) = await in_file.failed(in_file.billing())
    with pytest.raises(
        LetterError, match="orders is the source, which couldn't read it; replay to the topic"
    ):
        await letter.replay(into=in_file.billing())


async def test_one_way_excludes_the_other(shop: Shop) -> None:
    shop.gateway.declines = {"all"}
    await shop.order(1, 2)
    first, second = await shop.failed(shop.billing())
    shop.gateway.declines.clear()
    await first.replay(into=shop.billing())
    with pytest.raises(LetterError, match="was replayed into charge already; nothing was published"):
        await first.replay()
    await second.replay()
    with pytest.raises(LetterError, match=r"was replayed to .*orders already; nothing was done"):
        await second.replay(into=shop.billing())
    assert (await shop.orders.length(), len(shop.paid)) == (3, 1)
