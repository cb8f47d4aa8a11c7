"""A sink object is for one run at a time."""

from typing import Any

import anyio
import pytest

from reactor import DeadLetter, DeadLetters, Pipeline, Sink, Stream, UsedTwice
from tests.engine.scripted import Gate, Log, Probe

pytestmark = pytest.mark.anyio


class Letters(Sink[DeadLetter]):
    """A sink of dead letters, with what was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def open(self) -> None:
        self.calls.append("open")

    async def write(self, events: Any) -> None:
        self.calls.append("write")

    async def close(self) -> None:
        self.calls.append("close")


async def test_a_sink_that_is_open_is_refused_by_another_run_and_left_alone() -> None:
    probe = Probe[int]()
    async with Pipeline("first", Stream(Log([1], follow=True)).to(probe)).start():
        with pytest.raises(UsedTwice, match="this sink is open in another run; make another one") as failure:
            await Pipeline("second", Stream([2]).to(probe)).run()
        assert failure.value.__notes__ == ["in pipeline 'second', operator to(probe)"]
        await probe.until(1)
    assert probe.events == [1]
    assert (probe.calls.count("open"), probe.calls.count("close")) == (1, 1)


async def test_dead_letters_too() -> None:
    letters, gate = Letters(), Gate()
    stream = Stream([1]).map(gate, on_error=DeadLetters())
    async with Pipeline("first", stream.discard(), dead_letters=letters).start():
        await gate.entered()
        with pytest.raises(UsedTwice, match="dead_letters: this sink is open in another run"):
            await Pipeline("second", stream.discard(), dead_letters=letters).run()
        gate.open()
    assert letters.calls == ["open", "close"]


async def test_one_after_the_other_they_may_share_it() -> None:
    probe, letters = Probe[int](), Letters()
    for number in (1, 2):
        await Pipeline("p", Stream([number]).to(probe), dead_letters=letters).run()
    assert probe.events == [1, 2]
    assert letters.calls == ["open", "close"] * 2


async def test_also_after_a_run_that_was_cancelled_or_whose_sink_could_not_be_opened() -> None:
    class Stubborn(Probe[int]):
        opens = 0

        async def open(self) -> None:
            self.opens += 1
            if self.opens == 1:
                raise OSError("no")

    probe = Stubborn()
    with pytest.raises(OSError, match="no"):
        await Pipeline("p", Stream([1]).to(probe)).run()
    with anyio.CancelScope() as scope:
        async with Pipeline("p", Stream(Log([2], follow=True)).to(probe)).start():
            await probe.until(1)
            scope.cancel()
            await anyio.sleep_forever()
    await Pipeline("p", Stream([3]).to(probe)).run()
    assert probe.events == [2, 3]
