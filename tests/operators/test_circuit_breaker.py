"""A circuit breaker: what is down isn't called, the events wait, and all go on when it works again."""

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import (
    ArgumentError,
    Cancelled,
    CircuitBreaker,
    CircuitOpen,
    DeadLetter,
    DeadLetters,
    DrainTimeout,
    Fallback,
    OperatorTimeout,
    Pipeline,
    Refused,
    Retry,
    Sink,
    Skip,
    Stream,
)
from reactor.testing import run_virtual
from tests.engine.graphs import examples
from tests.engine.scripted import Endless, Log
from tests.operators.timelines import at, by_virtual_clock, every

pytestmark = by_virtual_clock

PERSISTENT = Retry(1000, initial=1, max=1, jitter=0)


class Down(Exception):
    """What a service that is down answers."""


class Service:
    """A function that takes a moment, and is down from one moment to another; notes who called when."""

    def __init__(self, down: tuple[float, float] = (0, 0), takes: float = 0.25) -> None:
        self.down = down
        self.takes = takes
        self.began = anyio.current_time()
        self.calls: list[tuple[float, Any]] = []

    @property
    def now(self) -> float:
        return round(anyio.current_time() - self.began, 6)

    async def __call__(self, event: Any) -> Any:
        self.calls.append((self.now, event))
        down = self.down[0] <= self.now < self.down[1]
        await anyio.sleep(self.takes)
        if down:
            raise Down(f"event {event}")
        return event

    @property
    def moments(self) -> list[float]:
        return [moment for moment, _ in self.calls]


class Shop(Sink[int]):
    """A sink over a service."""

    name = "shop"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.events: list[int] = []

    async def write(self, events: Sequence[int]) -> None:
        await self.service(list(events))
        self.events.extend(events)


# The circuit ------------------------------------------------------------------------------------------------


async def test_failures_in_a_row_open_it_and_after_the_wait_one_call_is_a_probe() -> None:
    service = Service(down=(0, 35))
    stream = Stream([1, 2]).map(service, retry=PERSISTENT, breaker=CircuitBreaker(failures=3, wait=10))
    assert await stream.collect() == [1, 2]
    # A call takes 0.25 s and a retry waits 1 s, so it opens at 2.75; the next probe is 10 s after a failure.
    assert service.moments == [0, 1.25, 2.5, 12.75, 23, 33.25, 43.5, 43.75]


@pytest.mark.parametrize(
    "how", [{}, {"ordered": False}, {"key": lambda n: n % 3}], ids=["order", "as done", "key"]
)
async def test_while_it_is_open_events_wait_and_none_is_lost(how: dict[str, Any]) -> None:
    service = Service(down=(1, 100))
    breaker = CircuitBreaker(failures=2, wait=5)
    stream = Stream(range(50)).map(service, concurrency=4, retry=PERSISTENT, breaker=breaker, **how)
    assert sorted(await stream.collect()) == list(range(50))
    probes = [moment for moment in service.moments if 2 <= moment < 100]
    assert len(probes) == 18  # one each 5.25 s, and not 4 calls each 1.25 s


async def test_the_source_is_not_read_further_than_there_is_room() -> None:
    source, service = Endless(), Service(down=(0, 1000))
    stream = Stream(source).map(service, concurrency=3, retry=PERSISTENT, breaker=CircuitBreaker(2))
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.discard(), capacity=4, chunk=4).start() as run:
            await anyio.sleep(10)
            read = source.read
            assert read <= 3 + 4 + 4 + 4
            await anyio.sleep(500)
            assert source.read == read
            run.cancel()


async def test_a_success_ends_the_row() -> None:
    failing = {1, 2, 4, 5}

    async def call(n: int) -> int:
        await anyio.sleep(0.25)
        if n in failing:
            raise Down
        return n

    began = anyio.current_time()
    stream = Stream(range(8)).map(call, breaker=CircuitBreaker(failures=3), on_error=Skip())
    assert await stream.collect() == [0, 3, 6, 7]
    assert anyio.current_time() - began == pytest.approx(2)


@pytest.mark.parametrize(("apart", "opens"), [(3, True), (6, False)])
async def test_failures_count_that_come_within_the_time(apart: float, opens: bool) -> None:
    service = Service(down=(0, 100), takes=0)
    stream = every(apart, 3).map(service, breaker=CircuitBreaker(3, within=10, wait=1000), on_error=Skip())
    with pytest.raises(Cancelled):
        async with Pipeline("p", stream.discard()).start() as run:
            await anyio.sleep(3 * apart + 1)
            assert run.metrics()["map"].circuit == ("open" if opens else "closed")
            run.cancel()
            if not opens:
                raise Cancelled("it is over by itself")


