"""What time it is, by the clock of the event loop that is running: microseconds since the epoch.

The wall clock is read once for each loop. From then on time goes as the loop's own clock does, which never
goes back and which a test may drive. So a window on the clock and the timer that wakes it never disagree.
"""

import time
from collections.abc import Callable

import anyio
from anyio.lowlevel import RunVar, current_token

_zero: RunVar[int | None] = RunVar("reactor.core.clock", None)
"""The time of day at which the clock of this loop stood at 0."""


def now() -> int:
    """The time of day; to be called on the event loop."""
    zero = _zero.get()
    moment = round(anyio.current_time() * 1_000_000)
    if zero is None:
        zero = time.time_ns() // 1000 - moment
        _zero.set(zero)
    return zero + moment


def here() -> Callable[[], int]:
    """A faster :func:`now` for those who ask often: it has looked once which loop it is on.

    It is of no use on another loop, and doesn't follow a later :func:`set_now`.
    """
    now()
    zero = _zero.get() or 0
    token = current_token()
    # An asyncio loop tells its time itself; on trio, anyio has to be asked.
    clock: Callable[[], float] = getattr(getattr(token, "native_token", token), "time", anyio.current_time)
    return lambda: zero + round(clock() * 1_000_000)


def set_now(moment: int) -> None:
    """From now on it is ``moment`` on this loop: what a virtual clock begins with."""
    _zero.set(moment - round(anyio.current_time() * 1_000_000))
