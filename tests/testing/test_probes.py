"""A source and a sink in the hands of a test."""

import logging
import math

import anyio
import pytest

from reactor import ArgumentError, Pipeline, Stream
from reactor.testing import SinkProbe, SourceProbe, probed, run_virtual

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


def halve(number: int) -> int:
    if number == 13:
        raise Broken("unlucky")
    return number // 2


# Demand --------------------------------------------------------------------------------------------------------


async def test_events_come_as_they_are_requested() -> None:
    source = SourceProbe[int]()
    async with probed(Stream(source).map(halve)) as sink:
        source.send(2, 4, 6, 8)
        await sink.expect_none()
        sink.request(2)
        await sink.expect(1, 2)
        await sink.expect_none()
        assert await sink.next() == 3
        source.end()
        sink.request()
        await sink.expect(4)
        await sink.expect_end()
    assert sink.events == [1, 2, 3, 4]
    assert (source.opened, source.closed, sink.opened, sink.closed) == (1, 1, 1, 1)


async def test_a_source_sees_demand_until_the_pipeline_is_held_back() -> None:
    source = SourceProbe[int]()
    async with probed(Stream(source)) as sink:
        for number in range(3):  # one in the sink's hands, one in the channel, one before it
            assert await source.asked() == 1
            source.send(number)
            await sink.expect_none()
        await source.not_asked()
        with pytest.raises(AssertionError, match="source probe: the pipeline asks for 1 events"):
            sink.request()
            await source.not_asked()
        await sink.expect(0)


async def test_what_is_sent_waits_for_demand() -> None:
    source = SourceProbe[int]()
    async with probed(Stream(source)):
        source.send(*range(10))
        await source.not_asked()
        assert source.pending == 7


async def test_the_demand_may_be_without_bound() -> None:
    source, sink = SourceProbe[int](), SinkProbe[int](demand=math.inf)
    async with probed(Stream(source), sink):
        source.send(*range(50))
        source.end()
        await sink.expect(*range(50))
        await sink.expect_end()


# Ends ----------------------------------------------------------------------------------------------------------


async def test_a_failure_of_the_source_comes_through() -> None:
    source = SourceProbe[int]()
    async with probed(Stream(source)) as sink:
        source.send(1)
        assert await sink.next() == 1
        source.fail(Broken("line cut"))
        error = await sink.expect_error(Broken, "line cut")
        assert str(error) == "line cut"
    assert source.closed == 1


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "reactor")


async def test_a_failure_that_was_not_expected_is_raised_behind_the_block(quiet: None) -> None:
    source = SourceProbe[int]()
    with pytest.raises(Broken, match="unlucky"):
        async with probed(Stream(source).map(halve)) as sink:
            source.send(13)
            while not sink.closed:
                await anyio.sleep(0)


async def test_what_was_expected_and_never_comes_is_told(quiet: None) -> None:
    source = SourceProbe[int]()
    with pytest.raises(
        AssertionError, match=r"no event came, and the pipeline has ended with Broken\('unlucky'\)"
    ):
        async with probed(Stream(source).map(halve)) as sink:
            source.send(13)
            await sink.next()


async def test_a_pipeline_that_ends_otherwise_is_told(quiet: None) -> None:
    for number, expected in ((13, "expected its end: Broken"), (2, r"\[1\] came, expected the end")):
        source = SourceProbe[int]()
        with pytest.raises(AssertionError, match=expected):
            async with probed(Stream(source).map(halve)) as sink:
                sink.request()
                source.send(number)
                source.end()
                await sink.expect_end()


async def test_an_end_is_not_an_error() -> None:
    source = SourceProbe[int]()
    with pytest.raises(AssertionError, match="ended with None, expected Broken"):
        async with probed(Stream(source)) as sink:
            source.end()
            await sink.expect_error(Broken)


async def test_other_events_are_told() -> None:
    source = SourceProbe[int]()
    with pytest.raises(AssertionError, match=r"\[1, 2\] came, expected \[1, 3\]"):
        async with probed(Stream(source)) as sink:
            sink.request(2)
            source.send(1, 2)
            await sink.expect(1, 3)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_nothing_is_told_after_a_while(loop: str) -> None:
    """In virtual time, which needs a loop of its own: on a thread, as there is one here."""

    async def sink_waits() -> None:
        async with probed(Stream(SourceProbe[int]())) as sink:
            await sink.next()

    async def source_waits() -> None:
        source = SourceProbe[int]()
        async with probed(Stream(source).map(halve)):
            source.send(1, 2, 3, 4, 5)
            await source.until_committed(1)

    for waits, text in (
        (sink_waits, r"sink probe: no event came within 30 virtual days; demand left 1, taken \[\]"),
        (
            source_waits,
            "position 1 isn't committed within 30 virtual days; opened 1, closed 0, committed 0, 2 events wait",
        ),
    ):
        with pytest.raises(AssertionError, match=text):
            await anyio.to_thread.run_sync(lambda waits=waits: run_virtual(waits, loop=loop))  # type: ignore[misc]


async def test_a_source_that_is_closed_is_not_asked_any_more(quiet: None) -> None:
    source = SourceProbe[int]()
    with pytest.raises(AssertionError, match="hasn't asked for events, and the run has closed the source"):
        async with probed(Stream(source).map(halve)):
            source.send(13)
            with pytest.raises(AssertionError, match="position 1 isn't committed, and the run has closed"):
                await source.until_committed(1)
            await source.asked()


async def test_nothing_for_a_while_in_virtual_time() -> None:
    async def main() -> None:
        source = SourceProbe[int]()
        async with probed(Stream(source).batch(2, max_wait=60)) as sink:
            sink.request()
            source.send(1)
            await sink.expect_none(59)
            await sink.expect_none(0)
            with pytest.raises(AssertionError, match=r"\[\[1\]\] came, expected nothing"):
                await sink.expect_none(2)

    assert (await anyio.to_thread.run_sync(run_virtual, main)).elapsed == 61


# Positions -----------------------------------------------------------------------------------------------------


async def test_what_was_not_committed_is_read_again() -> None:
    source = SourceProbe[int](replay=True)
    source.send(1, 2)
    async with probed(Stream(source)) as sink:
        sink.request(2)
        await sink.expect(1, 2)
        await source.until_committed(2)
        source.send(3)
        await sink.expect_none()
    assert (source.committed, sink.flushed) == (2, 2)
    async with probed(Stream(source)) as again:
        assert await again.next() == 3
        source.end()
        await again.expect_end()
    assert source.committed == 3


async def test_probes_stand_in_any_pipeline() -> None:
    source, sink = SourceProbe[int](), SinkProbe[int](demand=math.inf)
    source.send(1, 2)
    source.end()
    await Pipeline("shop", Stream(source).to(sink)).run()
    assert sink.events == [1, 2]
    with pytest.raises(ArgumentError, match=r"only inside `async with probed"):
        await sink.expect_end()


async def test_arguments() -> None:
    source = SourceProbe[int]()
    source.end()
    with pytest.raises(ArgumentError, match=r"send\(\) after end\(\)"):
        source.send(1)
    with pytest.raises(ArgumentError, match=r"request\(0\): must be >= 1"):
        SinkProbe[int]().request(0)
