"""Pipelines: closed graphs with a name, and their runs."""

from __future__ import annotations

import dataclasses
import inspect
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel

from reactor.arguments import whole
from reactor.connectors.states import state_store
from reactor.core import ArgumentError, Cancelled, Duration, Sink, StateError, duration
from reactor.delivery import Checkpoint, Checkpoints, DeadLetter, Guarantee, Restart, Savepoint
from reactor.engine import Execution, Metrics, Restarts, Stage, described, log, remembered
from reactor.graph import Graph, check, describe
from reactor.stream import Ending

__all__ = ["Pipeline", "Remembered", "Run", "RunState", "run"]

T = TypeVar("T")

OnFailure = Callable[[Exception], "bool | float | Awaitable[bool | float | None] | None"]
"""Called when a run has failed: True, or seconds to wait, to start it again; else it stays failed."""


class Pipeline:
    """A named, closed graph: every branch ends in a sink. It is checked when it is built.

    ``dead_letters`` (a Topic, a Sink, or a function of a DeadLetter) is where events go that an operator with
    ``on_error=DeadLetters()`` gives up on. ``capacity`` bounds each channel between two stages, in events;
    ``chunk`` is how many events are handled at once at most; ``interval`` is how often (seconds) the positions
    of the sources are committed while events flow.

    With ``checkpoint`` (a URL as ``sqlite:state.db``, or Checkpoints) positions are saved together with what the
    operators remember, and the next run goes on from there. ``guarantee="exactly-once"`` has sinks publish what
    they were given only when a checkpoint stands; the check names what can't. With ``restart`` a run that has
    failed goes on from its last checkpoint by itself.

    Raises GraphError with all faults at once.
    """

    def __init__(
        self,
        name: str,
        *branches: Ending,
        dead_letters: Any = None,
        capacity: int = 1024,
        chunk: int = 4096,
        interval: Duration = 1.0,
        checkpoint: str | Checkpoints | None = None,
        guarantee: Guarantee = "at-least-once",
        restart: Restart | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"Pipeline({name!r}): the first argument is its name")
        for branch in branches:
            if not isinstance(branch, Ending):
                raise ArgumentError(
                    f"Pipeline({name!r}, {branch!r}): a branch is a stream that ends in to() or discard()"
                )
        self.name = name
        self._graph = Graph(
            name,
            tuple(branch.node for branch in branches),
            dead_letters=None if dead_letters is None else _letters(name, dead_letters),
            capacity=whole(f"Pipeline({name!r}, capacity", capacity, 1),
            chunk=whole(f"Pipeline({name!r}, chunk", chunk, 1),
            interval=duration(interval, f"Pipeline({name!r}, interval"),
            checkpoints=None if checkpoint is None else _checkpoints(name, checkpoint),
            guarantee=guarantee,
        )
        if guarantee not in ("at-least-once", "exactly-once"):
            raise ArgumentError(
                f'Pipeline({name!r}, guarantee={guarantee!r}): must be "at-least-once" or "exactly-once"'
            )
        self.restart = restart
        check(self._graph)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}, {len(self._graph.nodes())} operators>"

    def explain(self, form: Literal["text", "json", "mermaid"] = "text") -> str:
        """Return the plan: stages, channels, what each operator remembers, what is guaranteed and why."""
        if form not in ("text", "json", "mermaid"):
            raise ArgumentError(f'explain({form!r}): must be "text", "json" or "mermaid"')
        return describe(described(self._graph), form)

    async def run(self, *, drain: Duration = 30.0, on_failure: OnFailure | None = None) -> Run:
        """Run to the end, or until SIGINT or SIGTERM drains it; a second one cancels.

        ``drain`` is how long (seconds) draining may take until what is left is cancelled, and DrainTimeout
        raised. A failure is raised as it is, with a note that names pipeline, operator and event; several at
        once as an ExceptionGroup. Signals are taken only in the main thread.
        """
        run = Run(self, drain, on_failure)
        run._use()
        async with _signals(run):
            await run._execute()
        return run

    def start(self, *, drain: Duration = 30.0, on_failure: OnFailure | None = None) -> Run:
        """Return a block in which it runs: ``async with pipeline.start() as run``. Signals aren't touched.

        Leaving the block drains it; an exception in the block cancels it. A failure of the run is logged at
        once, told by ``run.state`` and ``run.error``, and raised when the block is left; the block itself
        isn't cancelled.
        """
        return Run(self, drain, on_failure)


class RunState(str):
    """How a run stands, as text; and what its operators remember, by their names."""

    __slots__ = ("_execution",)
    _execution: Execution

    def __new__(cls, execution: Execution) -> RunState:
        """Say how the run stands now."""
        made = super().__new__(cls, execution.state)
        made._execution = execution
        return made

    def __call__(self, name: str) -> Remembered:
        """Return what the operator with this name remembers. Raises ArgumentError where there is none."""
        known = self._execution.remembering()
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ArgumentError(
                f"state({name!r}): no operator of this name remembers anything; there are: {names}"
            )
        return Remembered(*known[name])


