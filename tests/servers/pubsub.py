"""Google's emulator of Pub/Sub: everything in memory, nothing is left when it is started again."""

import http.client
import itertools
import os
import shutil
from pathlib import Path

from tests.servers.server import Missing, Server

_WHERE = (
    "/usr/lib/google-cloud-sdk",
    "/usr/lib64/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/opt/google-cloud-cli",
    "/usr/local/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
    "/usr/local/share/google-cloud-sdk",
    "/snap/google-cloud-sdk/current",
    "/snap/google-cloud-cli/current",
    "~/google-cloud-sdk",
)
_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_HOW = (
    "gcloud components install pubsub-emulator, or from Google's repository google-cloud-cli-pubsub-emulator"
)


def _jar() -> Path:
    """The emulator. Its own wrapper would leave Java running."""
    folders = [Path(where).expanduser() for where in _WHERE]
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        real = Path(gcloud).resolve()
        folders += [real.parent.parent, real.parent]
    if root := os.environ.get("CLOUDSDK_ROOT_DIR"):
        folders.insert(0, Path(root))
    for folder in folders:
        found = sorted(folder.glob(_JAR))
        if found:
            return found[-1]
    raise Missing(
        f"Google's Pub/Sub emulator is missing; install it: gcloud components install pubsub-emulator, or {_HOW}"
    )


class PubSubEmulator(Server):
    """The emulator, for projects of any name."""

    name = "pubsub"

    def __init__(self) -> None:
        self._jar = _jar()
        java = shutil.which("java")
        if java is None:
            raise Missing(
                "Google's Pub/Sub emulator needs Java; install it: apt install default-jre-headless"
            )
        self._java = java
        self._numbers = itertools.count(1)
        super().__init__()

    def command(self) -> list[str]:
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [self._java, *options, "-jar", str(self._jar), "--host=127.0.0.1", f"--port={self.port}"]

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().strip() == b"Ok"
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, topic: str, **options: object) -> str:
        """Return the URL of a topic."""
        query = "".join(f"&{name}={value}" for name, value in options.items())
        return f"pubsub://shop/{topic}?emulator={self.host}{query}"

    def topic(self) -> str:
        """Return the name of a topic that nobody has used yet."""
        return f"topic-{next(self._numbers)}"
