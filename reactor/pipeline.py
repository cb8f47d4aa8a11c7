"""Pipelines: closed graphs with a name, and their runs."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.abc

from reactor.arguments import whole
from reactor.core import ArgumentError, Cancelled, Duration, Sink, duration
from reactor.delivery import DeadLetter
from reactor.engine import Execution, Metrics, State, described, log
from reactor.graph import Graph, check, describe
from reactor.stream import Ending

__all__ = ["Pipeline", "Run", "run"]

T = TypeVar("T")

OnFailure = Callable[[Exception], "bool | float | Awaitable[bool | float | None] | None"]
"""Called when a run has failed: True, or seconds to wait, to start it again; else it stays failed."""


class Pipeline:
    """A named, closed graph: every branch ends in a sink. It is checked when it is built.

    ``dead_letters`` (a Topic, a Sink, or a function of a DeadLetter) is where events go that an operator with
    ``on_error=DeadLetters()`` gives up on. ``capacity`` bounds each channel between two stages, in events;
    ``chunk`` is how many events are handled at once at most; ``interval`` is how often (seconds) the positions
    of the sources are committed while events flow.

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
        )
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
        self.restarts = 0
        """How often ``on_failure`` has started it again."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    @property
    def state(self) -> State:
        """``ready``, ``running``, ``draining``, ``complete``, ``failed`` or ``cancelled``."""
        return self._execution.state

    @property
    def error(self) -> BaseException | None:
        """What it failed with, None otherwise."""
        return self._execution.error

    def metrics(self) -> Metrics:
        """What each stage has done so far."""
        return self._execution.metrics()

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
        """Abandon what is in flight, and end."""
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
        if self._on_failure is None or isinstance(error, Cancelled) or self._stopped.is_set():
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
        await self._execution.opened.wait()
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
        self._sink: Sink[Any] = topic.sink(id=lambda letter: letter.id, time=lambda letter: letter.time)
        self.name = self._sink.name

    async def open(self) -> None:
        await self._sink.open()

    async def write(self, events: Sequence[DeadLetter]) -> None:
        await self._sink.write([letter.stored() for letter in events])

    async def flush(self) -> None:
        await self._sink.flush()

    async def close(self) -> None:
        await self._sink.close()


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
