"""buffer: how many wait, and what happens to those for which there is no room."""

import anyio
import pytest

from reactor import Inlet, Overflow, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Probe, settle

pytestmark = pytest.mark.anyio

DROPPING = [("drop_oldest", [0, 8, 9]), ("drop_newest", [0, 1, 2])]


async def test_block_keeps_all_and_holds_the_input_back() -> None:
    numbers, gate = Endless(), Gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Pipeline("p", Stream(numbers).buffer(5).to(gate), capacity=1, chunk=1).run)
        await gate.entered()
        await settle()
        assert 5 <= numbers.read <= 9
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("overflow", "kept"), DROPPING)
async def test_dropping_buffers_never_hold_the_input_back(overflow: str, kept: list[int]) -> None:
    inlet, gate = Inlet[int](), Gate()
    seen: list[int] = []

    async def sink(n: int) -> None:
        await gate()
        seen.append(n)

    stream = Stream(inlet).buffer(2, overflow)  # type: ignore[arg-type]
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", stream.to(sink), chunk=1).start() as run:
            await inlet.send(0)
            await gate.entered()
            for n in range(1, 10):
                await inlet.send(n)
            await settle()
            gate.open()
    # What stands between the buffer and the sink is there already; of the rest the buffer kept two.
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] == 9 if overflow == "drop_oldest" else 9 not in seen
    dropped = run.metrics()["buffer"].dropped
    assert sum(dropped.values()) == 10 - len(seen) > 0
    assert overflow in next(iter(dropped))


async def test_drop_oldest_keeps_the_latest_of_a_chunk_that_is_larger_than_it() -> None:
    assert await Stream(range(100)).tap(lambda n: None).buffer(3, "drop_oldest").last() == 99


async def test_a_dropping_buffer_with_room_drops_nothing() -> None:
    probe = Probe[int]()
    run = await Pipeline("p", Stream(range(10)).buffer(100, "drop_newest").to(probe)).run()
    assert probe.events == list(range(10))
    assert run.metrics()["buffer"].dropped == {}


async def test_error_fails_the_run_and_says_what_to_do() -> None:
    gate = Gate()
    pipeline = Pipeline("p", Stream(Endless()).buffer(4, "error").to(gate))
    with pytest.raises(
        Overflow, match=r"buffer\(4, error\): .* use a larger size, or overflow=\"drop_oldest\""
    ):
        await pipeline.run()


async def test_error_is_no_error_while_there_is_room() -> None:
    assert await Stream(range(4)).buffer(4, "error").collect() == [0, 1, 2, 3]


async def test_both_sides_of_a_buffer_run_side_by_side() -> None:
    """The sink is inside its function while the source goes on."""
    inlet, gate = Inlet[int](), Gate()
    taken: list[int] = []
    async with anyio.create_task_group() as tasks:
        stream = Stream(inlet).tap(taken.append).buffer(10)
        tasks.start_soon(Pipeline("p", stream.to(gate)).run)
        await inlet.send(1)
        await gate.entered()
        await inlet.send(2)
        await settle()
        assert taken == [1, 2]
        tasks.cancel_scope.cancel()


async def test_how_many_wait_is_in_the_metrics() -> None:
    inlet, gate = Inlet[int](), Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline(
            "p", Stream(inlet).buffer(10, name="b").to(gate), capacity=1, chunk=1
        ).start() as run:
            for n in range(8):
                await inlet.send(n)
            await gate.entered()
            await settle()
            assert 4 <= run.metrics()["b"].queued <= 7
            assert run.metrics()["b"].queued_most <= 10
            gate.open()
    assert run.metrics()["b"].queued == 0