class Remembered:
    """What one operator remembers, live: it changes while events flow."""

    def __init__(self, stage: Stage, at: int) -> None:
        self._stage = stage
        self._at = at

    def get(self, key: Any = None) -> Any:
        """Return what is remembered of a key, None for nothing.

        Of a window: its open windows with their values as of now. Of scan: the state. Of process: the object. Of
        a join with a table: the newest version. Where there are no keys, leave the key out.
        """
        return remembered(self._stage.states, self._at, key)


class Run:
    """One live execution of a pipeline."""

    def __init__(self, pipeline: Pipeline, drain: Duration, on_failure: OnFailure | None) -> None:
        self.pipeline = pipeline
        self._deadline = duration(drain, "run(drain", zero=True)
        self._on_failure = on_failure
        self._execution = Execution(pipeline._graph)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._done = anyio.Event()
        self._stopped = anyio.Event()
        self._used = False
        self._token: Any = None
        self._thread: int | None = None
        self.restarts = 0
        """How often ``restart=`` or ``on_failure`` has started it again."""
        restart = pipeline.restart
        self._restarts = Restarts(restart, f"pipeline {pipeline.name!r}") if restart is not None else None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    @property
    def state(self) -> RunState:
        """``ready``, ``standby``, ``running``, ``draining``, ``complete``, ``failed`` or ``cancelled``.

        Called with the name of an operator it is what that remembers now: ``run.state("revenue").get("DE")``.
        """
        return RunState(self._execution)

    @property
    def error(self) -> BaseException | None:
        """What it failed with, None otherwise."""
        return self._execution.error

    def metrics(self) -> Metrics:
        """What each stage has done so far."""
        return self._execution.metrics()

    async def checkpoint(self) -> Checkpoint:
        """Take a checkpoint now, and return it when it stands; the last one where the run is over.

        Raises StateError where there is none: the run has failed, or has only just begun to stand by.
        """
        self._check_used("checkpoint")
        execution = self._execution
        if not execution.saves:
            raise ArgumentError(
                f'checkpoint(): pipeline {self.name!r} has none; pass Pipeline(..., checkpoint="sqlite:state.db")'
            )
        taken: Checkpoint | None = await execution.coordinator.now()
        if taken is None:
            raise StateError(f"pipeline {self.name!r}: no checkpoint was taken, the run is {self.state}")
        return taken

    async def savepoint(self, name: str) -> Savepoint:
        """Take a checkpoint now and keep it under a name, until somebody deletes it: see ``checkpoints(url)``."""
        await self.checkpoint()
        kept: Savepoint = await self._execution.coordinator.store.keep(self.name, name)
        return kept

    async def drain(self) -> None:
        """Stop the sources, let what is in flight reach the sinks, and return when it is over.

        After the deadline of ``run`` or ``start`` what is left is cancelled. Doesn't raise: ``error`` tells.
        """
        self._check_used("drain")
        self._stopped.set()
        self._execution.drain()
        with anyio.move_on_after(self._deadline):
            await self._done.wait()
            return
        self._execution.cancel(deadline=self._deadline)
        await self._done.wait()

    def cancel(self) -> None:
        """Abandon what is in flight, and end. May be called from any thread, again and again."""
        if self._token is None or threading.get_ident() == self._thread:
            self._cancel()
            return
        try:
            anyio.from_thread.run_sync(self._cancel, token=self._token)
        except anyio.RunFinishedError:
            pass  # the loop has ended, and the run with it

    def _cancel(self) -> None:
        self._stopped.set()
        self._execution.cancel()

    async def wait(self) -> None:
        """Wait until it has ended; raise what it failed with."""
        self._check_used("wait")
        await self._done.wait()
        if self.error is not None:
            raise self.error

    def _check_used(self, call: str) -> None:
        if not self._used:
            raise ArgumentError(
                f"{call}(): pipeline {self.name!r} hasn't been started: async with pipeline.start() as run: ..."
            )

    def _use(self) -> None:
        if self._used:
            raise ArgumentError(f"pipeline {self.name!r}: a run runs once; call run() or start() again")
        self._used = True
        self._token, self._thread = anyio.lowlevel.current_token(), threading.get_ident()

    async def _execute(self) -> None:
        try:
            while True:
                try:
                    return await self._execution.execute()
                except Exception as error:
                    again = await self._again(error)
                    if again is None:
                        raise
                    with anyio.move_on_after(again):
                        await self._stopped.wait()
                    if self._stopped.is_set():
                        raise
                self.restarts += 1
                self._execution = Execution(self.pipeline._graph)
        finally:
            self._done.set()

    async def _again(self, error: Exception) -> float | None:
        if isinstance(error, Cancelled) or self._stopped.is_set():
            return None
        if self._restarts is not None:
            if self._execution.progressed:
                self._restarts.worked()
            try:
                return self._restarts.failed(error)
            except Exception:  # it is given up, and has a note that says so
                if self._on_failure is None:
                    return None
        if self._on_failure is None:
            return None
        answer: Any = self._on_failure(error)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is True:
            return 0.0
        return (
            None
            if answer is None or answer is False
            else duration(answer, "on_failure returned (", zero=True)
        )

    # As a block:

    async def __aenter__(self) -> Run:
        self._use()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._in_background, name=f"pipeline {self.name}")
        await self._execution.entered.wait()
        return self

    async def _in_background(self) -> None:
        try:
            await self._execute()
        except Cancelled as error:
            log.warning("%s", error)
        except Exception as error:
            log.error("pipeline %r failed: %s: %s", self.name, type(error).__name__, error, exc_info=error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        if error is not None:
            self.cancel()
            if isinstance(error, Exception):  # it goes its way as it is, without a group around it
                await self._tasks.__aexit__(None, None, None)
                return None
        else:
            try:
                await self.drain()
            except BaseException as cancelled:
                self.cancel()
                return await self._tasks.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        suppressed = await self._tasks.__aexit__(kind, error, trace)
        if error is None and self.error is not None:
            raise self.error
        return suppressed


async def run(*pipelines: Pipeline, drain: Duration = 30.0, on_failure: OnFailure | None = None) -> list[Run]:
    """Run several pipelines, each on its own: the failure of one never stops another.

    Returns when all have ended; SIGINT or SIGTERM drains all, a second one cancels. A failure is logged at
    once, and raised when all have ended; several as an ExceptionGroup.
    """
    if not pipelines:
        raise ArgumentError("run(): pass one pipeline or more")
    names = [pipeline.name for pipeline in pipelines]
    if len(set(names)) < len(names):
        raise ArgumentError(f"run({', '.join(names)}): two pipelines have the same name")
    runs = [Run(pipeline, drain, on_failure) for pipeline in pipelines]
    for each in runs:
        each._use()
    async with _signals(*runs):
        async with anyio.create_task_group() as tasks:
            for each in runs:
                tasks.start_soon(each._in_background, name=f"pipeline {each.name}")
    errors = [each.error for each in runs if isinstance(each.error, Exception)]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(runs)} pipelines failed", errors)
    return runs


