"""Restart: a source that has failed is read again, after a while, behind what it gave; nothing lost or twice."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from reactor import Pipeline, Record, Restart, Source, Stream
from tests.engine.scripted import Probe, settle
from tests.operators.timelines import by_virtual_clock

pytestmark = by_virtual_clock

STEADY = Restart(max=5, initial=1, jitter=0)


class Down(Exception):
    """What these sources fail with."""


class Flaky(Source[int]):
    """0, 1, 2, ... with positions; it is up in turn for so many calls of open and read, and fails once."""

    replay = True
    name = "flaky"

    def __init__(
        self, count: int, fails: Callable[[str, int], bool], most: int = 3, rest: float = 0.25
    ) -> None:
        self.count = count
        self.fails = fails
        """Told what is called, and how often it has been called."""
        self.most = most
        self.rest = rest
        """How long it waits at its end."""
        self.calls: list[str] = []
        self.commits: list[int] = []
        self.opened: list[float] = []
        self._at = 0
        self._is_open = False

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.fails(what, self.calls.count(what)):
            raise Down(what)

    async def open(self) -> None:
        assert not self._is_open, "opened twice"
        self._is_open = True
        self.opened.append(anyio.current_time())
        self._at = self.commits[-1] if self.commits else 0
        self._call("open")

    async def read(self, limit: int) -> list[Record[int]] | None:
        assert self._is_open
        self._call("read")
        await anyio.sleep(0.25 if self._at < self.count else self.rest)
        upto = min(self._at + min(limit, self.most), self.count)
        records = [Record(n, position=n, topic=self.name) for n in range(self._at, upto)]
        self._at = upto
        return records or None

    def position(self) -> int:
        return self._at

    async def seek(self, position: int) -> None:
        assert self._is_open
        self._call("seek")
        self._at = position

    async def commit(self, position: int) -> None:
        assert self._is_open
        if position:  # before anything was read, there may be a commit that says so, or not
            self._call("commit")
            self.commits.append(position)

    async def close(self) -> None:
        assert self._is_open, "closed twice"
        self._is_open = False
        self._call("close")


async def run(source: Source[int], restart: Restart = STEADY) -> tuple[list[int], Any]:
    probe = Probe[int]()
    done = await Pipeline("p", Stream(source, restart=restart).to(probe), interval=0.5).run()
    return probe.events, done.metrics()


@pytest.mark.parametrize("call", ["open", "read", "seek", "commit"])
async def test_a_source_goes_on_behind_the_last_event_that_it_gave(call: str) -> None:
    # Each of its calls fails now and then; where seek is to be called something has to fail before it.
    source = Flaky(
        40, lambda what, n: (what == call and n % 4 == 1) or (call == "seek" and what == "read" and n == 3)
    )
    events, metrics = await run(source, Restart(max=100, initial=0.1, within=None))
    assert events == list(range(40))
    assert source.commits[-1] == 40
    assert source.commits == sorted(source.commits)
    assert metrics["flaky"].restarts >= 1
    assert source.calls.count("open") == source.calls.count("close") == len(source.opened)


async def test_without_restart_it_fails() -> None:
    with pytest.raises(Down):
        await Stream(Flaky(40, lambda what, n: what == "read" and n == 3)).collect()


async def test_the_waits_grow_while_it_stays_down_and_begin_anew_when_it_has_worked() -> None:
    down = {2, 3, 4, 5, 8}
    source = Flaky(20, lambda what, n: what == "read" and n in down)
    events, metrics = await run(source, Restart(max=10, initial=1, max_delay=3, jitter=0))
    assert events == list(range(20))
    waits = [round(b - a, 3) for a, b in zip(source.opened, source.opened[1:], strict=False)]
    assert waits == [1.25, 2, 3, 3, 1.5]  # reads that give something take 0.25 s
    assert metrics["flaky"].restarts == 5


@pytest.mark.parametrize(("max_", "within", "span"), [(3, 60, " within 60 s"), (1, None, "")])
async def test_it_gives_up_with_the_last_error_and_says_so(
    max_: int, within: float | None, span: str
) -> None:
    source = Flaky(20, lambda what, n: what == "read" and n >= 2)
    with pytest.raises(Down) as failure:
        await run(source, Restart(max=max_, initial=1, within=within, jitter=0))
    notes = failure.value.__notes__
    assert any(
        f"flaky: given up after {max_} restart{'s' if max_ > 1 else ''}{span}; " in note for note in notes
    )
    assert any("in pipeline 'p', operator flaky" in note for note in notes)
    assert len(source.opened) == max_ + 1


async def test_failures_that_are_long_past_do_not_count() -> None:
    source = Flaky(200, lambda what, n: what == "read" and n % 20 == 0, most=1)
    events, metrics = await run(source, Restart(max=2, initial=1, within=10, jitter=0))
    assert events == list(range(200))  # a failure each 5.75 s: two within ten
    assert metrics["flaky"].restarts == 10


async def test_an_error_that_it_is_not_meant_for_fails_at_once() -> None:
    with pytest.raises(Down):
        await run(Flaky(20, lambda what, n: what == "read" and n == 2), Restart(on=(OSError, TimeoutError)))


async def test_a_failure_behind_the_source_restarts_nothing() -> None:
    source = Flaky(20, lambda what, n: False)
    with pytest.raises(ZeroDivisionError):
        await Stream(source, restart=STEADY).map(lambda n: 1 // (n - 5)).collect()
    assert len(source.opened) == 1


async def test_each_restart_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "reactor"):
        await run(Flaky(9, lambda what, n: what == "read" and n == 2))
    assert [record.getMessage() for record in caplog.records] == [
        "flaky failed with Down: Down('read'); read again in 1 s (restart 1)"
    ]


async def test_what_could_not_be_committed_while_it_was_down_is_committed_later() -> None:
    source = Flaky(9, lambda what, n: what == "read" and n == 3)
    events, _ = await run(source, Restart(initial=10, jitter=0))
    assert events == list(range(9))
    assert source.commits[-1] == 9


@pytest.mark.parametrize("rest", [0.25, 30])
async def test_a_commit_that_failed_is_made_good_though_nothing_new_comes(rest: float) -> None:
    """While it waits for more, or at its end."""
    source = Flaky(3, lambda what, n: what == "commit" and n == 1, rest=rest)
    events, metrics = await run(source)
    assert (events, source.commits) == ([0, 1, 2], [3])
    assert metrics["flaky"].restarts == 1


async def test_a_drain_ends_the_wait_and_commits() -> None:
    source, probe = Flaky(9, lambda what, n: what == "read" and n == 2), Probe[int]()
    stream = Stream(source, restart=Restart(initial=3600, max_delay=3600))
    began = anyio.current_time()
    async with Pipeline("p", stream.to(probe), interval=0.5).start() as running:
        await probe.until(3)
        await anyio.sleep(10)
        assert source.commits == []
    assert running.state == "complete"
    assert anyio.current_time() - began < 20
    assert (probe.events, source.commits) == ([0, 1, 2], [3])


async def test_a_cancellation_ends_the_wait() -> None:
    source = Flaky(9, lambda what, n: what == "read" and n == 2)
    with anyio.move_on_after(10) as scope:
        await Stream(source, restart=Restart(initial=3600, max_delay=3600)).collect()
    assert scope.cancelled_caught
    assert source.calls.count("close") == 1


# Callables -------------------------------------------------------------------------------------------------------


class Feeds:
    """A callable whose first results fail, each after so many events."""

    def __init__(self, *ends: int | None) -> None:
        self.ends = list(ends)
        self.called: list[float] = []

    def asynchronous(self) -> AsyncIterator[str]:
        return self._play(*self._next())

    def synchronous(self) -> Iterator[str]:
        number, end = self._next()
        for n in range(100 if end is None else end):
            yield f"{number}.{n}"
            if end is None and n == 1:
                return
        raise Down(str(number))

    async def _play(self, number: int, end: int | None) -> AsyncIterator[str]:
        for n in range(2 if end is None else end):
            await anyio.sleep(1)
            yield f"{number}.{n}"
        if end is not None:
            raise Down(str(number))

    def _next(self) -> tuple[int, int | None]:
        self.called.append(anyio.current_time())
        end = self.ends.pop(0)
        if end == -1:
            raise Down("the call")
        return len(self.called), end


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
async def test_a_callable_is_called_again(kind: str) -> None:
    feeds, probe = Feeds(2, 1, 0, None), Probe[str]()
    stream = Stream(getattr(feeds, kind), restart=STEADY)
    done = await Pipeline("p", stream.to(probe)).run()
    assert probe.events == ["1.0", "1.1", "2.0", "4.0", "4.1"]
    assert done.metrics()[kind].restarts == 3
    took = 1 if kind == "asynchronous" else 0
    assert [round(b - a, 3) for a, b in zip(feeds.called, feeds.called[1:], strict=False)] == [
        2 * took + 1,
        took + 1,
        2,
    ]


async def test_a_callable_that_fails_itself_is_called_again() -> None:
    feeds = Feeds(-1, None)
    assert await Stream(feeds.asynchronous, restart=STEADY).collect() == ["2.0", "2.1"]


async def test_a_callable_is_given_up_too() -> None:
    feeds = Feeds(0, 0, 0)
    with pytest.raises(Down, match="3") as failure:
        await Stream(feeds.asynchronous, restart=Restart(max=2, jitter=0)).collect()
    assert any("given up after 2 restarts within 60 s" in note for note in failure.value.__notes__)
    assert failure.value.__context__ is None


async def test_a_drain_ends_the_wait_of_a_callable() -> None:
    feeds, probe = Feeds(1), Probe[str]()
    stream = Stream(feeds.asynchronous, restart=Restart(initial=3600, max_delay=3600))
    async with Pipeline("p", stream.to(probe)).start() as running:
        await probe.until(1)
        await settle()
    assert (running.state, probe.events) == ("complete", ["1.0"])


async def test_waits_are_shortened_by_chance_and_bounded() -> None:
    waits = [
        Restart(initial=1, max_delay=4, jitter=0.5).delay(n) for n in (1, 2, 3, 4, 100) for _ in range(50)
    ]
    for n, most in enumerate((1, 2, 4, 4, 4)):
        mine = waits[n * 50 : n * 50 + 50]
        assert most / 2 <= min(mine) < max(mine) <= most
