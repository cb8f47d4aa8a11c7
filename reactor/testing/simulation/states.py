"""A checkpoint store of a simulated world: it outlives the processes, and every call to it may go wrong."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reactor.core import Fenced, StateError, clock
from reactor.delivery import Change, Checkpoint, CheckpointStore, Owner, Savepoint
from reactor.testing.simulation.faults import ANY, READING
from reactor.testing.simulation.realm import AT_BARRIERS, AT_STARTS, Process

Rows = dict[str, dict[bytes, bytes]]


class StoreKept:
    """The checkpoints of one pipeline, its owner, and its savepoints."""

    def __init__(self) -> None:
        self.used = False
        self.last: Checkpoint | None = None
        self.rows: Rows = {}
        self.holder = ""
        self.fence = 0
        self.until = 0
        self.savepoints: dict[str, tuple[Checkpoint, Rows]] = {}

    def positions(self, source: str) -> int:
        """The position of this source in the last checkpoint, 0 where it has none."""
        return 0 if self.last is None else self.last.positions.get(source, 0)


class SimulatedStore(CheckpointStore):
    """Keeps the checkpoints of one pipeline."""

    url = "simulation:"

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self.process = process
        self.kept = process.realm.keep(StoreKept, name, StoreKept)

    def holder(self) -> str:
        return f"process {self.process.number}"

    def done(self, holder: str) -> None:
        if not self.process.dead:
            self.process.realm.gone.add(holder)

    async def open(self) -> None:
        def opened() -> None:
            self.kept.used = True

        await self.process.call(f"{self.name}.open", opened, READING, often=AT_STARTS)

    async def close(self) -> None:
        pass

    # Owners -------------------------------------------------------------------------------------------------

    async def claim(self, pipeline: str, holder: str, lease: float) -> int | None:
        def claimed() -> int | None:
            kept, now = self.kept, clock.now()
            gone = kept.holder in ("", holder) or kept.holder in self.process.realm.gone
            if not gone and kept.until > now:
                return None
            kept.holder, kept.until = holder, now + round(lease * 1_000_000)
            kept.fence += 1
            return kept.fence

        return await self.process.call(f"{self.name}.claim", claimed, ANY, often=AT_STARTS)

    async def renew(self, pipeline: str, fence: int, lease: float) -> None:
        def renewed() -> None:
            self.check(fence)
            self.kept.until = clock.now() + round(lease * 1_000_000)

        await self.process.call(f"{self.name}.renew", renewed, ANY)

    async def release(self, pipeline: str, fence: int) -> None:
        def released() -> None:
            if self.kept.fence == fence:
                self.kept.holder, self.kept.until = "", 0

        await self.process.call(f"{self.name}.release", released, ANY)

    async def owner(self, pipeline: str) -> Owner | None:
        kept = self.kept
        return Owner(kept.holder, kept.fence, kept.until) if kept.until > clock.now() else None

    def check(self, fence: int) -> None:
        """Raise Fenced where this isn't the owner's fencing number."""
        if self.kept.fence != fence:
            self.process.fenced = True
            raise Fenced(
                f"{self.name}: the owner is {self.kept.holder}, with {self.kept.fence} after {fence}"
            )

    # The last checkpoint ------------------------------------------------------------------------------------

    async def last(self, pipeline: str) -> Checkpoint | None:
        return await self.process.call(f"{self.name}.last", lambda: self.kept.last, READING, often=AT_STARTS)

    async def rows(
        self, pipeline: str, operator: str, after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        def read() -> list[tuple[bytes, bytes]]:
            found = sorted(self.kept.rows.get(operator, {}).items())
            return [pair for pair in found if after is None or pair[0] > after][:limit]

        return await self.process.call(f"{self.name}.rows", read, READING, often=AT_STARTS)

    async def save(
        self, pipeline: str, fence: int, checkpoint: Checkpoint, changes: Sequence[Change]
    ) -> None:
        await self.process.call(
            f"{self.name}.save", lambda: self._save(fence, checkpoint, changes), ANY, often=AT_BARRIERS
        )

    def _save(self, fence: int, checkpoint: Checkpoint, changes: Sequence[Change]) -> None:
        rows = {operator: dict(self.kept.rows.get(operator, {})) for operator in checkpoint.operators}
        for change in changes:
            of_operator = rows[change.operator]
            if change.complete:
                of_operator.clear()
            for key, value in change.rows:
                if value is None:
                    of_operator.pop(key, None)
                else:
                    of_operator[key] = value
        self.check(fence)
        last = self.kept.last
        if last is not None and checkpoint.number <= last.number:
            self.process.realm.wrong.append(
                f"{self.name}: checkpoint {checkpoint.number} came after {last.number}"
            )
        self.kept.last, self.kept.rows = checkpoint, rows
        self.process.note(f"checkpoint {checkpoint.number}: {checkpoint.positions}")

    # Savepoints ---------------------------------------------------------------------------------------------

    async def pipelines(self) -> list[str]:
        return [self.name] if self.kept.last is not None else []

    async def keep(self, pipeline: str, name: str) -> Savepoint:
        def kept() -> Savepoint:
            last = self.kept.last
            if last is None:
                raise StateError(f"{pipeline}: there is no checkpoint to keep")
            if name in self.kept.savepoints:
                raise StateError(f"{pipeline}: the name {name!r} is taken")
            self.kept.savepoints[name] = last, {of: dict(rows) for of, rows in self.kept.rows.items()}
            return self._savepoint(pipeline, name)

        return await self.process.call(f"{self.name}.keep", kept, ANY, often=AT_BARRIERS)

    def _savepoint(self, pipeline: str, name: str) -> Savepoint:
        checkpoint, rows = self.kept.savepoints[name]
        size = sum(len(key) + len(value) for of in rows.values() for key, value in of.items())
        return Savepoint(pipeline, name, checkpoint, {of: len(found) for of, found in rows.items()}, size)

    async def savepoints(self, pipeline: str | None = None) -> list[Savepoint]:
        return [self._savepoint(pipeline or self.name, name) for name in self.kept.savepoints]

    async def restore(self, pipeline: str, name: str) -> Checkpoint:
        def restored() -> Checkpoint:
            checkpoint, rows = self.kept.savepoints[name]
            number = max(checkpoint.number, self.kept.last.number if self.kept.last else 0) + 1
            self.kept.last = msgspec.structs.replace(checkpoint, number=number)
            self.kept.rows = {of: dict(found) for of, found in rows.items()}
            return self.kept.last

        return await self.process.call(f"{self.name}.restore", restored, ANY, often=AT_STARTS)

    async def forget(self, pipeline: str, name: str | None = None) -> None:
        def forgotten() -> None:
            if name is None:
                self.kept.last, self.kept.rows = None, {}
            else:
                del self.kept.savepoints[name]

        await self.process.call(f"{self.name}.forget", forgotten, ANY, often=AT_STARTS)
