"""The circuit of a CircuitBreaker in one run: who may call, and what the answers make of it."""

from __future__ import annotations

import logging
from collections import deque
from typing import Literal

import anyio

from reactor.core import CircuitOpen, duration
from reactor.delivery import CircuitBreaker
from reactor.engine.failures import short

log = logging.getLogger("reactor")

CircuitState = Literal["closed", "open", "half-open"]


class Circuit:
    """Closed, open or half-open; all that share the breaker call through it.

    A call begins with ``enter``, whose ticket goes to ``succeeded`` or ``failed``: what was begun before the
    circuit has changed its state says nothing about it any more.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.state: CircuitState = "closed"
        self._within = duration(breaker.within, "CircuitBreaker(within")
        self._wait = duration(breaker.wait, "CircuitBreaker(wait")
        self._times: deque[float] = deque(maxlen=breaker.failures)
        """When the last failures in a row came."""
        self._turn = 0
        self._again_at = 0.0
        self._opened_at = 0.0
        self._let_through = 0
        self._good = 0
        self._last: Exception | None = None
        self._changed = anyio.Event()

    async def enter(self) -> int:
        """Wait until a call may be made; return its ticket."""
        while (ticket := self._ticket()) is None:
            changed, rest = self._changed, self._again_at - anyio.current_time()
            if self.state == "open":
                with anyio.move_on_after(rest):
                    await changed.wait()
            else:
                await changed.wait()
        return ticket

    def enter_now(self, label: str) -> int:
        """Return the ticket of a call that may be made; raise CircuitOpen when none may be."""
        ticket = self._ticket()
        if ticket is None:
            last = self._last
            raise CircuitOpen(
                f"{label}: not called, the circuit is {self.state}; "
                f"the last failure: {type(last).__name__}: {short(last)}"
            ) from last
        return ticket

    def succeeded(self, ticket: int, label: str) -> None:
        """There was an answer."""
        if ticket != self._turn:
            return
        if self.state == "closed":
            self._times.clear()
            return
        self._good += 1
        if self._good >= self.breaker.probes:
            log.info(
                "%s: the circuit is closed again, after %.3g s", label, anyio.current_time() - self._opened_at
            )
            self._become("closed")

    def failed(self, ticket: int, error: Exception, label: str) -> bool:
        """There was none. True when this is no verdict on the event: it shall wait, and be called again."""
        if not self.breaker.counts(error):
            self.succeeded(ticket, label)
            return False
        waits = self.breaker.when_open == "wait"
        if ticket != self._turn:
            return waits and self.state != "closed"
        self._last = error
        now = anyio.current_time()
        if self.state == "half-open":
            self._again_at = now + self._wait
            self._become("open")
            return False
        self._times.append(now)
        if len(self._times) < self.breaker.failures or now - self._times[0] > self._within:
            return False
        self._opened_at, self._again_at = now, now + self._wait
        self._become("open")
        log.warning(
            "%s: the circuit is open, after %d failures in a row, the last: %s: %s; the next call in %g s",
            *(label, len(self._times), type(error).__name__, short(error), self._wait),
        )
        return waits

    def _ticket(self) -> int | None:
        if self.state == "open" and anyio.current_time() >= self._again_at:
            self._become("half-open")
        if self.state == "half-open" and self._let_through < self.breaker.probes:
            self._let_through += 1
            return self._turn
        return self._turn if self.state == "closed" else None

    def _become(self, state: CircuitState) -> None:
        self.state = state
        self._turn += 1
        self._let_through = self._good = 0
        if state == "closed":
            self._times.clear()
            self._last = None  # its traceback holds what the caller had in hand
        self._changed.set()
        self._changed = anyio.Event()
