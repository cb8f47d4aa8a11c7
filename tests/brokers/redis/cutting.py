"""A network between client and server that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Cut:
    """Forwards connections to a port, until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self.to = port
        """Where new connections lead."""
        self.port = 0
        self.mute = False
        """What the server says is swallowed."""
        self.deaf = False
        """What the client says is swallowed."""
        self.swallowed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, url: str) -> str:
        """Return the URL of a topic, through here."""
        return url.replace(f":{urlsplit(url).port}/", f":{self.port}/")

    def cut(self) -> None:
        """Break all connections; new ones can be made, and go through."""
        self.mute = self.deaf = False
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers |= {writer, to}
        for one in (self._pump(reader, to, "deaf"), self._pump(there, writer, "mute")):
            task = asyncio.create_task(one)
            self._tasks.add(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: str) -> None:
        try:
            while data := await reader.read(65536):
                if getattr(self, how):
                    self.swallowed.set()
                else:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def cuttable(port: int) -> AsyncGenerator[Cut, None]:
    """Put it before a server's port."""
    cut = Cut(port)
    server = await asyncio.start_server(cut.accept, "127.0.0.1", 0)
    cut.port = server.sockets[0].getsockname()[1]
    try:
        yield cut
    finally:
        server.close()
        await cut.close()
        await server.wait_closed()
        await asyncio.sleep(0)
