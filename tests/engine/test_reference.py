"""The reference interpreter says what the documentation says: each line here was worked out by hand."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio.lowlevel
import pytest

from reactor import (
    DeadLetters,
    Fail,
    Fallback,
    Inlet,
    OnError,
    Pipeline,
    RateLimit,
    Record,
    Retry,
    Skip,
    Source,
    Stream,
)
from reactor.testing import Arrived, Outcome, Undetermined, interpret

N = Stream(range(6))  # 0 1 2 3 4 5
LIMIT = RateLimit(1)


async def double(n: int) -> int:
    return 2 * n


async def waiting(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * n


def add(a: int, b: int) -> int:
    return a + b


def odd(n: int) -> bool:
    return n % 2 == 1


def no_three(n: int) -> int:
    if n == 3:
        raise ValueError(n)
    return n


def broken_items(n: int) -> Iterator[int]:
    yield n
    no_three(n)
    yield n


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (N.map(str), ["0", "1", "2", "3", "4", "5"]),
        (N.filter(odd), [1, 3, 5]),
        (N.flat_map(lambda n: range(n % 3)), [0, 0, 1, 0, 0, 1]),
        (N.map(lambda n: (n, 10)).starmap(add), [10, 11, 12, 13, 14, 15]),
        (N.tap(str), [0, 1, 2, 3, 4, 5]),
        (Stream([1, "a", 2.0]).of_type(int, str), [1, "a"]),
        (N.scan(add, 10), [10, 11, 13, 16, 20, 25]),
        (N.take(2), [0, 1]),
        (N.take(0), []),
        (N.take(9), [0, 1, 2, 3, 4, 5]),
        (N.take_while(lambda n: n != 2), [0, 1]),
        (N.skip(4), [4, 5]),
        (N.skip_while(lambda n: n % 4 != 3), [3, 4, 5]),
        (Stream([1, 2, 1, 3, 1]).distinct(), [1, 2, 3]),
        (Stream([1, 2, 1, 3, 1]).distinct(last=2), [1, 2, 3, 1]),
        (N.distinct(lambda n: n % 2), [0, 1]),
        (Stream("ab" for _ in [0]).enumerate(7), [(7, "ab")]),
        (Stream([1, 2, 3]).pairwise(), [(1, 2), (2, 3)]),
        (N.batch(4), [[0, 1, 2, 3], [4, 5]]),
        (N.batch(max_weight=5, weight=lambda n: n), [[0, 1, 2], [3], [4], [5]]),
        (N.batch(2, max_weight=5, weight=lambda n: n), [[0, 1], [2, 3], [4], [5]]),
        (N.batch(4, max_wait=1), [[0, 1, 2, 3], [4, 5]]),
        (N.buffer(1), [0, 1, 2, 3, 4, 5]),
        (N.rate_limit(LIMIT), [0, 1, 2, 3, 4, 5]),
        (N.concat(Stream([7])), [0, 1, 2, 3, 4, 5, 7]),
        (N.zip(Stream("abc" for _ in range(2))), [(0, "abc"), (1, "abc")]),
        (N.key_by(odd).reduce(add), [(False, 0), (True, 1), (False, 2), (True, 4), (False, 6), (True, 9)]),
        (Stream([1, 2]).key_by(odd).scan(add, 10), [(True, 11), (False, 12)]),
        (N.map(double), [0, 2, 4, 6, 8, 10]),
        (N.map(double, concurrency=3), [0, 2, 4, 6, 8, 10]),
        (Stream(lambda: iter([1])), [1]),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, Stream) else "",
)
def test_what_each_operator_emits(stream: Stream[Any], events: list[Any]) -> None:
    outcome = interpret(stream)
    assert outcome.events == events
    assert (outcome.fails, outcome.failures, outcome.letters, outcome.skipped) == (False, (), (), {})


def lanes(stream: Stream[Any]) -> list[list[Any]]:
    (end,) = interpret(stream).ends
    return [list(lane) for lane in end.lanes]


def test_a_merge_keeps_the_order_of_each_input() -> None:
    assert lanes(N.take(2).merge(Stream([7, 8]))) == [[0, 1], [7, 8]]


def test_a_pool_keeps_the_order_that_it_was_asked_to() -> None:
    assert lanes(Stream([1, 2]).map(double, concurrency=2, ordered=False)) == [[2], [4]]
    assert lanes(N.map(double, concurrency=2, key=odd)) == [[0, 4, 8], [2, 6, 10]]


def test_a_limit_with_a_key_keeps_the_order_within_each_key() -> None:
    assert lanes(N.rate_limit(LIMIT, key=odd)) == [[0, 2, 4], [1, 3, 5]]


def test_a_key_or_a_cost_that_fails_ends_the_stream() -> None:
    assert interpret(N.rate_limit(LIMIT, key=no_three)).fails
    outcome = interpret(N.rate_limit(LIMIT, cost=no_three))
    assert (outcome.events, outcome.fails) == ([0, 1, 2], True)


def test_what_minds_the_order_behind_what_does_not_keep_it_has_no_determined_result() -> None:
    with pytest.raises(Undetermined, match="take"):
        interpret(N.merge(Stream([7])).take(1))
    with pytest.raises(Undetermined, match="buffer"):
        interpret(N.buffer(1, "drop_oldest"))


def test_each_part_of_a_split_arrives_at_its_own_end() -> None:
    yes, no = N.split(odd)
    routes = N.route(lambda n: "abc"[n % 3], "a", "b")
    ints, rest = Stream([1, "x"]).split_by_type(int, object)
    streams = (yes, no, routes["a"], routes["b"], routes.other, ints, rest)
    outcome = interpret(Pipeline("parts", *(stream.discard() for stream in streams)))
    assert [end.events for end in outcome.ends] == [[1, 3, 5], [0, 2, 4], [0, 3], [1, 4], [2, 5], [1], ["x"]]


OPERATORS: list[Callable[[OnError], Stream[Any]]] = [
    lambda policy: N.map(no_three, on_error=policy),
    lambda policy: N.map(no_three, retry=Retry(1), on_error=policy),
    lambda policy: N.tap(no_three, on_error=policy),
    lambda policy: N.filter(lambda n: no_three(n) >= 0, on_error=policy),
    lambda policy: N.flat_map(lambda n: [no_three(n)], on_error=policy),
    lambda policy: N.map(lambda n: (n,)).starmap(no_three, on_error=policy),
    lambda policy: N.distinct(no_three, on_error=policy),
]


@pytest.mark.parametrize("make", OPERATORS)
def test_what_is_skipped_goes_no_further(make: Callable[[OnError], Stream[Any]]) -> None:
    outcome = interpret(make(Skip()))
    assert outcome.events == [0, 1, 2, 4, 5]
    assert list(outcome.skipped.values()) == [1]


@pytest.mark.parametrize("make", OPERATORS)
def test_what_is_buried_is_among_the_dead_letters(make: Callable[[OnError], Stream[Any]]) -> None:
    end = make(DeadLetters()).discard()
    outcome = interpret(Pipeline("buried", end, dead_letters=print))
    assert outcome.ends[0].events == [0, 1, 2, 4, 5]
    (letter,) = outcome.letters
    assert letter.event in (3, (3,))
    assert (str(letter.exception), letter.attempts, letter.certain) == ("3", 1, True)


@pytest.mark.parametrize("make", OPERATORS)
def test_what_fails_ends_the_stream(make: Callable[[OnError], Stream[Any]]) -> None:
    outcome = interpret(make(Fail()))
    assert outcome.events == [0, 1, 2]
    assert outcome.fails
    assert [str(failure.exception) for failure in outcome.failures] == ["3"]


def test_a_fallback_gives_the_result_instead() -> None:
    assert interpret(N.map(no_three, on_error=Fallback(lambda n: n + 30))).events == [0, 1, 2, 33, 4, 5]
    items = N.flat_map(broken_items, on_error=Fallback(lambda n: [30, 31]))
    assert interpret(items).events == [0, 0, 1, 1, 2, 2, 3, 30, 31, 4, 4, 5, 5]
    again = interpret(N.map(no_three, on_error=Fallback(no_three)))
    assert (again.events, again.fails) == ([0, 1, 2], True)


def test_a_retry_calls_again() -> None:
    calls: list[int] = []

    def flaky(n: int) -> int:
        calls.append(n)
        if len(calls) < 3:
            raise ValueError(n)
        return n

    assert interpret(Stream([5]).map(flaky, retry=Retry(3))).events == [5]
    assert calls == [5, 5, 5]


def test_failures_beyond_what_a_take_wants_may_happen_or_not() -> None:
    outcome = interpret(N.map(no_three).take(2))
    assert (outcome.events, outcome.fails, len(outcome.failures)) == ([0, 1], False, 1)
    buried = N.map(no_three, on_error=DeadLetters()).take(2).discard()
    (letter,) = interpret(Pipeline("buried", buried, dead_letters=print)).letters
    assert not letter.certain


def test_a_failed_batch_is_not_emitted() -> None:
    outcome = interpret(N.map(no_three).batch(2))
    assert (outcome.events, outcome.fails) == ([[0, 1]], True)


class Numbers(Source[int]):
    """Two records, read without waiting."""

    left = 2

    async def read(self, limit: int) -> list[Record[int]] | None:
        self.left -= 1
        return [Record(self.left)] if self.left >= 0 else None


async def later() -> AsyncIterator[int]:
    yield 1
    yield 2


def test_sources_that_do_not_wait_are_read() -> None:
    assert interpret(Stream(Numbers())).events == [1, 0]
    assert interpret(Stream(later)).events == [1, 2]


def test_what_waits_needs_a_stand_in() -> None:
    inlet: Inlet[int] = Inlet()
    stream = Stream(inlet).map(waiting)
    with pytest.raises(Undetermined, match="stand-in"):
        interpret(stream)
    with pytest.raises(Undetermined, match="waits"):
        interpret(stream, {inlet: [1, 2]})
    assert interpret(stream, {inlet: [1, 2], waiting: lambda n: 2 * n}).events == [2, 4]


def test_a_source_that_breaks_fails_the_stream() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    outcome = interpret(Stream(breaking))
    assert (outcome.events, outcome.fails) == ([1], True)
    assert str(outcome.failures[0].exception) == "gone"


def test_sinks_are_called_only_where_something_stands_in_for_them() -> None:
    def sink(n: int) -> None:
        raise AssertionError

    pipeline = Pipeline("sinks", N.to(sink))
    assert interpret(pipeline).events == [0, 1, 2, 3, 4, 5]
    refused = interpret(pipeline, {sink: no_three})
    assert (refused.events, refused.fails) == ([0, 1, 2], True)


# Lanes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "matches", "begins"),
    [
        ([1, 2, 7, 8], True, True),
        ([7, 1, 8, 2], True, True),
        ([7, 1], False, True),
        ([], False, True),
        ([2, 1, 7, 8], False, False),
        ([1, 2, 7, 8, 8], False, False),
        ([1, 1], False, False),
    ],
)
def test_lanes_interleave_and_keep_their_order(seen: list[int], matches: bool, begins: bool) -> None:
    arrived = Arrived(((1, 2), (7, 8)))
    assert (arrived.matches(seen), arrived.begins(seen)) == (matches, begins)


def test_lanes_with_the_same_events_are_told_apart_as_late_as_possible() -> None:
    arrived = Arrived(((1, 2, 3), (1, 3, 2), ([1],)))
    assert arrived.matches([1, 3, 1, 2, 2, [1], 3])
    assert arrived.matches([1, 1, 3, 2, 2, 3, [1]])
    assert not arrived.matches([1, 1, 3, 3, 2, 2, [1]])


def test_an_outcome_with_one_end_tells_its_events() -> None:
    outcome = Outcome((Arrived(((1,), (2,))),), (), {}, (), False)
    assert outcome.events == [1, 2]
