"""Stages at the beginning: iterables, async iterables, sources with positions, and feeds."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from itertools import islice
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from reactor.core import ArgumentError, Record, Records, Source
from reactor.engine.elements import Barrier, Chunk, End, Watermark
from reactor.engine.failures import noted
from reactor.engine.feed import Feed
from reactor.engine.metrics import StageMetrics
from reactor.engine.parting import Parting
from reactor.engine.restarting import Broken, RestartingSource, Restarts
from reactor.engine.stage import Stage
from reactor.operators import Abort, Origin
from reactor.windows import BEGINNING, Parts

if TYPE_CHECKING:
    from reactor.engine.execution import Execution
    from reactor.engine.plan import StagePlan


class SourceStage(Stage):
    """What all beginnings share: a gate that concat opens, barriers, and the end of a drain."""

    keeps = False
    """True where events that were accepted wait already: they are read also when it drains before it began."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self.gates: list[anyio.Event] = []
        """One for each concat that comes to this source later, opened when its turn comes."""
        self.started = False
        self.started_at = 0.0
        """When it began to read, by the clock of the run."""
        self.over = False
        self.position: int | None = None
        """Where the source stands behind the last event that has been emitted."""
        self.number: int | None = None
        self.source: Source[Any] | Feed[Any] | None = None
        """What commits its position, if it has one."""
        self.draining = False
        policy = self.op.restart
        self.restarts = Restarts(policy, run.graph.labels()[plan.head]) if policy is not None else None
        self._parked = False
        self._wanted: Barrier | None = None
        self._ends = False
        """True when it has read for the last time, and waits for the barrier that ends a drain."""
        self._sent_last = False
        """True when the barrier has been sent that ends a drain."""

    @property
    def op(self) -> Origin:
        op = self.plan.head.op
        assert isinstance(op, Origin)
        return op

    async def work(self) -> None:
        for gate in self.gates:
            await gate.wait()
        self.started, self.started_at = True, anyio.current_time()
        if not self.finished and (self.keeps or not self.draining):
            await self.read()
        self.unpark()
        if self.saves and self.draining and not self.finished:
            await self._last_barrier()
        self.over = True
        self._wanted = None
        self.run.coordinator.ask()
        await self.end(End(flush=not (self.draining and (self.op.replay or self.saves))))

    async def _last_barrier(self) -> None:
        """What a drain leaves behind is saved: wait for the barrier behind which the source ends."""
        self._ends = True
        self.send_wanted()
        while not self._sent_last and not self.finished:
            await self.parker.park()

    async def read(self) -> None:
        """Emit what the source has until it ends, is enough, or drains."""
        raise NotImplementedError(type(self).__name__)

    def drain(self) -> None:
        """Stop reading: what has been read goes its way."""
        self.draining = True
        self._open_gates()
        self.stop_asking()

    def unwanted(self) -> None:
        self.parker.wake()
        self._open_gates()
        self.stop_asking()

    def stop_asking(self) -> None:
        """Stop waiting for the source to give something."""

    def _open_gates(self) -> None:
        for gate in self.gates:
            gate.set()

    def barrier(self, barrier: Barrier, number: int) -> None:
        """Send it now if nothing is on its way into the first channel, else after the present chunk.

        Before it has begun to read, it is sent when it does.
        """
        if self.over:
            return
        self._wanted = barrier
        if self._ends:
            self.send_wanted()
            self.parker.wake()
        elif self._parked and not barrier.last:  # the last one comes when all that was read has been emitted
            self.send_wanted()

    def excuse(self, number: int) -> None:
        """Somebody has passed this barrier in its place: it must not be sent behind later events."""
        if self._wanted is not None and self._wanted.number <= number:
            if self.saves and self.number is not None:
                self.run.coordinator.sent(self._wanted, self.number, self.position)
            if self._wanted.last:
                self._sent_last = True
                self.parker.wake()
            self._wanted = None

    def send_wanted(self) -> None:
        """Send the barrier that was asked for."""
        barrier, self._wanted = self._wanted, None
        if barrier is not None and self.number is not None:
            self._sent_last = barrier.last
            self.run.coordinator.sent(barrier, self.number, self.position)
            self.mark(barrier)

    def park(self) -> None:
        """All that was read has been emitted, and there is nothing to read now."""
        self._parked = True
        self.waits_since = perf_counter()
        if self._wanted is not None:
            self.send_wanted()

    def rests(self, seconds: float) -> bool:
        """True when it has waited for something to read for so long."""
        return self._parked and perf_counter() - self.waits_since >= seconds

    def unpark(self) -> None:
        """Something is there to read."""
        self._parked = False
        if self.waits_since:
            self.waited += perf_counter() - self.waits_since
            self.waits_since = 0.0

    def metrics(self) -> StageMetrics:
        count = self.restarts.count if self.restarts is not None else 0
        return dataclasses.replace(super().metrics(), restarts=count) if count else super().metrics()

    def noted(self, error: Exception) -> Exception:
        """Say which source it was."""
        return noted(error, self.run.graph.name, self.run.graph.labels()[self.plan.head])

    def chunk(self, values: Sequence[Any]) -> Chunk:
        """Values of a source without records: each is its own origin."""
        if self.plan.given or (not self.plan.chain and self.plan.wanted[0]):
            return Chunk(values, (values,))
        return Chunk(values)


