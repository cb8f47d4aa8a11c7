"""Getting what servers are made of: a mirror may be out of reach for a moment, another installer at work."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PAUSES = (5.0, 10.0)
"""Seconds between the tries."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_APT = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]


class NotGot(OSError):
    """Each try has failed."""


def get(
    *commands: Sequence[str | Path],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> str:
    """Run them one after the other, up to three times; return what they have said, or raise NotGot with it."""
    for pause in (*PAUSES, None):
        try:
            said = ""
            for command in commands:
                said += subprocess.run(
                    command,
                    cwd=cwd,
                    env=env,
                    timeout=timeout,
                    check=True,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                ).stdout
            return said
        except subprocess.SubprocessError as error:
            if pause is None:
                output = error.output if isinstance(error, subprocess.CalledProcessError) else ""
                raise NotGot((output or str(error)).strip()[-300:]) from None
            time.sleep(pause)
    raise AssertionError


def install(*packages: str) -> None:
    """Install Debian's packages, as root; their services aren't started."""
    with _no_services():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        more = ["install", "-y", "--no-install-recommends", *packages]
        get([*_APT, "update"], [*_APT, *more], env=environment, timeout=1800)


@contextmanager
def _no_services() -> Iterator[None]:
    """Debian asks that file before a package starts its service."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink()
