"""Peak memory of one run, in a process of its own: ``python -m benchmarks.memory SYSTEM EVENTS``.

The work passes through everything that holds events: a fused stage, a channel, an async map, batches.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .harness import Outcome
from .workloads.async_map import CONCURRENCY, ordered_pool
from .workloads.channels import CAPACITY
from .workloads.functions import add, double, increment_soon

BATCH = 100
# More than this between the smallest and the largest run isn't flat: 10^6 events kept would be some 40 MiB.
TOLERANCE_MIB = 8.0


async def on_reactor(events: int) -> int:
    from reactor import Stream

    doubled = Stream(range(events)).map(double).buffer(CAPACITY)
    return await doubled.map(increment_soon, concurrency=CONCURRENCY).batch(BATCH).map(len).fold(add, 0)


async def by_hand(events: int) -> int:
    total = 0
    batch: list[int] = []

    def emit(result: int) -> None:
        nonlocal total, batch
        batch.append(result)
        if len(batch) == BATCH:
            total = add(total, len(batch))
            batch = []

    await ordered_pool((double(event) for event in range(events)), increment_soon, emit)
    return add(total, len(batch))


RUNS = {"reactor": on_reactor, "loop": by_hand}


def peak_mib() -> float:
    """Where Linux tells, the peak of this program: getrusage's also has that of the process that started it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main(system: str, events: int) -> None:
    async def timed() -> tuple[int, int]:
        started = time.perf_counter_ns()
        result = await RUNS[system](events)
        return time.perf_counter_ns() - started, result

    asyncio.run(RUNS[system](1000))
    taken, result = asyncio.run(timed())
    json.dump({"ns_per_event": taken / events, "peak_mib": peak_mib(), "result": result}, sys.stdout)


def in_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module in a process of its own, and hand back the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it died")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(system: str, events: int) -> dict[str, Any]:
    """Start the process, check its result, and hand back its time and peak."""
    found = in_process("benchmarks.memory", system, events)
    if found["result"] != events:
        raise AssertionError(f"{system} handled {found['result']} of {events} events")
    return found


def compare(sizes: tuple[int, ...], systems: tuple[str, ...] = ("reactor", "loop")) -> list[dict[str, Any]]:
    """A JSON row per size and system, with ``peak_mib``."""
    rows = []
    for events in sizes:
        found = {system: measure(system, events) for system in systems}
        for system, one in found.items():
            time_of_loop = found.get("loop", one)["ns_per_event"]
            ratio = time_of_loop / one["ns_per_event"]
            outcome = Outcome("growth-events", system, events, (one["ns_per_event"],), (ratio,))
            rows.append(outcome.row() | {"peak_mib": round(one["peak_mib"], 1)})
    return rows


def growth_mib(rows: list[dict[str, Any]], system: str = "reactor") -> float:
    """How much more the largest run held than the smallest."""
    peaks = [row["peak_mib"] for row in rows if row["system"] == system]
    return float(peaks[-1] - peaks[0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
