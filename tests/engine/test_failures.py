"""Errors: the original exception, with a note that names pipeline, operator and event, shortened."""

import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Pipeline, RateLimit, Stream
from tests.engine.scripted import Endless, Log, Probe

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


def breaks(event: Any) -> Any:
    raise Broken("as it is")


async def breaks_later(event: Any) -> Any:
    await checkpoint()
    raise Broken("as it is")


OPERATORS = {
    "map": lambda s: s.map(breaks),
    "map async": lambda s: s.map(breaks_later),
    "map concurrent": lambda s: s.map(breaks_later, concurrency=4),
    "map unordered": lambda s: s.map(breaks_later, concurrency=4, ordered=False),
    "map threads": lambda s: s.map(breaks, threads=2),
    "filter": lambda s: s.filter(breaks),
    "tap": lambda s: s.tap(breaks),
    "flat_map": lambda s: s.flat_map(breaks),
    "scan": lambda s: s.scan(lambda state, n: breaks(n), 0),
    "take_while": lambda s: s.take_while(breaks),
    "skip_while": lambda s: s.skip_while(breaks),
    "distinct": lambda s: s.distinct(breaks),
    "key_by": lambda s: s.key_by(breaks).reduce(max),
    "batch": lambda s: s.batch(max_weight=1, weight=breaks),
    "batch with max_wait": lambda s: s.batch(max_weight=1, weight=breaks, max_wait=60),
    "rate_limit": lambda s: s.rate_limit(RateLimit(1), cost=breaks),
    "rate_limit key": lambda s: s.rate_limit(RateLimit(1), key=breaks),
    "map key": lambda s: s.map(breaks_later, concurrency=2, key=breaks),
}


@pytest.mark.parametrize("where", OPERATORS)
async def test_the_exception_is_the_original_with_one_note(where: str) -> None:
    with pytest.raises(Broken, match="as it is") as failure:
        await Pipeline("shop", OPERATORS[where](Stream([41])).discard()).run()
    (note,) = failure.value.__notes__
    verb = "reduce" if where == "key_by" else where.split()[0]
    assert note.startswith(f"in pipeline 'shop', operator {verb}(")
    assert note.endswith(", event 41")


@pytest.mark.parametrize("where", OPERATORS)
async def test_the_traceback_leads_to_the_users_line(where: str) -> None:
    with pytest.raises(Broken) as failure:
        await OPERATORS[where](Stream([41])).collect()
    text = "".join(traceback.format_exception(failure.value))
    assert 'raise Broken("as it is")' in text


async def test_the_note_has_the_operators_name_if_it_was_given_one() -> None:
    with pytest.raises(Broken) as failure:
        await Stream([1]).map(breaks, name="charge the card").collect()
    assert failure.value.__notes__ == ["in pipeline 'stream', operator charge the card, event 1"]


async def test_of_two_operators_that_are_alike_the_right_one_is_named() -> None:
    def at_2(n: int) -> int:
        if n == 2:
            raise Broken
        return n + 1

    with pytest.raises(Broken) as failure:
        await Stream([1]).map(at_2).map(at_2).map(at_2).collect()
    assert "operator map(at_2)#2, event 2" in failure.value.__notes__[0]


async def test_the_thousandth_event_fails_after_all_before_it() -> None:
    def at_1000(n: int) -> int:
        if n == 1000:
            raise Broken
        return n

    seen: list[int] = []
    with pytest.raises(Broken) as failure:
        await Pipeline("p", Stream(range(5000)).map(at_1000).to(seen.append)).run()
    assert seen == list(range(1000))
    assert "event 1000" in failure.value.__notes__[0]


@pytest.mark.parametrize(
    "event", ["x" * 10_000, list(range(10_000)), dict.fromkeys(range(100), "y" * 50), b"z" * 999]
)
async def test_the_event_is_shown_shortened(event: Any) -> None:
    with pytest.raises(Broken) as failure:
        await Stream([event]).map(breaks).collect()
    shown = failure.value.__notes__[0].partition(", event ")[2]
    assert 10 <= len(shown) <= 200
    assert "..." in shown


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Lines:
    def __repr__(self) -> str:
        return "two\nlines"


class Huge:
    def __repr__(self) -> str:
        return "h" * 1_000_000


@pytest.mark.parametrize("event", [Unshowable(), [Unshowable()], {"a": Unshowable()}, Lines(), Huge()])
@pytest.mark.parametrize("how", ["map", "map async"])
async def test_events_whose_repr_is_of_no_use_can_fail_too(event: Any, how: str) -> None:
    with pytest.raises(Broken, match="as it is") as failure:
        await OPERATORS[how](Stream([event])).collect()
    (note,) = failure.value.__notes__
    assert len(note) < 300
    assert "event " in note
    assert "\n" not in note


async def test_a_cause_stays() -> None:
    def fails(n: int) -> int:
        try:
            return 1 // (n - n)
        except ZeroDivisionError as error:
            raise Broken("wrapped") from error

    for stream in (
        Stream([1]).map(fails),
        Stream([1]).map(fails, threads=1),
        Stream([1]).map(fails).buffer(1),
    ):
        with pytest.raises(Broken) as failure:
            await stream.collect()
        assert isinstance(failure.value.__cause__, ZeroDivisionError)


