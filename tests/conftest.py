"""What every test gets without asking for it.

- ``@pytest.mark.anyio`` runs a coroutine test on asyncio and on trio, ``@pytest.mark.asyncio`` on asyncio.
- A call that blocks the asyncio loop fails the test, also where the code under test swallowed the error.
  Waiting (sleep, locks, sockets) is found everywhere; files and SQLite where ``reactor`` or ``pipelines``
  is on the stack, so that a test may prepare and inspect its files itself.
  Exception: ``@pytest.mark.blocking``.
- What outlives the test, or an ``asyncio.run`` or ``anyio.run`` inside it, fails the test: tasks, threads of
  reactor, open sources and sinks (``no_leaks`` of reactor's own pytest plugin, which users have, too).
  Exception: ``@pytest.mark.leaks_tasks``.

Warnings as errors and the time limit per test stand in pyproject.toml; test_conftest.py proves them all.

The tests at real brokers (tests/brokers/NAME) are left out where they aren't asked for by path, and said to be.
"""

import importlib.util
import os
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import blockbuster.blockbuster as guard
import pytest

from tests.servers.fixtures import (  # noqa: F401
    kafka,
    nats,
    own_kafka,
    own_nats,
    own_postgres,
    own_pubsub,
    own_rabbitmq,
    own_redis,
    own_sqs,
    postgres,
    pubsub,
    rabbitmq,
    redis,
    sqs,
)

# Unbuffered, print() writes word by word: a process that is killed would leave a part of a line.
os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


# Real brokers ----------------------------------------------------------------------------------------------

_BROKERS = Path(__file__).parent / "brokers"
_FAULTS = _BROKERS / "local" / "test_faults.py"


def _asked(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / one.partition("::")[0]).resolve() for one in config.args]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a broker's folder out, unless a path on the command line is inside tests/brokers, or is that.

    The suite's own tests need no server, but a minute: they go with the brokers, too.
    """
    if collection_path != _FAULTS and (collection_path.parent != _BROKERS or not collection_path.is_dir()):
        return None
    if collection_path.name in ("local", "__pycache__"):  # needs no server
        return None
    return None if any(asked.is_relative_to(_BROKERS) for asked in _asked(config)) else True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say of each broker that its tests weren't run, where all tests were asked for."""
    if not any(one in _BROKERS.parents for one in _asked(config)):
        return
    for folder in sorted(_BROKERS.iterdir()):
        if (folder / "__init__.py").exists() and folder.name != "local":
            terminalreporter.write_line(
                f"not run: tests/brokers/{folder.name}: at a real server; make test-brokers does"
            )


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
    # The kit's plugin stands below every test: it isn't what is under test.
    ours = guard.BlockBuster(
        _packages("reactor", "pipelines"), excluded_modules=_packages("reactor.testing")
    ).functions
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


# What stays behind -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_left(no_leaks: None) -> None:
    """Every test is watched."""


# Around every test -----------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
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
    return result