@pytest.mark.parametrize(
    "on", [ConnectionError, (ConnectionError,), lambda error: isinstance(error, OSError)]
)
async def test_what_does_not_count_is_an_answer(on: Any) -> None:
    errors: list[Exception] = [
        ConnectionError(),
        ValueError(),
        ConnectionError(),
        KeyError(),
        ConnectionError(),
    ]

    async def call(n: int) -> int:
        raise errors[n]

    run = Pipeline(
        "p", Stream(range(5)).map(call, breaker=CircuitBreaker(2, on=on), on_error=Skip()).discard()
    )
    metrics = (await run.run()).metrics()["map"]
    assert (metrics.circuit, metrics.dropped) == ("closed", {"map(call): skipped": 5})


async def test_an_event_that_is_refused_for_itself_closes_it_too() -> None:
    """The service is there again, and says that the event is wrong."""

    async def call(n: int) -> int:
        if anyio.current_time() - began < 15:
            raise ConnectionError
        if n == 0:
            raise ValueError("wrong")
        return n

    began = anyio.current_time()
    breaker = CircuitBreaker(1, wait=10, on=ConnectionError)
    stream = Stream([0, 1]).map(call, breaker=breaker, retry=Retry(9, on=ConnectionError), on_error=Skip())
    assert await stream.collect() == [1]
    assert 20 <= anyio.current_time() - began < 21


async def test_what_was_in_flight_when_it_opened_is_called_again_and_uses_up_no_retry() -> None:
    service = Service(down=(0, 5))
    stream = Stream(range(9)).map(
        service, concurrency=8, breaker=CircuitBreaker(failures=3, wait=10), on_error=Skip()
    )
    assert len(await stream.collect()) == 9 - 2  # two had failed before it opened


async def test_a_probe_that_fails_uses_up_a_retry_so_that_a_bad_event_does_not_block_for_ever() -> None:
    letters: list[DeadLetter] = []

    async def call(n: int) -> int:
        if n == 1:
            raise Down
        return n

    breaker = CircuitBreaker(failures=2, wait=10)
    out: list[int] = []
    stream = Stream(range(4)).map(
        call, breaker=breaker, retry=Retry(3, initial=1, jitter=0), on_error=DeadLetters()
    )
    await Pipeline("p", stream.to(out.append), dead_letters=letters.append).run()
    assert out == [0, 2, 3]
    assert [(letter.event, letter.attempts) for letter in letters] == [
        (1, 4)
    ]  # the one that opened it is free


async def test_all_probes_have_to_succeed() -> None:
    calls: list[tuple[float, int]] = []

    async def call(n: int) -> int:
        calls.append((round(anyio.current_time() - began, 6), n))
        number = len(calls)
        await anyio.sleep(1)
        if number <= 4 or number == 6:
            raise Down
        return n

    began = anyio.current_time()
    breaker = CircuitBreaker(failures=4, wait=10, probes=3)
    stream = Stream(range(4)).map(call, concurrency=4, breaker=breaker, retry=Retry(9, initial=0, jitter=0))
    assert await stream.collect() == [0, 1, 2, 3]
    assert [moment for moment, _ in calls] == [0, 0, 0, 0, 11, 11, 11, 22, 22]


async def test_a_timeout_is_a_failure() -> None:
    calls: list[int] = []

    async def call(n: int) -> int:
        calls.append(n)
        if len(calls) <= 2:
            await anyio.sleep_forever()
        return n

    began = anyio.current_time()
    stream = Stream([7]).map(call, timeout=1, retry=PERSISTENT, breaker=CircuitBreaker(2, wait=50))
    assert await stream.collect() == [7]
    assert anyio.current_time() - began == pytest.approx(1 + 1 + 1 + 50)


async def test_the_time_that_an_event_waits_is_not_in_its_timeout() -> None:
    service = Service(down=(0, 1), takes=0.5)
    breaker = CircuitBreaker(1, wait=timedelta(minutes=1))
    assert await Stream([1]).map(service, timeout=2, retry=PERSISTENT, breaker=breaker).collect() == [1]
    assert service.moments == [0, 60.5]


