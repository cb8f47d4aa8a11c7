"""What ``on_error=`` means for process and joins, and what a drain says of windows that it drops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reactor import (
    ArgumentError,
    Context,
    DeadLetters,
    Fallback,
    Interval,
    Pipeline,
    Process,
    Skip,
    Stream,
    Tumbling,
    topic,
)

pytestmark = pytest.mark.anyio

TIMES = [1, 2, 3]


def no_two(number: int) -> int:
    if number == 2:
        raise LookupError("two has no key")
    return 0


def timed(numbers: Any = TIMES) -> Stream[int]:
    return Stream(numbers).event_time(float, unit="s")


class Numbers(Process[int, int, int]):
    def event(self, event: int, context: Context[int]) -> list[int]:
        return [no_two(event) + event]


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda how: timed().key_by(lambda _: 0).process(Numbers, on_error=how), 2),
        (lambda how: timed().key_by(no_two).process(Numbers, on_error=how), 2),
        (lambda how: timed().key_by(no_two).join(timed([2]).key_by(abs), Interval(9, 9), on_error=how), 0),
        (lambda how: timed().key_by(no_two).join(timed().key_by(no_two), Tumbling(9), on_error=how), 4),
        (lambda how: timed().key_by(no_two).join_table(timed([1]).key_by(no_two), on_error=how), 2),
        (lambda how: timed().key_by(lambda n: [n]).join_table(timed().key_by(abs), on_error=how), 0),
    ],
    ids=["event", "key", "interval", "window", "table", "no hash"],
)
async def test_an_event_that_fails_is_skipped_or_buried_and_the_others_go_on(build: Any, count: int) -> None:
    assert len(await build(Skip()).collect()) == count
    letters: list[Any] = []
    seen: list[Any] = []
    pipeline = Pipeline("p", build(DeadLetters()).to(seen.append), dead_letters=letters.append)
    await pipeline.run()
    assert len(seen) == count
    assert letters
    with pytest.raises(ArgumentError, match="nothing can stand in"):
        build(Fallback(lambda _: 0))


async def test_a_drain_counts_the_open_windows_that_it_drops(tmp_path: Path) -> None:
    numbers: Any = topic(f"memory:{tmp_path.name}")  # a name of its own for each loop
    await numbers.publish(*TIMES)
    counted = numbers.subscribe("g").event_time(float, unit="s").window(Tumbling(10), volatile=True).count()
    seen: list[Any] = []
    async with Pipeline("p", counted.to(seen.append), interval=0.01).start() as run:
        while (await numbers.groups()).get("g") != 3:
            await numbers.groups()
    assert seen == []
    dropped = [stage.dropped for stage in run.metrics().stages]
    assert {"window(Tumbling(10)).count(): open at the drain": 1} in dropped
