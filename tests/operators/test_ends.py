"""How a stream ends: to, discard, and in place: collect, count, first, last, fold."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import (
    DeadLetter,
    DeadLetters,
    Empty,
    Fallback,
    OperatorTimeout,
    Pipeline,
    Retry,
    Sink,
    Skip,
    Stream,
)
from tests.engine.scripted import PATIENCE, Endless, Gate, Probe

pytestmark = pytest.mark.anyio


async def test_collect_count_first_last_fold() -> None:
    stream = Stream(range(5)).map(lambda n: n * 10)
    assert await stream.collect() == [0, 10, 20, 30, 40]
    assert await stream.count() == 5
    assert await stream.first() == 0
    assert await stream.last() == 40
    assert await stream.fold(lambda total, n: total + n, 1) == 101


async def test_of_an_empty_stream() -> None:
    empty: Stream[int] = Stream([])
    assert await empty.collect() == []
    assert await empty.count() == 0
    assert await empty.fold(lambda total, n: total + n, 7) == 7
    assert await empty.first(None) is None
    assert await empty.last("nothing") == "nothing"


@pytest.mark.parametrize("verb", ["first", "last"])
async def test_first_and_last_without_an_event_and_default_raise_empty(verb: str) -> None:
    with pytest.raises(Empty, match=rf"{verb}\(\): the stream ended without an event; pass a default"):
        await getattr(Stream([]), verb)()
    assert issubclass(Empty, LookupError)


async def test_first_stops_the_source() -> None:
    numbers = Endless()
    with anyio.fail_after(PATIENCE):
        assert await Stream(numbers).first() == 1


async def test_fold_starts_from_a_factory_in_each_run() -> None:
    stream = Stream([1, 2])

    def append(found: list[int], n: int) -> list[int]:
        found.append(n)
        return found

    assert await stream.fold(append, factory=list) == [1, 2]
    assert await stream.fold(append, factory=list) == [1, 2]


async def test_a_fold_that_fails_names_itself_and_the_event() -> None:
    def add(total: int, n: int) -> int:
        raise LookupError("no sum")

    with pytest.raises(LookupError) as failure:
        await Stream([5]).fold(add, 0)
    assert "operator fold(add), event 5" in failure.value.__notes__[0]


async def test_discard_runs_everything_before_it() -> None:
    seen: list[int] = []
    await Pipeline("p", Stream(range(3)).tap(seen.append).discard()).run()
    assert seen == [0, 1, 2]


async def test_a_function_as_a_sink_gets_one_event_at_a_time() -> None:
    seen: list[int] = []
    await Pipeline("p", Stream(range(3)).to(seen.append)).run()
    assert seen == [0, 1, 2]


async def test_an_async_function_as_a_sink() -> None:
    seen: list[int] = []

    async def sink(n: int) -> None:
        await checkpoint()
        seen.append(n)

    await Pipeline("p", Stream(range(3)).to(sink)).run()
    assert seen == [0, 1, 2]


async def test_an_async_sink_function_with_concurrency() -> None:
    gate = Gate()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(range(5)).to(gate, concurrency=3)).start():
            await gate.entered(3)
            gate.open()
    assert gate.most == 3


async def test_a_sink_object_gets_sequences_open_first_close_last_flush_before_close() -> None:
    probe = Probe[int]()
    await Pipeline("p", Stream(range(3000)).to(probe)).run()
    assert probe.events == probe.stored == list(range(3000))
    assert probe.calls[0] == "open"
    assert probe.calls[-2:] == ["flush", "close"]
    assert probe.calls.count("open") == probe.calls.count("close") == 1
    assert probe.calls.count("write") < 3000


async def test_a_sink_of_an_empty_stream_is_opened_flushed_and_closed() -> None:
    probe = Probe[int]()
    await Pipeline("p", Stream([]).to(probe)).run()
    assert probe.calls == ["open", "flush", "close"]


async def test_a_sink_is_never_given_nothing() -> None:
    sizes: list[int] = []

    async def write(events: Sequence[int]) -> None:
        sizes.append(len(events))

    await Pipeline(
        "p", Stream(range(100)).filter(lambda n: n % 7 == 0).to(Probe(on_write=write)), chunk=3
    ).run()
    assert min(sizes) >= 1


async def test_one_write_is_in_flight_at_a_time() -> None:
    inside = 0

    async def write(events: Sequence[int]) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await checkpoint()
        inside -= 1

    await Pipeline("p", Stream(range(100)).to(Probe(on_write=write)), chunk=5).run()


async def test_a_write_is_tried_again() -> None:
    calls = 0

    async def write(events: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OSError("not yet")

    probe = Probe[int](on_write=write)
    run = await Pipeline("p", Stream([1]).to(probe, retry=Retry(3, initial=0.001), name="sink")).run()
    assert probe.events == [1]
    assert run.metrics()["sink"].dropped == {"sink: retried": 2}


async def test_a_write_that_takes_too_long() -> None:
    async def write(events: Sequence[int]) -> None:
        await anyio.sleep_forever()

    probe = Probe[int](on_write=write)
    with anyio.fail_after(PATIENCE):
        with pytest.raises(OperatorTimeout, match=r"sink: .* 0.01 s \(timeout=\)"):
            await Pipeline("p", Stream([1]).to(probe, timeout=0.01, name="sink")).run()
    assert probe.calls[-1] == "close"


async def refuse_3(events: Sequence[int]) -> None:
    if 3 in events:
        raise LookupError("no three")


async def test_a_refused_chunk_is_split_until_the_bad_event_stands_alone() -> None:
    probe, letters = Probe[int](on_write=refuse_3), list[DeadLetter]()
    stream = Stream(range(10))
    await Pipeline("p", stream.to(probe, on_error=DeadLetters()), dead_letters=letters.append).run()
    assert probe.events == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [letter.event for letter in letters] == [3]
    assert letters[0].operator == "to(probe)"
    assert letters[0].error == "LookupError: no three"


async def test_a_sink_may_skip() -> None:
    probe = Probe[int](on_write=refuse_3)
    run = await Pipeline("p", Stream(range(5)).to(probe, on_error=Skip(), name="sink")).run()
    assert probe.events == [0, 1, 2, 4]
    assert run.metrics()["sink"].dropped == {"sink: skipped": 1}


async def test_a_sink_may_fall_back() -> None:
    elsewhere: list[int] = []
    probe = Probe[int](on_write=refuse_3)
    await Pipeline("p", Stream(range(5)).to(probe, on_error=Fallback(elsewhere.append))).run()
    assert probe.events == [0, 1, 2, 4]
    assert elsewhere == [3]


async def test_a_sink_that_fails_fails_the_run_by_name() -> None:
    probe = Probe[int](on_write=refuse_3)
    with pytest.raises(LookupError, match="no three") as failure:
        await Pipeline("shop", Stream([3]).to(probe)).run()
    assert failure.value.__notes__ == ["in pipeline 'shop', operator to(probe), event 3"]
    assert probe.calls[-1] == "close"


async def test_a_sink_without_write_says_so() -> None:
    class NotYet(Sink[int]):
        pass

    with pytest.raises(NotImplementedError, match=r"NotYet\.write"):
        await Pipeline("p", Stream([1]).to(NotYet())).run()


async def test_one_sink_object_for_two_branches_is_refused() -> None:
    probe = Probe[int]()
    stream = Stream([1])
    with pytest.raises(
        Exception, match="this sink object ends two branches; merge the branches, or use two sinks"
    ):
        Pipeline("p", stream.to(probe), stream.to(probe))


async def test_a_pipeline_runs_again_with_the_same_sink_object() -> None:
    probe = Probe[int]()
    pipeline = Pipeline("p", Stream([1, 2]).to(probe))
    await pipeline.run()
    await pipeline.run()
    assert probe.events == [1, 2, 1, 2]
    assert probe.calls.count("open") == probe.calls.count("close") == 2


async def test_a_flow_is_a_function_of_a_stream_with_arguments() -> None:
    def above(stream: Stream[int], least: int, *, times: int = 1) -> Stream[int]:
        return stream.filter(lambda n: n >= least).map(lambda n: n * times)

    assert await Stream(range(5)).through(above, 3, times=10).collect() == [30, 40]


async def test_a_flow_may_return_anything() -> None:
    def parted(stream: Stream[int]) -> tuple[Any, Any]:
        return stream.split(lambda n: n > 1)

    large, small = Stream(range(4)).through(parted)
    seen: list[int] = []
    await Pipeline("p", large.to(seen.append), small.discard()).run()
    assert seen == [2, 3]
