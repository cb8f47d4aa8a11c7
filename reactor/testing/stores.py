"""A conformance suite for event stores: subclass it, and say how an empty store is made.

::

    class TestMine(StoreSuite):
        def make(self, *types):
            return EventStore(MyBackend(...), JsonCodec("mine", types))

Its methods are plain coroutines, for a runner that takes such (``pytest.mark.anyio`` over the class).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec

from reactor.core import ArgumentError, DecodeError, Source
from reactor.eventstore import (
    ALL,
    ANY,
    EXISTS,
    NO_STREAM,
    Appended,
    Category,
    EventStore,
    EventStoreError,
    NewEvent,
    Position,
    RepeatedIds,
    StoredEvent,
    VersionClash,
)

__all__ = ["Added", "Basket", "Removed", "StoreSuite"]

_WAIT = 20


class Added(msgspec.Struct, frozen=True):
    """An event of the suite."""

    item: str


class Removed(msgspec.Struct, frozen=True):
    """An event of the suite."""

    item: str


class Basket(msgspec.Struct):
    """The state that the suite folds."""

    items: list[str] = []

    def apply(self, event: StoredEvent[Added | Removed]) -> Basket:
        """Return the state after the event."""
        if isinstance(event.value, Added):
            return Basket([*self.items, event.value.item])
        return Basket([item for item in self.items if item != event.value.item])


def _items(events: Sequence[StoredEvent[Any]]) -> list[str]:
    return [event.value.item for event in events]


def _apply(basket: Basket, event: StoredEvent[Any]) -> Basket:
    return basket.apply(event)


@asynccontextmanager
async def _open(source: Source[Any]) -> AsyncGenerator[Source[Any], None]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def _next(source: Source[Any], count: int) -> list[StoredEvent[Any]]:
    """The next events of a source that follows."""
    found: list[StoredEvent[Any]] = []
    with anyio.fail_after(_WAIT):
        while len(found) < count:
            found += [record.value for record in await source.read(count - len(found)) or ()]
    return found


async def _refused(kind: type[BaseException], call: Any) -> Any:
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"it should have raised {kind.__name__}")


class StoreSuite:
    """What every event store has to do. Each test gets stores of its own from ``make``."""

    counted = True
    """Whether positions count the events from 0; else they only rise."""

    def make(self, *types: type[Any]) -> EventStore[Any]:
        """Return the test's store, for events of these types; in one test each call gives the same events."""
        raise NotImplementedError("make(*types): return an EventStore")

    def shop(self) -> EventStore[Any]:
        """Return the store as most tests use it."""
        return self.make(Added, Removed)

    async def places(self, store: EventStore[Any]) -> list[int]:
        """Return the positions of all events: the first, the second, and so on."""
        found = [event.position for event in await store.read_all().collect()]
        assert found == sorted(set(found))
        assert not self.counted or found == list(range(len(found)))
        return found

    # Append -------------------------------------------------------------------------------------------------

    async def test_append_gives_version_and_position(self) -> None:
        store = self.shop()
        given = [
            await store.append("order-1", [Added("a"), Added("b")]),
            await store.append("order-2", [Added("c")]),
            await store.append("order-1", [Removed("a")]),
        ]
        places = await self.places(store)
        assert given == [Appended(1, places[1]), Appended(0, places[2]), Appended(2, places[3])]
        assert await store.version("order-1") == 2
        assert await store.version("order-9") is None
        assert await store.position() == places[3]

    async def test_events_come_back_as_they_were(self) -> None:
        store = self.shop()
        when = datetime(2030, 1, 2, tzinfo=UTC)
        await store.append(
            "order-1", [NewEvent(Added("ä"), "id-1", {"by": "eva"}, "key", when), Removed("ä")]
        )
        first, second = await store.read("order-1").collect()
        micros = int(when.timestamp()) * 1_000_000
        places = await self.places(store)
        assert first == StoredEvent(
            Added("ä"), "order-1", 0, places[0], "Added", "id-1", "key", {"by": "eva"}, micros
        )
        assert (second.value, second.version, second.type) == (Removed("ä"), 1, "Removed")
        assert second.position == places[1]
        assert second.id
        assert second.id != first.id
        assert dict(second.metadata) == {}

    async def test_expected_version(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a")], expected_version=NO_STREAM)
        await store.append("order-1", [Added("b")], expected_version=0)
        await store.append("order-1", [Added("c")], expected_version=EXISTS)
        await store.append("order-1", [Added("d")], expected_version=ANY)
        assert _items(await store.read("order-1").collect()) == ["a", "b", "c", "d"]

    async def test_a_clash_names_both_versions_and_stores_nothing(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a"), Added("b")])
        clash = await _refused(VersionClash, store.append("order-1", [Added("x")], expected_version=0))
        assert (clash.stream, clash.expected, clash.actual) == ("order-1", 0, 1)
        assert "expected version 0" in str(clash)
        assert "at version 1" in str(clash)
        clash = await _refused(VersionClash, store.append("order-1", [Added("x")], expected_version=7))
        assert (clash.expected, clash.actual) == (7, 1)
        clash = await _refused(
            VersionClash, store.append("order-1", [Added("x")], expected_version=NO_STREAM)
        )
        assert (clash.expected, clash.actual) == (NO_STREAM, 1)
        for expected in (0, EXISTS):
            clash = await _refused(
                VersionClash, store.append("order-2", [Added("x")], expected_version=expected)
            )
            assert clash.actual is None
        assert len(await store.read_all().collect()) == 2
        assert await store.streams() == ["order-1"]

    async def test_the_same_ids_again_change_nothing(self) -> None:
        store = self.shop()
        events = [NewEvent(Added("a"), "1"), NewEvent(Added("b"), "2")]
        first = await store.append("order-1", events, expected_version=NO_STREAM)
        await store.append("order-1", [Added("c")])
        for expected in (NO_STREAM, ANY, EXISTS):
            again = await store.append("order-1", events, expected_version=expected)
            assert again == Appended(first.version, first.position, repeated=True)
        more = [NewEvent(Added("d"), "3")]
        assert (await store.append("order-1", more, expected_version=2)).version == 3
        assert (await store.append("order-1", more, expected_version=2)).repeated
        await _refused(VersionClash, store.append("order-1", more, expected_version=3))
        await _refused(VersionClash, store.append("order-1", more, expected_version=NO_STREAM))
        assert _items(await store.read("order-1").collect()) == ["a", "b", "c", "d"]
        # Ids are the stream's own.
        assert not (await store.append("order-2", events)).repeated

    async def test_ids_that_are_known_in_part_are_refused(self) -> None:
        store = self.shop()
        await store.append("order-1", [NewEvent(Added("a"), "1"), NewEvent(Added("b"), "2")])
        for ids in (["2", "3"], ["3", "1"], ["2", "1"]):
            events = [NewEvent(Added("x"), id) for id in ids]
            await _refused(RepeatedIds, store.append("order-1", events))
        assert await store.version("order-1") == 1
        await _refused(
            ArgumentError,
            store.append("order-3", [NewEvent(Added("a"), "1"), NewEvent(Added("b"), "1")]),
        )

    async def test_no_events_only_check_the_version(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a")])
        assert await store.append("order-1", [], expected_version=0) == Appended(0, None)
        await _refused(VersionClash, store.append("order-1", [], expected_version=5))
        await store.append("order-2", [])
        assert await store.streams() == ["order-1"]

    async def test_what_does_not_fit_is_refused_whole(self) -> None:
        store = self.shop()
        await _refused(ArgumentError, store.append("order-1", [Added("a"), "not of the store"]))
        await _refused(ArgumentError, store.append("a/b", [Added("a")]))
        await _refused(ArgumentError, store.append("order-1", [Added("a")], expected_version=-1))
        assert await store.streams() == []

    async def test_one_of_many_at_once_wins(self) -> None:
        store = self.shop()
        won: list[int] = []
        clashed: list[int] = []

        async def write(number: int) -> None:
            try:
                await store.append("order-1", [Added(str(number))], expected_version=NO_STREAM)
            except VersionClash:
                clashed.append(number)
            else:
                won.append(number)

        async with store, anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(write, number)
        assert len(won) == 1
        assert len(clashed) == 9
        assert _items(await store.read("order-1").collect()) == [str(won[0])]

    # Read ---------------------------------------------------------------------------------------------------

    async def test_read_both_ways_from_a_version(self) -> None:
        store = self.shop()
        await store.append("order-0", [Added("x")])
        await store.append("order-1", [Added(item) for item in "abcde"])
        assert _items(await store.read("order-1").collect()) == list("abcde")
        assert _items(await store.read("order-1", 2).collect()) == list("cde")
        assert _items(await store.read("order-1", 1, limit=2).collect()) == list("bc")
        assert _items(await store.read("order-1", direction="backwards").collect()) == list("edcba")
        assert _items(await store.read("order-1", 2, "backwards").collect()) == list("cba")
        assert _items(await store.read("order-1", 99, "backwards", 2).collect()) == list("ed")
        assert await store.read("order-1", 5).collect() == []
        assert await store.read("order-1", limit=0).collect() == []
        assert await store.read("order-9").collect() == []
        assert await store.read("order-9", direction="backwards").collect() == []

    async def test_read_all_both_ways(self) -> None:
        store = self.shop()
        written: list[tuple[str, int, str]] = []
        for number in range(12):
            stream = f"order-{number % 3}" if number % 4 else "cart-1"
            items = [f"{number}.{n}" for n in range(number % 3 + 1)]
            last = await store.append(stream, [Added(item) for item in items])
            written += [(stream, last.version - len(items) + 1 + n, item) for n, item in enumerate(items)]
        every = await store.read_all().collect()
        assert [(event.stream, event.version, event.value.item) for event in every] == written
        places = [*await self.places(store), every[-1].position + 3]
        for start in (0, 1, 5, len(written) - 1, len(written)):
            place = places[start]
            assert await store.read_all(place).collect() == every[start:]
            assert await store.read_all(place, "backwards").collect() == every[: start + 1][::-1]
            assert await store.read_all(place, limit=3).collect() == every[start : start + 3]
        assert await store.read_all(direction="backwards").collect() == every[::-1]
        orders = [event for event in every if event.stream.startswith("order-")]
        assert await store.read_all(category="order").collect() == orders
        assert (
            await store.read_all(category="order", direction="backwards", limit=2).collect()
            == (orders[:-3:-1])
        )

    async def test_many_events_are_read_in_pages(self) -> None:
        store = self.shop()
        names = [str(number) for number in range(2500)]
        await store.append("order-1", [Added(name) for name in names])
        assert _items(await store.read("order-1").collect()) == names
        assert _items(await store.read("order-1", direction="backwards").collect()) == names[::-1]
        place = (await self.places(store))[10]
        assert _items(await store.read_all(place, limit=2100).collect()) == names[10:2110]

    async def test_categories(self) -> None:
        store = self.shop()
        for stream in ("order-1", "order-2-b", "orders-1", "order", "Order-1", "order_1"):
            await store.append(stream, [Added(stream)])
        assert await store.streams("order") == ["order", "order-1", "order-2-b"]
        assert _items(await store.read_all(category="order").collect()) == ["order-1", "order-2-b", "order"]
        assert await store.read_all(category="cart").collect() == []

    async def test_an_event_of_another_type_is_told(self) -> None:
        await self.shop().append("order-1", [Added("a"), Removed("a")])
        seen: list[str] = []

        async def read() -> None:
            async for event in self.make(Added).read("order-1"):
                seen.append(event.value.item)

        assert "Removed" in str(await _refused(DecodeError, read()))
        assert seen == ["a"]

    # Subscribe ----------------------------------------------------------------------------------------------

    async def test_a_subscription_catches_up_and_goes_on(self) -> None:
        store = self.shop()
        async with store:
            for target in (ALL, "order-1", Category("order")):
                start = await store.version("order-1")
                before = -1 if start is None else start
                done = await store.append("order-1", [Added("a")])
                first = done.version if target == "order-1" else done.position
                assert first is not None
                async with _open(store.source(target, first, poll=600)) as source:
                    assert [event.version for event in await _next(source, 1)] == [before + 1]
                    done = await store.append("order-1", [Added("b"), Added("c")])
                    assert [event.version for event in await _next(source, 2)] == [before + 2, before + 3]
                    last = done.version if target == "order-1" else done.position
                    assert last is not None
                    assert source.position() == last + 1

    async def test_no_gap_and_no_double_while_others_write(self) -> None:
        store = self.shop()
        async with store:

            async def write(name: str) -> None:
                for number in range(40):
                    await store.append(f"{name}-1", [Added(f"{name}{number}")] * (number % 3 + 1))

            async with (
                _open(store.source(ALL, poll=600)) as every,
                _open(store.source(Category("b"), poll=600)) as some,
                anyio.create_task_group() as tasks,
            ):
                for name in "abc":
                    tasks.start_soon(write, name)
                one = 40 + sum(number % 3 for number in range(40))
                seen = [event.position for event in await _next(every, 3 * one)]
                assert seen == await self.places(store)
                found = await _next(some, one)
                assert [event.version for event in found] == list(range(one))
                assert {event.stream for event in found} == {"b-1"}

    async def test_latest_begins_at_the_end(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a")])
        for target in (ALL, "order-1", Category("order")):
            async with store, _open(store.source(target, "latest", poll=600)) as source:
                await store.append("order-1", [Added("b")])
                assert _items(await _next(source, 1)) == ["b"]

    async def test_without_follow_it_ends(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a")])
        await store.append("cart-1", [Added("b")])
        for target, items in (
            (ALL, "ab"),
            ("cart-1", "b"),
            (Category("order"), "a"),
            ("x", ""),
            (Category("x"), ""),
        ):
            events = await store.subscribe(target, follow=False).collect()
            assert _items(events) == list(items)
        place = (await self.places(store))[1]
        assert _items(await store.subscribe(ALL, place, follow=False).collect()) == ["b"]

    async def test_a_group_goes_on_where_it_was(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a"), Added("b")])
        for target in (ALL, "order-1", Category("order")):
            async with _open(store.source(target, group="mail", poll=600)) as source:
                [first] = await _next(source, 1)
                position = source.position()
                assert position is not None
                assert position == (0 if target == "order-1" else first.position) + 1
                await source.commit(position)
                await source.commit(0)  # never back
            async with _open(store.source(target, group="mail", poll=600)) as source:
                assert _items(await _next(source, 1)) == ["b"]
            async with _open(store.source(target, group="other", poll=600)) as source:
                assert _items(await _next(source, 1)) == ["a"]

    async def test_only_some_types(self) -> None:
        store = self.shop()
        await store.append("order-1", [Added("a"), Removed("a"), Added("b")])
        for target in (ALL, "order-1", Category("order")):
            events = await store.subscribe(target, types=[Removed], follow=False).collect()
            assert [event.value for event in events] == [Removed("a")]

    # State --------------------------------------------------------------------------------------------------

    async def test_fold_until(self) -> None:
        store = self.shop()
        start = datetime(2030, 1, 1, tzinfo=UTC)
        events = [Added("a"), Added("b"), Removed("a"), Added("c")]
        for number, event in enumerate(events):
            await store.append("cart-2", [Added("x")])
            await store.append("cart-1", [NewEvent(event, time=start + timedelta(hours=number))])
        assert (await store.fold("cart-1", Basket, _apply)).items == ["b", "c"]
        positions = [Position(place) for place in await self.places(store)]
        hours = (start + timedelta(hours=1), start + timedelta(minutes=90))
        for until in (1, positions[3], positions[4], *hours):
            assert (await store.fold("cart-1", Basket, _apply, until=until)).items == ["a", "b"], until
        assert await store.fold(ALL, 0, lambda count, event: count + 1) == 8
        assert await store.fold(Category("cart"), 0, lambda count, event: count + 1, until=positions[2]) == 3
        assert (await store.fold("cart-9", Basket, _apply)).items == []
        await _refused(ArgumentError, store.fold(ALL, 0, lambda count, event: count + 1, until=3))
        await _refused(ArgumentError, store.fold("cart-1", [], lambda state, event: state))

    async def test_snapshots(self) -> None:
        store = self.shop()
        assert await store.snapshot("cart-1", Basket) is None
        await store.append("cart-1", [Added(item) for item in "abcd"])
        await store.save_snapshot("cart-1", Basket(["x"]), 1)
        await store.save_snapshot("cart-1", Basket(["y"]), 2)
        assert await store.snapshot("cart-1", Basket) == (Basket(["y"]), 2)
        assert await store.snapshot("cart-1", Basket, until=1) == (Basket(["x"]), 1)
        assert await store.snapshot("cart-1", Basket, until=0) is None
        assert await store.snapshot("cart-1", Basket, name="other") is None
        assert await store.snapshot("cart-2", Basket) is None
        await _refused(EventStoreError, store.snapshot("cart-1", int, name="Basket"))
        await _refused(ArgumentError, store.save_snapshot("cart-1", Basket(), 4))
        # The fold begins with them.
        assert (await store.fold("cart-1", Basket, _apply, snapshot=Basket)).items == ["y", "d"]
        assert (await store.fold("cart-1", Basket, _apply, snapshot=Basket, until=1)).items == ["x"]
        assert (await store.fold("cart-1", Basket, _apply)).items == list("abcd")

    async def test_fold_saves_snapshots(self) -> None:
        store = self.shop()
        applied: list[int] = []

        def apply(basket: Basket, event: StoredEvent[Any]) -> Basket:
            applied.append(event.version)
            return basket.apply(event)

        await store.append("cart-1", [Added(item) for item in "abc"])
        await store.fold("cart-1", Basket, apply, snapshot=Basket, every=4)
        assert await store.snapshot("cart-1", Basket) is None
        await store.append("cart-1", [Added("d")])
        await store.fold("cart-1", Basket, apply, snapshot=Basket, every=4)
        assert await store.snapshot("cart-1", Basket) == (Basket(list("abcd")), 3)
        applied.clear()
        await store.append("cart-1", [Added("e")])
        assert (await store.fold("cart-1", Basket, apply, snapshot=Basket, every=4)).items == list("abcde")
        assert applied == [4]

    async def test_metadata_of_streams(self) -> None:
        store = self.shop()
        assert await store.metadata("order-1") == {}
        await _refused(EventStoreError, store.set_metadata("order-1", {"owner": "eva"}))
        await store.append("order-1", [Added("a")])
        await store.set_metadata("order-1", {"owner": "eva", "tags": ["x"]})
        await store.set_metadata("order-1", {"owner": "ann", "size": 3})
        assert await store.metadata("order-1") == {"owner": "ann", "size": 3}
        assert len(await store.read_all().collect()) == 1
