"""One stage: what it is given goes through its fused loop and out to the next stages.

A stage is one task. Subclasses say where its events come from (``work``); everything after that stands here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from reactor.core import Saved
from reactor.engine.channel import Channel, Outlet, Parker
from reactor.engine.elements import Barrier, Chunk, Element, End, Mark, Tick, Watermark
from reactor.engine.failures import Failing
from reactor.engine.fuse import PAUSE_AFTER, Handler, Loop, Running
from reactor.engine.limits import cut, held
from reactor.engine.metrics import StageMetrics
from reactor.engine.saving import Taken, put_back, settle, take
from reactor.operators import Abort
from reactor.windows import BEGINNING, Kernel

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan

SLICE = 0.005
"""A chunk that takes longer than so many seconds is followed by smaller ones."""

BREATH = 0.003
"""After so many seconds of work a stage lets others run, though it could go on."""

_FIRST_LIMIT = 16

_SETTLED = 1024
"""So many rows are encoded at once, where many more have changed since the last barrier; then others run."""

_LONG = 0.005
"""If that took more seconds than these, fewer rows at once."""


class _Held:
    """A mark that waits behind what the loop holds: at which holder, and what that held then."""

    __slots__ = ("held", "holder", "mark")

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.holder = 0
        self.held: Any = None


class Stage(Failing):
    """Runs a chain of operators over the chunks that ``work`` emits."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(run)
        self.plan = plan
        self.name = plan.name
        self.nodes = plan.chain
        self.sources = plan.sources
        self.inputs: tuple[Channel, ...] = ()
        self.outlets: tuple[Outlet, ...] = ()
        self.parker = Parker(run.census)
        self.limit = min(_FIRST_LIMIT, run.graph.chunk)
        self._room = PAUSE_AFTER
        self.finished = False
        self.cut: Any = None
        self.events_in = 0
        self.events_out = 0
        self.busy = 0.0
        self.began = 0.0
        """When the present chunk began, by the clock of perf_counter."""
        self.waited = 0.0
        self.waits_since = 0.0
        self._breathed = 0.0
        self.working_on = 0
        """How many events it has in hand, in no channel."""
        self._pending: deque[_Held] = deque()
        self._time = BEGINNING
        """The last watermark that has come out of the loop."""
        self._quiet = self._told_quiet = False
        self._keeps = self._kept_columns()
        read = len(plan.outlets) > 1 and 1 not in plan.unused
        self._late_read = {len(self.nodes) - 1} if read else set[int]()
        """The operator whose late events go to a stream of their own."""
        self._passed = 0
        """The last barrier that has gone on."""
        self.saves = run.graph.checkpoints is not None
        self._piece = _SETTLED
        self._running: Running | None = None
        self.states: dict[str, Any] = {}
        self._loop: Loop | None = plan.loop
        if plan.loop is not None:
            self._timed = plan.loop.timed
            handlers = [self.handler(index) for index in range(len(self.nodes))]
            self._generator, self.states = plan.loop.start(handlers)
            if not self.saves:
                self.prime()

    # Where events come from: the subclasses -----------------------------------------------------------------

    async def work(self) -> None:
        """Emit chunks and marks until there is nothing more, then ``end``."""
        raise NotImplementedError(type(self).__name__)

    def connect(self) -> None:
        """Called once all stages have their channels."""

    def prime(self) -> None:
        """Begin the loop: with what was saved of it, where something was."""
        if self._loop is None or self.finished:
            return
        self._running = self._generator
        self._send = self._running.send
        try:
            next(self._running)
        except StopIteration:
            self._finish()

    async def begin(self) -> None:
        """Called when all stages are open, before ``work``: say again what was said before the restart."""
        if self._was_restored and self._timed and not self.finished:
            await self.emit(Watermark(BEGINNING))

    async def open(self) -> None:
        """Prepare; every stage is open before any begins to work."""

    async def close(self) -> None:
        """Let go of everything, once; shielded from cancellation."""

    async def next_item(self, channel: Channel, limit: int) -> Element | None:
        """Return the channel's next mark or chunk; None when nobody wants any more."""
        while not self.finished:
            item = channel.take_now(limit)
            if item is not None:
                return item
            channel.reader = self.parker
            try:
                await self.wait(f"events from {channel.source}")
            finally:
                channel.reader = None
        return None

    async def wait(self, waits_for: str = "") -> None:
        """Sleep until something comes; with ``waits_for``, it is another stage that it comes from."""
        self.waits_since = perf_counter()
        try:
            await self.parker.park(waits_for)
        finally:
            self.waited += perf_counter() - self.waits_since
            self.waits_since = 0.0

    def readers_left(self) -> None:
        """A reader wants no more; when none does, the stage ends, whatever it waits for."""
        if not self.finished and all(outlet.left for outlet in self.outlets):
            self.finished = True
            self.unwanted()

    def unwanted(self) -> None:
        """Wake up: there is no use in waiting for more events."""
        self.parker.wake()

    def drain(self) -> None:
        """The run drains: stop what would go on by itself. Others end when their inputs do."""

    # Events -------------------------------------------------------------------------------------------------

    async def emit(self, chunk: Chunk | Watermark | Tick) -> bool:
        """Send the events through the loop and on; False when no more are wanted.

        A watermark is sent to a loop that minds it, which may emit for it what has waited.
        """
        if self.finished:
            return False
        n = len(chunk.values)
        self.events_in += n
        self.working_on = n
        if self._running is None:
            self.events_out += n
            assert type(chunk) is Chunk
            if self._keeps is not None:
                chunk = Chunk(chunk.values, tuple(chunk.columns[at] for at in self._keeps))
            self._adapt(n, 0.0)
            self.began = perf_counter()
            await self._put(0, chunk)
        else:
            if self.buries:
                self.now = 0
            began = self.began = perf_counter()
            abort: Abort | None = None
            out: tuple[Any, ...] = ()
            try:
                out = self._send(chunk)
                while not out[0]:
                    self._paused(perf_counter() - began)
                    await self._put_all(out)
                    if self.finished:  # nobody wants the rest of it
                        return False
                    await anyio.lowlevel.checkpoint()
                    began = perf_counter()
                    out = self._send(self._room)
            except StopIteration as stop:
                self._finish()
                out = stop.value
            except Abort as aborted:
                abort = aborted
            if abort is not None:  # raised out here, where the error keeps its own context
                self.busy += perf_counter() - began
                await self._put_all(abort.out)
                self._raise(abort)
            took = perf_counter() - began
            self.busy += took
            if n:
                self._adapt(n, took)
                self._quiet = False
            elif type(chunk) is Watermark and chunk.parts is None:
                self._quiet = chunk.idle
            await self._put_all(out)
            if self._pending:
                self._release()
            if self._timed:
                self._pass_watermark()
            if self.saves:
                await self._settle()
        self.working_on = 0
        return not self.finished

    async def breathe(self) -> None:
        """Between two chunks: let others run, unless they have just been able to."""
        now = perf_counter()
        if now - self._breathed > BREATH:
            await anyio.lowlevel.checkpoint()
            self._breathed = perf_counter()

    async def _put_all(self, out: tuple[Any, ...]) -> None:
        if self.letters:
            await self.write_letters()
        columns = self.plan.wanted
        if len(columns) == 1 and not columns[0]:
            if out[1]:
                self.events_out += len(out[1])
                await self._put(0, Chunk(out[1]))
            return
        at = 1
        for port, wanted in enumerate(columns):
            values = out[at]
            if values:
                self.events_out += len(values)
                await self._put(port, Chunk(values, tuple(out[at + 1 : at + 1 + len(wanted)])))
            at += 1 + len(wanted)

    async def _put(self, port: int, chunk: Chunk) -> None:
        await self.outlets[port].put(chunk, self.parker)

    def results(self, chunk: Chunk | None) -> Iterator[Sequence[Any]]:
        """Yield what comes out for the chunk, or at the end, bit by bit: for who pulls instead of being pushed."""
        if self._running is None:
            if chunk is not None:
                yield chunk.values
            return
        abort: Abort | None = None
        try:
            out = self._send(chunk)
            while not out[0]:
                yield out[1]
                out = self._send(self._room)
        except StopIteration as stop:
            self._finish()
            out = stop.value
        except Abort as aborted:
            abort = aborted
            out = aborted.out
        if out[1]:
            yield out[1]
        if abort is not None:
            self._raise(abort)

    def _adapt(self, n: int, took: float) -> None:
        if took > SLICE:
            self.limit = max(1, int(n * SLICE / took))
        elif n >= self.limit and took < SLICE / 2 and self.limit < self.run.graph.chunk:
            self.limit = min(self.limit * 2, self.run.graph.chunk)

    def _paused(self, took: float) -> None:
        self.busy += took
        if took > SLICE:
            self._room = max(1, int(self._room * SLICE / took))
        elif took < SLICE / 2 and self._room < self.run.graph.chunk:
            self._room *= 2

    def _finish(self) -> None:
        self.finished = True
        self.cut = self.states.get("cut")
        self._running = None

    # Marks --------------------------------------------------------------------------------------------------

    _timed = False
    """True where the loop minds watermarks."""

    def _kept_columns(self) -> tuple[int, ...] | None:
        """Which columns go on, where there is no loop and not all of them do."""
        wanted = self.plan.wanted[0] if self.plan.wanted else ()
        if self.plan.chain or self.plan.given == wanted:
            return None
        return tuple(self.plan.given.index(column) for column in wanted)

    async def advance(self, mark: Watermark) -> bool:
        """A watermark has come: send it through the loop, or on."""
        if self._timed:
            return await self.emit(mark)
        self.mark(mark)
        return True

    def _pass_watermark(self) -> None:
        time = self.states["watermark"]
        if time <= self._time and self._quiet is self._told_quiet:
            return
        self._time = max(time, self._time)
        self._told_quiet = self._quiet
        mark = Watermark(self._time, self._quiet)
        if self._pending:  # it must not overtake a barrier: behind that come the events that it speaks of
            waiting = _Held(mark)
            waiting.holder = len(self._loop.holders if self._loop is not None else ())
            self._pending.append(waiting)
            return
        self._forward(mark)

    def mark(self, mark: Mark) -> None:
        """Send a watermark or barrier on, behind what the loop holds (a barrier not, where that is saved)."""
        if self.saves and type(mark) is Barrier:
            self.save(mark.number)
            self._forward(mark)
            return
        if self._pending or (self._loop is not None and self._loop.holders):
            self._pending.append(_Held(mark))
            self._release()
        else:
            self._forward(mark)

    def _release(self) -> None:
        while self._pending and self._passes(self._pending[0]):
            self._forward(self._pending.popleft().mark)

    def _passes(self, waiting: _Held) -> bool:
        holders = self._loop.holders if self._loop is not None else ()
        while waiting.holder < len(holders):
            held = self.states[holders[waiting.holder]]
            if waiting.held is None and held:
                waiting.held = held
            if held is waiting.held:
                return False
            # What was held then has been emitted: as a new list for the next holder, or nothing was held.
            waiting.holder += 1
            waiting.held = None
        return True

    def _forward(self, mark: Mark) -> None:
        if type(mark) is Barrier:
            self._passed = mark.number
        for port, outlet in enumerate(self.outlets):
            if not self._timed or type(mark) is Barrier or "watermark" in self.plan.wanted[port]:
                outlet.push(mark)
        if not self.outlets and type(mark) is Barrier:
            self.run.acknowledge(self, mark.number)

    async def end(self, end: End) -> None:
        """Nothing follows: emit what is held (or drop it, to be read again), and tell the next stages."""
        if self.saves:
            return await self._end_saved(end)
        limits = dict(end.limits or {})
        if self.cut is not None or self.finished:
            last = self.cut if self.plan.in_order else None
            limits |= cut(last, self.sources, self.run.gave)
        running, self._running = self._running, None
        if running is not None:
            if self.finished:
                running.close()
            elif end.flush:
                await self._flush(running)
            else:
                running.close()
                self._count_dropped()
                holders = self._loop.holders if self._loop else ()
                if any(self.states[holder] for holder in holders):
                    self._pending.clear()
                    origins = [self.states.get(f"{holder}_o", []) for holder in holders]
                    limits |= held(origins, self.sources, self.run.gave)
        if limits and not (self.outlets and all(outlet.left for outlet in self.outlets)):
            self.run.coordinator.withdraw(self._passed, limits)
        if self.letters:
            await self.write_letters()
        while self._pending:
            self._forward(self._pending.popleft().mark)
        for outlet in self.outlets:
            outlet.push(End(end.flush, limits))
        if not self.outlets:
            self.run.complete(self, limits)

    async def _end_saved(self, end: End) -> None:
        """The same with checkpoints: what a drain leaves behind was saved by its last barrier."""
        limits = dict(end.limits or {})
        if self.cut is not None or self.finished:
            limits |= cut(self.cut if self.plan.in_order else None, self.sources, self.run.gave)
        running, self._running = self._running, None
        taken: dict[str, Taken] = {}
        if running is None or self.finished or not end.flush:
            if running is not None:
                running.close()
            taken = self.taken() if end.flush or self.finished else {}
        else:
            taken = self.taken(over=True)
            await self._flush(running)
            taken |= self.taken(lasting=True)
        if self.letters:
            await self.write_letters()
        if taken:
            self.run.coordinator.saved(self._passed, taken, behind=True)
        while self._pending:
            self._forward(self._pending.popleft().mark)
        for outlet in self.outlets:
            outlet.push(End(end.flush, limits))
        if not self.outlets:
            self.run.complete(self, limits)

    @property
    def crowded(self) -> bool:
        """True while it holds so much for the sake of the last barrier that the next one has to wait."""
        return False

    # What is saved ------------------------------------------------------------------------------------------

    _was_restored = False

    def passed(self, number: int) -> None:
        """Nothing of what comes here is before this barrier: it counts as having passed."""
        self._passed = max(self._passed, number)

    def save(self, number: int) -> None:
        """A barrier passes: hand over what is remembered here."""
        taken = self.taken()
        if taken:
            self.run.coordinator.saved(number, taken)

    def taken(self, *, over: bool = False, lasting: bool = False) -> dict[str, Taken]:
        """Return what has changed, by operator; ``over``: all windows are about to fire, and are forgotten then.

        With ``lasting`` only that of operators which remember something even then.
        """
        found: dict[str, Taken] = {}
        identities = self.run.identities
        for at, node in enumerate(self.nodes):
            if node.op.volatile:
                continue
            kernel = self.states.get(f"k{at}")
            lasts = isinstance(kernel, Kernel) and kernel.lasting
            if lasts and over:
                continue
            if lasting and not lasts:
                continue
            taken = take(self.states, at, over=over)
            if self.finished and self.states.get("finished") == at:
                taken = Taken(Saved({}), {**(taken.own if taken is not None else {}), "finished": True})
            if taken is not None:
                found[identities[node]] = taken
        if not lasting and (mine := self.held_back()) is not None:
            found[identities[self.plan.head]] = Taken(Saved({}), mine[0], mine[1])
        return found

    def held_back(self) -> tuple[Any, Any] | None:
        """Return what the stage itself remembers, and which events it holds; None for nothing."""
        return None

    def take_back(self, own: Any, held: Any) -> None:
        """Take what ``held_back`` returned, before the stage begins."""

    def restore(self) -> None:
        """Before the loop begins: take back what was saved."""
        restored, identities = self.run.restored, self.run.identities
        for at, node in enumerate(self.nodes):
            found = restored.get(identities[node])
            if found is None:
                continue
            self._was_restored = True
            put_back(self.states, at, found)
            own = found.own
            if isinstance(own, dict) and own.get("finished"):
                self.finished = True
        head = self.plan.head
        if head not in self.nodes and (found := restored.get(identities[head])) is not None:
            self._was_restored = True
            self.take_back(found.own, found.held)
        self.prime()

    async def _settle(self) -> None:
        """Where very much has changed, it is encoded now, in pieces: at a barrier it would all be at once."""
        for at, node in enumerate(self.nodes):
            while True:
                most = min(self._piece, _SETTLED)
                rows = settle(self.states, at, most, 2 * most)
                if not rows:
                    break
                began = time.thread_time()
                self.run.coordinator.settled(self.run.identities[node], rows)
                took = time.thread_time() - began
                if took > _LONG:
                    self._piece = max(most // 2, 16)
                elif took < _LONG / 4:
                    self._piece = 2 * most
                await anyio.lowlevel.checkpoint()

    def _count_dropped(self) -> None:
        """A drain over a source that can replay: open windows are neither fired nor saved."""
        for at, node in enumerate(self.nodes):
            kernel = self.states.get(f"k{at}")
            if isinstance(kernel, Kernel) and kernel.open:
                self.counts[f"{self.run.graph.labels()[node]}: open at the drain"] += kernel.open

    def let_go(self) -> None:
        """The run is over. Errors that are kept hold the loop's frame: it shall hold nothing more itself."""
        if self._loop is not None:
            self._generator.close()
            self._loop.env.clear()

    async def _flush(self, running: Running) -> None:
        self.now = 0
        began = perf_counter()
        abort: Abort | None = None
        try:
            out = running.send(None)
            while True:
                self._paused(perf_counter() - began)
                await self._put_all(out)
                if self.finished:
                    return
                await anyio.lowlevel.checkpoint()
                began = perf_counter()
                out = running.send(self._room)
        except StopIteration as stop:
            await self._put_all(stop.value)
        except Abort as aborted:
            abort = aborted
        if abort is not None:
            await self._put_all(abort.out)
            self._raise(abort)

    def handler(self, index: int) -> Handler:
        """What the failure of the chain's operator ``index`` means."""
        return self.handler_of(
            self.run.graph.labels()[self.nodes[index]], self.nodes[index].op, index, in_loop=True
        )

    def _raise(self, abort: Abort) -> None:
        raise self.failed(abort, self.run.graph.labels()[self.nodes[abort.op]])

    # What it tells ------------------------------------------------------------------------------------------

    def metrics(self) -> StageMetrics:
        """What it has done so far."""
        out = [channel for outlet in self.outlets for channel in outlet.channels]
        return StageMetrics(
            stage=self.name,
            events_in=self.events_in,
            events_out=self.events_out,
            queued=sum(channel.size for channel in self.inputs),
            queued_most=max((channel.peak for channel in self.inputs), default=0),
            busy=self.busy,
            idle=self.idle,
            blocked=max((channel.blocked + _since(channel.blocked_since) for channel in out), default=0.0),
            dropped=self.dropped,
            watermark=self._time if self._timed and self._time > BEGINNING else None,
            late=sum(kernel.late for kernel in self._kernels),
            windows=sum(kernel.open for kernel in self._kernels),
            circuit=None if self.circuit is None else self.circuit.state,
        )

    @property
    def _kernels(self) -> list[Kernel]:
        return [state for state in self.states.values() if isinstance(state, Kernel)]

    @property
    def idle(self) -> float:
        """Seconds that it has waited for events."""
        return self.waited + _since(self.waits_since)

    @property
    def dropped(self) -> dict[str, int]:
        """How many events went another way, by reason."""
        dropped = dict(self.counts)
        labels = self.run.graph.labels()
        for at, node in enumerate(self.nodes):
            kernel = self.states.get(f"k{at}")
            if isinstance(kernel, Kernel) and kernel.late and at not in self._late_read:
                dropped[f"{labels[node]}: late"] = kernel.late
        for reason, number in self.buried:
            if number():
                dropped[reason] = number()
        for channel in self.inputs:
            if channel.dropped:
                dropped[f"{self.name}: {channel.overflow}"] = channel.dropped
        return dropped

    @property
    def in_flight(self) -> int:
        """How many events it has taken and not given on."""
        held = sum(len(self.states.get(holder, ())) for holder in (self._loop.holders if self._loop else ()))
        return self.working_on + held + sum(channel.size for channel in self.inputs)

    def result(self) -> Any:
        """What an end that gathers or folds has come to."""
        return self.states.get(f"result{len(self.nodes) - 1}")


class ChannelStage(Stage):
    """A stage that reads one channel."""

    async def work(self) -> None:
        (channel,) = self.inputs
        while True:
            item = channel.take_now(self.limit)
            if item is None:
                item = await self.next_item(channel, self.limit)
            elif type(item) is Chunk:
                await self.breathe()
            if item is None or (type(item) is Chunk and not await self.emit(item)):
                channel.leave()
                return await self.end(End())
            if type(item) is Chunk:
                continue
            if type(item) is End:
                return await self.end(item)
            if type(item) is Watermark:
                if not await self.advance(item):
                    channel.leave()
                    return await self.end(End())
                continue
            assert isinstance(item, Barrier)
            self.mark(item)


def _since(moment: float) -> float:
    return perf_counter() - moment if moment else 0.0
