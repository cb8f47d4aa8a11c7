"""merge is fair, concat goes one after the other, zip ends with the shortest."""

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Inlet, Pipeline, Stream
from tests.engine.scripted import PATIENCE, Endless, Log, Probe, settle

pytestmark = pytest.mark.anyio


async def test_merge_has_all_events_in_each_inputs_order() -> None:
    events = await Stream(range(100)).merge(Stream(range(100, 200)), Stream(range(200, 300))).collect()
    assert sorted(events) == list(range(300))
    for least in (0, 100, 200):
        assert [n for n in events if least <= n < least + 100] == list(range(least, least + 100))


async def test_merge_goes_on_while_one_input_is_silent() -> None:
    silent, busy, probe = Inlet[int](), Inlet[int](), Probe[int]()
    async with Pipeline("p", Stream(silent).merge(Stream(busy)).to(probe)).start():
        for n in range(5):
            await busy.send(n)
        assert await probe.until(5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("chunk", [1, 1024])
async def test_merge_starves_no_input(chunk: int) -> None:
    """Of two endless inputs both have a good part of the first ten thousand events."""
    left, right = Stream(lambda: iter(int, 1)), Stream(lambda: iter(lambda: 1, 0))
    probe = Probe[int]()
    pipeline = Pipeline("p", left.merge(right).take(10_000).to(probe), chunk=chunk)
    with anyio.fail_after(PATIENCE):
        await pipeline.run()
    assert 2_000 < sum(probe.events) < 8_000


async def test_merge_is_fair_to_an_input_with_few_events() -> None:
    """The event of the rare input comes long before the flood is over."""
    flood, rare = Stream(range(1_000_000)), Stream(["rare"])
    position = 0
    async with flood.merge(rare).open() as events:
        with anyio.fail_after(PATIENCE):
            async for event in events:
                if event == "rare":
                    break
                position += 1
    assert position < 20_000


async def test_merge_of_a_stream_with_itself_has_each_event_twice() -> None:
    shared = Stream(range(100))
    assert sorted(await shared.merge(shared).collect()) == sorted([*range(100), *range(100)])


async def test_merge_of_many() -> None:
    streams = [Stream([n]) for n in range(50)]
    assert sorted(await streams[0].merge(*streams[1:]).collect()) == list(range(50))


async def test_concat_opens_a_source_only_when_its_turn_comes() -> None:
    first, second = Log([1, 2], name="first", follow=True), Log([3], name="second")
    probe = Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(first).concat(Stream(second)).to(probe)).start() as run:
            await probe.until(2)
            await settle()
            assert "open" in first.calls
            assert second.calls == []
            first.end()
            await run.wait()
    assert probe.events == [1, 2, 3]
    assert second.calls[0] == "open"
    assert second.calls[-1] == "close"


async def test_concat_asks_a_callable_only_when_its_turn_comes() -> None:
    order: list[str] = []

    def named(name: str) -> Iterator[str]:
        order.append(f"{name} opened")
        yield name
        order.append(f"{name} ended")

    stream = Stream(lambda: named("a")).concat(Stream(lambda: named("b")), Stream(lambda: named("c")))
    assert await stream.collect() == ["a", "b", "c"]
    assert order == ["a opened", "a ended", "b opened", "b ended", "c opened", "c ended"]


async def test_concat_never_opens_what_is_not_wanted() -> None:
    second = Log([3], name="second")
    stream = Stream([1, 2]).concat(Stream(second)).take(2, volatile=True)
    assert await stream.collect() == [1, 2]
    assert second.calls == []


async def test_concat_over_operators_of_each_input() -> None:
    stream = Stream([1, 2]).map(str).concat(Stream([3]).batch(2), Stream([]), Stream([4]).filter(bool))
    assert await stream.collect() == ["1", "2", [3], 4]


async def test_concat_of_concats() -> None:
    stream = Stream([1]).concat(Stream([2]).concat(Stream([3]))).concat(Stream([4]))
    assert await stream.collect() == [1, 2, 3, 4]


async def test_concat_whose_second_input_is_shared_with_another_branch() -> None:
    """Only a source that nobody else waits for is held back."""
    shared = Stream(range(5)).map(abs)
    left, right = Probe[int]("left"), Probe[int]("right")
    await Pipeline("p", Stream([9]).concat(shared).to(left), shared.to(right)).run()
    assert left.events == [9, 0, 1, 2, 3, 4]
    assert right.events == [0, 1, 2, 3, 4]


async def test_zip_ends_with_the_shortest() -> None:
    assert await Stream([1, 2, 3]).zip(Stream(lambda: iter("AB"))).collect() == [(1, "A"), (2, "B")]
    assert await Stream([1]).zip(Stream([2, 3]), Stream([4, 5, 6])).collect() == [(1, 2, 4)]


async def test_zip_ends_also_when_the_longer_one_is_endless() -> None:
    with anyio.fail_after(PATIENCE):
        assert await Stream(Endless()).zip(Stream([1, 2])).collect() == [(1, 1), (2, 2)]
        assert await Stream([1, 2]).zip(Stream(Endless())).collect() == [(1, 1), (2, 2)]


async def test_zip_ends_when_an_input_ends_while_the_other_is_silent() -> None:
    silent = Inlet[int]()
    with anyio.fail_after(PATIENCE):
        assert await Stream([]).zip(Stream(silent)).collect() == []
    assert silent.closed


async def test_zip_holds_the_faster_input_back() -> None:
    numbers, slow = Endless(), Inlet[int]()
    pipeline = Pipeline("p", Stream(numbers).zip(Stream(slow)).discard(), capacity=2, chunk=1)
    async with pipeline.start():
        await slow.send(1)
        await settle()
        read = numbers.read
        assert read <= 8
        await slow.send(2)
        await settle()
        assert numbers.read <= read + 1


async def test_zip_of_a_shared_stream_with_buffers() -> None:
    shared = Stream(range(100))
    pairs = shared.buffer(10).zip(shared.map(str).buffer(10))
    assert await pairs.collect() == [(n, str(n)) for n in range(100)]


async def test_a_failing_input_fails_the_run_and_closes_the_others() -> None:
    closed: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                await checkpoint()
                yield 1
        finally:
            closed.append("endless")

    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    for stream in (
        Stream(endless).merge(Stream(fails)),
        Stream(endless).zip(Stream(fails)),
        Stream(fails).concat(Stream(endless)),
    ):
        with pytest.raises(LookupError, match="no more"):
            await stream.collect()
    assert closed == ["endless", "endless"]  # the concat never opened it
