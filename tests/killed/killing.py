"""Children that are started, killed, and started again; and what they have left."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import anyio

from reactor import Topic
from tests.killed.events import Order, Paid, order_topic, orders, payment_topic, payments, result_topic
from tests.killed.oracle import Plain, expected
from tests.killed.trace import Trace

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("REACTOR_KILLS", "")
"""How often each kind of pipeline is killed: with 50, the tests here take some minutes."""
EVENTS = int(os.environ.get("REACTOR_KILLED_EVENTS", "40000" if LONG else "12000"))
QUICK = 15.0
"""Seconds after which one that was started again has to be the owner: the lease is much longer."""
PATIENCE = 90.0


class Killable(Protocol):
    """A process that can be ended, again and again."""

    def kill(self) -> None:
        """End it, and wait until it is gone."""


running: list[Killable] = []
"""Those of this test; what is left of them is killed behind it."""


class Child:
    """One run of ``tests.killed.child``."""

    def __init__(self, folder: Path, what: str, *arguments: object, number: int = 0) -> None:
        self._said = folder / f"child{number}.log"
        self.trace = Trace(folder / f"child{number}.trace", new=True)
        command = [sys.executable, "-m", "tests.killed.child", folder, what, folder / f"child{number}.trace"]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*map(str, command), *map(str, arguments)], cwd=ROOT, stdout=said, stderr=said
            )
        self.began = time.monotonic_ns()
        running.append(self)

    def until(self, moment: str) -> float:
        """Return after how many seconds it came so far; it fails where the process has ended before."""
        seconds: float = self._until(lambda: self.trace.since(moment, self.began), moment)
        return seconds

    def until_saved(self, count: int) -> None:
        """Return when it has saved so many checkpoints."""
        self._until(lambda: self.trace.count("save") >= count or None, f"checkpoint {count}")

    def _until(self, look: Any, what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while (found := look()) is None:
            assert self.process.poll() is None, f"it ended before it was {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"not {what} after {PATIENCE:g} s:\n{self.said()}"
            time.sleep(0.0005)
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()

    def wait(self) -> int:
        """Return its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it didn't end:\n{self.said()}") from None

    def ended_well(self) -> None:
        code = self.wait()
        assert code == 0, f"it ended with {code}:\n{self.said()}"

    def said(self) -> str:
        return self._said.read_text("utf-8", "replace")[-6000:]


class World:
    """The events of one test, of which more and more are published; and what has to come out."""

    def __init__(self, folder: Path, seed: int, count: int = EVENTS) -> None:
        self.folder = folder
        self.orders = orders(count, seed)
        self.payments = payments(self.orders, seed)
        self.due = expected(self.orders, self.payments)
        self._published = [0, 0]

    def publish(self, share: float) -> None:
        """So that this share of all events stands in the topics."""
        anyio.run(self._publish, share)

    async def _publish(self, share: float) -> None:
        both: list[tuple[Topic[Any], Sequence[Order | Paid]]] = [
            (order_topic(self.folder), self.orders),
            (payment_topic(self.folder), self.payments),
        ]
        for at, (topic, events) in enumerate(both):
            end = round(len(events) * share)
            some = list(events[self._published[at] : end])
            self._published[at] = end
            await topic.publish(some)

    def kill_again_and_again(
        self, what: str, kills: int, dice: random.Random, *arguments: object
    ) -> Counter[str]:
        """Start, kill, publish more; then let it end. Return what it was doing when it was killed."""
        hit: Counter[str] = Counter()
        for n in range(kills):
            self.publish((n + 1) / (kills + 1))
            hit.update(self._killed(what, dice, arguments))
        self.publish(1)
        last = Child(self.folder, what, "--seed", dice.randrange(1000), *arguments)
        last.ended_well()
        _quick(last)
        return hit

    def _killed(self, what: str, dice: random.Random, arguments: Sequence[object]) -> list[str]:
        how = dice.choices(("aimed", "working", "claimed", "early"), (12, 8, 2, 3))[0]
        aim: list[object] = []
        if how == "aimed":
            phase, most = dice.choice(_AIMS[what])
            aim = ["--die", phase, dice.randint(1, most), dice.choice((0, dice.random() * 0.01))]
        loop = dice.choice(("asyncio", "trio"))
        child = Child(
            self.folder, what, "--follow", "--seed", dice.randrange(1000), "--loop", loop, *aim, *arguments
        )
        try:
            if how in ("working", "claimed"):
                child.until("going" if how == "working" else "claimed")
            # What was aimed at a moment that doesn't come is killed like the others.
            child.process.wait(3 if aim else dice.random() * 0.4)
        except subprocess.TimeoutExpired:
            child.kill()
        code = child.process.returncode
        assert code == -signal.SIGKILL, f"it ended with {code}:\n{child.said()}"
        _quick(child)
        return child.trace.under_way()

    # What came out -------------------------------------------------------------------------------------------

    def exactly(self, found: dict[str, list[Plain]]) -> None:
        """Each row is there once, and no other; those of the topic in order."""
        assert found.keys() == self.due.keys()
        for name, rows in self.due.items():
            assert not _differs(Counter(found[name]), Counter(rows)), name
        assert found["checked"] == self.due["checked"]

    def nothing_less(self, found: dict[str, list[Plain]]) -> int:
        """Each row is there, once or more often, and no other. Return how many are there too often."""
        assert found.keys() == self.due.keys()
        more = 0
        for name, rows in self.due.items():
            due, there = Counter(rows), Counter(found[name])
            assert not due - there, (
                f"{name}: {len(due - there)} rows are missing, as {next(iter(due - there))}"
            )
            assert not there.keys() - due.keys(), f"{name}: {next(iter(there.keys() - due.keys()))} is wrong"
            more += (there - due).total()
        return more


_AIMS = {
    "exact": [
        ("restore", 12),
        ("recover", 12),
        ("write", 60),
        *(("prepare", 48), ("publish", 48), ("save", 4)) * 2,
    ],
    "least": [("restore", 12), ("write", 60), ("save", 4), ("save", 4), ("commit", 6), ("commit", 6)],
}
"""The phases at whose begin the process kills itself, and the highest number of times that it has begun."""


def _quick(child: Child) -> None:
    claimed = child.trace.since("claimed", child.began)
    assert claimed is None or claimed < QUICK, f"the owner after {claimed:.1f} s:\n{child.said()}"


def _differs(there: Counter[Plain], due: Counter[Plain]) -> str:
    if there == due:
        return ""
    missing, surplus = due - there, there - due
    some = [f"{list(each.items())[:3]}" for each in (missing, surplus)]
    return f"missing {missing.total()}: {some[0]}, too many {surplus.total()}: {some[1]}"


def rows_of(path: Path, name: str) -> list[Plain]:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
        return db.execute(f'SELECT k, t, v, x FROM "{name.replace(" ", "_")}"').fetchall()


def tables(folder: Path, names: Iterable[str]) -> dict[str, list[Plain]]:
    return {
        name: rows_of(folder / ("more.db" if name in ("joined", "minutes") else "tables.db"), name)
        for name in names
    }


def results(folder: Path) -> list[Plain]:
    async def read() -> list[Plain]:
        rows = [record.value async for record in result_topic(folder).records()]
        return [(row.k, row.t, row.v, row.x) for row in rows]

    return anyio.run(read)


def lines_of(path: Path) -> Iterator[Plain]:
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        yield row["k"], row["t"], row["v"], row["x"]
