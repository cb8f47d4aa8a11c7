"""``python -m tests.servers``: what it starts outlives it, until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import __main__ as command
from tests.servers import background
from tests.servers.server import Missing

ROOT = Path(__file__).parent.parent.parent

SERVER = """
import socket, sys, threading
from tests.servers.server import Server

class Little(Server):
    name = "little"

    def command(self):
        return [sys.executable, "-c", (
            "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\\n"
            "while True: s.accept()[0].close()"), str(self.port)]

    def ready(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def url(self, topic):
        return f"little://127.0.0.1:{self.port}/{topic}"
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    """The command, with a server that only this test has, and a state of its own."""
    (tmp_path / "little.py").write_text(SERVER)
    return (
        "import pathlib, sys\n"
        "import tests.servers, tests.servers.background as background, tests.servers.__main__ as command\n"
        f"tests.servers.__path__.append({str(tmp_path)!r})\n"
        f"background.STATE = pathlib.Path({str(tmp_path)!r}) / 'state' / 'servers.json'\n"
        "background.NAMES = ('little', 'nowhere')\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )


def run(program: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_outlives_the_command_until_it_is_stopped(program: str, tmp_path: Path) -> None:
    state = tmp_path / "state" / "servers.json"
    nowhere = "nowhere   missing: how nowhere is started isn't known (tests/servers/nowhere.py)\n"
    assert run(program, "status") == f"little    not running\n{nowhere}"
    said = run(program, "start")
    [row] = json.loads(state.read_text())
    try:
        assert said == f"little    running at {row['url']}\n{nowhere}"
        os.kill(row["pid"], 0)
        assert Path(row["folder"]).is_dir()
        assert run(program, "start", "little") == said.partition("\n")[0] + "\n"  # once is enough
        assert f"process {row['pid']}" in run(program, "status")
        assert state.stat().st_mode & 0o077 == 0  # passwords of tests, but passwords
    finally:
        assert run(program, "stop", "little") == "little    stopped\n"
    assert not background._born(row["pid"])
    assert not Path(row["folder"]).exists()
    assert json.loads(state.read_text()) == []
    assert run(program, "stop", "little") == "little    not running\n"


def test_one_that_was_killed_is_started_again(program: str, tmp_path: Path) -> None:
    state = tmp_path / "state" / "servers.json"
    run(program, "start", "little")
    [first] = json.loads(state.read_text())
    os.kill(first["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while background._born(first["pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        assert run(program, "status", "little") == "little    not running\n"
        run(program, "start", "little")
        [second] = json.loads(state.read_text())
        assert second["pid"] != first["pid"]
    finally:
        run(program, "stop", "little")


def test_another_process_with_the_same_id_is_not_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "servers.json"
    row = {"name": "redis", "pid": os.getpid(), "url": "x", "folder": str(tmp_path), "born": "long ago"}
    state.write_text(json.dumps([row]))
    monkeypatch.setattr(background, "STATE", state)
    assert background.running() == {}
    assert not background.stop("redis")  # it would be this process


def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise Missing(f"{name} is missing; install it")

    monkeypatch.setattr(background, "kind_of", missing)
    assert background.found("redis") == "redis is missing; install it"
    monkeypatch.setattr(background, "start", missing)
    assert command.main(["start", "redis", "kafka"]) == 0
    assert capsys.readouterr().out == (
        "redis     missing: redis is missing; install it\nkafka     missing: kafka is missing; install it\n"
    )


def test_one_that_does_not_start_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(name: str) -> None:
        raise RuntimeError(f"{name} didn't start:\nno room")

    monkeypatch.setattr(background, "start", failing)
    assert command.main(["start", "redis"]) == 1
    assert capsys.readouterr().out.startswith("redis     failed: redis didn't start:")


def test_unknown_names_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["start", "oracle"])
    assert "no such server: oracle; there are kafka, rabbitmq" in capsys.readouterr().err
