"""Reactive Streams 4.1 and 4.2: operators are good subscribers and good publishers, and pass failures on."""

import logging
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from reactor import DeadLetters, Fallback, Pipeline, Restart, Skip, Stream
from reactor.testing import SourceProbe, probed, settle
from tests.operators.table import CASES, Case, plus_one
from tests.reactive_streams.protocol import watching
from tests.reactive_streams.watched import PATIENCE, Broken, WatchedSink, WatchedSource, turns

pytestmark = pytest.mark.anyio

every = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "reactor")


# 4.1: both contracts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["end", "failure"])
@every
async def test_an_operator_is_a_good_subscriber(case: Case, ending: str) -> None:
    """Asks for what it has room for, one call at a time, from one task; and for nothing after the end."""
    source = WatchedSource([1, 2, 3, 4], error=Broken("source") if ending == "failure" else None)
    try:
        await Pipeline("p", case.build(Stream(source)).to(WatchedSink()), capacity=1, chunk=1).run()
    except Broken as error:
        assert error is source.error, ending  # noqa: PT017
    assert source.overlaps == []
    assert len(source.tasks) == 1
    assert set(source.limits) <= {1}
    assert source.calls[0] == "open"
    assert source.calls[-1] == "close"
    assert source.number("open") == source.number("close") == 1
    # Of four events, each asked for once, and then the end or the failure; fewer where it has enough.
    assert source.number("read") == 5 or (case.ends and source.number("read") < 5)


@pytest.mark.parametrize("capacity", [1, 2, 1024])
@every
async def test_an_operator_is_a_good_publisher(case: Case, capacity: int) -> None:
    """Gives what there is room for, one call at a time, the beginning first, and nothing behind the end."""
    sink = WatchedSink()
    with watching() as seen:
        pipeline = Pipeline("p", case.build(Stream([1, 2, 3, 4])).to(sink), capacity=capacity, chunk=capacity)
        await pipeline.run()
    assert seen.over_room == []
    assert seen.after_the_end == []
    assert sink.overlaps == []
    assert len(sink.tasks) == 1
    assert case.seen(sink.events) == case.all
    assert [call for call in sink.calls if call != "write"] == ["open", "flush", "close"]
    assert (sink.calls[0], sink.calls[-2:]) == ("open", ["flush", "close"])


@every
async def test_an_operator_that_is_cancelled_cancels_what_is_before_it(case: Case) -> None:
    source = WatchedSource([1, 2], waits=True)
    with anyio.fail_after(PATIENCE):
        async with case.build(Stream(source)).open():
            await turns()
    assert source.calls[-1] == "close"
    assert source.number("open") == source.number("close") == 1
    calls = source.calls[:]
    await turns()
    assert source.calls == calls


# 4.2: a failure goes on at once, or is recovered from -----------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in CASES if not case.ends], ids=str)
async def test_an_operator_passes_a_failure_on_at_once(case: Case) -> None:
    """Also what it holds, or waits for, doesn't come first: an hour of debounce, a batch that isn't full."""
    source, error = SourceProbe[int](), Broken("source")
    async with probed(case.build(Stream(source)), capacity=100, chunk=100) as sink:
        sink.request(math.inf)
        source.send(1)
        with anyio.fail_after(PATIENCE):
            while len(sink.events) < len(case.after[0]):
                await turns(1)
        await settle()
        source.fail(error)
        with anyio.fail_after(PATIENCE):
            assert sink.run is not None
            with pytest.raises(Broken) as caught:
                await sink.run.wait()
        sink.expected = caught.value
    assert caught.value is error
    assert sink.events == case.after[0]


@pytest.mark.parametrize(
    "join",
    [
        lambda s, other: s.merge(other),
        lambda s, other: other.merge(s),
        lambda s, other: s.zip(other),
        lambda s, other: other.zip(s),
        lambda s, other: s.concat(other),
        lambda s, other: s.interleave(other),
        lambda s, other: s.combine_latest(other),
        lambda s, other: other.combine_latest(s),
        lambda s, other: s.with_latest(other),
        lambda s, other: other.with_latest(s),
        lambda s, other: s.switch_map(lambda n: other),
    ],
    ids=[
        *("merge", "merge with", "zip", "zip with", "concat", "interleave", "combine_latest"),
        *("combine_latest with", "with_latest", "with_latest with", "switch_map"),
    ],
)
async def test_a_failure_of_one_input_does_not_wait_for_the_others(
    join: Callable[[Stream[int], Stream[int]], Stream[Any]],
) -> None:
    source, other = WatchedSource([1], error=Broken("source")), WatchedSource([2], waits=True, name="other")
    with pytest.raises(Broken), anyio.fail_after(PATIENCE):
        await Pipeline("p", join(Stream(source), Stream(other)).to(WatchedSink())).run()
    assert source.calls[-1] == "close"
    assert other.calls[-1:] in (["close"], [])


@pytest.mark.parametrize(
    "policy", [Skip(), DeadLetters(), Fallback(lambda n: -n)], ids=["skip", "letters", "fallback"]
)
@pytest.mark.parametrize("how", ["sync", "async"])
async def test_an_operator_recovers_from_its_own_failures_and_goes_on(policy: Any, how: str) -> None:
    def odd(n: int) -> int:
        if n % 2 == 0:
            raise Broken(n)
        return n

    async def odd_later(n: int) -> int:
        return odd(await plus_one(n) - 1)

    source, sink, letters = WatchedSource(range(6)), WatchedSink(), list[Any]()
    stream = Stream(source).map(odd if how == "sync" else odd_later, on_error=policy)
    await Pipeline("p", stream.to(sink), dead_letters=letters.append).run()
    assert [n for n in sink.events if n > 0] == [1, 3, 5]
    assert len(letters) == (3 if isinstance(policy, DeadLetters) else 0)
    assert [n for n in sink.events if n <= 0] == ([0, -2, -4] if isinstance(policy, Fallback) else [])
    assert source.number("close") == 1


async def test_no_policy_of_an_operator_hides_a_failure_of_what_is_before_it() -> None:
    source = WatchedSource([1], error=Broken("source"))
    stream = (
        Stream(source).map(abs, on_error=Skip()).filter(bool, on_error=Skip()).map(plus_one, on_error=Skip())
    )
    with pytest.raises(Broken):
        await Pipeline("p", stream.discard()).run()


async def test_a_source_that_is_read_again_after_a_failure_was_closed_before() -> None:
    source = WatchedSource(range(3), error=Broken("source"), replay=True)
    stream = Stream(source, restart=Restart(max=2, initial=0.001, jitter=0))
    with pytest.raises(Broken):
        await Pipeline("p", stream.discard(), interval=3600).run()
    calls = [call for call in source.calls if call not in ("read", "seek", "commit")]
    assert calls == ["open", "close"] * 3
    assert source.overlaps == []


async def test_a_callable_that_is_called_again_after_a_failure_was_closed_before() -> None:
    calls: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        calls.append("open")
        try:
            yield len(calls)
            raise Broken("numbers")
        finally:
            calls.append("close")

    with pytest.raises(Broken):
        await Stream(numbers, restart=Restart(max=2, initial=0.001, jitter=0)).collect()
    assert calls == ["open", "close"] * 3
