"""Who waits for what: the tasks of the running loop, read from outside.

A suspended coroutine says what it awaits, and that what it awaits, down to what the loop itself knows. A
virtual clock reads there whether a thread still works for some task, and what to tell if nothing can go on.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import anyio

from reactor.connectors.loops import Waiter

_OWN_THREAD = Waiter.wait.__code__
_BETWEEN = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")
"""The types of what lies between ``async for`` or ``anext()`` and the generator."""
_FOREIGN = ("/anyio/", "/asyncio/", "/trio/", "/site-packages/_pytest/")
"""Parts of the paths whose frames say nothing to whoever wrote the test."""


def trio_running() -> Any:
    """The module trio while its loop runs here, else None."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None


def tasks() -> Iterator[tuple[str, Any]]:
    """Name and coroutine of every task of the running loop; call it on the loop, in a task or a callback."""
    trio = trio_running()
    if trio is not None:
        waiting = [trio.lowlevel.current_root_task()]
        while waiting:
            task = waiting.pop()
            yield task.name, task.coro
            for nursery in task.child_nurseries:
                waiting.extend(nursery.child_tasks)
    else:
        for task in asyncio.all_tasks(asyncio.get_running_loop()):
            yield task.get_name(), task.get_coro()


def frames(coroutine: Any) -> list[FrameType]:
    """The frames of a suspended coroutine and of all that it awaits, the innermost last."""
    found: list[FrameType] = []
    at = coroutine
    while at is not None:
        if inspect.iscoroutine(at):
            frame, below = at.cr_frame, at.cr_await
        elif inspect.isgenerator(at):
            frame, below = at.gi_frame, at.gi_yieldfrom
        elif inspect.isasyncgen(at):
            frame, below = at.ag_frame, at.ag_await
        elif _is_between(at):
            # It doesn't say what it stands for; the collector knows.
            inner = [one for one in gc.get_referents(at) if inspect.isasyncgen(one) or _is_between(one)]
            frame, below = None, inner[0] if inner else None
        else:
            break
        if frame is not None:
            found.append(frame)
        at = below
    if found and found[-1].f_code.co_name == "_real_async_yield":
        found.pop()  # trio's own last step
    return found


def _is_between(awaitable: object) -> bool:
    return type(awaitable).__name__ in _BETWEEN


def _waits_for_thread(chain: list[CodeType]) -> bool:
    on_asyncio = chain[-1].co_name == "run_sync_in_worker_thread"
    on_trio = [code.co_name for code in chain[-2:]] == ["to_thread_run_sync", "wait_task_rescheduled"]
    return on_asyncio or on_trio or _OWN_THREAD in chain


def threads_at_work() -> bool:
    """True while some task waits for a thread that works for it, and that doesn't wait for the loop itself."""
    if threading.active_count() == 1:
        return False
    balance = 0
    for _, coroutine in tasks():
        chain = [frame.f_code for frame in frames(coroutine)]
        if not chain:
            continue
        balance += _waits_for_thread(chain)
        if chain[0].co_qualname.endswith("run_async_from_thread.<locals>.task_wrapper"):
            balance -= 1  # asyncio: what a thread has the loop do, and waits for
    return balance > 0


def waits_for_quiet() -> bool:
    """True while a task on trio waits until all others are blocked."""
    return any(
        frame.f_code.co_name == "wait_all_tasks_blocked"
        for _, coroutine in tasks()
        for frame in frames(coroutine)[-3:]
    )


def describe() -> str:
    """One line for each task that has a frame of the test or of what it tests: where it waits."""
    lines = []
    for name, coroutine in tasks():
        ours = [
            frame
            for frame in frames(coroutine)
            if not any(part in frame.f_code.co_filename for part in _FOREIGN)
        ]
        if ours:
            frame = ours[-1]
            code = frame.f_code
            lines.append(f"  {name}: {code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
    return "\n".join(sorted(lines))


async def settle() -> None:
    """Return when every other task waits for something: nothing more happens by itself now.

    No time passes meanwhile, real or virtual. A thread's work counts as something to wait for.
    """
    if trio_running() is not None:
        return await anyio.wait_all_tasks_blocked()
    quiet = 0
    while quiet < 3:
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        waiters = [getattr(task, "_fut_waiter", None) for task in others]
        quiet = quiet + 1 if all(waiter is not None and not waiter.done() for waiter in waiters) else 0
