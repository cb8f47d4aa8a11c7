"""200 simulations of random graphs; ``python -m tests.simulation`` runs as many as one likes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from reactor.testing import run_simulation, simulate
from tests.simulation.graphs import loop_of, of_seed

BLOCK = 20
LAST = 10


@pytest.mark.parametrize("block", range(LAST))
def test_whatever_happens_the_results_are_those_of_an_undisturbed_run(block: int) -> None:
    loop = "trio" if block % 5 == 4 else "asyncio"
    simulate(of_seed, range(block * BLOCK, (block + 1) * BLOCK), loop=loop)


PRINTS = """
import hashlib, sys
from reactor.testing import run_simulation
from tests.simulation.graphs import of_seed
found = [run_simulation(of_seed, seed, loop=sys.argv[1]) for seed in (1, 3, 17, 22, 40)]
print(hashlib.sha256(repr([(each.trace, each.decisions) for each in found]).encode()).hexdigest())
"""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_same_seed_gives_the_same_run_in_every_process(loop: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PRINTS, loop],
            env={**os.environ, "PYTHONHASHSEED": hashing},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hashing in ("0", "12345")
    ]
    printed = [each.communicate(timeout=50)[0] for each in started]
    assert [each.returncode for each in started] == [0, 0]
    assert len(set(printed)) == 1
    assert len(printed[0].strip()) == hashlib.sha256().digest_size * 2


def test_another_seed_gives_another_run() -> None:
    assert run_simulation(of_seed, 1).trace != run_simulation(of_seed, 4).trace


def test_decisions_repeat_a_run() -> None:
    first = run_simulation(of_seed, 17)
    assert first.decisions
    again = run_simulation(of_seed, 17, decisions=first.decisions)
    assert again.trace == first.trace
    assert run_simulation(of_seed, 17, decisions=()).processes == 1


MENDED = (871, 1253, 1648, 1801, 2897, 3022, 3184, 5984, 7747, 8332)
"""Seeds that have found something once."""


@pytest.mark.parametrize("seed", MENDED)
def test_what_was_once_found(seed: int) -> None:
    simulate(of_seed, [seed], loop=loop_of(seed))
