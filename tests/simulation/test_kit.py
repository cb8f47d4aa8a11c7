"""The parts of the simulation kit: decisions, shrinking, what happens to a call, what is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from reactor import ArgumentError, DeadLetters, Pipeline, Stream
from reactor.testing import Decision, Fault, SimulationFailed, World, run_simulation, simulate
from reactor.testing.simulation.decisions import Decisions
from reactor.testing.simulation.faults import MISHAPS
from reactor.testing.simulation.shrinking import shrunk


def choice_of(kind: str) -> int:
    return next(number for number, mishap in enumerate(MISHAPS, 1) if mishap.kind == kind)


def test_decisions_repeat_by_place_and_visit() -> None:
    first = Decisions(7)
    made = [first.evenly("ab"[n % 2], 5, 0.5) for n in range(40)]
    assert 0 < sum(map(bool, made)) < 40
    again = Decisions(8, first.taken)
    assert [again.evenly("ab"[n % 2], 5, 0.0) for n in range(40)] == made
    assert again.taken == first.taken
    assert Decisions(7).evenly("a", 1, 1.0) == 0


def test_a_decision_that_there_is_no_choice_for_is_none() -> None:
    assert Decisions(0, [("a", 1, 9)]).evenly("a", 3, 0.5) == 0


def test_shrinking_leaves_what_matters() -> None:
    given = [Decision("turn", n, 1) for n in range(50)] + [Decision("sink.write", n, 3) for n in range(9)]
    runs: list[int] = []

    def wrong(decisions: Sequence[Decision], events: int) -> Sequence[Decision] | None:
        runs.append(events)
        bad = {("turn", 31), ("sink.write", 4)} <= {each[:2] for each in decisions} and events >= 13
        return decisions if bad else None

    decisions, events = shrunk(given, 400, wrong)
    assert set(decisions) == {Decision("turn", 31, 1), Decision("sink.write", 4, 3)}
    assert events == 13
    few, _ = shrunk(given, 400, wrong, attempts=3)
    assert {Decision("turn", 31, 1), Decision("sink.write", 4, 3)} <= set(few)


def plain(world: World) -> Pipeline:
    stream = Stream(world.source("numbers", range(12), every=0.01))
    return Pipeline(
        "p",
        stream.to(world.table("out")),
        checkpoint=world.checkpoints(interval=0.02),
        guarantee="exactly-once",
    )


PLACES = [
    *("checkpoints.open", "checkpoints.claim", "checkpoints.last", "checkpoints.save", "checkpoints.release"),
    *("numbers.open", "numbers.read", "numbers.commit", "numbers.close"),
    *("out.open", "out.recover", "out.write", "out.flush", "out.prepare", "out.publish", "out.close"),
]


@pytest.mark.parametrize("visit", [1, 2])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", dict.fromkeys(mishap.kind for mishap in MISHAPS))
def test_anything_may_happen_at_any_call(kind: str, place: str, visit: int) -> None:
    found = run_simulation(plain, 0, decisions=[(place, visit, choice_of(kind))])
    assert found.wrong == ()
    assert found.tables == {"out": list(range(12))}
    if found.decisions and any(f"{place}: {kind}" in line for line in found.trace):
        assert (
            (found.processes > 1) == (kind not in ("late", "slow")) or "close" in place or "release" in place
        )


def test_the_same_without_checkpoints() -> None:
    def build(world: World) -> Pipeline:
        return Pipeline("p", Stream(world.source("numbers", range(30))).to(world.sink("out")), interval=0.01)

    simulate(build, range(40))


def test_calls_of_the_users_functions_fail_too() -> None:
    seen: Counter[str] = Counter()

    def build(world: World) -> Pipeline:
        async def ask(n: int) -> int:
            try:
                answer = await world.call("service", lambda: n * 2)
            except Fault:
                seen["failed"] += 1
                raise
            assert answer is not None
            return answer

        return Pipeline(
            "p",
            Stream(world.source("numbers", range(30))).map(ask, concurrency=3).to(world.table("out")),
            checkpoint=world.checkpoints(),
            guarantee="exactly-once",
        )

    simulate(build, range(20))
    assert seen["failed"]


def test_dead_letters_are_complete() -> None:
    def half(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    def build(world: World) -> Pipeline:
        numbers = Stream(world.source("numbers", range(30)))
        return Pipeline(
            "p",
            numbers.map(half, on_error=DeadLetters()).to(world.sink("out")),
            checkpoint=world.checkpoints(),
            dead_letters=world.dead_letters(),
        )

    simulate(build, range(20))
    (letters,) = run_simulation(build, 3).letters.values()
    assert [letter.event for letter in letters.values()] == list(range(1, 30, 2))


def test_what_fails_undisturbed_says_so() -> None:
    def build(world: World) -> Pipeline:
        return Pipeline("p", Stream(world.source("zeros", [0])).map(lambda n: 1 / n).discard())

    with pytest.raises(SimulationFailed, match="undisturbed: process 1 fails with ZeroDivisionError"):
        simulate(build, [0])


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_what_hangs_says_where(loop: Any) -> None:
    def build(world: World) -> Pipeline:
        async def never(n: int) -> int:
            await anyio.sleep(80_000)
            return n

        return Pipeline("p", Stream(world.source("numbers", [1])).map(never).discard())

    found = run_simulation(build, 0, loop=loop)
    assert "undisturbed: process 1 hangs" in found.wrong[0]
    assert "in never" in found.wrong[0] or "never" in found.wrong[0]


def test_no_seeds_are_no_proof() -> None:
    with pytest.raises(ArgumentError, match="no seeds"):
        simulate(plain, [])
