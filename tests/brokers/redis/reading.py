"""What these tests share: an event, and reading by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from reactor.core import Record, Source
from tests.servers.redis import Redis

PATIENCE = 20.0


class Tick(msgspec.Struct, frozen=True):
    number: int
    text: str = ""


def numbers(records: Iterable[Record[Any]] | None) -> list[int]:
    return [record.value.number for record in records or ()]


async def ask(server: Redis, *command: Any) -> Any:
    """Run one command at the server."""
    return await anyio.to_thread.run_sync(lambda: server.ask(*command))


@asynccontextmanager
async def opened(source: Source[Any]) -> AsyncGenerator[Source[Any], None]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def take(source: Source[Any], count: int, *, commit: bool = False) -> list[int]:
    """Return the numbers of the next ``count`` events."""
    found: list[int] = []
    with anyio.fail_after(PATIENCE):
        while len(found) < count:
            records = await source.read(count - len(found))
            assert records is not None, f"it ended after {found}"
            found += numbers(records)
            if commit:
                await settle(source)
    return found


async def all_of(source: Source[Any]) -> list[int]:
    """Return the numbers up to the end, each settled."""
    found: list[int] = []
    with anyio.fail_after(PATIENCE):
        while (records := await source.read(100)) is not None:
            found += numbers(records)
            await settle(source)
    return found


async def settle(source: Source[Any]) -> None:
    position = source.position()
    assert position is not None
    await source.commit(position)


async def until(ready: Callable[[], Awaitable[object]], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not await ready():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        await anyio.sleep(0.01)
