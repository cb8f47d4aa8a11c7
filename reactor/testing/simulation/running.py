"""One simulation: processes are started, stopped and killed until the pipeline has come to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio

from reactor.core import Cancelled, Fenced
from reactor.delivery import DeadLetter
from reactor.pipeline import Pipeline, Run
from reactor.testing.awaits import describe
from reactor.testing.clock import Loop, VirtualClock
from reactor.testing.simulation.decisions import Decision, Decisions
from reactor.testing.simulation.ends import LettersKept, SinkKept, TableKept
from reactor.testing.simulation.faults import Fault, Killed
from reactor.testing.simulation.loops import Endless, pinned
from reactor.testing.simulation.realm import Process, Realm
from reactor.testing.simulation.world import World

Build = Callable[[World], Pipeline]
"""Builds the pipeline anew for each process, from the world that this process sees."""

_PATIENCE = 3600.0
"""Virtual seconds after which a process hangs."""
_MOMENTS = (0.002, 0.01, 0.05, 0.3)
_ACTIONS = ("killed", "drained", "cancelled", "checkpoint", "savepoint", "standby")
_STARTS = 25
"""So many processes, and then nothing is disturbed any more."""


@dataclass
class Simulated:
    """What one simulation has come to."""

    seed: int
    decisions: tuple[Decision, ...] = ()
    trace: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    """What it has broken; nothing, if all is well."""
    tables: dict[str, list[Any]] = field(default_factory=dict)
    sinks: dict[str, list[Any]] = field(default_factory=dict)
    letters: dict[str, dict[str, DeadLetter]] = field(default_factory=dict)
    processes: int = 0
    """How many processes there were."""
    most_events: int = 0
    """How many events the longest source has."""
    kept: dict[tuple[type, str], Any] = field(default_factory=dict)


def run(
    build: Build,
    seed: int,
    *,
    loop: Loop = "asyncio",
    decisions: Iterable[tuple[str, int, int]] | None = None,
    events: int | None = None,
) -> Simulated:
    """Run one simulation to its end."""
    clock = VirtualClock()
    chosen = Decisions(seed, decisions)
    realm = Realm(chosen, clock, events)
    logger = logging.getLogger("reactor")
    disabled, logger.disabled = logger.disabled, True
    try:
        with pinned(realm, loop) as (backend, options):
            anyio.run(_watched, realm, build, backend=backend, backend_options=options)
    except Endless as error:
        realm.wrong.append(f"it goes on for ever: {error}")
    finally:
        logger.disabled = disabled
    kept = realm.kept
    return Simulated(
        seed,
        tuple(chosen.taken),
        tuple(realm.trace),
        tuple(realm.wrong),
        {name: each.rows for (kind, name), each in kept.items() if kind is TableKept},
        {name: each.rows for (kind, name), each in kept.items() if kind is SinkKept},
        {name: each.letters for (kind, name), each in kept.items() if kind is LettersKept},
        len(realm.processes),
        realm.longest,
        kept,
    )


async def _watched(realm: Realm, build: Build) -> None:
    try:
        await realm.clock.watch(lambda: _drive(realm, build))
    except Exception as error:
        realm.wrong.append(f"{type(error).__name__}: {error}")


async def _drive(realm: Realm, build: Build) -> None:
    async with anyio.create_task_group() as tasks:
        realm.tasks = tasks
        while not any(process.complete for process in realm.processes) and not realm.wrong:
            process = _start(realm, build, tasks)
            await _until_left(realm, process, tasks)
            await anyio.sleep((0.0, 0.1, 3.0, 15.0)[realm.choose("rest", 4, 0.6)])
        realm.disturbed = False
        if not realm.wrong and realm.choose("once more", 2, 0.5):
            _start(realm, build, tasks)
        for process in realm.processes:
            await _until_over(realm, process)
        tasks.cancel_scope.cancel()


def _start(realm: Realm, build: Build, tasks: Any) -> Process:
    if len(realm.processes) >= _STARTS:
        realm.disturbed = False
    process = Process(realm)
    process.note("starts")
    tasks.start_soon(_live, process, build, name=f"process {process.number}")
    return process


async def _until_left(realm: Realm, process: Process, tasks: Any) -> None:
    with anyio.move_on_after(_PATIENCE):
        return await process.left.wait()
    _hangs(realm, process)


async def _until_over(realm: Realm, process: Process) -> None:
    with anyio.move_on_after(_PATIENCE):
        return await process.ended.wait()
    _hangs(realm, process)


def _hangs(realm: Realm, process: Process) -> None:
    realm.wrong.append(f"process {process.number} hangs:\n{describe()}")
    process.kill()


async def _live(process: Process, build: Build) -> None:
    """One life of a process."""
    error: BaseException | None = None
    try:
        with process.scope:
            pipeline = build(World(process))
            started = Run(pipeline, 30.0, None)
            started._use()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_disturb, process, started, build)
                try:
                    await started._execute()
                finally:
                    tasks.cancel_scope.cancel()
    except Exception as caught:
        error = caught
    process.over = True
    if not process.dead:
        process.realm.gone.add(f"process {process.number}")
        process.note(f"over: {type(error).__name__ if error else 'complete'}")
        process.complete = error is None and not process.stopped
        for one in _leaves(error):
            if not _expected(process, one):
                process.realm.wrong.append(_told(process, one))
    process.left.set()
    process.ended.set()


async def _disturb(process: Process, run: Run, build: Build) -> None:
    realm = process.realm
    choice = realm.choose("event", 1 + len(_ACTIONS) * len(_MOMENTS), 0.5)
    if not choice:
        return
    action, moment = _ACTIONS[(choice - 1) % len(_ACTIONS)], _MOMENTS[(choice - 1) // len(_ACTIONS)]
    await anyio.sleep(moment)
    process.note(f"to be {action}")
    if action == "killed":
        process.kill()
    elif action == "drained":
        process.stopped = True
        await run.drain()
    elif action == "cancelled":
        process.stopped = True
        run.cancel()
    elif action == "standby":
        assert realm.tasks is not None
        _start(realm, build, realm.tasks)
    elif run._execution.saves:
        try:
            if action == "checkpoint":
                await run.checkpoint()
            else:
                await run.savepoint(f"of process {process.number}")
        except Exception as error:
            process.note(f"{action}: {type(error).__name__}")


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [] if error is None else [error]


def _expected(process: Process, error: BaseException) -> bool:
    if isinstance(error, Fenced):
        return process.fenced
    return isinstance(error, Fault | Killed) or (isinstance(error, Cancelled) and process.stopped)


def _told(process: Process, error: BaseException) -> str:
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"process {process.number} fails with {type(error).__name__}: {error} ({notes})"
