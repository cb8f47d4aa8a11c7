"""trio's clock, virtual, and still while a thread works.

trio has a virtual clock of its own, MockClock. It jumps whenever all tasks are blocked, also when one of them
waits for a thread: then timeouts strike that no real run would see.
"""

from __future__ import annotations

import math
import threading
import time

import trio

from reactor.testing.awaits import waits_for_quiet
from reactor.testing.clock import POLL, VirtualClock

_WHILE = 1.0
"""Any real time longer than what those who wait for quiet ask for: trio then takes theirs."""


class TrioClock(trio.abc.Clock, trio.abc.Instrument):
    """Tells trio the time of a :class:`VirtualClock`; has to be among the run's instruments, too."""

    def __init__(self, virtual: VirtualClock) -> None:
        self.virtual = virtual
        self._struck = False
        self._stepped = True
        self._idle_since: float | None = None

    def start_clock(self) -> None:
        self.virtual.rewind()
        self._struck = False

    def current_time(self) -> float:
        return self.virtual.time

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._stepped = True
        if not self._struck:
            self._struck = True
            self.virtual.strike()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """How long to wait for files now; called when no task can run."""
        clock = self.virtual
        if deadline <= clock.time:
            return 0
        if self._stepped:
            self._stepped = False
            self._idle_since = None
            return 0  # a look at the files first, then it comes here again
        if clock.stands():
            self._idle_since = None
            return POLL
        if waits_for_quiet():
            return _WHILE
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
        if deadline == math.inf:
            # One thread more than the loop's own may be the one that waits for files, where trio is a guest.
            watched = threading.active_count() > 1 or _watched_files() > 1
            if watched and (rest := self._idle_since + clock.patience - now) > 0:
                return rest
            self._idle_since = None
            clock.stuck()
        elif (rest := self._idle_since + clock.grace - now) > 0:
            return rest
        else:
            self._idle_since = None
            # Rounded down, it would be a jump to just before the deadline, for ever.
            clock.time = max(deadline, round(deadline, 9))
        return 0


def _watched_files() -> int:
    statistics = trio.lowlevel.current_statistics().io_statistics
    return sum(getattr(statistics, f"tasks_waiting_{what}", 0) for what in ("read", "write"))
