"""Scripted input: time, watermarks, failures, crashes and what comes after them."""

import logging
import math

import anyio
import pytest

from reactor import ArgumentError, Pipeline, Stream, Tumbling
from reactor.testing import (
    ABORT,
    EOF,
    PAUSE,
    At,
    Crash,
    Script,
    SinkProbe,
    Timed,
    Watermark,
    marble_of,
    probed,
    run_virtual,
)

both = pytest.mark.parametrize("loop", ["asyncio", "trio"])
anyio_test = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "reactor")


def into_probe(script: Script[int]) -> tuple[Pipeline, SinkProbe[int]]:
    sink = SinkProbe[int](demand=math.inf)
    return Pipeline("scripted", Stream(script).to(sink)), sink


@anyio_test
async def test_events_in_their_order() -> None:
    script = Script([1, None, "two"])
    assert await Stream(script).collect() == [1, None, "two"]
    assert (script.opened, script.closed) == (1, 1)


@both
def test_events_at_their_time(loop: str) -> None:
    async def main() -> str:
        return await marble_of(Stream(Script(["a", At(2), "b", "c", At(1), "d", At(3600)])))

    assert run_virtual(main, loop=loop) == ("a--(bcd)[3598]|", 3600)


@anyio_test
async def test_an_end_in_the_middle_and_what_is_behind_it() -> None:
    pipeline, sink = into_probe(Script([1, 2, EOF, 3, EOF, EOF, 4]))
    taken = []
    for _ in range(5):
        await pipeline.run()
        taken.append(len(sink.events))
    assert taken == [2, 3, 3, 4, 4]
    assert sink.events == [1, 2, 3, 4]


@anyio_test
async def test_after_a_crash_it_goes_on_from_the_committed_position() -> None:
    script = Script([1, 2, PAUSE, 3, ABORT, 4])
    pipeline, sink = into_probe(script)
    with pytest.raises(Crash, match="script: ABORT at item 4"):
        async with pipeline.start() as run:
            while script.committed < 2:
                await anyio.sleep(0.01)
            script.go()
            await run.wait()
    assert script.committed == 2
    sink.events.clear()
    script.go()
    await pipeline.run()
    assert sink.events == [3, 4]


@anyio_test
async def test_nothing_is_committed_past_a_crash() -> None:
    script = Script([1, 2, ABORT, 3])
    pipeline, sink = into_probe(script)
    with pytest.raises(Crash):
        await pipeline.run()
    assert script.committed <= 2
    first = script.committed
    sink.events.clear()
    await pipeline.run()
    assert sink.events == [1, 2, 3][first:]


@anyio_test
async def test_without_replay_nothing_is_given_twice() -> None:
    script = Script([1, 2, ABORT, 3], replay=False)
    pipeline, sink = into_probe(script)
    with pytest.raises(Crash):
        await pipeline.run()
    await pipeline.run()
    assert sink.events == [1, 2, 3]
    assert script.committed == 0


@anyio_test
async def test_an_error_is_raised_each_time() -> None:
    pipeline, _ = into_probe(Script([1, KeyError("broker gone"), 2]))
    for _ in range(2):
        with pytest.raises(KeyError, match="broker gone"):
            await pipeline.run()


@anyio_test
async def test_a_pause_lasts_until_the_test_says_go() -> None:
    script = Script([1, PAUSE, 2, PAUSE, PAUSE, 3])
    async with probed(Stream(script), SinkProbe(demand=math.inf)) as sink:
        await sink.expect(1)
        await sink.expect_none()
        script.go()
        await sink.expect(2)
        await sink.expect_none()
        script.go()
        script.go()  # ahead of the pause
        await sink.expect(3)
        await sink.expect_end()


@anyio_test
async def test_a_cancelled_pause_is_still_there() -> None:
    script = Script([PAUSE, 1])
    for _ in range(2):
        async with probed(Stream(script)) as sink:
            sink.request()
            await sink.expect_none()


@anyio_test
async def test_the_number_at_once() -> None:
    script = Script([1, 2, 3, 4, 5], most=2)
    await script.open()
    reads = [await script.read(10), await script.read(1), await script.read(10), await script.read(10)]
    await script.close()
    assert [[record.value for record in read or ()] for read in reads] == [[1, 2], [3], [4, 5], []]


@anyio_test
async def test_times_are_the_records_times() -> None:
    script = Script([Timed("a", 1.5), "b"])
    await script.open()
    records = await script.read(10)
    await script.close()
    assert records is not None
    assert [(record.value, record.time) for record in records] == [("a", 1_500_000), ("b", None)]


@both
@pytest.mark.parametrize("bound", [0, 30])
def test_watermarks_fire_windows_when_the_script_says(loop: str, bound: int) -> None:
    async def main() -> list[tuple[float, object]]:
        script = Script(
            [
                Timed(1, 5),
                At(1),
                Timed(2, 30),
                At(2),
                Watermark(59),
                At(3),
                Watermark(60),
                At(4),
                Timed(3, 61),
            ],
            replay=False,
        )
        fired: list[tuple[float, object]] = []
        began = anyio.current_time()
        counts = script.timed(out_of_order=bound).window(Tumbling(60)).sum()
        async with counts.open() as results:
            async for result in results:
                fired.append((anyio.current_time() - began, result.value))
        return fired

    assert run_virtual(main, loop=loop).result == [(3, 3), (4, 3)]


@anyio_test
async def test_what_has_no_event_time_is_refused() -> None:
    with pytest.raises(ArgumentError, match="script item 1, 2: has no event time"):
        Script([Timed(1, 1), 2]).timed()
    with pytest.raises(ArgumentError, match=r"Watermark items need event times; use Script\(...\).timed\(\)"):
        await Stream(Script([Watermark(1)])).count()
    with pytest.raises(ArgumentError, match=r"most=0\): must be >= 1"):
        Script([1], most=0)
