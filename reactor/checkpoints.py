"""The checkpoints that a store keeps, as a user has them in hand: looked at, kept, restored, deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from reactor.connectors.states import SqliteStates, state_store
from reactor.core import ArgumentError, StateError
from reactor.delivery import Checkpoint, CheckpointStore, Owner, Savepoint

__all__ = ["StoredCheckpoints", "checkpoints"]

_PAGE = 5000


def checkpoints(where: str | CheckpointStore, /) -> StoredCheckpoints:
    """Return the checkpoints in a store, by its URL or as the store itself; nothing is opened yet."""
    if isinstance(where, CheckpointStore):
        return StoredCheckpoints(where)
    if not isinstance(where, str):
        raise ArgumentError(f"checkpoints({where!r}): pass a URL as sqlite:state.db, or a CheckpointStore")
    return StoredCheckpoints(state_store(where))


class StoredCheckpoints:
    """The last checkpoint of each pipeline in a store, and those that were kept under a name: savepoints.

    Each call opens the store and closes it again. A pipeline may run meanwhile, unless a call says otherwise.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store

    @property
    def url(self) -> str:
        return self._store.url

    def __repr__(self) -> str:
        return f"checkpoints({self.url!r})"

    async def pipelines(self) -> list[str]:
        """Return the names of the pipelines that have checkpoints here."""
        async with self._opened() as store:
            return await store.pipelines()

    async def last(self, pipeline: str) -> Checkpoint | None:
        """Return the last checkpoint: where the pipeline goes on when it is started. None where there is none."""
        async with self._opened() as store:
            return await store.last(pipeline)

    async def owner(self, pipeline: str) -> Owner | None:
        """Return who runs the pipeline now; None for nobody."""
        async with self._opened() as store:
            return await store.owner(pipeline)

    async def savepoints(self, pipeline: str | None = None) -> list[Savepoint]:
        """Return the savepoints, of one pipeline or of all, the oldest first."""
        async with self._opened() as store:
            return await store.savepoints(pipeline)

    async def outlines(self, pipeline: str | None = None) -> list[Savepoint]:
        """Return each pipeline's last checkpoint (its name is empty), and its savepoints behind it."""
        async with self._opened() as store:
            found: list[Savepoint] = []
            for name in [pipeline] if pipeline is not None else await store.pipelines():
                last = (
                    await store.outline(name) if isinstance(store, SqliteStates) else await _read(store, name)
                )
                found += [*([last] if last is not None else []), *await store.savepoints(name)]
            return found

    async def inspect(self, pipeline: str, name: str | None = None) -> Savepoint:
        """Return what a savepoint has in it, or (its name is empty then) the last checkpoint.

        The rows of the last checkpoint are read, all of them: raises StateCorrupt where they aren't whole.
        """
        async with self._opened() as store:
            if name is None:
                last = await _read(store, pipeline)
                if last is None:
                    raise await self._unknown(store, pipeline)
                return last
            there = await store.savepoints(pipeline)
            for savepoint in there:
                if savepoint.name == name:
                    return savepoint
            if not there:
                raise await self._unknown(store, pipeline, f" named {name}")
            names = ", ".join(savepoint.name for savepoint in there)
            raise StateError(f"{self.url}: pipeline {pipeline} has no savepoint {name}; there are: {names}")

    async def keep(self, pipeline: str, name: str) -> Savepoint:
        """Keep the last checkpoint under a name. Raises StateError where that is taken, or there is none."""
        async with self._opened() as store:
            return await store.keep(pipeline, name)

    async def restore(self, pipeline: str, name: str) -> Checkpoint:
        """Make a savepoint the last checkpoint, from which the pipeline goes on. Raises Owned while it runs."""
        async with self._opened() as store:
            return await store.restore(pipeline, name)

    async def delete(self, pipeline: str, name: str) -> None:
        """Delete a savepoint. Raises StateError where there is none of this name."""
        async with self._opened() as store:
            await store.forget(pipeline, name)

    async def reset(self, pipeline: str) -> None:
        """Delete the last checkpoint, so that the pipeline begins anew. Raises Owned while it runs.

        Its savepoints stay.
        """
        async with self._opened() as store:
            if pipeline not in await store.pipelines():
                raise await self._unknown(store, pipeline)
            await store.forget(pipeline)

    async def _unknown(self, store: CheckpointStore, pipeline: str, what: str = "") -> StateError:
        there = ", ".join(await store.pipelines()) or "none"
        return StateError(
            f"{self.url}: pipeline {pipeline} has no checkpoint{what}; there are those of: {there}"
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[CheckpointStore, None]:
        store = self._store
        if isinstance(store, SqliteStates) and not await anyio.Path(store.path).exists():
            raise StateError(f"{self.url}: there is no file {store.path}")  # looking shall not make one
        await store.open()
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                await store.close()


async def _read(store: CheckpointStore, pipeline: str) -> Savepoint | None:
    last = await store.last(pipeline)
    if last is None:
        return None
    counts: dict[str, int] = {}
    size = 0
    for operator in last.operators:
        counts[operator] = 0
        after: bytes | None = None
        while page := await store.rows(pipeline, operator, after, _PAGE):
            counts[operator] += len(page)
            size += sum(len(key) + len(value) for key, value in page)
            after = page[-1][0]
    return Savepoint(pipeline, "", last, counts, size)
