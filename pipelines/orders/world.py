"""Where the payment gateway and the mail server are."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from subprocess import PIPE

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from pipelines.orders.home import Home


@dataclass(frozen=True)
class World:
    """The addresses of the servers outside."""

    gateway: str
    smtp_port: int
    smtp_host: str = "127.0.0.1"


class NoWorld(Exception):
    """The simulated servers didn't start."""


@asynccontextmanager
async def simulated(home: Home) -> AsyncGenerator[World, None]:
    """Run the simulated servers beside this process; they end with it, however it ends."""
    command = [sys.executable, "-m", "pipelines.orders.simulated", str(home.path)]
    # A session of its own: ctrl-C in the terminal is for the shop, which still needs the servers to drain.
    process = await anyio.open_process(
        command, stdin=PIPE, stdout=PIPE, stderr=None, env=os.environ, start_new_session=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with anyio.fail_after(60):
                line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1000)
        except (anyio.EndOfStream, anyio.IncompleteRead, TimeoutError):
            log = home.path / "shop.log"
            raise NoWorld(f"the simulated gateway and mail server didn't start; see {log}") from None
        yield msgspec.convert(msgspec.json.decode(line), World)
    finally:
        with anyio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with anyio.move_on_after(5):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()
