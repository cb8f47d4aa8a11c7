"""What a process uses as time goes on, and whether that stays the same."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, median_low
from typing import TypeVar

T = TypeVar("T")

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
FEWEST = 8
"""Looks after the warm-up that are needed."""
_WAL = 5 * MIB
"""SQLite begins a -wal file again once it has 1000 pages: it may take long to come so far, and is no growth."""


@dataclass
class Sample:
    """One look."""

    seconds: float
    events: int
    rss: int
    blocks: int
    """Pieces of memory that Python has given out: what its objects take, and not what SQLite keeps."""
    handles: int
    threads: int
    tasks: int
    files: dict[str, int]


@dataclass
class Verdict:
    """What was found, and what of it is more than is allowed."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def must(self, fits: bool, line: str) -> None:
        self.lines.append(f"{'ok  ' if fits else 'FAIL'} {line}")
        if not fits:
            self.faults.append(line)


def look(seconds: float, events: int, folder: Path) -> Sample:
    """Blocks for some microseconds."""
    with open("/proc/self/statm", "rb") as file:
        rss = int(file.read().split()[1]) * PAGE
    blocks = sys.getallocatedblocks()
    files = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    handles = len(os.listdir("/proc/self/fd")) - 1  # that of the look itself
    return Sample(
        seconds, events, rss, blocks, handles, threading.active_count(), len(asyncio.all_tasks()), files
    )


def slope(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """Of the line through the samples with the least squares: what is added in a second."""
    n = len(samples)
    middle = sum(each.seconds for each in samples) / n
    mean = sum(map(of, samples)) / n
    apart = sum((each.seconds - middle) ** 2 for each in samples)
    return sum((each.seconds - middle) * (of(each) - mean) for each in samples) / apart if apart else 0.0


def warmed(samples: Sequence[Sample], filling: int = 0) -> Sequence[Sample]:
    """What comes after the warm-up: a quarter of the time, and so many events."""
    return [each for each in samples if each.seconds >= samples[-1].seconds / 4 and each.events >= filling]


def judge(samples: Sequence[Sample], *, brief: bool = False, filling: int = 0) -> Verdict:
    """Judge what comes after the warm-up, in which caches are filled.

    In that time the process may seem to gain a twentieth of its memory, and to lose half of its throughput: other
    processes run on the machine, too. ``brief`` is too short for SQLite's files, and its caches of up to 16 MiB
    each, to reach the size at which they stay, and for a throughput. Of Python's objects nothing may be kept even
    then: what is kept is there at each later look, and what is under way is more or less with the machine's load.
    """
    verdict = Verdict()
    warm = warmed(samples, filling)
    if len(warm) < FEWEST:
        verdict.must(False, f"too short: {len(warm)} looks after the warm-up, {FEWEST} are needed")
        return verdict
    growth = 0.6 if brief else 0.05
    span = warm[-1].seconds - warm[0].seconds
    rise = slope(warm, lambda each: each.rss)
    mean = sum(each.rss for each in warm) / len(warm)
    verdict.must(
        rise * span < max(growth * mean, 4 * MIB),
        f"memory: {mean / MIB:.1f} MiB, {rise * 60 / MIB:+.2f} MiB a minute "
        f"({min(each.rss for each in warm) / MIB:.1f} to {max(each.rss for each in warm) / MIB:.1f})",
    )
    usual = median(each.blocks for each in warm[: len(warm) // 2])
    end = (min if brief else median)(each.blocks for each in last_third(warm))
    verdict.must(end < usual * 1.08, f"blocks: {usual:,.0f}, {end:,.0f} at the end")
    for name in ("handles", "threads", "tasks"):
        seen = [int(getattr(each, name)) for each in warm]
        verdict.must(stays(seen), f"{name}: {min(seen)} to {max(seen)}")
    for name in sorted(warm[-1].files):
        sizes = [each.files.get(name, 0) for each in warm]
        line = f"{name}: {min(sizes) / MIB:.2f} to {max(sizes) / MIB:.2f} MiB"
        if name in ("in.db", "dead.db"):
            verdict.lines.append(f"     {line} (a log grows)")
        else:
            half = len(sizes) // 2
            early, late = max(sizes[:half]), max(sizes[half:])
            full = _WAL if name.endswith("-wal") else 0
            verdict.must((brief or late <= max(early * 1.5, early + MIB, full)) and late < 64 * MIB, line)
    third = max(2, len(warm) // 3)
    first, last = rate(warm[:third]), rate(warm[-third:])
    line = f"throughput: {first:,.0f} events/s, {last:,.0f} at the end"
    verdict.must(brief or last > first / 2, line)
    return verdict


def stays(seen: Sequence[int]) -> bool:
    """Whether a number of open things is at the end what it was, apart from what is open for a moment.

    What is never given back is there at each later look, so it raises the lowest number of the last third, or, if
    some of it comes and goes, what is usual in the second half. SQLite's journals and temporary files are open at
    some looks and not at others, and raise neither.
    """
    half = len(seen) // 2
    early, late = seen[:half], seen[half:]
    return min(last_third(seen)) <= median_low(early) and median_low(late) <= max(early)


def last_third(seen: Sequence[T]) -> Sequence[T]:
    return seen[-max(1, len(seen) // 3) :]


def rate(samples: Sequence[Sample]) -> float:
    span = samples[-1].seconds - samples[0].seconds
    return (samples[-1].events - samples[0].events) / span if span else 0.0


def row(sample: Sample, before: Sample | None) -> str:
    """A line of the table."""
    pace = rate([before, sample]) if before is not None else 0.0
    sizes = [
        sample.files.get(name, 0) / MIB for name in ("state.db", "state.db-wal", "in.db-wal", "out.db-wal")
    ]
    return (
        f"{sample.seconds:8.1f} {sample.events:12,d} {pace:10,.0f} {sample.rss / MIB:9.1f} {sample.blocks:9,d} "
        f"{sample.handles:7d} "
        f"{sample.threads:7d} {sample.tasks:6d} " + " ".join(f"{size:10.2f}" for size in sizes)
    )


HEAD = (
    f"{'seconds':>8} {'events':>12} {'events/s':>10} {'RSS MiB':>9} {'blocks':>9} {'handles':>7} "
    f"{'threads':>7} {'tasks':>6} {'state':>10} {'state-wal':>10} {'in-wal':>10} {'out-wal':>10}"
)


def objects() -> int:
    """What the collector knows of, after it has had its turn."""
    gc.collect()
    return len(gc.get_objects())
