"""The pytest plugin: a virtual clock, probes, and tests that leave nothing behind.

It is there wherever reactor is installed (entry point ``reactor`` of ``pytest11``), and does nothing to a test
that doesn't ask for its fixtures.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.pytest_plugin
import pytest

from reactor.core import Sink, Source
from reactor.testing.clock import VirtualClock
from reactor.testing.probes import SinkProbe, SourceProbe

T = TypeVar("T")
Test = Callable[..., Any]

ROUNDS = 10
"""How often the loop goes round until what is about to end has to have ended."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "virtual_clock(start, grace, patience): settings of the fixture virtual_clock (reactor)"
    )
    config.addinivalue_line(
        "markers",
        "leaks_tasks: no_leaks lets this test leave tasks, threads, sources and sinks behind (reactor)",
    )


# Fixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> Iterator[VirtualClock]:
    """The test's loop goes by a virtual clock: time jumps when nothing is left to do but wait.

    For coroutine tests with ``@pytest.mark.anyio``, on each of their loops, and for the async fixtures named
    behind it. A sync test calls ``virtual_clock.run(main)``. ``@pytest.mark.virtual_clock(start=...)`` sets it.
    """
    item = request.node
    marker = item.get_closest_marker("virtual_clock")
    clock = VirtualClock(*marker.args, **marker.kwargs) if marker is not None else VirtualClock()
    if not inspect.iscoroutinefunction(_function(item.obj)):
        yield clock
        return
    if "anyio_backend" not in item.fixturenames:
        pytest.fail(
            "virtual_clock: mark the test with @pytest.mark.anyio, or make it a sync one that calls "
            "virtual_clock.run(main)",
            pytrace=False,
        )
    if getattr(anyio.pytest_plugin, "_current_runner", None) is not None:
        pytest.fail(
            "virtual_clock: an async fixture has started the loop already; name virtual_clock before it, and "
            "give it no wider scope than the test",
            pytrace=False,
        )
    backend = request.getfixturevalue("anyio_backend")
    name, options = clock.backend(backend if isinstance(backend, str) else backend[0])
    test: Test = item.obj

    @functools.wraps(test)
    async def watched(*args: Any, **kwargs: Any) -> None:
        await clock.watch(functools.partial(test, *args, **kwargs))

    item.obj = watched
    # While this runner is lent, anyio runs the fixtures and the test of this backend on it.
    with anyio.pytest_plugin.get_runner(name, options):
        yield clock


@pytest.fixture
def source_probe() -> Iterator[SourceProbe[Any]]:
    """A source in the hands of the test; closed again at its end."""
    probe = SourceProbe[Any]()
    yield probe
    assert probe.closed == probe.opened, f"{probe.name}: opened {probe.opened} times, closed {probe.closed}"


@pytest.fixture
def sink_probe() -> Iterator[SinkProbe[Any]]:
    """A sink in the hands of the test, which takes what is requested; closed again at its end."""
    probe = SinkProbe[Any]()
    yield probe
    assert probe.closed == probe.opened, f"{probe.name}: opened {probe.opened} times, closed {probe.closed}"


@pytest.fixture
def no_leaks() -> None:
    """The test fails if it leaves a task, a thread of reactor, an open source or an open sink behind.

    A fixture of your own with ``autouse=True`` that asks for it watches all tests; the marker ``leaks_tasks``
    exempts one.
    """


# Nothing is left behind ----------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    names: list[str] = getattr(item, "fixturenames", [])
    if (
        "no_leaks" not in names
        or item.get_closest_marker("leaks_tasks")
        or not isinstance(item, pytest.Function)
    ):
        return (yield)
    threads = set(threading.enumerate())
    with pytest.MonkeyPatch.context() as monkeypatch:
        left: list[str] = []
        by_hypothesis = getattr(item.obj, "hypothesis", None)
        if by_hypothesis is not None:
            by_hypothesis.inner_test = _watch(by_hypothesis.inner_test)
        elif inspect.iscoroutinefunction(item.obj):
            item.obj = _watch(item.obj)
        else:
            left = _watch_runs(monkeypatch)
        ends = _Ends(monkeypatch)
        result = yield
    if left:
        pytest.fail(f"asyncio tasks left behind: {'; '.join(left)}", pytrace=False)
    if ends.open:
        pytest.fail(f"left open: {', '.join(sorted(map(_shown, ends.open.values())))}", pytrace=False)
    ours = [one.name for one in set(threading.enumerate()) - threads if one.name.startswith("reactor ")]
    if ours:
        pytest.fail(f"threads left behind: {', '.join(sorted(ours))}", pytrace=False)
    return result


