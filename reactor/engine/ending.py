"""The stage of a sink that is an object: it writes what waits, one write at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import OperatorTimeout, Sink
from reactor.delivery import Fail
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.failures import noted
from reactor.engine.stage import Stage
from reactor.operators import Abort, SinkEnd

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


Call = Callable[[], Awaitable[None]]


class SinkStage(Stage):
    """Writes chunks to a Sink, flushes it at every barrier and at the end."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, SinkEnd)
        self.op = op
        self.sink: Sink[Any] = op.sink
        self._label = run.graph.labels()[plan.head]
        self._give_up = self.handler_of(self._label, op, 0)
        self._opened = False

    async def open(self) -> None:
        self._opened = True
        try:
            await self.sink.open()
        except Exception as error:
            self._noted(error)
            raise

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self.sink.close()

    async def work(self) -> None:
        (channel,) = self.inputs
        most = self.run.graph.chunk
        while True:
            item = await self.next_item(channel, most)
            if type(item) is Chunk:
                n = len(item.values)
                self.events_in += n
                self.working_on = n
                await self._write(item)
                self.working_on = 0
                if self.letters:
                    await self.write_letters()
                await self.breathe()
            elif type(item) is End:
                await self._flush_sink()
                return await self.end(item)
            elif isinstance(item, Barrier | Watermark):
                if isinstance(item, Barrier):
                    await self._flush_sink()
                self.mark(item)

    async def _write(self, chunk: Chunk) -> None:
        """Write it; what is refused is written again in halves, until the bad event stands alone."""
        error, calls = await self._attempt(partial(self.sink.write, list(chunk.values)), "write")
        if error is None:
            return
        n = len(chunk.values)
        if isinstance(self.op.on_error, Fail):
            first = chunk.values[0]
            raise noted(error, self.run.graph.name, self._label, first if n == 1 else list(chunk.values))
        if n > 1:
            await self._write(chunk.part(0, n // 2))
            await self._write(chunk.part(n // 2, n))
            return
        origin = chunk.columns[0][0] if chunk.columns else None
        abort: Abort | None = None
        try:
            self._give_up(chunk.values[0], origin, error, calls)
        except Abort as aborted:
            abort = aborted
        if abort is not None:
            raise self.failed(abort, self._label)

    async def _attempt(self, call: Call, what: str) -> tuple[Exception | None, int]:
        """Call until it succeeds or is given up; return the last failure, and how many calls it took."""
        calls = 0
        began = anyio.current_time()
        try:
            while True:
                calls += 1
                try:
                    await self._once(call, what)
                    return None, calls
                except Exception as error:
                    try:
                        delay = self.op.retry.delay(calls, error) if self.op.retry is not None else None
                    except Exception as second:
                        self._noted(second)
                        raise
                    if delay is None:
                        return error, calls
                self.counts[f"{self._label}: retried"] += 1
                await anyio.sleep(delay)
        finally:
            self.busy += anyio.current_time() - began

    async def _once(self, call: Call, what: str) -> None:
        timeout = self.op.timeout
        if timeout is None:
            return await call()
        with anyio.move_on_after(timeout) as scope:
            return await call()
        if scope.cancelled_caught:
            raise OperatorTimeout(f"{self._label}: the {what} took more than {timeout:g} s (timeout=)")

    async def _flush_sink(self) -> None:
        error, _ = await self._attempt(self.sink.flush, "flush")
        if error is not None:
            raise self._noted(error)

    def _noted(self, error: Exception) -> Exception:
        return noted(error, self.run.graph.name, self._label)