@examples(0.5)
@given(
    loop=st.sampled_from(["asyncio", "trio"]),
    outages=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=4),
    failures=st.integers(1, 6),
    probes=st.integers(1, 4),
    concurrency=st.integers(1, 6),
    order=st.sampled_from(["input", "done", "key"]),
    chunk=st.integers(1, 9),
)
def test_whatever_outages_there_are_every_event_comes_through_once(
    loop: Any,
    outages: list[tuple[int, int]],
    failures: int,
    probes: int,
    concurrency: int,
    order: str,
    chunk: int,
) -> None:
    done, out = list[int](), list[int]()
    began = 0.0

    async def call(n: int) -> int:
        await anyio.sleep(0.5)
        now = anyio.current_time() - began
        if any(start <= now < start + length for start, length in outages):
            raise Down
        done.append(n)
        return n

    async def main() -> None:
        nonlocal began
        began = anyio.current_time()
        await Pipeline("p", stream.to(out.append), capacity=chunk, chunk=chunk).run()

    how: dict[str, Any] = {"ordered": order != "done"}
    if order == "key":
        how["key"] = lambda n: n % 3
    breaker = CircuitBreaker(failures, wait=7, probes=probes)
    stream = Stream(range(60)).map(call, concurrency=concurrency, retry=PERSISTENT, breaker=breaker, **how)
    run_virtual(main, loop=loop)
    assert sorted(out) == sorted(done) == list(range(60))
    if order == "input":
        assert out == list(range(60))
    for key in range(3):
        if order == "key":
            assert [n for n in out if n % 3 == key] == list(range(key, 60, 3))


# Failing at once --------------------------------------------------------------------------------------------


async def test_when_open_events_may_go_the_way_of_on_error_at_once() -> None:
    service, letters, out = Service(down=(0, 8), takes=0), list[DeadLetter](), list[int]()
    breaker = CircuitBreaker(failures=2, wait=5, when_open="fail")
    stream = every(1, 12).map(service, name="pay", breaker=breaker, on_error=DeadLetters())
    await Pipeline("p", stream.to(out.append), dead_letters=letters.append).run()
    assert [event for _, event in service.calls] == [0, 1, 6, 11]  # at 1, 2, 7 and 12 s
    assert out == [11]
    opened = [letter for letter in letters if isinstance(letter.exception, CircuitOpen)]
    assert [letter.event for letter in opened] == [2, 3, 4, 5, 7, 8, 9, 10]
    assert {letter.attempts for letter in opened} == {0}
    assert opened[0].error.startswith(
        "CircuitOpen: pay: not called, the circuit is open; the last failure: Down"
    )
    assert isinstance(opened[0].exception.__cause__, Down)


async def test_retries_do_not_wait_for_a_circuit_that_fails_at_once() -> None:
    service = Service(down=(0, 100), takes=0)
    breaker = CircuitBreaker(failures=2, wait=500, when_open="fail")
    stream = Stream([1, 2]).map(service, retry=PERSISTENT, breaker=breaker, on_error=Fallback(lambda n: -n))
    assert await stream.collect() == [-1, -2]
    assert service.moments == [0, 1]


# Shared -----------------------------------------------------------------------------------------------------


async def test_operators_that_share_a_breaker_share_its_circuit_in_a_run() -> None:
    breaker = CircuitBreaker(failures=2, wait=100)
    pay, refund = Service(down=(0, 10), takes=0), Service(takes=0)
    paid = Stream([1]).map(pay, name="pay", retry=PERSISTENT, breaker=breaker)
    refunded = at((5, 1)).map(refund, name="refund", retry=PERSISTENT, breaker=breaker)
    async with Pipeline("p", paid.discard(), refunded.discard()).start(drain=500) as run:
        await anyio.sleep(6)
        assert (run.metrics()["pay"].circuit, run.metrics()["refund"].circuit) == ("open", "open")
        assert refund.calls == []
    assert refund.moments == [101]


async def test_each_run_has_a_circuit_of_its_own() -> None:
    breaker = CircuitBreaker(failures=1, wait=1000, when_open="fail")
    service = Service(down=(0, 1), takes=0)
    stream = Stream([1, 2]).map(service, breaker=breaker, on_error=Skip())
    assert await stream.collect() == []
    await anyio.sleep(1)
    assert await stream.collect() == [1, 2]


# Sinks ------------------------------------------------------------------------------------------------------


