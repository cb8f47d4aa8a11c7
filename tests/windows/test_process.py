"""process: objects, timers and time to live, against a simulation in which time goes on in single steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Process, ReactorError, Stream, Tumbling
from reactor.windows import Context, Handlers
from tests.engine.graphs import TIME, examples
from tests.windows import oracle
from tests.windows.plans import Cut, Event, arrivals, cuts, key_of, open_of, run, timed, us

pytestmark = [pytest.mark.anyio, TIME]

bounds = st.sampled_from([0, 5, 15])


class Watched(Process[int, Event, Any]):
    """Counts its events, sets timers at times that the values say, and forgets itself on some of them."""

    def __init__(self) -> None:
        self.n = 0

    def event(self, event: Event, context: Context[int]) -> Iterable[Any]:
        self.n += 1
        yield ("event", context.key, context.time, self.n)
        if event[2] % 3:
            context.at(event[0] + event[2])
        if event[2] == 20:
            context.forget()

    def timer(self, time: int, context: Context[int]) -> Iterable[Any]:
        yield ("timer", context.key, time, self.n)
        if time % 5 == 0:
            context.at(time + 2)
        if time % 7 == 0:
            context.forget()

    def end(self, context: Context[int]) -> Iterable[Any]:
        yield ("end", context.key, self.n)


@dataclass
class Object:
    n: int = 0
    timers: set[int] = field(default_factory=set)
    dies: int = 2**63


def simulated(events: list[Event], bound: int, ttl: int | None) -> list[Any]:
    """What Watched gives: for each key on its own, all timers in the order of time."""
    out: list[Any] = []
    objects: dict[int, Object] = {}

    def advance(watermark: int) -> None:
        while True:
            due = sorted(
                (time, key) for key, one in objects.items() for time in one.timers if time <= watermark
            )
            if not due:
                return
            time, key = due[0]
            one = objects[key]
            one.timers.discard(time)
            if one.dies <= time:
                del objects[key]
                continue
            out.append(("timer", key, time, one.n))
            if time % 5 == 0:
                one.timers.add(time + 2)
            if time % 7 == 0:
                del objects[key]

    for row in oracle.rows(events, bound):
        advance(row.watermark)
        for key in [key for key, one in objects.items() if one.dies <= row.watermark]:
            del objects[key]
        time, key, value = row.event
        one = objects.setdefault(key, Object())
        one.n += 1
        out.append(("event", key, time, one.n))
        if ttl is not None:
            one.dies = max(time, row.watermark, one.dies - ttl if one.n > 1 else time) + ttl
        if value % 3:
            one.timers.add(time + value)
        if value == 20:
            del objects[key]
    last = oracle.rows([*events, (0, 0, 0)], bound)[-2].watermark if events else 0
    advance(2**62)
    out += [("end", key, one.n) for key, one in objects.items() if one.dies > last]
    return out


@examples()
@given(events=arrivals(), bound=bounds, cut=cuts, ttl=st.sampled_from([None, 1, 8, 30]), drops=st.booleans())
async def test_each_key_has_its_object_and_timers(
    events: list[Event], bound: int, cut: Cut, ttl: int | None, drops: bool
) -> None:
    stream = timed(events, cut, bound)
    if drops:  # a filter that drops nothing but starts stages: watermarks come as marks, too
        stream = stream.buffer(2).filter(lambda event: True)
    seen: list[Any] = []
    life = None if ttl is None else us(ttl)
    done = await run(cut, stream.key_by(key_of).process(Watched, ttl=life).to(seen.append))
    wanted = simulated(events, bound, ttl)
    for key in range(3):
        assert [one for one in seen if one[1] == key] == [one for one in wanted if one[1] == key]
    assert open_of(done) == 0


@examples(0.4)
@given(events=arrivals(), bound=bounds, one=cuts, two=cuts, ttl=st.sampled_from([None, 8]))
async def test_what_a_filter_drops_moves_time_all_the_same_in_every_cutting(
    events: list[Event], bound: int, one: Cut, two: Cut, ttl: int | None
) -> None:
    outcomes = []
    for cut in (one, two):
        seen: list[Any] = []
        stream = timed(events, cut, bound).filter(lambda event: event[2] % 4 != 0)
        life = None if ttl is None else us(ttl)
        await run(cut, stream.key_by(key_of).process(Watched, ttl=life).to(seen.append))
        outcomes.append(seen)
    assert outcomes[0] == outcomes[1]


class Last(Process[int, Event, Any]):
    """Tells its last event at the end."""

    def event(self, event: Event, context: Context[int]) -> None:
        self.last = event

    def end(self, context: Context[int]) -> Iterable[Any]:
        return [(self.last, context.time, context.ended)]


async def test_what_is_told_at_the_end_has_a_time_that_a_window_takes() -> None:
    stream = timed([(1, 0, 0), (95, 1, 0)], Cut(), 0).key_by(key_of).process(Last)
    seen: list[Any] = []
    await run(Cut(), stream.window(Tumbling(us(10))).collect().to(seen.append))
    (result,) = seen
    assert tuple(result.window) == (90, 100)
    assert result.value == [((1, 0, 0), 95, True), ((95, 1, 0), 95, True)]


class Periodic(Process[int, Event, int]):
    """Sets one timer after the other, for ever."""

    def event(self, event: Event, context: Context[int]) -> None:
        context.at(event[0] + 10)

    def timer(self, time: int, context: Context[int]) -> Iterable[int]:
        context.at(time + 10)
        return [time]


class Ending(Periodic):
    def timer(self, time: int, context: Context[int]) -> Iterable[int]:
        if not context.ended:
            context.at(time + 10)
        return [time]


async def test_timers_that_set_timers_for_ever_fail_at_the_end() -> None:
    stream = timed([(0, 0, 0), (35, 0, 0)], Cut(), 0).key_by(key_of)
    with pytest.raises(
        ReactorError, match=r"key 0 goes on setting timers though the stream has ended.*context\.ended"
    ):
        await run(Cut(), stream.process(Periodic).discard())
    seen: list[int] = []
    await run(Cut(), stream.process(Ending).to(seen.append))
    assert seen == [10, 20, 30, 40, 45]


class Forgetful(Process[int, tuple[int, str], Any]):
    """Forgets itself when told so; its alarm was set before."""

    def event(self, event: tuple[int, str], context: Context[int]) -> Iterable[Any] | None:
        if event[1] == "forget":
            context.forget()
            return None
        context.at(50)
        return [event]

    def timer(self, time: int, context: Context[int]) -> Iterable[Any]:
        return [("timer", time)]


async def test_a_forgotten_object_takes_its_timers_along() -> None:
    events = [(1, "set"), (2, "forget"), (100, "x")]
    seen: list[Any] = []
    stream = Stream(events).event_time(itemgetter(0), unit="us").key_by(lambda event: 0)
    await run(Cut(), stream.process(Forgetful).to(seen.append))
    # The timer at 50 that the event at 100 sets is due at once: at the end, as nothing follows.
    assert seen == [(1, "set"), (100, "x"), ("timer", 50)]


class Paid(Process[int, tuple[int, str], int]):
    """Waits for a month, unless it is told to forget."""

    def event(self, event: tuple[int, str], context: Context[int]) -> None:
        if event[1] == "paid":
            context.forget()
        else:
            context.at(event[0] + 10**12)

    def timer(self, time: int, context: Context[int]) -> list[int]:
        return [time - 10**12]


def test_timers_of_forgotten_keys_do_not_stay() -> None:
    kernel = Handlers(Paid, None, True)
    kernel.add(99, (5, "placed"), 5, 5)
    for n in range(20_000):
        kernel.add(n % 10, (n, "placed"), n, n)
        kernel.add(n % 10, (n, "paid"), n, n)
    assert len(kernel._timers) <= 2 * 1000
    assert [time for time, _ in kernel.fire(10**13)] == [5]
