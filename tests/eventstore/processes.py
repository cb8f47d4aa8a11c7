"""Other processes that use a store at the same time as the test."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

Start = Callable[..., subprocess.Popen[str]]

WRITE = """
    print("ready", flush=True)
    sys.stdin.readline()
    async with store:
        for n in range(int(args[1])):
            names = [f"{args[0]}.{n}.{part}" for part in range(n % 3 + 1)]
            done = await store.append(f"order-{n % 5}", names)
            await store.append(f"{args[0]}-own", [NewEvent(done.version, id=str(n))])
            print(n, done.version, done.position, flush=True)
"""
"""Appends in turns to streams that all share and to one of its own, and tells what it was told."""

COUNT = """
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    async with store:
        while (version := await store.version("counter")) is None or version < int(args[0]):
            try:
                expected = NO_STREAM if version is None else version
                value = 0 if version is None else version + 1
                await store.append("counter", [value], expected_version=expected)
                won += 1
            except VersionClash as clash:
                assert clash.actual is not None and (version is None or clash.actual > version)
    print(won, flush=True)
"""
"""Counts up in one stream, against all others who do so; tells how often it was the first."""


@pytest.fixture
def start() -> Iterator[Start]:
    """Run the body of a coroutine in a process of its own; ``store`` is the store, ``args`` the arguments."""
    children: list[subprocess.Popen[str]] = []

    def start(url: str, body: str, *args: object) -> subprocess.Popen[str]:
        program = (
            "import sys\nimport anyio\nfrom reactor.eventstore import *\nfrom reactor.topics import topic\n"
            "async def main():\n    store = event_store(sys.argv[1])\n    args = sys.argv[2:]\n"
        )
        program += textwrap.indent(textwrap.dedent(body), "    ") + "\nanyio.run(main)\n"
        command = [sys.executable, "-c", program, url, *map(str, args)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def says(child: subprocess.Popen[str]) -> str:
    """Wait for the next line of a process."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go(child: subprocess.Popen[str]) -> None:
    """Let a process that is ready begin."""
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()
