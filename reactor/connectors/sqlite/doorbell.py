"""How a publisher wakes the subscribers in other processes: by a datagram on loopback.

Each process that subscribes to a file binds a port and writes it into the file. After a commit the writer
sends a datagram to each port that it finds there. It carries no event, only "look, in these topics": one that
is lost, or forged, costs one look. A subscriber that hears nothing looks by itself now and then.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable

from reactor.connectors.loops import AwaitableThread

_LOOK = "reactor: look"
_SIZE = 1024


class Doorbell:
    """A port and the thread that listens to it.

    On that thread, ``ring(*topics)`` is called (without topics: all), and ``check()`` each ``poll`` seconds.
    """

    def __init__(self, poll: float, ring: Callable[..., None], check: Callable[[], None]) -> None:
        self.poll = poll
        self.hung = False
        """Whether the port stands in the file."""
        self.port: int | None = None
        self._ring = ring
        self._check = check
        self._stopped = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(("127.0.0.1", 0))
            self.port = int(self._socket.getsockname()[1])
        except OSError:
            pass  # no loopback here: the slow check alone has to do
        self._thread = AwaitableThread(self._listen, "reactor doorbell")
        self._thread.start()

    def hang(self, db: sqlite3.Connection) -> None:
        """Write the port into the file; on the writer's thread, in its transaction."""
        if self.port is not None:
            db.execute("INSERT OR REPLACE INTO doorbells VALUES (?, ?)", (self.port, os.getpid()))
        self.hung = True

    def take_down(self, db: sqlite3.Connection) -> None:
        """Take the port out of the file; on the writer's thread, in its transaction."""
        db.execute("DELETE FROM doorbells WHERE port = ? AND pid = ?", (self.port, os.getpid()))

    def hurry(self, poll: float) -> None:
        """Check at least each ``poll`` seconds from now on."""
        if poll < self.poll:
            self.poll = poll
            self._nudge()

    async def close(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._nudge()
        await self._thread.ended()

    def _nudge(self) -> None:
        """Let the thread look up from its wait."""
        if self.port is not None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                try:
                    sender.sendto(b"", ("127.0.0.1", self.port))
                except OSError:
                    pass  # the thread finds out at its next check

    # On the thread:

    def _listen(self) -> None:
        checked = time.monotonic()
        with self._socket:
            while not self._stopped.is_set():
                topics = self._wait(max(0.001, checked + self.poll - time.monotonic()))
                if self._stopped.is_set():
                    return
                if topics is not None:
                    self._ring(*topics)
                if time.monotonic() - checked >= self.poll:
                    checked = time.monotonic()
                    self._check()

    def _wait(self, seconds: float) -> list[str] | None:
        if self.port is None:
            self._stopped.wait(seconds)
            return None
        self._socket.settimeout(seconds)
        try:
            what, *topics = self._socket.recv(_SIZE).decode(errors="replace").split("\0")
        except OSError:  # a timeout, or an ICMP error of somebody's
            return None
        return topics if what == _LOOK else None


class Ringer:
    """Rings the doorbells of the other processes; on the writer's thread."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._silent: set[tuple[int, int]] = set()

    def ring(self, db: sqlite3.Connection, own: int | None, topics: Iterable[str]) -> None:
        """Send a datagram to every port in the file, and note those where nobody listens."""
        ports: dict[int, int] = dict(db.execute("SELECT port, pid FROM doorbells").fetchall())
        if own is not None:
            ports.pop(own, None)
        for gone in self._sockets.keys() - ports.keys():
            self._sockets.pop(gone).close()
        look = "\0".join([_LOOK, *topics]).encode()
        if len(look) > _SIZE:
            look = _LOOK.encode()
        for port, pid in ports.items():
            try:
                if port not in self._sockets:
                    # Connected, so that the next call is told of a closed port (by ICMP).
                    self._sockets[port] = sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    sender.setblocking(False)
                    sender.connect(("127.0.0.1", port))
                self._sockets[port].send(look)
            except ConnectionError:
                self._silent.add((port, pid))
            except OSError:
                pass  # its buffer is full: it has enough to wake up from

    def sweep(self, db: sqlite3.Connection) -> None:
        """Forget the ports where nobody listened; in a transaction, which costs no lock of its own."""
        while self._silent:
            db.execute("DELETE FROM doorbells WHERE port = ? AND pid = ?", self._silent.pop())

    def close(self) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()
