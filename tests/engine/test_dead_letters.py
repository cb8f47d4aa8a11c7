"""Dead letters: where they go, what they keep, and what happens when they can't be put away."""

import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import DeadLetter, DeadLetters, Pipeline, Record, Retry, StoredLetter, Stream, topic
from reactor.core import clock
from reactor.testing import run_virtual
from reactor.testing.clock import Loop
from tests.engine.scripted import Log, Probe
from tests.operators.table import plus_one

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What the functions here fail with."""


def fails(event: Any) -> Any:
    raise Broken("no way")


async def fails_later(event: Any) -> Any:
    await checkpoint()
    raise Broken("no way")


async def letters_of(stream: Stream[Any], **how: Any) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    await Pipeline("shop", stream.discard(), dead_letters=letters.append, **how).run()
    return letters


async def test_a_sync_function_an_async_function_and_a_sink_take_letters() -> None:
    seen: list[Any] = []

    async def later(letter: DeadLetter) -> None:
        await checkpoint()
        seen.append(letter.event)

    probe = Probe[DeadLetter]()
    for target in (lambda letter: seen.append(letter.event), later, probe):
        await Pipeline(
            "p", Stream([1, 2]).map(fails, on_error=DeadLetters()).discard(), dead_letters=target
        ).run()
    assert seen == [1, 2, 1, 2]
    assert [letter.event for letter in probe.stored] == [1, 2]


async def test_the_origin_is_the_record_that_the_source_read() -> None:
    stream = Stream(Log([10, 20])).map(lambda n: n + 1).map(fails, on_error=DeadLetters(), name="charge")
    first, second = await letters_of(stream)
    assert (first.event, second.event) == (11, 21)
    assert first.origin == Record(10, position=0, topic="log", raw=b"10")
    assert second.origin.position == 1
    assert first.operator == "charge"
    assert first.pipeline == "shop"


WAYS = {
    "filter": lambda s: s.filter(lambda n: n != 10),
    "buffer": lambda s: s.buffer(1),
    "async map": lambda s: s.map(plus_one, concurrency=3).map(lambda n: n - 1),
    "unordered": lambda s: s.map(plus_one, concurrency=3, ordered=False).map(lambda n: n - 1),
    "merge": lambda s: s.merge(Stream([])),
    "flat_map": lambda s: s.flat_map(lambda n: [n]),
    "async flat_map": lambda s: s.flat_map(wrapped),
    "split": lambda s: (lambda parts: parts[0].merge(parts[1]))(s.split(lambda n: n > 15)),
    "scan": lambda s: s.scan(lambda state, n: n, 0, volatile=True),
    "concat": lambda s: Stream([]).concat(s),
}


async def wrapped(n: int) -> list[int]:
    await checkpoint()
    return [n]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fn", [fails, fails_later])
async def test_the_origin_survives_the_way(way: str, fn: Any) -> None:
    letters = await letters_of(WAYS[way](Stream(Log([10, 20, 30]))).map(fn, on_error=DeadLetters()))
    assert {letter.event: letter.origin.value for letter in letters} in (
        {10: 10, 20: 20, 30: 30},
        {20: 20, 30: 30},
    )


async def test_the_origins_of_a_batch_are_those_of_all_its_events() -> None:
    for stream in (Stream(Log([1, 2, 3])).batch(2), Stream(Log([1, 2, 3])).batch(2, max_wait=60)):
        first, second = await letters_of(stream.map(fails, on_error=DeadLetters()))
        assert [record.value for record in first.origin] == [1, 2]
        assert [record.value for record in second.origin] == [3]


async def test_the_origins_of_a_zip_are_those_of_both() -> None:
    left, right = Stream(Log([1], name="left")), Stream(Log([2], name="right"))
    stream = left.zip(right, volatile=True)
    (letter,) = await letters_of(stream.map(fails, on_error=DeadLetters()))
    assert [record.topic for record in letter.origin] == ["left", "right"]


async def test_the_origin_of_a_plain_source_is_the_value() -> None:
    (letter,) = await letters_of(Stream([5]).map(str).map(fails, on_error=DeadLetters()))
    assert letter.event == "5"
    assert letter.origin == 5


async def test_attempts_error_time_and_traceback() -> None:
    before = clock.now()
    stream = Stream([5]).map(fails_later, retry=Retry(3, initial=0), on_error=DeadLetters())
    (letter,) = await letters_of(stream)
    assert letter.attempts == 3
    assert letter.error == "Broken: no way"
    assert before <= letter.time <= clock.now()
    assert "fails_later" in "".join(traceback.format_exception(letter.exception))
    assert "fails_later" in letter.stored().traceback


FAILING: dict[str, tuple[Callable[[Stream[Any]], Stream[Any]], list[int]]] = {
    "at an event": (lambda s: s.map(fails, on_error=DeadLetters()), [1, 2, 3]),
    "at an event, in a call": (lambda s: s.map(fails_later, on_error=DeadLetters()), [1, 2, 3]),
    "at a batch, and as the input ends": (
        lambda s: s.flat_map(lambda n: [n] * 3).batch(2).map(fails, on_error=DeadLetters()),
        [1, 2, 2, 3, 4],
    ),
}


@pytest.mark.parametrize("way", FAILING)
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_time_is_that_of_the_clock_of_the_run(way: str, loop: Loop) -> None:
    failing, minutes = FAILING[way]

    async def each_minute() -> AsyncIterator[int]:
        for n in range(3):
            await anyio.sleep(60)
            yield n
        await anyio.sleep(60)

    async def main() -> list[float]:
        began = clock.now()
        letters = await letters_of(failing(Stream(each_minute)))
        return [(letter.time - began) / 60_000_000 for letter in letters]

    assert run_virtual(main, loop=loop) == (minutes, 240)


async def test_the_id_is_the_same_for_the_same_record_and_operator() -> None:
    stream = Stream(Log([10, 20])).map(fails, on_error=DeadLetters())
    first = await letters_of(stream)
    again = await letters_of(Stream(Log([10, 20])).map(fails, on_error=DeadLetters()))
    assert [letter.id for letter in first] == [letter.id for letter in again]
    assert first[0].id != first[1].id
    other = await letters_of(Stream(Log([10, 20])).map(fails, on_error=DeadLetters(), name="other"))
    assert other[0].id != first[0].id


async def test_the_id_of_a_batch_is_the_same_for_the_same_records() -> None:
    first = await letters_of(Stream(Log([1, 2, 3])).batch(2).map(fails, on_error=DeadLetters()))
    again = await letters_of(Stream(Log([1, 2, 3])).batch(2).map(fails, on_error=DeadLetters()))
    assert [letter.id for letter in first] == [letter.id for letter in again]
    assert first[0].id != first[1].id


async def test_two_letters_of_one_record_have_two_ids() -> None:
    """A record that became several events, each of which fails."""
    stream = Stream(Log([10])).flat_map(lambda n: [n, n + 1]).map(fails, on_error=DeadLetters())
    first, second = await letters_of(stream)
    assert first.id != second.id


async def test_in_a_topic_they_are_read_back_as_stored_letters() -> None:
    dead = topic("memory:dead-letters-of-the-shop", StoredLetter)
    stream = Stream(Log([10, 20])).map(fails, on_error=DeadLetters(), name="charge")
    await Pipeline("shop", stream.discard(), dead_letters=dead).run()
    first, second = await dead.read().collect()
    assert first.pipeline == "shop"
    assert first.operator == "charge"
    assert first.event == 10
    assert first.error == "Broken: no way"
    assert (first.topic, first.position, first.raw) == ("log", 0, b"10")
    assert second.position == 1
    # The same failures again change nothing: their ids are stored already.
    again = Stream(Log([10, 20])).map(fails, on_error=DeadLetters(), name="charge")
    await Pipeline("shop", again.discard(), dead_letters=dead).run()
    assert len(await dead.read().collect()) == 2


async def test_events_that_json_cannot_say_are_stored_by_their_repr() -> None:
    event = object()
    (letter,) = await letters_of(Stream([event]).map(fails, on_error=DeadLetters()))
    assert letter.stored().event == repr(event)


async def test_events_whose_repr_fails_can_be_stored_too() -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise ValueError("no repr")

    (letter,) = await letters_of(Stream([Unshowable()]).map(fails, on_error=DeadLetters()))
    assert "Unshowable" in letter.stored().event


async def test_a_function_for_letters_that_fails_fails_the_run() -> None:
    def full(letter: DeadLetter) -> None:
        raise OSError("no space")

    async def full_later(letter: DeadLetter) -> None:
        raise OSError("no space")

    for target in (full, full_later):
        for fn in (fails, fails_later):
            with pytest.raises(OSError, match="no space"):
                stream = Stream([1]).map(fn, on_error=DeadLetters())
                await Pipeline("p", stream.discard(), dead_letters=target).run()


async def test_letters_are_written_one_write_at_a_time_from_all_stages() -> None:
    inside = 0

    async def write(events: Sequence[DeadLetter]) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await checkpoint()
        inside -= 1

    probe = Probe[DeadLetter](on_write=write)
    shared = Stream(range(50))
    branches = [shared.map(fails, on_error=DeadLetters(), name=f"b{n}").discard() for n in range(4)]
    await Pipeline("p", *branches, dead_letters=probe, chunk=5).run()
    assert len(probe.stored) == 200


async def test_a_sync_function_that_returns_an_awaitable_is_refused_as_a_target() -> None:
    async def later(letter: DeadLetter) -> None:
        await checkpoint()

    with pytest.raises((ValueError, TypeError), match="awaitable"):
        await letters_of_target(lambda letter: later(letter))


async def letters_of_target(target: Any) -> None:
    await Pipeline("p", Stream([1]).map(fails, on_error=DeadLetters()).discard(), dead_letters=target).run()


async def test_an_object_with_an_async_call_is_a_target() -> None:
    class Graveyard:
        def __init__(self) -> None:
            self.events: list[Any] = []

        async def __call__(self, letter: DeadLetter) -> None:
            await checkpoint()
            self.events.append(letter.event)

    graveyard = Graveyard()
    await letters_of_target(graveyard)
    assert graveyard.events == [1]