async def test_a_sink_that_is_down_is_not_written_to_and_positions_wait() -> None:
    service, source = Service(down=(0, 35)), Log(range(10))
    shop = Shop(service)
    ending = Stream(source).to(shop, retry=PERSISTENT, breaker=CircuitBreaker(3, wait=10))
    async with Pipeline("p", ending).start(drain=100) as run:
        await anyio.sleep(30)
        assert run.metrics()["to(shop)"].circuit == "open"
        assert (shop.events, source.committed) == ([], 0)
        await run.wait()
    assert (shop.events, source.committed) == (list(range(10)), 10)
    assert service.moments == [0, 1.25, 2.5, 12.75, 23, 33.25, 43.5]


async def test_a_sink_that_fails_at_once_gives_up_the_whole_write_without_a_call() -> None:
    service, letters = Service(down=(0, 100), takes=0), list[DeadLetter]()
    shop = Shop(service)
    breaker = CircuitBreaker(failures=1, wait=1000, when_open="fail")
    stream = Stream(range(8))
    ending = stream.to(shop, breaker=breaker, on_error=DeadLetters())
    await Pipeline("p", ending, dead_letters=letters.append).run()
    assert len(service.calls) == 1
    assert [letter.event for letter in letters] == list(range(8))
    assert all(isinstance(letter.exception, CircuitOpen) for letter in letters)


class Buffered(Sink[int]):
    """A sink that stores when it is flushed."""

    name = "buffered"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.waiting: list[int] = []
        self.stored: list[int] = []

    async def write(self, events: Sequence[int]) -> None:
        self.waiting.extend(events)

    async def flush(self) -> None:
        if self.waiting:
            await self.service(len(self.waiting))
            self.stored += self.waiting
            self.waiting = []


@pytest.mark.parametrize("when_open", ["wait", "fail"])
async def test_a_flush_waits_in_any_case(when_open: Any) -> None:
    service, source = Service(down=(0, 5)), Log([1, 2, 3])
    sink = Buffered(service)
    breaker = CircuitBreaker(2, wait=10, when_open=when_open)
    await Pipeline("p", Stream(source).to(sink, retry=PERSISTENT, breaker=breaker)).run()
    assert (sink.stored, source.committed) == ([1, 2, 3], 3)
    assert service.moments[:3] == [0, 1.25, 11.5]


async def test_a_flush_that_has_nothing_to_do_closes_nothing() -> None:
    class Noted(Shop):
        flushed = 0

        async def flush(self) -> None:
            self.flushed += 1

    service, source = Service(down=(2, 1000), takes=0), Log([1], follow=True)
    shop = Noted(service)
    ending = Stream(source).to(shop, retry=PERSISTENT, breaker=CircuitBreaker(2, wait=10))
    with pytest.raises(Cancelled):
        async with Pipeline("p", ending, interval=0.5).start() as run:
            await source.until_committed(1)
            await anyio.sleep(3)
            source.append(2)
            await anyio.sleep(50)
            assert run.metrics()["to(shop)"].circuit == "open"
            assert shop.flushed == 1
            run.cancel()
    assert len(service.moments) == 7  # one write, two that failed, a probe each 10 s


async def test_a_flush_that_has_nothing_to_do_does_not_wait() -> None:
    class Idle(Shop):
        async def flush(self) -> None:
            pass

    service, began = Service(down=(0, 10**6), takes=0), anyio.current_time()
    shop = Idle(service)
    await Pipeline("p", Stream([1]).to(shop, breaker=CircuitBreaker(1, wait=1000), on_error=Skip())).run()
    assert service.moments == [0, 1000]  # it opened the circuit, and was given up after it had been the probe
    assert anyio.current_time() - began == pytest.approx(1000)


async def test_events_that_a_sink_names_are_an_answer() -> None:
    writes: list[list[int]] = []

    class Strict(Sink[int]):
        async def write(self, events: Sequence[int]) -> None:
            writes.append(list(events))
            bad = [at for at, event in enumerate(events) if event % 2]
            if bad:
                raise Refused(bad, ValueError("odd"))

    ending = Stream(range(4)).to(Strict(), breaker=CircuitBreaker(1), on_error=Skip())
    run = await Pipeline("p", ending).run()
    assert run.metrics()["to(Strict)"].circuit == "closed"
    assert writes == [[0, 1, 2, 3], [0, 2]]


# The end ----------------------------------------------------------------------------------------------------


