"""A TCP proxy between a client and a server, in the hands of a test: it cuts, holds and counts."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType

_PIECE = 1 << 16


class Proxy:
    """Listens on a free port of loopback and passes everything on to ``port``, byte for byte, on a thread.

    ::

        with Proxy(server.port) as proxy:
            topic = ...(proxy.port)
            proxy.cut()      # connections are reset, and new ones too, until mend()
            proxy.hold()     # connections stay, nothing gets through, until go_on()

    Its calls return at once, and may come from any thread.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self.up = 0
        """Bytes that went from clients to the server."""
        self.down = 0
        """Bytes that went from the server to clients."""
        self.accepted = 0
        """Connections of clients that were passed on."""
        self._pairs: dict[socket.socket, _Way] = {}
        self._is_cut = False
        self._held = False
        self._closed = False
        self._lock = threading.Lock()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._work, name="proxy of a test", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        with self._lock:
            return len(self._pairs) // 2

    def cut(self) -> None:
        """Reset all connections; who connects from now on is reset, too, until ``mend``."""
        with self._lock:
            self._is_cut = True
            for one in list(self._pairs):
                self._reset(one)
            self._pairs.clear()
        self._wake()

    def mend(self) -> None:
        """End the cut."""
        with self._lock:
            self._is_cut = False
        self._wake()

    def hold(self) -> None:
        """Let nothing through: what is sent waits here, and new connections are accepted and stay silent."""
        with self._lock:
            self._held = True
        self._wake()

    def go_on(self) -> None:
        """End the hold; what has waited is passed on."""
        with self._lock:
            self._held = False
        self._wake()

    def close(self) -> None:
        """Cut everything, and end."""
        if self._closed:
            return
        self._closed = True
        self._wake()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy's thread doesn't end"
        with self._lock:
            for one in self._pairs:
                self._reset(one)
            self._pairs.clear()
        for each in (self._listener, self._bell, self._ring):
            each.close()

    # On its thread ----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._ring.send(b"x")

    def _work(self) -> None:
        while not self._closed:
            with self._lock:
                reads = [self._listener, self._bell]
                writes = []
                if not self._held:
                    reads += [one for one, way in self._pairs.items() if way.reads]
                    writes += [way.other for way in self._pairs.values() if way.waiting]
            try:
                readable, writable, _ = select.select(reads, writes, [], 5)
            except (OSError, ValueError):
                continue  # one of them was cut meanwhile
            with self._lock:
                for one in readable:
                    if one is self._bell:
                        with contextlib.suppress(OSError):
                            self._bell.recv(4096)
                    elif one is self._listener:
                        self._accept()
                    elif one in self._pairs and not self._held:
                        self._read(one)
                for one in writable:
                    if one in self._pairs and not self._held:
                        self._write(self._pairs[one].other)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if self._is_cut:
            self._reset(client)
            return
        server = socket.socket()
        try:
            server.connect(self._target)  # of loopback: at once, or refused
        except OSError:
            server.close()
            self._reset(client)
            return
        self.accepted += 1
        for one, other, up in ((client, server, True), (server, client, False)):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[one] = _Way(other, up)

    def _read(self, one: socket.socket) -> None:
        way = self._pairs[one]
        try:
            data = one.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._end(one)
            return
        if not data:
            way.ended = True
        way.waiting += data
        self._write(one)

    def _write(self, one: socket.socket) -> None:
        """Pass on what has come from ``one``."""
        way = self._pairs[one]
        try:
            sent = way.other.send(way.waiting) if way.waiting else 0
        except BlockingIOError:
            return
        except OSError:
            self._end(one)
            return
        del way.waiting[:sent]
        if way.up:
            self.up += sent
        else:
            self.down += sent
        if way.ended and not way.waiting and not way.shut:
            way.shut = True
            with contextlib.suppress(OSError):
                way.other.shutdown(socket.SHUT_WR)
            if self._pairs[way.other].shut:
                for each in (one, way.other):  # both are done: what is on its way still arrives
                    del self._pairs[each]
                    each.close()

    def _end(self, one: socket.socket) -> None:
        """One side is gone: so is the other."""
        other = self._pairs.pop(one).other
        self._pairs.pop(other, None)
        self._reset(one)
        self._reset(other)

    @staticmethod
    def _reset(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()


class _Way:
    """What goes from one socket to the other."""

    def __init__(self, other: socket.socket, up: bool) -> None:
        self.other = other
        self.up = up
        self.waiting = bytearray()
        self.ended = False
        """The one has said that it sends no more."""
        self.shut = False
        """And the other knows."""

    @property
    def reads(self) -> bool:
        """Whether there is room for more."""
        return not self.ended and len(self.waiting) < _PIECE
