"""The pipeline at full speed for some time, beside whoever publishes what it reads."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread

from reactor import Run
from tests.load.measuring import FEWEST, Sample, Verdict, judge, look, warmed
from tests.load.world import FILLING, PIECE, World

AHEAD = 40_000
"""Sales that may be published before they are read."""


async def loaded(
    folder: Path,
    seconds: float,
    *,
    keys: int = 10_000,
    every: float = 1.0,
    brief: bool = False,
    tell: Callable[[Sample, Sample | None], None] = lambda sample, before: None,
) -> Verdict:
    """Run for so long; compare what came out with what has to, and judge what it took.

    ``brief`` is for some seconds, in which SQLite's caches and files don't fill.
    """
    world = World(folder, keys, 0 if brief else FILLING)
    threads, tasks = look(0, 0, folder).threads, len(asyncio.all_tasks())
    samples: list[Sample] = []
    began = time.monotonic()
    published = 0

    def over(passed: float) -> bool:
        return passed > seconds and (not brief or len(warmed(samples)) >= FEWEST or passed > 60)

    async def publish(run: Run) -> None:
        nonlocal published
        while not over(time.monotonic() - began) and run.error is None:
            if published - run.metrics().events_in > AHEAD:
                await anyio.sleep(0.001)
                continue
            await world.sales.publish(world.piece(published))
            published += PIECE

    async def watch(run: Run) -> None:
        while True:
            await anyio.sleep(every)
            sample = look(time.monotonic() - began, run.metrics().events_in, folder)
            if brief and samples and sample.events == samples[-1].events:
                continue  # a stall, in which more is under way than usual
            tell(sample, samples[-1] if samples else None)
            samples.append(sample)

    async with world.sales, world.pipeline().start() as run:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, run)
            await publish(run)
            group.cancel_scope.cancel()  # what is left is no full speed any more
        with anyio.fail_after(60):
            while await world.sales.position("load") != published:
                await anyio.sleep(0.01)
                if run.error is not None:
                    raise run.error
        taken = await run.checkpoint()
    verdict = judge(samples, brief=brief, filling=world.filling)
    after = look(0, 0, folder)
    verdict.must(after.threads <= threads, f"threads when all is over: {after.threads}, before: {threads}")
    verdict.must(after.tasks <= tasks, f"tasks when all is over: {after.tasks}, before: {tasks}")
    verdict.lines.append(f"     {published:,} sales, checkpoint {taken.number & 0xFFFFFFFF}")
    verdict.must(*await anyio.to_thread.run_sync(compared, world, published))
    return verdict


def compared(world: World, count: int) -> tuple[bool, str]:
    """Whether what came out is what had to."""
    totals, minutes, letters = world.expected(count)
    with closing(sqlite3.connect(world.folder / "out.db")) as db:
        found = {row[0]: row[1:] for row in db.execute("SELECT customer, start, amount FROM totals")}
    with closing(sqlite3.connect(world.folder / "minutes.db")) as db:
        rows = db.execute("SELECT start, amount FROM minutes ORDER BY start").fetchall()
    with closing(sqlite3.connect(world.folder / "dead.db")) as db:
        ((dead,),) = db.execute("SELECT count(*) FROM events")
    same = (found == totals, rows == minutes, dead == letters)
    return all(same), (
        f"exactly once: {len(found)} totals, {len(rows)} windows, {dead} dead letters; as expected: {same}"
    )
