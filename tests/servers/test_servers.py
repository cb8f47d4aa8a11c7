"""The servers that tests start: they come up, go down, come back, and nothing of them stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.servers.postgres import Postgres
from tests.servers.server import Missing, require

ROOT = Path(__file__).parent.parent.parent


def test_it_keeps_its_promises(postgres: Postgres) -> None:
    assert postgres.execute("SHOW fsync") == [("on",)]
    assert postgres.execute("SHOW listen_addresses") == [("127.0.0.1",)]
    assert postgres.execute("SHOW port") == [(str(postgres.port),)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://shop:wrong@127.0.0.1:{postgres.port}/postgres")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_comes_back_with_what_it_had(own_postgres: Postgres, how: str) -> None:
    postgres = own_postgres
    name = f"kept_{how}"
    postgres.execute(f"CREATE TABLE {name} AS SELECT 1 AS one")
    getattr(postgres, how)()
    assert not postgres.running
    with pytest.raises(psycopg.OperationalError, match="refused"):
        postgres.execute("SELECT 1")
    postgres.start()
    assert postgres.execute(f"SELECT * FROM {name}") == [(1,)]
    assert "database system is ready to accept connections" in postgres.logs()


def test_a_killed_session_leaves_no_server_behind() -> None:
    program = (
        "import os, signal\nfrom tests.servers.postgres import Postgres\n"
        "server = Postgres()\nserver.start()\n"
        "print(server._process.pid, server.folder, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=50
    )
    assert done.returncode == -signal.SIGKILL
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + 30
    while _runs(int(pid)) or os.path.exists(folder):
        assert time.monotonic() < deadline, f"still there: {pid} {folder}"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether it runs; one that has ended may stay in the table until somebody asks for its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_what_is_missing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.postgres.shutil.which", lambda *_, **__: None)
    with pytest.raises(
        Missing, match=r"^PostgreSQL's initdb and postgres are missing; .* apt install postgresql$"
    ):
        Postgres()


@pytest.mark.parametrize(
    ("ci", "apt", "fails"),
    [("true", "/usr/bin/apt-get", True), ("true", None, False), ("", "/usr/bin/apt-get", False)],
)
def test_where_it_could_be_had_ci_fails(
    monkeypatch: pytest.MonkeyPatch, ci: str, apt: str | None, fails: bool
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("tests.servers.server.shutil.which", lambda name: apt)
    with pytest.raises(pytest.fail.Exception if fails else pytest.skip.Exception, match="install it"):
        require(Missing("install it"))
