"""Staying connected: a connection that was lost is replaced by another one, with growing pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from reactor.connectors.brokers import Address, Backoff
from reactor.connectors.nats.link import Gone, Link
from reactor.connectors.nats.settings import Nats
from reactor.core import TopicError


class Line:
    """The connection of one reader or writer. ``greet`` is called with each new one, before it is used."""

    def __init__(
        self, what: str, address: Address, settings: Nats, greet: Callable[[Link], Awaitable[None]]
    ) -> None:
        self._what = what
        self._address = address
        self._settings = settings
        self._greet = greet
        self._link: Link | None = None
        self._lock = anyio.Lock()
        self._backoff = Backoff(what)

    @property
    def now(self) -> Link | None:
        """The connection, where there is one."""
        return self._link if self._link is not None and self._link.error is None else None

    async def open(self) -> None:
        """Connect; raise TopicError where that can't be done within ``patience``."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise TopicError(f"{self._what}: NATS needs asyncio; run the pipeline there") from None
        self._lock = anyio.Lock()
        self._backoff = Backoff(self._what, patience=self._settings.patience)
        await self.link()
        self._backoff = Backoff(self._what)

    async def link(self) -> Link:
        """Return the connection, a new one where it was lost. Raises TopicError for what waiting won't mend."""
        if (link := self.now) is not None:
            return link
        async with self._lock:
            while (link := self.now) is None:
                await self.close()
                new = Link(self._what, self._settings)
                try:
                    await new.open(self._address)
                    await self._greet(new)
                except Gone as error:
                    await new.close()
                    await self._backoff.failed(error)
                except BaseException:
                    await new.close()
                    raise
                else:
                    self._link = new  # others may use it from now on
            self._backoff.reached()
            return link

    async def close(self) -> None:
        """Disconnect."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
