"""Two processes on one pipeline: one owns its checkpoints, the other one stands by and takes over."""

import os
import random
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.killed import killing
from tests.killed.killing import QUICK, Child, World, results, tables

pytestmark = pytest.mark.timeout(600 if killing.LONG else 180)

LEASE = 2
"""Seconds: longer than what a busy machine keeps an owner from its renewals."""


def rounds(few: int) -> int:
    return int(killing.LONG) // 5 if killing.LONG else few


def ends_right(world: World) -> None:
    Child(world.folder, "exact", number=999).ended_well()
    world.exactly({**tables(world.folder, world.due.keys() - {"checked"}), "checked": results(world.folder)})


def test_when_the_owner_is_killed_the_other_one_takes_over_at_once(tmp_path: Path) -> None:
    dice = random.Random("standby")
    world = World(tmp_path, seed=4, count=killing.EVENTS // 3)
    owner = Child(tmp_path, "exact", "--follow")
    owner.until("claimed")
    count = rounds(3)
    for n in range(1, count + 1):
        standby = Child(tmp_path, "exact", "--follow", "--seed", n, number=n)
        standby.until("standby")
        world.publish((2 * n - 1) / (2 * count + 1))
        time.sleep(dice.random() * 0.2)
        assert standby.trace.since("claimed", standby.began) is None
        owner.kill()
        moment = time.monotonic_ns()
        standby.until("claimed")
        took = standby.trace.since("claimed", moment)
        assert took is not None
        assert took < QUICK, f"its lease was waited for: {took:.1f} s"
        world.publish(2 * n / (2 * count + 1))
        standby.until("going")
        said = standby.said()
        assert "another process runs it; this one stands by" in said
        assert "this process takes over" in said
        owner = standby
    owner.kill()
    world.publish(1)
    ends_right(world)


def test_an_owner_that_stood_still_for_longer_than_its_lease_is_fenced(tmp_path: Path) -> None:
    dice = random.Random("stopped")
    world = World(tmp_path, seed=5, count=killing.EVENTS // 3)
    owner = Child(tmp_path, "exact", "--follow", "--lease", LEASE)
    owner.until("claimed")
    count = rounds(2)
    for n in range(1, count + 1):
        standby = Child(tmp_path, "exact", "--follow", "--lease", LEASE, "--seed", n, number=n)
        standby.until("standby")
        world.publish((2 * n - 1) / (2 * count + 1))
        owner.until("going")
        time.sleep(dice.random() * 0.2)
        stop(owner, tmp_path)
        standby.until("claimed")
        world.publish(2 * n / (2 * count + 1))
        standby.until_saved(1)
        owner.send(signal.SIGCONT)
        assert owner.wait() == 1, owner.said()
        said = owner.said()
        assert set(re.findall(r"reactor\.core\.errors\.(\w+): ", said)) == {"Fenced"}, said
        assert "another process has taken over" in said or "doesn't count any more" in said
        assert standby.process.poll() is None, standby.said()
        owner = standby
    owner.kill()
    world.publish(1)
    ends_right(world)


def stop(child: Child, folder: Path) -> None:
    """Let it stand still, with no file locked: what it does in a transaction it would keep from everybody."""
    deadline = time.monotonic() + killing.PATIENCE
    while True:
        child.send(signal.SIGSTOP)
        _, status = os.waitpid(child.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), child.said()
        if not any(locked(path) for path in folder.glob("*.db")):
            return
        assert time.monotonic() < deadline
        child.send(signal.SIGCONT)
        time.sleep(0.001)


def locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        db.execute("ROLLBACK")
        return False
