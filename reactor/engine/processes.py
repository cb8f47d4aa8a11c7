"""Processes of a stage's own, for functions that compute: they end with the run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import anyio
import anyio.to_thread

from reactor.core import ProcessDied


class _One:
    """One process, behind an executor of its own: it can be killed without harm to the others."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    def call(self, fn: Callable[[Any], Any], value: Any) -> Any:
        """Return ``fn(value)``; on a thread, which starts the process and waits for it."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self._executor.submit(fn, value).result()

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        if self._executor is not None:
            for process in tuple((self._executor._processes or {}).values()):
                process.kill()

    def close(self) -> None:
        """Wait for the process's end; on a thread."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)


class Processes:
    """Up to ``size`` processes, started when they are needed, used again and again."""

    def __init__(self, size: int) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._free: list[_One] = []
        self._all: list[_One] = []

    async def call(self, fn: Callable[[Any], Any], value: Any) -> Any:
        """Return ``fn(value)``. Where it is cancelled meanwhile, the process is killed."""
        if self._free:
            one = self._free.pop()
        else:
            one = _One()
            self._all.append(one)
        usable = False
        try:
            result = await anyio.to_thread.run_sync(
                one.call, fn, value, limiter=self._limiter, abandon_on_cancel=True
            )
            usable = True
            return result
        except BrokenProcessPool as error:
            raise ProcessDied(
                f"the process died: {error}; it has to be able to import the function, from a module that starts "
                'nothing when it is imported (if __name__ == "__main__":)'
            ) from error
        except Exception:
            usable = True
            raise
        finally:
            if usable:
                self._free.append(one)
            else:
                one.kill()

    async def close(self) -> None:
        """End all processes."""
        for one in self._all:
            if one not in self._free:
                one.kill()
        for one in self._all:
            await anyio.to_thread.run_sync(one.close)
        self._all.clear()
        self._free.clear()
