"""aiostream both ways: its pipe operators in a stream, a stream in its combinators."""

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import aiostream
import anyio
import pytest
from aiostream import pipe
from anyio.lowlevel import checkpoint

from reactor import Cancelled, Inlet, NeedsTask, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Gate, Log, Probe, settle
from tests.operators.table import plus_one

asyncio_only = pytest.mark.asyncio


# A pipe operator of aiostream in a stream -------------------------------------------------------------------


@asyncio_only
async def test_a_pipe_operator_runs_as_a_stage() -> None:
    assert await Stream(range(5)).through(pipe.map(lambda n: n * 2)).collect() == [0, 2, 4, 6, 8]


@asyncio_only
async def test_operators_before_and_behind_it() -> None:
    stream = Stream(range(20)).map(plus_one).through(pipe.chunks(3)).map(sum).filter(lambda n: n % 2)
    assert await stream.collect() == [15, 33, 51, 39]


@asyncio_only
async def test_several_one_after_the_other() -> None:
    stream = Stream(range(10)).through(pipe.skip(2)).through(pipe.take(3)).through(pipe.enumerate())
    assert await stream.collect() == [(0, 2), (1, 3), (2, 4)]


@asyncio_only
async def test_an_async_function_in_it() -> None:
    assert await Stream([1, 2]).through(pipe.map(plus_one, task_limit=2)).collect() == [2, 3]


@asyncio_only
async def test_the_unbound_operator_with_its_arguments() -> None:
    assert await Stream(range(5)).through(aiostream.stream.map.raw, lambda n: n * 2).collect() == [
        0,
        2,
        4,
        6,
        8,
    ]


@asyncio_only
async def test_empty_input() -> None:
    assert await Stream([]).through(pipe.map(str)).collect() == []


@asyncio_only
async def test_one_that_has_enough_stops_the_source() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).through(pipe.take(3)).collect() == [1, 2, 3]


@asyncio_only
async def test_one_that_has_enough_while_the_source_is_silent() -> None:
    inlet, probe = Inlet[int](), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(inlet).through(pipe.take(1)).to(probe)).start() as run:
            await inlet.send(1)
            await run.wait()
    assert probe.events == [1]


@asyncio_only
async def test_what_follows_may_have_enough() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).through(pipe.map(str)).take(2).collect() == ["1", "2"]


@asyncio_only
async def test_backpressure_goes_through_it() -> None:
    numbers, gate = Endless(), Gate()
    with pytest.raises(Cancelled):
        pipeline = Pipeline("p", Stream(numbers).through(pipe.map(str)).to(gate), capacity=2, chunk=1)
        async with pipeline.start() as run:
            await gate.entered()
            await settle()
            assert numbers.read <= 12
            run.cancel()


@asyncio_only
async def test_a_failure_in_it_is_the_original_and_named() -> None:
    def fails(n: int) -> int:
        raise LookupError("in aiostream")

    with pytest.raises(LookupError, match="in aiostream") as failure:
        await Pipeline("p", Stream([1]).through(pipe.map(fails)).discard()).run()
    assert "in pipeline 'p', operator through(" in failure.value.__notes__[0]


@asyncio_only
async def test_a_failure_before_it_is_not_blamed_on_it() -> None:
    def fails(n: int) -> int:
        raise LookupError("before")

    with pytest.raises(LookupError, match="before") as failure:
        await Pipeline("p", Stream([1]).map(fails).buffer(1).through(pipe.map(str)).discard()).run()
    assert all("through" not in note for note in failure.value.__notes__)


@asyncio_only
async def test_positions_are_committed_when_it_has_ended() -> None:
    log, probe = Log(range(10)), Probe[str]()
    await Pipeline("p", Stream(log).through(pipe.map(str)).to(probe), interval=0.001).run()
    assert log.commits == [10]


@asyncio_only
async def test_a_drain_ends_it() -> None:
    inlet, probe = Inlet[int](), Probe[list[int]]()
    async with Pipeline("p", Stream(inlet).through(pipe.chunks(2)).to(probe)).start():
        for n in range(3):
            await inlet.send(n)
    assert probe.events == [[0, 1], [2]]


@asyncio_only
async def test_a_cancelled_run_closes_it() -> None:
    gate = Gate()

    async def wait(n: int) -> None:
        await gate(n)

    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream([1]).through(pipe.map(wait)).discard()).start() as run:
            await gate.entered()
            run.cancel()
    assert gate.inside == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_the_error_says_that_it_needs_asyncio(anyio_backend: str) -> None:
    with pytest.raises(Exception, match=r"through\(\).*aiostream.*asyncio") as failure:
        await Stream([1]).through(pipe.map(str)).collect()
    assert type(failure.value).__module__.startswith("reactor")


