"""The short form of ``python -m tests.load``: what came out is exact, and nothing grows out of bounds."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.measuring import MIB, Sample, judge, stays

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[2]


def test_some_seconds_at_full_speed(tmp_path: Path) -> None:
    """In a process of its own: what other tests have left in this one is none of its memory and handles."""
    brief = ("--brief", "--minutes", "0.075", "--every", "0.2", "--keys", "2000", "--folder", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "tests.load", *brief], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sample(
    second: int, rss: float = 50, blocks: float = 100, handles: int = 9, wal: float = 4, pace: float = 1
) -> Sample:
    sizes = {"in.db": second * MIB, "in.db-wal": round(wal * MIB)}
    events = round(second**pace * 1000)
    return Sample(second, events, round(rss * MIB), round(blocks * 1000), handles, 5, 20, sizes)


def test_what_stays_as_it_is_is_flat() -> None:
    assert not judge([sample(n) for n in range(40)]).faults


@pytest.mark.parametrize(
    ("what", "line"), [("rss", "memory"), ("blocks", "blocks"), ("handles", "handles"), ("wal", "in.db-wal")]
)
def test_what_grows_is_found(what: str, line: str) -> None:
    grown = [sample(n, **{what: 5 + n}) for n in range(40)]  # type: ignore[arg-type]
    (fault,) = judge(grown).faults
    assert fault.startswith(line)


def test_objects_that_are_kept_are_found_even_in_some_seconds() -> None:
    """A run of 100,000 events that keeps one object of each, and has 250,000 at each moment."""
    kept = [sample(n, blocks=250 + 3 * n + n * 37 % 20) for n in range(40)]
    (fault,) = judge(kept, brief=True).faults
    assert fault.startswith("blocks")
    assert not judge([sample(n, blocks=250 + n * 37 % 40) for n in range(40)], brief=True).faults


def test_a_machine_that_is_busy_at_the_end_is_no_growth_in_some_seconds() -> None:
    """Hardly anything goes on, and more is under way than usual at most looks."""
    busy = [sample(n, blocks=350 if n > 30 else 250, pace=0.01 if n > 30 else 1) for n in range(40)]
    busy[35] = sample(35, blocks=260)
    assert not judge(busy, brief=True).faults
    assert len(judge(busy).faults) == 2


def test_caches_that_fill_belong_to_the_warm_up() -> None:
    filling = [sample(n, rss=50 + min(n, 30)) for n in range(60)]
    assert judge(filling).faults
    assert not judge(filling, filling=30_000).faults
    (fault,) = judge(filling, filling=55_000).faults
    assert fault.startswith("too short")


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
    (fault,) = judge([sample(n, pace=0.05) for n in range(40)]).faults
    assert fault.startswith("throughput")
