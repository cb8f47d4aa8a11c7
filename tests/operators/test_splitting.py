"""split, split_by_type, route: each event goes one way, every way is used."""

import anyio
import pytest

from reactor import GraphError, Inlet, Pipeline, Routes, Stream
from tests.engine.scripted import PATIENCE, Gate, Probe, settle

pytestmark = pytest.mark.anyio


async def test_split_sends_each_event_one_way() -> None:
    even, odd = Probe[int]("even"), Probe[int]("odd")
    yes, no = Stream(range(6)).split(lambda n: n % 2 == 0)
    await Pipeline("p", yes.to(even), no.to(odd)).run()
    assert even.events == [0, 2, 4]
    assert odd.events == [1, 3, 5]


async def test_split_calls_its_function_once_for_each_event() -> None:
    calls: list[int] = []
    yes, no = Stream(range(6)).split(calls.append)
    await Pipeline("p", yes.discard(), no.discard()).run()
    assert calls == list(range(6))


async def test_split_by_type_goes_by_the_first_type_that_fits() -> None:
    bools, ints, rest = Probe[bool]("bools"), Probe[int]("ints"), Probe[object]("rest")
    a, b, c = Stream([1, True, "x", 0, False]).split_by_type(bool, int, object)
    await Pipeline("p", a.to(bools), b.to(ints), c.to(rest)).run()
    assert bools.events == [True, False]
    assert ints.events == [1, 0]
    assert rest.events == ["x"]


async def test_route_by_name_and_the_rest_to_other() -> None:
    events = ["UK", "FR", "DE", "UK"]
    uk, fr, other = Probe[str]("uk"), Probe[str]("fr"), Probe[str]("other")
    routes = Stream(events).route(lambda country: country, "UK", "FR")
    await Pipeline("p", routes["UK"].to(uk), routes["FR"].to(fr), routes.other.to(other)).run()
    assert uk.events == ["UK", "UK"]
    assert fr.events == ["FR"]
    assert other.events == ["DE"]


async def test_routes_are_a_mapping_by_name() -> None:
    routes = Stream(["UK"]).route(str, "UK", "FR")
    assert isinstance(routes, Routes)
    assert list(routes) == ["UK", "FR"]
    assert len(routes) == 2
    with pytest.raises(KeyError, match="DE"):
        routes["DE"]


async def test_a_branch_that_nobody_uses_is_an_error() -> None:
    yes, _no = Stream([1]).split(bool)
    with pytest.raises(
        GraphError, match=r"output 1 is used by nobody, its events would be lost; end it with"
    ):
        Pipeline("p", yes.discard())
    with pytest.raises(GraphError, match="output 1 is used by nobody"):
        await yes.collect()
    with pytest.raises(GraphError, match="output 1 is used by nobody"):
        yes.open()


async def test_other_must_be_used_too() -> None:
    routes = Stream(["UK"]).route(str, "UK")
    with pytest.raises(GraphError, match="output 1 is used by nobody"):
        Pipeline("p", routes["UK"].discard())


async def test_a_branch_used_twice_goes_to_both() -> None:
    left, right = Probe[int]("left"), Probe[int]("right")
    yes, no = Stream(range(4)).split(lambda n: n % 2)
    await Pipeline("p", yes.to(left), yes.map(str).to(right), no.discard()).run()
    assert left.events == [1, 3]
    assert right.events == ["1", "3"]


async def test_a_blocked_branch_holds_only_its_own_events_up() -> None:
    inlet, gate, free = Inlet[int](), Gate(), Probe[int]()
    yes, no = Stream(inlet).split(lambda n: n < 0)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", yes.to(gate), no.to(free)).start():
            await inlet.send(-1)
            await gate.entered()
            for n in range(100):
                await inlet.send(n)
            await free.until(100)
            gate.open()


async def test_a_branch_that_has_ended_does_not_end_the_other() -> None:
    short, long = Probe[int]("short"), Probe[int]("long")
    yes, no = Stream(range(100)).split(lambda n: n % 2)
    await Pipeline("p", yes.take(1).to(short), no.to(long), chunk=3).run()
    assert short.events == [1]
    assert long.events == list(range(0, 100, 2))


async def test_split_of_a_split() -> None:
    small, middle, large = Probe[int]("s"), Probe[int]("m"), Probe[int]("l")
    low, high = Stream(range(9)).split(lambda n: n < 3)
    mid, top = high.split(lambda n: n < 6)
    await Pipeline("p", low.to(small), mid.to(middle), top.to(large)).run()
    assert (small.events, middle.events, large.events) == ([0, 1, 2], [3, 4, 5], [6, 7, 8])


async def test_a_splits_pace_is_that_of_its_blocked_branch() -> None:
    inlet, gate = Inlet[int](), Gate()
    taken: list[int] = []
    yes, no = Stream(inlet).tap(taken.append).split(lambda n: n < 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Pipeline("p", yes.to(gate), no.discard(), capacity=1, chunk=1).run)
        for _ in range(20):
            await inlet.send(-1)
        await gate.entered()
        await settle()
        assert len(taken) <= 6
        tasks.cancel_scope.cancel()
