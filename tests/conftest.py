"""What every test gets without asking for it.

- ``@pytest.mark.anyio`` runs a coroutine test on asyncio and on trio, ``@pytest.mark.asyncio`` on asyncio.
- A call that blocks the asyncio loop fails the test, also where the code under test swallowed the error.
  Waiting (sleep, locks, sockets) is found everywhere; files and SQLite where ``reactor`` or ``pipelines``
  is on the stack, so that a test may prepare and inspect its files itself.
  Exception: ``@pytest.mark.blocking``.
- A task that outlives the test, or outlives an ``asyncio.run`` or ``anyio.run`` inside it, fails the test.
  Exception: ``@pytest.mark.leaks_tasks``.

Warnings as errors and the time limit per test stand in pyproject.toml; test_conftest.py proves them all.
"""

import asyncio
import functools
import importlib.util
import inspect
from collections.abc import Awaitable, Callable, Generator
from types import ModuleType
from typing import Any

import anyio.lowlevel
import blockbuster.blockbuster as guard
import pytest
import sniffio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


# Blocking calls --------------------------------------------------------------------------------------------

_blocked: list[str] = []


class _Blocked(guard.BlockingError):
    """A BlockingError that is remembered, so that catching it doesn't hide it."""

    def __init__(self, func: str) -> None:
        super().__init__(func)
        _blocked.append(func)


def _packages(*names: str) -> list[ModuleType]:
    """Stand-ins that carry only the folders: blockbuster shall not import what is under test."""
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            package = ModuleType(name)
            package.__path__ = [f"{folder}/"]
            found.append(package)
    return found


def _make_guards() -> list[guard.BlockBusterFunction]:
    everywhere = guard.BlockBuster().functions
    ours = guard.BlockBuster(_packages("reactor", "pipelines")).functions
    waits = ("time.", "threading.", "socket.", "ssl.", "builtins.")
    chosen = {name: everywhere[name] if name.startswith(waits) else ours[name] for name in everywhere}
    # A process pool wakes its own thread by one byte in a pipe.
    chosen["os.write"].can_block_in("concurrent/futures/process.py", {"submit", "wakeup"})
    # Where log lines go is the application's choice; pytest's handlers write to a file.
    for write in ("io.TextIOWrapper.write", "io.BufferedWriter.write"):
        chosen[write].can_block_in("logging/__init__.py", {"emit"})
    # A relative path is made absolute: a system call without any I/O.
    chosen["os.getcwd"].can_block_in("reactor/connectors/sqlite/log.py", {"__init__"})
    return list(chosen.values())


guard.BlockingError = _Blocked  # type: ignore[misc]
_guards = _make_guards()


# Tasks that stay behind ------------------------------------------------------------------------------------


def _describe(tasks: set[asyncio.Task[Any]]) -> str:
    return ", ".join(sorted(f"{task.get_name()} ({task.get_coro()!r})" for task in tasks))


async def _watched(test: Awaitable[Any]) -> None:
    """Await the test; what runs afterwards that didn't run before is a leak."""
    if sniffio.current_async_library() == "trio":
        import trio

        before = trio.lowlevel.current_statistics().tasks_living
        await test
        for _ in range(10):
            if (more := trio.lowlevel.current_statistics().tasks_living - before) <= 0:
                return
            await anyio.lowlevel.checkpoint()
        pytest.fail(f"{more} trio task(s) left behind")
    known = asyncio.all_tasks()
    await test
    for _ in range(10):
        if not (left := asyncio.all_tasks() - known):
            return
        await asyncio.sleep(0)
    pytest.fail(f"asyncio tasks left behind: {_describe(left)}")


def _watch(test: Callable[..., Any]) -> Callable[..., Any]:
    original = getattr(test, "_anyio_original_func", test)
    if not inspect.iscoroutinefunction(original) or hasattr(original, "_watched"):
        return test

    @functools.wraps(original)
    async def watched(*args: Any, **kwargs: Any) -> None:
        await _watched(original(*args, **kwargs))

    watched._watched = True  # type: ignore[attr-defined]
    return watched


def _watch_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """asyncio.run and anyio.run cancel what is left without a word: note it first."""
    left: list[str] = []
    leave = asyncio.Runner.__exit__

    def leave_and_look(runner: asyncio.Runner, *failure: Any) -> None:
        running = {task for task in asyncio.all_tasks(runner.get_loop()) if not task.cancelling()}
        if running:
            left.append(_describe(running))
        leave(runner, *failure)

    monkeypatch.setattr(asyncio.Runner, "__exit__", leave_and_look)
    return left


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    left: list[str] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        if isinstance(item, pytest.Function) and item.get_closest_marker("leaks_tasks") is None:
            by_hypothesis = getattr(item.obj, "hypothesis", None)
            if by_hypothesis is not None:
                by_hypothesis.inner_test = _watch(by_hypothesis.inner_test)
            elif inspect.iscoroutinefunction(item.obj):
                item.obj = _watch(item.obj)
            else:
                left = _watch_runs(monkeypatch)
        _blocked.clear()
        guards = _guards if item.get_closest_marker("blocking") is None else []
        try:
            for function in guards:
                function.activate()
            result = yield
        finally:
            for function in guards:
                function.deactivate()
    if _blocked:
        pytest.fail(f"blocking calls on the event loop: {', '.join(_blocked)}", pytrace=False)
    if left:
        pytest.fail(f"asyncio tasks left behind: {'; '.join(left)}", pytrace=False)
    return result
