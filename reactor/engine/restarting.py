"""Sources that are read again after they have failed: when, how often, and from where."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Sequence
from math import inf
from typing import Any

import anyio

from reactor.core import Record, Source, duration
from reactor.delivery import Restart
from reactor.engine.failures import short

log = logging.getLogger("reactor")


class Broken(Exception):
    """A source has failed, and not one of those that read it: it may be read again."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Restarts:
    """Counts the failures of one source, and decides whether it is read again."""

    def __init__(self, policy: Restart, label: str) -> None:
        self.policy = policy
        self.label = label
        self.count = 0
        """How often it was, or is about to be, read again."""
        self._moments: deque[float] = deque()
        self._in_a_row = 0
        self.down = False
        """True from a failure until it is read again."""
        self.up_at = 0.0
        """When it was read again, by the run's clock."""

    def up(self) -> None:
        """It is read again."""
        self.down = False
        self.up_at = anyio.current_time()

    def worked(self) -> None:
        """The source has given something."""
        self._in_a_row = 0

    def failed(self, error: Exception) -> float:
        """Return how many seconds to wait until it is read again; raise the error when that is given up."""
        policy, now = self.policy, anyio.current_time()
        within = None if policy.within is None else duration(policy.within, "Restart(within")
        if not isinstance(error, policy.on):
            raise error
        while within is not None and self._moments and self._moments[0] <= now - within:
            self._moments.popleft()
        if len(self._moments) >= policy.max:
            span = "" if within is None else f" within {within:g} s"
            error.add_note(
                f"{self.label}: given up after {policy.max} restart{'s' if policy.max > 1 else ''}{span}; "
                f"pass a larger Restart(max=), or longer waits"
            )
            raise error
        self.down = True
        self._moments.append(now)
        self._in_a_row += 1
        self.count += 1
        wait = policy.delay(self._in_a_row)
        log.warning(
            "%s failed with %s: %s; read again in %.3g s (restart %d)",
            *(self.label, type(error).__name__, short(error), wait, self.count),
        )
        return wait


class RestartingSource(Source[Any]):
    """A source that is closed, opened and sought again when it has failed, behind the last event that it gave.

    What it gave has been emitted when it is asked for more. A commit while it is down is made good when it is up
    again, and one that fails is a failure of the source.
    """

    def __init__(self, source: Source[Any], restarts: Restarts) -> None:
        self.source = source
        self._restarts = restarts
        self._next: int | None = None
        self._up = False
        self._begun = False
        """True between ``open`` and ``close``, also where ``open`` failed."""
        self._wait = 0.0
        self._bookmark: str | None = None
        """Of an earlier run, where the source wasn't up yet to be told."""
        self._owed: int | None = None
        """A position to be committed as soon as it is up again."""
        self._failure: Exception | None = None
        """Of a commit; handled by the task that reads."""
        self._reading: anyio.CancelScope | None = None
        self._over = False
        self._paying = anyio.Lock()

    async def open(self) -> None:
        try:
            await self._open()
        except Exception as error:
            self._wait = self._restarts.failed(error)

    async def read(self, limit: int, until: float = inf) -> Sequence[Record[Any]] | None:
        while True:
            try:
                if not self._up:
                    await anyio.sleep(self._wait)
                    await self._open_again()
                    self._restarts.up()
                records = await self._ask(limit, until)
            except Exception as error:
                self._up = False
                self._wait = self._restarts.failed(error)
                continue
            self._next = self.source.position()
            if records:
                self._restarts.worked()
            return records

    def position(self) -> int | None:
        return self._next

    async def seek(self, position: int) -> None:
        self._next, self._bookmark = position, None
        if self._up:
            await self.source.seek(position)

    def bookmark(self, position: int) -> str | None:
        # Until the source was told where it is, it knows of nothing.
        return self.source.bookmark(position) if self._bookmark is None else self._bookmark

    def parts(self) -> Collection[str]:
        return self.source.parts() if self._up else ()

    def quiet(self, parts: Collection[str]) -> Collection[str]:
        return self.source.quiet(parts) if self._up else ()

    async def restore(self, position: int, bookmark: str | None) -> None:
        self._next, self._bookmark = position, bookmark
        if self._up:
            await self._restore()

    async def _restore(self) -> None:
        assert self._next is not None
        await self.source.restore(self._next, self._bookmark)
        self._bookmark = None  # it knows better from now on; where that failed, it is told again

    async def commit(self, position: int) -> None:
        if self._over or not self._up:
            self._owed = position
            if self._over:
                await self._pay()
            return
        attempt = self._restarts.count
        try:
            await self.source.commit(position)
        except Exception as error:
            self._owed = position
            if self._up and attempt == self._restarts.count:
                self._failure = error
                if self._reading is not None:
                    self._reading.cancel()
        else:
            self._owed = None

    async def finish(self) -> None:
        """It is read no more. What couldn't be committed while it was down is committed now, or that fails."""
        self._over = True
        await self._pay()

    async def _pay(self) -> None:
        async with self._paying:
            while self._owed is not None:
                try:
                    if self._up:
                        await self._commit_owed()
                    else:
                        await self._open_again()
                except Exception as error:
                    self._up = False
                    await anyio.sleep(self._restarts.failed(error))

    async def close(self) -> None:
        if self._begun:
            self._begun = False
            await self.source.close()

    async def _open(self) -> None:
        self._begun = True
        await self.source.open()
        if self._next is None:
            self._next = self.source.position()
        elif self._bookmark is not None:
            await self._restore()
        else:
            await self.source.seek(self._next)
        await self._commit_owed()
        self._up = True

    async def _commit_owed(self) -> None:
        while self._owed is not None:
            owed = self._owed
            await self.source.commit(owed)
            if self._owed == owed:
                self._owed = None

    async def _open_again(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self.close()
            except Exception as error:
                log.warning("%s: close() failed with %s", self._restarts.label, short(error))
        await self._open()

    async def _ask(self, limit: int, until: float) -> Sequence[Record[Any]] | None:
        with anyio.CancelScope(deadline=until) as self._reading:
            try:
                if self._failure is None:
                    return await self.source.read(limit)
            finally:
                self._reading = None
        failure, self._failure = self._failure, None
        if failure is None:
            return ()
        raise failure
