"""The stage of a sink that is an object: it writes what waits, one write at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from reactor.core import ArgumentError, CircuitOpen, OperatorTimeout, Refused, Sink
from reactor.delivery import Fail
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.failures import noted
from reactor.engine.sinks import claim, release
from reactor.engine.stage import Stage
from reactor.operators import Abort, SinkEnd

if TYPE_CHECKING:
    from reactor.engine.circuits import Circuit
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
        self.circuit = run.circuit(op.breaker)
        self._opened = False
        self.transacts = run.graph.guarantee == "exactly-once" and self.sink.transactional
        """True where what is written is staged, and published when a checkpoint is decided."""
        self._fresh = False
        """True when something has been written that isn't prepared yet."""
        self._turn = anyio.Lock()
        self._unflushed = False
        """True when a flush has something to do, and so tells whether the sink works."""

    async def open(self) -> None:
        try:
            claim(self.sink, self._label)
            self._opened = True
            await self.sink.open()
            if self.transacts:
                last = self.run.coordinator.last
                await self.sink.recover(
                    self._owner(), last.number if last is not None else 0, self.run.coordinator.fence
                )
        except Exception as error:
            self._noted(error)
            raise

    def _owner(self) -> str:
        """Who has staged something: the same after the graph has changed, so that it is found and published."""
        own = self.op.describe()
        nodes = self.run.graph.nodes()
        same = [node for node in nodes if isinstance(node.op, SinkEnd) and node.op.describe() == own]
        number = same.index(self.plan.head) + 1
        return f"{self.run.graph.name}/{own}" if number == 1 else f"{self.run.graph.name}/{own}#{number}"

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            release(self.sink)
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
                if self.saves:
                    self._fresh = True
                    self.run.coordinator.ask()
                await self.breathe()
            elif type(item) is End:
                await self._flush_sink()
                if self.transacts and self._fresh:
                    await self._prepare(self.run.coordinator.behind(self._passed))
                return await self.end(item)
            elif isinstance(item, Barrier | Watermark):
                if isinstance(item, Barrier):
                    await self._flush_sink()
                    if self.transacts:
                        await self._prepare(item.number)
                self.mark(item)

    async def _write(self, chunk: Chunk) -> None:
        """Write it; what is refused is written again in halves, until the bad event stands alone or is named."""
        left: Chunk | None = chunk
        calls = 0
        while left is not None:
            error, calls = await self._attempt(partial(self.sink.write, list(left.values)), "write", calls)
            if isinstance(error, Refused):
                left, calls = await self._without(left, error, calls)
            elif error is None:
                return
            else:
                return await self._halve(left, error, calls)

    async def _halve(self, chunk: Chunk, error: Exception, calls: int) -> None:
        n = len(chunk.values)
        if isinstance(self.op.on_error, Fail):
            first = chunk.values[0]
            raise noted(error, self.run.graph.name, self._label, first if n == 1 else list(chunk.values))
        if n == 1 or isinstance(error, CircuitOpen):  # no call was made: there is nothing to find out
            for at in range(n):
                self._drop(chunk, at, error, calls)
            return
        await self._write(chunk.part(0, n // 2))
        await self._write(chunk.part(n // 2, n))

    async def _without(self, chunk: Chunk, refused: Refused, calls: int) -> tuple[Chunk | None, int]:
        """Give up on the events that the sink has named; return what is to be written again."""
        n = len(chunk.values)
        for at in refused.errors:
            if not 0 <= at < n:
                raise self._noted(ArgumentError(f"Refused names event {at} of a write of {n}")) from refused
        delays: list[float] = []
        again = set[int]() if refused.rest_stored else set(range(n)) - refused.errors.keys()
        for at, error in sorted(refused.errors.items()):
            delay = self._delay(calls, error)
            if delay is None:
                self._drop(chunk, at, error, calls)
            else:
                delays.append(delay)
                again.add(at)
        if delays:
            self.counts[f"{self._label}: retried"] += 1
            await anyio.sleep(max(delays))
        return (chunk.rows(sorted(again)) if again else None), (calls if delays else 0)

    def _drop(self, chunk: Chunk, at: int, error: Exception, calls: int) -> None:
        origin = chunk.columns[0][at] if chunk.columns else None
        abort: Abort | None = None
        try:
            self._give_up(chunk.values[at], origin, error, calls)
        except Abort as aborted:
            abort = aborted
        if abort is not None:
            raise self.failed(abort, self._label)

    async def _attempt(self, call: Call, what: str, calls: int = 0) -> tuple[Exception | None, int]:
        """Call until it succeeds or is given up; return the last failure, and how many calls it took.

        A flush or prepare that has nothing to do doesn't ask the circuit, and tells it nothing.
        """
        idle = (what == "flush" and not self._unflushed) or (what == "prepare" and not self._fresh)
        circuit = None if idle else self.circuit
        spared = ticket = 0
        began = anyio.current_time()
        try:
            while True:
                if circuit is not None:
                    asked = anyio.current_time()
                    try:
                        if circuit.breaker.when_open == "fail" and what == "write":
                            ticket = circuit.enter_now(self._label)
                        else:
                            ticket = await circuit.enter()
                    except CircuitOpen as error:
                        return error, calls
                    began += anyio.current_time() - asked
                calls += 1
                try:
                    await self._once(call, what)
                except Exception as error:
                    if isinstance(error, Refused) and what == "write":
                        self._answered(circuit, ticket, what)
                        return error, calls
                    if circuit is not None and self._spares(circuit, ticket, error):
                        spared += 1
                        continue
                    delay = self._delay(calls - spared, error)
                    if delay is None:
                        return error, calls
                else:
                    self._answered(circuit, ticket, what)
                    return None, calls
                self.counts[f"{self._label}: retried"] += 1
                await anyio.sleep(delay)
        finally:
            self.busy += anyio.current_time() - began

    def _answered(self, circuit: Circuit | None, ticket: int, what: str) -> None:
        if what == "write":
            self._unflushed = type(self.sink).flush is not Sink.flush
        if circuit is not None:
            circuit.succeeded(ticket, self._label)

    def _delay(self, calls: int, error: Exception) -> float | None:
        """Seconds until the next call; None when there is none."""
        try:
            return self.op.retry.delay(calls, error) if self.op.retry is not None else None
        except Exception as second:
            self._noted(second)
            raise

    def _spares(self, circuit: Circuit, ticket: int, error: Exception) -> bool:
        try:
            return circuit.failed(ticket, error, self._label)
        except Exception as second:  # on= is a function of the user
            self._noted(second)
            raise

    async def _once(self, call: Call, what: str) -> None:
        if self.transacts:  # publishing is another task's call
            async with self._turn:
                return await self._in_time(call, what)
        await self._in_time(call, what)

    async def _in_time(self, call: Call, what: str) -> None:
        timeout = self.op.timeout
        if timeout is None:
            return await call()
        with anyio.move_on_after(timeout) as scope:
            return await call()
        if scope.cancelled_caught:
            raise OperatorTimeout(f"{self._label}: the {what} took more than {timeout:g} s (timeout=)")

    async def _prepare(self, number: int) -> None:
        error, _ = await self._attempt(partial(self.sink.prepare, number), "prepare")
        if error is not None:
            raise self._noted(error)
        self._fresh = False

    async def publish(self, number: int) -> None:
        """The checkpoint stands: everybody may see what was written before it."""
        error, _ = await self._attempt(partial(self.sink.publish, number), "publish")
        if error is not None:
            raise self._noted(error)

    async def _flush_sink(self) -> None:
        error, _ = await self._attempt(self.sink.flush, "flush")
        self._unflushed = False
        if error is not None:
            raise self._noted(error)

    def _noted(self, error: Exception) -> Exception:
        return noted(error, self.run.graph.name, self._label)
