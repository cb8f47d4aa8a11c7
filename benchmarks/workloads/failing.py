"""One event in ten fails in the map and goes to dead letters in memory."""

from typing import Any

from benchmarks.harness import Workload

from .functions import risky
from .fused import source

WORK = Workload("failing", "10 % of the events fail and go to dead letters", events=500_000)

FAILED: Any = object()


class Counted:
    """The sink, called with one event, for every system the same."""

    def __init__(self) -> None:
        self.seen = 0
        self.total = 0

    def take(self, value: int) -> None:
        self.seen += 1
        self.total += value


def outcome(counted: Counted, letters: list[Any]) -> tuple[int, int, int, str]:
    """What came through, and how many didn't; the last one is looked at, so a letter can't be empty."""
    return counted.seen, counted.total, len(letters), repr(letters[-1][1])


@WORK.system("reactor")
async def on_reactor(events: int) -> tuple[int, int, int, str]:
    from reactor import DeadLetters, Pipeline, Stream

    counted = Counted()
    letters: list[Any] = []
    good = Stream(range(events)).map(risky, on_error=DeadLetters())
    await Pipeline("failing", good.to(counted.take), dead_letters=letters.append).run()
    return counted.seen, counted.total, len(letters), repr(letters[-1].exception)


@WORK.system("loop")
def by_hand(events: int) -> tuple[int, int, int, str]:
    counted = Counted()
    take = counted.take
    letters: list[tuple[int, ValueError]] = []
    for event in range(events):
        try:
            value = risky(event)
        except ValueError as error:
            letters.append((event, error))
        else:
            take(value)
    return outcome(counted, letters)


@WORK.system("loop-inlined")
def by_hand_inlined(events: int) -> tuple[int, int, int, str]:
    """No function, so no exception travels either: what an application gains by not raising."""
    counted = Counted()
    letters: list[tuple[int, ValueError]] = []
    seen = total = 0
    for event in range(events):
        if event % 10 == 0:
            letters.append((event, ValueError(event)))
        else:
            seen += 1
            total += event + 1
    counted.seen, counted.total = seen, total
    return outcome(counted, letters)


@WORK.system("asyncgen")
async def on_async_generators(events: int) -> tuple[int, int, int, str]:
    counted = Counted()
    letters: list[tuple[int, ValueError]] = []

    async def mapped() -> Any:
        async for event in source(events):
            try:
                value = risky(event)
            except ValueError as error:
                letters.append((event, error))
            else:
                yield value

    async for value in mapped():
        counted.take(value)
    return outcome(counted, letters)


class Attempt:
    """risky() for the systems that know no dead letters: the failure becomes a value that is filtered out."""

    def __init__(self) -> None:
        self.letters: list[tuple[int, ValueError]] = []

    def attempt(self, event: int) -> Any:
        try:
            return risky(event)
        except ValueError as error:
            self.letters.append((event, error))
            return FAILED


def succeeded(value: Any) -> bool:
    return value is not FAILED


@WORK.system("aiostream", share=0.03)
async def on_aiostream(events: int) -> tuple[int, int, int, str]:
    from aiostream import pipe, stream

    counted, attempts = Counted(), Attempt()
    steps = stream.iterate(range(events)) | pipe.map(attempts.attempt) | pipe.filter(succeeded)
    await (steps | pipe.action(counted.take))
    return outcome(counted, attempts.letters)


@WORK.system("reactivex")
def on_reactivex(events: int) -> tuple[int, int, int, str]:
    import reactivex
    from reactivex import operators as ops

    counted, attempts = Counted(), Attempt()
    reactivex.from_iterable(range(events)).pipe(ops.map(attempts.attempt), ops.filter(succeeded)).subscribe(
        counted.take
    )
    return outcome(counted, attempts.letters)


@WORK.system("streamz", share=0.03)
def on_streamz(events: int) -> tuple[int, int, int, str]:
    from streamz import Stream

    counted, attempts = Counted(), Attempt()
    source = Stream()
    source.map(attempts.attempt).filter(succeeded).sink(counted.take)
    for event in range(events):
        source.emit(event)
    return outcome(counted, attempts.letters)


@WORK.system("bytewax")
def on_bytewax(events: int) -> tuple[int, int, int, str]:
    from bytewax import operators as op
    from bytewax.dataflow import Dataflow

    from .on_bytewax import Folded, Range, run

    counted, attempts = Counted(), Attempt()
    flow = Dataflow("failing")
    tried = op.map("risky", op.input("in", flow, Range(events)), attempts.attempt)
    op.output("out", op.filter("good", tried, succeeded), Folded(lambda _, value: counted.take(value), None))
    run(flow)
    return outcome(counted, attempts.letters)
