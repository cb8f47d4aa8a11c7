"""What these tests publish, and how they read it by hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import msgspec

from reactor.core import Record, Source


class Tick(msgspec.Struct, frozen=True):
    number: int


@asynccontextmanager
async def opened(source: Source[Tick]) -> AsyncGenerator[Source[Tick], None]:
    try:
        await source.open()
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()


async def take(source: Source[Tick], count: int, *, commit: bool = False) -> list[Record[Tick]]:
    found: list[Record[Tick]] = []
    with anyio.fail_after(30):
        while len(found) < count:
            found += await source.read(count - len(found)) or ()
            if commit:
                await source.commit(source.position() or 0)
    return found


def numbers(records: list[Record[Tick]]) -> list[int]:
    return [record.value.number for record in records]
