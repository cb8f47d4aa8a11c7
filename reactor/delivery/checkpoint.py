"""Checkpoints: what a pipeline has to say about them, and what a place that keeps them has to do."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import msgspec

from reactor.core import ArgumentError, duration

Guarantee = Literal["at-least-once", "exactly-once"]

Pair = tuple[bytes, bytes | None]
"""A row's key and its new value; None for a row that is no more."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A consistent cut through a pipeline: where each source stood, and what each operator remembered there."""

    number: int
    """Greater than that of any checkpoint before: owners follow each other, so do their numbers."""
    time: int
    """When it was taken: microseconds since the epoch."""
    positions: dict[str, int]
    """By the source's label."""
    operators: dict[str, str]
    """The operators that have rows here, and what each was: its verb."""
    complete: bool = False
    """True when the pipeline had come to its end."""
    bookmarks: dict[str, str] = {}
    """By the source's label: what it needs beside its position."""


class Change(msgspec.Struct, frozen=True):
    """New rows of one operator; with ``complete``, all its earlier ones are gone."""

    operator: str
    rows: Iterable[Pair]
    complete: bool = False


class Savepoint(msgspec.Struct, frozen=True):
    """A checkpoint that was kept under a name."""

    pipeline: str
    name: str
    checkpoint: Checkpoint
    rows: dict[str, int]
    """How many rows each operator has."""
    size: int
    """Bytes of all rows."""


class Owner(msgspec.Struct, frozen=True):
    """Who has claimed a pipeline's checkpoints, and with which fencing number."""

    holder: str
    fence: int
    until: int
    """When the claim ends if it isn't renewed: microseconds since the epoch."""


class CheckpointStore:
    """Where the checkpoints of pipelines are kept.

    Calls may come from several tasks at the same time, between ``open`` and ``close``. Of each pipeline the last
    checkpoint is kept, and the savepoints. Every write checks the fencing number, in the same transaction.
    """

    url: str = ""

    def holder(self) -> str:
        """Return a new name for a run of this process, under which it claims pipelines."""
        return secrets.token_hex(8)

    def done(self, holder: str) -> None:
        """The run with this name is over, whether or not it could release what it held."""

    async def open(self) -> None:
        """Count one more user; the first one opens files and starts threads."""
        raise NotImplementedError

    async def close(self) -> None:
        """Count one user less; the last one closes everything."""
        raise NotImplementedError

    async def claim(self, pipeline: str, holder: str, lease: float) -> int | None:
        """Become the owner for ``lease`` seconds; return the fencing number, greater than any before it.

        None while another one is alive. One whose process is known to be gone (same machine) isn't waited for.
        """
        raise NotImplementedError

    async def renew(self, pipeline: str, fence: int, lease: float) -> None:
        """Stay the owner; raise Fenced where another one has taken over."""
        raise NotImplementedError

    async def release(self, pipeline: str, fence: int) -> None:
        """Let another one take over at once. Does nothing where one has."""
        raise NotImplementedError

    async def owner(self, pipeline: str) -> Owner | None:
        """Return who owns it now; None for nobody."""
        raise NotImplementedError

    async def last(self, pipeline: str) -> Checkpoint | None:
        """Return the last checkpoint; None where there is none."""
        raise NotImplementedError

    async def rows(
        self, pipeline: str, operator: str, after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        """Return up to ``limit`` rows of the last checkpoint behind the key ``after``, in the order of keys."""
        raise NotImplementedError

    async def save(
        self, pipeline: str, fence: int, checkpoint: Checkpoint, changes: Sequence[Change]
    ) -> None:
        """Replace the last checkpoint, in one durable transaction; raise Fenced, StateFull, StateLocked, ...

        The rows of ``changes`` are generated while they are written, on the thread that writes them: each is
        iterated once, in the order given. An operator that isn't in ``checkpoint.operators`` loses its rows.
        """
        raise NotImplementedError

    async def pipelines(self) -> list[str]:
        """Return the names of the pipelines that have checkpoints or savepoints here, sorted."""
        raise NotImplementedError

    async def keep(self, pipeline: str, name: str) -> Savepoint:
        """Keep the last checkpoint under a name; raise StateError where that is taken, or there is none."""
        raise NotImplementedError

    async def savepoints(self, pipeline: str | None = None) -> list[Savepoint]:
        """Return the savepoints, of one pipeline or of all, the oldest first."""
        raise NotImplementedError

    async def restore(self, pipeline: str, name: str) -> Checkpoint:
        """Make a savepoint the last checkpoint, with a new number; raise Owned while the pipeline runs."""
        raise NotImplementedError

    async def forget(self, pipeline: str, name: str | None = None) -> None:
        """Delete a savepoint; without a name, the last checkpoint, so that the pipeline begins anew."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where and how often a pipeline saves its positions together with what its operators remember.

    ``store`` is a URL (``sqlite:state.db``, ``memory:name``) or a CheckpointStore. ``interval`` is the time
    between two checkpoints while events flow (None: the pipeline's own); with ``when_idle`` one is taken as soon
    as the sources have nothing to give, at most every ``spacing`` seconds. ``lease`` is how long another process
    waits for an owner that says nothing (no longer where its process is known to be gone). ``pickle`` names the
    classes that are saved by pickle; all others are saved by msgspec. ``drop`` names operators of an earlier
    version of the pipeline whose saved state may be thrown away.
    """

    store: str | CheckpointStore
    interval: float | timedelta | None = None
    when_idle: bool = True
    spacing: float | timedelta = 0.05
    lease: float | timedelta = 10.0
    pickle: tuple[type, ...] = ()
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        store: Any = self.store
        if not isinstance(store, CheckpointStore) and (not isinstance(store, str) or not store):
            raise ArgumentError(f"Checkpoints({store!r}): a URL as sqlite:state.db, or a CheckpointStore")
        if self.interval is not None:
            duration(self.interval, "Checkpoints(interval")
        duration(self.spacing, "Checkpoints(spacing")
        duration(self.lease, "Checkpoints(lease")
        for name, kinds in (("pickle", self.pickle), ("drop", self.drop)):
            given: Any = kinds
            if not isinstance(given, tuple):
                raise ArgumentError(f"Checkpoints({name}={given!r}): must be a tuple")


Positions = Mapping[str, int]

__all__ = [
    "Change",
    "Checkpoint",
    "CheckpointStore",
    "Checkpoints",
    "Guarantee",
    "Owner",
    "Pair",
    "Positions",
    "Savepoint",
]
