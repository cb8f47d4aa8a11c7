"""AsyncAPI's JSON Schema of its documents: ``python -m tests.contracts.official`` gets it from npm (0.4 MB)."""

import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.servers import getting
from tests.servers.server import Missing

VERSION = "6.11.1"
FILE = Path(__file__).parent.parent.parent / ".brokers" / "asyncapi" / f"{VERSION}.json"


def install() -> None:
    """Get it from npm, where it is missing."""
    if FILE.exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("AsyncAPI's JSON Schema comes by npm, which is missing; install it: apt install npm")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FILE.parent) as folder:
        command = [npm, "pack", "--silent", f"@asyncapi/specs@{VERSION}"]
        try:
            getting.get(command, cwd=folder, timeout=60)
        except getting.NotGot as error:
            raise Missing(f"AsyncAPI's JSON Schema can't be had of npm: {error}") from None
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as tar:
            found = tar.extractfile("package/schemas/3.0.0-without-$id.json")
            assert found is not None
            (Path(folder) / "schema.json").write_bytes(found.read())
        os.replace(Path(folder) / "schema.json", FILE)


def schema() -> Any:
    """Return the schema of version 3.0.0."""
    if not FILE.exists():
        if os.environ.get("CI") != "true":
            raise Missing("AsyncAPI's JSON Schema is missing; get it: python -m tests.contracts.official")
        install()
    return json.loads(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        install()
    except Missing as missing:
        sys.exit(str(missing))
