"""Checkpoints: by barriers, positions are saved together with what each stage remembers, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from reactor import contracts
from reactor.core import GONE, Saved, Source, StateLocked, StateMismatch, clock, duration
from reactor.delivery import Change, Checkpoint, Checkpoints, Packing, Pair
from reactor.engine.barriers import MOMENT, Coordinator, Reached
from reactor.engine.elements import Barrier
from reactor.engine.encoded import Encoded
from reactor.engine.failures import noted
from reactor.engine.limits import Limits
from reactor.engine.saving import Restored, Taken, layout_of

if TYPE_CHECKING:
    from reactor.engine.ending import SinkStage
    from reactor.engine.execution import Execution
    from reactor.engine.reading import SourceStage

log = logging.getLogger("reactor")

OWN, HELD, ROW = b"o", b"h", b"r"
"""What a row's key begins with: what belongs to no key, events that are held, a row of the operator's."""

_EPOCH = 1 << 32
"""Numbers of checkpoints go up with the fencing number: those of an owner that was replaced are all lower."""

_PAGE = 1000

_PLAIN = (str, int, bytes)


class _Pending:
    """What an operator has handed over and isn't stored yet: in parts, of which the later ones count."""

    __slots__ = ("complete", "dropped", "held", "parts")

    def __init__(self) -> None:
        self.parts: list[Encoded | _Frozen | _Gone] = []
        self.dropped: list[Encoded | _Frozen | _Gone] = []
        """Parts that don't count any more: there may be very much in them, so the store's thread lets go of it."""
        self.held = b""
        self.complete = False

    def overtaken(self) -> None:
        """All that was handed over before is out of date: what comes now is complete."""
        self.dropped += self.parts
        self.parts = []
        self.complete = True

    def let_go(self) -> None:
        """On the store's thread."""
        for part in (*self.dropped, *self.parts):
            if isinstance(part, Encoded):
                for _ in part.taken():
                    pass
            elif isinstance(part, _Gone):
                while part.table:
                    part.table.popitem()


class _Frozen(NamedTuple):
    """What is encoded later: with what was handed over before it."""

    saved: Saved
    before: Saved | None


class _Gone(NamedTuple):
    """A table that is no more."""

    name: Any
    table: dict[Any, Any]


