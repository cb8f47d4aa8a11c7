"""Runs that are cancelled or drained at random moments, and started again: exactly once, for every operator."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from pathlib import Path

import anyio
import pytest

from reactor import Cancelled, Checkpoints, Pipeline, Run
from tests.checkpoints.worlds import BUILT, Staging

pytestmark = pytest.mark.anyio

STOPS = 6
SEEDS = max(1, int(os.environ.get("REACTOR_EXAMPLES", "100")) // 100)


def pipeline(what: str, dice: random.Random, sink: Staging, store: str) -> Pipeline:
    return Pipeline(
        "numbers",
        BUILT[what](dice).to(sink),
        checkpoint=Checkpoints(store, interval=dice.choice([0.001, 0.005, 0.02]), spacing=0.0005),
        guarantee="exactly-once",
        capacity=dice.choice([1, 3, 64, 1024]),
        chunk=dice.choice([1, 5, 64, 4096]),
    )


async def stopped(run: Run, dice: random.Random) -> None:
    try:
        async with run:
            with anyio.move_on_after(dice.random() * 0.06):
                await run.wait()
            if dice.random() < 0.5:
                run.cancel()
    except Cancelled:
        pass


async def results(what: str, dice: random.Random, store: str, stops: int) -> Counter[str]:
    sink = Staging()
    for _ in range(stops):
        await stopped(pipeline(what, dice, sink, store).start(), dice)
    await pipeline(what, dice, sink, store).run()
    return Counter(map(repr, sink.seen))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("what", BUILT)
async def test_what_is_stopped_and_started_again_gives_the_same(
    what: str, seed: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    dice = random.Random(zlib.crc32(f"{what} {seed} {anyio_backend_name}".encode()))
    wanted = await results(what, dice, f"memory:{tmp_path.name}-once", 0)
    assert wanted
    assert await results(what, dice, f"memory:{tmp_path.name}-stopped", STOPS) == wanted


async def test_in_a_file_too(tmp_path: Path, anyio_backend_name: str) -> None:
    for what in ("tumbling lists", "fan-out", "map async"):
        dice = random.Random(what + anyio_backend_name)
        wanted = await results(what, dice, f"memory:{tmp_path.name}-once-{what}", 0)
        assert await results(what, dice, f"sqlite:{tmp_path}/{what}.db", STOPS) == wanted
