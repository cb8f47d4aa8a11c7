"""What a consumer's thread and the task that reads have between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection

from reactor.connectors.kafka.lots import Lot, nothing
from reactor.connectors.loops import Waiter

Positions = dict[str, int]
"""The next offset, by partition."""


class Shelf:
    """Messages on their way to the pipeline, and how far it has come. Everything is done under ``changed``."""

    def __init__(self, room: int) -> None:
        self.changed = threading.Condition()
        self.begun = False
        """The pipeline reads: from here on partitions are asked for."""
        self.stopped = False
        self.ended = False
        self.error: BaseException | None = None
        self.delivered: Positions = {}
        self.settled: Positions = {}
        self.reached: Positions = {}
        """Behind the last message that was put here."""
        self.turned = False
        """The partitions are others, or some were read to their end: who waits for messages hears of that."""
        self._room = room
        self._lots: deque[Lot] = deque()
        self._held = 0
        self._waiters: list[Waiter[None]] = []
        self._ring: Callable[[], object] | None = None

    # Of the task ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        if not self.begun:
            with self.changed:
                self.begun = True
                self.changed.notify_all()

    def take(self, limit: int, ring: Callable[[], object]) -> Lot | None:
        """Return messages, None at the end; where there are none, ``ring`` is called once there is news."""
        with self.changed:
            if not self._lots:
                if self.error is not None:
                    raise self.error
                if self.ended:
                    return None
                if not self.turned:
                    self._ring = ring
                return nothing()
            was_full = self._held >= self._room
            taken = self._lots.popleft()
            while self._lots and len(taken.parts) < limit:
                taken.add(self._lots.popleft())
            if len(taken.parts) > limit:
                self._lots.appendleft(taken.cut(limit))
            self._held -= len(taken.parts)
            self.delivered.update(zip(taken.parts, taken.afters, strict=True))
            if was_full and self._held < self._room:
                self.changed.notify_all()
            return taken

    def open(self, name: str) -> bool:
        """Whether there are messages of this partition that nobody has taken."""
        return self.reached.get(name, -1) > self.delivered.get(name, -1)

    def settle(self, positions: Positions, waiter: Waiter[None]) -> None:
        with self.changed:
            if self.error is not None:
                waiter.fail(self.error)
                return
            if self.stopped:
                waiter.succeed(None)  # it comes again
                return
            for name, after in positions.items():
                if after > self.settled.get(name, -1):
                    self.settled[name] = after
            self._waiters.append(waiter)
            self.changed.notify_all()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    # Of the thread --------------------------------------------------------------------------------------------

    def room(self) -> int:
        return self._room - self._held

    def put(self, lot: Lot) -> None:
        with self.changed:
            self._lots.append(lot)
            self.reached.update(zip(lot.parts, lot.afters, strict=True))
            self._held += len(lot.parts)
            self._wake()

    def turn(self) -> None:
        with self.changed:
            self.turned = True
            self._wake()

    def finish(self) -> None:
        with self.changed:
            self.ended = True
            self._wake()

    def resume(self) -> None:
        with self.changed:
            self.ended = False

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = self.error or error
            self._wake()
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.fail(self.error)

    def _wake(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring()

    def drop(self, names: Collection[str]) -> None:
        """Forget the messages of these partitions that nobody has taken."""
        with self.changed:
            kept = (lot.without(names) for lot in self._lots)
            self._lots = deque(lot for lot in kept if lot.parts)
            self._held = sum(len(lot.parts) for lot in self._lots)
            self.ended = False
            for name in names:
                self.reached.pop(name, None)

    def forget(self, names: Collection[str]) -> None:
        """These were deleted, and are others now, under the same names."""
        with self.changed:
            for name in names:
                for positions in (self.delivered, self.settled, self.reached):
                    positions.pop(name, None)

    def waiting(self) -> bool:
        return bool(self._waiters)

    def release(self) -> None:
        """What was settled before is settled."""
        with self.changed:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.succeed(None)
