"""The function of an async map as something to await: a coroutine function, or one in a thread or process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

import anyio
import anyio.to_thread

from reactor.engine.processes import Processes
from reactor.operators import Call

Async = Callable[[Any], Awaitable[Any]]


def asynchronous(
    op: Call,
    checked: Callable[[Callable[[Any], Any], Any], Awaitable[Any]],
    refuse: Callable[[Any], None],
    processes: Processes | None,
) -> Async:
    """Return the operator's function as one whose result is awaited.

    ``checked(fn, value)`` makes the first call of a function of which nothing is known, ``refuse`` raises for a
    sync function that returns a coroutine.
    """
    fn: Callable[[Any], Any] = op.fn
    if op.star:

        def starred(values: Any) -> Any:
            return op.fn(*values)

        fn = starred
        if op.where == "process":
            fn = functools.partial(_starred, op.fn)
    if op.where == "inline":

        async def inline(value: Any) -> Any:
            result = fn(value)
            if type(result) is CoroutineType:
                result.close()
                refuse(value)
            return result

        return inline
    if op.where == "thread":
        limiter = anyio.CapacityLimiter(op.concurrency)
        abandon = op.timeout is not None

        async def thread(value: Any) -> Any:
            return await anyio.to_thread.run_sync(fn, value, limiter=limiter, abandon_on_cancel=abandon)

        return thread
    if op.where == "process":
        assert processes is not None
        return functools.partial(processes.call, fn)
    if inspect.iscoroutinefunction(fn):
        return fn
    return lambda value: checked(fn, value)


def _starred(fn: Callable[..., Any], values: Any) -> Any:
    return fn(*values)