class IterableStage(SourceStage):
    """Reads an iterable, or what a callable returns."""

    async def read(self) -> None:
        while (broken := await self._read()) is not None and self.restarts is not None:
            wait = self.restarts.failed(broken.error)
            with anyio.CancelScope() as self._scope:
                await self._rest(wait)
            if self.draining or self.finished:
                return
            self.restarts.up()

    async def _read(self) -> Broken | None:
        """Read to the end; return what it has failed with, where it may be read again."""
        try:
            steps = self.steps()
        except Broken as broken:
            return broken
        try:
            with anyio.CancelScope() as self._scope:
                while not self.draining and await anext(steps, False):
                    if self.restarts is not None:
                        self.restarts.worked()
                    if self.saves:
                        self.run.coordinator.stir()
                        if self._wanted is not None:
                            self.send_wanted()
                    await self.breathe()
        except Broken as broken:
            return broken
        finally:
            with anyio.CancelScope(shield=True):
                await steps.aclose()
        return None

    def steps(self) -> AsyncGenerator[bool, None]:
        """Emit chunk after chunk, one for each step; True as long as there may be more."""
        try:
            given = self._given()
        except Exception as error:
            self.noted(error)
            if self.restarts is None or isinstance(error, ArgumentError):  # what it returned will never do
                raise
            raise Broken(error) from None
        if isinstance(given, range | list | tuple):
            return self._sequence(given)
        if isinstance(given, Iterable):
            return self._iterator(given)
        return self._async(given)

    def _given(self) -> Any:
        given = self.op.given
        if self.op.kind == "callable":
            given = given()
            _check_returned(self.op, given)
        elif self.op.kind == "iterator":
            given = given.use()
        return given

    async def _sequence(self, given: Sequence[Any]) -> AsyncGenerator[bool, None]:
        at = 0
        while values := given[at : at + self.limit]:
            at += len(values)
            if not await self.emit(self.chunk(values)):
                return
            yield True

    async def _iterator(self, given: Iterable[Any]) -> AsyncGenerator[bool, None]:
        iterator = iter(given)
        try:
            while True:
                values: list[Any] = []
                failure: Exception | None = None
                wanted = self.limit
                try:
                    values.extend(islice(iterator, wanted))
                except Exception as error:
                    self.noted(error)  # what came before it has been added to the list already
                    failure = error if self.restarts is None else Broken(error)
                n = len(values)
                if n and not await self.emit(self.chunk(values)):
                    return
                if failure is not None:
                    if n and self.restarts is not None:
                        self.restarts.worked()
                    raise failure
                if n < wanted:
                    return
                yield True
        finally:
            if inspect.isgenerator(iterator):
                iterator.close()

    async def _async(self, given: AsyncIterable[Any]) -> AsyncGenerator[bool, None]:
        iterator = aiter(given)
        try:
            while True:
                try:
                    value = await self._next(iterator)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    self.noted(error)
                    if self.restarts is None:
                        raise
                    raise Broken(error) from None
                if not await self.emit(self.chunk((value,))):
                    return
                yield True
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                with anyio.CancelScope(shield=True):
                    await close()

    async def _rest(self, seconds: float) -> None:
        self._asking = True
        if self.saves:
            self.park()  # barriers go on while it is down: others are held back until its own has come
        try:
            await anyio.sleep(seconds)
        finally:
            self._asking = False
            self.unpark()

    async def _next(self, iterator: AsyncIterator[Any]) -> Any:
        self._asking = True
        self.waits_since = perf_counter()
        if self.saves:
            self.park()
            self.run.coordinator.ask()
        try:
            return await anext(iterator)
        finally:
            self._asking = self._parked = False
            self.waited += perf_counter() - self.waits_since
            self.waits_since = 0.0

    _scope: anyio.CancelScope | None = None
    _asking = False

    def stop_asking(self) -> None:
        if self._asking and self._scope is not None:
            self._scope.cancel()


