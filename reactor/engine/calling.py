"""The stage that awaits a function for each event, several at a time: a pool of workers, no task per event.

The workers draw from one iterator over the present chunk. In the order of the input, a result whose turn it
isn't waits together with its worker, so that in flight and waiting for their turn are never more than
``concurrency``. One watchdog looks after all timeouts.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from operator import length_hint
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from reactor.core import ArgumentError, CircuitOpen, OperatorTimeout
from reactor.engine.calls import Async, asynchronous
from reactor.engine.channel import Parker
from reactor.engine.elements import Barrier, Chunk, Element, End, Mark, Watermark
from reactor.engine.failures import noted, stray
from reactor.engine.processes import Processes
from reactor.engine.rows import Meta, Rows
from reactor.engine.stage import SLICE, Stage
from reactor.operators import SKIP, Abort, Call
from reactor.windows import END_OF_TIME

if TYPE_CHECKING:
    from reactor.engine.circuits import Circuit
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class _Task:
    """One event in a worker's hands."""

    __slots__ = ("calls", "epoch", "key", "meta", "result", "seq", "spared", "ticket", "value")

    def __init__(self, seq: int, epoch: int, value: Any, meta: Meta) -> None:
        self.seq = seq
        self.epoch = epoch
        self.value = value
        self.meta = meta
        self.calls = 0
        self.ticket = 0
        self.spared = 0
        """How many of the calls say nothing about the event: the circuit had opened meanwhile."""
        self.key: Any = None
        self.result: Any = None


class _Worker:
    """What the watchdog sees of a worker."""

    __slots__ = ("done", "parker", "scope", "since", "task")

    def __init__(self, parker: Parker) -> None:
        self.parker = parker
        self.scope: anyio.CancelScope | None = None
        self.since: float | None = None
        self.task: _Task | None = None
        self.done = False


class _Pool:
    """What the workers look at for each event: slots are the fastest place for it."""

    __slots__ = ("call", "epoch", "items", "main_waits", "out", "seq", "turn", "waiting", "waking")

    def __init__(self, call: Async) -> None:
        self.call = call
        self.items: Iterator[Any] = iter(())
        """The present chunk, from which all workers draw."""
        self.out: list[Any] = []
        """Results that the stage's own task has still to emit."""
        self.seq = 0
        """How many events have been drawn."""
        self.turn = 0
        """How many are done; in the order of the input, also the number of the next to be emitted."""
        self.epoch = 0
        """How many marks have come."""
        self.waiting: dict[int, tuple[_Task, _Worker]] = {}
        """Results whose turn it isn't, with the workers that sleep meanwhile."""
        self.waking = False
        """True while a worker has been woken and hasn't run yet."""
        self.main_waits = False


