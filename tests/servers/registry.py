"""Apicurio Registry, whose Confluent API is at ``/apis/ccompat/v7``: schemas in memory.

``python -m tests.servers.registry`` gets it from Maven Central (105 MB).
"""

import os
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.servers import getting
from tests.servers.server import Missing, Server

VERSION = "3.0.9"
"""The last that was seen to run on Java 17; 3.3 needs Java 21."""
FOLDER = Path(__file__).parent.parent.parent / ".brokers" / "registry"
_RUNNER = f"apicurio-registry-app-{VERSION}-runner.jar"
_JVM = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def install() -> None:
    """Get it from Maven Central, where it is missing."""
    if _installed():
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Apicurio Registry comes by Maven, which is missing; install it: apt install maven")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        command = [
            maven,
            "-q",
            "-B",
            "dependency:copy",
            f"-Dartifact={artifact}",
            f"-DoutputDirectory={folder}",
        ]
        try:
            getting.get(command, cwd=folder)
        except getting.NotGot as error:
            raise Missing(f"Apicurio Registry can't be had of Maven Central: {error}") from None
        (packed,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(packed) as tar:
            tar.extractall(f"{folder}/app", filter="data")
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.rename(f"{folder}/app", FOLDER)


def _installed() -> bool:
    return (FOLDER / _RUNNER).exists()


class Apicurio(Server):
    """Starts in about ten seconds; its ids begin with 1."""

    name = "registry"

    def __init__(self) -> None:
        java = shutil.which("java")
        if java is None:
            raise Missing("Apicurio Registry needs Java 17; install it: apt install openjdk-17-jre-headless")
        if not _installed():
            raise Missing("Apicurio Registry is missing; get it: python -m tests.servers.registry")
        self._java = java
        super().__init__()

    def command(self) -> list[str]:
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "quarkus.http.access-log.enabled": "false",
        }
        given = [f"-D{name}={value}" for name, value in settings.items()]
        return [self._java, *_JVM, *given, "-jar", str(FOLDER / _RUNNER)]

    @property
    def url(self) -> str:
        """Of the API that speaks Confluent's protocol."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


if __name__ == "__main__":
    try:
        install()
    except Missing as missing:
        sys.exit(str(missing))