def over_map(service: Service) -> Any:
    return (
        Stream(Log(range(9))).map(service, retry=PERSISTENT, breaker=CircuitBreaker(1, wait=1000)).discard()
    )


def over_sink(service: Service) -> Any:
    return Stream(Log(range(9))).to(Shop(service), retry=PERSISTENT, breaker=CircuitBreaker(1, wait=1000))


ends = pytest.mark.parametrize("build", [over_map, over_sink])


@ends
async def test_the_deadline_of_a_drain_holds_while_it_is_open(build: Callable[[Service], Any]) -> None:
    began = anyio.current_time()
    with pytest.raises(DrainTimeout, match="9 events in flight"):
        async with Pipeline("p", build(Service(down=(0, 10**6)))).start(drain=20):
            await anyio.sleep(5)
    assert anyio.current_time() - began == pytest.approx(25)


@ends
async def test_a_drain_waits_until_it_works_again(build: Callable[[Service], Any]) -> None:
    service = Service(down=(0, 10))
    async with Pipeline("p", build(service)).start(drain=2000) as run:
        await anyio.sleep(5)
    assert run.state == "complete"
    assert service.moments[:2] == [0, 1000.25]


@ends
async def test_it_can_be_cancelled_while_it_is_open(build: Callable[[Service], Any]) -> None:
    began = anyio.current_time()
    with pytest.raises(Cancelled):
        async with Pipeline("p", build(Service(down=(0, 10**6)))).start() as run:
            await anyio.sleep(5)
            run.cancel()
    assert anyio.current_time() - began == pytest.approx(5)


# What it tells ----------------------------------------------------------------------------------------------


async def test_opening_and_closing_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reactor")
    service = Service(down=(0, 35))
    breaker = CircuitBreaker(failures=3, wait=10)
    await (
        Stream(range(20)).map(service, name="pay", concurrency=5, retry=PERSISTENT, breaker=breaker).collect()
    )
    first, second = caplog.records
    assert (first.levelname, second.levelname) == ("WARNING", "INFO")
    assert re.fullmatch(
        r"pay: the circuit is open, after 3 failures in a row, the last: Down: Down\('event \d'\); "
        "the next call in 10 s",
        first.getMessage(),
    )
    assert second.getMessage() == "pay: the circuit is closed again, after 41 s"


async def test_the_metrics_tell_the_state() -> None:
    service = Service(down=(0, 9))
    stream = Stream([1]).map(service, name="pay", retry=PERSISTENT, breaker=CircuitBreaker(1, wait=10))
    async with Pipeline("p", stream.map(lambda n: n).discard()).start() as run:
        assert run.metrics()["pay"].circuit == "closed"
        await anyio.sleep(5)
        assert run.metrics()["pay"].circuit == "open"
        await anyio.sleep(5.375)
        assert run.metrics()["pay"].circuit == "half-open"
        await run.wait()
        assert run.metrics()["pay"].circuit == "closed"
        assert run.metrics()["list"].circuit is None


async def test_explain_mentions_it() -> None:
    async def pay(n: int) -> int:
        return n

    breaker = CircuitBreaker(failures=3, wait=10)
    stream = Stream([1]).map(pay, retry=PERSISTENT, breaker=breaker)
    plan = Pipeline("p", stream.to(Shop(Service()), breaker=CircuitBreaker(1))).explain()
    assert "map(pay)                                 holding, circuit breaker: 3 failures, 10 s" in plan
    assert "to(shop)                                 circuit breaker: 1 failure, 30 s" in plan


# Where it goes ----------------------------------------------------------------------------------------------


Build = Callable[[Stream[int], Callable[[int], Awaitable[int]], dict[str, Any]], Stream[Any]]

VERBS: dict[str, Build] = {
    "map": lambda s, fn, how: s.map(fn, **how),
    "map, concurrency": lambda s, fn, how: s.map(fn, concurrency=3, **how),
    "starmap": lambda s, fn, how: s.map(lambda n: (n,)).starmap(fn, **how),
    "filter": lambda s, fn, how: s.filter(fn, **how),
    "tap": lambda s, fn, how: s.tap(fn, **how),
    "flat_map": lambda s, fn, how: s.flat_map(lambda n: listed(fn, n), concurrency=1, **how),
}


async def listed(fn: Callable[[int], Awaitable[int]], n: int) -> list[int]:
    return [await fn(n)]


