"""Redis: one server for the session, that has everything on disk before it says so."""

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import redis

from tests.servers import getting
from tests.servers.server import Missing, Server, require

PASSWORD = "s3cret/word@100%"
"""Of the default user: with characters that a URL has to escape."""

_SETTINGS = """
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync always
save ""
maxmemory 512mb
maxmemory-policy noeviction
repl-diskless-sync-delay 0
repl-ping-replica-period 1
masterauth {password}
daemonize no
"""


def install() -> None:
    """Install Debian's package, as root; its service isn't started."""
    if shutil.which("redis-server"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(
            "Redis is missing; install it: apt install redis-server (as root), or what has redis-server"
        )
    getting.install("redis-server")


class Redis(Server):
    """A server that keeps its promises: it answers when the write is on disk, and passwords are asked for."""

    name = "redis"
    orderly = signal.SIGTERM

    def __init__(self, *settings: str) -> None:
        found = shutil.which("redis-server")
        if found is None:
            raise Missing("Redis's redis-server is missing; install it: apt install redis-server")
        self._program = found
        self._settings = settings
        self._numbers = itertools.count(1)
        super().__init__()

    def prepare(self) -> None:
        text = _SETTINGS.format(port=self.port, folder=self.folder, password=PASSWORD)
        (self.folder / "redis.conf").write_text(text + "\n".join(self._settings) + "\n")

    def command(self) -> list[str]:
        return [self._program, "redis.conf"]

    def ready(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def again(self, said: str) -> bool:
        return "Address already in use" in said

    def ask(self, *command: Any) -> Any:
        """Run one command."""
        client = redis.Redis(port=self.port, password=PASSWORD, socket_timeout=5, protocol=2)
        try:
            return client.execute_command(*command)
        finally:
            client.close()

    def topic(self, query: str = "", *, name: str | None = None) -> str:
        """Return the URL of a topic that nobody has used yet, password included."""
        name = name or f"t{next(self._numbers)}"
        return f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}{query and '?'}{query}"


def running(*settings: str) -> Iterator[Redis]:
    """Yield a server that is up, for a fixture."""
    try:
        server = Redis(*settings)
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    install()
