"""The short form of ``python -m tests.load``: what came out is exact, and nothing grows out of bounds."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.measuring import MIB, Sample, judge, stays

ROOT = Path(__file__).parents[2]


def test_some_seconds_at_full_speed(tmp_path: Path) -> None:
    """In a process of its own: what other tests have left in this one is none of its memory and handles."""
    brief = ("--brief", "--minutes", "0.075", "--every", "0.2", "--keys", "2000", "--folder", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "tests.load", *brief], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sample(second: int, rss: float = 50, handles: int = 9, wal: float = 4) -> Sample:
    sizes = {"in.db": second * MIB, "in.db-wal": round(wal * MIB)}
    return Sample(second, second * 1000, round(rss * MIB), handles, 5, 20, sizes)


def test_what_stays_as_it_is_is_flat() -> None:
    assert not judge([sample(n) for n in range(40)]).faults


@pytest.mark.parametrize("what", ["rss", "handles", "wal"])
def test_what_grows_is_found(what: str) -> None:
    grown = [sample(n, **{what: 5 + n}) for n in range(40)]  # type: ignore[arg-type]
    (fault,) = judge(grown).faults
    assert fault.startswith({"rss": "memory", "handles": "handles", "wal": "in.db-wal"}[what])


@pytest.mark.parametrize(
    "seen",
    [
        [39, 39, 39, 39, 39, 39, 39, 40, 39, 39, 39, 39],
        [40, 39, 39, 39, 39, 39, 40, 40, 39, 40, 40, 39],
        [40, 40, 39, 40, 40, 40, 39, 40, 40, 39, 40, 40],
        [41, 40, 39, 39, 39, 39, 39, 39, 39, 39, 39, 39],
    ],
)
def test_what_is_open_for_a_moment_is_no_growth(seen: list[int]) -> None:
    assert stays(seen)


@pytest.mark.parametrize(
    "seen",
    [
        [39, 39, 39, 39, 39, 39, 40, 40, 40, 40, 40, 40],
        [39, 39, 40, 39, 39, 39, 39, 40, 40, 41, 40, 40],
        [39, 39, 40, 39, 39, 39, 41, 41, 42, 40, 39, 41],
        [39, 39, 39, 39, 40, 40, 40, 40, 41, 41, 41, 41],
    ],
)
def test_what_is_never_closed_is_growth(seen: list[int]) -> None:
    assert not stays(seen)


def test_what_grows_slower_and_slower_is_found() -> None:
    slow = [Sample(n, round(1000 * math.log(n + 1)), 50 * MIB, 9, 5, 20, {"in.db": 0}) for n in range(40)]
    (fault,) = judge(slow).faults
    assert fault.startswith("throughput")
