"""Checkpoints in memory, for the life of the process."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import anyio.lowlevel
import msgspec

from reactor.connectors.states import holders, kept
from reactor.connectors.states.kept import LAST, Claimed
from reactor.core import clock
from reactor.delivery import Change, Checkpoint, CheckpointStore, Owner, Pair, Savepoint

SLICE = 1000
"""Rows that are taken before the event loop goes round again."""


class _Rows:
    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self.keys: list[bytes] | None = None
        """Sorted, once somebody has asked; until they change."""


class _Changes:
    def __init__(self, complete: bool) -> None:
        self.complete = complete
        self._values: dict[bytes, Any] = {}
        self._gone: set[bytes] = set()

    async def take(self, rows: Iterable[Pair]) -> None:
        for count, (key, value) in enumerate(rows, 1):
            self._values[key] = value
            if value is None:
                self._gone.add(key)
            if count % SLICE == 0:
                await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    def made_to(self, before: _Rows | None) -> _Rows:
        """Return the rows after the changes; those before are used up."""
        gone = [key for key in self._gone if self._values[key] is None]
        if before is None or self.complete:
            values = self._values  # as they are: a million aren't copied while the event loop waits
        else:
            values = before.values
            values.update(self._values)
        for key in gone:
            del values[key]
        return _Rows(values)


class _Cut:
    def __init__(self, checkpoint: Checkpoint, rows: dict[str, _Rows]) -> None:
        self.checkpoint = checkpoint
        self.rows = rows

    def copy(self, number: int) -> _Cut:
        rows = {operator: _Rows(dict(rows.values)) for operator, rows in self.rows.items()}
        return _Cut(msgspec.structs.replace(self.checkpoint, number=number), rows)

    def savepoint(self, pipeline: str, name: str) -> Savepoint:
        counts = {operator: len(rows.values) for operator, rows in self.rows.items()}
        size = sum(len(key) + len(value) for rows in self.rows.values() for key, value in rows.values.items())
        return Savepoint(pipeline, name, self.checkpoint, counts, size)


class _Kept:
    """All that a store of one name holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.cuts: dict[tuple[str, str], _Cut] = {}
        self.owners: dict[str, Claimed] = {}

    def names(self, pipeline: str) -> list[str]:
        return [name for of, name in self.cuts if of == pipeline and name != LAST]


_stores: dict[str, _Kept] = {}


def forget(name: str) -> None:
    """Drop the store of this name with all that is in it; who still uses it keeps the old one."""
    _stores.pop(name, None)


