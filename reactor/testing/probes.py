"""Probes: the two ends of a pipeline, in the hands of a test."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import anyio

from reactor.core import ArgumentError, Cancelled, Record, Sink, Source
from reactor.pipeline import Pipeline, Run
from reactor.stream import Stream
from reactor.testing.awaits import settle
from reactor.testing.clock import current_clock

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds after which what a probe waits for counts as never happening."""

VIRTUAL_PATIENCE = 30 * 86_400.0
"""The same where the clock is virtual: it goes so far only when nothing else is left to happen."""


def _patience() -> tuple[float, str]:
    """How long to wait, in seconds and in words."""
    if current_clock() is None:
        return PATIENCE, f"{PATIENCE:g} s"
    return VIRTUAL_PATIENCE, f"{VIRTUAL_PATIENCE / 86_400:g} virtual days"


class _Change:
    """Wakes those who wait until something about a probe has changed."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        event, self._event = self._event, anyio.Event()
        event.set()

    async def next(self) -> None:
        await self._event.wait()


class SourceProbe(Source[T], Generic[T]):
    """A source that gives what the test sends, when it is asked.

    With ``replay`` it has positions (numbers of events): what wasn't committed is read again by the next run.
    """

    def __init__(self, name: str = "source probe", *, replay: bool = False) -> None:
        self.name = name
        self.replay = replay
        self.opened = 0
        """How often a run has opened it, and how often closed."""
        self.closed = 0
        self.committed = 0
        """Where the next run begins, with ``replay``."""
        self._sent: list[T] = []
        self._at = 0
        self._end: Exception | bool = False
        self._demand = 0
        self._change = _Change()

    # The test's side:

    def send(self, *events: T) -> None:
        """Hand in events; they wait here until the pipeline asks for them."""
        if self._end:
            raise ArgumentError(f"{self.name}: send() after end() or fail()")
        self._sent.extend(events)
        self._change.tell()

    def end(self) -> None:
        """End the source, after what was sent."""
        self._end = True
        self._change.tell()

    def fail(self, error: Exception) -> None:
        """Let ``read`` raise the error, after what was sent; each time it is called."""
        self._end = error
        self._change.tell()

    @property
    def demand(self) -> int:
        """How many events it is asked for at this moment; 0 while the pipeline is busy, or held back."""
        return self._demand

    @property
    def pending(self) -> int:
        """How many events were sent and not read."""
        return len(self._sent) - self._at

    async def asked(self) -> int:
        """Wait until there is demand, and return it."""
        await self._until(lambda: self._demand > 0, "the pipeline hasn't asked for events")
        return self._demand

    async def not_asked(self) -> None:
        """Assert that the pipeline comes to rest without asking for events: it is held back."""
        await settle()
        assert not self._demand, f"{self.name}: the pipeline asks for {self._demand} events"

    async def until_committed(self, position: int) -> None:
        """Wait until a position of at least this is committed."""
        await self._until(lambda: self.committed >= position, f"position {position} isn't committed")

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        patience, shown = _patience()
        with anyio.move_on_after(patience):
            while not condition():
                if self.closed == self.opened > 0:
                    raise AssertionError(f"{self.name}: {otherwise}, and the run has closed the source")
                await self._change.next()
            return
        raise AssertionError(
            f"{self.name}: {otherwise} within {shown}; opened {self.opened}, closed {self.closed}, "
            f"committed {self.committed}, {self.pending} events wait to be read"
        )

    # The pipeline's side:

    async def open(self) -> None:
        self.opened += 1
        if self.replay:
            self._at = self.committed

    async def read(self, limit: int) -> Sequence[Record[T]] | None:
        while self._at == len(self._sent):
            if self._end is True:
                return None
            if isinstance(self._end, Exception):
                raise self._end
            self._demand = limit
            self._change.tell()
            try:
                await self._change.next()
            finally:
                self._demand = 0
        first = self._at
        values = self._sent[first : first + limit]
        self._at += len(values)
        return [Record(value, position=first + n, topic=self.name) for n, value in enumerate(values)]

    def position(self) -> int | None:
        return self._at if self.replay else None

    async def seek(self, position: int) -> None:
        self._at = position

    async def commit(self, position: int) -> None:
        self.committed = position
        self._change.tell()

    async def close(self) -> None:
        self.closed += 1
        self._change.tell()


class SinkProbe(Sink[T], Generic[T]):
    """A sink that takes as many events as the test requests, and says what came.

    ``demand`` is how many it takes at first: none, or ``math.inf`` for all. What the pipeline has handed over
    beyond that waits in ``write``, which is how the pipeline is held back.
    """

    def __init__(self, name: str = "sink probe", *, demand: float = 0) -> None:
        self.name = name
        self.opened = 0
        """How often a run has opened it, and how often closed."""
        self.closed = 0
        self.events: list[T] = []
        """All that it has taken."""
        self.flushed = 0
        """How many of them a flush has followed: a commit may cover them."""
        self.run: Run | None = None
        """The run that writes to it, inside :func:`probed`."""
        self._demand = demand
        self._fresh: deque[T] = deque()
        self.expected: BaseException | None = None
        """The failure that ``expect_error`` has found."""
        self._change = _Change()

    # The test's side:

    def request(self, count: float = 1) -> None:
        """Take so many events more; ``math.inf``: all from now on."""
        if not count >= 1:
            raise ArgumentError(f"request({count}): must be >= 1")
        self._demand += count
        self._change.tell()

    async def next(self) -> T:
        """Request one event if none is under way, wait for it, and return it."""
        if not self._fresh and not self._demand:
            self.request()
        await self._until(lambda: bool(self._fresh), "no event came")
        return self._fresh.popleft()

    async def expect(self, *events: T) -> None:
        """Wait for the next events, and assert that they are these, in this order. It requests nothing."""
        came: list[T] = []
        for expected in events:
            await self._until(
                lambda: bool(self._fresh), f"no event came, expected {expected!r} after {came or 'none'}"
            )
            came.append(self._fresh.popleft())
        assert came == list(events), f"{self.name}: {came!r} came, expected {list(events)!r}"

    async def expect_none(self, seconds: float = 0) -> None:
        """Assert that nothing comes for so long, by the loop's clock; 0: until every task waits."""
        if seconds:
            await anyio.sleep(seconds)
        await settle()
        assert not self._fresh, f"{self.name}: {list(self._fresh)!r} came, expected nothing"

    async def expect_end(self) -> None:
        """Wait until the pipeline has ended, and assert that it didn't fail and nothing else came."""
        error = await self._ending("the pipeline hasn't ended")
        if error is not None:
            raise AssertionError(f"{self.name}: the pipeline failed, expected its end: {error!r}") from error

    async def expect_error(self, kind: type[Exception] = Exception, text: str = "") -> Exception:
        """Wait until the pipeline has failed with such an error, with ``text`` in it; return the error."""
        error = await self._ending("the pipeline hasn't failed")
        if not isinstance(error, kind) or text not in str(error):
            what = f"{kind.__name__} with {text!r}" if text else kind.__name__
            raise AssertionError(f"{self.name}: ended with {error!r}, expected {what}") from error
        self.expected = error
        return error

    async def _ending(self, otherwise: str) -> BaseException | None:
        if self.run is None:
            raise ArgumentError(
                f"{self.name}: only inside `async with probed(stream) as sink:` it learns how the pipeline ends"
            )
        await self._until(lambda: self._closed or bool(self._fresh), otherwise)
        assert not self._fresh, f"{self.name}: {list(self._fresh)!r} came, expected the end"
        return await self._error()

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        patience, shown = _patience()
        with anyio.move_on_after(patience):
            while not condition():
                if self._closed:
                    error = await self._error()
                    how = f" with {error!r}" if error is not None else ""
                    raise AssertionError(
                        f"{self.name}: {otherwise}, and the pipeline has ended{how}"
                    ) from error
                await self._change.next()
            return
        demand = "unbounded" if self._demand == math.inf else f"{self._demand:g}"
        raise AssertionError(
            f"{self.name}: {otherwise} within {shown}; demand left {demand}, taken {self.events!r}"
        )

    @property
    def _closed(self) -> bool:
        return self.closed == self.opened > 0

    async def _error(self) -> BaseException | None:
        """What the run failed with, once it is over; the sinks are closed before that."""
        if self.run is not None:
            with suppress(Exception):
                await self.run.wait()
            return self.run.error
        return None

    # The pipeline's side:

    async def open(self) -> None:
        self.opened += 1

    async def write(self, events: Sequence[T]) -> None:
        for event in events:
            while not self._demand:
                await self._change.next()
            self._demand -= 1
            self.events.append(event)
            self._fresh.append(event)
            self._change.tell()

    async def flush(self) -> None:
        self.flushed = len(self.events)

    async def close(self) -> None:
        self.closed += 1
        self._change.tell()


@asynccontextmanager
async def probed(
    stream: Stream[T],
    sink: SinkProbe[T] | None = None,
    *,
    capacity: int = 1,
    chunk: int = 1,
    dead_letters: Any = None,
    interval: float = 1.0,
) -> AsyncGenerator[SinkProbe[T]]:
    """Run the stream into a sink probe as long as the block lasts.

    One event at a time, and one in each channel, unless told otherwise: so demand goes through as it is. At
    the end of the block what still runs is cancelled, and a failure that wasn't expected is raised.
    """
    probe: SinkProbe[T] = SinkProbe() if sink is None else sink
    pipeline = Pipeline(
        "probed",
        stream.to(probe),
        dead_letters=dead_letters,
        capacity=capacity,
        chunk=chunk,
        interval=interval,
    )
    run = pipeline.start(drain=0)
    probe.run = run

    try:
        async with run:
            yield probe
            if probe._closed:
                await probe._error()  # it is about to end by itself
            else:
                run.cancel()
    except Exception as error:
        if error is not probe.expected and not isinstance(error, Cancelled):
            raise
