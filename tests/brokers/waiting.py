"""A reader without a group that waits at the end of a log: only it, or a checkpoint, knows where that was."""

from __future__ import annotations

from typing import Any

import anyio

from reactor import Topic


async def misses_nothing(ticks: Topic[Any], *events: Any) -> None:
    """Read with ``start="latest"``: of three events the second and third come, each while nobody was reading."""
    first, second, third = events
    await ticks.publish(first)
    for waits in (True, False):
        source = ticks.source(start="latest")
        at, bookmark = await _waited(source, waits)
        await ticks.publish(second)
        source = ticks.source(start="latest")
        await source.open()
        await source.restore(at, bookmark)
        assert await _next(source) == second
        await source.close()

        source = ticks.source(start="latest")
        at, _ = await _waited(source, waits)
        await ticks.publish(third)
        await source.open()
        await source.seek(at)
        assert await _next(source) == third
        await source.close()


async def _waited(source: Any, waits: bool) -> tuple[int, str | None]:
    """Open it, wait for nothing, or not even that, and close it; return its position, and the bookmark of that."""
    await source.open()
    if waits:
        with anyio.move_on_after(0.2):
            while not await source.read(1):
                pass
            raise AssertionError("something came")
    at = source.position()
    bookmark = source.bookmark(at)
    await source.close()
    return at, bookmark


async def _next(source: Any) -> Any:
    with anyio.fail_after(10):
        while not (records := await source.read(1)):
            pass
    return records[0].value
