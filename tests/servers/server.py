"""A server as a child process: started, stopped in order, killed, started again over the same data."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE = 60.0
"""Seconds in which a server has to be up, or down."""

# Ends the server and removes its folder when the session was killed and can't do so itself: then the pipe that
# only the session holds is closed.
_GUARD = """
import os, shutil, signal, sys, time
if sys.stdin.readline():
    sys.exit()
pid, folder = int(sys.argv[1]), sys.argv[2]
for number in (signal.SIGINT, signal.SIGKILL):
    for _ in range(50):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        time.sleep(0.1)
shutil.rmtree(folder, ignore_errors=True)
"""


class Missing(Exception):
    """The server's program isn't on this machine; the message says in one line how to get it."""

    obtainable = True
    """Whether a command of Debian's, Maven's or Python's gets it here."""


def free_port() -> int:
    """Return a port of loopback where nobody listens now.

    It is used seconds later: none of those that the system gives to others meanwhile, on Linux from 32768 on.
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise OSError("no port of loopback is free")


def require(missing: Missing) -> NoReturn:
    """Fail the test where the server could be had (in CI, with apt-get), else report it as not run."""
    if missing.obtainable and os.environ.get("CI") == "true" and shutil.which("apt-get"):
        pytest.fail(f"{missing}", pytrace=False)
    pytest.skip(f"not run: {missing}")


class Server:
    """One server; a kind of server says how it is prepared, run, and asked whether it is up.

    Blocking: an async test calls it on a thread.
    """

    name = "server"
    orderly = signal.SIGTERM
    """What tells it to stop."""
    at_once = signal.SIGKILL
    """What ends it without leaving anything behind but its folder."""
    user: str | None = None
    """Who runs it, where that isn't who runs the tests."""

    def __init__(self) -> None:
        # Not below pytest's tmp_path, which is closed to other users than the one who runs the tests.
        self.folder = Path(tempfile.mkdtemp(prefix=f"reactor-{self.name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        try:
            self.prepare()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def prepare(self) -> None:
        """Make its data folder, once."""

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Look whether it is up."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Run it on its port, and return when it is up."""
        assert not self.running, f"{self.name} is running already"
        deadline = time.monotonic() + PATIENCE
        while True:
            before = len(self.logs())
            with open(self.folder / "log", "ab") as log:
                self._process = self._popen(self.command(), log)
            self._watch(self._process.pid)
            while self.running and not self.ready():
                if time.monotonic() > deadline:
                    self.kill()
                    break
                time.sleep(0.02)
            if self.running:
                return
            self._unwatch()
            # After kill -9 what it left behind (memory, children) may be there for another moment.
            if time.monotonic() > deadline or not self.again(self.logs()[before:]):
                raise RuntimeError(f"{self.name} didn't start:\n{self.logs()[-3000:]}")
            time.sleep(0.1)

    def again(self, said: str) -> bool:
        """Judge by what it has said whether a start that failed may succeed a little later."""
        return False

    def stop(self) -> None:
        """Tell it to stop, and return when it is gone."""
        self._end(self.orderly)

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it stand still: it holds its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def logs(self) -> str:
        """Return what it has said."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def close(self) -> None:
        """Stop it where it runs, and remove its folder."""
        try:
            if self.running:
                self._end(self.at_once)  # what it would still write is thrown away
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._unwatch()

    def run(self, *command: str) -> None:
        """Run a program of the server's to its end."""
        with open(self.folder / "log", "ab") as log:
            code = self._popen(list(command), log).wait(PATIENCE)
        if code:
            raise RuntimeError(f"{self.name}: {command[0]} failed:\n{self.logs()[-3000:]}")

    def _popen(self, command: list[str], log: object) -> "subprocess.Popen[bytes]":
        other = (
            {} if self.user is None else {"user": self.user, "group": _group(self.user), "extra_groups": []}
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # A session of its own: a Ctrl-C at the tests isn't meant for it.
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **other,
        )

    def _watch(self, pid: int) -> None:
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(pid), str(self.folder)]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _unwatch(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            with contextlib.suppress(BrokenPipeError):
                guard.communicate(b"done\n", PATIENCE)


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
