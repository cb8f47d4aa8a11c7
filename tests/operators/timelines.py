"""Events at given moments, and when something comes out: by a virtual clock, on asyncio and on trio."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from reactor import Stream

END = "end"

by_virtual_clock = [pytest.mark.anyio, pytest.mark.usefixtures("virtual_clock")]
"""What a module's pytestmark is, where the tests play on a timeline."""


def at(*moments: tuple[float, Any], end: float | None = None) -> Stream[Any]:
    """A stream that gives each event at its moment, and ends behind the last one, or at ``end``."""

    async def play() -> AsyncIterator[Any]:
        began = anyio.current_time()
        for moment, event in moments:
            await anyio.sleep_until(began + moment)
            yield event
        if end is not None:
            await anyio.sleep_until(began + end)

    return Stream(play)


def every(seconds: float, count: int, *, end: float | None = None) -> Stream[Any]:
    """0, 1, 2, ..., the first after ``seconds``."""
    return at(*(((n + 1) * seconds, n) for n in range(count)), end=end)


async def played(stream: Stream[Any]) -> list[tuple[float, Any]]:
    """What comes out and when; last of all, when the stream ends."""
    began = anyio.current_time()
    seen: list[tuple[float, Any]] = []
    async with stream.open() as events:
        async for event in events:
            seen.append((round(anyio.current_time() - began, 6), event))
    return [*seen, (round(anyio.current_time() - began, 6), END)]
