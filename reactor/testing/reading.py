"""Reads async sources and calls async functions without a loop, as long as they never wait."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Iterator
from typing import Any

from reactor.core import Source
from reactor.testing.outcome import Undetermined
from reactor.testing.rows import Row


def finished(result: Any) -> Any:
    """What an awaitable comes to that never waits; anything else as it is."""
    if not inspect.isawaitable(result):
        return result
    steps = _awaited(result)
    try:
        steps.send(None)
    except StopIteration as stop:
        return stop.value
    except RuntimeError as error:
        if type(error).__name__ not in _NO_LOOP and str(error) != "no running event loop":
            raise
    steps.close()
    raise Undetermined("a function waits, which it can't do without a loop; pass a stand-in for it")


_NO_LOOP = ("NoEventLoopError", "AsyncLibraryNotFoundError")
"""What anyio's and sniffio's functions raise; older and newer ones don't share a class."""


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def listed(events: AsyncIterable[Any]) -> Iterator[Any]:
    iterator = aiter(events)
    while True:
        try:
            yield finished(anext(iterator))
        except StopAsyncIteration:
            return


def records(source: Source[Any]) -> Iterator[Any]:
    try:
        finished(source.open())
        there = frozenset(source.parts()) if source.partitioned else frozenset[str]()
        while (batch := finished(source.read(1))) is not None:
            before, there = there, frozenset(source.parts()) if source.partitioned else there
            for record in batch:
                yield Row(record.value, part=record.part, there=(before, before | there))
    finally:
        finished(source.close())
