"""Windows give what the oracle says: for random events, windows, operators between, cuttings and capacities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.graphs import TIME, examples
from tests.windows import oracle
from tests.windows.oracle import Result, Row, Spec
from tests.windows.plans import (
    AGGREGATES,
    Between,
    Cut,
    Event,
    arrivals,
    between,
    cuts,
    expected,
    late_of,
    multiset,
    open_of,
    run,
    shown,
    specs,
    through,
    through_rows,
    timed,
    windowed,
)

pytestmark = [pytest.mark.anyio, TIME]

bounds = st.sampled_from([0, 0, 2, 5, 15, 30])


def same(seen: Sequence[Any], found: Sequence[Result], name: str) -> None:
    """The same results; and those of each key in the same order."""
    got, wanted = shown(seen, name), expected(found, name)
    for key in {result[0] for result in (*got, *wanted)}:
        assert [one for one in got if one[0] == key] == [one for one in wanted if one[0] == key]


def usable(spec: Spec, name: str) -> bool:
    return name != "alone" or spec.kind != "session"


@examples()
@given(
    events=arrivals(),
    spec=specs(),
    bound=bounds,
    steps=between,
    cut=cuts,
    name=st.sampled_from(sorted(AGGREGATES)),
    read=st.booleans(),
)
async def test_results_and_late_events_are_those_of_the_definitions(
    events: list[Event],
    spec: Spec,
    bound: int,
    steps: tuple[Between, ...],
    cut: Cut,
    name: str,
    read: bool,
) -> None:
    if not usable(spec, name):
        name = "fold"
    stream, rows = timed(events, cut, bound), oracle.rows(events, bound)
    for step in steps:
        stream, rows = through(stream, step), through_rows(rows, step)
    results = AGGREGATES[name](windowed(stream, spec))
    found = oracle.windows(rows, spec)
    seen: list[Any] = []
    late: list[Any] = []
    ends = [results.to(seen.append)]
    if read:
        ends.append(results.late.to(late.append))
    done = await run(cut, *ends)
    same(seen, found.results, name)
    if read:
        assert late == [row.event for row in found.late]
    assert late_of(done) == len(found.late)
    assert open_of(done) == 0


@examples(0.5)
@given(
    events=arrivals(),
    spec=specs(),
    bound=bounds,
    steps=between,
    one=cuts,
    two=cuts,
    name=st.sampled_from(sorted(AGGREGATES)),
)
async def test_results_do_not_depend_on_how_the_input_is_cut(
    events: list[Event], spec: Spec, bound: int, steps: tuple[Between, ...], one: Cut, two: Cut, name: str
) -> None:
    """Not even in the order of keys, or of results and late events of one key among each other."""
    if not usable(spec, name):
        name = "fold"
    outcomes = []
    for cut in (one, two):
        stream = timed(events, cut, bound)
        for step in steps:
            stream = through(stream, step)
        results = AGGREGATES[name](windowed(stream, spec))
        seen: list[Any] = []
        late: list[Any] = []
        await run(cut, results.to(seen.append), results.late.to(late.append))
        outcomes.append((seen, late))
    assert outcomes[0] == outcomes[1]


@examples(0.5)
@given(
    events=arrivals(disorder=0),
    spec=specs(kinds=("tumbling", "sliding", "session", "global"), early=False),
    data=st.data(),
    bound=st.integers(0, 25),
    name=st.sampled_from(sorted(AGGREGATES)),
)
async def test_every_order_of_arrival_within_the_bound_gives_the_same(
    events: list[Event], spec: Spec, data: st.DataObject, bound: int, name: str
) -> None:
    if not usable(spec, name):
        name = "fold"
    delays = data.draw(st.lists(st.integers(0, bound), min_size=len(events), max_size=len(events)))
    arriving = sorted(range(len(events)), key=lambda n: (events[n][0] + delays[n], delays[n]))
    shuffled = [events[n] for n in arriving]
    outcomes = []
    for given_events in (events, shuffled):
        seen: list[Any] = []
        results = AGGREGATES[name](windowed(timed(given_events, Cut(), bound), spec))
        done = await run(Cut(), results.to(seen.append))
        assert late_of(done) == 0
        outcomes.append(multiset(shown(seen, name)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] == multiset(expected(oracle.windows(oracle.rows(events, bound), spec).results, name))


on_time = specs(kinds=("tumbling", "sliding", "session", "global"), lateness=False, early=False)


@examples(0.5)
@given(
    events=arrivals(disorder=10),
    spec=on_time,
    step=st.builds(
        Between,
        st.sampled_from(["unordered", "by key"]),
        st.integers(1, 5),
        st.lists(st.sampled_from([0, 1, 3]), min_size=1, max_size=4).map(tuple),
    ),
    cut=cuts,
    name=st.sampled_from(sorted(AGGREGATES)),
)
async def test_a_pool_that_keeps_no_order_makes_no_event_late(
    events: list[Event], spec: Spec, step: Between, cut: Cut, name: str
) -> None:
    if not usable(spec, name):
        name = "fold"
    seen: list[Any] = []
    results = AGGREGATES[name](windowed(through(timed(events, cut, 10), step), spec))
    done = await run(cut, results.to(seen.append))
    assert late_of(done) == 0
    found = oracle.windows(oracle.rows(events, 10), spec)
    assert multiset(shown(seen, name)) == multiset(expected(found.results, name))


@examples(0.5)
@given(
    lanes=st.lists(st.tuples(arrivals(most=15, disorder=10), cuts, between), min_size=2, max_size=3),
    spec=on_time,
    verb=st.sampled_from(["merge", "merge", "interleave"]),
    name=st.sampled_from(sorted(AGGREGATES)),
)
async def test_joining_streams_makes_no_event_late(
    lanes: list[tuple[list[Event], Cut, tuple[Between, ...]]], spec: Spec, verb: str, name: str
) -> None:
    """Each is as far out of order as its own bound allows; how far one is ahead of the others says nothing."""
    if not usable(spec, name):
        name = "fold"
    streams, rows = [], list[Row]()
    for events, cut, steps in lanes:
        stream, mine = timed(events, cut, 10), oracle.rows(events, 10)
        for step in steps:
            if step.verb != "again":  # its bound is smaller
                stream, mine = through(stream, step), through_rows(mine, step)
        streams.append(stream)
        rows += mine
    joined = getattr(streams[0], verb)(*streams[1:])
    seen: list[Any] = []
    done = await run(lanes[0][1], AGGREGATES[name](windowed(joined, spec)).to(seen.append))
    assert late_of(done) == 0
    found = oracle.windows([row._replace(watermark=oracle.BEGINNING) for row in rows], spec)
    assert multiset(shown(seen, name)) == multiset(expected(found.results, name))
    assert open_of(done) == 0


@examples(0.5)
@given(events=arrivals(), bound=bounds, two=st.tuples(specs(), specs()), cut=cuts, read=st.booleans())
async def test_branches_of_one_stream_have_their_own_windows(
    events: list[Event], bound: int, two: tuple[Spec, Spec], cut: Cut, read: bool
) -> None:
    stream, rows = timed(events, cut, bound), oracle.rows(events, bound)
    even, odd = stream.split(lambda event: event[2] % 2 == 0)
    parts = [
        (even, [row for row in rows if row.event[2] % 2 == 0], two[0]),
        (odd, [row for row in rows if row.event[2] % 2 == 1], two[1]),
    ]
    ends, seens, lates = [], [], []
    for branch, _, spec in parts:
        results = windowed(branch, spec).sum(lambda event: event[2])
        seen: list[Any] = []
        late: list[Any] = []
        ends.append(results.to(seen.append))
        if read:
            ends.append(results.late.to(late.append))
        seens.append(seen)
        lates.append(late)
    await run(cut, *ends)
    for (_, mine, spec), seen, late in zip(parts, seens, lates, strict=True):
        found = oracle.windows(mine, spec)
        same(seen, found.results, "sum")
        if read:
            assert late == [row.event for row in found.late]


@examples(0.5)
@given(
    events=arrivals(),
    bound=bounds,
    first=specs(early=False),
    second=specs(kinds=("tumbling", "sliding", "session", "global"), early=False),
    steps=between,
    cut=cuts,
)
async def test_windows_of_windows(
    events: list[Event], bound: int, first: Spec, second: Spec, steps: tuple[Between, ...], cut: Cut
) -> None:
    """A result has its own time, and is there before the watermark that caused it: the next window has it."""
    stream = windowed(timed(events, cut, bound), first).sum(lambda event: event[2])
    stream = stream.map(lambda result: (result.time, result.key, result.value))
    found = oracle.windows(oracle.rows(events, bound), first)
    rows = [
        Row(
            (result.time, result.key, sum(event[2] for event in result.events)), result.time, result.watermark
        )
        for result in found.results
    ]
    for step in steps:
        if step.verb not in ("again", "batch"):  # these mind the order of keys, which the oracle doesn't know
            stream, rows = through(stream, step), through_rows(rows, step)
    seen: list[Any] = []
    done = await run(cut, windowed(stream, second).sum(lambda event: event[2]).to(seen.append))
    wanted = oracle.windows(rows, second)
    assert multiset(shown(seen, "sum")) == multiset(expected(wanted.results, "sum"))
    assert late_of(done) == len(found.late) + len(wanted.late)


@examples(0.3)
@given(events=arrivals(), spec=specs(), bound=bounds, cut=cuts)
async def test_windows_without_a_key(events: list[Event], spec: Spec, bound: int, cut: Cut) -> None:
    seen: list[Any] = []
    done = await run(cut, windowed(timed(events, cut, bound), spec, None).collect().to(seen.append))
    found = oracle.windows(oracle.rows(events, bound), spec, lambda event: None)
    assert shown(seen, "collect") == expected(found.results, "collect")
    assert late_of(done) == len(found.late)


@examples(0.3)
@given(
    values=st.lists(st.integers(0, 10_000), min_size=1, max_size=400),
    q=st.floats(0, 1),
    sliding=st.booleans(),
)
async def test_a_quantile_is_right_within_its_error(values: list[int], q: float, sliding: bool) -> None:
    """Sketches of panes are merged: a rank is right within 1.65 % all the same (2.7 % for all ranks at once)."""
    events = [(n % 8, 0, value) for n, value in enumerate(values)]
    spec = Spec("sliding", 8, 2) if sliding else Spec("tumbling", 8, 8)
    seen: list[Any] = []
    await run(
        Cut(),
        windowed(timed(events, Cut(), 10), spec).quantile(q, lambda event: event[2]).to(seen.append),
    )
    found = oracle.windows(oracle.rows(events, 10), spec)
    for got, wanted in zip(seen, found.results, strict=True):
        assert tuple(got.window) == tuple(wanted.window)
        inside = sorted(event[2] for event in wanted.events)
        lowest = sum(value < got.value for value in inside) / len(inside)
        highest = sum(value <= got.value for value in inside) / len(inside)
        slack = 0.027 + 1 / len(inside)
        assert lowest - slack <= q <= highest + slack