def _function(test: Test) -> Test:
    return getattr(getattr(test, "hypothesis", None), "inner_test", test)


def _describe(tasks: set[asyncio.Task[Any]]) -> str:
    return ", ".join(sorted(f"{task.get_name()} ({task.get_coro()!r})" for task in tasks))


async def _watched(test: Awaitable[Any]) -> None:
    """Await the test; what runs afterwards that didn't run before is a leak."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        before = trio.lowlevel.current_statistics().tasks_living
        await test
        more = 0
        for _ in range(ROUNDS):
            more = trio.lowlevel.current_statistics().tasks_living - before
            if more <= 0:
                return
            await anyio.lowlevel.checkpoint()
        pytest.fail(f"{more} trio task(s) left behind")
    known = asyncio.all_tasks()
    await test
    left: set[asyncio.Task[Any]] = set()
    for _ in range(ROUNDS):
        left = asyncio.all_tasks() - known
        if not left:
            return
        await asyncio.sleep(0)
    pytest.fail(f"asyncio tasks left behind: {_describe(left)}")


def _watch(test: Test) -> Test:
    original = getattr(test, "_anyio_original_func", test)
    if not inspect.iscoroutinefunction(original) or hasattr(original, "_watched"):
        return test

    @functools.wraps(original)
    async def watched(*args: Any, **kwargs: Any) -> None:
        await _watched(original(*args, **kwargs))

    watched._watched = True  # type: ignore[attr-defined]
    return watched


def _watch_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """asyncio.run and anyio.run, in a sync test, cancel what is left without a word: note it first."""
    left: list[str] = []
    leave = asyncio.Runner.__exit__

    def leave_and_look(runner: asyncio.Runner, *failure: Any) -> None:
        running = {task for task in asyncio.all_tasks(runner.get_loop()) if not task.cancelling()}
        if running:
            left.append(_describe(running))
        leave(runner, *failure)

    monkeypatch.setattr(asyncio.Runner, "__exit__", leave_and_look)
    return left


class _Ends:
    """Notes which sources and sinks are open, those of classes that the test makes included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open: dict[int, Source[Any] | Sink[Any]] = {}
        self._monkeypatch = monkeypatch
        for root in (Source, Sink):
            self._watch(root)
            monkeypatch.setattr(root, "__init_subclass__", classmethod(self._making(root)), raising=False)

    def _making(self, root: type[Any]) -> Callable[..., None]:
        def made(kind: type[Any], **kwargs: Any) -> None:
            super(root, kind).__init_subclass__(**kwargs)
            self._watch(kind)

        return made

    def _watch(self, kind: type[Any]) -> None:
        for name, note in (("open", self._opened), ("close", self._closed)):
            method = vars(kind).get(name)
            if inspect.iscoroutinefunction(method):
                self._monkeypatch.setattr(kind, name, self._noting(method, note))
        for below in kind.__subclasses__():
            self._watch(below)

    def _noting(self, method: Callable[..., Awaitable[T]], note: Callable[[Any], object]) -> Test:
        @functools.wraps(method)
        async def noted(end: Any, *args: Any, **kwargs: Any) -> T:
            note(end)
            return await method(end, *args, **kwargs)

        return noted

    def _opened(self, end: Any) -> None:
        self.open[id(end)] = end

    def _closed(self, end: Any) -> None:
        self.open.pop(id(end), None)


def _shown(end: Source[Any] | Sink[Any]) -> str:
    return f"{type(end).__name__} {end.name!r}" if end.name else type(end).__name__
