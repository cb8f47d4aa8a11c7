"""``python -m reactor checkpoints`` as a process: what it prints, does, and ends with."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

import reactor
from reactor.connectors import holder, state_store
from reactor.delivery import Change, Checkpoint

pytestmark = pytest.mark.timeout(180)  # a test starts up to ten processes

ROOT = Path(reactor.__file__).parent.parent
URL = "sqlite:billing.db"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs the command in a folder with a file of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "billing.db"

    def __call__(self, command: str, *arguments: str, url: str = URL) -> Done:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "reactor", "checkpoints", command, url, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def save(self, pipeline: str, number: int, rows: int, *, complete: bool = False, keep: str = "") -> None:
        anyio.run(self._save, pipeline, number, rows, complete, keep)

    async def _save(self, pipeline: str, number: int, rows: int, complete: bool, keep: str) -> None:
        store = state_store(f"sqlite:{self.path}")
        await store.open()
        fence = await store.claim(pipeline, holder(), 600)
        assert fence is not None
        operators = {"by customer": "window", "seen": "distinct"}
        cut = Checkpoint(number, 1_800_000_000_000_000 + number, {"orders": number}, operators, complete)
        await store.save(
            pipeline, fence, cut, [Change("by customer", [(b"%04d" % n, b"x" * 6) for n in range(rows)])]
        )
        if keep:
            await store.keep(pipeline, keep)
        await store.release(pipeline, fence)
        await store.close()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.save("billing", 5, 300, keep="before")
    made.save("billing", 9, 1200)
    made.save("shipping", 3, 2, complete=True)
    return made


def test_list(shell: Shell) -> None:
    done = shell("list")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines == [
        ["pipeline", "savepoint", "taken", "at", "operators", "rows", "size", "state"],
        ["billing", "(last)", "2027-01-15T08:00:00Z", "2", "1,200", "12.0", "kB", "stopped"],
        ["billing", "before", "2027-01-15T08:00:00Z", "2", "300", "3.0", "kB"],
        ["shipping", "(last)", "2027-01-15T08:00:00Z", "2", "2", "20", "bytes", "complete"],
    ]
    assert done.err == "3 checkpoints\n"
    objects = shell("list", "--pipeline", "billing", "--json").objects
    assert [(one["name"], one["number"], one["positions"]) for one in objects] == [
        (None, 9, {"orders": 9}),
        ("before", 5, {"orders": 5}),
    ]


def test_show(shell: Shell) -> None:
    out = [line.split(maxsplit=1) for line in shell("show", "billing").out.splitlines()]
    assert [[key, text.rstrip()] for key, text in out] == [
        ["pipeline", "billing"],
        ["checkpoint", "the last one, number 9"],
        ["taken", "at    2027-01-15T08:00:00Z"],
        ["size", "1,200 rows, 12.0 kB"],
        ["position", "orders: 9"],
        ["operator", "by customer (window): 1,200 rows"],
        ["operator", "seen (distinct): 0 rows"],
    ]
    (kept,) = shell("show", "billing", "before", "--json").objects
    assert (kept["name"], kept["rows"], kept["size"]) == ("before", {"by customer": 300, "seen": 0}, 3000)
    assert "it had come to its end" in shell("show", "shipping").out
    wrong = shell("show", "billing", "other")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err == f"error: {URL}: pipeline billing has no savepoint other; there are: before\n"
    assert (
        "pipeline nobody has no checkpoint; there are those of: billing, shipping"
        in shell("show", "nobody").err
    )


def test_who_runs_it(shell: Shell) -> None:
    body = f"""
import anyio, sys
from reactor.connectors import holder, state_store
async def main():
    store = state_store("sqlite:{shell.path}")
    await store.open()
    print(await store.claim("billing", holder(), 600), flush=True)
    sys.stdin.readline()
    await store.close()
anyio.run(main)
"""
    command = [sys.executable, "-c", body]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert "running" in shell("list").out
        assert f"process {child.pid} on " in shell("show", "billing").out
        for command in (["restore", "billing", "before"], ["reset", "billing", "--yes"]):
            done = shell(command[0], *command[1:])
            assert done.code == 1
            assert f"process {child.pid} on " in done.err
            assert "runs the pipeline billing; stop it first" in done.err
        assert shell("keep", "billing", "now").code == 0
        child.communicate("\n")


def test_keep_restore_delete_reset(shell: Shell) -> None:
    done = shell("keep", "billing", "v2")
    assert (done.code, done.out) == (0, "billing: checkpoint 9 is kept as v2: 1,200 rows, 12.0 kB\n")
    done = shell("keep", "billing", "v2")
    assert done.code == 1
    assert "has a savepoint v2 already; choose another name, or delete it first" in done.err
    done = shell("restore", "billing", "before")
    expected = "billing: goes on from before, taken at 2027-01-15T08:00:00Z, as checkpoint 10\n"
    assert (done.code, done.out) == (0, expected)
    assert shell("show", "billing", "--json").objects[0]["positions"] == {"orders": 5}
    assert shell("delete", "billing", "before").out == "billing: the savepoint before is deleted\n"
    assert shell("restore", "billing", "before").code == 1
    done = shell("reset", "billing")
    assert (done.code, done.err) == (2, "error: what the pipeline remembers would be lost; say --yes\n")
    done = shell("reset", "billing", "--yes")
    assert (done.code, done.out) == (0, "billing: begins anew when it is started the next time\n")
    assert [one["name"] for one in shell("list", "--pipeline", "billing", "--json").objects] == ["v2"]
    assert shell("reset", "nobody", "--yes").code == 1


def test_a_damaged_checkpoint_does_not_hide_the_others(shell: Shell) -> None:
    with closing(sqlite3.connect(shell.path, isolation_level=None)) as db:
        db.execute("UPDATE reactor_states_cuts SET body = 'x' WHERE pipeline = 'billing' AND name = ''")
    done = shell("list", "--json")
    assert done.code == 1
    assert [(one["pipeline"], one["name"]) for one in done.objects] == [
        ("billing", "before"),
        ("shipping", None),
    ]
    assert "the last checkpoint of pipeline billing isn't what was written" in done.err
    assert "python -m reactor checkpoints restore URL billing NAME" in done.err
    assert shell("restore", "billing", "before").code == 0
    assert shell("list").code == 0


def test_what_is_not_there(shell: Shell) -> None:
    done = shell("list", url="sqlite:other.db")
    assert (done.code, done.err) == (1, "error: sqlite:other.db: there is no file other.db\n")
    assert not (shell.folder / "other.db").exists()
    done = shell("list", url="postgres:x")
    assert done.code == 2
    assert "unknown scheme 'postgres'" in done.err
