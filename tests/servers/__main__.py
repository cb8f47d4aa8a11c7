"""Servers on loopback, for trying things out: ``python -m tests.servers install|start|stop|status [NAMES...]``.

They stay until ``stop``. One line is said of each: where it runs, or what is missing and how to get it. The tests
don't use these: each session starts servers of its own, so that it may kill them.
"""

from __future__ import annotations

import argparse
import sys

from tests.servers import background
from tests.servers.server import Missing


def main(arguments: list[str] | None = None) -> int:
    """Return 1 where a server that is there doesn't start or stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("what", choices=["install", "start", "stop", "status"])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(background.NAMES)}; all by default"
    )
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(background.NAMES)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(background.NAMES)}")
    failed = 0
    for name in given.names or background.NAMES:
        try:
            said = _DO[given.what](name)
        except Missing as missing:
            said = f"missing: {missing}"
        except RuntimeError as error:
            said, failed = f"failed: {error}", 1
        print(f"{name:<9} {said}", flush=True)
    return failed


def _install(name: str) -> str:
    missing = background.install(name)
    return "installed" if missing is None else f"missing: {missing}"


def _start(name: str) -> str:
    return f"running at {background.start(name)}"


def _stop(name: str) -> str:
    return "stopped" if background.stop(name) else "not running"


def _status(name: str) -> str:
    up = background.running()
    if name in up:
        return f"running at {up[name]} (process {up[name].pid})"
    missing = background.found(name)
    return f"missing: {missing}" if missing else "not running"


_DO = {"install": _install, "start": _start, "stop": _stop, "status": _status}

if __name__ == "__main__":
    sys.exit(main())
