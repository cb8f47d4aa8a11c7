"""Sources and sinks are opened before anything flows, and closed exactly once, whatever happens."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from reactor import Cancelled, Inlet, Pipeline, Record, Source, Stream
from tests.engine.scripted import PATIENCE, Gate, Log, Probe, settle

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """What fails here."""


def failing(what: str) -> Callable[..., Awaitable[None]]:
    async def fail(*args: Any) -> None:
        await checkpoint()
        raise Broken(what)

    return fail


class Fragile(Log[int]):
    """A source that fails where it is told to."""

    def __init__(self, fails_in: str, values: Sequence[int] = (1, 2)) -> None:
        super().__init__(values)
        self.fails_in = fails_in

    async def _fail(self, where: str) -> None:
        await checkpoint()
        if self.fails_in == where:
            raise Broken(f"source {where}")

    async def open(self) -> None:
        await super().open()
        await self._fail("open")

    async def read(self, limit: int) -> list[Record[int]] | None:
        await self._fail("read")
        return await super().read(limit)

    async def commit(self, position: int) -> None:
        await self._fail("commit")
        await super().commit(position)

    async def close(self) -> None:
        await super().close()
        await self._fail("close")


async def test_no_source_is_read_before_every_sink_is_open() -> None:
    order: list[str] = []

    class Telling(Log[int]):
        async def open(self) -> None:
            order.append("source open")

    async def open_slowly() -> None:
        for _ in range(5):
            await checkpoint()
        order.append("sink open")

    shared = Stream(Telling([1]))
    await Pipeline(
        "p", shared.to(Probe("a", on_open=open_slowly)), shared.to(Probe("b", on_open=open_slowly))
    ).run()
    assert order == ["sink open", "sink open", "source open"]


async def test_starting_returns_when_the_sinks_are_open() -> None:
    async def open_slowly() -> None:
        for _ in range(5):
            await checkpoint()

    probe = Probe[int](on_open=open_slowly)
    async with Pipeline("p", Stream(Inlet[int]()).to(probe)).start():
        assert probe.calls[:1] == ["open"]


async def test_everything_is_closed_once_at_the_end() -> None:
    log, probe = Log([1]), Probe[int]()
    await Pipeline("p", Stream(log).to(probe)).run()
    assert log.calls.count("close") == probe.calls.count("close") == 1
    assert log.calls[-1] == "close"
    assert log.calls.index("commit") < log.calls.index("close")


@pytest.mark.parametrize("where", ["open", "read", "commit", "close"])
async def test_a_source_that_fails_is_closed_once_and_raises_as_it_is(where: str) -> None:
    source, probe = Fragile(where), Probe[int]()
    with pytest.raises(Broken, match=f"source {where}") as failure:
        await Pipeline("p", Stream(source).to(probe)).run()
    assert source.calls.count("close") == 1
    assert probe.calls.count("close") == 1
    if where in ("open", "read"):
        assert "pipeline 'p', operator log" in failure.value.__notes__[0]


@pytest.mark.parametrize("where", ["open", "write", "flush", "close"])
async def test_a_sink_that_fails_is_closed_once_and_raises_as_it_is(where: str) -> None:
    log = Log([1])
    probe = Probe[int](**{f"on_{where}": failing(f"sink {where}")})  # type: ignore[arg-type]
    with pytest.raises(Broken, match=f"sink {where}"):
        await Pipeline("p", Stream(log).to(probe)).run()
    assert probe.calls.count("close") == 1
    assert log.calls.count("close") == log.calls.count("open")


async def test_when_a_sink_fails_to_open_no_source_is_opened_and_the_other_sinks_are_closed() -> None:
    log, good, bad = Log([1]), Probe[int]("good"), Probe[int]("bad", on_open=failing("no way in"))
    shared = Stream(log)
    with pytest.raises(Broken, match="no way in") as failure:
        await Pipeline("p", shared.to(good), shared.to(bad)).run()
    assert "operator to(bad)" in failure.value.__notes__[0]
    assert log.calls == []
    assert good.calls == ["open", "close"]
    assert bad.calls == ["open", "close"]


async def test_a_failing_open_beside_a_host_is_told() -> None:
    bad = Probe[int](on_open=failing("no way in"))
    with pytest.raises(Broken, match="no way in"):
        async with Pipeline("p", Stream(Inlet[int]()).to(bad)).start() as run:
            assert run.state == "failed"
            assert isinstance(run.error, Broken)


async def test_two_failures_are_raised_as_a_group_with_both() -> None:
    probe = Probe[int](on_write=failing("write"), on_close=failing("close"))
    with pytest.raises(ExceptionGroup, match="pipeline 'p': 2 failures") as failure:
        await Pipeline("p", Stream([1]).to(probe)).run()
    assert sorted(str(error) for error in failure.value.exceptions) == ["close", "write"]
    assert all(isinstance(error, Broken) for error in failure.value.exceptions)


async def test_close_is_shielded_from_cancellation() -> None:
    gate, closed = Gate(), list[str]()

    async def close_slowly() -> None:
        for _ in range(3):
            await checkpoint()
        closed.append("sink")

    class Slow(Log[int]):
        async def close(self) -> None:
            for _ in range(3):
                await checkpoint()
            closed.append("source")

    async with anyio.create_task_group() as tasks:
        stream = Stream(Slow([1])).map(gate)
        tasks.start_soon(Pipeline("p", stream.to(Probe(on_close=close_slowly))).run)
        await gate.entered()
        tasks.cancel_scope.cancel()
    assert sorted(closed) == ["sink", "source"]


async def test_close_is_shielded_when_the_run_is_cancelled() -> None:
    gate, closed = Gate(), list[str]()

    async def close_slowly() -> None:
        for _ in range(3):
            await checkpoint()
        closed.append("sink")

    with pytest.raises(Cancelled):
        async with Pipeline("p", Stream([1]).map(gate).to(Probe(on_close=close_slowly))).start() as run:
            await gate.entered()
            run.cancel()
    assert closed == ["sink"]


async def test_closing_happens_after_all_use() -> None:
    """No write, read or commit comes after the close."""
    log, probe = Log(range(100), follow=True), Probe[int]()
    with anyio.fail_after(PATIENCE):
        async with Pipeline("p", Stream(log).to(probe), interval=0.001).start():
            await probe.until(100)
            await log.until_committed(100)
    assert log.calls[-1] == probe.calls[-1] == "close"


async def test_an_async_generator_is_closed_when_another_stage_fails() -> None:
    closed: list[bool] = []
    inlet = Inlet[int]()

    async def silent() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    def fails(n: int) -> int:
        raise Broken("over here")

    with anyio.fail_after(PATIENCE):
        with pytest.raises(Broken):
            async with Pipeline("p", Stream(silent).merge(Stream(inlet).map(fails)).discard()).start() as run:
                await settle()
                await inlet.send(1)
                await run.wait()
    assert closed == [True]


async def test_a_sink_for_dead_letters_is_opened_and_closed_once() -> None:
    letters = Probe[Any]("letters")
    await Pipeline("p", Stream([1]).discard(), dead_letters=letters).run()
    assert letters.calls[0] == "open"
    assert letters.calls[-1] == "close"
    assert letters.calls.count("close") == 1


@pytest.mark.parametrize("where", ["open", "close"])
async def test_a_sink_for_dead_letters_that_fails_fails_the_run(where: str) -> None:
    letters = Probe[Any]("letters", **{f"on_{where}": failing(where)})  # type: ignore[arg-type]
    probe, log = Probe[int](), Log([1])
    with pytest.raises(Broken, match=where):
        await Pipeline("p", Stream(log).to(probe), dead_letters=letters).run()
    assert letters.calls.count("close") == 1
    assert probe.calls.count("close") == probe.calls.count("open")


async def test_a_source_with_only_read_is_enough() -> None:
    class Small(Source[int]):
        left = 2

        async def read(self, limit: int) -> list[Record[int]] | None:
            self.left -= 1
            return [Record(self.left)] if self.left >= 0 else None

    assert await Stream(Small()).collect() == [1, 0]


async def test_a_source_that_gives_more_than_it_was_asked_for_or_nothing() -> None:
    """Not allowed, but nothing is lost and nothing spins."""

    class Odd(Source[int]):
        rounds = 0

        async def read(self, limit: int) -> list[Record[int]] | None:
            self.rounds += 1
            if self.rounds == 1:
                return [Record(n) for n in range(5000)]
            return [] if self.rounds == 2 else None

    assert await Stream(Odd()).collect() == list(range(5000))