class RecordStage(SourceStage):
    """Reads a Source."""

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        self._given: Source[Any] = self.op.given
        self._again = RestartingSource(self._given, self.restarts) if self.restarts is not None else None
        self.source = self._source = self._again or self._given
        self._scope: anyio.CancelScope | None = None
        self._opened = False
        self._parting = Parting(self._source, plan.patience) if plan.patience is not None else None

    async def read(self) -> None:
        await self._read()
        if self._again is not None:
            try:
                await self._again.finish()
            except Exception as error:
                self.noted(error)
                raise

    async def _read(self) -> None:
        source, origins = self._source, "origin" in self.plan.given
        if self.run.letterbox.wanted:
            bury = self.bury(self.run.graph.labels()[self.plan.head])
            self._given.reject = lambda record, error: bury(record.value, record, error)
        self._given.commit_soon = self.run.coordinator.hasten
        self._opened = True
        if self.saves:
            self.park()  # connecting may take long: barriers go on meanwhile
        try:
            await source.open()
        except Exception as error:
            self.noted(error)
            raise
        finally:
            self.unpark()
        if self.saves and (at := self.run.coordinator.position_of(self)) is not None:
            try:
                await source.restore(*at)
            except Exception as error:
                self.noted(error)
                raise
        self.position = source.position()
        parting = self._parting
        if parting is not None:
            await self._tell(parting.after())
        while not self.draining and not self.finished:
            if parting is not None:
                await self._tell(parting.asked())
            records = await self._ask()
            if self.letters:
                await self.write_letters()
            if records is None:
                if not self.draining and not self.finished:
                    self.position = source.position()
                return
            if not records:  # all that it saw was passed over, or rejected
                self.position = source.position()
                if self._wanted is not None:
                    self.send_wanted()
                if parting is not None:
                    await self._tell(parting.after())
                await self.breathe()
                continue
            values = self._values(records)
            if parting is not None:
                await self._tell(parting.before())
            going = await self.emit(Chunk(values, (records,)) if origins else Chunk(values))
            self.position = source.position()
            if not going:
                return
            if parting is not None:
                await self._tell(parting.after())
            if self._wanted is not None:
                self.send_wanted()
            await anyio.lowlevel.checkpoint()

    async def _tell(self, parts: Parts | None) -> None:
        """Tell event_time of the partitions, in between the events."""
        if parts is not None and not self.finished:
            await self.advance(Watermark(BEGINNING, parts=parts))

    def _values(self, records: Sequence[Record[Any]]) -> list[Any]:
        if isinstance(records, Records):
            return list(records.values)
        try:
            return [record.value for record in records]
        except (AttributeError, TypeError):
            wrong = ArgumentError(
                f"{type(self._given).__name__}.read() has to return a sequence of Record, or None"
            )
            raise self.noted(wrong) from None

    async def _ask(self) -> Sequence[Record[Any]] | None:
        with anyio.CancelScope() as self._scope:
            self.park()
            if self.position is not None or self.saves:
                self.run.coordinator.ask()
            try:
                if self._parting is None or self._parting.moment == inf:
                    return await self._source.read(self.limit)
                return await self._until(self._parting.moment)
            except Abort as abort:  # a dead letter could not be put away
                raise self.noted(abort.error) from abort.error.__cause__
            except Exception as error:
                self.noted(error)
                raise
            finally:
                self.unpark()
        return None

    async def _until(self, moment: float) -> Sequence[Record[Any]] | None:
        """Read; return no records where nothing has come until then."""
        if self._again is not None:
            return await self._again.read(self.limit, moment)  # it may be down: then it isn't disturbed
        with anyio.move_on_at(moment):
            return await self._source.read(self.limit)
        return ()

    def stop_asking(self) -> None:
        if self._parked and self._scope is not None:
            self._scope.cancel()

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            try:
                await self._source.close()
            finally:
                self._given.reject = None  # it would hold on to the whole run
                vars(self._given).pop("commit_soon", None)  # another run may have let go first