def child(script: str) -> str:
    """Run it where aiostream can't be imported."""
    blocked = "import sys\nsys.modules['aiostream'] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocked + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_extra_everything_else_works() -> None:
    script = """
        import anyio
        from reactor import Stream
        print(anyio.run(Stream([1, 2]).map(str).collect))
    """
    assert child(script) == "['1', '2']\n"


def test_without_the_extra_the_error_has_the_line_that_installs_it() -> None:
    script = """
        from reactor import MissingExtra, Stream

        def pipe(source):
            return source

        pipe.__module__ = "aiostream.core"
        try:
            Stream([1]).through(pipe)
        except MissingExtra as error:
            print(error.extra, isinstance(error, ImportError))
            print(error)
    """
    out = child(script)
    assert out.splitlines()[0] == "aiostream True"
    assert 'pip install "reactor-streams[aiostream]"' in out


# A stream in aiostream --------------------------------------------------------------------------------------


@asyncio_only
async def test_a_stream_is_an_async_iterable_that_aiostream_takes() -> None:
    stream = Stream(range(5)).map(lambda n: n + 1)
    assert isinstance(stream, AsyncIterable)
    xs = aiostream.stream.iterate(stream) | pipe.map(str) | pipe.take(3)
    assert await aiostream.stream.list(xs) == ["1", "2", "3"]


@asyncio_only
async def test_in_a_merge_of_aiostreams() -> None:
    both = aiostream.stream.merge(Stream([1, 2]), Stream([3, 4]).filter(bool))
    assert sorted(await aiostream.stream.list(both)) == [1, 2, 3, 4]


@asyncio_only
async def test_a_stream_that_needs_tasks_is_given_opened() -> None:
    stream = Stream(range(5)).map(plus_one, concurrency=2)
    with pytest.raises(NeedsTask, match=r"stream.open\(\)"):
        await aiostream.stream.list(aiostream.stream.iterate(stream))
    async with stream.open() as events:
        assert await aiostream.stream.list(aiostream.stream.iterate(events)) == [1, 2, 3, 4, 5]


@asyncio_only
async def test_left_early_the_source_is_closed() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await checkpoint()
                yield 1
        finally:
            closed.append(True)

    xs = aiostream.stream.iterate(Stream(endless)) | pipe.take(2)
    async with xs.stream() as streamer:
        assert [n async for n in streamer] == [1, 1]
    assert closed == [True]


@asyncio_only
async def test_a_failure_comes_through() -> None:
    def fails(n: int) -> int:
        raise LookupError("in reactor")

    with pytest.raises(LookupError, match="in reactor"):
        await aiostream.stream.list(aiostream.stream.iterate(Stream([1]).map(fails)))


# Any function from an async iterable to an async iterable ---------------------------------------------------


@pytest.mark.anyio
async def test_an_async_generator_function_is_a_flow_on_both_loops() -> None:
    async def pairs(events: AsyncIterable[Any], *, times: int = 1) -> AsyncIterator[tuple[Any, Any]]:
        async for event in events:
            yield event, event * times

    assert await Stream([1, 2]).through(pairs).collect() == [(1, 1), (2, 2)]
    assert await Stream([1, 2]).map(plus_one).through(pairs, times=3).buffer(1).collect() == [(2, 6), (3, 9)]


@pytest.mark.anyio
async def test_an_async_generator_flow_that_stops_early() -> None:
    async def two(events: AsyncIterable[Any]) -> AsyncIterator[Any]:
        count = 0
        async for event in events:
            yield event
            count += 1
            if count == 2:
                return

    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).through(two).collect() == [1, 2]


@pytest.mark.anyio
async def test_an_async_generator_flow_is_closed_when_what_follows_has_enough() -> None:
    closed: list[bool] = []

    async def same(events: AsyncIterable[Any]) -> AsyncIterator[Any]:
        try:
            async for event in events:
                yield event
        finally:
            closed.append(True)

    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).through(same).take(2).collect() == [1, 2]
    assert closed == [True]


@pytest.mark.anyio
async def test_an_async_generator_flow_that_fails_is_named() -> None:
    async def fails(events: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for event in events:
            yield event
            raise LookupError("in the flow")

    with pytest.raises(LookupError, match="in the flow") as failure:
        await Stream([1]).through(fails).collect()
    assert "operator through(fails)" in failure.value.__notes__[0]
