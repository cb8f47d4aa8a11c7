"""Servers that stay: started by one command, stopped by another. Who they are stands in .brokers/servers.json."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers.server import PATIENCE, Missing, Server

ROOT = Path(__file__).parent.parent.parent
STATE = ROOT / ".brokers" / "servers.json"
NAMES = ("kafka", "rabbitmq", "nats", "redis", "sqs", "pubsub", "registry", "postgres")

UNOBTAINABLE = ("pubsub",)
"""Where there is none, no command of Debian's or Python's gets it."""

_CLIENTS = {"confluent_kafka": "kafka", "redis": "redis", "psycopg": "postgres", "nats": "nats"}
"""Where the module of a server needs its client, the extra that has it."""


class Running(NamedTuple):
    """A server as it stands in the file."""

    name: str
    pid: int
    url: str
    """Of a topic called TOPIC (of the database, for PostgreSQL), with the password that only tests use."""
    folder: str
    born: str
    """Tells the process from a later one with the same id."""
    needs: str = ""
    """What its clients find in the environment, where that isn't in the URL."""

    def __str__(self) -> str:
        return f"{self.url} with {self.needs}" if self.needs else self.url


# What there is --------------------------------------------------------------------------------------------------


def kind_of(name: str) -> type[Server]:
    """Return the class of this server; Missing where what it needs isn't there."""
    module = _module(name)
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Server) and kind.__module__ == module.__name__
    ]
    return found[0]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"tests.servers.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"tests.servers.{name}":
            raise Missing(f"how {name} is started isn't known (tests/servers/{name}.py)") from None
        extra = _CLIENTS.get(error.name or "", name)
        raise Missing(
            f"{error.name} is missing; install it: pip install 'reactor-streams[{extra}]'"
        ) from None


def found(name: str) -> str | None:
    """Return what is missing, in one line; None where the server can be started."""
    try:
        kind = kind_of(name)
        # Only a look: nothing is prepared.
        type("Look", (kind,), {"prepare": lambda self: None})().close()
    except Missing as missing:
        return str(missing)
    return None


def install(name: str) -> str | None:
    """Get what isn't there; return what is missing then."""
    if name == "postgres":
        subprocess.run([ROOT / "scripts" / "postgres.sh"], check=False, stdout=subprocess.DEVNULL)
        return found(name)
    try:
        getter = getattr(_module(name), "install", None)
        if found(name) is not None and getter is not None:
            getter()
    except Missing as missing:
        return str(missing)
    except (subprocess.SubprocessError, OSError) as error:
        return f"installing it failed: {error}"
    return found(name)


# Start and stop -------------------------------------------------------------------------------------------------


def running() -> dict[str, Running]:
    """Return the servers of the file that are up, by name."""
    try:
        rows = json.loads(STATE.read_text())
    except FileNotFoundError:
        return {}
    known = [Running(**row) for row in rows]
    return {one.name: one for one in known if _born(one.pid) == one.born}


def start(name: str) -> Running:
    """Start it, where it isn't running, so that it stays; raise Missing, or RuntimeError with what it said."""
    with _locked():
        up = running()
        if name in up:
            return up[name]
        server = kind_of(name)()
        try:
            server.start()
            process = server._process
            assert process is not None
            born = _born(process.pid)
            one = Running(name, process.pid, url_of(server), str(server.folder), born, _needs(name))
            _write({**up, name: one})
        except BaseException:
            server.close()
            raise
        server._unwatch()  # it is to outlive this process
        process.returncode = 0  # and nobody here waits for it
        return one


def stop(name: str) -> bool:
    """Stop it and remove its folder; say whether it was running."""
    with _locked():
        up = running()
        one = up.pop(name, None)
        if one is None:
            return False
        orderly = signal.SIGTERM
        with contextlib.suppress(Missing):
            orderly = kind_of(name).orderly
        for number in (orderly, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, number)
            deadline = time.monotonic() + PATIENCE / 3
            while _born(one.pid) == one.born and time.monotonic() < deadline:
                time.sleep(0.02)
            if _born(one.pid) != one.born:
                break
        else:
            raise RuntimeError(f"{name}: process {one.pid} doesn't end")
        shutil.rmtree(one.folder, ignore_errors=True)
        _write(up)
        return True


def url_of(server: Any) -> str:
    """Return the URL of a topic named TOPIC: the servers say it in their own ways."""
    if server.name == "postgres":
        return str(server.url("postgres"))
    if server.name == "registry":
        return str(server.url)
    for way in ("url", "at"):
        if hasattr(server, way):
            return str(getattr(server, way)("TOPIC"))
    return str(server.topic(name="TOPIC"))


def _needs(name: str) -> str:
    if name != "sqs":
        return ""
    module = _module(name)
    return f"AWS_ACCESS_KEY_ID={module.KEY} AWS_SECRET_ACCESS_KEY={module.SECRET}"


def _write(up: dict[str, Running]) -> None:
    text = json.dumps([one._asdict() for one in up.values()], indent=2)
    new = STATE.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(f"{text}\n")
    new.replace(STATE)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One command at a time."""
    import fcntl

    STATE.parent.mkdir(exist_ok=True)
    with open(STATE.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _born(pid: int) -> str:
    """When the process began, in the machine's own words; empty where there is none any more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True
    ).stdout
    state, _, since = said.strip().partition(" ")
    return "" if state.startswith("Z") else since.strip()
