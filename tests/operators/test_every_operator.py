"""What holds for each operator of the table: its results, and its docstring's three lines, executed."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Cancelled, Inlet, Keyed, Pipeline, Stream, Windows
from tests.engine.scripted import PATIENCE, Endless, Gate, Probe, settle
from tests.operators.table import CASES, Case

pytestmark = pytest.mark.anyio

every = pytest.mark.parametrize("case", CASES, ids=str)

VERBS = [
    "map",
    "starmap",
    "filter",
    "tap",
    "flat_map",
    "scan",
    "take",
    "take_while",
    "skip",
    "skip_while",
    "distinct",
    "enumerate",
    "pairwise",
    "of_type",
    "batch",
    "rate_limit",
    "throttle",
    "debounce",
    "sample",
    "delay",
    "timeout",
    "conflate",
    "buffer",
    "merge",
    "concat",
    "zip",
    "interleave",
    "combine_latest",
    "with_latest",
    "switch_map",
    "event_time",
    "window",
    "join",
    "join_table",
    "process",
    "key_by",
    "split",
    "split_by_type",
    "route",
    "through",
]


def test_the_table_has_every_operator() -> None:
    assert {case.name.split()[0] for case in CASES} == set(VERBS)


DOCUMENTED = {
    **{verb: getattr(Stream, verb, None) or getattr(Keyed, verb) for verb in VERBS},
    **{verb: each for verb, each in vars(Windows).items() if not verb.startswith("_")},
}


@pytest.mark.parametrize("verb", [v for v in DOCUMENTED if v not in ("key_by", "through", "window")])
def test_docstring_says_when_it_emits_backpressures_and_completes(verb: str) -> None:
    text = DOCUMENTED[verb].__doc__
    for line in ("Emits when: ", "Backpressures when: ", "Completes when: "):
        assert text.count(line) == 1, f"{verb}: {line}"


@every
async def test_result(case: Case) -> None:
    assert case.seen(await case.build(Stream([1, 2, 3, 4])).collect()) == case.all


@every
async def test_result_from_an_async_source(case: Case) -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in (1, 2, 3, 4):
            await checkpoint()
            yield n

    assert case.seen(await case.build(Stream(numbers)).collect()) == case.all


@every
async def test_empty_input(case: Case) -> None:
    assert await case.build(Stream([])).collect() == (case.empty or [])


@every
async def test_one_event(case: Case) -> None:
    assert await case.build(Stream([1])).collect() == (case.one or case.after[0])


@every
async def test_chunks_and_channels_of_one(case: Case) -> None:
    probe = Probe[Any]()
    await Pipeline("p", case.build(Stream([1, 2, 3, 4])).to(probe), capacity=1, chunk=1).run()
    assert case.seen(probe.events) == case.all


@every
async def test_runs_again_from_the_beginning(case: Case) -> None:
    stream = case.build(Stream([1, 2, 3, 4]))
    assert case.seen(await stream.collect()) == case.all
    assert case.seen(await stream.collect()) == case.all


@every
async def test_emits_when_it_says_so_without_waiting_for_more(case: Case) -> None:
    inlet, probe = Inlet[int](), Probe[Any]()
    async with Pipeline("p", case.build(Stream(inlet)).to(probe)).start() as run:
        for n, expected in enumerate(case.after, 1):
            if case.ends and run.state == "complete":
                break
            await inlet.send(n)
            await probe.until(len(expected))
            await settle()
            assert case.seen(probe.events) == expected, f"after {n} events"


@pytest.mark.parametrize(
    "case", [c for c in CASES if not (c.ends or c.drops or c.name == "distinct")], ids=str
)
async def test_backpressures_when_the_next_operator_does(case: Case) -> None:
    numbers, gate = Endless(), Gate()
    pipeline = Pipeline("p", case.build(Stream(numbers)).to(gate), capacity=1, chunk=1)
    with pytest.raises(Cancelled):
        async with pipeline.start() as run:
            await gate.entered()
            await settle()
            read = numbers.read
            for _ in range(20):
                await checkpoint()
            await settle()
            assert numbers.read <= 30
            if "threads" not in case.name:  # a thread may come back when it likes, and let one more in
                assert numbers.read == read
            assert gate.inside == 1
            run.cancel()


@every
async def test_completes_when_its_input_does(case: Case) -> None:
    inlet, probe = Inlet[int](), Probe[Any]()
    async with Pipeline("p", case.build(Stream(inlet)).to(probe)).start() as run:
        await inlet.send(1)
        inlet.close()
        with anyio.fail_after(PATIENCE):
            await run.wait()
        assert run.state == "complete"
        assert probe.events == (case.one or case.after[0])


@pytest.mark.parametrize("case", [case for case in CASES if case.ends], ids=str)
async def test_completes_by_itself_while_the_input_goes_on(case: Case) -> None:
    numbers = Endless()
    with anyio.fail_after(PATIENCE):
        assert case.seen(await case.build(Stream(numbers)).collect()) == case.all


@every
async def test_drain_brings_what_is_in_flight_to_the_sink(case: Case) -> None:
    inlet, probe = Inlet[int](), Probe[Any]()
    async with Pipeline("p", case.build(Stream(inlet)).to(probe)).start():
        await inlet.send(1)
        await settle()  # the other inputs of a merge, zip or concat have been read
        for n in (2, 3, 4):
            if not inlet.closed:
                await inlet.send(n)
    assert case.seen(probe.events) == case.all


@every
async def test_stateless_between_two_consumers(case: Case) -> None:
    """A shared operator runs once; both of those behind it get all of its events."""
    calls: list[int] = []
    shared = case.build(Stream([1, 2, 3, 4]).tap(calls.append))
    left, right = Probe[Any]("left"), Probe[Any]("right")
    await Pipeline("p", shared.to(left), shared.to(right)).run()
    assert left.events == right.events
    assert case.seen(left.events) == case.all
    assert len(calls) <= 4
