"""The tests' own proxy: what goes through it, what doesn't, and that nothing is lost or made up on the way."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.servers.proxy import Proxy
from tests.servers.server import free_port


class Echo:
    """Sends back what it gets, until the client has said that it sends no more."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(one,), daemon=True))
            self._threads[-1].start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(1 << 16):
                    one.sendall(data)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as one:
        yield one


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 10)


def ask(one: socket.socket, what: bytes) -> bytes:
    one.sendall(what)
    got = b""
    while len(got) < len(what):
        got += one.recv(1 << 16) or pytest.fail("it ended")
    return got


def reset_at_once(proxy: Proxy) -> bool:
    try:
        with connect(proxy) as one:
            return gone(one)
    except ConnectionResetError:
        return True


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def gone(one: socket.socket) -> bool:
    """Whether the other side has reset it."""
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def test_it_passes_on_and_counts_every_byte(proxy: Proxy) -> None:
    data = os.urandom(5_000_000)
    with connect(proxy) as one:
        sender = threading.Thread(target=lambda: (one.sendall(data), one.shutdown(socket.SHUT_WR)))
        sender.start()
        found, size = hashlib.sha256(), 0
        while piece := one.recv(1 << 16):
            found.update(piece)
            size += len(piece)
        sender.join()
    assert (size, found.digest()) == (len(data), hashlib.sha256(data).digest())
    assert (proxy.up, proxy.down, proxy.accepted) == (len(data), len(data), 1)
    until(lambda: proxy.connections == 0)


def test_a_cut_resets_who_is_there_and_who_comes_until_it_is_mended(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as two:
        assert (ask(one, b"a"), ask(two, b"b")) == (b"a", b"b")
        assert proxy.connections == 2
        proxy.cut()
        assert gone(one)
        assert gone(two)
    assert reset_at_once(proxy)
    assert proxy.accepted == 2
    proxy.mend()
    with connect(proxy) as again:
        assert ask(again, b"c") == b"c"


def test_while_it_holds_nothing_gets_through_and_nothing_is_lost(proxy: Proxy) -> None:
    with connect(proxy) as one:
        assert ask(one, b"before") == b"before"
        up = proxy.up
        proxy.hold()
        one.sendall(b"while")
        with connect(proxy) as other:
            other.sendall(b"new")
            for each in (one, other):
                each.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    each.recv(1)
                each.settimeout(10)
            assert proxy.up == up
            proxy.go_on()
            assert one.recv(5, socket.MSG_WAITALL) == b"while"
            assert other.recv(3, socket.MSG_WAITALL) == b"new"
        assert proxy.up == up + len("while") + len("new")


def test_a_slow_reader_slows_the_sender(proxy: Proxy) -> None:
    with connect(proxy) as one:
        one.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += one.send(bytes(1 << 16))
        assert sent < 100_000_000


def test_a_server_that_isnt_there(echo: Echo) -> None:
    with Proxy(free_port()) as proxy:
        assert reset_at_once(proxy)
        assert proxy.accepted == 0


def test_closing_ends_everything(echo: Echo) -> None:
    proxy = Proxy(echo.port)
    with connect(proxy) as one:
        assert ask(one, b"a") == b"a"
        proxy.close()
        proxy.close()
        assert gone(one)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
