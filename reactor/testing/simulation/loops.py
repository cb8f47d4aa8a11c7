"""Event loops on which the decisions say which of the tasks that are ready goes first, or has to wait."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Generator, MutableSequence
from contextlib import contextmanager
from typing import Any

from reactor.testing.asyncio_loop import VirtualLoop
from reactor.testing.clock import Loop
from reactor.testing.simulation.realm import Realm

_FEW = 8
"""So many of the tasks that are ready may be the one that is chosen."""
_ROUNDS = 300_000
"""A run that has gone round so often goes round for ever."""


class Endless(Exception):
    """The tasks run and run, and time doesn't pass."""


class ShuffledLoop(VirtualLoop):
    """Runs the tasks that are ready in an order that the decisions say; by default in that of their creation."""

    def __init__(self, realm: Realm) -> None:
        super().__init__(realm.clock)
        self._realm = realm
        self._numbers: dict[Any, int] = {}
        self._rounds = 0
        self.set_task_factory(self._numbered)

    def _numbered(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **how)
        self._numbers[task] = len(self._numbers)
        return task

    def _run_once(self) -> None:
        self._rounds += 1
        if self._rounds > _ROUNDS:
            raise Endless(f"{_ROUNDS} rounds of the event loop")
        ready: MutableSequence[Any] = self._ready  # type: ignore[attr-defined]
        places = [at for at, handle in enumerate(ready) if isinstance(self._task(handle), asyncio.Task)]
        waiting: list[Any] = []
        if len(places) > 1:
            # What has woken them goes through sets here and there: their order would differ from run to run.
            steps = sorted((ready[at] for at in places), key=lambda step: self._numbers[self._task(step)])
            first, alone = turn(self._realm, len(steps))
            steps.insert(0, steps.pop(first))
            for at, step in zip(places, steps, strict=True):
                ready[at] = step
            if alone:
                waiting = [ready[at] for at in places[1:]]
                for at in reversed(places[1:]):
                    del ready[at]
        super()._run_once()  # type: ignore[misc]
        ready.extend(waiting)

    @staticmethod
    def _task(handle: Any) -> Any:
        return getattr(handle._callback, "__self__", None)


def turn(realm: Realm, count: int) -> tuple[int, bool]:
    """Which of so many tasks goes first, and whether it goes alone."""
    few = min(count, _FEW)
    choice = realm.choose("turn", 2 * few, realm.shuffled)
    return choice % few, choice >= few


class _Turns:
    """Stands in for the dice of trio's scheduler."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm

    def shuffle(self, batch: list[Any]) -> None:
        if len(batch) > 1:
            first, _ = turn(self._realm, len(batch))
            batch.append(batch.pop(first))  # it takes them from the end


@contextmanager
def pinned(realm: Realm, loop: Loop) -> Generator[tuple[str, dict[str, Any]]]:
    """Everything by which one run differs from the next is decided inside; gives the backend for anyio.run."""
    replaced: list[tuple[Any, str, Any]] = []

    def replace(module: Any, name: str, value: Any) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    look = _machine_clock(realm)
    for name, module in sorted(sys.modules.items()):
        if name.startswith("reactor.engine.") and hasattr(module, "perf_counter"):
            replace(module, "perf_counter", look)
    replace(sys.modules["reactor.delivery.policies"], "random", realm.jitter)
    collects = gc.isenabled()
    gc.disable()  # what is collected at some moment or other closes its generators then
    try:
        if loop == "trio":
            from trio._core import _run

            replace(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
            replace(_run, "_r", _Turns(realm))
            yield realm.clock.backend("trio")
        else:
            yield "asyncio", {"loop_factory": lambda: ShuffledLoop(realm)}
    finally:
        for module, name, value in reversed(replaced):
            setattr(module, name, value)
        if collects:
            gc.enable()


def _machine_clock(realm: Realm) -> Callable[[], float]:
    passed = 0.0

    def look() -> float:
        nonlocal passed
        passed += realm.tick
        return realm.clock.time + passed

    return look