@asynccontextmanager
async def _signals(*runs: Run) -> AsyncGenerator[None, None]:
    """While the block runs, the first SIGINT or SIGTERM drains, a second one cancels."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_listen, tasks, runs)
        try:
            yield
        except Exception as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _listen(
    tasks: anyio.abc.TaskGroup, runs: Sequence[Run], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        first = True
        async for number in signals:
            for each in runs:
                if first:
                    log.info("pipeline %r drains: %s", each.name, signal.Signals(number).name)
                    tasks.start_soon(each.drain)
                else:
                    each.cancel()
            first = False


class _TopicLetters(Sink[DeadLetter]):
    """Dead letters into a topic: stored as StoredLetter, by their ids, so that twice is once."""

    def __init__(self, topic: Any) -> None:
        keeping = getattr(topic, "_keeping", None)
        where = topic if keeping is None else keeping()
        self._sink: Sink[Any] = where.sink(id=lambda letter: letter.id, time=lambda letter: letter.time)
        self.name = self._sink.name

    async def open(self) -> None:
        await self._sink.open()

    async def write(self, events: Sequence[DeadLetter]) -> None:
        await self._sink.write([letter.stored() for letter in events])

    async def flush(self) -> None:
        await self._sink.flush()

    async def close(self) -> None:
        await self._sink.close()


def _checkpoints(pipeline: str, given: Any) -> Checkpoints:
    if isinstance(given, str):
        given = Checkpoints(given)
    if not isinstance(given, Checkpoints):
        raise ArgumentError(
            f"Pipeline({pipeline!r}, checkpoint={given!r}): a URL as sqlite:state.db, or Checkpoints(...)"
        )
    if isinstance(given.store, str):
        return dataclasses.replace(given, store=state_store(given.store))
    return given


def _letters(pipeline: str, target: Any) -> Any:
    if isinstance(target, Sink) or inspect.isfunction(target) or inspect.iscoroutinefunction(target):
        return target
    if callable(getattr(target, "sink", None)):
        return _TopicLetters(target)
    if callable(target):
        return target
    raise ArgumentError(
        f"Pipeline({pipeline!r}, dead_letters={target!r}): pass a Topic, a Sink, or a function of a DeadLetter"
    )
