"""The short form of ``python -m tests.load``: what came out is exact, and nothing grows out of bounds."""

import math
from pathlib import Path

import pytest

from tests.load.measuring import MIB, Sample, judge
from tests.load.running import loaded


@pytest.mark.asyncio
async def test_some_seconds_at_full_speed(tmp_path: Path) -> None:
    # In so short a time SQLite's caches still fill, and the machine may be busy with others.
    verdict = await loaded(tmp_path, 8, keys=2_000, every=0.25, growth=0.6, slowing=0.9, filled=False)
    assert not verdict.faults


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


def test_what_grows_slower_and_slower_is_found() -> None:
    slow = [Sample(n, round(1000 * math.log(n + 1)), 50 * MIB, 9, 5, 20, {"in.db": 0}) for n in range(40)]
    (fault,) = judge(slow).faults
    assert fault.startswith("throughput")
