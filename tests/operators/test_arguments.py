"""Arguments that can't work are refused at once; the message names the call, the argument and the fix."""

import functools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from reactor import (
    ArgumentError,
    Fallback,
    Inlet,
    Keyed,
    Pipeline,
    RateLimit,
    Restart,
    Retry,
    Sink,
    Source,
    Stream,
)
from tests.engine.scripted import Probe
from tests.operators.table import negative, plus_one

numbers: Stream[Any] = Stream([1, 2, 3])


async def generates(n: int) -> AsyncIterator[int]:
    yield n


class AsyncCallable:
    async def __call__(self, n: int) -> int:
        return n


class NoSeek(Source[int]):
    def position(self) -> int:
        return 0


def sync(n: Any) -> Any:
    return n


REFUSED: list[tuple[str, Callable[[], Any], list[str]]] = [
    # streams
    ("str", lambda: Stream("abc"), ["Stream(str)", "wrap it in a list"]),
    ("bytes", lambda: Stream(b"abc"), ["Stream(bytes)", "wrap it in a list"]),
    ("number", lambda: Stream(5), ["Stream(int)", "iterable"]),  # type: ignore[call-overload]
    ("None", lambda: Stream(None), ["Stream(NoneType)", "iterable"]),  # type: ignore[call-overload]
    ("stream of a stream", lambda: Stream(numbers), ["Stream(Stream)", "use it as it is"]),
    ("coroutine function", lambda: Stream(plus_one), ["Stream(", "async generator"]),  # type: ignore[arg-type]
    ("restart=3", lambda: Stream(sync, restart=3), ["Stream(sync, restart=3)", "Restart("]),  # type: ignore[call-overload]
    (
        "restart of a list",
        lambda: Stream([1], restart=Restart()),  # type: ignore[call-overload]
        ["Stream(list, restart=)", "callable"],
    ),
    ("restart of an inlet", lambda: Stream(Inlet[int](), restart=Restart()), ["Stream(inlet, restart=)"]),  # type: ignore[call-overload]
    ("restart without seek", lambda: Stream(NoSeek(), restart=Restart()), ["NoSeek", "seek()"]),
    ("Restart(max=0)", lambda: Restart(max=0), ["Restart(max=0)", ">= 1"]),
    ("Restart(max=None)", lambda: Restart(max=None), ["Restart(max=None)", "whole number"]),  # type: ignore[arg-type]
    ("Restart(initial=-1)", lambda: Restart(initial=-1), ["Restart(initial=-1)", ">= 0"]),
    ("Restart(max_delay=-1)", lambda: Restart(max_delay=-1), ["Restart(max_delay=-1)", ">= 0"]),
    ("Restart(within=0)", lambda: Restart(within=0), ["Restart(within=0)", "> 0"]),
    ("Restart(jitter=2)", lambda: Restart(jitter=2), ["Restart(jitter=2)", "0 to 1"]),
    ("Restart(on='x')", lambda: Restart(on="x"), ["Restart(on='x')", "exception"]),  # type: ignore[arg-type]
    # functions
    ("map 5", lambda: numbers.map(5), ["map(5)", "function"]),  # type: ignore[call-overload]
    ("filter None", lambda: numbers.filter(None), ["filter(None)", "function"]),  # type: ignore[arg-type]
    (
        "map of an async generator function",
        lambda: numbers.map(generates),
        ["generates", "async generator", "through()"],
    ),
    (
        "flat_map of an async generator function in threads",
        lambda: numbers.flat_map(generates, threads=2),
        ["flat_map(generates, threads=)", "concurrency="],
    ),  # type: ignore[call-overload]
    (
        "flat_map of an async generator function by key",
        lambda: numbers.flat_map(generates, key=sync),
        ["flat_map(generates, key=)", "concurrency="],
    ),  # type: ignore[call-overload]
    (
        "flat_map of an async generator function with retry",
        lambda: numbers.flat_map(generates, retry=Retry(3)),
        ["flat_map(generates, retry=)", "inside"],
    ),  # type: ignore[call-overload]
    (
        "flat_map of an async generator function with timeout",
        lambda: numbers.flat_map(generates, timeout=1),
        ["flat_map(generates, timeout=)", "inside"],
    ),  # type: ignore[call-overload]
    (
        "flat_map of no open streams",
        lambda: numbers.flat_map(generates, concurrency=0),
        ["flat_map(concurrency=0)", ">= 1"],
    ),
    ("switch_map 5", lambda: numbers.switch_map(5), ["switch_map(5)", "function"]),  # type: ignore[call-overload]
    (
        "switch_map on_error",
        lambda: numbers.switch_map(generates, on_error="skip"),
        ["switch_map(on_error='skip')"],
    ),  # type: ignore[call-overload]
    ("async scan", lambda: numbers.scan(plus_one, 0), ["scan(plus_one)", "sync"]),  # type: ignore[arg-type]
    ("async key_by", lambda: numbers.key_by(plus_one), ["key_by(plus_one)", "sync"]),
    ("async take_while", lambda: numbers.take_while(plus_one), ["take_while(plus_one)", "sync"]),
    ("async skip_while", lambda: numbers.skip_while(plus_one), ["skip_while(plus_one)", "sync"]),
    ("async distinct", lambda: numbers.distinct(plus_one), ["distinct(plus_one)", "sync"]),
    ("async split", lambda: numbers.split(plus_one), ["split(plus_one)", "sync"]),
    ("async route", lambda: numbers.route(plus_one, "a"), ["route(plus_one)", "sync"]),
    ("async partial", lambda: numbers.key_by(functools.partial(plus_one)), ["key_by(plus_one)", "sync"]),
    ("async object", lambda: numbers.key_by(AsyncCallable()), ["key_by(AsyncCallable)", "sync"]),
    (
        "async key",
        lambda: numbers.map(plus_one, concurrency=2, key=plus_one),
        ["map(key=", "plus_one", "sync"],
    ),
    ("async cost", lambda: numbers.rate_limit(RateLimit(1), cost=plus_one), ["rate_limit(cost=", "sync"]),  # type: ignore[arg-type]
    ("async weight", lambda: numbers.batch(max_weight=1, weight=plus_one), ["batch(weight=", "sync"]),  # type: ignore[arg-type]
    ("async reduce", lambda: numbers.key_by(sync).reduce(plus_one), ["reduce(plus_one)", "sync"]),  # type: ignore[arg-type]
    # concurrency
    ("concurrency=0", lambda: numbers.map(plus_one, concurrency=0), ["map(concurrency=0)", ">= 1"]),
    (
        "concurrency=True",
        lambda: numbers.map(plus_one, concurrency=True),
        ["map(concurrency=True)", "whole number"],
    ),
    ("concurrency=1.5", lambda: numbers.map(plus_one, concurrency=1.5), ["map(concurrency=1.5)"]),  # type: ignore[call-overload]
    ("threads=0", lambda: numbers.map(sync, threads=0), ["map(threads=0)", ">= 1"]),
    ("processes=-1", lambda: numbers.map(sync, processes=-1), ["map(processes=-1)", ">= 1"]),
    (
        "two pools",
        lambda: numbers.map(sync, threads=2, processes=2),
        ["map(", "threads=", "processes=", "only one"],
    ),
    (
        "async in threads",
        lambda: numbers.map(plus_one, threads=2),
        ["map(plus_one, threads=)", "concurrency="],
    ),  # type: ignore[call-overload]
    (
        "key unordered",
        lambda: numbers.map(plus_one, concurrency=2, key=sync, ordered=False),
        ["map(key=, ordered=False)"],
    ),
    ("key without a pool", lambda: numbers.map(sync, key=sync), ["map(sync)", "concurrency="]),
    ("unordered without a pool", lambda: numbers.map(sync, ordered=False), ["map(sync)", "concurrency="]),
    ("unknown word", lambda: numbers.map(sync, concurency=5), ["map(concurency=)", "concurrency"]),  # type: ignore[call-overload]
    # failure
    (
        "timeout of a sync function",
        lambda: numbers.map(sync, timeout=1),
        ["map(sync, timeout=)", "async", "threads="],
    ),
    ("timeout=0", lambda: numbers.map(plus_one, timeout=0), ["map(timeout=0)", "> 0"]),
    ("timeout=-1", lambda: numbers.map(plus_one, timeout=timedelta(seconds=-1)), ["map(timeout=", "> 0"]),
    (
        "timeout as text",
        lambda: numbers.map(plus_one, timeout="5"),
        ["map(timeout='5')", "seconds or a timedelta"],
    ),  # type: ignore[call-overload]
    ("retry=3", lambda: numbers.map(plus_one, retry=3), ["map(retry=3)", "Retry("]),  # type: ignore[call-overload]
    ("Retry(0)", lambda: Retry(0), ["Retry(calls=0)", ">= 1"]),
    ("Retry(jitter=2)", lambda: Retry(jitter=2), ["Retry(jitter=2)", "0 to 1"]),
    ("Retry(initial=-1)", lambda: Retry(initial=-1), ["Retry(initial=-1)", ">= 0"]),
    ("Retry(max=-1)", lambda: Retry(max=-1), ["Retry(max=-1)", ">= 0"]),
    ("Retry(on=5)", lambda: Retry(on=5), ["Retry(on=5)", "exception"]),  # type: ignore[arg-type]
    ("Retry(on=strings)", lambda: Retry(on=("x",)), ["Retry(on=('x',))", "exception"]),  # type: ignore[arg-type]
    ("Fallback(5)", lambda: Fallback(5), ["Fallback(5)", "function"]),  # type: ignore[arg-type]
    ("map on_error", lambda: numbers.map(sync, on_error=ValueError), ["map(on_error=", "Fail(), Skip()"]),  # type: ignore[call-overload]
    (
        "scan on_error",
        lambda: numbers.scan(lambda a, b: a, 0, on_error="skip"),
        ["scan(on_error='skip')", "Fail(), Skip()"],
    ),  # type: ignore[call-overload]
    (
        "take_while on_error",
        lambda: numbers.take_while(sync, on_error="skip"),
        ["take_while(on_error='skip')"],
    ),  # type: ignore[arg-type]
    (
        "skip_while on_error",
        lambda: numbers.skip_while(sync, on_error="skip"),
        ["skip_while(on_error='skip')"],
    ),  # type: ignore[arg-type]
    ("distinct on_error", lambda: numbers.distinct(sync, on_error="skip"), ["distinct(on_error='skip')"]),  # type: ignore[arg-type]
    ("split on_error", lambda: numbers.split(sync, on_error="skip"), ["split(on_error='skip')"]),  # type: ignore[arg-type]
    ("route on_error", lambda: numbers.route(sync, "a", on_error="skip"), ["route(on_error='skip')"]),  # type: ignore[arg-type]
    (
        "reduce on_error",
        lambda: numbers.key_by(sync).reduce(max, on_error="skip"),
        ["reduce(on_error='skip')"],
    ),  # type: ignore[arg-type]
    ("to on_error", lambda: numbers.to(Probe(), on_error="skip"), ["to(on_error='skip')"]),  # type: ignore[call-overload]
    ("to retry", lambda: numbers.to(Probe(), retry=3), ["to(retry=3)", "Retry("]),  # type: ignore[call-overload]
    # state
    ("scan of a list", lambda: numbers.scan(lambda a, b: a, []), ["scan(initial=[])", "factory=list"]),
    ("scan of a dict", lambda: numbers.scan(lambda a, b: a, {}), ["scan(initial={})", "factory=dict"]),
    (
        "keyed scan of a set",
        lambda: numbers.key_by(sync).scan(lambda a, b: a, set()),
        ["scan(initial=set())", "factory=set"],
    ),
    ("scan without a start", lambda: numbers.scan(lambda a, b: a), ["scan()", "initial", "factory="]),  # type: ignore[call-overload]
    (
        "scan with two starts",
        lambda: numbers.scan(lambda a, b: a, 0, factory=int),
        ["scan()", "initial", "factory="],
    ),  # type: ignore[call-overload]
    ("factory=5", lambda: numbers.scan(lambda a, b: a, factory=5), ["scan(factory=5)", "function"]),  # type: ignore[call-overload]
    ("take(-1)", lambda: numbers.take(-1), ["take(count=-1)", ">= 0"]),
    ("take(1.0)", lambda: numbers.take(1.0), ["take(count=1.0)", "whole number"]),  # type: ignore[arg-type]
    ("skip(-1)", lambda: numbers.skip(-1), ["skip(count=-1)", ">= 0"]),
    ("distinct(ttl=0)", lambda: numbers.distinct(ttl=0), ["distinct(ttl=0)", "> 0"]),
    ("distinct(last=0)", lambda: numbers.distinct(last=0), ["distinct(last=0)", ">= 1"]),
    ("enumerate('a')", lambda: numbers.enumerate("a"), ["enumerate(start='a')", "whole number"]),  # type: ignore[arg-type]
    ("of_type()", lambda: numbers.of_type(), ["of_type()", "class"]),  # type: ignore[call-overload]
    ("of_type('int')", lambda: numbers.of_type("int"), ["of_type('int')", "class"]),  # type: ignore[call-overload]
    # waiting
    ("batch()", lambda: numbers.batch(), ["batch()", "max_size="]),
    ("batch(0)", lambda: numbers.batch(0), ["batch(max_size=0)", ">= 1"]),
    ("batch(max_wait only)", lambda: numbers.batch(max_wait=1), ["batch()", "max_size="]),
    ("batch(max_wait=0)", lambda: numbers.batch(2, max_wait=0), ["batch(max_wait=0)", "> 0"]),
    ("batch without weight", lambda: numbers.batch(max_weight=5), ["batch()", "weight= go together"]),
    ("batch without max_weight", lambda: numbers.batch(2, weight=float), ["batch()", "max_weight= and"]),
    (
        "batch(max_weight=0)",
        lambda: numbers.batch(max_weight=0, weight=float),
        ["batch(max_weight=0)", "> 0"],
    ),
    ("rate_limit(5)", lambda: numbers.rate_limit(5), ["rate_limit(5)", "RateLimit("]),  # type: ignore[arg-type]
    (
        "rate_limit(waiting=0)",
        lambda: numbers.rate_limit(RateLimit(1), key=sync, waiting=0),
        ["rate_limit(waiting=0)"],
    ),
    (
        "rate of a key without key",
        lambda: numbers.rate_limit(RateLimit(lambda k: 1)),
        ["rate_limit()", "key="],
    ),
    ("RateLimit(0)", lambda: RateLimit(0), ["RateLimit(rate=0)", "> 0"]),
    ("RateLimit(nan)", lambda: RateLimit(float("nan")), ["RateLimit(rate=nan)", "> 0"]),
    ("RateLimit('5')", lambda: RateLimit("5"), ["RateLimit(rate='5')", "> 0"]),  # type: ignore[arg-type]
    ("RateLimit(per=0)", lambda: RateLimit(1, per=0), ["RateLimit(per=0)", "> 0"]),
    ("RateLimit(burst=0)", lambda: RateLimit(1, burst=0), ["RateLimit(burst=0)", ">= 1"]),
    ("rate = 0 later", lambda: setattr(RateLimit(1), "rate", 0), ["RateLimit(rate=0)", "> 0"]),
    ("throttle(0)", lambda: numbers.throttle(0), ["throttle(seconds=0)", "> 0"]),
    ("debounce('1')", lambda: numbers.debounce("1"), ["debounce(seconds='1')", "timedelta"]),  # type: ignore[arg-type]
    ("sample(-1)", lambda: numbers.sample(-1), ["sample(seconds=-1)", "> 0"]),
    ("delay(0)", lambda: numbers.delay(0), ["delay(seconds=0)", "> 0"]),
    ("delay(waiting=0)", lambda: numbers.delay(1, waiting=0), ["delay(waiting=0)", ">= 1"]),
    ("timeout(0)", lambda: numbers.timeout(0), ["timeout(seconds=0)", "> 0"]),
    ("conflate(5)", lambda: numbers.conflate(5), ["conflate(5)", "function"]),  # type: ignore[arg-type]
    ("async conflate", lambda: numbers.conflate(plus_one), ["conflate(plus_one)", "sync"]),  # type: ignore[arg-type]
    (
        "conflate on_error",
        lambda: numbers.conflate(max, on_error="skip"),  # type: ignore[arg-type]
        ["conflate(on_error='skip')", "Fail(), Skip()"],
    ),
    ("buffer(0)", lambda: numbers.buffer(0), ["buffer(size=0)", ">= 1"]),
    ("buffer overflow", lambda: numbers.buffer(1, "wait"), ["buffer(overflow='wait')", '"drop_oldest"']),  # type: ignore[arg-type]
    # several streams
    ("merge()", lambda: numbers.merge(), ["merge()", "one stream or more"]),
    ("merge of a list", lambda: numbers.merge([1]), ["merge(list)", "Stream(...)"]),  # type: ignore[call-overload]
    ("concat()", lambda: numbers.concat(), ["concat()", "one stream or more"]),
    ("zip()", lambda: numbers.zip(), ["zip()", "one stream or more"]),  # type: ignore[call-overload]
    ("zip of a keyed", lambda: numbers.zip(numbers.key_by(sync)), ["zip(Keyed)", "no Stream"]),  # type: ignore[call-overload]
    ("interleave()", lambda: numbers.interleave(), ["interleave()", "one stream or more"]),
    ("combine_latest()", lambda: numbers.combine_latest(), ["combine_latest()", "one stream or more"]),  # type: ignore[call-overload]
    ("with_latest()", lambda: numbers.with_latest(), ["with_latest()", "one stream or more"]),  # type: ignore[call-overload]
    (
        "with_latest of a list",
        lambda: numbers.with_latest([1]),
        ["with_latest(list)", "Stream(...)"],
    ),  # type: ignore[call-overload]
    ("split_by_type of one", lambda: numbers.split_by_type(int), ["split_by_type()", "two classes"]),  # type: ignore[call-overload]
    ("route without names", lambda: numbers.route(sync), ["route()", "one name"]),
    ("route twice", lambda: numbers.route(sync, "a", "a"), ["route(a, a)", "each once"]),
    # ends
    ("to a list", lambda: numbers.to([]), ["to(list)", "Sink"]),  # type: ignore[call-overload]
    ("to the class of a sink", lambda: numbers.to(Probe), ["to(Probe)", "Probe()"]),
    ("headers for a function", lambda: numbers.to(print, headers=sync), ["to(print, headers=)", "topic"]),  # type: ignore[call-overload]
    (
        "concurrency for a sink",
        lambda: numbers.to(Probe(), concurrency=2),
        ["to(Probe, concurrency=)", "one write"],
    ),
    ("timeout of a sync sink", lambda: numbers.to(print, timeout=1), ["to(print, timeout=)", "async"]),
    # pipelines and inlets
    ("pipeline without a name", lambda: Pipeline(numbers.discard()), ["Pipeline(", "name"]),  # type: ignore[arg-type]
    ("pipeline of a stream", lambda: Pipeline("p", numbers), ["Pipeline('p'", "to() or discard()"]),  # type: ignore[arg-type]
    (
        "capacity=0",
        lambda: Pipeline("p", numbers.discard(), capacity=0),
        ["Pipeline('p', capacity=0)", ">= 1"],
    ),
    ("chunk=0", lambda: Pipeline("p", numbers.discard(), chunk=0), ["Pipeline('p', chunk=0)", ">= 1"]),
    (
        "interval=0",
        lambda: Pipeline("p", numbers.discard(), interval=0),
        ["Pipeline('p', interval=0)", "> 0"],
    ),
    ("dead_letters=5", lambda: Pipeline("p", numbers.discard(), dead_letters=5), ["dead_letters=5", "Topic"]),
    (
        "explain('xml')",
        lambda: Pipeline("p", numbers.discard()).explain("xml"),
        ["explain('xml')", '"mermaid"'],
    ),  # type: ignore[arg-type]
    ("drain=-1", lambda: Pipeline("p", numbers.discard()).start(drain=-1), ["drain=-1", ">= 0"]),
    ("open(capacity=0)", lambda: numbers.open(capacity=0), ["open(capacity=0)", ">= 1"]),
    ("Inlet(0)", lambda: Inlet[int](0), ["Inlet(capacity=0)", ">= 1"]),
]


@pytest.mark.parametrize(("call", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(call: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(ArgumentError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_argument_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="batch"):
        numbers.batch(max_size=0)


@pytest.mark.parametrize("size", [1, 1000])
def test_sizes_at_the_edge_are_taken(size: int) -> None:
    numbers.batch(size).buffer(size).take(0).skip(0).distinct(last=size).map(plus_one, concurrency=size)


def test_durations_are_seconds_or_timedelta() -> None:
    numbers.map(plus_one, timeout=timedelta(milliseconds=5)).batch(2, max_wait=timedelta(seconds=1))
    assert RateLimit(1, per=timedelta(minutes=1)).per == 60
    assert Retry(initial=timedelta(seconds=1), max=timedelta(minutes=1))


def test_functions_may_be_anything_callable() -> None:
    class Double:
        def __call__(self, n: int) -> int:
            return 2 * n

    numbers.map(Double()).map(functools.partial(negative)).map(str).map(abs).map("{}".format)


def test_key_by_returns_keyed() -> None:
    assert isinstance(numbers.key_by(sync), Keyed)


def test_an_object_without_write_is_no_sink() -> None:
    class NotYet(Sink[int]):
        pass

    numbers.to(NotYet())  # a Sink whose write isn't there yet fails when it is called, by name
