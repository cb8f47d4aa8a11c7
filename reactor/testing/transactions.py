"""A conformance suite for transactional sinks: subclass it, and say how a sink is made and what others see.

::

    class TestMine(TransactionSuite):
        def make(self):
            return MySink(...)

        async def seen(self):
            return [Entry(...) for each event that can be read where the sink writes to]

Its methods are plain coroutines, for a runner that takes such (``pytest.mark.anyio`` over the class).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager

import anyio
import msgspec

from reactor.core import Fenced, ReactorError, Sink

__all__ = ["Entry", "TransactionSuite"]

_LARGE = 20_000


class Entry(msgspec.Struct, frozen=True):
    """An event of the suite."""

    number: int
    text: str = ""


def _entries(*numbers: int) -> list[Entry]:
    return [Entry(number, f"text {number}") for number in numbers]


@asynccontextmanager
async def _open(sink: Sink[Entry]) -> AsyncGenerator[Sink[Entry], None]:
    try:
        await sink.open()
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            await sink.close()


class TransactionSuite:
    """What every transactional sink has to do. Each test begins with an empty place for its events."""

    def make(self) -> Sink[Entry]:
        """Return another sink; in one test all of them write to the same place."""
        raise NotImplementedError("make(): return a sink")

    async def seen(self) -> Sequence[Entry]:
        """Return what everybody sees at the place, in its order; while sinks are open, too."""
        raise NotImplementedError("seen(): return the events that can be read")

    async def _sees(self, *numbers: int) -> None:
        found = list(await self.seen())
        assert found == _entries(*numbers), f"it should be {numbers}: {found}"

    # One run ------------------------------------------------------------------------------------------------

    async def test_it_says_that_it_is_transactional(self) -> None:
        assert self.make().transactional

    async def test_without_recover_what_is_flushed_is_seen(self) -> None:
        async with _open(self.make()) as sink:
            await sink.write(_entries(1, 2))
            await sink.write(_entries(3))
            await sink.flush()
            await self._sees(1, 2, 3)

    async def test_nothing_is_seen_before_it_is_published(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1, 2))
            await sink.flush()
            await self._sees()
            await sink.prepare(1)
            await self._sees()
            await sink.publish(1)
            await self._sees(1, 2)

    async def test_twice_is_once(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1, 2))
            await sink.prepare(1)
            await sink.publish(1)
            await sink.publish(1)
            await self._sees(1, 2)
            await sink.write(_entries(3))
            await sink.prepare(2)
            await sink.publish(1)
            await self._sees(1, 2)
            await sink.publish(2)
            await self._sees(1, 2, 3)

    async def test_what_is_written_after_prepare_belongs_to_the_next_number(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1))
            await sink.prepare(4)
            await sink.write(_entries(2))
            await sink.publish(4)
            await self._sees(1)
            await sink.write(_entries(3))
            await sink.prepare(9)
            await sink.publish(9)
            await self._sees(1, 2, 3)

    async def test_numbers_without_events(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 3, 1)
            for number in (4, 5):
                await sink.prepare(number)
                await sink.publish(number)
            await sink.write(_entries(1))
            await sink.prepare(6)
            await sink.publish(5)
            await self._sees()
            await sink.publish(6)
            await sink.prepare(7)
            await sink.publish(7)
            await self._sees(1)

    async def test_order_is_kept_across_writes_and_numbers(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            for number in range(1, 6):
                for n in range(7):
                    first = number * 100 + n * 10
                    await sink.write(_entries(*range(first, first + 1 + n)))
                await sink.prepare(number)
                await sink.publish(number)
            await self._sees(
                *(number * 100 + n * 10 + m for number in range(1, 6) for n in range(7) for m in range(1 + n))
            )

    async def test_a_large_transaction(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            for first in range(0, _LARGE, 500):
                await sink.write(_entries(*range(first, first + 500)))
            await self._sees()
            await sink.prepare(1)
            await self._sees()
            await sink.publish(1)
            await self._sees(*range(_LARGE))

    async def test_one_write_that_is_large(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(-2, -1))
            await sink.write(_entries(*range(_LARGE)))
            await self._sees()
            await sink.prepare(1)
            await sink.publish(1)
            await self._sees(-2, -1, *range(_LARGE))

    # After a crash ------------------------------------------------------------------------------------------

    async def test_what_was_not_prepared_is_dropped(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1))
            await sink.write(_entries(*range(2, 5000)))
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 2)
            await self._sees()
            await sink.write(_entries(1))
            await sink.prepare(1)
            await sink.publish(1)
            await self._sees(1)

    async def test_what_was_prepared_and_not_decided_is_dropped(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1, 2))
            await sink.prepare(1)
            await sink.publish(1)
            await sink.write(_entries(3, 4))
            await sink.prepare(2)
        async with _open(self.make()) as sink:
            await sink.recover("mine", 1, 2)
            await self._sees(1, 2)
            await sink.publish(2)
            await self._sees(1, 2)
            await sink.write(_entries(3))
            await sink.prepare(2)  # the number isn't taken: what stood under it is void
            await sink.publish(2)
            await self._sees(1, 2, 3)

    async def test_what_was_decided_and_not_published_is_published(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1, 2))
            await sink.prepare(1)
            await sink.write(_entries(3))
        async with _open(self.make()) as sink:
            await self._sees()
            await sink.recover("mine", 1, 2)
            await self._sees(1, 2)
            await sink.publish(1)
            await self._sees(1, 2)
        for _ in range(2):  # nothing has come in between
            async with _open(self.make()) as sink:
                await sink.recover("mine", 1, 3)
                await self._sees(1, 2)

    async def test_a_large_transaction_that_was_decided_is_published(self) -> None:
        async with _open(self.make()) as sink:
            await sink.recover("mine", 0, 1)
            for first in range(0, _LARGE, 1000):
                await sink.write(_entries(*range(first, first + 1000)))
            await sink.prepare(7)
        async with _open(self.make()) as sink:
            await sink.recover("mine", 7, 2)
            await self._sees(*range(_LARGE))

    async def test_a_sink_is_used_by_one_run_after_the_other(self) -> None:
        sink = self.make()
        async with _open(sink):
            await sink.recover("mine", 0, 1)
            await sink.write(_entries(1))
            await sink.prepare(1)
        async with _open(sink):
            await sink.write(_entries(2))  # of a run without transactions
            await sink.flush()
            await self._sees(2)
        async with _open(sink):
            await sink.recover("mine", 1, 2)
            await self._sees(2, 1)
            await sink.write(_entries(3))
            await sink.prepare(2)
            await sink.publish(2)
            await self._sees(2, 1, 3)

    # Several ------------------------------------------------------------------------------------------------

    async def test_two_owners_leave_each_other_alone(self) -> None:
        async with _open(self.make()) as mine, _open(self.make()) as theirs:
            await mine.recover("mine", 0, 1)
            await theirs.recover("theirs", 0, 2)
            await mine.write(_entries(1, 2))
            await theirs.write(_entries(11, 12))
            await mine.prepare(1)
            await theirs.prepare(1)
            await mine.write(_entries(3))
            await theirs.publish(1)
            await self._sees(11, 12)
            async with _open(self.make()) as again:  # theirs is begun anew
                await again.recover("theirs", 1, 3)
                await mine.publish(1)
                await self._sees(11, 12, 1, 2)
                await mine.prepare(2)
                await again.recover("theirs", 1, 4)
                await mine.publish(2)
                await self._sees(11, 12, 1, 2, 3)

    async def test_who_has_been_taken_over_changes_nothing_any_more(self) -> None:
        async with _open(self.make()) as old, _open(self.make()) as new:
            await old.recover("mine", 0, 1)
            await old.write(_entries(1, 2))
            await old.prepare(1)
            await new.recover("mine", 0, 2)
            await new.write(_entries(11))
            await new.prepare(1)
            await _late(old, 1)
            await self._sees()
            await new.publish(1)
            await self._sees(11)
            await new.write(_entries(12))
            await _late(old, 2)
            await new.prepare(2)
            await _late(old, 2)
            await self._sees(11)
            await new.publish(2)
            await _late(old, 3)
            await self._sees(11, 12)

    async def test_who_was_replaced_before_it_began_drops_nothing(self) -> None:
        async with _open(self.make()) as old, _open(self.make()) as new:
            await new.recover("mine", 0, 3)
            await new.write(_entries(1))
            await new.prepare(1)
            try:
                await old.recover("mine", 0, 2)
            except Fenced:
                pass
            else:
                raise AssertionError("recover() with an older fence should have raised Fenced")
            await new.write(_entries(2))
            await new.publish(1)
            await new.prepare(2)
            await new.publish(2)
            await self._sees(1, 2)

    async def test_who_publishes_late_what_is_published_already(self) -> None:
        async with _open(self.make()) as old, _open(self.make()) as new:
            await old.recover("mine", 0, 1)
            await old.write(_entries(1, 2))
            await old.prepare(1)
            await new.recover("mine", 1, 2)
            await self._sees(1, 2)
            await _late(old, 1)
            await self._sees(1, 2)


async def _late(zombie: Sink[Entry], number: int) -> None:
    """What a process does that hasn't heard yet that another one has taken over; it may be told so."""
    await _tried(zombie.publish(number))
    await _tried(zombie.write(_entries(-number)))
    await _tried(zombie.prepare(number))
    await _tried(zombie.publish(number))
    await _tried(zombie.write(_entries(*range(-5000, 0))))
    await _tried(zombie.prepare(number + 1))
    await _tried(zombie.publish(number + 1))


async def _tried(call: Awaitable[None]) -> None:
    try:
        await call
    except ReactorError:
        pass
