"""Simulate many seeds: ``python -m tests.simulation --seeds 10000``. Stops at the first that goes wrong."""

from __future__ import annotations

import argparse
import sys
import time

from reactor.testing import Simulated, SimulationFailed, simulate
from tests.simulation.graphs import loop_of, of_seed


class Progress:
    """One line, drawn again about each second."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.processes = self.decisions = 0
        self._began = self._drawn = time.monotonic()

    def __call__(self, each: Simulated) -> None:
        self.done += 1
        self.processes += each.processes
        self.decisions += len(each.decisions)
        if time.monotonic() >= self._drawn + 1 and sys.stderr.isatty():
            self._drawn = time.monotonic()
            print(f"\r{self}", end="", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        took = time.monotonic() - self._began
        return (
            f"{self.done} of {self.total} seeds in {took:.0f} s: "
            f"{self.processes} processes, {self.decisions} decisions"
        )


def main() -> int:
    """Return 1 where a simulation went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--loop", choices=["asyncio", "trio"], help="only on this loop, not on both in turn")
    options = parser.parse_args()
    progress = Progress(options.seeds)
    for seed in range(options.first, options.first + options.seeds):
        try:
            simulate(of_seed, [seed], loop=options.loop or loop_of(seed), progress=progress)
        except SimulationFailed as failed:
            print(f"\n{progress}\n{failed}\n(build is tests.simulation.graphs.of_seed)")
            return 1
    print(f"\r{progress}, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
