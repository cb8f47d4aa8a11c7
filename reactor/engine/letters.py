"""Where the dead letters of a run go: a function, or a sink, written before their events count as done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from reactor.core import Sink
from reactor.delivery import DeadLetter
from reactor.engine.sinks import claim, release

PATIENCE = 30.0
"""Seconds that storing the last letters of a run may take, which nothing else can cancel."""


class Letterbox:
    """Takes the dead letters of all stages of a run; one write is in flight at a time."""

    def __init__(self, target: Any) -> None:
        self.now: Callable[[DeadLetter], Any] | None = None
        """A sync function takes each letter at once, inside the loop that failed."""
        self.waiting: list[list[DeadLetter]] = []
        """The letters of each stage that aren't stored yet."""
        self.exceeded = False
        """True when the run fails because of too many: all that have been made are stored before it ends."""
        self._target = target
        self._opened = False
        self._lock = anyio.Lock()
        call = type(target).__call__ if callable(target) else None
        awaited = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call)
        if target is not None and not isinstance(target, Sink) and not awaited:
            self.now = target

    @property
    def wanted(self) -> bool:
        """True when the pipeline says where dead letters go."""
        return self._target is not None

    async def open(self) -> None:
        """Connect."""
        if isinstance(self._target, Sink):
            claim(self._target, "dead_letters")
            self._opened = True
            await self._target.open()

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return once the letters are stored."""
        async with self._lock:
            if isinstance(self._target, Sink):
                await self._target.write(letters)
                await self._target.flush()
            else:
                for letter in letters:
                    await self._target(letter)

    async def close(self) -> None:
        """Let go of the sink; called exactly once, when all stages have ended."""
        try:
            if self.exceeded:
                with anyio.fail_after(PATIENCE):
                    for letters in self.waiting:
                        if letters:
                            await self.write(letters)
                            letters.clear()
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._opened:
            self._opened = False
            release(self._target)
            await self._target.close()
