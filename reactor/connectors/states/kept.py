"""What stands in a store beside the rows: checkpoints with a tally of their rows, and owners."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import msgspec

from reactor.connectors.states.holders import is_gone, shown
from reactor.core import ArgumentError, Fenced, Owned, StateError
from reactor.delivery import Checkpoint, Owner, Savepoint

LAST = ""
"""What the last checkpoint is called among the savepoints."""


_FIRST = 1_735_689_600
"""2025, in seconds since the epoch: fencing numbers begin with how many times ten seconds have passed since."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """The rows of one operator in one checkpoint, and a tally that tells when one of them is lost."""

    part: int
    rows: int = 0
    size: int = 0
    sum: int = 0


def checksum(key: bytes, value: bytes) -> int:
    """Of a row; the key's length is in it, so that it also tells where the key ends."""
    return crc32(value, crc32(key) ^ len(key))


class Cut(msgspec.Struct, frozen=True):
    """A checkpoint or a savepoint."""

    checkpoint: Checkpoint
    parts: dict[str, Part]

    def savepoint(self, pipeline: str, name: str) -> Savepoint:
        rows = {operator: part.rows for operator, part in self.parts.items()}
        size = sum(part.size for part in self.parts.values())
        return Savepoint(pipeline, name, self.checkpoint, rows, size)


class Claimed(msgspec.Struct, frozen=True):
    """Who owns a pipeline. The fence and the number never go back, whatever is released or deleted.

    On clocks: ``until`` is the time of day, which processes share and which somebody may set. An owner renews from
    what the clock says now, so one that was set back doesn't take from it what it had. A lease of a dead owner
    can't last longer either: where more is left than the ``lease`` it was given for, the clock was set back, and
    whoever wants to claim cuts it to that. A clock that was set forward by more than a lease may hand a pipeline
    over too early: the earlier owner is fenced then.
    """

    fence: int = 0
    holder: str = ""
    until: int = 0
    lease: int = 0
    number: int = 0
    """Of the newest checkpoint ever saved."""
    saved: bool = False
    """Whether there is a last checkpoint."""

    def owner(self, now: int) -> Owner | None:
        """Who is alive and owns it."""
        if not self.holder or self.until <= now or is_gone(self.holder):
            return None
        return Owner(self.holder, self.fence, self.until)

    def claimed(self, holder: str, lease: int, now: int) -> Claimed:
        """The next owner's."""
        # The first is made of the time: so it is above those that sinks know from a file that was deleted.
        fence = self.fence + 1 if self.fence else max(1, (now // 1_000_000 - _FIRST) // 10)
        return msgspec.structs.replace(self, fence=fence, holder=holder, until=now + lease, lease=lease)

    def renewed(self, lease: int, now: int) -> Claimed:
        return msgspec.structs.replace(self, until=now + lease, lease=lease)

    def cut(self, now: int) -> Claimed:
        """Without what a clock that was set back would add."""
        return msgspec.structs.replace(self, until=min(self.until, now + self.lease))

    def released(self) -> Claimed:
        return msgspec.structs.replace(self, holder="", until=0)

    def saved_as(self, number: int, now: int) -> Claimed:
        """After its owner has saved a checkpoint, which may have taken longer than the lease: so it is alive."""
        until = max(self.until, now + self.lease)
        return msgspec.structs.replace(self, saved=True, number=max(self.number, number), until=until)

    def changed(self, saved: bool, number: int) -> Claimed:
        """After the last checkpoint was changed from outside: whoever still believes to own it is fenced."""
        return msgspec.structs.replace(self.released(), fence=self.fence + 1, saved=saved, number=number)

    def check(self, where: str, pipeline: str, fence: int) -> None:
        """Raise Fenced unless the fence is that of the owner."""
        if self.fence == fence and self.holder:
            return
        if self.fence <= fence:
            now = "it was released, or never claimed"
        elif self.holder:
            now = f"{shown(self.holder)} has taken over, with {self.fence}"
        else:
            now = f"others have owned or changed its checkpoints since, up to {self.fence}"
        raise Fenced(f"{where}: pipeline {pipeline}: fencing number {fence} doesn't count any more: {now}")

    def check_free(self, where: str, pipeline: str, now: int) -> None:
        """Raise Owned while somebody runs the pipeline."""
        owner = self.owner(now)
        if owner is not None:
            raise Owned(f"{where}: {shown(owner.holder)} runs the pipeline {pipeline}; stop it first")


def micros(lease: float) -> int:
    """Seconds as microseconds."""
    if not lease > 0:
        raise ArgumentError(f"lease={lease!r}: must be more than 0 seconds")
    return max(1, round(lease * 1_000_000))


def check_names(pipeline: str, name: str | None = None) -> None:
    """Raise ArgumentError for what can't be one."""
    if not isinstance(pipeline, str) or not pipeline:
        raise ArgumentError(f"{pipeline!r}: a pipeline has a name")
    if name is not None and (not isinstance(name, str) or not name or not name.isprintable()):
        raise ArgumentError(f"{name!r}: a savepoint has a name, of characters that can be printed")


def nothing_to_keep(where: str, pipeline: str) -> StateError:
    return StateError(f"{where}: pipeline {pipeline} has no checkpoint that could be kept")


def taken(where: str, pipeline: str, name: str) -> StateError:
    return StateError(
        f"{where}: pipeline {pipeline} has a savepoint {name} already; choose another name, or delete it first"
    )


def unknown(where: str, pipeline: str, names: Mapping[str, object] | list[str], name: str) -> StateError:
    there = ", ".join(sorted(names)) or "none"
    return StateError(f"{where}: pipeline {pipeline} has no savepoint {name}; there are: {there}")


def age(savepoint: Savepoint) -> tuple[int, int, str, str]:
    """The oldest first."""
    return savepoint.checkpoint.time, savepoint.checkpoint.number, savepoint.pipeline, savepoint.name
