"""A file was cut, or a bit of it has changed: what comes out is right, or an error says which file it is.

Then a backup of all files, of one moment, leads on to the right result.
"""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from reactor.core import StateCorrupt, TopicCorrupt, TopicError
from tests.faults.shop import FIRST, PLACES, Gate, Out, Shop, expected_letters, expected_sums

pytestmark = pytest.mark.anyio

SOON = 20.0
DAMAGE = ["cut", "bit", "page"]
"""Its end is missing; one bit is another; a page of 4096 bytes is of something else."""


SAYS = ("restore", "isn't what was written", "not a SQLite", "is missing")


def damage(path: Path, how: str, dice: random.Random) -> None:
    size = path.stat().st_size
    if how == "cut":
        os.truncate(path, dice.randrange(1, size))
        return
    at = dice.randrange(size) if how == "bit" else dice.randrange(size // 4096) * 4096
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1 << dice.randrange(8)]) if how == "bit" else dice.randbytes(4096))


def copied(here: Path, there: Path) -> None:
    for path in there.glob("*.db*"):
        path.unlink()
    for path in here.glob("*.db*"):
        shutil.copy(path, there)


async def ended(shop: Shop, place: str, gate: Gate | None = None, how: Callable[[], object] = bool) -> str:
    """Run to the end, and read what came out; return what was complained of."""
    error: Exception | None = None
    try:
        with anyio.fail_after(SOON):
            async with shop.pipeline(gate=gate).start() as run:
                if gate is not None:
                    await gate.reached.wait()
                    how()
                    gate.open()
                await run.wait()
            sums = [(record.value.number, record.value.total) async for record in shop.sums.records()]
            letters = sorted([record.value["event"]["number"] async for record in shop.dead.records()])
    except (TopicError, StateCorrupt) as found:
        error = found
    if error is None:
        assert sums == expected_sums()
        assert letters == expected_letters()
        return ""
    assert f"{shop.folder}/{place}: " in str(error)
    assert any(word in str(error) for word in SAYS), error
    return str(error)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", DAMAGE)
async def test_before_the_start(tmp_path: Path, how: str, place: str) -> None:
    dice = random.Random(f"{how} of {place}")
    shop, backup = Shop(tmp_path, "topic"), tmp_path / "backup"
    backup.mkdir()
    await shop.begun()
    copied(tmp_path, backup)
    complaints = []
    for _ in range(3):
        damage(tmp_path / place, how, dice)
        complaints.append(await ended(shop, place))
        copied(backup, tmp_path)
    assert await ended(shop, place) == ""
    await shop.check()
    if how == "cut":
        assert all(complaints)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["bit", "page"])
async def test_in_the_middle_of_a_run(tmp_path: Path, how: str, place: str) -> None:
    dice = random.Random(f"{how} of {place}")
    shop, backup = Shop(tmp_path, "topic"), tmp_path / "backup"
    backup.mkdir()
    await shop.begun()
    copied(tmp_path, backup)
    for _ in range(2):
        gate = Gate()
        gate.closed = True
        await ended(shop, place, gate, lambda: damage(tmp_path / place, how, dice))
        copied(backup, tmp_path)
    assert await ended(shop, place) == ""
    await shop.check()


async def test_a_log_that_is_shorter_than_the_checkpoint_says(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "topic")
    await shop.begun()
    backup = tmp_path / "backup"
    backup.mkdir()
    copied(tmp_path, backup)
    (tmp_path / "in.db").unlink()
    await shop.publish(0, FIRST - 20)
    with pytest.raises(TopicCorrupt, match=rf"in\.db.* ends at {FIRST - 20}.* {FIRST}.*restore") as caught:
        await shop.pipeline().run()
    assert "in pipeline 'shop', operator orders" in "".join(caught.value.__notes__)
    copied(backup, tmp_path)
    await shop.pipeline().run()
    await shop.check()


@pytest.mark.parametrize("out", ["topic", "table"])
async def test_a_state_file_that_was_deleted_lets_the_pipeline_begin_anew(
    tmp_path: Path, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute later: fencing numbers of a new file begin with the time."""
    shop = Shop(tmp_path, out)
    for n in range(3):
        await shop.publish(n * 10, n * 10 + 10)
        await shop.pipeline().run()
    (tmp_path / "state.db").unlink()
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)
    await shop.publish(30, 40)
    await shop.pipeline().run()
    assert await shop.orders.position("shop") == 40
