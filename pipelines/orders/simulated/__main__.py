"""``python -m pipelines.orders.simulated HOME``: both servers, until standard input ends.

The first line of the output says where they listen, as JSON. Whoever started it holds the other end of
standard input: when that process is gone, however it went, the servers go too.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP

from pipelines.orders.simulated.gateway import Books, Gateway
from pipelines.orders.simulated.mailbox import Mailbox, MailHandler


class Server(uvicorn.Server):
    """Signals are for the process that started this one."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


async def serve(home: Path) -> None:
    loop = asyncio.get_running_loop()
    with closing(Books(home / "gateway.db")) as books, closing(Mailbox(home / "mail.db")) as mailbox:
        handler = MailHandler(mailbox)
        smtp = await loop.create_server(lambda: SMTP(handler, hostname="mail.example"), "127.0.0.1", 0)
        # With the protocol named, asyncio sets TCP_NODELAY: else each answer waits 40 ms for an ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            Gateway(books).app, lifespan="off", access_log=False, log_level="warning", timeout_keep_alive=60
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gateway, mail = listener.getsockname()[1], smtp.sockets[0].getsockname()[1]
        with suppress(BrokenPipeError):  # the shop is gone already
            print(json.dumps({"gateway": f"http://127.0.0.1:{gateway}", "smtp_port": mail}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = server.force_exit = True
        smtp.close()
        await serving


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with (folder / "shop.log").open("a", buffering=1, encoding="utf-8") as log:
        sys.stderr = log  # the terminal is the shop's
        asyncio.run(serve(folder))
