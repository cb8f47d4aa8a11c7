"""Joins against brute force: every pair of the definition, and none else, whatever the order of arrival."""

from __future__ import annotations

from itertools import count
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Interval, Pipeline, Stream
from tests.engine.graphs import TIME, examples
from tests.windows import oracle
from tests.windows.plans import (
    Cut,
    Event,
    arrivals,
    assigner,
    cuts,
    key_of,
    late_of,
    multiset,
    open_of,
    run,
    specs,
    time_of,
    timed,
    us,
)

pytestmark = [pytest.mark.anyio, TIME]

BOUND = 10
sides = st.tuples(arrivals(most=15, disorder=BOUND, gaps=False), cuts)
hows = st.sampled_from(["inner", "left", "outer"])


def keyed(side: tuple[list[Event], Cut]) -> Any:
    return timed(side[0], side[1], BOUND).key_by(key_of)


@examples()
@given(left=sides, right=sides, before=st.integers(0, 20), after=st.integers(0, 20), how=hows)
async def test_an_interval_join_finds_all_pairs(
    left: tuple[list[Event], Cut], right: tuple[list[Event], Cut], before: int, after: int, how: str
) -> None:
    seen: list[Any] = []
    joined = keyed(left).join(keyed(right), Interval(us(before), us(after)), how=how)
    done = await run(left[1], joined.to(seen.append))
    wanted = oracle.interval_join(
        oracle.rows(left[0], BOUND), oracle.rows(right[0], BOUND), before, after, how, key_of
    )
    assert multiset([(pair.left, pair.right) for pair in seen]) == multiset(wanted)
    for pair in seen:
        assert pair.key == key_of(pair.left or pair.right)
    assert (late_of(done), open_of(done)) == (0, 0)


@examples(0.6)
@given(left=sides, right=sides, spec=specs(("tumbling", "sliding"), lateness=False, early=False), how=hows)
async def test_a_window_join_finds_all_pairs(
    left: tuple[list[Event], Cut], right: tuple[list[Event], Cut], spec: Any, how: str
) -> None:
    seen: list[Any] = []
    done = await run(left[1], keyed(left).join(keyed(right), assigner(spec), how=how).to(seen.append))
    wanted = oracle.window_join(oracle.rows(left[0], BOUND), oracle.rows(right[0], BOUND), spec, how, key_of)
    assert multiset([(tuple(pair.window), *pair.value) for pair in seen]) == multiset(wanted)
    assert (late_of(done), open_of(done)) == (0, 0)


@examples(0.4)
@given(left=sides, right=sides, gap=st.integers(1, 12), how=hows)
async def test_a_join_within_sessions_finds_all_pairs(
    left: tuple[list[Event], Cut], right: tuple[list[Event], Cut], gap: int, how: str
) -> None:
    """The sessions are those of both sides together."""
    seen: list[Any] = []
    spec = oracle.Spec("session", gap)
    await run(left[1], keyed(left).join(keyed(right), assigner(spec), how=how).to(seen.append))
    tagged = [
        (*event[:2], (side, event)) for side, events in enumerate((left[0], right[0])) for event in events
    ]
    rows = [oracle.Row(event, event[0], oracle.BEGINNING) for event in tagged]
    wanted: list[Any] = []
    for session in oracle.windows(rows, spec).results:
        one, two = ([event[2][1] for event in session.events if event[2][0] == side] for side in (0, 1))
        two = two or [None] * (how != "inner")
        one = one or [None] * (how == "outer")
        wanted += [(session.window, a, b) for a in one for b in two]
    assert multiset([(tuple(pair.window), *pair.value) for pair in seen]) == multiset(wanted)


@examples()
@given(left=sides, right=sides, how=st.sampled_from(["inner", "left"]))
async def test_a_join_with_a_table_finds_its_newest_version_as_of_then(
    left: tuple[list[Event], Cut], right: tuple[list[Event], Cut], how: str
) -> None:
    numbers = count()
    # Which of two versions of one moment is the newest, only their order says: every value is another.
    versions = [(time, key, 1000 + next(numbers)) for time, key, _ in right[0]]
    seen: list[Any] = []
    table = timed(versions, right[1], BOUND).key_by(key_of)
    done = await run(left[1], keyed(left).join_table(table, how=how).to(seen.append))
    wanted = oracle.table_join(oracle.rows(left[0], BOUND), oracle.rows(versions, BOUND), how, key_of)
    assert multiset([(pair.left, pair.right) for pair in seen]) == multiset(wanted)
    assert [pair.time for pair in seen] == [time_of(pair.left) for pair in seen]
    assert late_of(done) == 0


async def test_without_event_times_a_table_gives_what_it_has_so_far() -> None:
    left = Stream([("a", 1), ("b", 2)]).key_by(itemgetter(0))
    table = Stream(list[tuple[str, int]]()).key_by(itemgetter(0))
    seen: list[Any] = []
    await run(Cut(), left.join_table(table, how="left").to(seen.append))
    assert [(pair.left, pair.right) for pair in seen] == [(("a", 1), None), (("b", 2), None)]
    inner: list[Any] = []
    await run(Cut(), left.join_table(table).to(inner.append))
    assert inner == []


async def test_a_join_drops_what_can_match_no_more() -> None:
    """Of 3,000 events on each side only those within reach of the watermark are held."""
    events = [(n, n % 3, 0) for n in range(3_000)]
    held: list[int] = []
    one, two = (timed(events, Cut(), 0).key_by(key_of) for _ in range(2))
    joined = one.join(two, Interval(us(3), us(3)))
    pipeline = Pipeline("join", joined.to(lambda pair: held.append(open_of(running))), capacity=16, chunk=16)
    async with pipeline.start() as running:
        await running.wait()
    assert 0 < max(held) < 200
    assert open_of(running) == 0
