"""Who holds a lease, written so that others on the same machine can tell whether it is still alive."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from pathlib import Path

from msgspec import Struct


class _Process(Struct, frozen=True):
    host: str
    boot: str
    """The kernel's name for this run of the machine; empty where it gives none."""
    space: str
    """The namespace that the process number is of: two containers may both have a process 1."""
    pid: int
    started: str
    """When the process was started, in the kernel's own unit: a number alone may have been given anew."""

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.started}:{self.boot}:{self.space}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    # The name of the program stands in brackets and may have any character in it.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _started(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def _look() -> _Process:
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except (OSError, AttributeError):
        space = ""
    host = socket.gethostname().replace(":", "_") or "localhost"
    boot = _read("/proc/sys/kernel/random/boot_id").replace("-", "")
    return _Process(host, boot, space, os.getpid(), _started(os.getpid()))


# Looked up here, where no event loop waits for the files, and once again in a process that was forked.
_self = _look()
_live: set[str] = set()
_lock = threading.Lock()


def _forked() -> None:
    global _self
    _self = _look()
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def holder() -> str:
    """Return a new name for a run in this process: host, process, its start, and something that no other has.

    It counts as alive until ``done`` is called with it, or the process is gone.
    """
    name = f"{_self}:{secrets.token_hex(4)}"
    with _lock:
        _live.add(name)
    return name


def done(holder: str) -> None:
    """Say that the run with this name is over, whether or not it could release what it held."""
    with _lock:
        _live.discard(holder)


def is_gone(holder: str) -> bool:
    """Whether the run with this name is known to be over. False where that can't be known: wait for it.

    It can be known on the same machine, since that was started, among processes that see each other. May read
    a file: not for the event loop, except for names of this very process.
    """
    parts = holder.split(":")
    if len(parts) != 6 or not parts[1].isdecimal():
        return False  # not made by us
    host, pid, started, boot, space = parts[0], int(parts[1]), *parts[2:5]
    if (host, boot, space) != (_self.host, _self.boot, _self.space):
        return False
    if pid == _self.pid and started == _self.started:
        with _lock:
            return holder not in _live
    if not _exists(pid):
        return True
    fields = _stat(pid)
    if fields and fields[0] in ("Z", "X"):
        return True  # it has ended, and nobody has asked for its end
    return bool(started) and len(fields) > 19 and fields[19] != started


def is_here(holder: str) -> bool:
    """Whether the run with this name is known to be alive, on this machine. May read a file, as ``is_gone``."""
    parts = holder.split(":")
    return (
        len(parts) == 6
        and (parts[0], *parts[3:5]) == (_self.host, _self.boot, _self.space)
        and not is_gone(holder)
    )


def _exists(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def shown(holder: str) -> str:
    """The name as people want to read it."""
    parts = holder.split(":")
    return f"process {parts[1]} on {parts[0]}" if len(parts) == 6 else holder