class FeedStage(SourceStage):
    """Takes from a feed what an application has put there."""

    keeps = True

    def __init__(self, plan: StagePlan, run: Execution) -> None:
        super().__init__(plan, run)
        feed = self.op.given
        assert isinstance(feed, Feed)
        self.source = feed
        self._feed = feed
        self._plain = not plan.given and (bool(plan.chain) or not plan.wanted[0])
        self._attached = False

    async def open(self) -> None:
        self._feed.attach(self.parker)
        self._attached = True

    async def read(self) -> None:
        feed = self._feed
        self.position = feed.position()
        fresh = True
        while not self.finished:
            values = feed.take(self.limit)
            if not values:
                if feed.over:
                    return
                if feed.coming:
                    feed.coming = False
                    await anyio.lowlevel.checkpoint()
                    continue
                self.park()
                if feed.awaited:
                    self.run.coordinator.ask(urgent=True)
                feed.parked()
                await self.parker.park()
                self._parked = False
                fresh = True
                continue
            if fresh:
                self.run.coordinator.stir()
            else:
                await self.breathe()
            since = self.waits_since
            going = await self.emit(Chunk(values) if self._plain else self.chunk(values))
            if since:  # emit has read the clock already: one event through an idle pipeline is fast
                self.waits_since = 0.0
                self.waited += self.began - since
            self.position = feed.position()
            if self._wanted is not None:
                self.send_wanted()
            if not going:
                return
            fresh = False

    def drain(self) -> None:
        super().drain()
        self._feed.stop()
        self.parker.wake()

    def tell(self, error: BaseException | None) -> None:
        """The run is over: whoever still waits for the feed is told, unless another run reads it."""
        if self._attached or not self._feed.attached:
            self._feed.fail(error)

    def chunk(self, values: Sequence[Any]) -> Chunk:
        """Where something downstream may have had enough, each event knows its position."""
        if "origin" not in self.plan.given:
            return super().chunk(values)
        first, topic = self._feed.position() - len(values), self.op.describe()
        records = [Record(value, position=first + number, topic=topic) for number, value in enumerate(values)]
        return Chunk(values, (records,))


def _check_returned(op: Origin, given: Any) -> None:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable | AsyncIterable):
        if inspect.iscoroutine(given):
            given.close()
        raise ArgumentError(
            f"Stream({op.describe()}): the callable returned a {type(given).__name__}; it has to return an "
            "iterable or an async iterable, and not a str or bytes"
        )
