"""A sink that names the events that it can't take: only those are given up, nothing is written needlessly."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reactor import (
    ArgumentError,
    DeadLetter,
    DeadLetters,
    Fallback,
    Pipeline,
    Refused,
    Retry,
    Sink,
    Skip,
    Stream,
    files,
    topic,
)

pytestmark = pytest.mark.anyio

NOW = Retry(3, initial=0, jitter=0)


class Odd(Exception):
    """What is wrong with an event."""


class Busy(Exception):
    """What is no fault of the event."""


class Strict(Sink[int]):
    """Takes even numbers only, and says which were odd."""

    name = "strict"

    def __init__(self, *, at_most: int = 1000, rest_stored: bool = False) -> None:
        self.at_most = at_most
        self.rest_stored = rest_stored
        self.writes: list[list[int]] = []
        self.events: list[int] = []

    async def write(self, events: Sequence[int]) -> None:
        self.writes.append(list(events))
        odd = [at for at, event in enumerate(events) if event % 2][: self.at_most]
        if odd:
            if self.rest_stored:
                self.events += [event for event in events if event % 2 == 0]
            raise Refused({at: Odd(events[at]) for at in odd}, rest_stored=self.rest_stored)
        self.events += events


async def written(sink: Sink[Any], events: Sequence[Any], **how: Any) -> list[tuple[Any, str, int]]:
    """Run it; what went to the dead letters: event, error and attempts."""
    letters: list[DeadLetter] = []
    ending = Stream(events).to(sink, on_error=DeadLetters(), **how)
    await Pipeline("p", ending, dead_letters=letters.append).run()
    return [(letter.event, letter.error, letter.attempts) for letter in letters]


async def test_only_the_named_events_are_given_up_and_the_others_written_once_more() -> None:
    sink = Strict()
    assert await written(sink, range(6)) == [(1, "Odd: 1", 1), (3, "Odd: 3", 1), (5, "Odd: 5", 1)]
    assert sink.writes == [[0, 1, 2, 3, 4, 5], [0, 2, 4]]
    assert sink.events == [0, 2, 4]


async def test_what_is_stored_already_is_not_written_again() -> None:
    sink = Strict(rest_stored=True)
    assert len(await written(sink, range(6))) == 3
    assert sink.writes == [[0, 1, 2, 3, 4, 5]]
    assert sink.events == [0, 2, 4]


async def test_a_sink_that_names_one_at_a_time_is_asked_until_all_are_named() -> None:
    sink = Strict(at_most=1)
    assert len(await written(sink, range(3000))) == 1500
    assert sink.events == list(range(0, 3000, 2))


async def test_where_all_are_named_nothing_is_written_again() -> None:
    sink = Strict()
    assert len(await written(sink, [1, 3])) == 2
    assert sink.writes == [[1, 3]]


async def test_retries_are_asked_about_each_error_and_concern_only_its_event() -> None:
    writes: list[list[int]] = []

    class Throttled(Sink[int]):
        async def write(self, events: Sequence[int]) -> None:
            writes.append(list(events))
            found: dict[int, Exception] = {}
            for at, event in enumerate(events):
                if event in (2, 4) and (event == 4 or len(writes) < 2):
                    found[at] = Busy(event)
                elif event == 1:
                    found[at] = Odd(event)
            if found:
                raise Refused(found, rest_stored=True)

    retry = Retry(3, initial=0, jitter=0, on=Busy)
    letters = await written(Throttled(), range(6), retry=retry)
    assert writes == [[0, 1, 2, 3, 4, 5], [2, 4], [4]]
    assert letters == [(1, "Odd: 1", 1), (4, "Busy: 4", 3)]


async def test_a_retry_of_what_was_not_stored_has_the_others_with_it() -> None:
    writes: list[list[int]] = []

    class Once(Sink[int]):
        async def write(self, events: Sequence[int]) -> None:
            writes.append(list(events))
            if len(writes) == 1:
                raise Refused(1, Busy())

    assert await written(Once(), range(3), retry=NOW) == []
    assert writes == [[0, 1, 2], [0, 1, 2]]


async def test_other_policies_apply_to_the_named_events() -> None:
    sink = Strict()
    run = await Pipeline("p", Stream(range(4)).to(sink, on_error=Skip())).run()
    assert run.metrics()["to(strict)"].dropped == {"to(strict): skipped": 2}
    instead: list[int] = []
    await Pipeline("p", Stream(range(4)).to(Strict(), on_error=Fallback(instead.append))).run()
    assert instead == [1, 3]


async def test_without_a_policy_the_run_fails_with_the_error_of_the_event() -> None:
    with pytest.raises(Odd, match="1") as failure:
        await Pipeline("p", Stream(range(4)).to(Strict())).run()
    assert failure.value.__notes__ == ["in pipeline 'p', operator to(strict), event 1"]


@pytest.mark.parametrize("at", [4, -1])
async def test_an_index_that_the_write_does_not_have_is_the_sinks_failure(at: int) -> None:
    class Wrong(Sink[int]):
        async def write(self, events: Sequence[int]) -> None:
            raise Refused(at, Odd())

    with pytest.raises(ArgumentError, match=f"Refused names event {at} of a write of 4"):
        await Pipeline("p", Stream(range(4)).to(Wrong(), on_error=Skip())).run()


async def test_one_error_may_be_for_several() -> None:
    error = Odd("all of them")
    refused = Refused([2, 1], error)
    assert refused.errors == {1: error, 2: error}
    assert str(refused) == "event 1 of the write and 1 more: all of them"
    assert (Refused(3, error).errors, refused.__cause__) == ({3: error}, error)


async def test_it_names_something() -> None:
    with pytest.raises(ArgumentError, match="names no event"):
        Refused({})
    with pytest.raises(ArgumentError, match="pass error="):
        Refused(1)


# The sinks of reactor ---------------------------------------------------------------------------------------


class Order(msgspec.Struct):
    id: int


async def test_a_topic_names_what_it_does_not_take(tmp_path: Path) -> None:
    orders = topic(f"sqlite:{tmp_path}/shop.db/orders", Order)
    given: list[Any] = [Order(1), "a", Order(2), "b", Order(3)]
    writes = 0
    sink = orders.sink()
    write = sink.write

    async def counted(events: Sequence[Any]) -> None:
        nonlocal writes
        writes += 1
        await write(events)

    sink.write = counted  # type: ignore[method-assign]
    letters = await written(sink, given)
    assert [(event, error) for event, error, _ in letters] == [
        ("a", "ArgumentError: topic orders takes Order, not str"),
        ("b", "ArgumentError: topic orders takes Order, not str"),
    ]
    assert [record.value async for record in orders.records()] == [Order(1), Order(2), Order(3)]
    assert writes == 2


async def test_a_file_names_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    letters = await written(files.jsonl_sink(path), [1, 1j, 2, object(), 3])
    assert [type(event).__name__ for event, _, _ in letters] == ["complex", "object"]
    assert path.read_text().split() == ["1", "2", "3"]