async def test_the_same_exception_object_raised_twice_has_one_note_per_place() -> None:
    error = Broken("again and again")

    def fails(n: int) -> int:
        raise error

    stream = Stream([1]).map(fails)
    for _ in range(3):
        with pytest.raises(Broken):
            await stream.collect()
    assert len(error.__notes__) == 1


async def test_two_workers_that_fail_at_once_raise_one_error() -> None:
    """The first failure stops the run; what else fails then belongs to it."""
    both = anyio.Event()
    inside = 0

    async def fails(n: int) -> int:
        nonlocal inside
        inside += 1
        if inside == 2:
            both.set()
        await both.wait()
        raise Broken(n)

    with pytest.raises((Broken, ExceptionGroup)) as failure:
        await Stream([1, 2]).map(fails, concurrency=2).collect()
    errors = failure.value.exceptions if isinstance(failure.value, ExceptionGroup) else (failure.value,)
    assert all(isinstance(error, Broken) for error in errors)


async def test_a_source_that_fails_is_named_and_what_came_before_it_counts() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2, 3)
        raise Broken("broken row")

    seen: list[int] = []
    with pytest.raises(Broken, match="broken row") as failure:
        await Pipeline("p", Stream(numbers).to(seen.append)).run()
    assert seen == [1, 2, 3]
    assert failure.value.__notes__ == ["in pipeline 'p', operator numbers"]


async def test_an_async_source_that_fails_is_named() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise Broken("broken row")

    seen: list[int] = []
    with pytest.raises(Broken) as failure:
        await Pipeline("p", Stream(numbers).to(seen.append)).run()
    assert seen == [1]
    assert failure.value.__notes__ == ["in pipeline 'p', operator numbers"]


async def test_a_callable_source_that_fails_is_named() -> None:
    with pytest.raises(Broken) as failure:
        await Stream(lambda: breaks(1)).collect()
    assert "operator lambda:" in failure.value.__notes__[0]


async def test_stop_iteration_in_a_function_does_not_end_the_stream_silently() -> None:
    def stops(n: int) -> int:
        if n == 2:
            raise StopIteration
        return n

    async def stops_later(n: int) -> int:
        return next(iter(()))

    for stream in (Stream([1, 2, 3]).map(stops), Stream([1, 2]).tap(stops).map(str)):
        with pytest.raises((StopIteration, RuntimeError)):
            await stream.collect()
    with pytest.raises((StopIteration, RuntimeError)):
        await Stream([1]).map(stops_later).collect()
    with pytest.raises((StopIteration, RuntimeError)):
        await Stream([1, 2, 3]).map(stops, threads=1).collect()


async def test_generator_exit_in_a_function_is_a_failure() -> None:
    def exits(n: int) -> int:
        raise GeneratorExit

    with pytest.raises(BaseException) as failure:
        await Stream([1]).map(exits).collect()
    assert not isinstance(failure.value, AssertionError)


async def test_an_exception_group_of_a_function_stays_one() -> None:
    def fails(n: int) -> int:
        raise ExceptionGroup("mine", [Broken("a"), LookupError("b")])

    with pytest.raises(ExceptionGroup, match="mine") as failure:
        await Stream([1]).map(fails).collect()
    assert len(failure.value.exceptions) == 2
    assert "operator map(fails), event 1" in failure.value.__notes__[0]


async def test_a_failure_stops_all_stages() -> None:
    numbers, probe = Endless(), Probe[int]()
    stream = Stream(numbers).buffer(10).map(lambda n: breaks(n) if n == 50 else n).buffer(10)
    with pytest.raises(Broken):
        await Pipeline("p", stream.to(probe)).run()
    assert probe.calls[-1] == "close"


async def test_a_failing_flush_names_the_sink() -> None:
    async def flush() -> None:
        raise Broken("flush")

    with pytest.raises(Broken) as failure:
        await Pipeline("p", Stream(Log([1])).to(Probe("shelf", on_flush=flush))).run()
    assert failure.value.__notes__ == ["in pipeline 'p', operator to(shelf)"]


async def test_contextvars_set_by_a_function_are_those_of_the_stage_and_leak_nowhere() -> None:
    import contextvars

    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    var.set("host")
    seen: list[str] = []

    async def look(n: int) -> int:
        seen.append(var.get())
        var.set("inner")
        return n

    await Stream([1, 2]).map(look).collect()
    await Stream([1]).map(lambda n: seen.append(var.get()), threads=1).collect()
    assert seen[0] == "host"
    assert seen[-1] == "host"
    assert var.get() == "host"


async def test_a_function_that_raises_on_the_thousandth_event_has_given_on_the_999_before() -> None:
    seen: list[int] = []

    def check(n: int) -> int:
        if n == 1000:
            raise LookupError("no more")
        return n

    with pytest.raises(LookupError) as failure:
        await Pipeline("p", Stream(range(1, 5000)).map(check).to(seen.append)).run()
    assert seen == list(range(1, 1000))
    assert failure.value.__notes__ == ["in pipeline 'p', operator map(check), event 1000"]
