"""How a sink holds back what it was given until a checkpoint is decided.

A Staging is one owner's rows in the place where they will be published, a Held the sink's side of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Staging(Protocol[R_contra]):
    """Rows of one owner that nobody sees yet, since it has recovered. Each counts from 0.

    ``at`` is the number of the first row given: whatever stands there and behind it makes room. So a call may be
    repeated when nobody knows whether it was done. Every call raises Fenced, and changes nothing, once somebody
    else has recovered for this owner.
    """

    async def stage(self, at: int, rows: Sequence[R_contra]) -> None:
        """Take the rows; they needn't be durable yet."""
        ...

    async def prepare(self, number: int, at: int, rows: Sequence[R_contra]) -> None:
        """Take the rows, and note durably that those up to their end belong to ``number``."""
        ...

    async def publish(self, number: int) -> None:
        """Let everybody see, at once, the rows up to the end of ``number``, or of the last one before it."""
        ...


class Held(Generic[R]):
    """What a sink was given since it recovered: the newest rows in memory, the others staged.

    No more than ``most`` rows, or about ``size`` as ``size_of`` measures them, are in memory between two calls.
    """

    def __init__(
        self,
        staging: Staging[R],
        *,
        most: int = 0,
        size: int = 0,
        size_of: Callable[[Sequence[R]], int] = len,
    ) -> None:
        self._staging = staging
        self._most = most
        self._size = size
        self._size_of = size_of
        self._at = 0
        self._rows: list[R] = []
        self._held = 0
        self._prepared = 0
        self._numbers: set[int] = set()
        """Those that have rows to be published."""

    async def add(self, rows: Sequence[R]) -> None:
        """Take the rows; a call that failed or was cancelled has taken none of them, and may be repeated."""
        size = self._size_of(rows)
        if len(self._rows) + len(rows) <= self._most and self._held + size <= self._size:
            self._rows += rows
            self._held += size
            return
        every = [*self._rows, *rows]
        await self._staging.stage(self._at, every)
        self._at += len(every)
        self._rows, self._held = [], 0

    async def prepare(self, number: int) -> None:
        """Make durable under this number what was taken since the last call."""
        end = self._at + len(self._rows)
        if end == self._prepared:
            return
        await self._staging.prepare(number, self._at, self._rows)
        self._numbers.add(number)
        self._at = self._prepared = end
        self._rows, self._held = [], 0

    async def publish(self, number: int) -> None:
        """Let everybody see it, and what was prepared under an earlier number: a checkpoint is all before it."""
        if any(n <= number for n in self._numbers):
            await self._staging.publish(number)
            self._numbers = {n for n in self._numbers if n > number}
