"""Streams that are read in place: iterated without a task of their own, or opened with one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from reactor.core import Cancelled, ReactorError
from reactor.engine.channel import Census, Parker
from reactor.engine.elements import Barrier, Chunk, End
from reactor.engine.execution import Execution, Reader
from reactor.engine.reading import IterableStage
from reactor.graph import Graph, check

T_co = TypeVar("T_co", covariant=True)


class NeedsTask(ReactorError, TypeError):
    """The stream can't be iterated as it is: it needs tasks, and they need a block to live in."""


def iterate(graph: Graph) -> AsyncGenerator[Any, None]:
    """Yield the stream's events, where that needs no task; else raise NeedsTask."""
    check(graph, open_end=True)
    stage, *others = Execution(graph).stages
    if others or not isinstance(stage, IterableStage):
        why = f"{stage.name} is read" if not others else f"it has {1 + len(others)} stages"
        raise NeedsTask(
            f"async for over this stream needs tasks of its own ({why}): write "
            "`async with stream.open() as events:` and iterate over events"
        )
    return _iterate(stage)


async def _iterate(stage: IterableStage) -> AsyncGenerator[Any, None]:
    """Pull: the source gives a chunk, the loop what comes out of it, as far as the reader has asked."""
    read: list[Chunk] = []

    async def keep(chunk: Any) -> bool:
        read.append(chunk)
        return True

    stage.emit = keep  # type: ignore[method-assign]
    steps = stage.steps()
    try:
        going = True
        while going and not stage.finished:
            failure: Exception | None = None
            try:
                going = await anext(steps, False)
            except Exception as error:
                failure = error  # what came before it comes first
            while read:
                for values in stage.results(read.pop(0)):
                    for value in values:
                        yield value
            if failure is not None:
                raise failure
            await stage.breathe()
        if not stage.finished:
            for values in stage.results(None):
                for value in values:
                    yield value
    finally:
        with anyio.CancelScope(shield=True):
            await steps.aclose()
        stage.let_go()


class Opened(Generic[T_co]):
    """``async with stream.open() as events``: runs the stream, as long as the block lasts.

    Leaving the block stops the run. Events that the block has not taken are not handled: a source with
    positions gives them again.
    """

    def __init__(self, graph: Graph) -> None:
        check(graph, open_end=True)
        self._reader = Reader(graph.capacity)
        self._run = Execution(graph, self._reader)
        self._parker = Parker(Census())
        self._events: Iterator[T_co] = iter(())
        self._over = False
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> AsyncIterator[T_co]:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._execute)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._reader.channel.leave()
        self._events = iter(())  # what it has left is not handed out any more, nor kept
        self._run.cancel()
        if isinstance(error, Exception):  # it goes its way as it is, without a group around it
            await self._tasks.__aexit__(None, None, None)
            return None
        suppressed = await self._tasks.__aexit__(kind, error, trace)
        if error is None and (failure := self._failure()) is not None:
            raise failure  # nobody has read as far as there
        return suppressed

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self

    async def __anext__(self) -> T_co:
        for event in self._events:
            return event
        channel = self._reader.channel
        while True:
            item = channel.take_now(1024)
            if item is None:
                if self._over:
                    raise self._failure() or StopAsyncIteration
                channel.reader = self._parker
                await self._parker.park()
                channel.reader = None
            elif type(item) is Chunk:
                await anyio.lowlevel.checkpoint()
                self._events = iter(item.values)
                return next(self._events)
            elif type(item) is End:
                self._run.complete(self._reader, item.limits or {})
            elif type(item) is Barrier:
                self._run.acknowledge(self._reader, item.number)

    def _failure(self) -> BaseException | None:
        error, self._run.error = self._run.error, None
        return error

    async def _execute(self) -> None:
        try:
            await self._run.execute()
        except Cancelled:
            self._run.error = None
        except Exception:
            pass  # the reader raises it
        finally:
            self._over = True
            self._parker.wake()


__all__ = ["NeedsTask", "Opened", "iterate"]
