"""Dead letters at brokers: made by a pipeline that fails, and seen to from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import msgspec

import reactor
from reactor import DeadLetters, Pipeline, Retry, Stream, Topic, dead_letters

ROOT = Path(reactor.__file__).parent.parent


class Order(msgspec.Struct, frozen=True):
    number: int


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


async def command(*words: str, **environment: str) -> Done:
    """Run ``python -m reactor dead-letters`` as a process."""

    def run() -> Done:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "reactor", "dead-letters", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return await anyio.to_thread.run_sync(run)


def refuse(order: Order) -> Order:
    raise ValueError(f"order {order.number} is refused")


async def failed(dead: Topic[Any], count: int) -> None:
    """Have so many orders fail, which came from no topic."""
    orders = Stream([Order(n) for n in range(count)]).map(refuse, name="refuse", on_error=DeadLetters())
    async with Pipeline("shop", orders.discard(), dead_letters=dead).start() as run:
        await run.wait()


async def seen(dead: Topic[Any], state: Any = None) -> list[int]:
    """Return the numbers of the orders that are listed."""
    letters = [letter async for letter in dead_letters(dead).list(state=state)]
    return sorted(letter.event["number"] for letter in letters)


async def settled(dead: Topic[Any], discarded: Sequence[int]) -> None:
    """Discard these."""
    async with dead_letters(dead) as letters:
        for letter in [letter async for letter in letters.list()]:
            if letter.event["number"] in discarded:
                await letter.discard()


async def retried(orders: Topic[Any], dead: Topic[Any]) -> Counter[int]:
    """Have two orders of five fail while the pipeline runs, each time; return how often each has come.

    A retrier runs beside it until both letters were tried three times, and then a little longer.
    """
    came: Counter[int] = Counter()

    def look(order: Order) -> Order:
        came[order.number] += 1
        return refuse(order) if order.number > 2 else order

    looked = orders.subscribe("g").map(look, name="look", on_error=DeadLetters())
    async with Pipeline("shop", looked.discard(), dead_letters=dead, interval=0.05).start():
        await orders.publish([Order(n) for n in range(5)])
        with anyio.fail_after(60):
            while len(came) < 5:
                await anyio.sleep(0.02)
            async with anyio.create_task_group() as tasks:
                policy = Retry(3, initial=0.5, max=0.5)
                tasks.start_soon(partial(dead_letters(dead).retry, policy, follow=True))
                while min(came[3], came[4]) < 3:
                    await anyio.sleep(0.02)
                await anyio.sleep(3)
                tasks.cancel_scope.cancel()
    left = [letter async for letter in dead_letters(dead).list(state="open")]
    assert sorted((letter.event["number"], letter.tried) for letter in left) == [(3, 3), (4, 3)]
    return came
