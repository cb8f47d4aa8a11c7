"""One run: opens everything, runs each stage in a task of one group, ends in one way, closes everything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import anyio

from reactor.core import Cancelled, Deadlock, DrainTimeout, Record, Source, StateError
from reactor.delivery import CircuitBreaker
from reactor.engine.barriers import Coordinator, Reached
from reactor.engine.channel import Census, Channel, Outlet
from reactor.engine.checkpoints import Checkpointing
from reactor.engine.circuits import Circuit
from reactor.engine.ending import SinkStage
from reactor.engine.failures import noted, stray
from reactor.engine.kinds import stage_for
from reactor.engine.letters import Letterbox
from reactor.engine.limits import Limits
from reactor.engine.metrics import Metrics
from reactor.engine.plan import plan
from reactor.engine.reading import FeedStage, RecordStage, SourceStage
from reactor.engine.saving import Restored, identities
from reactor.engine.stage import Stage
from reactor.graph import Graph, Node

State = Literal["ready", "standby", "running", "draining", "complete", "failed", "cancelled"]

log = logging.getLogger("reactor")


class Reader:
    """An end that is read by code outside of the run, through one channel."""

    def __init__(self, capacity: int) -> None:
        self.channel = Channel("the stream", "its reader", capacity)
        self.channel.external = True
        self.sources: frozenset[int] = frozenset()


class Execution:
    """Runs a graph once. All calls come from the event loop that runs it."""

    def __init__(self, graph: Graph, reader: Reader | None = None) -> None:
        self.graph = graph
        self.state: State = "ready"
        self.error: BaseException | None = None
        self.census = Census()
        self.census.stuck = self._stuck  # type: ignore[method-assign]
        self.letterbox = Letterbox(graph.dead_letters)
        self.saves = graph.checkpoints is not None
        self.identities = identities(graph)
        """What each operator's state is filed under."""
        self.restored: dict[str, Restored] = {}
        self.coordinator: Any = (
            Checkpointing(self, graph.checkpoints, graph.interval)
            if self.saves
            else Coordinator(graph.interval)
        )
        self.entered = anyio.Event()
        """Set once it is open, stands by, or has failed."""
        self.circuits: dict[CircuitBreaker, Circuit] = {}
        """Operators that share a breaker share its circuit."""
        self.stages: list[Stage] = []
        self.done = anyio.Event()
        self.opened = anyio.Event()
        """Set once all sources and sinks of the first stages are open, or it has failed."""
        self._failures: list[Exception] = []
        self._scope = anyio.CancelScope()
        self._settled = anyio.Event()
        self._working = 0
        self._opening = 0
        self._abandoned = 0
        self._unwinding = False
        self._began = self._ended = 0.0
        self._build(reader)

    # Building -----------------------------------------------------------------------------------------------

    def _build(self, reader: Reader | None) -> None:
        planned = plan(self.graph)
        made = {stage: stage_for(stage, self) for stage in planned.stages}
        self.stages = list(made.values())
        self._sources = planned.sources
        channels = {
            channel: Channel(channel.source.name, channel.target.name, channel.capacity, channel.overflow)
            for channel in planned.channels
        }
        for channel_plan, channel in channels.items():
            sent, needed = channel_plan.source.wanted[channel_plan.port], channel_plan.target.arriving
            if sent != needed:
                channel.columns = tuple(sent.index(column) for column in needed)
        for stage_plan, stage in made.items():
            stage.inputs = tuple(channels[channel] for channel in stage_plan.inputs)
            stage.outlets = tuple(
                Outlet([channels[channel] for channel in outlet]) for outlet in stage_plan.outlets
            )
            if reader is not None and stage.outlets and not stage.outlets[0].channels:
                stage.outlets = (Outlet([reader.channel]),)
                reader.sources = stage.sources
                self.coordinator.ends[reader] = 0
        for stage in self.stages:
            for outlet in stage.outlets:
                for channel in outlet.channels:
                    channel.on_leave = stage.readers_left
            stage.connect()
            if isinstance(stage, SourceStage):
                if stage.plan.head in planned.sources:
                    stage.number = planned.sources.index(stage.plan.head)
                    self.coordinator.sources[stage.number] = stage
                if self.saves:
                    self.coordinator.stages.append(stage)
            if isinstance(stage, SinkStage) and stage.transacts:
                self.coordinator.sinks.append(stage)
            if not stage.outlets:
                self.coordinator.ends[stage] = 0

    def gave(self, number: int, record: Record[Any]) -> bool:
        """Whether the record came from the source with this number."""
        op = self._sources[number].op
        given = getattr(op, "given", None)
        return given.gave(record) if isinstance(given, Source) else record.topic == op.describe()

    def circuit(self, breaker: CircuitBreaker | None) -> Circuit | None:
        """The circuit of this breaker, one for all that share it."""
        if breaker is None:
            return None
        return self.circuits.setdefault(breaker, Circuit(breaker))

    def result(self, node: Node) -> Any:
        """What the end ``node`` has come to."""
        return next(stage for stage in self.stages if stage.plan.last is node).result()

    # Running ------------------------------------------------------------------------------------------------

    async def execute(self) -> None:
        """Run to the end; raise what failed, with the run's state set."""
        self.state = "running"
        self._began = anyio.current_time()
        self.census.alive = self._working = self._opening = len(self.stages)
        try:
            try:
                with self._scope:
                    await self._open_letterbox()
                    if self.saves:
                        await self._resume()
                    async with anyio.create_task_group() as tasks:
                        for stage in self.stages:
                            tasks.start_soon(self._guard, stage, name=f"{self.graph.name}: {stage.name}")
                        if self.coordinator.sources:
                            await self._until_settled()
            except Exception as error:
                self._failed(error)
            finally:
                self._abandoned = sum(stage.in_flight for stage in self.stages)
                with anyio.CancelScope(shield=True):
                    try:
                        await self.letterbox.close()
                    except Exception as error:
                        self._failed(noted(error, self.graph.name, "dead_letters"))
                    if self.saves:
                        try:
                            await self.coordinator.let_go()
                        except Exception as error:
                            self._not_released(error)
        except BaseException:
            self._over("cancelled", None)
            raise
        self._raise()

    async def _resume(self) -> None:
        """Own the checkpoints, and give each stage what the last one has of it."""
        try:
            await self.coordinator.own()
            if self.state == "standby":
                self.state = "running"
            self.restored = await self.coordinator.restored()
        except Exception as error:
            noted(error, self.graph.name, "checkpoint")
            raise
        for stage in self.stages:
            try:
                stage.restore()
            except Exception as error:
                noted(error, self.graph.name, stage.name)
                raise
        self.restored = {}

    def _not_released(self, error: Exception) -> None:
        """Where the run has failed already, this is most often the same once more."""
        if self._failures:
            log.warning(
                "pipeline %r: its checkpoints couldn't be released, others wait for the end of the lease: %s",
                *(self.graph.name, error),
            )
        else:
            self._failed(noted(error, self.graph.name, "checkpoint"))

    def stands_by(self) -> None:
        """Another process runs the pipeline; this one waits until that has gone."""
        if (
            self.state == "draining"
        ):  # before it was known that another one runs it: there is nothing to drain
            self._stood_down = True
            self._scope.cancel()
            return
        self.state = "standby"
        self.entered.set()

    async def _open_letterbox(self) -> None:
        try:
            await self.letterbox.open()
        except Exception as error:
            noted(error, self.graph.name, "dead_letters")
            raise

    async def _until_settled(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._coordinate)
                if self.saves:
                    tasks.start_soon(self._stay_owner)
                await self.done.wait()
                if self.saves:
                    await self.coordinator.finish()
                tasks.cancel_scope.cancel()
            await self.coordinator.commit()
        except Exception as error:
            self._failed(error)
        finally:
            self._settled.set()

    async def _coordinate(self) -> None:
        try:
            await self.coordinator.run()
        except Exception as error:
            self._failed(error)

    async def _stay_owner(self) -> None:
        try:
            await self.coordinator.renew()
        except Exception as error:
            self._failed(noted(error, self.graph.name, "checkpoint"))

    async def _guard(self, stage: Stage) -> None:
        try:
            try:
                await self._open(stage)
                if self.saves:
                    await stage.begin()
                await stage.work()
            except anyio.get_cancelled_exc_class() as error:
                self._unwinding = True
                self._failed(noted(stray(error), self.graph.name, stage.name))
            except Exception as error:
                self._failed(error)  # before it leaves the census: that the others now sleep is no deadlock
            finally:
                self.census.leave()
                self._working -= 1
                if not self._working:
                    self.done.set()
        finally:
            with anyio.CancelScope(shield=True):
                if (isinstance(stage, RecordStage) and stage.number is not None) or (
                    isinstance(stage, SinkStage) and stage.transacts
                ):
                    await self._settled.wait()  # its last commit comes when all sinks are done
                try:
                    await stage.close()
                except Exception as error:
                    self._failed(noted(error, self.graph.name, stage.name))

    async def _open(self, stage: Stage) -> None:
        """No source reads before every sink is open."""
        await stage.open()
        self._opening -= 1
        if not self._opening:
            self.opened.set()
            self.entered.set()
        else:
            await self.opened.wait()

    def _failed(self, error: BaseException) -> None:
        for one in _leaves(error):
            # What fails at two places in one moment, for one reason (a full disk), has failed once.
            same = isinstance(one, StateError) and any(
                type(each) is type(one) and each.args == one.args for each in self._failures
            )
            if one not in self._failures and not same:
                self._failures.append(one)
        self._scope.cancel()

    def _raise(self) -> None:
        where = f"pipeline {self.graph.name!r}"
        if self._failures:
            if len(self._failures) == 1:
                error: Exception = self._failures[0]
            else:
                error = ExceptionGroup(f"{where}: {len(self._failures)} failures", self._failures)
            self._over("cancelled" if isinstance(error, Cancelled) else "failed", error)
            raise error
        if self._cancelled is not None:
            kind, why = self._cancelled
            n = self._abandoned
            error = kind(f"{where} {why}, {n} event{'' if n == 1 else 's'} in flight", n)
            self._over("cancelled", error)
            raise error
        self._over("complete", None)

    _stood_down = False
    """True when it has never been more than a standby, and was told to end."""

    def _over(self, state: State, error: BaseException | None) -> None:
        self._ended = anyio.current_time()
        self.state = state
        self.error = error
        self.opened.set()
        self.entered.set()
        self.done.set()
        if self.saves:
            self.coordinator.closed()
        for stage in self.stages:
            stage.let_go()
            if isinstance(stage, FeedStage):
                stage.tell(error)

    # How the stages stand to each other ---------------------------------------------------------------------

    def before(self, stage: Stage) -> tuple[Stage, ...]:
        """The stage at the other end of each of its inputs."""
        made = {each.plan: each for each in self.stages}
        return tuple(made[channel.source] for channel in stage.plan.inputs)

    def upstream(self, stage: Stage) -> list[Stage]:
        """The stage and all that events reach it from."""
        found, todo = [], [stage]
        while todo:
            at = todo.pop()
            if at not in found:
                found.append(at)
                todo.extend(self.before(at))
        return found

    def only_reaches(self, stage: Stage, through: Stage) -> bool:
        """True when every way on from ``stage`` passes ``through``."""
        made = {each.plan: each for each in self.stages}
        todo = [stage]
        while todo:
            at = todo.pop()
            if at is through:
                continue
            after = [made[channel.target] for outlet in at.plan.outlets for channel in outlet]
            if not after:
                return False
            todo.extend(after)
        return True

    # Ending it from outside ---------------------------------------------------------------------------------

    _cancelled: tuple[Callable[..., Cancelled], str] | None = None

    def drain(self) -> None:
        """Stop the sources; what is in flight goes on to the sinks."""
        if self.state == "standby":  # nothing has begun
            self._stood_down = True
            self._scope.cancel()
            return
        if self.state == "running":
            self.state = "draining"
            for stage in self.stages:
                stage.drain()
            if self.saves:
                self.coordinator.drain()

    def cancel(self, *, deadline: float | None = None) -> None:
        """Abandon what is in flight; ``deadline`` says that a drain has taken longer than that."""
        if self.state in ("ready", "standby", "running", "draining") and self._cancelled is None:
            if deadline is None:
                self._cancelled = (Cancelled, "was cancelled")
            else:
                self._cancelled = (DrainTimeout, f"was cancelled: draining took more than {deadline:g} s")
            self._scope.cancel()

    # What the stages call -----------------------------------------------------------------------------------

    def acknowledge(self, end: Reached, number: int) -> None:
        """The barrier has reached this end."""
        self.coordinator.acknowledge(end, number)

    def complete(self, end: Reached, limits: Limits) -> None:
        """This end gets nothing more."""
        self.coordinator.complete(end, limits)

    def _stuck(self) -> None:
        if self._failures or self._unwinding or self._scope.cancel_called:
            return
        waits = {s.name: s.parker.waits_for for s in self.stages if s.parker.waits_for}
        cycle = _cycle(waits)
        self._failed(
            Deadlock(
                f"pipeline {self.graph.name!r}: all stages wait for each other: "
                + "; ".join(f"[{name}] waits for {waits[name]}" for name in cycle)
                + "; put a larger buffer(n) where there is no room"
            )
        )

    @property
    def progressed(self) -> bool:
        """True when it has done something that counts: the next failure isn't one more of the same."""
        if self.saves:
            return bool(self.coordinator.count)
        return any(stage.events_out or (stage.events_in and not stage.outlets) for stage in self.stages)

    def remembering(self) -> dict[str, tuple[Stage, int]]:
        """The operators that remember something, by name: their stage, and their place in its chain."""
        return {
            self.identities[node]: (stage, at)
            for stage in self.stages
            for at, node in enumerate(stage.nodes)
            if node.op.memory == "remembering"
        }

    # What it tells ------------------------------------------------------------------------------------------

    def metrics(self) -> Metrics:
        """All stages as of now."""
        until = self._ended or (anyio.current_time() if self._began else 0.0)
        return Metrics(
            pipeline=self.graph.name,
            state=self.state,
            seconds=until - self._began,
            events_in=sum(stage.events_in for stage in self.stages if isinstance(stage, SourceStage)),
            in_flight=0 if self.state == "complete" else sum(stage.in_flight for stage in self.stages),
            stages=tuple(stage.metrics() for stage in self.stages),
        )


def _leaves(error: BaseException) -> list[Exception]:
    """The failures in a group that a task group has made; a group that a function has raised has a note."""
    if isinstance(error, BaseExceptionGroup) and not hasattr(error, "__notes__"):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error] if isinstance(error, Exception) else []


def _cycle(waits: dict[str, str]) -> list[str]:
    """The stages of one cycle, or all where none is found by their names."""
    after = {
        name: next((other for other in waits if text.endswith(f" {other}")), None)
        for name, text in waits.items()
    }
    for first in waits:
        seen: list[str] = []
        at: str | None = first
        while at is not None and at not in seen:
            seen.append(at)
            at = after[at]
        if at is not None:
            return seen[seen.index(at) :]
    return list(waits)


__all__ = ["Execution", "State", "log"]
