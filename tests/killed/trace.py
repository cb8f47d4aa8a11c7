"""What a process is doing, in memory that outlives it: a file that is mapped by it and by those who kill it."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

PHASES = ("claim", "restore", "recover", "write", "prepare", "save", "publish", "commit")
"""Each is counted when it begins, and when it is over; several can be under way at once."""
MOMENTS = ("imported", "claimed", "going", "standby")
"""When the process came so far: nanoseconds of the clock that all processes share."""

_COUNTS = 2 * len(PHASES)
_FORM = struct.Struct(f"={_COUNTS + len(MOMENTS)}Q")


class Trace:
    """Written by one process, read by another one."""

    def __init__(self, path: Path, *, new: bool = False) -> None:
        if new:
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)
        self._death: tuple[str, int, float] | None = None

    def _read(self) -> tuple[int, ...]:
        return _FORM.unpack(self._memory)

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("=Q", self._memory, 8 * at, value)

    def _add(self, at: int) -> int:
        value = self._read()[at] + 1
        self._put(at, value)
        return value

    # Who is watched ------------------------------------------------------------------------------------------

    def dies(self, phase: str, count: int, delay: float) -> None:
        """Kill -9 this process so many seconds after the phase has begun for the ``count``-th time."""
        self._death = (phase, count, delay)

    def reach(self, moment: str) -> None:
        at = _COUNTS + MOMENTS.index(moment)
        if not self._read()[at]:
            self._put(at, time.monotonic_ns())

    def traced(
        self, phase: str, call: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """Return the call, with its begin and end noted."""
        at = PHASES.index(phase)

        async def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            count = self._add(at)
            if self._death is not None and self._death[:2] == (phase, count):
                _kill_in(self._death[2])
            result = await call(*args, **kwargs)
            self._add(len(PHASES) + at)
            return result

        return traced

    # Who watches ---------------------------------------------------------------------------------------------

    def since(self, moment: str, start: int) -> float | None:
        """Seconds from ``start`` until it came so far; None where it didn't."""
        value = self._read()[_COUNTS + MOMENTS.index(moment)]
        return (value - start) / 1e9 if value else None

    def count(self, phase: str) -> int:
        """How often the phase has ended."""
        return self._read()[len(PHASES) + PHASES.index(phase)]

    def under_way(self) -> list[str]:
        """What the process is, or was, in the middle of."""
        values = self._read()
        phases = [phase for at, phase in enumerate(PHASES) if values[at] > values[len(PHASES) + at]]
        imported, claimed, going, _ = values[_COUNTS:]
        if not imported:
            return ["import"]
        if not claimed:
            return phases or ["before the claim"]
        return phases or ["events" if going else "before the first event"]


def _kill_in(delay: float) -> None:
    if not delay:
        os.kill(os.getpid(), signal.SIGKILL)
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
