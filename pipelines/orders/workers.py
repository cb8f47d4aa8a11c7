"""Consumers in processes of their own, which share a group at the bus. One that dies is replaced."""

from __future__ import annotations

import logging
import os
import sys
from subprocess import DEVNULL

import anyio

from pipelines.orders.home import Home
from pipelines.orders.world import World

log = logging.getLogger("reactor")

BUS = "ORDERS_BUS"
"""The environment variable that may hold the bus's URL."""
_PAUSE = 0.5
"""Seconds between the end of one and the start of the next."""
_TOO_SHORT = 5.0
_TIMES = 5
_DRAIN = 60.0


class WorkerFailed(Exception):
    """A consumer's process ends again and again."""


async def employed(home: Home, name: str, world: World) -> None:
    """Keep one process that runs the consumer, until cancelled: then it drains, and ends.

    Raises WorkerFailed where it has ended so many times in a row, each time at once.
    """
    short = 0
    while True:
        began = anyio.current_time()
        code = await _run(home, name, world)
        short = short + 1 if anyio.current_time() - began < _TOO_SHORT else 0
        log.warning("%s: a process of it ended with %s; another one takes its place", name, code)
        if short == _TIMES:
            raise WorkerFailed(
                f"{name}: its process ended {_TIMES} times at once, with {code}; see {home.path}/shop.log"
            )
        await anyio.sleep(_PAUSE)


async def _run(home: Home, name: str, world: World) -> int | None:
    assert home.bus is not None
    command = [sys.executable, "-m", "pipelines.orders", "consume", name, "--follow"]
    command += [
        "--home",
        str(home.path),
        "--gateway",
        world.gateway,
        "--smtp",
        f"{world.smtp_host}:{world.smtp_port}",
    ]
    environment = {**os.environ, BUS: home.bus}  # a password in it isn't for all who can list processes
    # A session of its own: ctrl-C in the terminal is for the shop, which lets it drain.
    process = await anyio.open_process(
        command, stdin=DEVNULL, stdout=DEVNULL, stderr=None, env=environment, start_new_session=True
    )
    try:
        return await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(_DRAIN):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()