class CallStage(Stage):
    """Calls the function of a Call operator for each event of its channel."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        op = plan.head.op
        assert isinstance(op, Call)
        self.op = op
        self.label = run.graph.labels()[plan.head]
        self._give_up = self.handler_of(self.label, op, len(self.nodes))
        self.circuit = run.circuit(op.breaker)
        self._processes = Processes(op.concurrency) if op.where == "process" else None
        self._pool = _Pool(asynchronous(op, self._checked, self._refuse, self._processes))
        self._limit = min(max(op.concurrency, 16), run.graph.chunk)
        self._rows = Rows(plan.given)
        self._columns = bool(plan.given)
        self._out_metas: list[Meta] = []
        self._exhausted = True
        self._fed = 0
        """How many events have been given to the workers."""
        self._before: deque[list[Any]] = deque()
        """Marks that wait: [mark, the number of the event behind it, epoch, how many before it aren't done]."""
        self._keys: dict[Any, deque[_Task]] = {}
        self._sleepers: list[_Worker] = []
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._failure: BaseException | None = None
        self._last: Barrier | None = None
        """The barrier that ends a drain, until all before it is drawn."""
        self._present: list[Any] = []
        """The present chunk, where what is left of it may have to be saved."""
        self._again: Chunk | None = None
        """What was under way when the state was saved that the run began with."""

    async def close(self) -> None:
        if self._processes is not None:
            await self._processes.close()

    # The stage's own task -----------------------------------------------------------------------------------

    async def work(self) -> None:
        end = End()
        try:
            async with anyio.create_task_group() as self._group:
                if self.op.timeout is not None:
                    self._group.start_soon(self._watch, self.op.timeout)
                end = await self._serve()
                self._group.cancel_scope.cancel()
        finally:
            self._workers.clear()
        await self.end(end)

    async def _serve(self) -> End:
        (channel,) = self.inputs
        end: End | None = None
        if self._again is not None:
            again, self._again = self._again, None
            await self._feed(again)
        while True:
            if self.finished:
                channel.leave()
                return End()
            # While one of these waits, workers go on: all must be out before a mark or the end follows.
            while self._pool.out or self.letters:
                if self._pool.out and not await self._emit_ready():
                    channel.leave()
                    return End()
                if self.letters:
                    await self.write_letters()
            self._pass_marks()
            if self._failure is not None:
                self._raise_failure()
            if end is not None:
                if self._pool.turn == self._pool.seq and self._exhausted:
                    return end
            elif self._exhausted:
                item: Element | None = self._last
                self._last = None
                if item is None:
                    item = channel.take_now(self._limit)
                if type(item) is Chunk:
                    await self._feed(item)
                    continue
                if type(item) is End:
                    end = item
                    continue
                if isinstance(item, Barrier | Watermark):
                    if self.saves and type(item) is Barrier and not item.last and self.op.emit != "none":
                        self.mark(item)  # it goes on at once: what is under way is saved, and called again
                    else:
                        self._hold(item)
                    continue
                channel.reader = self.parker
            elif self.saves and self.op.emit != "none":
                barrier = channel.barrier_now()
                if barrier is not None and not barrier.last:
                    self.mark(barrier)  # it needn't wait until the last of its chunk is drawn
                    continue
                if barrier is not None:
                    self._last = barrier
                    continue
                channel.reader = self.parker
            idle = self._pool.turn == self._pool.seq and self._exhausted
            self._pool.main_waits = True
            try:
                if idle:
                    await self.wait(f"events from {channel.source}")
                else:
                    await self._work_on()
            finally:
                self._pool.main_waits = False
                channel.reader = None

    async def _work_on(self) -> None:
        began = perf_counter()
        try:
            await self.parker.park()
        finally:
            self.busy += perf_counter() - began

    async def _emit_ready(self) -> bool:
        out, self._pool.out = self._pool.out, []
        metas: Sequence[Meta]
        metas, self._out_metas = self._out_metas, []
        if self.op.order != "input" and self._columns:
            metas = self._none_late(metas)
        self.events_in -= len(out)  # emit counts what goes into the chain; events in are those drawn
        return await self.emit(self._rows.chunk(out, metas))

    def _none_late(self, metas: Sequence[Meta]) -> Sequence[Meta]:
        """Events may have overtaken others: those still here must not come behind a watermark of these."""
        tasks = [worker.task for worker in self._workers if worker.task is not None]
        tasks += [task for queue in self._keys.values() for task in queue]
        times = (self._rows.watermark(task.meta) for task in tasks)
        lowest = min((time for time in times if time is not None), default=END_OF_TIME)
        return self._rows.not_above(metas, lowest)

    async def _feed(self, chunk: Chunk) -> None:
        n = len(chunk.values)
        self.events_in += n
        self._fed += n
        began = perf_counter()
        if self.saves:
            self._present = list(self._rows.of(chunk)) if self._columns else list(chunk.values)
            self._pool.items = iter(self._present)
        elif self._columns:
            self._pool.items = iter(self._rows.of(chunk))
        else:
            self._pool.items = iter(chunk.values)
        self._exhausted = False
        self._wake_one()
        # The workers run now. One that doesn't wait goes through the whole chunk before this comes back.
        await anyio.lowlevel.checkpoint()
        took = perf_counter() - began
        self.busy += took
        most = self.run.graph.chunk
        if took > SLICE:
            self._limit = max(1, int(n * SLICE / took))
        elif not self._exhausted:
            self._limit = min(self.op.concurrency, most)  # they wait: more would only wait in here
        elif n >= self._limit and took < SLICE / 2:
            self._limit = min(self._limit * 2, most)

    def held_back(self) -> tuple[Any, Any]:
        tasks = [worker.task for worker in self._workers if worker.task is not None]
        tasks += [task for queue in self._keys.values() for task in queue]
        tasks += [task for task, _ in self._pool.waiting.values()]
        tasks.sort(key=_seq)
        return None, [*((task.value, task.meta) for task in tasks), *self._undrawn()]

    def _undrawn(self) -> list[Any]:
        """What is left of the present chunk, which no worker has taken yet."""
        left = length_hint(self._pool.items) if not self._exhausted else 0
        rest = self._present[len(self._present) - left :]
        return list(rest) if self._columns else [(value, ()) for value in rest]

    def take_back(self, own: Any, held: Any) -> None:
        if held:
            self._again = self._rows.chunk([value for value, _ in held], [meta for _, meta in held])

    def _hold(self, mark: Mark) -> None:
        older = sum(entry[3] for entry in self._before)
        self._before.append(
            [mark, self._pool.seq, self._pool.epoch, self._pool.seq - self._pool.turn - older]
        )
        self._pool.epoch += 1

    def _pass_marks(self) -> None:
        ordered = self.op.order == "input"
        while self._before:
            mark, seq, _, missing = self._before[0]
            if (self._pool.turn < seq) if ordered else missing:
                return
            self._before.popleft()
            assert isinstance(mark, Barrier | Watermark)
            self.mark(mark)

    def _raise_failure(self) -> None:
        failure = self._failure
        if isinstance(failure, Abort):
            raise noted(failure.error, self.run.graph.name, self.label, failure.value)
        assert failure is not None
        raise failure

    async def _watch(self, timeout: float) -> None:
        while True:
            now = anyio.current_time()
            nearest = now + timeout
            for worker in self._workers:
                if worker.since is None or worker.scope is None or worker.scope.cancel_called:
                    continue
                if worker.since + timeout <= now:
                    worker.scope.cancel()
                else:
                    nearest = min(nearest, worker.since + timeout)
            await anyio.sleep_until(nearest)

    # The workers --------------------------------------------------------------------------------------------

    def _wake_one(self) -> None:
        if self._idle:
            self._pool.waking = True
            self._idle.pop().parker.wake()
        elif len(self._workers) < self.op.concurrency:
            self._pool.waking = True
            worker = _Worker(Parker(self.run.census))
            self._workers.append(worker)
            self._group.start_soon(self._work, worker, name=f"{self.name}, worker {len(self._workers)}")

    def _wake_main(self) -> None:
        if self._pool.main_waits:
            self._pool.main_waits = False
            self.parker.wake()

    async def _work(self, worker: _Worker) -> None:
        self._pool.waking = False
        try:
            plain = self.op.timeout is None and self.op.retry is None and self.op.breaker is None
            if plain and not self._columns and not self.saves:
                if self.op.emit in ("result", "none") and self.op.order == "input":
                    return await self._work_fast(worker)
                if self.op.emit in ("result", "none") and self.op.order == "done":
                    return await self._work_fast_unordered(worker)
            while True:
                with anyio.CancelScope() as worker.scope:
                    await self._work_watched(worker)
                # Cancelled by the watchdog. A cancellation from outside goes through, and never comes here.
                await self._timed_out(worker)
        except Abort as abort:
            self._fail(abort)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake_main()

    async def _rest(self, worker: _Worker) -> None:
        """There is nothing to draw: sleep until there is."""
        self._exhausted = True
        self._wake_main()
        self._idle.append(worker)
        await worker.parker.park()
        self._pool.waking = False

    async def _work_fast(self, worker: _Worker) -> None:
        """In order, without timeout, retry, keys and columns: nothing but the call and the turn."""
        pool, silent = self._pool, self.op.emit == "none"
        while True:
            items, call = pool.items, pool.call
            for value in items:
                seq = pool.seq
                pool.seq = seq + 1
                if not pool.waking:
                    self._wake_one()
                try:
                    result = await call(value)
                except Exception as error:
                    result = self._give_up(value, None, error)
                    self._wake_main()
                except anyio.get_cancelled_exc_class() as error:
                    result = self._give_up(value, None, stray(error))
                    self._wake_main()
                if seq != pool.turn:
                    task = _Task(seq, pool.epoch, value, ())
                    task.result = SKIP if silent else result
                    pool.waiting[seq] = (task, worker)
                    await worker.parker.park()
                    continue
                if result is not SKIP and not silent:
                    pool.out.append(result)
                pool.turn = seq + 1
                if pool.main_waits:
                    self._wake_main()
                if pool.waiting:
                    self._advance()
            if items is pool.items:  # else the next chunk has come while this worker awaited its call
                await self._rest(worker)

    async def _work_fast_unordered(self, worker: _Worker) -> None:
        """The same, as the results come."""
        pool, silent = self._pool, self.op.emit == "none"
        while True:
            items, call = pool.items, pool.call
            for value in items:
                pool.seq += 1
                epoch = pool.epoch
                if not pool.waking:
                    self._wake_one()
                try:
                    result = await call(value)
                except Exception as error:
                    result = self._give_up(value, None, error)
                    self._wake_main()
                except anyio.get_cancelled_exc_class() as error:
                    result = self._give_up(value, None, stray(error))
                    self._wake_main()
                if result is not SKIP and not silent:
                    pool.out.append(result)
                pool.turn += 1
                if pool.main_waits:
                    self._wake_main()
                if epoch != pool.epoch:
                    self._older_done(epoch)
            if items is pool.items:
                await self._rest(worker)

    async def _work_watched(self, worker: _Worker) -> None:
        """With everything."""
        while True:
            if worker.task is None:
                for item in self._pool.items:
                    value, meta = item if self._columns else (item, ())
                    task = worker.task = _Task(self._pool.seq, self._pool.epoch, value, meta)
                    self._pool.seq += 1
                    break
                else:
                    await self._rest(worker)
                    continue
                if not self._pool.waking:
                    self._wake_one()
                if self.op.order == "key" and not await self._key_is_free(worker, task):
                    continue
            await self._attempt(worker, worker.task)
            await self._completed(worker, worker.task)

    async def _attempt(self, worker: _Worker, task: _Task) -> None:
        """Call until it succeeds or is given up; the result is in the task."""
        worker.done = False
        while True:
            if self.circuit is not None and not await self._may_call(worker, task, self.circuit):
                return
            task.calls += 1
            worker.since = anyio.current_time()
            try:
                task.result = await self._pool.call(task.value)
            except Exception as error:
                worker.since = None
                delay = self._delay(task, error)
            except anyio.get_cancelled_exc_class() as error:
                failure = stray(error)
                worker.since = None
                delay = self._delay(task, failure)
            else:
                worker.since = None
                delay = None
                if self.circuit is not None:
                    self.circuit.succeeded(task.ticket, self.label)
            worker.done = delay is None
            if worker.scope is not None and worker.scope.cancel_called:
                await anyio.lowlevel.checkpoint()  # leave the scope: it is of no use any more
            if delay is None:
                return
            await anyio.sleep(delay)

    async def _may_call(self, worker: _Worker, task: _Task, circuit: Circuit) -> bool:
        """Wait until the circuit lets the call through; False when the task has its last result without it."""
        if circuit.breaker.when_open == "wait":
            task.ticket = await circuit.enter()
            return True
        try:
            task.ticket = circuit.enter_now(self.label)
        except CircuitOpen as error:
            task.result = self._give_up(task.value, self._rows.origin(task.meta), error, task.calls)
            worker.done = True
            self._wake_main()
            await anyio.lowlevel.checkpoint()
            return False
        return True

    def _delay(self, task: _Task, error: Exception) -> float | None:
        """Seconds until the next call; None when there is none, and the task has its last result."""
        retry = self.op.retry
        try:
            if self.circuit is not None and self.circuit.failed(task.ticket, error, self.label):
                task.spared += 1
                return 0.0
            delay = retry.delay(task.calls - task.spared, error) if retry is not None else None
        except Exception as second:
            raise Abort(len(self.nodes), task.value, second) from None
        if delay is None:
            task.result = self._give_up(task.value, self._rows.origin(task.meta), error, task.calls)
            self._wake_main()
        else:
            self.counts[f"{self.label}: retried"] += 1
        return delay

    async def _timed_out(self, worker: _Worker) -> None:
        task = worker.task
        worker.since = None
        worker.scope = None
        if task is None:
            return
        if not worker.done:
            seconds = self.op.timeout
            error = OperatorTimeout(f"{self.label}: no result within {seconds:g} s (timeout=)")
            delay = self._delay(task, error)
            if delay is not None:
                await anyio.sleep(delay)
                return
        worker.done = False
        await self._completed(worker, task)

    async def _key_is_free(self, worker: _Worker, task: _Task) -> bool:
        """Claim the event's key; or leave the event to the worker that has it, and sleep in its place."""
        assert self.op.key is not None
        try:
            task.key = self.op.key(task.value)
            hash(task.key)
        except Exception as error:
            task.result = self._give_up(task.value, self._rows.origin(task.meta), error)
            task.key = object()
            self._keys[task.key] = deque()
            await self._completed(worker, task)
            return False
        queue = self._keys.get(task.key)
        if queue is None:
            self._keys[task.key] = deque()
            return True
        queue.append(task)
        worker.task = None
        self._sleepers.append(worker)
        await worker.parker.park()
        return False

    async def _completed(self, worker: _Worker, task: _Task) -> None:
        worker.task = None
        order = self.op.order
        if order == "input" and task.seq != self._pool.turn:
            self._pool.waiting[task.seq] = (task, worker)
            await worker.parker.park()
            return
        self._give(task)
        if order == "input":
            if self._pool.waiting:
                self._advance()
            return
        if task.epoch != self._pool.epoch:
            self._older_done(task.epoch)
        if order == "key":
            self._next_of(worker, task.key)

    def _next_of(self, worker: _Worker, key: Any) -> None:
        queue = self._keys[key]
        if not queue:
            del self._keys[key]
            return
        worker.task = queue.popleft()
        # The event is in our hands now: one of those who sleep for such events may draw again.
        self._sleepers.pop().parker.wake()

    def _give(self, task: _Task) -> None:
        """The result goes out, and the event counts as done."""
        result, emit = task.result, self.op.emit
        if result is not SKIP and (emit != "input_if" or result) and emit != "none":
            if emit == "items":
                self._pool.out.append((task.value, result))
            else:
                self._pool.out.append(result if emit == "result" else task.value)
            if self._columns:
                self._out_metas.append(task.meta)
        self._pool.turn += 1
        self._wake_main()

    def _advance(self) -> None:
        """Emit the results that have waited for this turn."""
        while (found := self._pool.waiting.pop(self._pool.turn, None)) is not None:
            task, worker = found
            self._give(task)
            worker.parker.wake()

    def _older_done(self, epoch: int) -> None:
        for entry in self._before:
            if entry[2] == epoch:
                entry[3] -= 1
                if not entry[3]:
                    self._wake_main()

    def _checked(self, fn: Callable[[Any], Any], value: Any) -> Awaitable[Any]:
        """The first call: is there something to await?"""
        result = fn(value)
        if not inspect.isawaitable(result):
            error = ArgumentError(
                f"{self.label}: the function returned a {type(result).__name__}, which can't be awaited; drop "
                "concurrency=, or pass threads= or processes= for a sync function"
            )
            raise Abort(len(self.nodes), value, error)
        self._pool.call = fn
        return result

    def _refuse(self, value: Any) -> None:
        error = ArgumentError(
            f"{self.label}: a sync function returned an awaitable; pass concurrency= to have it awaited"
        )
        raise Abort(len(self.nodes), value, error)

    @property
    def in_flight(self) -> int:
        return super().in_flight + (self._fed - self._pool.turn) + len(self._pool.out)


def _seq(task: _Task) -> int:
    return task.seq
