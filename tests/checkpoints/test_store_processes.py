"""One file of checkpoints that several processes use at once, kill -9 included."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reactor.connectors import holder, is_gone, state_store
from reactor.core import Fenced
from reactor.delivery import Change, Checkpoint, CheckpointStore
from reactor.testing.checkpoints import rows_of

pytestmark = pytest.mark.asyncio

Start = Callable[..., subprocess.Popen[str]]

LONG = 600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> CheckpointStore:
    return state_store(f"sqlite:{path}")


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Run the body of a coroutine in a process of its own; ``store`` is the store, ``args`` the arguments."""
    children: list[subprocess.Popen[str]] = []

    def start(body: str, *args: object) -> subprocess.Popen[str]:
        program = "import os, sys\nimport anyio\nfrom reactor.connectors import holder, state_store\n"
        program += "from reactor.core import Fenced\nfrom reactor.delivery import Change, Checkpoint\n"
        program += "async def main():\n    store = state_store(f'sqlite:{sys.argv[1]}')\n"
        program += "    args = sys.argv[2:]\n    await store.open()\n"
        program += (
            textwrap.indent(textwrap.dedent(body), "    ") + "\n    await store.close()\nanyio.run(main)\n"
        )
        command = [sys.executable, "-c", program, str(path), *map(str, args)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


async def says(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return (await anyio.to_thread.run_sync(child.stdout.readline)).strip()


async def killed(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(child.wait)


FIGHT = """
    # Whoever gets the pipeline adds one to what the checkpoint says, until another one has taken over.
    saved = fenced = 0
    me = holder()
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        fence = await store.claim("p", me, 0.01)
        if fence is None:
            await anyio.sleep(0.003)
            continue
        last = await store.last("p")
        count = last.positions["count"] if last else 0
        try:
            while True:
                count += 1
                if count > 400:
                    print(saved, fenced, flush=True)
                    return
                rows = [(b"%d" % n, b"%d" % count) for n in range(50)]
                cut = Checkpoint(count, count, {"count": count}, {"a": "scan"})
                await store.save("p", fence, cut, [Change("a", rows)])
                saved += 1
                if saved % 40 == 0:
                    await anyio.sleep(0.05)  # as if it stood still for longer than its lease
        except Fenced:
            fenced += 1
"""


async def test_processes_that_fight_for_a_pipeline_lose_no_save(store: CheckpointStore, start: Start) -> None:
    fighters = [start(FIGHT) for _ in range(2)]
    for fighter in fighters:
        assert await says(fighter) == "ready"
    for fighter in fighters:
        assert fighter.stdin is not None
        fighter.stdin.write("go\n")
        fighter.stdin.flush()
    told = [tuple(map(int, (await says(fighter)).split())) for fighter in fighters]
    await store.open()
    try:
        last = await store.last("p")
        assert last is not None
        assert last.positions == {"count": 400}
        # Had one written over the other, they would have saved more often than they have counted.
        assert sum(saved for saved, _ in told) == 400
        assert sum(fenced for _, fenced in told) > 0
        assert set((await rows_of(store, "p", "a")).values()) == {b"400"}
    finally:
        await store.close()


HOLD = """
    fence = await store.claim("p", holder(), 600)
    await store.save("p", fence, Checkpoint(1, 1, {}, {"a": "scan"}), [Change("a", [(b"1", b"x")])])
    print(fence, flush=True)
    sys.stdin.readline()
"""


async def test_an_owner_that_is_killed_is_not_waited_for(store: CheckpointStore, start: Start) -> None:
    await store.open()
    try:
        child = start(HOLD)
        fence = int(await says(child))
        owner = await store.owner("p")
        assert owner is not None
        assert f":{child.pid}:" in owner.holder
        assert await store.claim("p", holder(), LONG) is None
        await killed(child)
        assert await store.owner("p") is None
        mine = await store.claim("p", holder(), LONG)
        assert mine is not None
        assert mine > fence
        with pytest.raises(
            Fenced, match=f"fencing number {fence} doesn't count any more: process {os.getpid()} on"
        ):
            await store.save("p", fence, Checkpoint(2, 2, {}, {}), [])
        assert await rows_of(store, "p", "a") == {b"1": b"x"}
    finally:
        await store.close()


async def gone(name: str) -> bool:
    return await anyio.to_thread.run_sync(is_gone, name)


async def test_a_process_number_that_is_given_anew_is_another_process(
    store: CheckpointStore, start: Start
) -> None:
    child = start("print(holder(), flush=True)\nsys.stdin.readline()")
    name = await says(child)
    assert not await gone(name)
    host, pid, started, *rest = name.split(":")
    assert await gone(":".join([host, pid, str(int(started) - 1), *rest]))
    # Of another machine, another run of it, or processes that we can't see, nothing is known.
    assert not await gone(":".join(["elsewhere", pid, "1", *rest]))
    for place in range(2):
        other = list(rest)
        other[place] = "f00"
        assert not await gone(":".join([host, pid, "1", *other]))
    assert not await gone("somebody")
    assert not await gone("")
    await killed(child)
    assert await gone(name)


SAVE = """
import os, sys
import anyio
from reactor.connectors import holder, state_store
from reactor.delivery import Change, Checkpoint

async def main():
    store = state_store(f"sqlite:{sys.argv[1]}")
    await store.open()
    fence = await store.claim("p", holder(), 600)
    last = await store.last("p")
    number = last.number if last else 0
    print("ready", os.getpid(), flush=True)
    while True:
        number += 1
        rows = [(b"%d" % n, b"%d" % number) for n in range(number % 7, 3000 + number % 7)]
        operators = {"whole": "window", "some": "scan"}
        some = [(b"%d" % (number % 100), b"%d" % number), (b"sum", b"%d" % number)]
        changes = [Change("whole", rows, True), Change("some", some)]
        await store.save("p", fence, Checkpoint(number, number, {"x": number}, operators), changes)
        print("saved", number, flush=True)

for _ in sys.stdin:  # each line makes another process, which needn't import all anew
    child = os.fork()
    if not child:
        anyio.run(main)
    os.waitpid(child, 0)
    print("dead", 0, flush=True)
"""


async def test_killed_in_the_middle_of_a_save(store: CheckpointStore, path: Path) -> None:
    chance = random.Random(4)
    told = 0
    command = [sys.executable, "-c", SAVE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mother:
        try:
            for _ in range(20):
                assert mother.stdin is not None
                mother.stdin.write("go\n")
                mother.stdin.flush()
                word, child = (await says(mother)).split()
                assert word == "ready"
                for _ in range(chance.randrange(3)):
                    told = int((await says(mother)).split()[1])
                await anyio.sleep(chance.random() * 0.06)  # so that it is anywhere in its work
                os.kill(int(child), signal.SIGKILL)
                while (line := (await says(mother)).split())[0] == "saved":
                    told = int(line[1])
                assert line[0] == "dead"
                await store.open()  # the only one now: the file is recovered
                try:
                    number = await whole(store)
                finally:
                    await store.close()
                assert number >= told  # what was acknowledged is there
        finally:
            mother.kill()  # and who it has made, once nobody reads what it prints
    assert told > 0


async def whole(store: CheckpointStore) -> int:
    """The number of the last checkpoint, all of whose rows are there, and none of another."""
    last = await store.last("p")
    if last is None:
        return 0
    number = last.number
    assert last == Checkpoint(number, number, {"x": number}, {"whole": "window", "some": "scan"})
    rows = await rows_of(store, "p", "whole")
    assert rows == {b"%d" % n: b"%d" % number for n in range(number % 7, 3000 + number % 7)}
    assert await rows_of(store, "p", "some") == {
        b"sum": b"%d" % number,
        **{b"%d" % (n % 100): b"%d" % n for n in range(max(1, number - 99), number + 1)},
    }
    return number


async def test_a_log_and_its_checkpoints_in_one_file(
    path: Path, store: CheckpointStore, start: Start
) -> None:
    body = """
        from reactor.topics import topic
        orders = topic(f"sqlite:{sys.argv[1]}/orders")
        async with orders:
            for n in range(60):
                await orders.publish(n)
        print("done", flush=True)
    """
    writer = start(body)
    await store.open()
    try:
        fence = await store.claim("p", holder(), LONG)
        assert fence is not None
        for number in range(1, 41):
            rows = [(b"%d" % n, b"%d" % number) for n in range(500)]
            await store.save("p", fence, Checkpoint(number, number, {}, {"a": "scan"}), [Change("a", rows)])
        assert await says(writer) == "done"
        assert set((await rows_of(store, "p", "a")).values()) == {b"40"}
    finally:
        await store.close()
