"""What a group's reader does at the server beside reading: it settles, keeps what it has, and gives it back."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from reactor.connectors.redis.place import Place, errors
from reactor.core import TopicError

log = logging.getLogger("reactor")

RELEASED = b"reactor-released"
"""The consumer that holds what readers gave back: everybody may take it at once."""

_LONG_AGO = 365 * 24 * 3600 * 1000
"""How long what was given back has been idle, in milliseconds."""

_FORGOTTEN = 24 * 3600 * 1000
"""A reader that has nothing, and that nobody has seen for so long, is taken off the group's list."""

_PAGE = 1000

# All at once: a reader that is deleted loses what is delivered to it in between.
_LEAVE = b"""
if redis.replicate_commands then redis.replicate_commands() end
while true do
  local rows = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
  if #rows == 0 then break end
  local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0}
  for _, row in ipairs(rows) do claim[#claim + 1] = row[1] end
  for _, option in ipairs({'IDLE', ARGV[4], 'JUSTID'}) do claim[#claim + 1] = option end
  redis.call(unpack(claim))
end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
"""

_FORGET = b"""
if redis.replicate_commands then redis.replicate_commands() end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
"""


def new_name() -> bytes:
    """Return a reader's name: its machine and process, for people, and what nobody else has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}".encode()


class Lease:
    """One reader's part in a group. All calls share one connection, which isn't the one that reads."""

    def __init__(self, place: Place, group: str, name: bytes) -> None:
        self.name = name
        self._place = place
        self._group = group.encode()
        self._link = place.link()
        self._lock = asyncio.Lock()
        self._idle = max(int(place.settings.claim_idle * 1000) // 4, 1)

    async def join(self, start: str) -> None:
        """Make the group where it isn't there, beginning behind the id ``start``; and the stream with it."""
        create = (b"XGROUP", b"CREATE", self._place.key, self._group, start, b"MKSTREAM")

        async def make() -> None:
            try:
                await self._link.ask(create)
            except errors.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

        await self._link.insist(make, self._place.settings.patience)
        await self._link.insist(self._tidy, self._place.settings.patience)

    async def _tidy(self) -> None:
        """Take off the group's list who died long ago, and has nothing any more."""
        try:
            for name, pending, idle in await self.readers():
                if not pending and idle >= _FORGOTTEN:
                    await self._script(_FORGET, name)
        except errors.NoPermissionError as error:
            log.info("%s: readers that are gone stay on the list of the group: %s", self._place.url, error)

    async def settle(self, ids: Sequence[bytes]) -> None:
        """Acknowledge entries; they needn't be this reader's any more."""
        commands = [
            (b"XACK", self._place.key, self._group, *ids[at : at + _PAGE]) for at in range(0, len(ids), _PAGE)
        ]
        await self._ask(lambda: self._link.ask(*commands))

    async def readers(self) -> list[tuple[bytes, int, int]]:
        """Return the group's readers: name, how many entries each has, milliseconds since its last call."""
        (rows,) = await self._link.ask((b"XINFO", b"CONSUMERS", self._place.key, self._group))
        found = []
        for row in rows:
            told = dict(zip(row[::2], row[1::2], strict=True))
            found.append((told[b"name"], told[b"pending"], told[b"idle"]))
        return found

    async def others(self) -> list[tuple[bytes, int, int]]:
        """Return the other readers that have entries."""
        return [row for row in await self._ask(self.readers) if row[1] and row[0] != self.name]

    async def has(self, name: bytes, until: str) -> bool:
        """Whether a reader has an entry up to an id."""
        rows = await self._ask(lambda: self._pending(name, b"-", until, 1))
        return bool(rows)

    async def keep(self, holding: Any) -> None:
        """For ever: renew what this reader has, before it counts as left behind."""
        while True:
            await asyncio.sleep(self._idle / 1000)
            if holding:
                await self._ask(self._renew)

    async def _renew(self) -> None:
        at = b"-"
        while True:
            rows = await self._pending(self.name, at, b"+", _PAGE, self._idle // 2)
            if not rows:
                return
            ids = [row[0] for row in rows]
            # Only what has been idle: another reader may have taken it in between.
            await self._link.ask(
                (b"XCLAIM", self._place.key, self._group, self.name, self._idle // 2, *ids, b"JUSTID")
            )
            at = b"(" + ids[-1]

    async def _pending(self, name: bytes, first: Any, last: Any, count: int, idle: int = 0) -> list[Any]:
        (rows,) = await self._link.ask(
            (b"XPENDING", self._place.key, self._group, b"IDLE", idle, first, last, count, name)
        )
        return list(rows)

    async def leave(self) -> None:
        """Give back what this reader has, for others to take at once, and take it off the group's list."""
        async with self._lock:
            try:
                await self._leave()
            except Exception as error:
                if isinstance(self._place.judge(error), TopicError):
                    raise
                await self._leave()  # the connection was gone since its last use

    async def _leave(self) -> None:
        try:
            await self._script(_LEAVE, self.name, RELEASED, _LONG_AGO)
        except errors.NoPermissionError:
            await self._release_all()

    async def _release_all(self) -> None:
        """Where scripts aren't allowed. The reader stays on the list, until someone may forget it."""
        while rows := await self._pending(self.name, b"-", b"+", _PAGE):
            await self._release([row[0] for row in rows])

    async def give_back(self, ids: Sequence[bytes]) -> None:
        """Give back some of what this reader has, for others to take at once."""
        await self._ask(lambda: self._release(ids))

    async def _release(self, ids: Sequence[bytes]) -> None:
        await self._link.ask(
            (b"XCLAIM", self._place.key, self._group, RELEASED, 0, *ids, b"IDLE", _LONG_AGO, b"JUSTID")
        )

    async def _script(self, text: bytes, *args: Any) -> None:
        await self._link.ask((b"EVAL", text, 1, self._place.key, self._group, *args))

    async def _ask(self, work: Any) -> Any:
        async with self._lock:
            return await self._link.insist(work)

    async def close(self) -> None:
        await self._link.close()
