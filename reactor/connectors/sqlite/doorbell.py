"""How a publisher wakes the subscribers in other processes: by a datagram on loopback.

Each process that subscribes to a file binds a port and writes it into the file. After a commit the writer
sends a datagram to each port that it finds there. It carries no event, only "look": one that is lost, or
forged, costs one look. A subscriber that hears nothing looks by itself now and then.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable

_LOOK = b"reactor: look"
_STOP = b"reactor: stop"


class Doorbell:
    """A port and the thread that listens to it. ``ring`` and ``check`` are called on that thread."""

    def __init__(self, poll: float, ring: Callable[[], None], check: Callable[[], None]) -> None:
        self.poll = poll
        self._ring = ring
        self._check = check
        self._stopped = threading.Event()
        self._port: int | None = None
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, name="reactor doorbell", daemon=True)

    def hang(self, db: sqlite3.Connection) -> None:
        """Bind a port, write it into the file, and listen; on the writer's thread, in its transaction."""
        if self._socket is None:
            try:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.bind(("127.0.0.1", 0))
                self._port = self._socket.getsockname()[1]
            except OSError:  # no loopback here: the slow check alone has to do
                self._port = None
            self._thread.start()
        if self._port is not None:
            db.execute("INSERT OR REPLACE INTO doorbells VALUES (?, ?)", (self._port, os.getpid()))

    def take_down(self, db: sqlite3.Connection) -> None:
        """Undo it and end the thread; on the writer's thread."""
        if self._port is not None:
            db.execute("DELETE FROM doorbells WHERE port = ?", (self._port,))
        self.stop()

    def stop(self) -> None:
        """End the thread and wait for it; not on the event loop."""
        self._stopped.set()
        if self._port is not None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                try:
                    sender.sendto(_STOP, ("127.0.0.1", self._port))
                except OSError:
                    pass  # it finds out at its next check
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def port(self) -> int | None:
        return self._port

    def _listen(self) -> None:
        checked = time.monotonic()
        while not self._stopped.is_set():
            wait = max(0.001, checked + self.poll - time.monotonic())
            if self._wait(wait) and not self._stopped.is_set():
                self._ring()
            if time.monotonic() - checked >= self.poll:
                checked = time.monotonic()
                self._check()
        if self._socket is not None:
            self._socket.close()

    def _wait(self, seconds: float) -> bool:
        if self._socket is None or self._port is None:
            self._stopped.wait(seconds)
            return False
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(64) == _LOOK
        except OSError:  # a timeout, or an ICMP error of somebody's
            return False


class Ringer:
    """Rings the doorbells of the other processes; on the writer's thread."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def ring(self, db: sqlite3.Connection, own: int | None) -> None:
        """Send a datagram to every port in the file, and take down those where nobody listens."""
        ports = {int(port) for (port,) in db.execute("SELECT port FROM doorbells")} - {own}
        for gone in self._sockets.keys() - ports:
            self._sockets.pop(gone).close()
        for port in ports:
            try:
                if port not in self._sockets:
                    # Connected, so that a closed port is told to us by the next call (ICMP).
                    self._sockets[port] = sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    sender.setblocking(False)
                    sender.connect(("127.0.0.1", port))
                self._sockets[port].send(_LOOK)
            except ConnectionError:
                db.execute("DELETE FROM doorbells WHERE port = ?", (port,))
            except OSError:
                pass  # its buffer is full: it has enough to wake up from

    def close(self) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()