@pytest.mark.parametrize("verb", VERBS)
async def test_every_operator_that_calls_something_takes_one(verb: str) -> None:
    service = Service(down=(0, 5))
    how = {"retry": PERSISTENT, "breaker": CircuitBreaker(1, wait=20)}
    assert await VERBS[verb](Stream([1, 2, 3]), service, how).collect() == [1, 2, 3]
    assert sorted(service.moments)[-3] == 20.25


@pytest.mark.parametrize("how", [{}, {"threads": 2}], ids=["inline", "threads"])
async def test_sync_functions_take_one(how: dict[str, Any]) -> None:
    began, calls = anyio.current_time(), list[int]()

    def call(n: int) -> int:
        calls.append(n)
        if len(calls) <= 1:
            raise Down
        return n

    stream = Stream([1, 2]).map(call, retry=PERSISTENT, breaker=CircuitBreaker(1, wait=20), **how)
    assert await stream.collect() == [1, 2]
    assert anyio.current_time() - began == pytest.approx(20)


async def test_functions_as_sinks_take_one() -> None:
    service, began = Service(down=(0, 5)), anyio.current_time()
    seen: list[int] = []

    def store(n: int) -> None:
        if anyio.current_time() - began < 5:
            raise Down
        seen.append(n)

    breaker = CircuitBreaker(1, wait=20)
    stream = Stream([1, 2, 3])
    await Pipeline(
        "p",
        stream.to(service, concurrency=2, retry=PERSISTENT, breaker=breaker),
        stream.to(store, retry=PERSISTENT, breaker=CircuitBreaker(1, wait=20)),
    ).run()
    assert sorted({event for _, event in service.calls}) == seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"failures": 0}, "failures=0"),
        ({"failures": True}, "failures=True"),
        ({"probes": 1.5}, "probes=1.5"),
        ({"within": 0}, "within"),
        ({"wait": -1}, "wait"),
        ({"on": BaseException}, "on="),
        ({"on": 5}, "on=5"),
        ({"when_open": "drop"}, 'must be "wait" or "fail"'),
    ],
)
async def test_what_cannot_work_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        CircuitBreaker(**wrong)


async def test_something_else_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(ArgumentError, match=r"map\(breaker=5\): must be a CircuitBreaker"):
        Stream([1]).map(Service(), breaker=wrong)
    with pytest.raises(ArgumentError, match=r"to\(breaker=5\): must be a CircuitBreaker"):
        Stream([1]).to(Shop(Service()), breaker=wrong)


async def test_one_that_could_never_open_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"after 1 failure in a row the run fails, before failures=5"):
        Stream([1]).map(Service(), breaker=CircuitBreaker())
    with pytest.raises(ArgumentError, match="after 4 failures in a row"):
        Stream([1]).to(Shop(Service()), breaker=CircuitBreaker(), retry=Retry(4))
    Stream([1]).map(Service(), breaker=CircuitBreaker(), concurrency=4, retry=Retry(2))
    Stream([1]).map(Service(), breaker=CircuitBreaker(), on_error=Skip())


async def test_an_async_generator_function_takes_none() -> None:
    async def generate(n: int) -> Any:
        yield n

    how: dict[str, Any] = {"breaker": CircuitBreaker(1)}
    with pytest.raises(ArgumentError, match=r"breaker=.*use breaker= around the calls"):
        Stream([1]).flat_map(generate, **how)


async def test_an_on_that_fails_ends_the_run() -> None:
    def on(error: Exception) -> bool:
        raise LookupError("no idea")

    breaker = CircuitBreaker(1, on=on)
    for ending in (
        Stream([1]).map(Service(down=(0, 1)), breaker=breaker, on_error=Skip()).discard(),
        Stream([1]).to(Shop(Service(down=(0, 1))), breaker=breaker, on_error=Skip()),
    ):
        with pytest.raises(LookupError, match="no idea"):
            await Pipeline("p", ending).run()


async def test_a_timeout_of_a_sink_is_a_failure() -> None:
    service = Service(down=(0, 0), takes=10)
    letters: list[DeadLetter] = []
    breaker = CircuitBreaker(1, wait=1000, when_open="fail")
    ending = every(20, 2).to(Shop(service), timeout=1, breaker=breaker, on_error=DeadLetters())
    await Pipeline("p", ending, dead_letters=letters.append).run()
    assert isinstance(letters[0].exception, OperatorTimeout)
    assert isinstance(letters[1].exception, CircuitOpen)
