"""An SQS-compatible server: ministack, in an environment of its own."""

import itertools
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.servers import getting
from tests.servers.server import Missing, Server, require

ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = ROOT / ".brokers" / "ministack"
_PROGRAM = _ENVIRONMENT / "bin" / "ministack"
REGION = "eu-central-1"
KEY, SECRET = "AKIAREACTORREACTOR00", "s3cret/word+100"
"""The credentials that it takes."""


def install() -> None:
    """Install ministack from PyPI below .brokers/: its dependencies aren't ours."""
    if _PROGRAM.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
    pip = [str(_ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    getting.get([*pip, "--disable-pip-version-check", "ministack==1.5.33"])


class Ministack(Server):
    """Refuses access keys that it doesn't know. Stopped in order it keeps its queues; a kill -9 leaves nothing."""

    name = "sqs"

    def __init__(self) -> None:
        if not _PROGRAM.exists():
            raise Missing("ministack (SQS) is missing; install it: python -m tests.servers.sqs")
        self._numbers = itertools.count(1)
        super().__init__()

    def command(self) -> list[str]:
        settings = {
            "GATEWAY_PORT": self.port,
            "MINISTACK_HOST": "127.0.0.1",
            "BIND_HOST": "127.0.0.1",
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "PERSIST_STATE": "1",
            "STATE_DIR": self.folder / "state",
            "S3_DATA_DIR": self.folder / "s3",
            "SERVICES": "sqs",
            "TMPDIR": self.folder,
            "DOCKER_HOST": f"unix://{self.folder}/none",
            "LOG_LEVEL": "WARNING",
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), str(_PROGRAM)]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def again(self, said: str) -> bool:
        return "already in use" in said

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def topic(self, query: str = "", *, name: str | None = None, fifo: bool = False) -> str:
        """Return the URL of a topic that nobody has used yet."""
        name = name or f"t{os.getpid()}-{next(self._numbers)}"
        suffix = ".fifo" if fifo else ""
        endpoint = quote(self.endpoint, safe=":/")
        return f"sqs://{REGION}/{name}{suffix}?endpoint={endpoint}{query and '&'}{query}"


def running() -> Iterator[Ministack]:
    """Yield a server that is up, for a fixture."""
    try:
        server = Ministack()
    except Missing as missing:
        require(missing)
    try:
        server.start()
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    install()
