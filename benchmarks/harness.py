"""Rounds, time, and the check that every system did the same work."""

import asyncio
import gc
import importlib
import inspect
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

SYSTEMS = (
    "reactor",
    "loop",
    "loop-inlined",
    "without",
    "asyncgen",
    "asyncio-queue",
    "anyio",
    "aiostream",
    "reactivex",
    "streamz",
    "bytewax",
)
BASELINE = "loop"
MODULES = ("reactor", "anyio", "aiostream", "reactivex", "streamz", "bytewax")
# Below this number of events a run says more about starting up than about events.
FEWEST = 100


@dataclass(frozen=True)
class Timed:
    """What a contender returns that holds the stopwatch itself (a latency, say)."""

    ns_per_event: float
    result: Any


@dataclass(frozen=True)
class Contender:
    """One system's way to do a workload.

    ``run(events)`` is called once per round, returns the result, and is awaited on a new asyncio loop if it
    is a coroutine function; making the loop isn't timed. ``share`` is the part of the workload's events that
    a slow system is given.
    """

    system: str
    run: Callable[[int], Any]
    share: float = 1.0

    def events(self, of: int) -> int:
        """Rounded to hundreds, so that batches of 100 always come out even."""
        return max(FEWEST, int(of * self.share) // 100 * 100)


@dataclass
class Workload:
    name: str
    what: str
    events: int
    unit: str = "event"
    prepare: Callable[[int], object] | None = None
    """Makes the events ready, so many of them, before a system is timed."""
    contenders: list[Contender] = field(default_factory=list)
    baseline: str = BASELINE
    """The system that the others are measured against, and whose result is right."""

    def system(
        self, name: str, *, share: float = 1.0
    ) -> Callable[[Callable[[int], Any]], Callable[[int], Any]]:
        """Register the decorated function as ``name``'s way to do this workload."""
        if name not in SYSTEMS:
            raise ValueError(f"{self.name}.system({name!r}): must be one of {', '.join(SYSTEMS)}")

        def register(run: Callable[[int], Any]) -> Callable[[int], Any]:
            self.contenders.append(Contender(name, run, share))
            self.contenders.sort(key=lambda contender: SYSTEMS.index(contender.system))
            return run

        return register


@dataclass(frozen=True)
class Outcome:
    """One system in one workload: a time per round, in the order of the rounds."""

    workload: str
    system: str
    events: int
    rounds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def ns_per_event(self) -> float:
        return statistics.median(self.rounds)

    @property
    def ratio_to_loop(self) -> float:
        return statistics.median(self.ratios)

    def row(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "system": self.system,
            "events": self.events,
            "events_per_s": round(1e9 / self.ns_per_event, 1),
            "ns_per_event": round(self.ns_per_event, 2),
            "ratio_to_loop": float(f"{self.ratio_to_loop:.4g}"),
        }


class WrongResult(AssertionError):
    """A system's result isn't the loop's: its time would mean nothing."""


def missing(systems: Iterable[str] = SYSTEMS) -> dict[str, str]:
    """Which of the systems can't be imported here, and why."""
    absent = {}
    for system in systems:
        if system in MODULES:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    importlib.import_module(system)
            except Exception as error:  # a peer that breaks on import must not end the benchmark
                absent[system] = f"{type(error).__name__}: {error}"
    return absent


def measure(contender: Contender, events: int) -> Timed:
    """Run once. The collector starts each run empty and stays on, for every system alike."""
    gc.collect()
    if inspect.iscoroutinefunction(contender.run):
        taken, result = asyncio.run(_measure_on_loop(contender, events))
    else:
        started = time.perf_counter_ns()
        result = contender.run(events)
        taken = time.perf_counter_ns() - started
    if isinstance(result, Timed):
        return result
    return Timed(taken / events, result)


async def _measure_on_loop(contender: Contender, events: int) -> tuple[int, Any]:
    started = time.perf_counter_ns()
    result = await contender.run(events)
    return time.perf_counter_ns() - started, result


def compare(
    workload: Workload,
    *,
    rounds: int,
    events: int,
    systems: Iterable[str],
    progress: Callable[[str], None] = lambda line: None,
    failed: Callable[[str, Exception], None] | None = None,
) -> list[Outcome]:
    """All systems in turn, ``rounds`` times (A B C A B C ...), so that a slow moment of the machine hits all.

    The loop (or another baseline of the workload's) always takes part: the others are measured against it, round
    by round. A system that raises, or whose result isn't the baseline's, is told to ``failed`` and left out;
    without ``failed`` it raises.
    """
    wanted = {*systems, workload.baseline}
    contenders = [contender for contender in workload.contenders if contender.system in wanted]
    loop = next(contender for contender in contenders if contender.system == workload.baseline)
    expected: dict[int, Any] = {}
    times: dict[str, list[float]] = {contender.system: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders.copy():
            progress(f"{workload.name}: round {number} of {rounds}, {contender.system}")
            # The first round warms imports, caches and bytecode, and checks results; it isn't counted.
            size = contender.events(events if number else events // 20)
            if workload.prepare is not None:
                workload.prepare(size)
            if size not in expected:
                expected[size] = measure(loop, size).result
            try:
                timed = measure(contender, size)
                if timed.result != expected[size]:
                    raise WrongResult(f"gave {timed.result!r} for {size} events, the loop {expected[size]!r}")
            except Exception as error:
                if failed is None or contender is loop:
                    raise
                failed(contender.system, error)
                contenders.remove(contender)
                continue
            if number:
                times[contender.system].append(timed.ns_per_event)
    return [
        Outcome(
            workload.name,
            contender.system,
            contender.events(events),
            tuple(times[contender.system]),
            tuple(b / t for b, t in zip(times[workload.baseline], times[contender.system], strict=True)),
        )
        for contender in contenders
    ]
