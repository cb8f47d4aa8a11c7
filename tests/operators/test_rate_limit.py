"""rate_limit: a token bucket that keeps its rate, lets a burst through, and holds no key up for another."""

from collections import Counter
from datetime import timedelta

import anyio
import pytest

from reactor import Inlet, Pipeline, RateLimit, Stream
from tests.engine.scripted import PATIENCE, Endless, Probe, settle

pytestmark = pytest.mark.anyio

MANY = 1e6


async def seconds_for(stream: Stream[int]) -> float:
    began = anyio.current_time()
    await stream.count()
    return anyio.current_time() - began


@pytest.mark.usefixtures("virtual_clock")
async def test_no_more_events_pass_than_the_rate_allows() -> None:
    took = await seconds_for(Stream(range(6)).rate_limit(RateLimit(50)))
    assert took == pytest.approx(0.1)  # the first at once, five more at 20 ms each


@pytest.mark.usefixtures("virtual_clock")
async def test_rate_is_per_the_given_time() -> None:
    took = await seconds_for(Stream(range(4)).rate_limit(RateLimit(3, per=timedelta(milliseconds=60))))
    assert took == pytest.approx(0.06)


@pytest.mark.usefixtures("virtual_clock")
async def test_a_burst_passes_at_once_and_then_the_rate_holds() -> None:
    took = await seconds_for(Stream(range(10)).rate_limit(RateLimit(1, per=100, burst=10)))
    assert took == 0
    took = await seconds_for(Stream(range(12)).rate_limit(RateLimit(50, burst=10)))
    assert took == pytest.approx(0.04)


async def test_tokens_that_are_not_used_are_saved_up_to_the_burst() -> None:
    limit = RateLimit(1000, burst=3)
    assert [limit.wait(None, 1, 0.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait(None, 1, 0.0) == pytest.approx(0.001)
    assert [limit.wait(None, 1, 60.0) for _ in range(3)] == [0, 0, 0]
    assert limit.wait(None, 1, 60.0) > 0


@pytest.mark.usefixtures("virtual_clock")
async def test_an_event_costs_what_its_cost_function_says() -> None:
    took = await seconds_for(Stream([5, 5, 5]).rate_limit(RateLimit(100, burst=5), cost=float))
    assert took == pytest.approx(0.1)


async def test_a_cost_above_the_burst_passes_and_is_paid_back() -> None:
    limit = RateLimit(10, burst=2)
    assert limit.wait(None, 6, 0.0) == 0
    assert limit.wait(None, 1, 0.0) == pytest.approx(0.5)  # four owed, one wanted


@pytest.mark.usefixtures("virtual_clock")
async def test_each_key_has_tokens_of_its_own() -> None:
    events = list(range(8)) * 2
    took = await seconds_for(Stream(events).rate_limit(RateLimit(25), key=lambda n: n))
    assert took == pytest.approx(0.04)  # not 16 x 40 ms


async def test_a_slow_key_holds_no_other_up() -> None:
    inlet, probe = Inlet[str](), Probe[str]()
    limit = RateLimit(lambda key: 0.001 if key == "slow" else MANY)
    stream = Stream(inlet).rate_limit(limit, key=lambda event: event)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", stream.to(probe)).start() as run:
            for event in ("slow", "slow", "slow", "fast", "fast"):
                await inlet.send(event)
            await probe.until(3)
            await settle()
            assert probe.events == ["slow", "fast", "fast"]
            limit.rate = MANY  # for all keys: what waits goes on, so that this ends
            await probe.until(5)
        assert run.state == "complete"
    assert probe.events == ["slow", "fast", "fast", "slow", "slow"]


async def test_the_order_within_a_key_is_kept() -> None:
    events = [(key, n) for n in range(5) for key in "abc"]
    seen = await Stream(events).rate_limit(RateLimit(200), key=lambda event: event[0]).collect()
    assert Counter(seen) == Counter(events)
    for key in "abc":
        assert [n for k, n in seen if k == key] == list(range(5))


async def test_events_that_wait_are_bounded() -> None:
    numbers = Endless()
    stream = Stream(numbers).rate_limit(RateLimit(0.001), key=lambda n: n % 2, waiting=10)
    pipeline = Pipeline("p", stream.to(lambda n: None), capacity=1, chunk=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        with anyio.fail_after(PATIENCE):
            while numbers.read < 10:
                await anyio.lowlevel.checkpoint()
        await settle()
        assert 10 <= numbers.read <= 20
        tasks.cancel_scope.cancel()


async def test_a_limit_takes_at_most_a_burst_from_its_channel() -> None:
    numbers = Endless()
    stream = Stream(numbers).rate_limit(RateLimit(0.001, burst=4))
    pipeline = Pipeline("p", stream.to(lambda n: None), capacity=1, chunk=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run)
        with anyio.fail_after(PATIENCE):
            while numbers.read < 4:
                await anyio.lowlevel.checkpoint()
        await settle()
        assert numbers.read <= 10
        tasks.cancel_scope.cancel()


async def test_a_new_rate_takes_effect_for_those_that_wait() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    limit = RateLimit(0.001)
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).rate_limit(limit).to(probe)).start():
            for n in range(5):
                await inlet.send(n)
            await probe.until(1)
            await settle()
            assert probe.events == [0]
            limit.rate = MANY
            await probe.until(5)
    assert probe.events == [0, 1, 2, 3, 4]


async def test_a_limit_shared_by_two_streams_is_one_bucket() -> None:
    limit = RateLimit(50)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Stream(range(3)).rate_limit(limit).count)
        tasks.start_soon(Stream(range(3)).rate_limit(limit).count)
    assert anyio.current_time() - began >= 0.099


async def test_a_rate_function_that_fails_fails_the_run_by_name() -> None:
    def rate(key: int) -> float:
        raise LookupError("no rate for this key")

    with pytest.raises(LookupError) as failure:
        await Stream([1]).rate_limit(RateLimit(rate), key=lambda n: n, name="slowly").collect()
    assert "operator slowly, event 1" in failure.value.__notes__[0]


@pytest.mark.parametrize("cost", [-1.0, float("nan"), "5"])
async def test_a_cost_that_is_no_number_from_0_on_fails_the_run(cost: float) -> None:
    with pytest.raises((ValueError, TypeError), match="cost") as failure:
        await Stream([1]).rate_limit(RateLimit(1), cost=lambda n: cost, name="slowly").collect()
    assert "operator slowly, event 1" in failure.value.__notes__[0]


async def test_a_rate_function_that_returns_0_fails_the_run() -> None:
    with pytest.raises(ValueError, match=r"rate.* > 0"):
        await Stream([1, 1]).rate_limit(RateLimit(lambda key: 0), key=lambda n: n).collect()


async def test_buckets_that_are_full_again_are_forgotten() -> None:
    limit = RateLimit(1e9, burst=1)
    await Stream(range(20_000)).rate_limit(limit, key=lambda n: n).count()
    assert len(limit._buckets) <= 5000