class MemoryStates(CheckpointStore):
    """The checkpoints under this name, shared by the whole process (several event loops included).

    Rows are generated on the event loop, in slices. What time it is, the loop's own clock says.
    """

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self._kept = _stores.setdefault(name, _Kept())

    def holder(self) -> str:
        return holders.holder()

    def done(self, holder: str) -> None:
        holders.done(holder)

    async def open(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        pass

    # Owners -------------------------------------------------------------------------------------------------

    async def claim(self, pipeline: str, holder: str, lease: float) -> int | None:
        kept.check_names(pipeline)
        length = kept.micros(lease)
        await anyio.lowlevel.checkpoint()
        now = clock.now()
        with self._kept.lock:
            known = self._kept.owners.get(pipeline, Claimed())
            free = known.holder in ("", holder) or known.until <= now or holders.is_gone(known.holder)
            new = known.claimed(holder, length, now) if free else known.cut(now)
            self._kept.owners[pipeline] = new
        return new.fence if free else None

    async def renew(self, pipeline: str, fence: int, lease: float) -> None:
        length = kept.micros(lease)
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            known = self._owned(pipeline, fence)
            self._kept.owners[pipeline] = known.renewed(length, clock.now())

    async def release(self, pipeline: str, fence: int) -> None:
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            known = self._kept.owners.get(pipeline)
            if known is not None and known.fence == fence:
                self._kept.owners[pipeline] = known.released()

    async def owner(self, pipeline: str) -> Owner | None:
        await anyio.lowlevel.checkpoint()
        known = self._kept.owners.get(pipeline)
        return None if known is None else known.owner(clock.now())

    def _owned(self, pipeline: str, fence: int) -> Claimed:
        known = self._kept.owners.get(pipeline, Claimed())
        known.check(self.url, pipeline, fence)
        return known

    # The last checkpoint ------------------------------------------------------------------------------------

    async def last(self, pipeline: str) -> Checkpoint | None:
        await anyio.lowlevel.checkpoint()
        found = self._kept.cuts.get((pipeline, LAST))
        return None if found is None else found.checkpoint

    async def rows(
        self, pipeline: str, operator: str, after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            found = self._kept.cuts.get((pipeline, LAST))
            rows = None if found is None else found.rows.get(operator)
            if rows is None:
                return []
            if rows.keys is None:
                rows.keys = sorted(rows.values)
            start = 0 if after is None else bisect_right(rows.keys, after)
            return [(key, rows.values[key]) for key in rows.keys[start : start + limit]]

    async def save(
        self, pipeline: str, fence: int, checkpoint: Checkpoint, changes: Sequence[Change]
    ) -> None:
        self._owned(pipeline, fence)
        new: dict[str, _Changes] = {}
        for change in changes:
            if change.operator not in new or change.complete:
                new[change.operator] = _Changes(change.complete)
            await new[change.operator].take(change.rows)
        with self._kept.lock:
            known = self._owned(pipeline, fence)
            last = self._kept.cuts.get((pipeline, LAST))
            rows: dict[str, _Rows] = {}
            for operator in checkpoint.operators:
                before = None if last is None else last.rows.get(operator)
                rows[operator] = new[operator].made_to(before) if operator in new else before or _Rows({})
            self._kept.cuts[pipeline, LAST] = _Cut(checkpoint, rows)
            self._kept.owners[pipeline] = known.saved_as(checkpoint.number, clock.now())

    # Savepoints ---------------------------------------------------------------------------------------------

    async def pipelines(self) -> list[str]:
        await anyio.lowlevel.checkpoint()
        return sorted({pipeline for pipeline, _ in self._kept.cuts})

    async def keep(self, pipeline: str, name: str) -> Savepoint:
        kept.check_names(pipeline, name)
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            if (pipeline, name) in self._kept.cuts:
                raise kept.taken(self.url, pipeline, name)
            last = self._kept.cuts.get((pipeline, LAST))
            if last is None:
                raise kept.nothing_to_keep(self.url, pipeline)
            new = self._kept.cuts[pipeline, name] = last.copy(last.checkpoint.number)
        return new.savepoint(pipeline, name)

    async def savepoints(self, pipeline: str | None = None) -> list[Savepoint]:
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            found = [
                cut.savepoint(of, name)
                for (of, name), cut in self._kept.cuts.items()
                if name != LAST and pipeline in (None, of)
            ]
        return sorted(found, key=kept.age)

    async def restore(self, pipeline: str, name: str) -> Checkpoint:
        kept.check_names(pipeline, name)
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            found = self._kept.cuts.get((pipeline, name))
            if found is None:
                raise kept.unknown(self.url, pipeline, self._kept.names(pipeline), name)
            known = self._kept.owners.get(pipeline, Claimed())
            known.check_free(self.url, pipeline, clock.now())
            number = max(known.number, found.checkpoint.number) + 1
            new = self._kept.cuts[pipeline, LAST] = found.copy(number)
            self._kept.owners[pipeline] = known.changed(True, number)
        return new.checkpoint

    async def forget(self, pipeline: str, name: str | None = None) -> None:
        kept.check_names(pipeline, name)
        await anyio.lowlevel.checkpoint()
        with self._kept.lock:
            if name is not None:
                if (pipeline, name) not in self._kept.cuts:
                    raise kept.unknown(self.url, pipeline, self._kept.names(pipeline), name)
                del self._kept.cuts[pipeline, name]
                return
            known = self._kept.owners.get(pipeline)
            if known is not None:
                known.check_free(self.url, pipeline, clock.now())
                self._kept.owners[pipeline] = known.changed(False, known.number)
            self._kept.cuts.pop((pipeline, LAST), None)
