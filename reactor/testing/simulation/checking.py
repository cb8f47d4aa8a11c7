"""Simulations of many seeds; the first that is wrong is shrunk, and told with what repeats it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from reactor.core import ArgumentError
from reactor.testing.clock import Loop
from reactor.testing.simulation.decisions import CALM, Decision
from reactor.testing.simulation.judging import judge
from reactor.testing.simulation.running import Build, Simulated, run
from reactor.testing.simulation.shrinking import shrunk

_DETAILS = re.compile(r"\d+|( lacks | has |: |, key ).*", re.DOTALL)
_SHOWN = 120
"""Lines of the trace that are told."""


class SimulationFailed(AssertionError):
    """A simulation that went wrong, as small as could be found."""

    def __init__(self, simulated: Simulated, loop: Loop, events: int | None) -> None:
        self.simulated = simulated
        self.events = events
        self.loop = loop
        super().__init__(_told(simulated, loop, events))


def run_simulation(
    build: Build,
    seed: int,
    *,
    loop: Loop = "asyncio",
    decisions: Iterable[tuple[str, int, int]] | None = None,
    events: int | None = None,
) -> Simulated:
    """Run the simulation of one seed, and once undisturbed; what is wrong stands in ``wrong``.

    With ``decisions`` (place, visit, choice) nothing else is disturbed. ``events`` is how many events a source
    gives at most. The same arguments give the same run, whatever the hash seed and the machine.
    """
    return _run(build, seed, loop, decisions, events, {})


def simulate(
    build: Build,
    seeds: Iterable[int] = range(100),
    *,
    loop: Loop = "asyncio",
    attempts: int = 600,
    progress: Callable[[Simulated], object] | None = None,
) -> None:
    """Run the simulations of these seeds; raise SimulationFailed for the first that goes wrong.

    ``build`` makes the pipeline, anew for each process, of the sources, sinks and stores of the world that it is
    given. It is shrunk in at most so many ``attempts``: fewer decisions, fewer events. ``progress`` is called with
    each that went well.
    """
    count = 0
    for seed in seeds:
        count += 1
        found = run_simulation(build, seed, loop=loop)
        if found.wrong:
            raise _smallest(build, found, loop, attempts)
        if progress is not None:
            progress(found)
    if not count:
        raise ArgumentError("simulate(): there are no seeds")


def _run(
    build: Build,
    seed: int,
    loop: Loop,
    decisions: Iterable[tuple[str, int, int]] | None,
    events: int | None,
    calms: dict[int | None, Simulated],
) -> Simulated:
    if events not in calms:
        calms[events] = run(build, seed, loop=loop, decisions=CALM, events=events)
    calm = calms[events]
    if calm.wrong:
        return replace(calm, wrong=tuple(f"undisturbed: {fault}" for fault in calm.wrong))
    found = run(build, seed, loop=loop, decisions=decisions, events=events)
    return replace(found, wrong=tuple(judge(calm, found)))


def _smallest(build: Build, found: Simulated, loop: Loop, attempts: int) -> SimulationFailed:
    seed, calms = found.seed, dict[int | None, Simulated]()

    def wrong(decisions: Sequence[Decision], events: int) -> Sequence[Decision] | None:
        again = _run(build, seed, loop, decisions, events, calms)
        return again.decisions if _kinds(again) & _kinds(found) else None

    most = found.most_events
    if wrong(found.decisions, most) is None:
        return SimulationFailed(found, loop, None)
    decisions, events = shrunk(found.decisions, most, wrong, attempts=attempts)
    return SimulationFailed(_run(build, seed, loop, decisions, events, calms), loop, events)


def _kinds(simulated: Simulated) -> set[str]:
    """What is wrong, without its numbers: shrinking shall not slip from one fault to another."""
    return {_DETAILS.sub("", fault) for fault in simulated.wrong}


def _told(simulated: Simulated, loop: Loop, events: int | None) -> str:
    how = ", ".join(
        [
            f"run_simulation(build, {simulated.seed}",
            *([f"loop={loop!r}"] if loop != "asyncio" else []),
            *([f"events={events}"] if events is not None else []),
        ]
    )
    decided = "".join(f"\n    {tuple(one)!r}," for one in simulated.decisions)
    trace = list(simulated.trace)
    if len(trace) > _SHOWN:
        trace[_SHOWN // 3 : -_SHOWN * 2 // 3] = [f"... {len(trace) - _SHOWN} lines ..."]
    return "\n".join(
        [
            f"seed {simulated.seed}: {'; '.join(simulated.wrong)}",
            f"repeat it: {how}, decisions=[{decided}\n])",
            "what happened:",
            *(f"    {line}" for line in trace),
        ]
    )
