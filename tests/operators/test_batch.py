"""batch: lists by count, by weight, and by the time since their first event."""

import anyio
import pytest

from reactor import Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Probe, settle

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("max_wait", [None, 3600])
class TestBoth:
    """What holds with and without a longest wait."""

    async def test_by_count(self, max_wait: float | None) -> None:
        assert await Stream(range(7)).batch(3, max_wait=max_wait).collect() == [[0, 1, 2], [3, 4, 5], [6]]

    async def test_lists_of_one(self, max_wait: float | None) -> None:
        assert await Stream(range(3)).batch(1, max_wait=max_wait).collect() == [[0], [1], [2]]

    async def test_by_weight(self, max_wait: float | None) -> None:
        stream = Stream([3, 3, 3, 1, 5, 5]).batch(max_weight=6, weight=float, max_wait=max_wait)
        assert await stream.collect() == [[3, 3], [3, 1], [5], [5]]

    async def test_an_event_heavier_than_all_is_a_list_of_its_own(self, max_wait: float | None) -> None:
        stream = Stream([1, 9, 1, 9, 9]).batch(max_weight=5, weight=float, max_wait=max_wait)
        assert await stream.collect() == [[1], [9], [1], [9], [9]]

    async def test_by_weight_and_count(self, max_wait: float | None) -> None:
        stream = Stream([1, 1, 1, 4, 4]).batch(2, max_weight=5, weight=float, max_wait=max_wait)
        assert await stream.collect() == [[1, 1], [1, 4], [4]]

    async def test_events_without_weight_are_bounded_by_the_count(self, max_wait: float | None) -> None:
        stream = Stream([0, 0, 0, 0]).batch(3, max_weight=5, weight=float, max_wait=max_wait)
        assert await stream.collect() == [[0, 0, 0], [0]]

    async def test_a_weight_that_fails_fails_by_name(self, max_wait: float | None) -> None:
        def weigh(n: int) -> float:
            raise LookupError("no scales")

        stream = Stream([1]).batch(max_weight=5, weight=weigh, max_wait=max_wait, name="boxes")
        with pytest.raises(LookupError) as failure:
            await stream.collect()
        assert "operator boxes, event 1" in failure.value.__notes__[0]

    async def test_what_follows_may_drop_and_stop(self, max_wait: float | None) -> None:
        stream = Stream(range(100)).batch(2, max_wait=max_wait).filter(lambda pair: pair[0] % 4 == 0).take(2)
        assert await stream.collect() == [[0, 1], [4, 5]]

    async def test_batches_of_batches(self, max_wait: float | None) -> None:
        stream = Stream(range(5)).batch(2, max_wait=max_wait).batch(2, max_wait=max_wait)
        assert await stream.collect() == [[[0, 1], [2, 3]], [[4]]]

    async def test_each_list_is_a_new_one(self, max_wait: float | None) -> None:
        lists = await Stream(range(4)).batch(2, max_wait=max_wait).tap(lambda part: part.append(9)).collect()
        assert lists == [[0, 1, 9], [2, 3, 9]]

    async def test_after_take_the_rest_is_a_list(self, max_wait: float | None) -> None:
        assert await Stream(range(100)).take(3).batch(2, max_wait=max_wait).collect() == [[0, 1], [2]]


@pytest.mark.usefixtures("virtual_clock")
async def test_a_list_goes_on_when_its_time_is_over() -> None:
    inlet, probe = Inlet[int](), Probe[list[int]]()
    async with Pipeline("p", Stream(inlet).batch(100, max_wait=0.03).to(probe)).start():
        began = anyio.current_time()
        await inlet.send(1)
        await inlet.send(2)
        await probe.until(1)
        assert anyio.current_time() - began == pytest.approx(0.03)
        assert probe.events == [[1, 2]]
        await inlet.send(3)
        await probe.until(2)
    assert probe.events == [[1, 2], [3]]


async def test_the_time_counts_from_the_lists_first_event() -> None:
    inlet, probe = Inlet[int](), Probe[list[int]]()
    async with Pipeline("p", Stream(inlet).batch(2, max_wait=0.05).to(probe)).start():
        await anyio.sleep(0.04)  # a time before any event doesn't count
        began = anyio.current_time()
        await inlet.send(1)
        await probe.until(1)
        assert anyio.current_time() - began >= 0.049


async def test_a_full_list_does_not_wait() -> None:
    inlet, probe = Inlet[int](), Probe[list[int]]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).batch(2, max_wait=3600).to(probe)).start():
            await inlet.send(1)
            await settle()
            assert probe.events == []
            await inlet.send(2)
            await probe.until(1)
    assert probe.events == [[1, 2]]


async def test_the_end_does_not_wait_for_the_time() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream([1]).batch(2, max_wait=3600).collect() == [[1]]
