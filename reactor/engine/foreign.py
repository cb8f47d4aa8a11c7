"""The stage of another library's operator: it is given an async iterable and gives one back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel

from reactor.core import ArgumentError, ReactorError
from reactor.engine.elements import Chunk, End
from reactor.engine.failures import noted
from reactor.engine.stage import Stage
from reactor.operators import Foreign

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class ForeignStage(Stage):
    """Feeds an operator that works on async iterables, and emits what comes out.

    Nobody can tell which outputs came from which inputs, so a barrier passes only at the end.
    """

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Foreign)
        self.op = op
        self._end: End | None = None

    async def open(self) -> None:
        token: object = anyio.lowlevel.current_token()
        native = type(getattr(token, "native_token", token)).__module__
        loop = "trio" if native.partition(".")[0] == "trio" else "asyncio"
        if loop not in self.op.loops:
            raise ArgumentError(
                f"through(): {self.op.name} runs on {' and '.join(self.op.loops)}, not on {loop}"
            )

    async def work(self) -> None:
        (channel,) = self.inputs
        try:
            async with aclosing(self._events()) as events:
                async with _opened(self.op.pipe(events)) as iterable:
                    async for value in iterable:
                        self.events_in -= 1  # emit counts what goes into the chain; events in are those read
                        if not await self.emit(Chunk((value,))):
                            break
        except ReactorError:
            raise
        except Exception as error:
            label = self.run.graph.labels()[self.plan.head]
            noted(error, self.run.graph.name, label)
            raise
        end = self._end
        if end is None:  # it, or what follows, wanted no more
            channel.leave()
            end = End(True, dict.fromkeys(self.sources, None))
        await self.end(end)

    async def _events(self) -> AsyncGenerator[Any, None]:
        (channel,) = self.inputs
        while True:
            item = await self.next_item(channel, self.limit)
            if item is None:
                return
            if type(item) is Chunk:
                self.events_in += len(item.values)
                for value in item.values:
                    yield value
                await anyio.lowlevel.checkpoint()
            elif type(item) is End:
                self._end = item
                return


def _opened(result: Any) -> AbstractAsyncContextManager[Any]:
    """aiostream's streams are opened by a context manager; async generators are closed; others just are."""
    stream = getattr(result, "stream", None)
    if callable(stream):
        return cast("AbstractAsyncContextManager[Any]", stream())
    return aclosing(result) if hasattr(result, "aclose") else nullcontext(result)