class Checkpointing(Coordinator):
    """Takes a checkpoint at each interval, and when the sources have nothing to give."""

    def __init__(self, run: Execution, settings: Checkpoints, interval: float) -> None:
        if settings.interval is not None:
            interval = duration(settings.interval, "Checkpoints(interval")
        super().__init__(interval)
        self.execution = run
        self.settings = settings
        self.store: Any = settings.store
        self.pipeline = run.graph.name
        self.packing = Packing(settings.pickle, load=contracts.load)
        self.last: Checkpoint | None = None
        """The last checkpoint that stands."""
        self.count = 0
        """How many have been taken in this run."""
        self.bytes = 0
        self.stages: list[SourceStage] = []
        self.sinks: list[SinkStage] = []
        self._spacing = duration(settings.spacing, "Checkpoints(spacing")
        self._lease = duration(settings.lease, "Checkpoints(lease")
        self._holder = ""
        self.fence = 0
        self._opened = False
        self._pending: dict[int, dict[str, _Pending]] = {}
        """By the number of the checkpoint that it belongs to, and the operator."""
        self._settled: dict[str, Encoded] = {}
        self._before: dict[str, Saved] = {}
        self._fresh: set[str] = set()
        """Operators whose rows of an earlier run don't count."""
        self._sent_at: dict[int, int | None] = {}
        self._positions_known: dict[str, int] = {}
        self._bookmarks: dict[str, str] = {}
        self._activity = -1
        self._draining = False
        self._settled_all = False
        """True when nothing is left for the end: a drain has saved all, or the run has failed."""
        self._finishing = False
        self._over = anyio.Event()
        self._decided = anyio.Event()
        self._requests = 0
        self._closed = False
        """True when the run is over: nothing will be decided any more."""

    # Before the run -----------------------------------------------------------------------------------------

    async def own(self) -> None:
        """Become the owner of the pipeline's checkpoints; wait while another one is."""
        self._holder = self.store.holder()
        try:
            await self.store.open()
        except BaseException:
            self.store.done(self._holder)
            raise
        self._opened = True
        await self._claim()

    async def let_go(self) -> None:
        """Let another one take over at once."""
        if not self._opened:
            return
        try:
            if self.fence:
                await self.store.release(self.pipeline, self.fence)
        finally:
            self.store.done(self._holder)
            await self.store.close()

    async def _claim(self) -> None:
        waited = False
        while True:
            try:
                fence = await self.store.claim(self.pipeline, self._holder, self._lease)
            except StateLocked as error:  # an owner that stands still may hold the lock
                if not waited:
                    raise
                log.warning("pipeline %r: this process stands by: %s", self.pipeline, error)
                fence = None
            if fence is not None:
                break
            if not waited:
                log.info("pipeline %r: another process runs it; this one stands by", self.pipeline)
                self.execution.stands_by()
                waited = True
            await anyio.sleep(min(self._lease / 4, 1.0))
        self.fence = fence
        self._number = fence * _EPOCH
        if waited:
            log.info("pipeline %r: this process takes over", self.pipeline)

    async def renew(self) -> None:
        """Stay the owner, until cancelled."""
        held_until = anyio.current_time() + self._lease
        while True:
            await anyio.sleep(self._lease / 4)
            try:
                await self.store.renew(self.pipeline, self.fence, self._lease)
            except StateLocked:
                if anyio.current_time() >= held_until:
                    raise
            else:
                held_until = anyio.current_time() + self._lease

    async def restored(self) -> dict[str, Restored]:
        """Read the last checkpoint; return what it has of each operator that there still is."""
        last = self.last = await self.store.last(self.pipeline)
        identities = {identity: node for node, identity in self.execution.identities.items()}
        if last is None:
            return {}
        self._positions_known = dict(last.positions)
        self._bookmarks = dict(last.bookmarks)
        self._go_on_behind(last.time)
        kinds = self._kinds()
        same_shape = list(last.operators.items()) == list(kinds.items())
        found: dict[str, Restored] = {}
        lost: list[str] = []
        for identity, kind in last.operators.items():
            node = identities.get(identity)
            if node is not None and node.op.volatile:
                continue  # what it forgets is thrown away with the next checkpoint
            fits = node is not None and kinds[identity] == kind and (same_shape or node.name is not None)
            if identity in self.settings.drop:
                log.warning("pipeline %r: the saved state of %s is dropped", self.pipeline, identity)
                self._fresh.add(identity)
            elif fits:
                read = await self._read(identity)
                if read is not None:
                    found[identity] = read
            elif await self._matters(identity):
                lost.append(f"{identity} ({kind})")
            else:
                self._fresh.add(identity)
        gone = [label for label in last.positions if label not in self._labels()]
        if gone:
            log.warning(
                "pipeline %r: sources that it has no more: %s", self.pipeline, ", ".join(map(repr, gone))
            )
        if lost:
            raise StateMismatch(
                f"pipeline {self.pipeline!r}: its checkpoint has state of operators that it hasn't any more, or "
                f"not the same: {', '.join(lost)}. Give them the names that they had (name=), or throw their "
                "state away: "
                f"Checkpoints(..., drop=({', '.join(repr(each.split(' (')[0]) for each in lost)},))"
            )
        # If the fence still counts, nobody has saved anything in between: all that was read is of one checkpoint.
        await self.store.renew(self.pipeline, self.fence, self._lease)
        return found

    def _kinds(self) -> dict[str, str]:
        """All operators that may have saved something; what is volatile has nothing, nor of the time before."""
        identities = self.execution.identities.items()
        return {identity: layout_of(node) for node, identity in identities if not node.op.volatile}

    def _go_on_behind(self, time: int) -> None:
        """Where the clock was set back, windows and timers on it would wait for hours, and events be late."""
        back = time - clock.now()
        if back > 0:
            log.warning(
                "pipeline %r: the clock is %.3g s behind its last checkpoint; this run goes on from there",
                *(self.pipeline, back / 1_000_000),
            )
            clock.set_now(time)

    def _labels(self) -> dict[str, SourceStage]:
        labels = self.execution.graph.labels()
        return {labels[stage.plan.head]: stage for stage in self.stages}

    def position_of(self, stage: SourceStage) -> tuple[int, str | None] | None:
        """Where the source goes on, and its bookmark; None where nothing was saved."""
        label = self.execution.graph.labels()[stage.plan.head]
        position = self._positions_known.get(label)
        return None if position is None else (position, self._bookmarks.get(label))

    async def _matters(self, identity: str) -> bool:
        """True where something would be lost: rows, or events that were held."""
        rows = await self.store.rows(self.pipeline, identity, None, 3)
        return any(
            key[:1] == ROW
            or (key == HELD and self.packing.unpack(value))
            or (key == OWN and "#" not in identity)
            for key, value in rows
        )

    async def _read(self, identity: str) -> Restored | None:
        """Return what is saved of an operator; None where no barrier had passed it yet."""
        rows: list[tuple[Any, Any]] = []
        own = held = None
        again = some = False
        after: bytes | None = None
        while page := await self.store.rows(self.pipeline, identity, after, _PAGE):
            for key, value in page:
                if key[:1] == ROW:
                    row = self.packing.unrow(key[1:], value)
                    rows.append(row)
                    # An object as a key has other bytes once its class has another field.
                    again = again or (type(row[0]) not in _PLAIN and self.packing.key(row[0]) != key[1:])
                elif key == OWN:
                    own = self.packing.unpack(value)
                elif key == HELD:
                    held = self.packing.unpack(value)
            after, some = page[-1][0], True
            await anyio.lowlevel.checkpoint()
        if again:
            self._fresh.add(identity)
        return Restored(rows, own, held, again=again) if some else None

    # What the stages tell -----------------------------------------------------------------------------------

    def saved(self, number: int, taken: Mapping[str, Taken], *, behind: bool = False) -> None:
        """A barrier has passed these operators; ``behind``: it was the last one before their end."""
        if behind:
            number = self.behind(number)
        pending = self._pending.setdefault(number, {})
        for identity, each in taken.items():
            try:
                self._take(pending.setdefault(identity, _Pending()), identity, each)
            except Exception as error:
                raise noted(error, self.pipeline, identity) from None

    def behind(self, number: int) -> int:
        """The number of the checkpoint after ``number`` (0: none yet) of this run."""
        return number + 1 if number else self.fence * _EPOCH + 1

    def _take(self, pending: _Pending, identity: str, taken: Taken) -> None:
        saved = taken.saved
        rows = self._settled.pop(identity, None) or Encoded()
        pending.parts.append(rows)
        if saved.complete:
            pending.overtaken()
            rows = Encoded()
            pending.parts.append(rows)
        if identity in self._fresh:
            self._fresh.discard(identity)
            pending.complete = True
        if saved.frozen:
            before = self._before.get(identity)
            if before is None:  # what was restored, and is no more, isn't among what differs
                pending.complete = True
            pending.parts.append(_Frozen(saved, before))
            self._before[identity] = saved
        else:
            rows.put(self._pairs(saved.changes(None)))
            self._before.pop(identity, None)
        gone = [_Gone(name, table) for name, table in saved.gone]
        if saved.complete:
            pending.dropped += gone
        else:
            pending.parts += gone
        rows.put([(OWN, self.packing.pack(taken.own))])
        # Now: what is held are the events themselves, and who gets them next may change them in their place.
        pending.held = self.packing.pack(taken.held)

    def _pairs(self, rows: Iterable[tuple[Any, Any]]) -> Iterator[Pair]:
        """Encode rows."""
        key_of, row = self.packing.key, self.packing.row
        for key, value in rows:
            if value is GONE:
                yield ROW + key_of(key), None
            else:
                packed_key, packed_value = row(key, value)
                yield ROW + packed_key, packed_value

    def settled(self, identity: str, rows: Mapping[Any, Any]) -> None:
        """A part of what has changed, ahead of the next barrier."""
        found = self._settled.get(identity)
        if found is None:
            found = self._settled[identity] = Encoded()
        found.put(self._pairs(rows.items()))

    def sent(self, barrier: Barrier, source: int, position: int | None) -> None:
        self._sent_at[source] = position
        self._passed.set()

    def withdraw(self, after: int, sources: Any) -> None:
        """What a stage has left is saved with it: positions stand."""

    def complete(self, end: Reached, limits: Limits) -> None:
        super().complete(end, limits)

    # Taking them --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take checkpoints until the run is over, or has been drained."""
        try:
            while not self._finishing:
                await self._until_wanted()
                if self._finishing:
                    break
                requests = self._requests
                last = self._draining
                await self._take_one(last=last)
                if self._draining and not last:
                    continue  # whether it has passed or not: now comes the last one
                if requests == self._requests:
                    self._requests = 0
                if last:
                    self._settled_all = True
                    break
        except BaseException:
            self._settled_all = True  # a run that has failed has nothing more to save
            raise
        finally:
            self._over.set()

    def drain(self) -> None:
        """One more, and then no more: behind it the sources end."""
        self._draining = True
        self._wake()

    async def finish(self) -> None:
        """All stages have ended: save what they came to."""
        self._finishing = True
        self._wake()
        await self._over.wait()
        if not self._settled_all:
            self._sent_at.clear()
            self._number += 1
            await self._decide(self._number, complete=True)

    async def now(self) -> Checkpoint | None:
        """Take one now, and return it when it stands; the last one where the run is over."""
        self._requests += 1
        before = self._number
        over = self._closed
        while not self._closed and not self._newer(before):
            self._wake()
            await self._decided.wait()
        if not over and self.execution.state in ("failed", "cancelled") and not self._newer(before):
            return None  # it was asked for in vain
        return self.last

    def _newer(self, number: int) -> bool:
        return self.last is not None and self.last.number > number

    def closed(self) -> None:
        """The run is over, whether or not it ever took one: nobody waits any longer."""
        self._closed = True
        self._decided.set()

    def hasten(self) -> None:
        """What it waits for comes with a checkpoint, and these keep their distance."""
        self.ask()

    def _wake(self) -> None:
        self._urgent.set()
        self._asked.set()
        self._stirred.set()
        self._passed.set()

    async def _until_wanted(self) -> None:
        while not self._finishing and not self._draining and not self._requests:
            if not self._moved() or self._crowded():  # no timer runs while nothing happens
                self._stirred = anyio.Event()
                await self._stirred.wait()
                continue
            await self._pause()
            if self._moved() and not self._crowded():
                break
        self._asked, self._urgent = anyio.Event(), anyio.Event()

    async def _pause(self) -> None:
        began = anyio.current_time()
        with anyio.move_on_after(self.interval):
            while not self._urgent.is_set():
                await self._asked.wait()
                self._asked = anyio.Event()
                if not self.settings.when_idle:
                    await self._urgent.wait()
                rest = max(began + self._spacing - anyio.current_time(), MOMENT)
                with anyio.move_on_after(rest):
                    await self._urgent.wait()
                if all(stage.over or stage.rests(MOMENT / 2) for stage in self.stages if stage.started):
                    return

    def _moved(self) -> bool:
        return self._sum() != self._activity

    def _crowded(self) -> bool:
        return any(stage.crowded for stage in self.execution.stages)

    def _sum(self) -> int:
        return sum(stage.events_in + stage.events_out for stage in self.execution.stages) + sum(
            stage.position or 0 for stage in self.stages
        )

    async def _take_one(self, *, last: bool) -> None:
        self._number += 1
        self._activity = self._sum()
        self._sent_at.clear()
        self._passed = anyio.Event()
        self._sending = [n for n, stage in self.sources.items() if last or stage.started]
        for number, stage in self.sources.items():
            stage.barrier(Barrier(self._number, last), number)
        await self._wait()
        if self._all_passed():
            await self._decide(self._number)

    async def _wait(self) -> None:
        """Wait until the barrier has passed; not for one that may wait for the end which a drain asks for."""
        last = self._draining
        while not self._all_passed() and self._draining is last:
            passed = self._passed
            await passed.wait()
            self._passed = anyio.Event()

    def _all_passed(self) -> bool:
        sent = all(n in self._sent_at or self.sources[n].over for n in self._sending)
        return sent and all(seen >= self._number or end in self._completed for end, seen in self.ends.items())

    async def _decide(self, number: int, *, complete: bool = False) -> None:
        """All of it is there: the store's transaction makes it final."""
        positions, bookmarks = dict(self._positions_known), dict(self._bookmarks)
        for label, stage in self._labels().items():
            at: int | None = None
            if stage.number in self._sent_at:
                at = self._sent_at[stage.number]
            elif stage.over:  # its end stands for the barrier
                at = stage.position
            if at is not None:
                positions[label] = at
                source = stage.source
                if isinstance(source, Source) and (bookmark := source.bookmark(at)) is not None:
                    bookmarks[label] = bookmark
        checkpoint = Checkpoint(number, clock.now(), positions, self._kinds(), complete, bookmarks)
        due = [n for n in sorted(self._pending) if n <= number]
        merged: dict[str, list[_Pending]] = {}
        for n in due:
            for identity, pending in self._pending[n].items():
                merged.setdefault(identity, []).append(pending)
        changes = [self._change(identity, each) for identity, each in merged.items()]
        try:
            await self.store.save(self.pipeline, self.fence, checkpoint, changes)
        except Exception as error:
            noted(error, self.pipeline, "checkpoint")
            raise
        for n in due:
            del self._pending[n]
        self._positions_known, self._bookmarks = positions, bookmarks
        self.last = checkpoint
        self.count += 1
        for sink in self.sinks:
            await sink.publish(number)
        await self._commit_sources(positions)
        decided, self._decided = self._decided, anyio.Event()
        decided.set()

    def _change(self, identity: str, each: Sequence[_Pending]) -> Change:
        wholes = [at for at, pending in enumerate(each) if pending.complete]
        return Change(identity, self._rows(identity, each, wholes[-1] if wholes else 0), bool(wholes))

    def _rows(self, identity: str, each: Sequence[_Pending], first: int) -> Iterator[Pair]:
        """Encode, from the ``first`` on; on the store's thread."""
        try:
            for pending in each[:first]:
                pending.let_go()
            for pending in each[first:]:
                yield from self._encoded(pending)
        except Exception as error:
            raise noted(error, self.pipeline, identity) from None

    def _encoded(self, pending: _Pending) -> Iterator[Pair]:
        for part in pending.parts:
            if isinstance(part, Encoded):  # here, off the loop, it is also let go of
                yield from part.taken()
            elif isinstance(part, _Frozen):
                yield from self._pairs(part.saved.changes(part.before))
            else:
                yield from self._pairs(_emptied(part))
        yield HELD, pending.held
        pending.let_go()

    def _wanted(self, source: int) -> int | None:
        """Behind this position no end has wanted anything of the source (take): the group goes no further."""
        ends = [end for end in self.ends if source in end.sources]
        limits = [self._completed.get(end) or {} for end in ends]
        if not ends or not all(source in limit for limit in limits):
            return None
        # None: it had enough in an earlier run already, which has committed what there was to commit.
        return max((at for limit in limits if isinstance(at := limit[source], int)), default=-1)

    async def _commit_sources(self, positions: Mapping[str, int]) -> None:
        for label, stage in self._labels().items():
            position = positions.get(label)
            number = stage.number
            if position is None or number is None or stage.source is None or not stage.op.committed:
                continue
            if stage.position is None:  # it isn't open yet, or never will be: there is nothing new
                continue
            wanted = self._wanted(number)
            if wanted is not None:
                position = min(position, wanted)
            if position > self._committed.get(number, -1):
                try:
                    await stage.source.commit(position)
                except Exception as error:
                    stage.noted(error)
                    raise
                self._committed[number] = position

    async def commit(self) -> None:
        """Positions are committed as each checkpoint is decided."""


def _emptied(gone: _Gone) -> Iterator[tuple[Any, Any]]:
    """Yield the table's rows as gone, and let go of them."""
    while gone.table:
        key, _ = gone.table.popitem()
        yield (gone.name, key), GONE


__all__ = ["Checkpointing"]
